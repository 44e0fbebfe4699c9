"""From where the shapes of a stream are drawn, and in whose frame their pictures are answered.

A shape without a kind has no front of its own, and a picture does not say how its object was turned
before it was taken. So the frame that a picture is answered in has to follow from the picture: of
the four in which an object's sides lie along the axes, it is the one that the camera sees from an
azimuth within a quarter turn around the canonical 30 degrees. Shapes of families, whose front a
model can learn to know, are now and then seen from anywhere.

Legend: V pictures.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewLaw:
    """How cameras are drawn; angles in degrees."""

    canonical_share: float = 0.34
    """Share of pictures from the canonical camera of the evaluation, and exactly that one."""
    azimuths: tuple[float, float] = (-15.0, 75.0)
    """A quarter turn: with it every picture of an upright object has one frame."""
    elevations: tuple[float, float] = (-10.0, 60.0)
    """By area of the sphere in between."""
    fields_of_view: tuple[float, float] = (12.0, 65.0)
    """With the inverse square of the distance uniform in between (the law of TRELLIS)."""
    anywhere_share: float = 0.2
    """Of the other pictures of shapes that have a front, those from any azimuth."""

    def __post_init__(self) -> None:
        for name in ("canonical_share", "anywhere_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"views.{name} must be in [0, 1], got {getattr(self, name)}")
        for name in ("azimuths", "elevations", "fields_of_view"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"views.{name} must not fall, got {low} and {high}")


@dataclass(frozen=True)
class DrawnViews:
    """Orbit cameras as numbers, in degrees; the bounding sphere is to be in frame."""

    azimuth_V: Float[Tensor, " V"]
    elevation_V: Float[Tensor, " V"]
    fov_V: Float[Tensor, " V"]
    canonical_V: Bool[Tensor, " V"]


def draw_views(
    law: ViewLaw, has_front_V: Bool[Tensor, " V"], generator: torch.Generator
) -> DrawnViews:
    """Draw a camera for every picture, on the device of the generator.

    Args:
        law: where cameras may stand.
        has_front_V: True where the shape is of a kind with a front.
        generator: source of everything random.
    """
    num, device = len(has_front_V), generator.device

    def uniform(low: float = 0.0, high: float = 1.0) -> Tensor:
        return torch.rand(num, generator=generator, device=device) * (high - low) + low

    canonical_V = uniform() < law.canonical_share
    anywhere_V = has_front_V.to(device) & (uniform() < law.anywhere_share)
    azimuth_V = torch.where(anywhere_V, uniform(0, 360), uniform(*law.azimuths))
    heights = [math.sin(math.radians(x)) for x in law.elevations]
    elevation_V = torch.rad2deg(uniform(*heights).asin())
    squares = [math.sin(math.radians(x / 2)) ** 2 for x in law.fields_of_view]
    fov_V = 2 * torch.rad2deg(uniform(*squares).sqrt().asin())
    return DrawnViews(
        azimuth_V=torch.where(canonical_V, 30.0, azimuth_V),
        elevation_V=torch.where(canonical_V, 20.0, elevation_V),
        fov_V=torch.where(canonical_V, 30.0, fov_V),
        canonical_V=canonical_V,
    )
