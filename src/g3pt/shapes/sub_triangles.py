"""The 16 equal parts of a triangle; a stock stores for each of them whether it bounds the solid.

Every edge is cut in four; corners of the parts have barycentric weights that are multiples of 1/4.
Parts 0 to 9 are oriented like the triangle, 10 to 15 upside down.
"""

from functools import cache

import numpy as np
from jaxtyping import Float64, Int64, UInt8

NUM_PARTS = 16
_CUTS = 4


def _weights() -> Int64[np.ndarray, "16 3 3"]:
    places = [(i, j) for i in range(_CUTS) for j in range(_CUTS - i)]
    upright = [[(i, j), (i + 1, j), (i, j + 1)] for i, j in places]
    turned = [[(i + 1, j), (i + 1, j + 1), (i, j + 1)] for i, j in places if i + j < _CUTS - 1]
    second_third = np.array(upright + turned, dtype=np.int64)
    return np.concatenate([_CUTS - second_third.sum(axis=-1, keepdims=True), second_third], axis=-1)


QUARTER_WEIGHTS: Int64[np.ndarray, "16 3 3"] = _weights()
"""For every part and each of its corners: barycentric weights in quarters."""

CENTRE_WEIGHTS: Float64[np.ndarray, "16 3"] = QUARTER_WEIGHTS.mean(axis=1) / _CUTS
"""Barycentric weights of the centre of every part."""


@cache
def chosen_parts() -> UInt8[np.ndarray, "65536 16"]:
    """Entry [mask, k]: position of the k-th set bit of a mask; 0 if it has fewer."""
    bits = (np.arange(1 << NUM_PARTS)[:, None] >> np.arange(NUM_PARTS)) & 1
    return np.where(
        np.arange(NUM_PARTS) < bits.sum(axis=1, keepdims=True),
        np.argsort(1 - bits, axis=1, kind="stable"),
        0,
    ).astype(np.uint8)


@cache
def num_chosen() -> Int64[np.ndarray, " 65536"]:
    """Number of set bits of every mask."""
    bits = (np.arange(1 << NUM_PARTS)[:, None] >> np.arange(NUM_PARTS)) & 1
    return bits.sum(axis=1)
