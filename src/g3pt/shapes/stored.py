"""The stored form of a shape: config, record, and quantisation to small integers.

Positions are 16-bit, x = q / POSITION_STEPS, normals 8-bit, labels one bit. Queries are not stored:
`shapes.queries` computes them from a key. Everything is in the unit frame. N surface points, V
volume queries, M near-surface queries, Q queries, K of them, S picture side.
"""

import io
import math
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Int8, Int16, UInt8
from PIL import Image

from g3pt.geometry.formats.limits import most_unpacked
from g3pt.hashes import text_key
from g3pt.shapes.queries import POSITION_STEPS

NORMAL_STEPS = 127
Layout = tuple[type[np.generic], tuple[int, ...]]
"""Number format and shape of an array."""
MAX_STORED = 2**24
"""Most points, and most queries of either kind, of one shape."""
MAX_PICTURE_BYTES = 2**26
MAX_PICTURE_PIXELS = 2**24


@dataclass(frozen=True, kw_only=True, slots=True)
class PrepareConfig:
    """How many points and labels of each shape are stored."""

    num_points: int = 24_576
    """Surface points with normals and, where the source has any, colours."""
    num_volume_queries: int = 262_144
    """Labelled points uniform in [-1, 1]^3."""
    num_near_queries: int = 262_128
    """Labelled points near the surface, in equal groups, one for each sigma."""
    near_sigmas: tuple[float, ...] = (0.005, 0.02, 0.05)
    """Standard deviation, per axis, of each group's Gaussian offset in unit-frame lengths."""
    solid_resolution: int = 256
    """Wall voxels per axis of the inside/outside test of meshes."""
    min_near_inside: float = 0.02
    """Shapes with a smaller share of the first group inside are refused: they have no interior."""
    seed: int = 0
    """Seeds all sampling, together with the shape's id."""

    def __post_init__(self) -> None:
        for name in ("num_points", "num_volume_queries", "num_near_queries"):
            if not 1 <= getattr(self, name) <= MAX_STORED:
                raise ValueError(
                    f"prepare.{name} must lie in 1..{MAX_STORED}, got {getattr(self, name)}"
                )
        if not all(0 < sigma <= 1 for sigma in self.near_sigmas):
            raise ValueError(
                f"prepare.near_sigmas must be positive and at most 1, got {self.near_sigmas}"
            )
        groups = len(self.near_sigmas)
        if not groups or self.num_near_queries % groups:
            raise ValueError(
                f"prepare.num_near_queries must be a multiple of the {groups} near_sigmas, got "
                f"{self.num_near_queries}"
            )
        if self.num_volume_queries % 8 or (self.num_near_queries // groups) % 8:
            raise ValueError("prepare: query counts must be multiples of 8 (labels are packed)")

    @property
    def near_group_size(self) -> int:
        """Near-surface queries of each sigma."""
        return self.num_near_queries // len(self.near_sigmas)


@dataclass(frozen=True)
class ShapeRecord:
    """The stored arrays and description of one shape."""

    points: Int16[np.ndarray, "N 3"]
    normals: Int8[np.ndarray, "N 3"]
    colors: UInt8[np.ndarray, "N 3"] | None
    """sRGB at the points; None where the source has no colours."""
    volume_inside: UInt8[np.ndarray, " V_8"]
    """Packed labels of the volume queries."""
    near_inside: UInt8[np.ndarray, " M_8"]
    """Packed labels of the near-surface queries, group by group in the order of `near_sigmas`."""
    description: dict[str, Any]
    """Id, family, licence, captions, measured shares and quality, as JSON values."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewsConfig:
    """Which pictures are drawn of each shape."""

    num_views: int = 24
    """Conditioning views besides the canonical one, which is always made."""
    size: int = 256
    """Side in pixels. The bounding sphere fits into the picture, so the object fills about two
    thirds of it."""
    supersample: int = 2
    """Rays per pixel and axis."""
    elevations: tuple[float, float] = (-20.0, 70.0)
    """Range of the cameras' elevations in degrees, uniform by area of the sphere: people rarely
    take pictures from below. TRELLIS uses (-90, 90)."""
    seed: int = 0
    """Seeds the cameras, together with the shape's id."""

    def __post_init__(self) -> None:
        if self.num_views < 0 or self.size < 16 or self.supersample < 1:
            raise ValueError(
                "views needs num_views >= 0, size >= 16 and supersample >= 1, got "
                f"{self.num_views}, {self.size} and {self.supersample}"
            )


def quantize_positions(points: Float[np.ndarray, "*N 3"]) -> Int16[np.ndarray, "*N 3"]:
    """Round positions in [-1, 1] to the stored grid (spacing 3.1e-5)."""
    return np.rint(np.clip(points, -1.0, 1.0) * POSITION_STEPS).astype(np.int16)


def positions(quantized: Int16[np.ndarray, "*N 3"]) -> Float32[np.ndarray, "*N 3"]:
    """Stored positions as float32 in [-1, 1]."""
    return quantized * np.float32(1.0 / POSITION_STEPS)


def quantize_normals(normals: Float[np.ndarray, "*N 3"]) -> Int8[np.ndarray, "*N 3"]:
    """Round unit vectors to 8 bits a component."""
    return np.rint(np.clip(normals, -1.0, 1.0) * NORMAL_STEPS).astype(np.int8)


def normals(quantized: Int8[np.ndarray, "*N 3"]) -> Float32[np.ndarray, "*N 3"]:
    """Stored normals as float32, unit length up to rounding."""
    return quantized * np.float32(1.0 / NORMAL_STEPS)


def pack_labels(inside: Bool[np.ndarray, " Q"]) -> UInt8[np.ndarray, " Q_8"]:
    """Pack labels eight to a byte, least significant bit first."""
    return np.packbits(inside, bitorder="little")


def labels_at(packed: UInt8[np.ndarray, " Q_8"], places: np.ndarray) -> UInt8[np.ndarray, " K"]:
    """Labels (0 or 1) at some positions of a packed row."""
    return (packed[places >> 3] >> (places & 7).astype(np.uint8)) & np.uint8(1)


def compress_planes(array: np.ndarray) -> UInt8[np.ndarray, " _"]:
    """Compress integers as planes of bytes of equal weight: the high bytes compress well."""
    planes = np.ascontiguousarray(array).view(np.uint8).reshape(-1, array.itemsize).T
    return np.frombuffer(zlib.compress(planes.tobytes(), 6), np.uint8)


def most_compressed(num_bytes: int) -> int:
    """Most bytes that `compress_planes` makes of so many."""
    return num_bytes + num_bytes // 1000 + 64


def expand_planes(data: np.ndarray, dtype: type[np.generic], shape: Sequence[int]) -> np.ndarray:
    """Inverse of `compress_planes`; takes no more memory than the array needs.

    Raises:
        ValueError: if the bytes do not hold such an array, or are too few to.
    """
    itemsize = np.dtype(dtype).itemsize
    size = math.prod(shape) * itemsize
    if size > most_unpacked(data.nbytes):
        raise ValueError(f"has {data.nbytes} bytes, too few to hold the {size} of {tuple(shape)}")
    stream = zlib.decompressobj()
    try:
        planes = stream.decompress(data.tobytes(), size + 1)
    except zlib.error as error:
        raise ValueError(f"cannot be unpacked ({error})") from None
    if len(planes) != size or not stream.eof or stream.unused_data:
        raise ValueError(f"does not unpack to the {size} bytes of {tuple(shape)}")
    rows = np.frombuffer(planes, np.uint8).reshape(itemsize, -1)
    return rows.T.copy().view(dtype).reshape(shape)


def check_surface(points: Int16[np.ndarray, "*N 3"], normals: Int8[np.ndarray, "*N 3"]) -> None:
    """Check that stored points lie in the query cube, and components of normals in [-1, 1].

    Raises:
        ValueError: naming the array.
    """
    for name, array, steps in (
        ("points", points, POSITION_STEPS),
        ("normals", normals, NORMAL_STEPS),
    ):
        if array.min(initial=0) < -steps:
            raise ValueError(f"{name}: holds {array.min()}, expected at least {-steps}")


def read_picture(data: bytes) -> UInt8[np.ndarray, "S S 4"]:
    """Decode a stored picture.

    Raises:
        ValueError: if it is no square picture in PNG or WebP of at most `MAX_PICTURE_PIXELS`.
    """
    with _opened_picture(data) as picture:
        return np.asarray(picture.convert("RGBA"))


def picture_side(data: bytes) -> int:
    """Side in pixels that a stored picture claims to have; nothing is decoded.

    Raises:
        ValueError: as `read_picture`.
    """
    with _opened_picture(data) as picture:
        return picture.width


@contextmanager
def _opened_picture(data: bytes) -> Iterator[Image.Image]:
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "WEBP")) as picture:
            width, height = picture.size
            if width != height or width * height > MAX_PICTURE_PIXELS:
                raise ValueError(f"has {width} x {height} pixels")
            yield picture
    except Exception as error:  # decoders have errors of many kinds
        reason = " ".join(str(error).split())[:100]
        raise ValueError(f"is no square picture in PNG or WebP ({reason})") from None


def shape_seed(shape_id: str, seed: int) -> list[int]:
    """Seed of the random generator of one shape, the same on every machine."""
    return [seed, text_key(shape_id)]


def query_key(shape_id: str, seed: int) -> int:
    """The key that determines the queries of one shape."""
    return text_key(f"queries {seed} {shape_id}")
