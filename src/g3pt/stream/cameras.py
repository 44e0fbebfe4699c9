"""Cameras of many pictures at once, and the distribution that a stream draws them from.

A shape of no family has no front, and a picture does not tell how its object was rotated before. So
the frame of the predicted shape has to follow from the picture. Of the four frames in which an
object's sides are parallel to the axes, it is the one in which the camera's azimuth lies within a
quarter turn around the canonical 30 degrees. Shapes of families have a front that a model can learn
to recognise; some of their pictures are taken from any azimuth.

Cameras are those of `geometry.cameras`, in the unit frame. Legend: V pictures.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from g3pt.geometry.cameras import BOUNDING_RADIUS, canonical_camera


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewLaw:
    """Distribution of cameras; angles in degrees."""

    canonical_share: float = 0.34
    """Share of pictures from the exact canonical camera of the evaluation."""
    azimuths: tuple[float, float] = (-15.0, 75.0)
    """Range of azimuths: a quarter turn, with which every picture of an upright object determines
    one frame."""
    elevations: tuple[float, float] = (-10.0, 60.0)
    """Range of elevations, uniform by area of the sphere."""
    fields_of_view: tuple[float, float] = (12.0, 65.0)
    """Range of the angle of view; the inverse square of the distance is uniform (the distribution
    of TRELLIS)."""
    anywhere_share: float = 0.2
    """Share of the other pictures of shapes with a front that are taken from any azimuth."""

    def __post_init__(self) -> None:
        for name in ("canonical_share", "anywhere_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"views.{name} must be in [0, 1], got {getattr(self, name)}")
        for name in ("azimuths", "elevations", "fields_of_view"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"views.{name} must not decrease, got {low} and {high}")


@dataclass(frozen=True)
class DrawnViews:
    """Orbit cameras as angles in degrees; the bounding sphere fills their view."""

    azimuth_V: Float[Tensor, " V"]
    elevation_V: Float[Tensor, " V"]
    fov_V: Float[Tensor, " V"]
    canonical_V: Bool[Tensor, " V"]


def draw_views(
    law: ViewLaw, has_front_V: Bool[Tensor, " V"], generator: torch.Generator
) -> DrawnViews:
    """Draw a camera for every picture, on the device of the generator.

    Args:
        law: distribution of the cameras.
        has_front_V: True where the shape is of a family, with a front.
        generator: source of randomness.
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


@dataclass(frozen=True)
class Cameras:
    """Pinhole cameras in the unit frame, one for each square picture."""

    positions_V3: Float32[Tensor, "V 3"]
    axes_V33: Float32[Tensor, "V 3 3"]
    """Rows: right, up and backward, of length 1."""
    tangents_V: Float32[Tensor, " V"]
    """Tangents of half the angle of view."""

    def __len__(self) -> int:
        return len(self.tangents_V)


def orbit_cameras(
    azimuths_V: Float32[Tensor, " V"],
    elevations_V: Float32[Tensor, " V"],
    fovs_V: Float32[Tensor, " V"],
) -> Cameras:
    """Cameras that look at the centre from where the bounding sphere just fills the picture.

    Args:
        azimuths_V: in degrees, 0 in front (+Z), 90 at +X.
        elevations_V: in degrees above the horizon; straight up and down are allowed.
        fovs_V: full angles of view in degrees.
    """
    azimuths_V, elevations_V = azimuths_V.deg2rad(), elevations_V.deg2rad()
    halves_V, none_V = fovs_V.deg2rad() / 2, torch.zeros_like(azimuths_V)
    toward_V3 = torch.stack([azimuths_V.sin(), none_V, azimuths_V.cos()], dim=-1)
    high_V3 = torch.stack([none_V, torch.ones_like(none_V), none_V], dim=-1)
    sine_V1, cosine_V1 = elevations_V.sin()[:, None], elevations_V.cos()[:, None]
    backward_V3 = toward_V3 * cosine_V1 + high_V3 * sine_V1
    up_V3 = high_V3 * cosine_V1 - toward_V3 * sine_V1
    return Cameras(
        positions_V3=backward_V3 * (BOUNDING_RADIUS / halves_V.sin())[:, None],
        axes_V33=torch.stack([up_V3.cross(backward_V3, dim=-1), up_V3, backward_V3], dim=1),
        tangents_V=halves_V.tan(),
    )


def canonical_cameras(num: int, device: torch.device | str) -> Cameras:
    """Return the canonical camera `num` times."""
    camera = canonical_camera()
    axes_33 = torch.tensor(camera.axes(), dtype=torch.float32, device=device)
    position_3 = torch.tensor(camera.position, dtype=torch.float32, device=device)
    fov = torch.tensor(camera.fov_degrees, dtype=torch.float32, device=device)
    return Cameras(
        position_3.expand(num, 3), axes_33.expand(num, 3, 3), (fov.deg2rad() / 2).tan().expand(num)
    )
