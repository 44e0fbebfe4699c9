"""Surface points and labelled queries of many shapes at once, given only their fields.

The points within a small distance of a surface form a shell of constant thickness. Uniform points
of the shell, projected to the surface along the field's gradient, are uniform on it, up to an error
at edges that vanishes with the thickness. A grid tells where the shell may be. `ProceduralShape`
samples the primitives and drops buried points, which is the slow, exact twin.

Legend: B shapes, G cells of the grid, M candidates, N surface points, Q queries.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

CELLS = 64
"""Cells of the grid along each side of the query cube."""
THICKNESS = 0.012
"""Largest distance of a candidate from the surface, in unit-frame lengths."""
NUM_CANDIDATES = 5
"""Candidates per point wanted; about a third of them lie in the shell."""
_NUM_STEPS = 4
_STEP = 1e-3
_TETRAHEDRON = ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1))
_CELLS_AT_ONCE = 1 << 22

Field = Callable[[Tensor], Tensor]
"""Points (B, Q, 3) of the unit frame -> values (B, Q), negative inside."""


@torch.no_grad()
def sample_field_surfaces(
    field: Field, num_shapes: int, num_points: int, generator: torch.Generator
) -> tuple[Float[Tensor, "B N 3"], Float[Tensor, "B N 3"]]:
    """Draw uniform surface points with outward unit normals.

    Args:
        field: field of all shapes; near the surface proportional to the distance.
        num_shapes: number of shapes.
        num_points: points per shape; with repetition if a shape has very little surface.
        generator: source of randomness, on the field's device.
    """
    candidates_BM3 = _candidates(field, num_shapes, NUM_CANDIDATES * num_points, generator)
    values_BM, slopes_BM3 = _with_slopes(field, candidates_BM3)
    distances_BM = values_BM.abs() / slopes_BM3.norm(dim=-1).clamp(min=0.1)
    points_BN3 = first_kept(candidates_BM3, distances_BM < THICKNESS, 2 * num_points)
    for _ in range(_NUM_STEPS):
        values_BN, slopes_BN3 = _with_slopes(field, points_BN3)
        square_BN = slopes_BN3.square().sum(dim=-1).clamp(min=1e-2)
        points_BN3 = points_BN3 - (values_BN / square_BN)[..., None] * slopes_BN3
    values_BN, slopes_BN3 = _with_slopes(field, points_BN3)
    found_BN6 = torch.cat([points_BN3, F.normalize(slopes_BN3, dim=-1)], dim=-1)
    points_BN3, normals_BN3 = first_kept(found_BN6, values_BN.abs() < _STEP, num_points).split(
        3, dim=-1
    )
    return points_BN3.clamp(-1, 1), normals_BN3


def _candidates(
    field: Field, num_shapes: int, num: int, generator: torch.Generator
) -> Float[Tensor, "B M 3"]:
    """Uniform points in all cells that may contain a part of the shell."""
    device, cell = generator.device, 2.0 / CELLS
    line = (torch.arange(CELLS, device=device) + 0.5) * cell - 1
    centres_G3 = torch.stack(torch.meshgrid(line, line, line, indexing="ij"), dim=-1).view(-1, 3)
    reach = 3**0.5 / 2 * cell + THICKNESS
    size = max(1024, _CELLS_AT_ONCE // num_shapes)
    near = [
        field(part_G3.expand(num_shapes, -1, -1)).abs() < reach
        for part_G3 in centres_G3.split(size)
    ]
    ends_BG = torch.cat(near, dim=1).cumsum(dim=1, dtype=torch.int32)
    random_B4M = torch.rand(num_shapes, 4, num, generator=generator, device=device)
    wanted_BM = (random_B4M[:, 0] * ends_BG[:, -1:]).int()
    cells_BM = torch.searchsorted(ends_BG, wanted_BM, right=True).clamp(max=len(centres_G3) - 1)
    inner_BM3 = (random_B4M[:, 1:].transpose(1, 2) - 0.5) * cell
    return centres_G3[cells_BM] + inner_BM3


def _with_slopes(field: Field, points_BM3: Tensor) -> tuple[Tensor, Tensor]:
    """The field and its gradient, by finite differences at the corners of a tetrahedron."""
    corners_43 = points_BM3.new_tensor(_TETRAHEDRON) / 3**0.5
    around_B4M3 = points_BM3[:, None] + _STEP * corners_43[:, None]
    values_B4M = field(around_B4M3.flatten(1, 2)).unflatten(1, (4, -1))
    slopes_BM3 = torch.einsum("bkm,kx->bmx", values_B4M, corners_43) * (0.75 / _STEP)
    return values_B4M.mean(dim=1), slopes_BM3


def first_kept(values_BMX: Tensor, kept_BM: Tensor, num: int) -> Tensor:
    """The first `num` kept rows of each shape, repeated cyclically if there are fewer.

    Where none is kept, the first row is repeated.
    """
    order_BM = kept_BM.byte().argsort(dim=1, descending=True, stable=True)
    places_N = torch.arange(num, device=kept_BM.device)
    counts_B1 = kept_BM.sum(dim=1, keepdim=True).clamp(min=1)
    chosen_BN = order_BM.gather(1, places_N % counts_B1)
    return values_BMX.gather(1, chosen_BN[..., None].expand(-1, -1, values_BMX.shape[-1]))


NEAR_SIGMAS = (0.005, 0.02, 0.05)
"""Standard deviations of near queries per axis; each applies to an equal share of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryCounts:
    """Number of labelled query points per example."""

    num_volume: int = 1024
    """Queries uniform in the cube [-1, 1]^3."""
    num_near: int = 510
    """Queries near the surface."""

    def __post_init__(self) -> None:
        if self.num_volume < 1 or self.num_near < 1 or self.num_near % len(NEAR_SIGMAS):
            raise ValueError(
                f"queries need num_volume >= 1 and num_near in multiples of {len(NEAR_SIGMAS)}, "
                f"got {self.num_volume} and {self.num_near}"
            )

    @property
    def total(self) -> int:
        """Number of all queries; volume queries come first."""
        return self.num_volume + self.num_near


def label_queries(
    field: Callable[[Tensor], Tensor],
    points_BN3: Float[Tensor, "B N 3"],
    counts: QueryCounts,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "B Q 3"], Bool[Tensor, "B Q"]]:
    """Draw query points and label which are inside.

    Args:
        field: points (B, Q, 3) -> values (B, Q), negative inside.
        points_BN3: points on the surfaces, unit frame, in random order.
        counts: numbers of queries.
        generator: source of randomness, on the device of the points.
    """
    size, device = len(points_BN3), points_BN3.device
    volume_BQ3 = torch.rand(size, counts.num_volume, 3, generator=generator, device=device) * 2 - 1
    bases_BQ3 = points_BN3[:, : counts.num_near]
    if bases_BQ3.shape[1] < counts.num_near:
        repeats = -(-counts.num_near // bases_BQ3.shape[1])
        bases_BQ3 = bases_BQ3.repeat(1, repeats, 1)[:, : counts.num_near]
    sigmas_Q = torch.tensor(NEAR_SIGMAS, device=device).repeat(counts.num_near // len(NEAR_SIGMAS))
    noise_BQ3 = torch.randn(bases_BQ3.shape, generator=generator, device=device)
    near_BQ3 = (bases_BQ3 + noise_BQ3 * sigmas_Q[:, None]).clamp(-1, 1)
    queries_BQ3 = torch.cat([volume_BQ3, near_BQ3], dim=1)
    return queries_BQ3, field(queries_BQ3) < 0
