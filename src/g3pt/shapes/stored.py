"""Small integers for points, normals and labels, as they are stored.

Positions are 16-bit, x = q / POSITION_STEPS, normals 8-bit, labels one bit. Everything in the
unit frame. N points, Q queries, K of them.
"""

import zlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float32, Int8, Int16, UInt8

from g3pt.shapes.queries import POSITION_STEPS

NORMAL_STEPS = 127


def quantize_positions(points: Float[np.ndarray, "*N 3"]) -> Int16[np.ndarray, "*N 3"]:
    """Round positions in [-1, 1] to the stored grid (spacing 3.1e-5)."""
    return np.rint(np.clip(points, -1.0, 1.0) * POSITION_STEPS).astype(np.int16)


def positions(quantized: Int16[np.ndarray, "*N 3"]) -> Float32[np.ndarray, "*N 3"]:
    """Stored positions as float32."""
    return quantized * np.float32(1.0 / POSITION_STEPS)


def quantize_normals(normals: Float[np.ndarray, "*N 3"]) -> Int8[np.ndarray, "*N 3"]:
    """Round unit vectors to 8 bits a component."""
    return np.rint(np.clip(normals, -1.0, 1.0) * NORMAL_STEPS).astype(np.int8)


def normals(quantized: Int8[np.ndarray, "*N 3"]) -> Float32[np.ndarray, "*N 3"]:
    """Stored normals as float32, unit length up to rounding."""
    return quantized * np.float32(1.0 / NORMAL_STEPS)


def pack_labels(inside: Bool[np.ndarray, " Q"]) -> UInt8[np.ndarray, " Q_8"]:
    """Eight labels a byte, least significant bit first."""
    return np.packbits(inside, bitorder="little")


def labels_at(packed: UInt8[np.ndarray, " Q_8"], places: np.ndarray) -> UInt8[np.ndarray, " K"]:
    """Labels (0 or 1) at some places of a packed row."""
    return (packed[places >> 3] >> (places & 7).astype(np.uint8)) & np.uint8(1)


def compress_planes(array: np.ndarray) -> UInt8[np.ndarray, " _"]:
    """Bytes of equal weight stand together: high bytes compress, low ones do not."""
    planes = np.ascontiguousarray(array).view(np.uint8).reshape(-1, array.itemsize).T
    return np.frombuffer(zlib.compress(planes.tobytes(), 6), np.uint8)


def expand_planes(data: np.ndarray, dtype: type[np.generic], shape: Sequence[int]) -> np.ndarray:
    """Inverse of `compress_planes`."""
    size = np.dtype(dtype).itemsize
    planes = np.frombuffer(zlib.decompress(data.tobytes()), np.uint8).reshape(size, -1)
    return planes.T.copy().view(dtype).reshape(shape)
