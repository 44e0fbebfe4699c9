"""What comparing whole sets asks of a shape, and the distances between two such sketches.

Legend: N, M shapes, P surface points, G = side**3 / 8 bytes of packed occupancy; unit frame.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, UInt8
from scipy import spatial

from g3pt.evaluation.protocol import EvaluationSettings
from g3pt.evaluation.sets.distribution import SetDistances
from g3pt.evaluation.sets.families import grid_ious
from g3pt.geometry.metrics import EMPTY_CHAMFER

_spatial: Any = spatial

BLOCK = 64
"""Shapes whose points are looked up together."""

DISTANCES = ("chamfer", "chamfer_squared", "one_minus_iou")
"""Mean of both directions, unsquared; sum of both directions' mean squares, as PointFlow has it;
and from occupancy on a grid."""

_WORST = {
    "chamfer": EMPTY_CHAMFER,
    "chamfer_squared": 2 * EMPTY_CHAMFER**2,
    "one_minus_iou": 1.0,
}


@dataclass(frozen=True, eq=False)
class Sketch:
    """One shape."""

    points: Float32[np.ndarray, "P 3"]
    """On its surface, by area; none if it has no surface."""
    grid: UInt8[np.ndarray, " G"]
    """Packed occupancy at `families.grid_points`."""

    @property
    def is_empty(self) -> bool:
        """True without a surface."""
        return len(self.points) == 0


def num_cloud(settings: EvaluationSettings) -> int:
    """Surface points of a sketch: PointFlow's 2048 at the full protocol, fewer in quick mode."""
    return min(2048, settings.num_surface // 40)


def pack_sketches(sketches: Mapping[str, Sketch]) -> dict[str, np.ndarray]:
    """Arrays of an object's sketches, by method, for a file."""
    arrays: dict[str, np.ndarray] = {}
    for method, sketch in sketches.items():
        arrays |= {f"{method}/points": sketch.points, f"{method}/grid": sketch.grid}
    return arrays


def unpack_sketches(arrays: Mapping[str, np.ndarray]) -> dict[str, Sketch]:
    """Inverse of `pack_sketches`."""
    methods = [name.removesuffix("/grid") for name in arrays if name.endswith("/grid")]
    return {name: Sketch(arrays[f"{name}/points"], arrays[f"{name}/grid"]) for name in methods}


def set_distances(
    generated: Sequence[Sketch],
    reference: Sequence[Sketch],
    within_reference: Mapping[str, Float64[np.ndarray, "M M"]] | None = None,
    *,
    threads: int = 1,
) -> dict[str, SetDistances]:
    """All that `compare_sets` asks of two sets, by the name of the distance.

    Args:
        generated: as many as references; some may be empty.
        reference: none of them empty.
        within_reference: `distances_between(reference, reference)`, if it is at hand.
        threads: for the search of neighbours.

    Raises:
        ValueError: if the sets are not of one size, or below two.
    """
    between = partial(distances_between, threads=threads)
    across = between(generated, reference)
    within = between(generated, generated)
    within_reference = within_reference or between(reference, reference)
    empty = np.array([sketch.is_empty for sketch in generated])
    return {
        name: SetDistances(within[name], across[name], within_reference[name], empty)
        for name in DISTANCES
    }


def distances_between(
    first: Sequence[Sketch], second: Sequence[Sketch], *, threads: int = 1
) -> dict[str, Float64[np.ndarray, "N M"]]:
    """Every distance of every sketch of one set to every one of the other.

    An empty sketch is as far from everything, and from other empty ones, as a distance goes.
    """
    ahead = nearest_means(first, second, threads=threads)
    back = ahead if second is first else nearest_means(second, first, threads=threads)
    found = {
        "chamfer": (ahead[0] + back[0].T) / 2,
        "chamfer_squared": ahead[1] + back[1].T,
        "one_minus_iou": 1.0 - _grid_ious_between(first, second),
    }
    empty = np.logical_or.outer(
        [sketch.is_empty for sketch in first], [sketch.is_empty for sketch in second]
    )
    return {name: np.where(empty, _WORST[name], values) for name, values in found.items()}


def _grid_ious_between(
    first: Sequence[Sketch], second: Sequence[Sketch]
) -> Float64[np.ndarray, "N M"]:
    others = np.stack([sketch.grid for sketch in second])
    return np.stack([grid_ious(sketch.grid, others) for sketch in first])


def nearest_means(
    sources: Sequence[Sketch], targets: Sequence[Sketch], *, threads: int = 1
) -> Float64[np.ndarray, "2 N M"]:
    """Mean distance, and mean squared distance, from the points of each source to each target.

    A target's tree answers for the points of a block of sources at once. Empty ones give 0.
    """
    means = np.zeros((2, len(sources), len(targets)))
    full = [number for number, sketch in enumerate(sources) if not sketch.is_empty]
    blocks = [full[start : start + BLOCK] for start in range(0, len(full), BLOCK)]
    points = [np.concatenate([sources[number].points for number in block]) for block in blocks]
    starts = [
        np.cumsum([0, *(len(sources[number].points) for number in block[:-1])]) for block in blocks
    ]
    for column, target in enumerate(targets):
        if target.is_empty:
            continue
        tree = _spatial.cKDTree(target.points)
        for block, block_points, block_starts in zip(blocks, points, starts, strict=True):
            distances, _ = tree.query(block_points, workers=threads)
            counts = np.diff([*block_starts, len(block_points)])
            for row, values in enumerate((distances, distances**2)):
                means[row, block, column] = np.add.reduceat(values, block_starts) / counts
    return means
