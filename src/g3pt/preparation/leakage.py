"""Finds shapes of one split that are in the other too, by descriptors that the index holds.

A shape's descriptor has two parts, both from the stored labels and points: how full each of 6^3
cells of the query cube is, and the distribution of distances between surface points (D2, Osada et
al. 2002), which no rotation changes.

Two descriptors of one shape differ only by sampling noise, and how much of that there is follows
from the descriptors: a cell of fill p that n queries fell into has variance p (1 - p) / n. So the
distance of two shapes is the root of (sum of squared differences of their cells / sum of the
variances that one shape sampled twice would have): about 1 for the same shape, whatever its size
and thickness. The smallest over the turns by 90 degrees about +Y and their mirror images counts.

Both sums follow from the inner product of the fills, so all pairs are one matrix product.
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


MAX_DISTANCE = 1.5
"""Measured on 94 procedural shapes of all families: sampled again at most 1.34, as a mesh turned
by 90 degrees at most 1.23, as a mesh of a tenth of the faces below 1.4 in 95 of 100. With the next
limit it takes 6 of 100 pairs of one family (thin ones: guitars, wrenches), of two hardly any."""

MAX_D2_DISTANCE = 0.04
"""Between the distance histograms (Euclidean). Tells thin shapes apart, whose cells are nearly
empty. Same measurement: at most 0.024, at most 0.031, below 0.04 in 95 of 100."""

ROUNDING = 1 / (12 * 255**2)
"""Variance that storing a fill in 8 bits adds."""

MAX_PRODUCTS = 2**23
"""Inner products in memory at a time."""


@dataclass(frozen=True, slots=True)
class Leak:
    """A validation shape that is, as far as descriptors tell, also in training."""

    train_id: str
    """The most similar shape of the training split."""
    val_id: str
    distance: float
    """In units of sampling noise: about 1 between two samplings of one shape."""


@dataclass(frozen=True, slots=True)
class _Shapes:
    """Descriptors of many shapes, side by side."""

    fills: Float32[np.ndarray, "N 216"]
    histograms: Float32[np.ndarray, "N 32"]


def find_leaks(
    train_rows: Sequence[Mapping[str, Any]],
    val_rows: Sequence[Mapping[str, Any]],
    *,
    num_queries: int = NUM_QUERIES,
    max_distance: float = MAX_DISTANCE,
) -> list[Leak]:
    """Find validation shapes with a near twin in training, also turned or mirrored.

    Args:
        train_rows: rows of the index, of one split.
        val_rows: rows of the other.
        num_queries: volume queries that the descriptors were made from; they use at most
            `NUM_QUERIES`.
        max_distance: shapes at most this far apart, in units of sampling noise, are twins.

    Returns:
        One entry for every validation shape that has a twin, with the nearest one; nearest first.
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
    """Distance to the nearest training shape of every validation shape, and which that is."""
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
    """Every shape in the eight ways to stand upright on its cells (axes are x, y, z)."""
    grids = fills.reshape(-1, CELLS, CELLS, CELLS)
    turned = [np.rot90(g, k, axes=(1, 3)) for g in (grids, grids[..., ::-1]) for k in range(4)]
    return np.stack(turned).reshape(8, *fills.shape)


def _fill_distances(
    train: Float32[np.ndarray, "T 216"],
    turned: Float32[np.ndarray, "8 V 216"],
    queries_per_cell: float,
) -> Float32[np.ndarray, "T V"]:
    """The distance over the best of the eight turns.

    Of cells a and b whose true fill is (a + b) / 2 the expected squared difference is
    (a + b - (a + b)^2 / 2) / n: the larger a . b, the smaller the distance.
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
