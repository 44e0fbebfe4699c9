"""The report of an evaluation of generation: every method, differences to controls, sets."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from g3pt.evaluation.objects import EvaluationSettings
from g3pt.evaluation.report.summary import (
    columns_of,
    difference_table,
    markdown,
    paired_differences,
    summarise,
)
from g3pt.evaluation.results import TEXT_COLUMNS, Results, Row
from g3pt.evaluation.sets.distribution import num_cloud, report_sets, set_table

COMPARED = ("iou", "chamfer_mean", "fscore_001")
"""Metrics that are compared with controls, object by object."""

CONTROLS = ("unconditional", "retrieved_by_image", "retrieved_by_text", "mean_shape")


def describe_generation(
    results: Results, settings: EvaluationSettings, threads: int = 1
) -> dict[str, Any]:
    """Summarise finished objects; keys of the summary are `method/metric`.

    Where there are several samples of a prompt, an object counts with their mean, and
    `method/metric_std`, `_min` and `_max` say how far they lie apart on average.

    Args:
        results: rows and sketches.
        settings: how finely was measured.
        threads: for distances between sets.

    Returns:
        The parts of the report that methods fill: `summary`, `samples`, `differences`, `sets`.
    """
    by_method: dict[str, list[Row]] = {}
    for row in results.rows:
        if row.get("method"):
            by_method.setdefault(row["method"], []).append(row)
    summary: dict[str, Any] = {}
    samples: dict[str, Any] = {}
    for method, own in by_method.items():
        summary |= summarise(mean_over_samples(own), prefix=f"{method}/")
        if any((row.get("sample") or 0) > 0 for row in own):
            samples[method] = spread_over_samples(own, COMPARED)
            summary |= summarise(spread_rows(samples[method]), prefix=f"{method}/")
    means = {method: mean_over_samples(own) for method, own in by_method.items()}
    sets = report_sets(results.arrays, threads=threads)
    return {
        "summary": summary,
        "samples": samples,
        "differences": _differences(means),
        "sets": {"points": num_cloud(settings), "methods": sets},
    }


def _differences(by_method: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """Every prediction against its controls, several samples against a plain one."""
    found: dict[str, Any] = {}
    for ours in by_method:
        kind = ours.split("_best_of_")[0].split("_consensus_of_")[0]
        if kind not in ("image", "text", "prediction"):
            continue
        others = [name for name in CONTROLS if name in by_method]
        others = [name for name in others if not name.startswith("retrieved_by_")] + [
            name for name in others if name == f"retrieved_by_{kind}"
        ]
        plain = [kind] if kind != ours and kind in by_method else []
        for other in plain + others:
            differences = paired_differences(by_method[ours], by_method[other], COMPARED)
            for metric, interval in differences.items():
                found[f"{ours}-{other}/{metric}"] = interval.to_json()
    return found


def generation_table(title: str, report: Mapping[str, Any]) -> str:
    """Methods, differences and sets as Markdown."""
    summary = report["summary"]
    methods = dict.fromkeys(name.split("/")[0] for name in summary)
    groups = [f"{method}/" for method in methods]
    groups += [f"{method}/aligned_" for method in methods if f"{method}/aligned_iou" in summary]
    tables = [markdown(title, report, groups), difference_table(report["differences"])]
    if report["sets"]["methods"]:
        tables.append(set_table(report["sets"]["methods"]))
    return "\n".join(tables)


# --- several samples of a prompt ---------------------------------------------------------------


def mean_over_samples(rows: Sequence[Row]) -> list[Row]:
    """One row per object: means of its samples' numbers, text of the first one.

    What only some samples have is averaged over those; shares come out of truth values.
    """
    found: list[Row] = []
    for own in rows_by_object(rows).values():
        means = {
            name: float(np.nanmean(values))
            for name, values in columns_of(own).items()
            if not np.isnan(values).all()
        }
        texts = {name: own[0][name] for name in own[0] if name in TEXT_COLUMNS}
        found.append({**texts, **means})
    return found


def spread_over_samples(
    rows: Sequence[Row], metrics: Sequence[str]
) -> dict[str, dict[str, dict[str, float]]]:
    """Of every object and metric: mean, std (of a draw, so over one less), min and max."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for object_id, own in rows_by_object(rows).items():
        columns = columns_of(own)
        found[object_id] = {
            name: {
                "mean": float(columns[name].mean()),
                "std": float(columns[name].std(ddof=1)) if len(own) > 1 else 0.0,
                "min": float(columns[name].min()),
                "max": float(columns[name].max()),
            }
            for name in metrics
        }
    return found


def spread_rows(spread: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[Row]:
    """The same as rows with columns `METRIC_std`, `METRIC_min`, `METRIC_max`."""
    return [
        {"id": object_id}
        | {
            f"{name}_{statistic}": values[statistic]
            for name, values in metrics.items()
            for statistic in ("std", "min", "max")
        }
        for object_id, metrics in spread.items()
    ]


def rows_by_object(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows in their order, by the id of their object."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["id"], []).append(row)
    return found
