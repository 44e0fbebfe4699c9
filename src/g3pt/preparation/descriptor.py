"""A shape's descriptor: small enough for the index, good enough to find the same shape again.

Two parts, both from the stored labels and points: how full each of 6^3 cells of the query cube
is, and the distribution of distances between surface points (D2, Osada et al. 2002), which no
rotation changes.
"""

import base64

import numpy as np
from jaxtyping import Float32, UInt8

from g3pt.shapes.queries import POSITION_STEPS, volume_queries
from g3pt.shapes.stored import PrepareConfig, ShapeRecord

CELLS = 6
BINS = 32
NUM_PAIRS = 8192
NUM_QUERIES = 32_768
LONGEST = 2.0 * 0.95 * 3**0.5
"""Longest distance that fits the unit frame."""


def describe_shape(record: ShapeRecord, config: PrepareConfig) -> str:
    """The descriptor of a prepared shape, as text for the index."""
    num = min(NUM_QUERIES, config.num_volume_queries)
    places = volume_queries(record.description["query_key"], np.arange(num)).astype(np.int64)
    cells = np.minimum((places + POSITION_STEPS) * CELLS // (2 * POSITION_STEPS), CELLS - 1)
    cell = cells @ [CELLS * CELLS, CELLS, 1]
    inside = np.unpackbits(record.volume_inside, count=num, bitorder="little")
    count = np.bincount(cell, minlength=CELLS**3)
    fill = np.bincount(cell, inside, minlength=CELLS**3) / np.maximum(count, 1)
    points = record.points / POSITION_STEPS
    first = np.arange(NUM_PAIRS) % len(points)
    # Points are stored in random order: a fixed shift pairs strangers.
    second = (first + 1 + np.arange(NUM_PAIRS) // len(points)) % len(points)
    lengths = np.linalg.norm(points[first] - points[second], axis=1)
    histogram = np.histogram(lengths, bins=BINS, range=(0.0, LONGEST))[0] / NUM_PAIRS
    values = np.concatenate([fill, np.minimum(histogram * 4.0, 1.0)])
    return base64.b85encode(np.rint(values * 255).astype(np.uint8).tobytes()).decode()


def fill_of(descriptor: str) -> Float32[np.ndarray, "6 6 6"]:
    """How full each cell is, x by y by z."""
    return _values(descriptor)[: CELLS**3].reshape(CELLS, CELLS, CELLS) / np.float32(255)


def distances_of(descriptor: str) -> Float32[np.ndarray, " 32"]:
    """Share of pairs of surface points in each bin of distance."""
    return _values(descriptor)[CELLS**3 :] / np.float32(255 * 4)


def _values(descriptor: str) -> UInt8[np.ndarray, " D"]:
    return np.frombuffer(base64.b85decode(descriptor), np.uint8)
