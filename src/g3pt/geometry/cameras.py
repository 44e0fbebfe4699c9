"""Cameras of the unit frame, and where an object sits in its picture.

Unit frame: bounding box centred at 0, longest side 1.9 inside [-1, 1]^3, +Y up, +Z front,
right-handed. Every camera here stands at the distance from which the sphere around
[-0.95, 0.95]^3 just fills its field of view.

A picture says nothing about an object's size, since every shape is moved to the unit frame. So
`frame_object` centres the object's silhouette and scales its longer side to a fixed share of the
picture, whatever the camera, margin or format. Training views and users' pictures are framed alike.
Pictures are (H, W, 4) uint8, straight alpha.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float32, Float64, UInt8
from numpy import ndarray
from PIL import Image

BOUNDING_RADIUS = 0.95 * 3**0.5
"""Radius of the smallest sphere around the cube [-0.95, 0.95]^3."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera for square pictures."""

    position: tuple[float, float, float]
    """Position in the unit frame."""
    target: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Point shown in the middle of the picture."""
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

    def image_plane(
        self, points_N3: Float64[ndarray, "N 3"]
    ) -> tuple[Float64[ndarray, "N 2"], Float64[ndarray, " N"]]:
        """Places on the image plane at distance 1, right and downward, and depths.

        Points must lie before the camera.
        """
        local_N3 = (points_N3 - np.array(self.position)) @ self.axes().T
        depth_N = -local_N3[:, 2]
        return local_N3[:, :2] * [1, -1] / depth_N[:, None], depth_N


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
    """The view of the evaluation: azimuth 30 degrees (from +Z towards +X), elevation 20."""
    return orbit_camera(30.0, 20.0)


def turntable_cameras(num: int, *, elevation_degrees: float = 20.0) -> list[Camera]:
    """Cameras around the object at equal steps, the first one canonical."""
    return [orbit_camera(30.0 + 360.0 * i / num, elevation_degrees) for i in range(num)]


def random_cameras(
    num: int, rng: np.random.Generator, *, elevations: tuple[float, float] = (-90.0, 90.0)
) -> list[Camera]:
    """Training views: directions spread over the sphere, random field of view, distance to fit.

    Directions are a Hammersley set under a random shift. The field of view lies between 10 and 70
    degrees, such that the inverse square of the distance is uniform (the distribution of TRELLIS).
    Wide, near views are therefore the most common.

    Args:
        num: how many.
        rng: source of the shift and the fields of view.
        elevations: lowest and highest elevation in degrees; in between uniform by area of the
            sphere.
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


@lru_cache(maxsize=4)
def ray_grid(size: int, fov_degrees: float) -> Float32[ndarray, "H W 3"]:
    """Unit directions through pixel centres in the camera's frame, top row first."""
    half = np.tan(np.deg2rad(fov_degrees) / 2)
    line = ((np.arange(size) + 0.5) / size * 2 - 1) * half
    rays = np.empty((size, size, 3))
    rays[...] = -1.0
    rays[..., 0], rays[..., 1] = line, -line[:, None]
    return (rays / np.linalg.norm(rays, axis=-1, keepdims=True)).astype(np.float32)


def _radical_inverse(index: int) -> float:
    """The integer with its binary digits mirrored at the point, in [0, 1) (van der Corput)."""
    digits = f"{index:b}"[::-1]
    return int(digits, 2) / 2 ** len(digits)


def _triple(vector: Float64[ndarray, " 3"]) -> tuple[float, float, float]:
    x, y, z = vector.tolist()
    return x, y, z


Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels; right and bottom are exclusive."""

OBJECT_FILL = 0.85
"""Share of the picture's side that the longer side of the silhouette covers."""
MIN_ALPHA = 24
"""Fainter pixels do not count as silhouette (soft shadows, compression noise)."""


def silhouette_box(picture: UInt8[np.ndarray, "H W 4"], min_alpha: int = MIN_ALPHA) -> Box | None:
    """The box of the visible pixels, or None."""
    visible = picture[..., 3] >= min_alpha
    columns, rows = np.flatnonzero(visible.any(axis=0)), np.flatnonzero(visible.any(axis=1))
    if not len(columns):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def frame_object(
    picture: UInt8[np.ndarray, "H W 4"], size: int, *, fill: float = OBJECT_FILL
) -> UInt8[np.ndarray, "S S 4"]:
    """Crop a picture to its silhouette and centre that in a transparent square.

    Args:
        picture: with an alpha channel that shows the object only.
        size: side of the result in pixels.
        fill: share of the side that the silhouette's longer side covers.

    Raises:
        ValueError: if nothing in the picture is visible.
    """
    box = silhouette_box(picture)
    if box is None:
        raise ValueError("the picture is fully transparent: there is no object to frame")
    return _centred(picture, box, size, fill)


def frame_together(
    pictures: Sequence[UInt8[np.ndarray, "_ _ 4"]], size: int, *, fill: float = 0.95
) -> list[UInt8[np.ndarray, "S S 4"]]:
    """Crop pictures of one object with one common box, so that its place and size can be compared.

    Args:
        pictures: of one size, from cameras at one distance. Some may show nothing.
        size: side of the results in pixels.
        fill: share of the side that the union of the silhouettes covers.
    """
    found = [box for picture in pictures if (box := silhouette_box(picture)) is not None]
    if not found:
        return [np.zeros((size, size, 4), dtype=np.uint8) for _ in pictures]
    boxes = np.array(found)
    left, top = (int(edge) for edge in boxes[:, :2].min(axis=0))
    right, bottom = (int(edge) for edge in boxes[:, 2:].max(axis=0))
    return [_centred(picture, (left, top, right, bottom), size, fill) for picture in pictures]


def _centred(
    picture: UInt8[np.ndarray, "H W 4"], box: Box, size: int, fill: float
) -> UInt8[np.ndarray, "S S 4"]:
    """A part of a picture, scaled to `fill`, in the middle of a transparent square."""
    left, top, right, bottom = box
    factor = fill * size / max(right - left, bottom - top)
    width = max(1, round((right - left) * factor))
    height = max(1, round((bottom - top) * factor))
    # Pillow filters RGBA premultiplied, so hidden colours do not bleed into the edge.
    cut = Image.fromarray(picture).crop(box)
    cut = cut.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=3.0)
    canvas = Image.new("RGBA", (size, size), (255, 255, 255, 0))
    canvas.paste(cut, ((size - width) // 2, (size - height) // 2))
    return np.asarray(canvas).copy()
