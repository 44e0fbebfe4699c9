"""From rows of `rate_distortion` to comparisons at equal bytes and equal distortion, and a plot."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from g3pt.evaluation.bootstrap import Interval, bootstrap
from g3pt.evaluation.report.plots import COLORS, Curve, Panel, plot_curves
from g3pt.evaluation.report.summary import cell, summarise
from g3pt.evaluation.results import Row

CODECS = ("draco", "quantised")
"""The baselines; `either` is the better of both, object by object."""

AGAINST = ("either", *CODECS)

METRICS = {"iou": "IoU", "chamfer_mean": "Chamfer"}

GRID = 48
"""Points of a baseline's curve."""


def codec_of(row: Row) -> str:
    """The codec in a row's method, which is named before its settings."""
    return row["method"].split("-")[0]


def sizes(row: Row) -> dict[str, float]:
    """Bytes of a g3t row: `payload`, the tokens alone, and `file`, with header and checksums."""
    return {"payload": row["bits"] / 8, "file": float(row["bytes"])}


def is_as_good(row: Row, metric: str, value: float) -> bool:
    """Tell whether a row reaches some IoU or Chamfer distance."""
    return row[metric] >= value if metric == "iou" else row[metric] <= value


def best_within(rows: Sequence[Row], limit: float, metric: str) -> float:
    """The best value of the rows that take at most so many bytes; NaN if there is none."""
    values = [row[metric] for row in rows if row["bytes"] <= limit]
    if not values:
        return float("nan")
    return max(values) if metric == "iou" else min(values)


def smallest_reaching(rows: Sequence[Row], value: float, metric: str) -> float:
    """Bytes of the smallest row that is as good as a value; NaN if none is."""
    reaching = [row["bytes"] for row in rows if is_as_good(row, metric, value)]
    return float(min(reaching)) if reaching else float("nan")


# --- comparisons -----------------------------------------------------------------------------


def describe_rate(rows: Sequence[Row]) -> dict[str, Any]:
    """The parts of the report that codecs fill.

    Args:
        rows: of all objects and methods, with their scores.

    Returns:
        `summary`, the means by method, and `comparisons`, made object by object.
    """
    methods = list(dict.fromkeys(row["method"] for row in rows))
    summary: dict[str, Any] = {}
    for method in methods:
        summary |= summarise([row for row in rows if row["method"] == method], f"{method}/")
    comparisons = [
        compare(rows, method, counted, against)
        for method in methods
        if method.startswith("g3t-")
        for counted in ("payload", "file")
        for against in AGAINST
    ]
    return {"summary": summary, "comparisons": comparisons}


def compare(rows: Sequence[Row], method: str, counted: str, against: str) -> dict[str, Any]:
    """One prefix of scales against the best setting of a baseline, chosen for each object.

    Args:
        rows: of all objects and methods.
        method: the prefix.
        counted: `payload` or `file`: which of its bytes.
        against: one of `AGAINST`.

    Returns:
        `fits`, how many objects have a baseline of at most these bytes, and over those
        `equal_bytes` with `ours`, `theirs` and `difference` by metric; `equal_distortion` by
        metric: how many objects `reached` ours, the geometric means of the smallest `bytes` that
        do, and of their `ratio` to ours (above 1: ours is smaller).
    """
    codecs = CODECS if against == "either" else (against,)
    ours = [row for row in rows if row["method"] == method]
    theirs: dict[str, list[Row]] = {row["id"]: [] for row in ours}
    for row in rows:
        if codec_of(row) in codecs:
            theirs[row["id"]].append(row)
    own_bytes = np.array([sizes(row)[counted] for row in ours])
    entry: dict[str, Any] = {
        "method": method,
        "counted": counted,
        "against": against,
        "bytes": float(own_bytes.mean()),
        "objects": len(ours),
        "equal_bytes": {},
        "equal_distortion": {},
    }
    for metric in METRICS:
        own = np.array([row[metric] for row in ours])
        pairs = list(zip(ours, own_bytes, strict=True))
        best = np.array([best_within(theirs[row["id"]], size, metric) for row, size in pairs])
        needed = np.array(
            [smallest_reaching(theirs[row["id"]], row[metric], metric) for row in ours]
        )
        fitting = ~np.isnan(best)
        entry["fits"] = int(fitting.sum())
        entry["equal_bytes"][metric] = _json(
            bootstrap(
                {"ours": own[fitting], "theirs": best[fitting], "difference": (own - best)[fitting]}
            )
        )
        logs = bootstrap({"bytes": np.log(needed), "ratio": np.log(needed / own_bytes)})
        entry["equal_distortion"][metric] = {
            "reached": int((~np.isnan(needed)).sum()),
            **_json({name: _exp(interval) for name, interval in logs.items()}),
        }
    return entry


def _exp(interval: Interval) -> Interval:
    mean, low, high = (float(np.exp(x)) for x in (interval.mean, interval.low, interval.high))
    return Interval(mean, low, high, interval.num)


def _json(intervals: Mapping[str, Interval]) -> dict[str, Any]:
    return {name: interval.to_json() for name, interval in intervals.items()}


# --- table -----------------------------------------------------------------------------------


def table(report: Mapping[str, Any]) -> str:
    """The whole report for a reader."""
    summary = report["summary"]
    methods = dict.fromkeys(name.rsplit("/", 1)[0] for name in summary)
    columns = ("iou", "chamfer_mean", "fscore_001", "empty")
    lines = [
        f"# Bits per shape: {report['data']} by {report['weights']['name']}",
        "",
        f"Protocol {report['protocol']}, {report['counts']['objects']} objects. "
        "Mean [95 % interval]; `bits` of g3t are those of its tokens.",
        "",
        "| method | bits | bytes | " + " | ".join(columns) + " |",
        "|---" * (len(columns) + 3) + "|",
    ]
    for method in methods:
        sizes_of = [f"{summary[f'{method}/{name}']['mean']:.0f}" for name in ("bits", "bytes")]
        cells = [cell(summary[f"{method}/{name}"]) for name in columns]
        lines.append(f"| {method} | " + " | ".join([*sizes_of, *cells]) + " |")
    return "\n".join([*lines, "", *comparison_lines(report)]) + "\n"


def comparison_lines(report: Mapping[str, Any]) -> list[str]:
    """Both comparisons as tables."""
    names = list(METRICS.values())
    equal = ["| at most the bytes of | bytes | against | fit |"]
    equal[0] += "".join(f" {name} ours | theirs | difference |" for name in names)
    equal.append("|---" * (4 + 3 * len(names)) + "|")
    needed = ["| as good as | bytes | against |"]
    needed[0] += "".join(f" bytes for same {name} | times ours | reached |" for name in names)
    needed.append("|---" * (3 + 3 * len(names)) + "|")
    for entry in report["comparisons"]:
        head = f"| {entry['method']} {entry['counted']} | {entry['bytes']:.0f} | "
        head += f"{entry['against']} | "
        values: list[str] = [f"{entry['fits']}/{entry['objects']}"]
        sizes_of: list[str] = []
        for metric in METRICS:
            found = entry["equal_bytes"][metric]
            values += [cell(found.get(name)) for name in ("ours", "theirs", "difference")]
            found = entry["equal_distortion"][metric]
            sizes_of += [_size(found.get("bytes"), 0), _size(found.get("ratio"), 2)]
            sizes_of.append(f"{found['reached']}/{entry['objects']}")
        equal.append(head + " | ".join(values) + " |")
        needed.append(head + " | ".join(sizes_of) + " |")
    return [*equal, "", *needed]


def _size(entry: Mapping[str, float] | None, digits: int) -> str:
    if entry is None:
        return ""
    return f"{entry['mean']:.{digits}f} [{entry['low']:.{digits}f}, {entry['high']:.{digits}f}]"


# --- plot ------------------------------------------------------------------------------------


def draw(path: Path, report: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """Bits per shape against Chamfer distance and IoU."""
    panels = [
        Panel(
            curves=[*_baseline_curves(report, rows, metric), *_own_curves(report, metric)],
            x_label="bits per shape",
            y_label="Chamfer distance" if metric == "chamfer_mean" else "IoU",
            log_x=True,
            log_y=metric == "chamfer_mean",
        )
        for metric in ("chamfer_mean", "iou")
    ]
    title = (
        f"{report['weights']['name']}, {report['counts']['objects']} objects of {report['data']}"
    )
    plot_curves(path, panels, title=title)


def _own_curves(report: Mapping[str, Any], metric: str) -> list[Curve]:
    summary = report["summary"]
    methods = [name[: -len("/bits")] for name in summary if name.endswith("/bits")]
    own = [method for method in methods if method.startswith("g3t-")]
    entries = [summary[f"{method}/{metric}"] for method in own]
    mean, low, high = ([entry[name] for entry in entries] for name in ("mean", "low", "high"))
    bits = [summary[f"{method}/bits"]["mean"] for method in own]
    file_bits = [8 * summary[f"{method}/bytes"]["mean"] for method in own]
    return [
        Curve(
            x=bits,
            y=mean,
            low=low,
            high=high,
            label="g3t, tokens alone",
            color=COLORS[0],
            marker="o",
        ),
        Curve(
            x=file_bits,
            y=mean,
            label="g3t, whole file",
            color=COLORS[0],
            line="--",
            marker="s",
        ),
    ]


def _baseline_curves(report: Mapping[str, Any], rows: Sequence[Row], metric: str) -> list[Curve]:
    """Of each baseline: means by setting as dots, and the best setting within so many bits."""
    summary = report["summary"]
    curves: list[Curve] = []
    for codec, color in zip(CODECS, COLORS[1:], strict=False):
        methods = dict.fromkeys(row["method"] for row in rows if codec_of(row) == codec)
        curves.append(
            Curve(
                x=[summary[f"{method}/bits"]["mean"] for method in methods],
                y=[summary[f"{method}/{metric}"]["mean"] for method in methods],
                color=color,
                line="",
                marker="o",
                faint=True,
            )
        )
        limits, found = best_curve([row for row in rows if codec_of(row) == codec], metric)
        curves.append(
            Curve(
                x=list(8 * limits),
                y=[interval.mean for interval in found],
                low=[interval.low for interval in found],
                high=[interval.high for interval in found],
                color=color,
                label={"draco": "Draco", "quantised": "sorted and packed"}[codec]
                + ", best setting for each shape",
            )
        )
    return curves


def best_curve(rows: Sequence[Row], metric: str) -> tuple[np.ndarray, list[Interval]]:
    """Mean over objects of the best value within so many bytes.

    Returns:
        Numbers of bytes, from where every object has a setting that fits, and the means there.
    """
    by_object: dict[str, list[Row]] = {}
    for row in rows:
        by_object.setdefault(row["id"], []).append(row)
    first = max(min(row["bytes"] for row in own) for own in by_object.values())
    last = max(row["bytes"] for row in rows)
    limits = np.geomspace(first, last, GRID)
    limits[[0, -1]] = first, last  # not a rounding below
    columns = {
        str(number): np.array([best_within(own, limit, metric) for own in by_object.values()])
        for number, limit in enumerate(limits)
    }
    return limits, list(bootstrap(columns).values())
