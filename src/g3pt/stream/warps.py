"""Random invertible warps that make new shapes from old ones and preserve inside and outside.

Each is a chain of one-to-one maps of the unit frame: mirror, stretch and shear (linear), taper,
bend, twist, a rotation about +Y, and finally the move back into the unit frame. `apply` maps
points; normals are mapped by the inverse transpose of its derivative, computed analytically.

Linear maps and the taper, a projective map, take planes to planes, so that mapping the corners of
a triangle maps the triangle exactly. Bend and twist take straight edges to curves, but the mapped
triangle stays flat: a query near it may end up on the wrong side. Their strength is therefore
limited for every shape so that the longest edge stays within about `max_sag` of its curve; labels
farther than that from the surface stay correct.

Points uniform in a box stay uniform only under linear maps.

Legend: B shapes, N points of each. Tensors are float32.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from g3pt.geometry.triangles import UNIT_LONGEST_SIDE


@dataclass(frozen=True, kw_only=True, slots=True)
class WarpConfig:
    """How often and how strongly shapes are warped."""

    stretch_share: float = 0.9
    """Share of shapes that are stretched, each axis by its own factor."""
    stretch: float = 0.22
    """Standard deviation of the logarithm of that factor."""
    stretch_limits: tuple[float, float] = (0.55, 1.8)
    shear_share: float = 0.25
    shear: float = 0.2
    """Largest shift of one axis along another, per unit length."""
    taper_share: float = 0.25
    taper: float = 0.25
    """Largest taper: at distance 1 along the axis, sizes are divided by 1 plus or minus this."""
    bend_share: float = 0.2
    bend: float = 0.3
    """Largest shift at distance 1 along the axis; it grows with the square of the distance."""
    twist_share: float = 0.15
    twist: float = 0.4
    """Largest twist, in radians per unit length of the axis."""
    max_sag: float = 0.004
    """Largest distance of the midpoint of an edge from the curve that bend or twist makes of it."""
    quarter_turn_share: float = 0.5
    """Share of shapes rotated by a random multiple of 90 degrees about +Y."""
    any_turn_share: float = 0.1
    """Share of shapes rotated by a random angle about +Y instead."""
    mirror_share: float = 0.5
    """Share of shapes mirrored, left to right."""

    def __post_init__(self) -> None:
        for name in ("stretch", "shear", "taper", "bend", "twist", "mirror"):
            share = getattr(self, f"{name}_share")
            if not 0 <= share <= 1:
                raise ValueError(f"warp.{name}_share must lie in 0..1, got {share}")
        if not 0 <= self.quarter_turn_share + self.any_turn_share <= 1:
            raise ValueError(
                "warp.quarter_turn_share and any_turn_share must add up to at most 1, got "
                f"{self.quarter_turn_share} and {self.any_turn_share}"
            )
        if not (0 <= self.shear <= 0.5 and 0 <= self.taper <= 0.4):
            raise ValueError(
                "warp.shear must lie in 0..0.5 and warp.taper in 0..0.4 (else points of the cube "
                f"are taken through infinity), got {self.shear} and {self.taper}"
            )
        low, high = self.stretch_limits
        if not 0 < low <= 1 <= high:
            raise ValueError(f"warp.stretch_limits must enclose 1, got {self.stretch_limits}")


@dataclass(frozen=True, eq=False)
class Warps:
    """One warp for each shape."""

    linear_B33: Float[Tensor, "B 3 3"]
    """Mirror, stretch and shear."""
    linear_inverse_B33: Float[Tensor, "B 3 3"]
    taper_B3: Float[Tensor, "B 3"]
    """Vector A of the taper: points are divided by 1 + A . p."""
    bend_B33: Float[Tensor, "B 3 3"]
    """Matrix K of the bend, with at most one entry, off the diagonal: K @ p**2 is added."""
    twist_B3: Float[Tensor, "B 3"]
    """Vector T of the twist, along one axis: rotates about that axis by the angle T . p."""
    turn_B33: Float[Tensor, "B 3 3"]
    """A rotation about +Y."""
    offset_B3: Float[Tensor, "B 3"]
    scale_B: Float[Tensor, " B"]
    """Scale of the last map, (p - offset) * scale."""
    orientation_B: Float[Tensor, " B"]
    """1, or -1 if the warp mirrors, which reverses the order of a triangle's corners."""

    @property
    def num(self) -> int:
        """Number of warps."""
        return len(self.scale_B)

    def take(self, shapes: Int[Tensor, " K"]) -> "Warps":
        """The warps of some of the shapes, in that order; repetitions are allowed."""
        return Warps(**{name: value[shapes] for name, value in vars(self).items()})

    def to(self, device: torch.device) -> "Warps":
        """The same on another device."""
        return Warps(**{name: value.to(device) for name, value in vars(self).items()})

    def apply(self, points_BN3: Float[Tensor, "B N 3"]) -> Float[Tensor, "B N 3"]:
        """Map points."""
        points_BN3 = self._untwisted(points_BN3)[-1]
        points_BN3 = _twisted(points_BN3, self._axes(), self._angles(points_BN3))
        points_BN3 = points_BN3 @ self.turn_B33.mT
        return (points_BN3 - self.offset_B3[:, None]) * self.scale_B[:, None, None]

    def apply_normals(
        self, points_BN3: Float[Tensor, "B N 3"], normals_BN3: Float[Tensor, "B N 3"]
    ) -> Float[Tensor, "B N 3"]:
        """Map normals of surfaces; outward normals stay outward, also under a mirror.

        Args:
            points_BN3: their positions before the warp.
            normals_BN3: normals of any length.

        Returns:
            Unit vectors; zero where the normal was zero.
        """
        linear_BN3, tapered_BN3, bent_BN3 = self._untwisted(points_BN3)
        normals_BN3 = normals_BN3 @ self.linear_inverse_B33
        along_BN1 = (linear_BN3 * normals_BN3).sum(dim=-1, keepdim=True)
        normals_BN3 = normals_BN3 + self.taper_B3[:, None] * along_BN1
        normals_BN3 = normals_BN3 - 2 * tapered_BN3 * (normals_BN3 @ self.bend_B33)
        axes_B13 = self._axes()
        swept_BN3 = torch.linalg.cross(axes_B13.expand_as(bent_BN3), bent_BN3)
        swept_BN1 = (swept_BN3 * normals_BN3).sum(dim=-1, keepdim=True)
        normals_BN3 = normals_BN3 - self.twist_B3[:, None] * swept_BN1
        normals_BN3 = _twisted(normals_BN3, axes_B13, self._angles(bent_BN3))
        return functional.normalize(normals_BN3 @ self.turn_B33.mT, dim=-1, eps=1e-20)

    def _untwisted(
        self, points_BN3: Float[Tensor, "B N 3"]
    ) -> tuple[Float[Tensor, "B N 3"], Float[Tensor, "B N 3"], Float[Tensor, "B N 3"]]:
        """The points after the linear map, then the taper, then the bend."""
        linear_BN3 = points_BN3 @ self.linear_B33.mT
        tapered_BN3 = linear_BN3 / (1 + linear_BN3 @ self.taper_B3[:, :, None])
        return linear_BN3, tapered_BN3, tapered_BN3 + tapered_BN3.square() @ self.bend_B33.mT

    def _axes(self) -> Float[Tensor, "B 1 3"]:
        """The axis of every twist; zero without one."""
        return functional.normalize(self.twist_B3, dim=-1, eps=1e-20)[:, None]

    def _angles(self, points_BN3: Float[Tensor, "B N 3"]) -> Float[Tensor, "B N 1"]:
        return points_BN3 @ self.twist_B3[:, :, None]


def draw_warps(
    config: WarpConfig,
    num: int,
    generator: torch.Generator,
    longest_edges_B: Float[Tensor, " B"],
) -> Warps:
    """Draw one warp per shape, without the move back into the unit frame (see `fit_to_unit`).

    Args:
        config: frequencies and strengths.
        num: number of shapes.
        generator: source of randomness; the warps are on its device.
        longest_edges_B: longest edge of every shape before the warp; it limits bend and twist.
    """
    draw = _Draw(num, generator)
    factors_B3 = (config.stretch * draw.normal(3)).exp().clamp(*config.stretch_limits)
    factors_B3 = torch.where(draw.happens(config.stretch_share)[:, None], factors_B3, 1.0)
    # `fit_to_unit` sets the size; here nothing grows, so that the limits below hold.
    factors_B3 = factors_B3 / factors_B3.amax(dim=1, keepdim=True)
    mirrors = draw.happens(config.mirror_share)
    signs_B3 = torch.ones_like(factors_B3)
    signs_B3[:, 0] = torch.where(mirrors, -1.0, 1.0)
    shear_B33 = draw.pair(draw.strength(config.shear_share, config.shear))
    eye_33 = torch.eye(3, device=generator.device)
    # The midpoint of an edge of length L is K L^2 / 4 off its curve for a bend, and no more for
    # a twist of up to half a radian per unit length.
    limit_B = 4 * config.max_sag / longest_edges_B.to(generator.device).square().clamp(min=1e-6)
    bend_B = draw.strength(config.bend_share, config.bend)
    twist_B = draw.strength(config.twist_share, config.twist)
    return Warps(
        linear_B33=(eye_33 + shear_B33) * (factors_B3 * signs_B3)[:, None, :],
        linear_inverse_B33=(eye_33 - shear_B33) * (signs_B3 / factors_B3)[:, :, None],
        taper_B3=draw.axis() * draw.strength(config.taper_share, config.taper)[:, None],
        bend_B33=draw.pair(bend_B.clamp(-limit_B, limit_B)),
        twist_B3=draw.axis() * twist_B.clamp(-limit_B, limit_B)[:, None],
        turn_B33=_about_y(_turns(config, draw)),
        offset_B3=torch.zeros_like(factors_B3),
        scale_B=torch.ones_like(bend_B),
        orientation_B=signs_B3[:, 0].clone(),
    )


def fit_to_unit(warps: Warps, low_B3: Float[Tensor, "B 3"], high_B3: Float[Tensor, "B 3"]) -> Warps:
    """Add the move back into the unit frame to warps.

    Args:
        warps: the warps.
        low_B3: lowest corner of the bounding box of each shape's warped vertices.
        high_B3: highest corner of that box.
    """
    longest_B = (high_B3 - low_B3).amax(dim=1).clamp(min=1e-6)
    scale_B = UNIT_LONGEST_SIDE / longest_B
    # (p - o) s, then (. - m) t, is (p - (o + m / s)) s t.
    middle_B3 = (low_B3 + high_B3) / 2
    return replace(
        warps,
        offset_B3=warps.offset_B3 + middle_B3 / warps.scale_B[:, None],
        scale_B=warps.scale_B * scale_B,
    )


class _Draw:
    """Random numbers, one for each shape."""

    def __init__(self, num: int, generator: torch.Generator) -> None:
        self._num, self._generator, self._device = num, generator, generator.device

    def uniform(self) -> Float[Tensor, " B"]:
        """Uniform in [0, 1)."""
        return torch.rand(self._num, generator=self._generator, device=self._device)

    def normal(self, size: int) -> Float[Tensor, "B K"]:
        """Standard normal."""
        return torch.randn(self._num, size, generator=self._generator, device=self._device)

    def happens(self, share: float) -> Tensor:
        """True for a share of the shapes."""
        return self.uniform() < share

    def strength(self, share: float, largest: float) -> Float[Tensor, " B"]:
        """Uniform between plus and minus the largest for a share of the shapes, else zero."""
        size_B = (2 * self.uniform() - 1) * largest
        return torch.where(self.happens(share), size_B, 0.0)

    def whole(self, below: int) -> Int[Tensor, " B"]:
        """Uniform integers in [0, below)."""
        return torch.randint(below, (self._num,), generator=self._generator, device=self._device)

    def axis(self) -> Float[Tensor, "B 3"]:
        """One of the three axes."""
        return functional.one_hot(self.whole(3), 3).float()

    def pair(self, values_B: Float[Tensor, " B"]) -> Float[Tensor, "B 3 3"]:
        """Matrices with one entry at a random position off the diagonal."""
        row_B = self.whole(3)
        column_B = (row_B + 1 + self.whole(2)) % 3
        rows_B31 = functional.one_hot(row_B, 3).float()[:, :, None]
        return values_B[:, None, None] * rows_B31 * functional.one_hot(column_B, 3)[:, None]


def _turns(config: WarpConfig, draw: _Draw) -> Float[Tensor, " B"]:
    """Angles about +Y in radians."""
    kind_B, quarter_B, any_B = draw.uniform(), draw.whole(4), draw.uniform()
    angles_B = torch.where(
        kind_B < config.quarter_turn_share, quarter_B * (math.pi / 2), any_B * (2 * math.pi)
    )
    return torch.where(kind_B < config.quarter_turn_share + config.any_turn_share, angles_B, 0.0)


def _about_y(angles_B: Float[Tensor, " B"]) -> Float[Tensor, "B 3 3"]:
    cos_B, sin_B = angles_B.cos(), angles_B.sin()
    zero_B, one_B = torch.zeros_like(cos_B), torch.ones_like(cos_B)
    rows = [cos_B, zero_B, sin_B, zero_B, one_B, zero_B, -sin_B, zero_B, cos_B]
    return torch.stack(rows, dim=1).reshape(-1, 3, 3)


def _twisted(
    vectors_BN3: Float[Tensor, "B N 3"],
    axes_B13: Float[Tensor, "B 1 3"],
    angles_BN1: Float[Tensor, "B N 1"],
) -> Float[Tensor, "B N 3"]:
    """Rotate each vector about the axis of its shape (Rodrigues' formula)."""
    along_BN3 = (vectors_BN3 * axes_B13).sum(dim=-1, keepdim=True) * axes_B13
    across_BN3 = torch.linalg.cross(axes_B13.expand_as(vectors_BN3), vectors_BN3)
    cos_BN1, sin_BN1 = angles_BN1.cos(), angles_BN1.sin()
    return vectors_BN3 * cos_BN1 + across_BN3 * sin_BN1 + along_BN3 * (1 - cos_BN1)
