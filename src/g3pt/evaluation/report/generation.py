"""The report of an evaluation of generation: methods side by side, differences, sets."""

from collections.abc import Mapping, Sequence
from typing import Any

from g3pt.evaluation.protocol import EvaluationSettings
from g3pt.evaluation.protocols.object_generator import COMPARED
from g3pt.evaluation.report.sets import report_sets, set_table
from g3pt.evaluation.report.summary import (
    base_report,
    difference_table,
    markdown,
    paired_differences,
    summarise,
)
from g3pt.evaluation.results import Results, Row
from g3pt.evaluation.sets.samples import mean_over_samples, spread_over_samples, spread_rows
from g3pt.evaluation.sets.sketches import num_cloud

CONTROLS = ("unconditional", "retrieved_by_image", "retrieved_by_text", "mean_shape")


def generation_report(
    results: Results,
    config: Mapping[str, Any],
    settings: EvaluationSettings,
    *,
    threads: int = 1,
) -> dict[str, Any]:
    """Summarise finished objects; keys of the summary are `method/metric`.

    Where there are several samples of a prompt, an object counts with their mean, and
    `method/metric_std`, `_min` and `_max` say how far they lie apart on average.

    Args:
        results: rows and sketches.
        config: what the results were opened with.
        settings: how finely was measured.
        threads: for distances between sets.
    """
    rows = results.rows
    by_method: dict[str, list[Row]] = {}
    for row in rows:
        if row.get("method"):
            by_method.setdefault(row["method"], []).append(row)
    report = base_report("generation", settings.protocol, rows, config=config, code=results.code)
    report["summary"], report["samples"] = {}, {}
    for method, own in by_method.items():
        report["summary"] |= summarise(mean_over_samples(own), prefix=f"{method}/")
        if any((row.get("sample") or 0) > 0 for row in own):
            spread = spread_over_samples(own, COMPARED)
            report["samples"][method] = spread
            report["summary"] |= summarise(spread_rows(spread), prefix=f"{method}/")
    report["differences"] = _differences(
        {method: mean_over_samples(own) for method, own in by_method.items()}
    )
    report["sets"] = {
        "points": num_cloud(settings),
        "methods": report_sets(results.arrays, threads=threads),
    }
    report["objects"] = rows
    return report


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
        for other in [kind] * (ours != kind) + others:
            differences = paired_differences(by_method[ours], by_method[other], COMPARED)
            for metric, interval in differences.items():
                found[f"{ours}-{other}/{metric}"] = interval.to_json()
    return found


def write_report(results: Results, report: dict[str, Any], title: str) -> None:
    """Write the report and its tables beside the rows."""
    summary = report["summary"]
    methods = dict.fromkeys(name.split("/")[0] for name in summary)
    groups = [f"{method}/" for method in methods]
    groups += [f"{method}/aligned_" for method in methods if f"{method}/aligned_iou" in summary]
    tables = [markdown(title, report, groups), difference_table(report["differences"])]
    if report["sets"]["methods"]:
        tables.append(set_table(report["sets"]["methods"]))
    results.finish(report, "\n".join(tables))
