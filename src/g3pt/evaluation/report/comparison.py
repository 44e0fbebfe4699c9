"""A comparison for a reader: lines for the terminal, Markdown, and a sheet of pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from g3pt.evaluation.report.summary import cell
from g3pt.geometry.cameras import frame_together
from g3pt.geometry.render import over_white, sheet

METRICS = ("iou", "chamfer_mean", "fscore_001", "normal_consistency")
LOWER_IS_BETTER = frozenset({"chamfer_mean"})

Picture = UInt8[np.ndarray, "_ _ 4"]


@dataclass(frozen=True, eq=False)
class Shown:
    """Pictures of one object for the sheet."""

    id: str
    truth: Picture
    """The true shape, or the picture that was given."""
    answers: Mapping[str, tuple[Picture | None, Picture | None]]
    """By task: A and B; None where there is no mesh."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """The report as JSON values, and pictures of some objects, for the sheet."""

    report: dict[str, Any]
    shown: tuple[Shown, ...]


TILE = 224
"""Side of each tile of the sheet, in pixels."""


def comparison_lines(report: Mapping[str, Any]) -> list[str]:
    """Sides, notes, and a table."""
    counts = report["counts"]
    lines = [
        f"{report['protocol']}: {counts['objects']} objects of {report['data']}",
        *(f"{letter.upper()}: {report[letter]['label']}" for letter in "ab"),
        *report["notes"],
    ]
    if counts["left_out"]:
        lines.append(f"{counts['left_out']} objects are left out: a folder has no mesh of them")
    if counts["problems"]:
        lines.append(f"{counts['problems']} problems, the first: {report['problems'][0]}")
    rows = [
        (
            row["task"],
            row["metric"] + (" (lower is better)" if row["metric"] in LOWER_IS_BETTER else ""),
            str(row["objects"]),
            *(_number(row[letter]["mean"]) for letter in "ab"),
            _difference(row["difference"]),
            f"A {row['better']['a']}, B {row['better']['b']}",
        )
        for row in report["rows"]
    ]
    head = ("asked with", "metric", "objects", "A", "B", "B - A [95 % interval]", "better")
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        cells = (text.ljust(width) for text, width in zip(row, widths, strict=True))
        lines.append("  ".join(cells).rstrip())
    return lines


def comparison_markdown(report: Mapping[str, Any], picture: str) -> str:
    """The table with the intervals of both sides; `picture` is the file of the sheet."""
    counts = report["counts"]
    lines = [
        f"# {report['a']['label']} and {report['b']['label']}",
        "",
        f"Protocol {report['protocol']}, {counts['objects']} objects of {report['data']}. "
        "B - A, object by object, with 95 % bootstrap intervals over objects; a star marks those "
        "without zero.",
        "",
        *(f"- {letter.upper()}: {report[letter]['label']}" for letter in "ab"),
        *(f"- {note}" for note in report["notes"]),
        "",
        "| asked with | metric | objects | A | B | B - A | A better | B better |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['task']} | {row['metric']} | {row['objects']} | {cell(row['a'])} | "
        f"{cell(row['b'])} | {_difference(row['difference'])} | {row['better']['a']} | "
        f"{row['better']['b']} |"
        for row in report["rows"]
    ]
    lines += ["", f"![objects from the greatest loss of B to its greatest gain]({picture})"]
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 0.1 else f"{value:.3f}"


def _difference(entry: Mapping[str, float]) -> str:
    star = " *" if entry["low"] > 0 or entry["high"] < 0 else ""
    small = max(abs(entry[name]) for name in ("mean", "low", "high")) < 0.1
    mean, low, high = (f"{entry[name]:+.{4 if small else 3}f}" for name in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]{star}"


# --- sheet ---------------------------------------------------------------------------------------


def comparison_sheet(comparison: Comparison) -> UInt8[np.ndarray, "H W 3"]:
    """A row of every object that is shown: its picture, then A and B of each task."""
    scores = {
        (row["id"], row["task"].rpartition(", ")[2]): row for row in comparison.report["objects"]
    }
    rows: list[list[UInt8[np.ndarray, "_ _ _"]]] = []
    labels: list[list[str]] = []
    for one in comparison.shown:
        rows.append(_tiles(one))
        texts = [one.id]
        for task in one.answers:
            row = scores.get((one.id, task))
            texts += ["A", "B"] if row is None else _labels(task, row)
        labels.append(texts)
    return sheet(rows, labels)


def _labels(task: str, row: Mapping[str, Any]) -> list[str]:
    return [
        f"A, {task}: IoU {row['iou_a']:.2f}",
        f"B: IoU {row['iou_b']:.2f} ({row['iou_difference']:+.2f})",
    ]


def _tiles(one: Shown) -> list[UInt8[np.ndarray, "_ _ _"]]:
    """The truth and the answers, cropped by one box where they are of one camera."""
    answers = [picture for pair in one.answers.values() for picture in pair]
    some = [picture for picture in answers if picture is not None]
    together: Sequence[Picture] = some
    is_drawn = bool(some) and one.truth.shape == some[0].shape
    if is_drawn:
        together = [one.truth, *some]
    framed = iter(frame_together(together, TILE)) if together else iter(())
    given = Image.fromarray(one.truth).resize((TILE, TILE), Image.Resampling.BICUBIC)
    truth = next(framed) if is_drawn else np.asarray(given)
    blank = np.full((TILE, TILE, 3), 255, dtype=np.uint8)
    tiles = [over_white(truth)]
    return tiles + [blank if each is None else over_white(next(framed)) for each in answers]
