"""From rows to a report: means with intervals, differences to controls, hashes, a table."""

import platform
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from g3pt import __version__
from g3pt.evaluation.bootstrap import Interval, bootstrap
from g3pt.evaluation.results import TEXT_COLUMNS, Row
from g3pt.hashes import json_sha256

NOT_MEASURED = TEXT_COLUMNS | {"slot", "seed", "sample", "candidate"}
"""Columns that have no mean."""

HEADLINE = (
    "iou",
    "chamfer_mean",
    "fscore_001",
    "normal_consistency",
    "near_accuracy",
    "family_accuracy",
)
"""Columns of the Markdown table, where they exist."""


def scored(rows: Sequence[Row]) -> list[Row]:
    """Rows that carry numbers: those whose object had a usable truth."""
    return [row for row in rows if row.get("iou") is not None]


def columns_of(rows: Sequence[Row]) -> dict[str, np.ndarray]:
    """The measured columns; what a row lacks is NaN."""
    names = dict.fromkeys(name for row in rows for name in row if name not in NOT_MEASURED)
    return {name: np.array([_number(row.get(name)) for row in rows]) for name in names}


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def summarise(rows: Sequence[Row], prefix: str = "") -> dict[str, dict[str, float | int]]:
    """Mean and interval of every measured column."""
    intervals = bootstrap(columns_of(rows))
    return {prefix + name: interval.to_json() for name, interval in intervals.items()}


def paired_differences(
    ours: Sequence[Row], control: Sequence[Row], metrics: Sequence[str]
) -> dict[str, Interval]:
    """Bootstrap of `ours - control` over the objects that both have, object by object."""
    other = {row["id"]: row for row in control}
    pairs = [(row, other[row["id"]]) for row in ours if row["id"] in other]
    return bootstrap(
        {
            name: np.array([_number(a.get(name)) - _number(b.get(name)) for a, b in pairs])
            for name in metrics
        }
    )


def base_report(
    kind: str,
    protocol: str,
    rows: Sequence[Row],
    *,
    config: Mapping[str, Any],
    code: Sequence[str],
) -> dict[str, Any]:
    """What all reports share.

    Args:
        kind: what was evaluated.
        protocol: name of the settings.
        rows: all rows.
        config: what the results were opened with: has `settings` and the hashes of the inputs.
        code: versions of the program that worked on them.
    """
    problems = [row for row in rows if row.get("problem")]
    return {
        "protocol": protocol,
        "kind": kind,
        "counts": {
            "objects": len({row["id"] for row in rows if not row.get("problem")}),
            "empty_predictions": sum(bool(row.get("empty")) for row in rows),
            "problems": len(problems),
        },
        "hashes": {
            "config": json_sha256(config),
            **{name: config[name] for name in ("data", "weights") if name in config},
            "code": ", ".join(code),
        },
        "settings": config["settings"],
        "machine": {
            "platform": platform.platform(),
            "processor": platform.processor() or platform.machine(),
            "torch": torch.__version__,
            "g3pt": __version__,
        },
        "problems": [{"id": row["id"], "problem": row["problem"]} for row in problems],
    }


# --- tables --------------------------------------------------------------------------------


def markdown(title: str, report: Mapping[str, Any], groups: Sequence[str] = ("",)) -> str:
    """The headline numbers as a table, one line per group (a prefix of the summary's keys)."""
    summary = report["summary"]
    names = [name for name in HEADLINE if any(group + name in summary for group in groups)]
    lines = [
        f"# {title}",
        "",
        f"Protocol {report['protocol']}, {report['counts']['objects']} objects, "
        f"{report['counts']['empty_predictions']} empty predictions. Mean [95 % interval].",
        "",
        "| | " + " | ".join(names) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    for group in groups:
        cells = [cell(summary.get(group + name)) for name in names]
        lines.append(f"| {group.rstrip('/') or 'all'} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def difference_table(differences: Mapping[str, Any]) -> str:
    """Paired differences as a table; those whose interval excludes zero are marked."""
    lines = ["| difference, object by object | mean [95 % interval] | |", "|---|---|---|"]
    for name, entry in differences.items():
        certain = entry["low"] > 0 or entry["high"] < 0
        lines.append(f"| {name} | {cell(entry)} | {'*' if certain else ''} |")
    return "\n".join(lines) + "\n"


def cell(entry: Mapping[str, float] | None) -> str:
    """A mean and its interval."""
    if entry is None:
        return ""
    digits = 4 if abs(entry["mean"]) < 0.1 else 3
    return f"{entry['mean']:.{digits}f} [{entry['low']:.{digits}f}, {entry['high']:.{digits}f}]"
