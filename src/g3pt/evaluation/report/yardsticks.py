"""Reports of yardsticks as JSON values and as lines, and differences between two reports.

Legend: B objects, S scales.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from g3pt.evaluation.bootstrap import bootstrap
from g3pt.files import read_json
from g3pt.training.yardsticks import TOKENS, YardstickMeasure

PROTOCOL = "g3pt-yardsticks-v1"
"""Canonical pictures at the encoder's size, tokens of the stored points, fields at the stored
queries; one sample or a consensus of each object, from the object's own seed."""

FLAGGED = "_flagged"
"""End of the name of a row of objects whose labels cannot be trusted."""


def yardstick_report(measured: Sequence[YardstickMeasure], **about: Any) -> dict[str, Any]:
    """Rows of all sets; flagged objects are in rows of their own.

    Args:
        measured: of each set.
        about: further JSON values, such as weights and sampling.
    """
    rows = [
        _row(part.take(chosen_B, part.name + ending))
        for part in measured
        for ending, chosen_B in (("", ~part.flagged_B), (FLAGGED, part.flagged_B))
        if chosen_B.any()
    ]
    return {"kind": "yardsticks", "protocol": PROTOCOL, **about, "rows": rows} | {
        "memory": _memory({row["set"]: row for row in rows})
    }


def read_report(path: Path) -> dict[str, Any]:
    """Read a report that was written as JSON.

    Raises:
        FileNotFoundError: if there is nothing of that name.
        ValueError: naming the file, if it holds no report of this protocol.
    """
    report = read_json(path)
    if not isinstance(report, dict) or report.get("protocol") != PROTOCOL:
        raise ValueError(f"{path}: expected a report of yardsticks with the protocol {PROTOCOL}")
    needed = ("set", "num", "iou", "objects")
    rows = report.get("rows")
    if not isinstance(rows, list) or not all(
        isinstance(row, dict) and all(name in row for name in needed) for row in rows
    ):
        raise ValueError(f"{path}: rows: expected objects with {', '.join(needed)}")
    return report


def _row(part: YardstickMeasure) -> dict[str, Any]:
    """One set; `objects` holds what two reports are compared by."""
    by_scale = {
        "ce": part.ce,
        "ce_calibrated": part.calibrated,
        "bit_accuracy": part.bit_accuracy_BS,
    }
    return {
        "set": part.name,
        "num": len(part.ids),
        "chance": part.chance,
        "temperature": part.temperature.tolist(),
        **{name: _intervals(values_BS) for name, values_BS in by_scale.items()},
        "iou": {name: _interval(values_B) for name, values_B in part.iou.items()},
        "seconds": part.seconds,
        "objects": {
            "ids": list(part.ids),
            **{name: values_BS.tolist() for name, values_BS in by_scale.items()},
            "iou": {name: values_B.tolist() for name, values_B in part.iou.items()},
        },
    }


def _interval(values_B: Float64[np.ndarray, " B"]) -> dict[str, float | int]:
    """Mean, standard error, and bootstrap interval."""
    entry = bootstrap({"": values_B})[""].to_json()
    error = float(values_B.std(ddof=1) / len(values_B) ** 0.5) if len(values_B) > 1 else 0.0
    return {**entry, "error": error}


def _intervals(values_BS: Float64[np.ndarray, "B S"]) -> list[dict[str, float | int]]:
    return [_interval(values_B) for values_B in values_BS.T]


def _memory(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """By answer: the IoU on known kinds minus that on unseen kinds."""
    if not {"known", "unseen"} <= set(rows):
        return {}
    known, unseen = rows["known"]["iou"], rows["unseen"]["iou"]
    return {
        name: {
            "mean": known[name]["mean"] - unseen[name]["mean"],
            "error": (known[name]["error"] ** 2 + unseen[name]["error"] ** 2) ** 0.5,
        }
        for name in known
        if name in unseen
    }


# --- two reports ---------------------------------------------------------------------------


def compare_reports(now: Mapping[str, Any], before: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Bootstrap of `now - before` over the objects that both have, set by set.

    Args:
        now: a report of `yardstick_report`.
        before: another.

    Returns:
        A row of every set and number: `set`, `what`, and the interval of the difference.

    Raises:
        ValueError: if they are reports of something else.
    """
    for report in (now, before):
        if report.get("protocol") != PROTOCOL:
            raise ValueError(
                f"expected a report of protocol {PROTOCOL}, got {report.get('protocol')!r}"
            )
    earlier = {row["set"]: dict(_columns(row)) for row in before["rows"]}
    found: list[dict[str, Any]] = []
    for row in now["rows"]:
        others = earlier.get(row["set"], {})
        for what, own in _columns(row):
            pairs = [(own[one], others[what][one]) for one in own if one in others.get(what, {})]
            if pairs:
                differences = np.array([ours - theirs for ours, theirs in pairs])
                found.append({"set": row["set"], "what": what, **_interval(differences)})
    return found


def _columns(row: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, float]]]:
    """Every number of a row, object by object."""
    objects = row["objects"]
    for name in ("ce", "ce_calibrated", "bit_accuracy"):
        for scale, values in enumerate(zip(*objects[name], strict=True), start=1):
            yield f"{name}_{scale}", dict(zip(objects["ids"], values, strict=True))
    for answer, values in objects["iou"].items():
        yield f"iou/{answer}", dict(zip(objects["ids"], values, strict=True))


# --- lines ---------------------------------------------------------------------------------


def yardstick_lines(report: Mapping[str, Any]) -> list[str]:
    """The report for a reader: likelihood by scale, then what the answers reach."""
    lines: list[str] = []
    for row in report["rows"]:
        means = {
            name: " ".join(f"{entry['mean']:.{digits}f}" for entry in row[name])
            for name, digits in (("ce", 2), ("ce_calibrated", 2), ("bit_accuracy", 3))
        }
        lines += [
            f"{row['set']}: {row['num']} objects",
            f"  nats a token by scale  {means['ce']}  (chance {row['chance']:.2f})",
            f"  at temperatures {' '.join(f'{one:.2f}' for one in row['temperature'])}  "
            f"{means['ce_calibrated']}",
            f"  right bits             {means['bit_accuracy']}",
        ]
        lines += [
            f"  IoU {'of its own tokens' if name == TOKENS else name:<18} {entry['mean']:.3f} "
            f"+- {entry['error']:.3f}  [{entry['low']:.3f}, {entry['high']:.3f}]"
            for name, entry in row["iou"].items()
        ]
    lines += [
        f"memory (known - unseen), {name}: {entry['mean']:+.3f} +- {entry['error']:.3f}"
        for name, entry in report["memory"].items()
        if name != TOKENS
    ]
    return lines


def comparison_lines(differences: Sequence[Mapping[str, Any]]) -> list[str]:
    """Differences for a reader; those whose interval excludes zero are marked."""
    return [
        f"{row['set']:<14} {row['what']:<24} {row['mean']:+.3f} [{row['low']:+.3f}, "
        f"{row['high']:+.3f}]{' *' if row['low'] > 0 or row['high'] < 0 else ''}"
        for row in differences
    ]
