"""Where pictures of the unit frame are taken from.

Unit frame: bounding box centred at 0, longest side 1.9 inside [-1, 1]^3, +Y up, +Z front,
right-handed. Every camera here stands at the distance from which the sphere around
[-0.95, 0.95]^3 just fills its field of view.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

BOUNDING_RADIUS = 0.95 * 3**0.5
"""Radius of the sphere around all that fits the unit frame."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera for square pictures."""

    position: tuple[float, float, float]
    """Where it stands."""
    target: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """What it looks at, in the middle of the picture."""
    up: tuple[float, float, float] = (0.0, 1.0, 0.0)
    """Shown upward in the picture; must not be parallel to the line of sight."""
    fov_degrees: float = 30.0
    """Full angle of view, from the left to the right border."""

    def axes(self) -> Float64[ndarray, "3 3"]:
        """Rows: right, up and backward (from the target to the camera), of length 1."""
        backward = np.subtract(self.position, self.target)
        right = np.cross(self.up, backward)
        if not np.linalg.norm(right) > 1e-9 * np.linalg.norm(backward):
            raise ValueError(f"the camera looks along its up direction: {self}")
        frame = np.stack([right, np.cross(backward, right), backward])
        return frame / np.linalg.norm(frame, axis=1, keepdims=True)


def orbit_camera(
    azimuth_degrees: float, elevation_degrees: float, *, fov_degrees: float = 30.0
) -> Camera:
    """Look at the unit frame's centre from where its bounding sphere just fills the picture.

    Args:
        azimuth_degrees: 0 stands in front (+Z), 90 at +X.
        elevation_degrees: above the horizon; straight up and down are allowed.
        fov_degrees: full angle of view.
    """
    azimuth, elevation = np.deg2rad([azimuth_degrees, elevation_degrees])
    toward = np.array([np.sin(azimuth), 0.0, np.cos(azimuth)])
    direction = toward * np.cos(elevation) + np.array([0.0, np.sin(elevation), 0.0])
    up = np.array([0.0, np.cos(elevation), 0.0]) - toward * np.sin(elevation)
    position = direction * BOUNDING_RADIUS / np.sin(np.deg2rad(fov_degrees / 2))
    return Camera(position=_triple(position), up=_triple(up), fov_degrees=fov_degrees)


def canonical_camera() -> Camera:
    """Three-quarter view used for evaluation: 30 degrees from +Z towards +X, elevation 20."""
    return orbit_camera(30.0, 20.0)


def turntable_cameras(num: int, *, elevation_degrees: float = 20.0) -> list[Camera]:
    """Cameras around the object at equal steps, the first one canonical."""
    return [orbit_camera(30.0 + 360.0 * i / num, elevation_degrees) for i in range(num)]


def random_cameras(
    num: int, rng: np.random.Generator, *, elevations: tuple[float, float] = (-90.0, 90.0)
) -> list[Camera]:
    """Training views: directions spread over the sphere, random field of view, distance to fit.

    Directions are a Hammersley set under a random shift. The field of view lies between 10 and 70
    degrees with the inverse square of the distance uniform (the law of TRELLIS), which makes the
    wide, near views the common ones.

    Args:
        num: how many.
        rng: gives the shift and the fields of view.
        elevations: lowest and highest elevation in degrees; by area of the sphere in between.
    """
    along, around = rng.random(), rng.random()
    low, high = (math.sin(math.radians(degrees)) for degrees in elevations)
    narrow, wide = (math.sin(math.radians(half)) ** 2 for half in (5.0, 35.0))
    cameras: list[Camera] = []
    for i in range(num):
        height = low + (high - low) * ((i / num + along) % 1.0)
        fov = 2 * math.degrees(math.asin(math.sqrt(rng.uniform(narrow, wide))))
        cameras.append(
            orbit_camera(
                360.0 * ((_radical_inverse(i) + around) % 1.0),
                math.degrees(math.asin(height)),
                fov_degrees=fov,
            )
        )
    return cameras


def _radical_inverse(index: int) -> float:
    """Mirror the binary digits of an integer at the point."""
    digits = f"{index:b}"[::-1]
    return int(digits, 2) / 2 ** len(digits)


def _triple(vector: Float64[ndarray, " 3"]) -> tuple[float, float, float]:
    x, y, z = vector.tolist()
    return x, y, z
