"""Finds shapes of one split that also occur in the other, by descriptors stored in the index.

A shape's descriptor has two parts, computed from the stored labels and points: the occupied share
of each of 6^3 cells of the query cube, and the distribution of distances between surface points
(D2, Osada et al. 2002), which is invariant under rotation.

Two descriptors of one shape differ only by sampling noise, whose size follows from the descriptors:
a cell with occupied share p ("fill") estimated from n queries has variance p (1 - p) / n. The
distance of two shapes is the square root of a ratio: the sum of the squared differences of their
cells over the sum of the variances expected for one shape sampled twice. It is about 1 for the same
shape, whatever its size and thickness. The minimum over rotations by multiples of 90 degrees about
+Y and their mirror images is taken.

Both sums follow from inner products of the fills, so one matrix product covers all pairs.
T training shapes, V validation shapes, C = 216 cells.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from g3pt.shapes.queries import POSITION_STEPS, volume_queries
from g3pt.shapes.stored import PrepareConfig, ShapeRecord

CELLS = 6
BINS = 32
NUM_PAIRS = 8192
NUM_QUERIES = 32_768
LONGEST = 2.0 * 0.95 * 3**0.5
"""Largest distance between points of the unit frame."""


def describe_shape(record: ShapeRecord, config: PrepareConfig) -> str:
    """The descriptor of a prepared shape as base85 text for the index."""
    num = min(NUM_QUERIES, config.num_volume_queries)
    places = volume_queries(record.description["query_key"], np.arange(num)).astype(np.int64)
    cells = np.minimum((places + POSITION_STEPS) * CELLS // (2 * POSITION_STEPS), CELLS - 1)
    cell = cells @ [CELLS * CELLS, CELLS, 1]
    inside = np.unpackbits(record.volume_inside, count=num, bitorder="little")
    count = np.bincount(cell, minlength=CELLS**3)
    fill = np.bincount(cell, inside, minlength=CELLS**3) / np.maximum(count, 1)
    points = record.points / POSITION_STEPS
    first = np.arange(NUM_PAIRS) % len(points)
    # Points are stored in random order: a fixed shift gives random pairs.
    second = (first + 1 + np.arange(NUM_PAIRS) // len(points)) % len(points)
    lengths = np.linalg.norm(points[first] - points[second], axis=1)
    histogram = np.histogram(lengths, bins=BINS, range=(0.0, LONGEST))[0] / NUM_PAIRS
    values = np.concatenate([fill, np.minimum(histogram * 4.0, 1.0)])
    return base64.b85encode(np.rint(values * 255).astype(np.uint8).tobytes()).decode()


def fill_of(descriptor: str) -> Float32[np.ndarray, "6 6 6"]:
    """Occupied share of each cell, x by y by z."""
    return _values(descriptor)[: CELLS**3].reshape(CELLS, CELLS, CELLS) / np.float32(255)


def distances_of(descriptor: str) -> Float32[np.ndarray, " 32"]:
    """Share of pairs of surface points in each bin of distance."""
    return _values(descriptor)[CELLS**3 :] / np.float32(255 * 4)


def _values(descriptor: str) -> UInt8[np.ndarray, " D"]:
    return np.frombuffer(base64.b85decode(descriptor), np.uint8)


MAX_DISTANCE = 1.5
"""Largest distance of twins. Measured on 94 procedural shapes of all families: at most 1.34 if
sampled again, at most 1.23 as a mesh rotated by 90 degrees, below 1.4 for 95 of 100 as a mesh with
a tenth of the faces. Together with the next limit it accepts 6 of 100 pairs of one family (thin
ones: guitars, wrenches) and hardly any of two families."""

MAX_D2_DISTANCE = 0.04
"""Largest Euclidean distance between the distance histograms of twins. It distinguishes thin
shapes, whose cells are nearly empty. In the same measurement: at most 0.024, at most 0.031, and
below 0.04 for 95 of 100."""

ROUNDING = 1 / (12 * 255**2)
"""Variance added by storing a fill in 8 bits."""

MAX_PRODUCTS = 2**23
"""Inner products in memory at a time."""


@dataclass(frozen=True, slots=True)
class Leak:
    """A validation shape that, judged by descriptors, is also in training."""

    train_id: str
    """The most similar shape of the training split."""
    val_id: str
    distance: float
    """Distance in units of sampling noise: about 1 between two samplings of one shape."""


@dataclass(frozen=True, slots=True)
class _Shapes:
    """Descriptors of many shapes."""

    fills: Float32[np.ndarray, "N 216"]
    histograms: Float32[np.ndarray, "N 32"]


def find_leaks(
    train_rows: Sequence[Mapping[str, Any]],
    val_rows: Sequence[Mapping[str, Any]],
    *,
    num_queries: int = NUM_QUERIES,
    max_distance: float = MAX_DISTANCE,
) -> list[Leak]:
    """Find validation shapes with a twin in training, possibly rotated or mirrored.

    Args:
        train_rows: index rows of the training split.
        val_rows: index rows of the other split.
        num_queries: volume queries stored per shape; descriptors use at most `NUM_QUERIES` of them.
        max_distance: largest distance of twins, in units of sampling noise.

    Returns:
        One entry for every validation shape with a twin, with its nearest one; nearest first.
    """
    if not train_rows or not val_rows:
        return []
    train, val = _shapes(train_rows), _shapes(val_rows)
    distance, nearest = _nearest(train, val, min(num_queries, NUM_QUERIES) / CELLS**3)
    leaks = [
        Leak(str(train_rows[nearest[v]]["id"]), str(val_rows[v]["id"]), round(float(d), 3))
        for v, d in enumerate(distance)
        if d <= max_distance
    ]
    return sorted(leaks, key=lambda leak: (leak.distance, leak.val_id))


def _shapes(rows: Sequence[Mapping[str, Any]]) -> _Shapes:
    descriptors = [row["descriptor"] for row in rows]
    fills = np.stack([fill_of(text).reshape(-1) for text in descriptors])
    return _Shapes(fills, np.stack([distances_of(text) for text in descriptors]))


def _nearest(
    train: _Shapes, val: _Shapes, queries_per_cell: float
) -> tuple[Float32[np.ndarray, " V"], Int64[np.ndarray, " V"]]:
    """Distance to the nearest training shape of every validation shape, and its index."""
    turned = _turned(val.fills)
    best = np.full(len(val.fills), np.inf, dtype=np.float32)
    which = np.zeros(len(val.fills), dtype=np.int64)
    columns = np.arange(len(val.fills))
    step = max(1, MAX_PRODUCTS // (turned.shape[0] * len(val.fills)))
    for start in range(0, len(train.fills), step):
        part = slice(start, start + step)
        distance = _fill_distances(train.fills[part], turned, queries_per_cell)
        strange = _squared(train.histograms[part], val.histograms) > MAX_D2_DISTANCE**2
        distance[strange] = np.inf
        closest = distance.argmin(axis=0)
        nearer = distance[closest, columns] < best
        best[nearer] = distance[closest, columns][nearer]
        which[nearer] = start + closest[nearer]
    return best, which


def _turned(fills: Float32[np.ndarray, "V 216"]) -> Float32[np.ndarray, "8 V 216"]:
    """Every shape in its eight upright orientations, mirrored ones included (axes are x, y, z)."""
    grids = fills.reshape(-1, CELLS, CELLS, CELLS)
    turned = [np.rot90(g, k, axes=(1, 3)) for g in (grids, grids[..., ::-1]) for k in range(4)]
    return np.stack(turned).reshape(8, *fills.shape)


def _fill_distances(
    train: Float32[np.ndarray, "T 216"],
    turned: Float32[np.ndarray, "8 V 216"],
    queries_per_cell: float,
) -> Float32[np.ndarray, "T V"]:
    """The distance, minimal over the eight orientations.

    For cells a and b with true fill (a + b) / 2 the expected squared difference is (a + b - (a +
    b)^2 / 2) / n. The larger a . b, the smaller the distance.
    """
    val = turned[0]
    products = (train @ turned.reshape(-1, CELLS**3).T).reshape(len(train), 8, -1).max(axis=1)
    squares = (train**2).sum(axis=1)[:, None] + (val**2).sum(axis=1)
    fills = train.sum(axis=1)[:, None] + val.sum(axis=1)
    variance = (fills - squares / 2 - products) / np.float32(queries_per_cell)
    floor = np.float32(2 * ROUNDING * CELLS**3)
    return np.sqrt(np.maximum(squares - 2 * products, 0) / (np.maximum(variance, 0) + floor))


def _squared(
    a: Float32[np.ndarray, "T D"], b: Float32[np.ndarray, "V D"]
) -> Float32[np.ndarray, "T V"]:
    """Squared Euclidean distances of rows."""
    return (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * (a @ b.T)
