"""Arrays as `.npy` files of version 1.0 inside other files, stored row by row."""

import io
import math
from functools import lru_cache
from typing import Any

import numpy as np


def npy_bytes(array: np.ndarray) -> bytes:
    """An array as the bytes of an .npy file."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asarray(array, order="C"), version=(1, 0))
    return buffer.getvalue()


def read_array(data: memoryview, dtype: type[np.generic], shape: tuple[int, ...]) -> np.ndarray:
    """The array of an .npy file, without a copy.

    Args:
        data: the bytes of the file.
        dtype: number format that it has to have.
        shape: shape that it has to have.

    Raises:
        ValueError: if it is not an .npy file of version 1.0 in row-major order with such an array.
    """
    found_shape, found_dtype = _layout(data)
    if found_dtype != dtype or found_shape != shape:
        raise ValueError(
            f"holds {found_dtype} of shape {found_shape}, expected {np.dtype(dtype)} of {shape}"
        )
    return _numbers(data, found_dtype, shape)


def read_any_array(data: memoryview) -> np.ndarray:
    """The array of an .npy file, numbers or texts of any shape, without a copy.

    Raises:
        ValueError: if it is not an .npy file of version 1.0 in row-major order with such an array.
    """
    shape, dtype = _layout(data)
    if dtype.kind not in "biufU" or min(shape, default=0) < 0:
        raise ValueError(f"an array of {dtype} of shape {shape}, expected numbers or texts")
    return _numbers(data, dtype, shape)


def _layout(data: memoryview) -> tuple[tuple[int, ...], np.dtype[Any]]:
    return _header(bytes(data[: _start(data)]))


def _start(data: memoryview) -> int:
    """Where the numbers begin."""
    return 10 + int.from_bytes(data[8:10], "little")


def _numbers(data: memoryview, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray:
    count = math.prod(shape)
    if len(data) != (whole := _start(data) + count * dtype.itemsize):
        raise ValueError(f"has {len(data)} bytes, expected {whole}")
    return np.frombuffer(data, dtype, count=count, offset=_start(data)).reshape(shape)


@lru_cache(maxsize=256)
def _header(start: bytes) -> tuple[tuple[int, ...], np.dtype[Any]]:
    buffer = io.BytesIO(start)
    try:
        version = np.lib.format.read_magic(buffer)
        if version == (1, 0):
            shape, by_columns, dtype = np.lib.format.read_array_header_1_0(buffer)
    except Exception as error:  # its parser of headers has errors of many kinds
        reason = " ".join(str(error).split())[:100]
        raise ValueError(f"is no .npy file ({reason})") from None
    if version != (1, 0):
        raise ValueError("expected an .npy file of version 1.0")
    if by_columns:
        raise ValueError("expected an array stored row by row")
    return shape, dtype
