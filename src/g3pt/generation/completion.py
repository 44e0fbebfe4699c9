"""Completion: whole shapes from points on a part of their surface.

The tokens of a partial cloud describe only the part, and end at the cut. So whole shapes are
sampled: all scales, or those that follow the first scales of these tokens. At every scale several
continuations are drawn. Those are kept whose field agrees best with the given points: inside just
below the surface, outside just above it.

Legend: N given points, Q query points, L latents, C channels, T tokens. Unit frame of the whole.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int
from torch import Tensor

from g3pt.arguments import PromptError, check_number, check_whole
from g3pt.generation.likelihood import token_likelihood
from g3pt.generation.meshing import check_resolution, mesh_tokens, pyramid_of
from g3pt.generation.prompts import Prompts
from g3pt.generation.results import GeneratedShape, OnScale, ScaleEvent, on_meshing
from g3pt.generation.sampler import generate_tokens
from g3pt.geometry.clouds import PointCloud, estimate_normals, read_cloud
from g3pt.geometry.mesh import TriangleMesh, UnitFrame, unit_frame_of
from g3pt.geometry.metrics import distance_to_mesh
from g3pt.geometry.sampling import sample_surface
from g3pt.models.car import Car
from g3pt.models.conditioning import ConditionBatch
from g3pt.models.conditioning.points import PointsConditionConfig, encode_points
from g3pt.models.sampling import Sampling
from g3pt.models.tokenizer import DiscreteTokenizer

NUM_CHECKED = 128
"""Given points at which the field of a candidate is queried."""

SHELLS = (0.03, 0.1)
"""Distances of the queries above and below the surface, in unit-frame lengths."""

EVEN_TOKENS = 16
"""Scales with fewer tokens than this get more candidates, in proportion, because candidates cost
least there and differ most."""

CHUNK = 32
"""Candidates whose fields are queried in one batch."""

COMPLETION = Sampling(guidance=1.0, temperature=0.8, top_k=0)
"""Default sampling of candidates, which must differ more than single samples do."""

NEAR = 0.05
"""A given point counts as met if the surface is within this distance, in unit-frame lengths."""


@dataclass(frozen=True, eq=False)
class PartialSurface:
    """The known points of a surface, in the unit frame of the whole shape."""

    points: Float64[np.ndarray, "N 3"]
    normals: Float64[np.ndarray, "N 3"]
    """Outward unit normals."""

    def draw(self, num: int, rng: np.random.Generator) -> "PartialSurface":
        """Draw `num` of the points; some are drawn twice if there are fewer."""
        chosen = rng.choice(len(self.points), num, replace=len(self.points) < num)
        return PartialSurface(self.points[chosen], self.normals[chosen])


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchConfig:
    """Settings of the search for completions."""

    keep: int = 0
    """Number of coarse scales taken from the tokens of the part itself; 0 samples all scales."""
    width: int = 16
    """Continuations drawn at every scale; more at scales with few tokens (`EVEN_TOKENS`)."""
    survivors: int = 4
    """Continuations kept at every scale; more at scales with few tokens."""

    def __post_init__(self) -> None:
        for name in ("keep", "width", "survivors"):
            check_whole(name, getattr(self, name))
        if self.keep < 0:
            raise ValueError(f"keep must be at least 0, got {self.keep}")
        if not 1 <= self.survivors <= self.width:
            raise ValueError(
                f"survivors must lie in 1..{self.width} (the width), got {self.survivors}"
            )


def partial_surface(
    source: TriangleMesh | PointCloud | str | Path,
    frame: UnitFrame | None,
    num_points: int,
    seed: int,
) -> tuple["PartialSurface", UnitFrame]:
    """Bring a partial mesh or cloud into the unit frame of the whole shape.

    Args:
        source: a mesh (its surface is sampled), a cloud, or a file of either (`read_cloud`).
        frame: unit frame of the whole shape; None takes that of the part, which is right if
            nothing that is missing leaves the part's bounding box.
        num_points: points to sample on a mesh.
        seed: seed of these points.

    Raises:
        FileNotFoundError, CloudError, MeshError: if the source cannot be read or has no extent.
    """
    name = "points"
    if isinstance(source, str | Path):
        name, source = str(source), read_cloud(source)
    if isinstance(source, TriangleMesh):
        samples = sample_surface(source, num_points, np.random.default_rng(seed))
        source = PointCloud(samples.points, samples.normals)
    if frame is None:
        frame = unit_frame_of(_box_of(source.points))
    normals = source.normals
    if normals is None:
        normals = estimate_normals(source.points, name)
    return PartialSurface(frame.to_unit(source.points), normals), frame


def _box_of(points: Float64[np.ndarray, "N 3"]) -> TriangleMesh:
    """A triangle that has the same bounding box as the points."""
    low, high = points.min(axis=0), points.max(axis=0)
    return TriangleMesh.from_arrays([low, high, low], [[0, 1, 2]])


@dataclass(frozen=True)
class Agreement:
    """How well a surface meets the given points: distances from the points to it, one way only."""

    mean: float
    largest: float
    met: float
    """Share of the points within `NEAR`."""


@dataclass(frozen=True, eq=False)
class Completion:
    """One completed shape."""

    shape: GeneratedShape
    agreement: Agreement | None
    """Agreement with the given points; None if the shape is empty."""


@dataclass(frozen=True, eq=False)
class CompletionResult:
    """Completed shapes in the unit frame; the one that meets the given points best comes first."""

    completions: tuple[Completion, ...]
    frame: UnitFrame
    """Position and scale of the unit frame in the source's space."""


def agreement(points: Float64[np.ndarray, "N 3"], mesh: TriangleMesh) -> Agreement | None:
    """Measure the distances of given points to a mesh; None if the mesh is empty."""
    if mesh.is_empty:
        return None
    distances = distance_to_mesh(points, mesh)
    return Agreement(
        float(distances.mean()), float(distances.max()), float((distances < NEAR).mean())
    )


def check_search(search: SearchConfig, num: int, prompts: Prompts, num_scales: int) -> None:
    """Check a search before anything is computed.

    Args:
        search: number of scales that are kept and of candidates that are drawn.
        num: number of completions.
        prompts: the prompt.
        num_scales: number of scales of the tokenizer.

    Raises:
        ValueError: if one cannot be used; the message names it.
    """
    check_whole("num", num)
    if search.keep >= num_scales:
        raise ValueError(
            f"keep must lie in 0..{num_scales - 1}, so that scales are left to sample, "
            f"got {search.keep}"
        )
    if not 1 <= num <= search.survivors:
        raise ValueError(f"num must lie in 1..{search.survivors} (survivors), got {num}")
    if len(prompts) != 1:
        raise PromptError(f"one part is completed by one prompt, got {len(prompts)}")


def complete_part(
    tokenizer: DiscreteTokenizer,
    car: Car,
    condition: ConditionBatch,
    part: TriangleMesh | PointCloud | str | Path,
    frame: UnitFrame | None,
    search: SearchConfig,
    *,
    num: int,
    seed: int,
    num_points: int,
    sampling: Sampling,
    by_weights: Sampling,
    resolution: int,
    min_share: float,
    on_scale: OnScale | None = None,
) -> CompletionResult:
    """Search for whole shapes, mesh the survivors and sort them; arguments as in `G3PT.complete`.

    Args:
        tokenizer: stage 1.
        car: stage 2.
        condition: raw conditions of the whole shape, one row.
        part: the known part of the surface.
        frame: unit frame of the whole shape; None takes that of the part.
        search: number of scales that are kept and of candidates that are drawn.
        num: number of completions.
        seed: seed of everything random.
        num_points: points that the tokenizer reads.
        sampling: the user's settings.
        by_weights: the settings of the weights, which `COMPLETION` and the user's override.
        resolution: grid cells per axis.
        min_share: drop parts below this share of the whole surface area.
        on_scale: hears of the scales of the search and of the meshing.

    Raises:
        MeshError: if the part cannot be read or has no extent.
        ValueError: if an argument is out of range.
    """
    check_resolution(resolution)
    check_number("min_share", min_share)
    for name in ("num_scales", "consensus", "guess", "guess_above", "outline"):
        if getattr(sampling, name) is not None:
            raise PromptError(f"completions are single samples of all scales: give no {name}")
    surface, frame = partial_surface(part, frame, num_points, seed)
    indices_BT = search_completions(
        tokenizer,
        car,
        condition,
        surface,
        search,
        seed=seed,
        num_points=num_points,
        sampling=sampling.over(COMPLETION).over(by_weights),
        on_scale=on_scale,
    )
    likelihood = token_likelihood(tokenizer, car, indices_BT, condition.repeat(len(indices_BT)))
    completions: list[Completion] = []
    pairs = zip(indices_BT.cpu(), likelihood.nats.tolist(), strict=True)
    for number, (indices_T, nll) in enumerate(pairs):
        tokens = pyramid_of(tokenizer, indices_T)
        extraction = mesh_tokens(
            tokenizer,
            tokens,
            resolution=resolution,
            min_share=min_share,
            on_block=on_meshing(on_scale, tokens, number, len(indices_BT)),
        )
        shape = GeneratedShape(0, seed, tokens, nll, extraction)
        completions.append(Completion(shape, agreement(surface.points, shape.mesh)))
    completions.sort(key=lambda one: one.agreement.mean if one.agreement else np.inf)
    return CompletionResult(tuple(completions[:num]), frame)


def add_points(car: Car, condition: ConditionBatch, latents_1LC: Tensor) -> ConditionBatch:
    """Add the points to the condition, if the generator takes points."""
    if not any(isinstance(one, PointsConditionConfig) for one in car.config.conditions):
        return condition
    rows_BLC = latents_1LC.expand(condition.batch_size, -1, -1)
    return replace(condition, point_latents_BLC=rows_BLC)


@torch.no_grad()
def search_completions(
    tokenizer: DiscreteTokenizer,
    car: Car,
    condition: ConditionBatch,
    part: PartialSurface,
    search: SearchConfig,
    *,
    seed: int,
    num_points: int,
    sampling: Sampling,
    on_scale: OnScale | None = None,
) -> Int[Tensor, "B T"]:
    """Search for tokens of whole shapes that agree with the given points.

    Args:
        tokenizer: stage 1.
        car: stage 2.
        condition: raw conditions of the whole shape, one row.
        part: the given points.
        search: number of scales that are kept and of candidates that are drawn.
        seed: seed of the drawn points; candidate k has seed + k.
        num_points: points that the tokenizer reads.
        sampling: settings of every continuation, for all scales.
        on_scale: hears of every scale, with the tokens of the best candidate so far.

    Returns:
        One row per surviving candidate, best first.
    """
    rng = np.random.default_rng(seed)
    device = next(car.parameters()).device
    drawn = part.draw(num_points, rng)
    points, normals = (
        torch.from_numpy(rows.astype(np.float32))[None].to(device)
        for rows in (drawn.points, drawn.normals)
    )
    latents_1LC = encode_points(tokenizer, points, normals)
    condition = add_points(car, condition, latents_1LC)
    checked = part.draw(NUM_CHECKED, rng)
    own_1T = tokenizer.quantize(latents_1LC).indices_BT
    first = sum(tokenizer.scale_lengths[: search.keep])
    kept_BT = own_1T[:, :first]
    for scale in range(search.keep, tokenizer.num_scales):
        share = max(1, EVEN_TOKENS // tokenizer.scale_lengths[scale])
        width = search.width * share
        known_BT = kept_BT.repeat_interleave(-(-width // len(kept_BT)), dim=0)[:width]
        sampled = generate_tokens(
            tokenizer,
            car,
            condition.repeat(width),
            seeds=[seed + k for k in range(width)],
            sampling=replace(sampling, num_scales=scale + 1),
            known_BT=known_BT if known_BT.shape[1] else None,
        )
        losses_B = field_losses(tokenizer, sampled.summed_BLC, scale + 1, checked)
        best = _first_distinct(sampled.indices_BT, losses_B.argsort(stable=True))
        kept_BT = sampled.indices_BT[best[: search.survivors * share]]
        if on_scale is not None:
            tokens = pyramid_of(tokenizer, kept_BT[0].cpu())
            on_scale(ScaleEvent(0, scale, tokenizer.num_scales, (tokens,)))
    return kept_BT


def field_losses(
    tokenizer: DiscreteTokenizer,
    summed_BLC: Float[Tensor, "B L C"],
    num_scales: int,
    part: PartialSurface,
) -> Float[Tensor, " B"]:
    """Binary cross-entropy of fields just below (inside) and just above (outside) given points.

    Args:
        tokenizer: stage 1.
        summed_BLC: sum of the upsampled features of each candidate.
        num_scales: number of scales in the sum.
        part: the points with normals.

    Returns:
        Mean over all queries, per candidate.
    """
    offsets = [side * height * part.normals for height in SHELLS for side in (-1, 1)]
    queries = np.concatenate([part.points + offset for offset in offsets]).astype(np.float32)
    queries_1Q3 = torch.from_numpy(queries)[None].to(summed_BLC.device)
    inside = np.tile(np.repeat([1.0, 0.0], len(part.points)), len(SHELLS)).astype(np.float32)
    inside_1Q = torch.from_numpy(inside)[None].to(summed_BLC.device)
    losses: list[Tensor] = []
    for some_BLC in summed_BLC.split(CHUNK):
        memory = tokenizer.shape_memory(some_BLC, num_scales)
        logits_BQ = tokenizer.occupancy(memory, queries_1Q3.expand(len(some_BLC), -1, -1)).float()
        targets_BQ = inside_1Q.expand_as(logits_BQ)
        wrong_BQ = F.binary_cross_entropy_with_logits(logits_BQ, targets_BQ, reduction="none")
        losses.append(wrong_BQ.mean(dim=1))
    return torch.cat(losses)


def _first_distinct(indices_BT: Tensor, order_B: Tensor) -> list[int]:
    """Rows in the given order, without those that repeat the tokens of an earlier row."""
    seen: set[tuple[int, ...]] = set()
    kept: list[int] = []
    rows = indices_BT.tolist()
    for row in order_B.tolist():
        tokens = tuple(rows[row])
        if tokens not in seen:
            seen.add(tokens)
            kept.append(row)
    return kept
