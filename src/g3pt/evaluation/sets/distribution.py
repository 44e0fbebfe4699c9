"""How alike are two sets of shapes? Coverage, minimum matching distance, 1-nearest-neighbour test.

Definitions of Achlioptas et al. 2018 (COV, MMD) and Lopez-Paz and Oquab 2017, as used by PointFlow
(Yang et al. 2019, Sec. 5.1). All are functions of distances alone, and distances are those between
sketches: some surface points and a coarse occupancy grid of every shape.

Legend: N, M shapes; G generated and R reference shapes, of equal number; P surface points. A packed
occupancy grid has side**3 / 8 bytes. Unit frame.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8
from scipy import spatial

from g3pt.evaluation.bootstrap import Interval, bootstrap
from g3pt.evaluation.objects import EvaluationSettings
from g3pt.evaluation.report.summary import cell
from g3pt.evaluation.sets.families import grid_ious
from g3pt.geometry.metrics import EMPTY_CHAMFER

_spatial: Any = spatial

TRUTH = "truth"
"""Name of the true shape's sketch."""

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

LEFT_OUT = ("mean_shape",)
"""One shape for all objects, which makes no set."""

METRICS = ("coverage", "mmd", "one_nna")


# --- two sets ----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class SetDistances:
    """Distances among as many generated as reference shapes."""

    generated_GG: Float64[np.ndarray, "G G"]
    across_GR: Float64[np.ndarray, "G R"]
    reference_RR: Float64[np.ndarray, "R R"]
    empty_G: Bool[np.ndarray, " G"]
    """Generated shapes without a surface: they match no reference and count as told apart."""

    def __post_init__(self) -> None:
        num_generated, num_reference = self.across_GR.shape
        if num_generated != num_reference:
            raise ValueError(
                f"sets are compared by as many shapes of each, got {num_generated} generated and "
                f"{num_reference} reference shapes: leave some out of the larger set"
            )
        if num_generated < 2:
            raise ValueError(
                f"sets are compared from two shapes of each on, got {num_generated}: a lone shape "
                "has no neighbour in its own set"
            )


def covered(distances: SetDistances) -> Bool[np.ndarray, " R"]:
    """Which references are the nearest one of some generated shape; their share is COV.

    Of equally near references the first counts.
    """
    nearest = distances.across_GR.argmin(axis=1)[~distances.empty_G]
    return np.isin(np.arange(len(distances.across_GR)), nearest)


def matching_distances(distances: SetDistances) -> Float64[np.ndarray, " R"]:
    """Distance from every reference to the nearest generated shape; their mean is MMD."""
    return distances.across_GR.min(axis=0)


def told_apart(distances: SetDistances) -> Float64[np.ndarray, "2 N"]:
    """Which shapes have their nearest neighbour in their own set; the mean of all is 1-NNA.

    The classifier leaves the shape itself out. Neighbours at equal distance on both sides count
    one half.

    Returns:
        1, 0 or a half: first row the generated shapes, second row the references.
    """
    own_G, own_R = _to_nearest(distances.generated_GG), _to_nearest(distances.reference_RR)
    other_G, other_R = distances.across_GR.min(axis=1), distances.across_GR.min(axis=0)
    apart_G = np.where(distances.empty_G, 1.0, _wins(own_G, other_G))
    return np.stack([apart_G, _wins(own_R, other_R)])


def _to_nearest(among_NN: Float64[np.ndarray, "N N"]) -> Float64[np.ndarray, " N"]:
    return (among_NN + np.diag(np.full(len(among_NN), np.inf))).min(axis=1)


def _wins(
    own_N: Float64[np.ndarray, " N"], other_N: Float64[np.ndarray, " N"]
) -> Float64[np.ndarray, " N"]:
    return (own_N < other_N) + 0.5 * (own_N == other_N)


def compare_sets(distances: SetDistances, *, seed: int = 0) -> dict[str, Interval]:
    """COV (`coverage`), MMD (`mmd`) and 1-NNA (`one_nna`) with 95 % intervals.

    Objects are drawn again with the matches that they have in the whole sets: neighbours sought
    among drawn shapes would find copies of themselves. Generated shape k and reference k are
    drawn together, as both belong to object k where generation was conditioned.
    """
    return bootstrap(
        {
            "coverage": covered(distances).astype(np.float64),
            "mmd": matching_distances(distances),
            "one_nna": told_apart(distances).mean(axis=0),
        },
        seed=seed,
    )


# --- sketches and their distances --------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Sketch:
    """One shape."""

    points: Float32[np.ndarray, "P 3"]
    """On its surface, by area; none if it has no surface."""
    grid: UInt8[np.ndarray, " bytes"]
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
    """The distances that `compare_sets` needs of two sets, by the name of the distance.

    Args:
        generated: as many as references; some may be empty.
        reference: none of them empty.
        within_reference: `distances_between(reference, reference)`, if it is already computed.
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

    An empty sketch has the largest distance to everything, other empty ones included.
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


# --- report ------------------------------------------------------------------------------------


def report_sets(arrays: Sequence[Mapping[str, np.ndarray]], *, threads: int = 1) -> dict[str, Any]:
    """Compare the shapes of every method with the true shapes of the same objects.

    Args:
        arrays: packed sketches of every object, the truth among them.
        threads: for the search of neighbours.

    Returns:
        By method and distance: COV, MMD and 1-NNA with intervals, as JSON values. Methods with
        fewer than two objects are left out.
    """
    objects = [unpack_sketches(each) for each in arrays]
    names = dict.fromkeys(name for sketches in objects for name in sketches)
    methods = [name for name in names if name not in (TRUTH, *LEFT_OUT)]
    members = {name: [k for k, each in enumerate(objects) if name in each] for name in methods}
    if max(map(len, members.values()), default=0) < 2:
        return {}
    truths = [sketches[TRUTH] for sketches in objects]
    within = distances_between(truths, truths, threads=threads)
    report: dict[str, Any] = {}
    for name, numbers in members.items():
        if len(numbers) < 2:
            continue
        distances = set_distances(
            [objects[k][name] for k in numbers],
            [truths[k] for k in numbers],
            {kind: values[np.ix_(numbers, numbers)] for kind, values in within.items()},
            threads=threads,
        )
        report[name] = {
            kind: {metric: found.to_json() for metric, found in compare_sets(each).items()}
            for kind, each in distances.items()
        }
    return report


def set_lines(report: Mapping[str, Any]) -> list[str]:
    """The report of `report_sets` as lines for the terminal, by the Chamfer distance."""
    lines: list[str] = []
    for method, distances in report.items():
        coverage, mmd, one_nna = (distances["chamfer"][name]["mean"] for name in METRICS)
        lines.append(f"{method}: coverage {coverage:.3f}, MMD {mmd:.4f}, 1-NNA {one_nna:.3f}")
    return lines


def set_table(report: Mapping[str, Any]) -> str:
    """The report of `report_sets` as a Markdown table."""
    lines = ["| set, distance | COV | MMD | 1-NNA |", "|---|---|---|---|"]
    for method, distances in report.items():
        for kind, entry in distances.items():
            cells = " | ".join(cell(entry[metric]) for metric in METRICS)
            lines.append(f"| {method}, {kind} | {cells} |")
    return "\n".join(lines) + "\n"
