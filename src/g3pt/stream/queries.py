"""Labelled query points of procedural shapes, asked of their exact field on the device.

Legend: B shapes, N surface points, Q queries.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

NEAR_SIGMAS = (0.005, 0.02, 0.05)
"""Per axis; near queries are shared equally by them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryCounts:
    """How many points of the field go with every example."""

    num_volume: int = 1024
    """Uniform in the cube [-1, 1]^3."""
    num_near: int = 510
    """Near the surface."""

    def __post_init__(self) -> None:
        if self.num_volume < 1 or self.num_near < 1 or self.num_near % len(NEAR_SIGMAS):
            raise ValueError(
                f"queries need num_volume >= 1 and num_near in multiples of {len(NEAR_SIGMAS)}, "
                f"got {self.num_volume} and {self.num_near}"
            )

    @property
    def total(self) -> int:
        """All of them; those of the volume come first."""
        return self.num_volume + self.num_near


def label_queries(
    field: Callable[[Tensor], Tensor],
    points_BN3: Float[Tensor, "B N 3"],
    counts: QueryCounts,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "B Q 3"], Bool[Tensor, "B Q"]]:
    """Draw query points and ask which are inside.

    Args:
        field: negative inside; (B, Q, 3) points to (B, Q) values.
        points_BN3: on the surfaces, unit frame, in random order.
        counts: how many.
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
