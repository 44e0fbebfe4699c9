"""Sets of shapes in the report: how like the true ones those of every method are, as a whole."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from g3pt.evaluation.judging import TRUTH
from g3pt.evaluation.report.summary import cell
from g3pt.evaluation.sets.distribution import compare_sets
from g3pt.evaluation.sets.sketches import distances_between, set_distances, unpack_sketches

LEFT_OUT = ("mean_shape",)
"""One shape for all objects: as a set it says nothing."""

METRICS = ("coverage", "mmd", "one_nna")


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
    """The same for a reader of the terminal, by the Chamfer distance."""
    lines: list[str] = []
    for method, distances in report.items():
        coverage, mmd, one_nna = (distances["chamfer"][name]["mean"] for name in METRICS)
        lines.append(f"{method}: coverage {coverage:.3f}, MMD {mmd:.4f}, 1-NNA {one_nna:.3f}")
    return lines


def set_table(report: Mapping[str, Any]) -> str:
    """The same as a Markdown table."""
    lines = ["| set, distance | COV | MMD | 1-NNA |", "|---|---|---|---|"]
    for method, distances in report.items():
        for kind, entry in distances.items():
            cells = " | ".join(cell(entry[metric]) for metric in METRICS)
            lines.append(f"| {method}, {kind} | {cells} |")
    return "\n".join(lines) + "\n"
