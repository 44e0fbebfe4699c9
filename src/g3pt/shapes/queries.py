"""Positions of the labelled queries of a shape, computed from its key and not stored.

Half a million positions would take three megabytes per shape; their labels take 64 kilobytes. So a
position is a pure function of (key, number) in integer arithmetic: the same on every machine, and
each computable without the others. Randomness is the finaliser of SplitMix64 (Steele, Lea and Flood
2014) applied to a counter.

Positions are 16-bit integers on the stored grid, x = q / POSITION_STEPS, in the query cube
[-1, 1]^3 of the unit frame. K queries, N surface points.
"""

from functools import cache

import numpy as np
from jaxtyping import Int16, Int64, Integer, UInt64
from scipy.special import ndtri

POSITION_STEPS = 32767
"""Grid steps from 0 to 1."""

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = 2**64 - 1
_VOLUME, _NEAR = 1, 2
FRACTION_BITS = 12


def volume_queries(key: int, numbers: Integer[np.ndarray, " K"]) -> Int16[np.ndarray, "K 3"]:
    """Positions uniform in the query cube.

    Args:
        key: of the shape, in [0, 2^64).
        numbers: which queries, counted from 0.
    """
    fields = uniform_fields(key, _VOLUME, numbers)
    return np.maximum(fields - 32768, -POSITION_STEPS).astype(np.int16)


def near_queries(
    key: int,
    numbers: Integer[np.ndarray, " K"],
    points: Int16[np.ndarray, "N 3"],
    sigma: float,
) -> Int16[np.ndarray, "K 3"]:
    """Positions near the surface: query i lies at stored point i modulo N plus Gaussian noise.

    Positions outside the cube are reflected back into it.

    Args:
        key: of the shape, in [0, 2^64).
        numbers: which queries, counted from 0; within one shape a number has only one sigma.
        points: all stored surface points.
        sigma: standard deviation per axis, in unit-frame lengths.
    """
    steps = round(sigma * POSITION_STEPS)
    noise = gaussian_table()[uniform_fields(key, _NEAR, numbers)]
    offsets = (noise * steps + (1 << (FRACTION_BITS - 1))) >> FRACTION_BITS
    moved = points[np.asarray(numbers) % len(points)] + offsets
    inside = np.clip(moved, -POSITION_STEPS, POSITION_STEPS)
    reflected = np.clip(2 * inside - moved, -POSITION_STEPS, POSITION_STEPS)
    return reflected.astype(np.int16)


def uniform_fields(
    key: int, stream: int, numbers: Integer[np.ndarray, " K"]
) -> Int64[np.ndarray, "K 3"]:
    """Three uniform 16-bit numbers for every counter.

    Args:
        key: in [0, 2^64).
        stream: number of an independent random stream; 1 and 2 are used by the queries above.
        numbers: which, counted from 0.
    """
    start = _mixed(np.array([(key + stream * _GOLDEN) & _MASK], dtype=np.uint64))
    counters = (np.asarray(numbers).astype(np.uint64) + np.uint64(1)) * np.uint64(_GOLDEN)
    words = _mixed(start + counters)
    shifts = np.array([0, 16, 32], dtype=np.uint64)
    return ((words[:, None] >> shifts) & np.uint64(0xFFFF)).astype(np.int64)


def _mixed(words: UInt64[np.ndarray, " K"]) -> UInt64[np.ndarray, " K"]:
    """Mix 64-bit words bijectively (the finaliser of SplitMix64)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


@cache
def gaussian_table() -> Int64[np.ndarray, " 65536"]:
    """Standard normal quantiles of all 16-bit numbers, in steps of 2^-12."""
    quantiles = ndtri((np.arange(65536) + 0.5) / 65536)
    return np.rint(quantiles * (1 << FRACTION_BITS)).astype(np.int64)
