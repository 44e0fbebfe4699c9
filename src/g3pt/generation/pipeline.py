"""`G3PT`: pictures and sentences to meshes, and work on the tokens of shapes.

Everything is in the unit frame (longest side 1.9, centred, +Y up, +Z front) unless the source's
frame is named. Legend: B batch, T tokens.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from PIL import Image

from g3pt.arguments import PromptError, check_number, check_whole, seed_of
from g3pt.generation.answers import answer_to
from g3pt.generation.coloring import ColorSource, check_color, color_shapes
from g3pt.generation.completion import (
    CompletionResult,
    SearchConfig,
    check_search,
    complete_part,
)
from g3pt.generation.drafts import Listener, mesh_drafts, sample_drafts
from g3pt.generation.likelihood import TokenLikelihood, token_likelihood
from g3pt.generation.meshing import (
    DEFAULT_MIN_SHARE,
    DEFAULT_RESOLUTION,
    OnBlock,
    check_pyramid,
    check_resolution,
    mesh_tokens,
    pyramid_of,
)
from g3pt.generation.preview import preview_sheet
from g3pt.generation.prompts import (
    Cloud,
    Picture,
    Pictures,
    Prompts,
    read_prompts,
)
from g3pt.generation.publishing import push_to_hub, save_pretrained
from g3pt.generation.results import (
    GenerationResult,
    OnScale,
    Reconstruction,
    on_meshing,
    tokens_event,
)
from g3pt.generation.surface import (
    EncodedSurface,
    MeshSource,
    PlacedMesh,
    encode_surface,
    place_mesh,
)
from g3pt.generation.token_work import (
    PICTURE_RESOLUTION,
    MixMethod,
    kept_scales,
    picture_of,
    splice,
)
from g3pt.geometry.clouds import PointCloud
from g3pt.geometry.isosurface import Extraction
from g3pt.geometry.mesh import TriangleMesh, UnitFrame
from g3pt.models.car import Car
from g3pt.models.devices import resolve_device
from g3pt.models.g3t import TokenFile, TokenFrame, TokenPyramid, read_g3t
from g3pt.models.sampling import STANDARD, Sampling, told_sampling
from g3pt.models.tokenizer import require_tokens
from g3pt.models.weights.load import DEFAULT_WEIGHTS, LoadedWeights, load_weights
from g3pt.models.weights.places import located
from g3pt.models.weights.precision import DtypeName, cast_weights, resolve_dtype

TokenSource = TokenFile | TokenPyramid | MeshSource
"""Tokens, a mesh at any place and scale, or a file of either."""


class G3PT:
    """A tokenizer and a generator, ready to use.

    Weights may hold a tokenizer alone. Then shapes can be tokenized, meshed and reconstructed, and
    everything that generates raises a `PromptError`.
    """

    def __init__(self, weights: LoadedWeights) -> None:
        """Take loaded weights.

        Raises:
            ValueError: if their tokenizer has no discrete tokens.
        """
        self.weights = weights
        self.tokenizer = require_tokens(weights.tokenizer, weights.name)
        self.car: Car | None = weights.car

    @classmethod
    def from_pretrained(
        cls,
        weights: str | Path = DEFAULT_WEIGHTS,
        device: str | torch.device = "auto",
        *,
        dtype: DtypeName | torch.dtype = "auto",
        adapter: str | Path | None = None,
    ) -> "G3PT":
        """Load weights: bundled ones by name, a folder, or weights of the Hugging Face hub.

        Args:
            weights: a name such as `g3pt-small`, a folder, or `OWNER/NAME[@REVISION]` of the hub.
                A local folder of that name comes first; `hub:OWNER/NAME` always means the hub.
            device: `auto`, `cpu`, `cuda`, `mps` or a torch device.
            dtype: number format of the generator; `auto` is bfloat16 on GPUs that support it, else
                float32. With bfloat16, tokens are close to those of float32, not equal.
            adapter: folder of an adapter for these weights, as `g3pt finetune` writes it.

        Raises:
            FileNotFoundError: if there are no such weights, or no such adapter.
            WeightsError: if the weights are damaged or incomplete, or the adapter is of others.
            ValueError: if the tokenizer has no discrete tokens, or device or dtype do not fit.
        """
        return cls(load_weights(located(weights), device, dtype=dtype, adapter=adapter))

    def to(
        self,
        device: str | torch.device | torch.dtype | None = None,
        *,
        dtype: DtypeName | torch.dtype | None = None,
    ) -> "G3PT":
        """Move the models to a device, and convert the generator to another number format.

        Args:
            device: as in `from_pretrained`, or just a number format; None leaves the models where
                they are.
            dtype: number format of the generator; None leaves it. Weights that were converted to
                bfloat16 stay rounded when converted back to float32.

        Returns:
            This pipeline.

        Raises:
            ValueError: if this machine has no such device, or the number format is not supported.
        """
        if isinstance(device, torch.dtype):
            device, dtype = None, device
        target = self.weights.device if device is None else resolve_device(device)
        number_format = None if dtype is None else resolve_dtype(dtype, target)
        for part in (self.tokenizer, self.car):
            if part is not None:
                part.to(target)
        if self.car is not None and number_format is not None:
            cast_weights(self.car, number_format)
            rounded = self.weights.rounded or number_format != torch.float32
            self.weights = replace(self.weights, rounded=rounded)
        return self

    def save_pretrained(self, folder: str | Path, *, licence: str | None = None) -> None:
        """Write a weights folder with a card; see `publishing.save_pretrained`."""
        save_pretrained(self.weights, folder, licence=licence)

    def push_to_hub(
        self,
        repository: str,
        *,
        private: bool = False,
        token: str | None = None,
        message: str = "Upload weights with g3pt",
        licence: str | None = None,
    ) -> str:
        """Put the weights on the Hugging Face hub; see `publishing.push_to_hub`."""
        return push_to_hub(
            self.weights,
            repository,
            private=private,
            token=token,
            message=message,
            licence=licence,
        )

    @property
    def num_scales(self) -> int:
        """Number of scales of the token pyramid."""
        return len(self.tokenizer.scale_lengths)

    def check_num_scales(self, num_scales: int | None) -> None:
        """Refuse a number of scales that the pyramid does not have.

        Raises:
            ValueError: if it is out of range; the message names the range.
        """
        if num_scales is not None:
            check_whole("num_scales", num_scales)
        if num_scales is not None and not 1 <= num_scales <= self.num_scales:
            raise ValueError(
                f"scales must lie in 1..{self.num_scales} for weights {self.weights.name}, "
                f"got {num_scales}"
            )

    # --- tokens and meshes ---------------------------------------------------------------

    def tokens_of(self, source: TokenSource, *, seed: int = 0) -> TokenFile:
        """Tokens of a source: token files are read, meshes are tokenized.

        Args:
            source: tokens, a mesh, or a file of either.
            seed: seed of the points that are sampled on the surface of a mesh.

        Raises:
            FileNotFoundError: if there is no such file.
            MeshError: if a mesh cannot be read or has no extent.
            ValueError: if the tokens are damaged or were made by another tokenizer.
        """
        if isinstance(source, str | Path) and Path(source).suffix.lower() == ".g3t":
            source, origin = read_g3t(source), str(source)
        else:
            origin = "tokens"
        match source:
            case TokenFile():
                self.check_tokens(source, origin)
                return source
            case TokenPyramid():
                check_pyramid(self.tokenizer, source)
                return TokenFile(source, TokenFrame(), self.weights.fingerprint)
            case _:
                return self.tokenize(source, seed=seed)

    def tokenize(
        self,
        mesh: MeshSource,
        *,
        num_scales: int | None = None,
        spread: int = 1,
        seed: int = 0,
    ) -> TokenFile:
        """Tokenize the solid that a mesh bounds (`geometry.solid`).

        Args:
            mesh: a mesh at any place and scale, or a file of one.
            num_scales: keep only so many scales, the coarsest; None keeps all.
            spread: candidates of every surface point: more than 1 keeps well-spread ones, so that
                the tokens depend less on the seed.
            seed: seed of the points that are sampled on the surface.

        Raises:
            MeshError: if the mesh cannot be read, has no extent, or bounds no solid.
            ValueError: if `spread` is less than 1.
        """
        self.check_num_scales(num_scales)
        if spread < 1:
            raise ValueError(f"spread must be at least 1, got {spread}")
        seed = seed_of(seed)
        source = place_mesh(mesh)
        tokens = self._pyramid_of(self._encode(source, seed, spread), num_scales)
        return TokenFile(
            tokens=tokens,
            frame=TokenFrame(scale=source.frame.scale, offset=source.frame.offset),
            fingerprint=self.weights.fingerprint,
        )

    def detokenize(
        self,
        tokens: TokenFile | str | Path,
        *,
        num_scales: int | None = None,
        resolution: int = DEFAULT_RESOLUTION,
        on_scale: OnScale | None = None,
    ) -> Reconstruction:
        """Turn a `.g3t` file, or what was read from one, back into a mesh.

        `on_scale` hears of the tokens, and several times a second of the meshing.

        Raises:
            FileNotFoundError: if there is no such file.
            TokenFileError: if it is damaged.
            ValueError: if it was made by another tokenizer.
        """
        origin = str(tokens) if isinstance(tokens, str | Path) else "tokens"
        if isinstance(tokens, str | Path):
            tokens = read_g3t(tokens, num_scales=num_scales)
        self.check_tokens(tokens, origin)
        pyramid = tokens.tokens if num_scales is None else tokens.tokens.truncate(num_scales)
        frame = UnitFrame(scale=tokens.frame.scale, offset=tokens.frame.offset)
        if on_scale is not None:
            on_scale(tokens_event(pyramid))
        on_block = on_meshing(on_scale, pyramid)
        extraction = self.decode(pyramid, resolution=resolution, on_block=on_block)
        return Reconstruction(pyramid, frame, extraction)

    def check_tokens(self, tokens: TokenFile, origin: str = "tokens") -> None:
        """Make sure that tokens were made by this tokenizer.

        Raises:
            ValueError: if they were not.
        """
        if tokens.fingerprint != self.weights.fingerprint:
            raise ValueError(
                f"{origin}: was made by a tokenizer with fingerprint {tokens.fingerprint[:12]}, "
                f"weights {self.weights.name} have {self.weights.fingerprint[:12]}: "
                "name the weights it was made with"
            )

    def reconstruct(
        self,
        mesh: MeshSource,
        *,
        num_scales: int | None = None,
        resolution: int = DEFAULT_RESOLUTION,
        dense: bool = False,
        seed: int = 0,
        on_scale: OnScale | None = None,
    ) -> Reconstruction:
        """Tokenize a mesh and make a mesh of its tokens.

        The sampled surface points also start the search for the surface, so that small parts
        between the corners of the base grid are not missed. Arguments as in `tokenize` and
        `decode`; `on_scale` hears of the tokens, and several times a second of the meshing.
        """
        self.check_num_scales(num_scales)
        source = place_mesh(mesh)
        encoded = self._encode(source, seed)
        tokens = self._pyramid_of(encoded, num_scales)
        if on_scale is not None:
            on_scale(tokens_event(tokens))
        extraction = self.decode(
            tokens,
            resolution=resolution,
            dense=dense,
            seeds=encoded.samples.points,
            on_block=on_meshing(on_scale, tokens),
        )
        return Reconstruction(tokens, source.frame, extraction)

    def decode(
        self,
        tokens: TokenPyramid,
        *,
        resolution: int = DEFAULT_RESOLUTION,
        dense: bool = False,
        seeds: np.ndarray | None = None,
        min_share: float = 0.0,
        on_block: OnBlock | None = None,
    ) -> Extraction:
        """Make a mesh of tokens, of all scales or of the first few.

        Args:
            tokens: tokens that this tokenizer made.
            resolution: grid cells per axis.
            dense: query the whole grid. This is slow, and finds parts that lie between the corners
                of the base grid.
            seeds: points near the surface, if known.
            min_share: drop parts below this share of the whole surface area.
            on_block: called with the number of queries so far; an error raised in it ends the
                meshing.

        Raises:
            ValueError: if the resolution is out of range or another tokenizer made the tokens.
        """
        return mesh_tokens(
            self.tokenizer,
            tokens,
            resolution=resolution,
            dense=dense,
            seeds=seeds,
            min_share=min_share,
            on_block=on_block,
        )

    def _encode(self, source: PlacedMesh, seed: int, spread: int = 1) -> EncodedSurface:
        num_points, rng = self.weights.config.num_points, np.random.default_rng(seed_of(seed))
        return encode_surface(self.tokenizer, source.bounded, num_points, rng, spread=spread)

    def _pyramid_of(self, encoded: EncodedSurface, num_scales: int | None) -> TokenPyramid:
        pyramid = pyramid_of(self.tokenizer, encoded.indices_T.cpu())
        return pyramid if num_scales is None else pyramid.truncate(num_scales)

    # --- generation --------------------------------------------------------------------

    def generate(
        self,
        *,
        image: Pictures | None = None,
        text: str | Sequence[str] | None = None,
        points: Cloud | Sequence[Cloud] | None = None,
        mask: Pictures | None = None,
        whole_picture: bool = False,
        prompts: Prompts | None = None,
        seed: int = 0,
        num: int = 1,
        best_of: int = 1,
        sampling: Sampling | None = None,
        known: TokenPyramid | None = None,
        resolution: int = DEFAULT_RESOLUTION,
        min_share: float = DEFAULT_MIN_SHARE,
        every_scale: bool = False,
        color: ColorSource = "auto",
        on_scale: OnScale | None = None,
        **told: Any,
    ) -> GenerationResult:
        """Generate shapes from pictures, sentences, point clouds of their surface, or no prompt.

        Args:
            image: one picture or several, one shape each. A list in the place of a picture holds
                several views of one shape.
            text: one sentence or several. Given with pictures, both describe the same shapes.
            points: point clouds of the visible part of each shape (`read_prompts`).
            mask: which part of each picture is its object, as pictures of the same proportions;
                without it the object is looked for (`result.cutouts` says how it was found).
            whole_picture: each whole picture is the object.
            prompts: prompts that `read_prompts` prepared, instead of those above.
            seed: sample k of every prompt has seed + k.
            num: samples per prompt.
            best_of: candidates per sample, of which the one that agrees best with the prompt is
                kept (`choose_candidate`). The candidates of sample k have the seeds from
                seed + k * best_of on. They are compared at 64 cells per axis.
            sampling: settings of the sampler; those that are None are taken from the weights.
                Answer k of a consensus is the mean of the samples with the seeds from
                seed + k * consensus on. Its tokens are the quantised mean; if the mean has no
                inside, the first sample takes its place. Consensus and guess of the weights apply
                to pictures of which one answer is wanted (without `num`, `best_of`, `known`).
            known: coarse scales that every shape begins with; the others are sampled. The
                likelihood of the known scales counts in `nll`.
            resolution: grid cells per axis of the mesh.
            min_share: drop loose parts (floaters) below this share of the whole surface area.
            every_scale: also make the mesh of every coarser scale.
            color: where vertex colours come from: `picture`, `text`, `none`, or `auto`, which
                takes those of the picture if its silhouette agrees with that of the mesh, otherwise
                the colour that the sentence names. `GeneratedShape.color` says what was done.
            on_scale: called after each scale of each batch, several times a second while meshes are
                made, and before a picture colours one (`ScaleEvent.stage`). An error raised in it
                cancels the call.
            told: fields of `Sampling` by name, such as `guidance=3`; they override `sampling`.

        Raises:
            FileNotFoundError: if a picture or a cloud does not exist.
            ValueError: if an argument, a picture or a cloud cannot be used.
        """
        car = self._generator()
        check_resolution(resolution)
        seed = seed_of(seed)
        check_whole("num", num)
        check_whole("best_of", best_of)
        check_number("min_share", min_share)
        wanted = told_sampling(sampling, told)
        self.check_num_scales(wanted.num_scales or None)
        by_weights = self.weights.config.sampling.over(STANDARD)
        answer = answer_to(
            wanted,
            by_weights,
            pictured=image is not None or (prompts is not None and bool(prompts.pictures)),
            num=num,
            best_of=best_of,
            has_known=known is not None,
        )
        if known is not None:
            check_pyramid(self.tokenizer, known)
        started = time.perf_counter()
        if prompts is None:
            prompts = read_prompts(
                car,
                image,
                text,
                points,
                mask=mask,
                whole_picture=whole_picture,
                tokenizer=self.tokenizer,
            )
        timings = {"condition": time.perf_counter() - started}
        check_color(color, prompts)
        settings = wanted.over(by_weights)
        if wanted.num_scales is None and known is not None:
            if known.num_scales >= (by_weights.num_scales or 0):
                settings = replace(settings, num_scales=0)
        total = len(prompts) * num * best_of * answer.num_samples
        listener = Listener(on_scale, self.tokenizer, total)
        started = time.perf_counter()
        drafts = sample_drafts(
            self.tokenizer,
            car,
            prompts,
            answer,
            seed=seed,
            num=num * best_of,
            sampling=settings,
            known=known,
            listener=listener,
        )
        timings["tokens"] = time.perf_counter() - started
        started = time.perf_counter()
        shapes = mesh_drafts(
            self.tokenizer,
            drafts,
            best_of,
            prompts,
            resolution=resolution,
            min_share=min_share,
            every_scale=every_scale,
            outline=bool(settings.outline),
            listener=listener,
        )
        timings["extract"] = time.perf_counter() - started
        started = time.perf_counter()
        shapes = color_shapes(shapes, prompts, color, listener.coloring)
        timings["color"] = time.perf_counter() - started
        return GenerationResult(shapes=tuple(shapes), prompts=prompts, timings=timings)

    __call__ = generate

    def read_prompts(
        self,
        image: Pictures | None = None,
        text: str | Sequence[str] | None = None,
        points: Cloud | Sequence[Cloud] | None = None,
        *,
        mask: Pictures | None = None,
        whole_picture: bool = False,
    ) -> Prompts:
        """Check and prepare prompts without generating yet; see `prompts.read_prompts`."""
        return read_prompts(
            self._generator(),
            image,
            text,
            points,
            mask=mask,
            whole_picture=whole_picture,
            tokenizer=self.tokenizer,
        )

    def _generator(self) -> Car:
        if self.car is None:
            raise PromptError(
                f"weights {self.weights.name} hold a tokenizer alone; they cannot generate"
            )
        return self.car

    def preview(self, result: GenerationResult) -> Image.Image:
        """A picture of how shapes were generated: prompt, scales from coarse to fine, mesh.

        Args:
            result: from `generate`; the first 32 shapes are shown. Meshes of the coarser scales are
                taken from it (`every_scale`), or else made at 64 cells per axis.
        """

        def mesh_of(tokens: TokenPyramid, resolution: int) -> TriangleMesh:
            return self.decode(tokens, resolution=resolution).mesh

        return Image.fromarray(preview_sheet(mesh_of, result))

    # --- work on tokens ----------------------------------------------------------------

    def vary(
        self, source: TokenSource, *, keep: int, seed: int = 0, **request: Any
    ) -> GenerationResult:
        """Keep the first scales of a shape and sample the others anew.

        A generated shape is returned unchanged if it is varied with its own seed, prompt and
        settings.

        Args:
            source: the shape to vary; a mesh is tokenized first, with the same seed.
            keep: number of scales to keep; keeping all but the last changes least.
            seed: seed of the first variation.
            request: arguments of `generate`. The prompt may differ from that of the shape, or be
                left out.

        Raises:
            ValueError: if `keep` leaves nothing to sample, or the shape has fewer scales.
        """
        tokens = self.tokens_of(source, seed=seed).tokens
        known = kept_scales(tokens, keep, self.num_scales)
        return self.generate(known=known, seed=seed, **request)

    def mix(
        self,
        coarse: TokenSource,
        fine: TokenSource,
        *,
        keep: int,
        method: MixMethod = "resample",
        image: Picture | None = None,
        text: str | None = None,
        prompts: Prompts | None = None,
        seed: int = 0,
        num: int = 1,
        **request: Any,
    ) -> GenerationResult:
        """Join the coarse scales of one shape and the finer scales of another.

        Args:
            coarse: shape whose first scales are kept.
            fine: shape that gives the finer scales.
            keep: number of scales taken from `coarse`.
            method: `resample` samples the finer scales anew, with `fine` as the prompt: the given
                image or text, or else a picture of it. `tokens` takes the tokens of `fine` as they
                are; nothing is random, but they are residuals of other coarse scales. A prompt then
                only affects the likelihood.
            image: picture of `fine`.
            text: sentence about `fine`.
            prompts: prompts that `read_prompts` prepared, instead of image and text.
            seed: seed of the first sample, and of the points that are sampled on meshes.
            num: number of samples; must be 1 with `tokens`.
            request: arguments of `generate`.

        Raises:
            PromptError: if `keep` leaves no scale for `fine`, several samples are requested with
                `tokens`, or there is no prompt and the weights take no pictures.
            ValueError: if a shape has too few scales.
        """
        if method not in get_args(MixMethod):
            raise PromptError(f"method must be {' or '.join(get_args(MixMethod))}, got {method!r}")
        if method == "tokens" and num != 1:
            raise PromptError("mixing tokens leaves nothing to chance: num must be 1")
        if prompts is None and (image is not None or text is not None):
            prompts = self.read_prompts(image, text)
        ours, theirs = (self.tokens_of(one, seed=seed).tokens for one in (coarse, fine))
        known = kept_scales(ours, keep, self.num_scales)
        if method == "tokens":
            known = splice(known, theirs)
        elif prompts is None:
            prompts = self.read_prompts(image=self._picture_of(theirs))
            request.setdefault("color", "none")  # a picture of a mesh without colours has none
        return self.generate(known=known, prompts=prompts, seed=seed, num=num, **request)

    def _picture_of(self, tokens: TokenPyramid) -> Image.Image:
        slots = [condition.slot for condition in self._generator().config.conditions]
        if "image" not in slots:
            raise PromptError(
                f"weights {self.weights.name} take no pictures: say with a text what the finer "
                "scales are to show, or mix the tokens themselves"
            )
        return picture_of(self.decode(tokens, resolution=PICTURE_RESOLUTION).mesh)

    def complete(
        self,
        part: TriangleMesh | PointCloud | str | Path,
        *,
        frame: UnitFrame | None = None,
        search: SearchConfig | None = None,
        num: int = 1,
        prompts: Prompts | None = None,
        seed: int = 0,
        sampling: Sampling | None = None,
        resolution: int = DEFAULT_RESOLUTION,
        min_share: float = DEFAULT_MIN_SHARE,
        on_scale: OnScale | None = None,
        **told: Any,
    ) -> CompletionResult:
        """Complete a part of a surface to whole shapes; see `search_completions`.

        Args:
            part: a mesh with missing parts, or points with normals, or a file of either.
            frame: unit frame of the whole shape; None takes that of the part's bounding box.
            search: number of scales that are kept and of candidates that are drawn.
            num: number of completions, at most as many as survive the search.
            prompts: picture or text of the whole shape (`read_prompts`), if there is one.
            seed: seed of everything random.
            sampling: guidance, temperature and truncation of candidates. Settings that are None are
                taken from `COMPLETION`, then from the weights.
            resolution: grid cells per axis of the meshes.
            min_share: drop loose parts below this share of the whole surface area.
            on_scale: hears of every scale of the search, with the tokens of the candidate that
                agrees best so far, and several times a second of the meshing.
            told: fields of `Sampling` by name, such as `temperature=0.5`; they override `sampling`.

        Raises:
            MeshError: if the part cannot be read or has no extent.
            ValueError: if an argument is out of range.
        """
        car = self._generator()
        prompts = self.read_prompts() if prompts is None else prompts
        search = SearchConfig() if search is None else search
        check_search(search, num, prompts, self.num_scales)
        return complete_part(
            self.tokenizer,
            car,
            prompts.condition,
            part,
            frame,
            search,
            num=num,
            seed=seed_of(seed),
            num_points=self.weights.config.num_points,
            sampling=told_sampling(sampling, told),
            by_weights=self.weights.config.sampling,
            resolution=resolution,
            min_share=min_share,
            on_scale=on_scale,
        )

    def score(
        self,
        source: TokenSource,
        *,
        image: Picture | None = None,
        text: str | None = None,
        prompts: Prompts | None = None,
        num_scales: int | None = None,
        seed: int = 0,
    ) -> TokenLikelihood:
        """Negative log-likelihood of a shape under the generator; unusual shapes have high values.

        Args:
            source: one shape; meshes are tokenized first.
            image: picture to condition on; without image and text the score is unconditional.
            text: sentence to condition on.
            prompts: one prompt that `read_prompts` prepared, instead of image and text.
            num_scales: score only so many scales, the coarsest; None scores all.
            seed: seed of the points sampled on the surface of a mesh.

        Returns:
            One row: nats and bits of the whole shape, of every scale, and per token.

        Raises:
            FileNotFoundError, MeshError, ValueError: if the shape or a prompt cannot be used.
        """
        car = self._generator()
        if prompts is None:
            prompts = read_prompts(car, image, text)
        if len(prompts) != 1:
            raise PromptError(f"one shape is scored by one prompt, got {len(prompts)}")
        self.check_num_scales(num_scales)
        tokens = self.tokens_of(source, seed=seed).tokens
        if num_scales is not None:
            tokens = tokens.truncate(num_scales)
        return token_likelihood(self.tokenizer, car, tokens.indices[None], prompts.condition)
