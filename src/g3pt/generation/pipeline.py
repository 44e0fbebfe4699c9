"""`G3PT`: pictures and sentences to meshes, and work on the tokens of shapes.

Everything is in the unit frame (longest side 1.9, centred, +Y up, +Z front) unless it says
source. Legend: B batch, T tokens.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Unpack

import numpy as np
import torch

from g3pt.generation.arguments import check_sampling, seed_of
from g3pt.generation.candidates import (
    DRAFT_RESOLUTION,
    Draft,
    Selection,
    answers_with_guess,
    consensus_drafts,
    guess_drafts,
    num_consensus,
    plain_drafts,
    select_drafts,
    settled_drafts,
)
from g3pt.generation.codec import (
    DEFAULT_RESOLUTION,
    ShapeCodec,
    TokenSource,
    check_resolution,
)
from g3pt.generation.completion import (
    Completion,
    CompletionResult,
    SearchConfig,
    agreement,
    partial_surface,
    search_completions,
)
from g3pt.generation.likelihood import TokenLikelihood, token_likelihood
from g3pt.generation.prompts import (
    Cloud,
    Picture,
    Pictures,
    PromptError,
    Prompts,
    read_prompts,
)
from g3pt.generation.results import GeneratedShape, GenerationResult, ScaleEvent
from g3pt.generation.sampler import PerScale, ScaleSample, generate_tokens
from g3pt.generation.token_work import MixMethod, Sampling, mix_tokens, vary_tokens
from g3pt.geometry.clouds import PointCloud
from g3pt.geometry.isosurface import Extraction
from g3pt.geometry.mesh import TriangleMesh, UnitFrame
from g3pt.models.car import Car
from g3pt.models.g3t import TokenPyramid
from g3pt.models.weights.load import DEFAULT_WEIGHTS, LoadedWeights, load_weights
from g3pt.models.weights.precision import DtypeName

COMPLETION_TEMPERATURE = 0.8
"""Of `G3PT.complete`: the candidates of a search have to differ more than single samples do."""
BATCH_SIZE = 16
"""Shapes whose tokens are sampled together."""


class G3PT(ShapeCodec):
    """A tokenizer and a generator, ready to use."""

    def __init__(self, weights: LoadedWeights) -> None:
        super().__init__(weights)
        self.car = weights.car

    @classmethod
    def from_pretrained(
        cls,
        weights: str | Path = DEFAULT_WEIGHTS,
        device: str | torch.device = "auto",
        *,
        dtype: DtypeName | torch.dtype = "float32",
    ) -> "G3PT":
        """Load bundled weights by name, or a weights folder.

        Args:
            weights: a name, a folder, or `hub:OWNER/NAME[@REVISION]`.
            device: `auto`, `cpu`, `cuda`, `mps` or a torch device.
            dtype: number format of the generator; `auto` is bfloat16 where a GPU has it. Tokens
                are then close to those of float32, not the same.

        Raises:
            FileNotFoundError: if there are no such weights.
            WeightsError: if the folder does not hold sound weights.
            ValueError: if they are of a tokenizer without tokens, or device or dtype do not fit.
        """
        return cls(load_weights(weights, device, dtype=dtype))

    # --- generation --------------------------------------------------------------------

    def generate(
        self,
        *,
        image: Pictures | None = None,
        text: str | Sequence[str] | None = None,
        points: Cloud | Sequence[Cloud] | None = None,
        prompts: Prompts | None = None,
        seed: int = 0,
        num: int = 1,
        guidance: PerScale | None = None,
        temperature: PerScale | None = None,
        top_k: int | Sequence[int] | None = None,
        top_p: PerScale | None = None,
        num_scales: int | None = None,
        known: TokenPyramid | None = None,
        resolution: int = DEFAULT_RESOLUTION,
        min_share: float = 0.0,
        every_scale: bool = False,
        best_of: int = 1,
        consensus: int | None = None,
        guess: bool | None = None,
        on_scale: Callable[[ScaleEvent], None] | None = None,
    ) -> GenerationResult:
        """Make shapes from pictures, sentences, parts of their surface, or from nothing.

        Args:
            image: one picture or several; every picture is a shape of its own, and a list in the
                place of a picture is several views of one shape.
            text: one sentence or several. Given with pictures, both describe the same shapes.
            points: likewise point clouds, of the visible part of each shape (`read_prompts`).
            prompts: what `read_prompts` made of them earlier, instead of the three.
            seed: sample k of every prompt has seed + k.
            num: samples per prompt.
            guidance: how much more the prompt counts than it would by itself; 1 is neutral. As
                the next three: a number, or one per scale; None takes what the weights say.
            temperature: below 1 is more typical, 0 always takes the likeliest token.
            top_k: keep the k likeliest tokens; 0 keeps all.
            top_p: keep the likeliest tokens that hold this probability.
            num_scales: stop after this many scales, a coarser shape; None takes what the weights
                say, which may not be all.
            known: coarse scales that every shape begins with; the others are sampled. Their
                likelihood counts in `nll`.
            resolution: grid cells per axis of the mesh.
            min_share: drop parts below this share of the whole surface (floaters).
            every_scale: also make the mesh of every coarser scale.
            best_of: candidates of every sample, of which the one that agrees best with the prompt
                is kept (`choose_candidate`): sample k is chosen among the seeds from
                seed + k * best_of on. They are compared at 64 cells per axis.
            consensus: samples whose mean features are meshed in place of one sample's
                (`consensus_features`): answer k is of the seeds from seed + k * consensus on. Safer
                and smoother than a sample, at the price of that many token samplings and one
                extraction. Its tokens are the mean's, quantised. Where the mean has no inside, the
                first sample takes its place. 1 is a plain sample; None is as the weights say for
                pictures, or 1 where variety or something to begin with is asked for (`num`,
                `best_of`, `known`). Weights may also say that where the samples do not agree, the
                first guess takes their place (`guessed` of the shape).
            guess: mesh the generator's first guess, without sampling: the likeliest single answer
                for things that are unlike those it learned. None is as the weights say, for
                pictures of which one answer is wanted.
            on_scale: called after each scale of each batch; raising in it cancels.

        Raises:
            FileNotFoundError: if a picture or a cloud does not exist.
            ValueError: if an argument, a picture or a cloud cannot be used.
        """
        car = self._generator()
        check_resolution(resolution)
        self.check_num_scales(num_scales)
        seed = seed_of(seed)
        check_sampling(
            num=num,
            best_of=best_of,
            consensus=consensus,
            guidance=guidance,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_share=min_share,
        )
        pictured = image is not None or (prompts is not None and bool(prompts.pictures))
        guess = answers_with_guess(
            guess,
            self.weights.config.sampling.guess and pictured,
            consensus=consensus,
            num=num,
            best_of=best_of,
            has_known=known is not None,
        )
        default = self.weights.config.sampling.consensus if pictured else 1
        guess_above = self.weights.config.sampling.guess_above
        if consensus is not None or not pictured or num > 1 or best_of > 1 or known is not None:
            guess_above = None  # who says what they want gets that
        consensus = num_consensus(
            consensus, default, num=num, best_of=best_of, has_known=known is not None
        )
        if known is not None:
            self._check_pyramid(known)
        started = time.perf_counter()
        if prompts is None:
            prompts = read_prompts(car, image, text, points, tokenizer=self.tokenizer)
        timings = {"condition": time.perf_counter() - started}
        defaults = self.weights.config.sampling
        if num_scales is None and (known is None or known.num_scales < defaults.num_scales):
            num_scales = defaults.num_scales or None
        if isinstance(guidance, float | int):
            defaults = replace(defaults, guidance=float(guidance), guidance_by_scale=())
        if not isinstance(guidance, Sequence):
            guidance = defaults.guidance_of(self.num_scales)
        owners = [
            (prompt, seed + k * consensus)
            for prompt in range(len(prompts))
            for k in range(num * best_of)
        ]
        batch_size = max(1, BATCH_SIZE // consensus)
        drafts: list[Draft] = []
        started = time.perf_counter()
        for first in range(0, len(owners), batch_size):
            batch = owners[first : first + batch_size]
            seeds = [own_seed + k for _, own_seed in batch for k in range(consensus)]
            condition = prompts.condition.rows(torch.tensor([prompt for prompt, _ in batch]))
            if guess:
                drafts += guess_drafts(self.tokenizer, car, condition, batch)
                continue
            sampled = generate_tokens(
                self.tokenizer,
                car,
                condition,
                seeds=seeds,
                samples_each=consensus,
                guidance=guidance,
                temperature=defaults.temperature if temperature is None else temperature,
                top_k=defaults.top_k if top_k is None else top_k,
                top_p=defaults.top_p if top_p is None else top_p,
                num_scales=num_scales,
                known_BT=None if known is None else known.indices.expand(len(seeds), -1),
                on_scale=None if on_scale is None else self._listener(on_scale, first * consensus),
            )
            asked = (self.tokenizer, car, condition, batch, sampled, consensus)
            if consensus > 1 and guess_above is not None:
                drafts += settled_drafts(*asked, guess_above)
            elif consensus == 1:
                drafts += plain_drafts(self.tokenizer, batch, sampled)
            else:
                drafts += consensus_drafts(*asked)
        timings["tokens"] = time.perf_counter() - started
        started = time.perf_counter()
        shapes: list[GeneratedShape] = []
        for draft, selection in self._selected(drafts, best_of, prompts, resolution, min_share):
            extraction = self._mesh(draft, resolution, min_share)
            if extraction.mesh.is_empty and draft.consensus and draft.consensus.instead:
                draft = draft.consensus.instead
                extraction = self._mesh(draft, resolution, min_share)
            tokens, agreed = draft.tokens, draft.consensus
            scales = self.coarser_meshes(tokens, resolution, min_share) if every_scale else ()
            shapes.append(
                GeneratedShape(
                    draft.prompt,
                    draft.seed,
                    tokens,
                    draft.nll,
                    extraction,
                    scales,
                    selection,
                    () if agreed is None else agreed.seeds,
                    agreed is not None and agreed.is_guess,
                    None if agreed is None else agreed.spread,
                )
            )
        timings["extract"] = time.perf_counter() - started
        return GenerationResult(shapes=tuple(shapes), prompts=prompts, timings=timings)

    def _mesh(self, draft: Draft, resolution: int, min_share: float) -> Extraction:
        """Of what the draft stands for, or of its tokens."""
        if draft.consensus is None:
            return self.decode(draft.tokens, resolution=resolution, min_share=min_share)
        return self.decode_features(
            draft.consensus.features_LC,
            draft.tokens.num_scales,
            resolution=resolution,
            min_share=min_share,
        )

    def _selected(
        self,
        drafts: Sequence[Draft],
        best_of: int,
        prompts: Prompts,
        resolution: int,
        min_share: float,
    ) -> Sequence[tuple[Draft, Selection | None]]:
        if best_of == 1:
            return [(draft, None) for draft in drafts]
        rough = min(resolution, DRAFT_RESOLUTION)

        def mesh_of(tokens: TokenPyramid) -> TriangleMesh:
            return self.decode(tokens, resolution=rough, min_share=min_share).mesh

        return select_drafts(drafts, best_of, prompts, mesh_of)

    __call__ = generate

    def read_prompts(
        self,
        image: Pictures | None = None,
        text: str | Sequence[str] | None = None,
        points: Cloud | Sequence[Cloud] | None = None,
    ) -> Prompts:
        """Check and prepare prompts without generating yet; see `prompts.read_prompts`."""
        return read_prompts(self._generator(), image, text, points, tokenizer=self.tokenizer)

    def _generator(self) -> Car:
        if self.car is None:
            raise PromptError(
                f"weights {self.weights.name} hold a tokenizer alone; they cannot generate"
            )
        return self.car

    def _listener(
        self, on_scale: Callable[[ScaleEvent], None], first: int
    ) -> Callable[[ScaleSample], None]:
        def listen(sample: ScaleSample) -> None:
            tokens = tuple(self._pyramid(indices_T) for indices_T in sample.indices_BT.cpu())
            on_scale(ScaleEvent(first, sample.scale, sample.num_scales, tokens))

        return listen

    # --- work on tokens ----------------------------------------------------------------

    def vary(
        self, source: TokenSource, *, keep: int, **sampling: Unpack[Sampling]
    ) -> GenerationResult:
        """Keep the first scales of a shape and sample the others anew; see `vary_tokens`."""
        return vary_tokens(self, source, keep, sampling)

    def mix(
        self,
        coarse: TokenSource,
        fine: TokenSource,
        *,
        keep: int,
        method: MixMethod = "resample",
        **sampling: Unpack[Sampling],
    ) -> GenerationResult:
        """Join the coarse scales of one shape and the finer ones of another; see `mix_tokens`."""
        return mix_tokens(self, coarse, fine, keep, method, sampling)

    def complete(
        self,
        part: TriangleMesh | PointCloud | str | Path,
        *,
        frame: UnitFrame | None = None,
        search: SearchConfig | None = None,
        num: int = 1,
        prompts: Prompts | None = None,
        seed: int = 0,
        temperature: float = COMPLETION_TEMPERATURE,
        resolution: int = DEFAULT_RESOLUTION,
        min_share: float = 0.0,
    ) -> CompletionResult:
        """Make whole shapes of a part of a surface; see `search_completions`.

        Args:
            part: a mesh with missing parts, or points with normals, or a file of either.
            frame: unit frame of the whole shape; None takes the part's bounding box for the
                whole's.
            search: how many scales are kept and how many candidates are drawn.
            num: how many to give, at most as many as survive the search.
            prompts: picture or text of the whole shape (`read_prompts`), if there is one.
            seed: of everything random.
            temperature: below 1 candidates are more typical and less different.
            resolution: grid cells per axis of the meshes.
            min_share: drop parts below this share of the whole surface.

        Raises:
            MeshError: if the part cannot be read or has no extent.
            ValueError: if an argument is out of range.
        """
        car = self._generator()
        check_resolution(resolution)
        seed = seed_of(seed)
        check_sampling(num=num, temperature=temperature, min_share=min_share)
        search = SearchConfig() if search is None else search
        prompts = self.read_prompts() if prompts is None else prompts
        self.check_completion(search, num, prompts)
        num_points = self.weights.config.num_points
        surface, frame = partial_surface(part, frame, num_points, seed)
        indices_BT = search_completions(
            self.tokenizer,
            car,
            prompts.condition,
            surface,
            search,
            seed=seed,
            num_points=num_points,
            temperature=temperature,
            top_p=self.weights.config.sampling.top_p,
        )
        nats = token_likelihood(
            self.tokenizer, car, indices_BT, prompts.condition.repeat(len(indices_BT))
        ).nats.tolist()
        completions: list[Completion] = []
        for indices_T, nll in zip(indices_BT.cpu(), nats, strict=True):
            tokens = self._pyramid(indices_T)
            extraction = self.decode(tokens, resolution=resolution, min_share=min_share)
            shape = GeneratedShape(0, seed, tokens, nll, extraction)
            completions.append(Completion(shape, agreement(surface.points, shape.mesh)))
        completions.sort(key=lambda one: one.agreement.mean if one.agreement else np.inf)
        return CompletionResult(tuple(completions[:num]), frame)

    def check_completion(self, search: SearchConfig, num: int, prompts: Prompts) -> None:
        """Refuse what `complete` cannot do.

        Raises:
            ValueError: naming the argument.
        """
        if search.keep >= self.num_scales:
            raise ValueError(
                f"keep must lie in 0..{self.num_scales - 1}, so that scales are left to sample, "
                f"got {search.keep}"
            )
        if not 1 <= num <= search.survivors:
            raise ValueError(f"num must lie in 1..{search.survivors} (survivors), got {num}")
        if len(prompts) != 1:
            raise PromptError(f"one part is completed by one prompt, got {len(prompts)}")

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
        """How likely a shape is under the generator: high numbers are unusual shapes.

        Args:
            source: one shape; meshes are tokenized first.
            image: a picture that the shape is judged by, if it is to be; like `text`.
            text: a sentence about it.
            prompts: what `read_prompts` made of the two earlier, for one shape.
            num_scales: score the first scales only.
            seed: of the points sampled on the surface of a mesh.

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
