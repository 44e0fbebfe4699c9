"""New shapes from the tokens of old ones: variations of one, mixtures of two.

What a shape is and roughly where its parts are stands in its coarse scales, how they look in the
finer ones. So keeping the first scales and sampling the others gives relatives of a shape. Tokens
of a finer scale describe the residual that the shape's own coarser scales left: beside the coarse
scales of another shape they do not say what they said. Unit frame.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypedDict, assert_never

import torch
from PIL import Image

from g3pt.generation.arguments import check_whole
from g3pt.generation.codec import TokenSource
from g3pt.generation.prompts import Picture, PromptError, Prompts
from g3pt.generation.results import GenerationResult, ScaleEvent
from g3pt.generation.sampler import PerScale
from g3pt.geometry.cameras import canonical_camera
from g3pt.geometry.render import render
from g3pt.models.g3t import TokenPyramid

if TYPE_CHECKING:
    from g3pt.generation.pipeline import G3PT

MixMethod = Literal["tokens", "resample"]
"""The finer tokens themselves, or ones sampled from what the other shape looks like."""

PICTURE_SIZE = 256
"""Side of the picture of a shape that `mix_tokens` takes as a prompt."""
PICTURE_RESOLUTION = 96
"""Grid cells per axis of the mesh in that picture."""


class SamplingNumbers(TypedDict, total=False):
    """Arguments of `G3PT.generate` that say how, not what, is sampled and meshed."""

    seed: int
    num: int
    guidance: PerScale | None
    temperature: PerScale | None
    top_k: int | Sequence[int] | None
    top_p: PerScale | None
    resolution: int
    min_share: float


class Sampling(SamplingNumbers, total=False):
    """Arguments of `G3PT.generate` that every work on tokens takes as well."""

    image: Picture | Sequence[Picture] | None
    text: str | Sequence[str] | None
    prompts: Prompts | None
    num_scales: int | None
    every_scale: bool
    on_scale: Callable[[ScaleEvent], None] | None


def vary_tokens(
    pipeline: "G3PT", source: TokenSource, keep: int, sampling: Sampling
) -> GenerationResult:
    """Keep the first scales of a shape and sample the others anew.

    A shape that was generated comes out unchanged if it is varied with its own seed, prompt and
    settings.

    Args:
        pipeline: the models.
        source: the shape to vary; meshes are tokenized with the seed of the first variation.
        keep: how many scales to keep; all but the last change least.
        sampling: as for `G3PT.generate`; the prompt may differ from the one of the shape, or be
            left out.

    Raises:
        ValueError: if `keep` leaves nothing to sample, or the shape has not as many scales.
    """
    tokens = pipeline.tokens_of(source, seed=sampling.get("seed", 0)).tokens
    return pipeline.generate(known=kept_scales(pipeline, tokens, keep), **sampling)


@dataclass(frozen=True, eq=False)
class MixStart:
    """What a mixture begins with."""

    known: TokenPyramid
    """Tokens of its first scales, or of all."""
    prompts: Prompts
    """What the scales that are missing are sampled from."""


def start_mix(
    pipeline: "G3PT",
    coarse: TokenPyramid,
    fine: TokenPyramid,
    keep: int,
    method: MixMethod,
    prompts: Prompts | None,
) -> MixStart:
    """Check that two shapes can be mixed, and prepare it; arguments as for `mix_tokens`.

    Raises:
        ValueError: if `keep` leaves nothing to `fine`, a shape has not all scales it needs, or
            there is no prompt and the weights take no pictures.
    """
    known = kept_scales(pipeline, coarse, keep)
    match method:
        case "tokens":
            return MixStart(splice(known, fine), prompts or pipeline.read_prompts())
        case "resample":
            prompts = prompts or pipeline.read_prompts(image=picture_of(pipeline, fine))
            return MixStart(known, prompts)
        case _:
            assert_never(method)


def mix_tokens(
    pipeline: "G3PT",
    coarse: TokenSource,
    fine: TokenSource,
    keep: int,
    method: MixMethod,
    sampling: Sampling,
) -> GenerationResult:
    """Join the coarse scales of one shape and the finer scales of another.

    Args:
        pipeline: the models.
        coarse: shape whose first scales are kept.
        fine: shape that the finer scales are from.
        keep: how many scales are those of `coarse`.
        method: `resample` samples the finer scales anew, with `fine` as the prompt: the given
            image or text, or else a picture of it. `tokens` takes its tokens as they are: exact
            and without chance, but they were residuals of other coarse scales.
        sampling: as for `G3PT.generate`. With `tokens` a prompt counts in the likelihood alone.

    Raises:
        ValueError: as `start_mix`; also if several samples of `tokens` are asked for.
    """
    seed = sampling.get("seed", 0)
    if method == "tokens" and sampling.get("num", 1) != 1:
        raise ValueError("mixing tokens leaves nothing to chance: num must be 1")
    prompts = sampling.get("prompts")
    if prompts is None and (sampling.get("image") is not None or sampling.get("text") is not None):
        prompts = pipeline.read_prompts(sampling.get("image"), sampling.get("text"))
    ours, theirs = (pipeline.tokens_of(one, seed=seed).tokens for one in (coarse, fine))
    start = start_mix(pipeline, ours, theirs, keep, method, prompts)
    return pipeline.generate(known=start.known, **{**sampling, "prompts": start.prompts})


def kept_scales(pipeline: "G3PT", tokens: TokenPyramid, keep: int) -> TokenPyramid:
    """The first scales of a shape, of which some must be left to sample.

    Raises:
        ValueError: if none is, or the shape has not as many.
    """
    last = pipeline.num_scales - 1
    check_whole("keep", keep)
    if not 1 <= keep <= last:
        raise ValueError(
            f"keep must lie in 1..{last}, so that scales are left to sample, got {keep}"
        )
    return tokens.truncate(keep)


def splice(coarse: TokenPyramid, fine: TokenPyramid) -> TokenPyramid:
    """The scales of `coarse`, then those of `fine` that come after them.

    Raises:
        ValueError: if `fine` has no scale after those of `coarse`.
    """
    if fine.num_scales <= coarse.num_scales:
        raise ValueError(
            f"the finer shape has {fine.num_scales} scales, none of them after the "
            f"{coarse.num_scales} of the coarser one: keep fewer"
        )
    rest_T = fine.indices[coarse.num_tokens :]
    return replace(coarse, indices=torch.cat([coarse.indices.cpu(), rest_T.cpu()]))


def picture_of(pipeline: "G3PT", tokens: TokenPyramid) -> Image.Image:
    """Picture of what some tokens decode to, from the canonical camera, on no ground.

    Raises:
        PromptError: if the weights take no pictures, or the shape decodes as empty.
    """
    slots = () if pipeline.car is None else [c.slot for c in pipeline.car.config.conditions]
    if "image" not in slots:
        raise PromptError(
            f"weights {pipeline.weights.name} take no pictures: say with a text what the finer "
            "scales are to show, or mix the tokens themselves"
        )
    mesh = pipeline.decode(tokens, resolution=PICTURE_RESOLUTION).mesh
    if mesh.is_empty:
        raise PromptError("the shape that the finer scales are from decodes as empty")
    return Image.fromarray(render(mesh, canonical_camera(), size=PICTURE_SIZE))
