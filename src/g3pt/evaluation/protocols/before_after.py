"""The same yardsticks before and after a change of the weights, or of any two weights.

Answers are those that `g3pt generate` gives by default, and the first guess where there is one.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from g3pt.evaluation.report.yardsticks import compare_reports, read_report, yardstick_report
from g3pt.files import write_whole
from g3pt.generation.answers import Answer, GuessAnswer, SettledAnswer, answer_to
from g3pt.models.car import Car
from g3pt.models.sampling import STANDARD, Sampling
from g3pt.models.tokenizer import DiscreteTokenizer
from g3pt.models.weights.load import LoadedWeights
from g3pt.shapes.yardstick import Yardstick
from g3pt.training.yardsticks import measure_yardsticks

Show = Callable[[str, int, int], None]
"""Told the name of a stage, and how many of how many parts of it are done."""


def measure(
    weights: LoadedWeights,
    car: Car,
    tokenizer: DiscreteTokenizer,
    yardsticks: Sequence[Yardstick],
    path: Path | None,
    show: Show,
    *,
    name: str,
    told: Sampling | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure a generator on yardsticks, or read what was measured of the same objects before.

    Args:
        weights: whose settings the generator is sampled with.
        car: the generator, which may have been trained since the weights were loaded.
        tokenizer: stage 1.
        yardsticks: held-out objects.
        path: file of the report; an existing one about the same objects is taken as it is. None
            keeps none.
        show: is told how many yardsticks are done.
        name: what `show` calls it.
        told: settings that take precedence over those of the weights.
        seed: see `measure_yardstick`.

    Returns:
        A report of `yardstick_report`.

    Raises:
        ValueError: naming the file, if it is there and holds no such report.
    """
    wanted = {one for each in yardsticks for one in each.ids}
    if path is not None and path.is_file():
        held = read_report(path)
        if {one for row in held["rows"] for one in row["objects"]["ids"]} == wanted:
            return held
    sampling = (told or Sampling()).over(weights.config.sampling)
    measured = []
    for number, yardstick in enumerate(yardsticks, start=1):
        measured += measure_yardsticks(
            tokenizer,
            car,
            [yardstick],
            list(answers_of(weights, car, told)),
            sampling,
            num_points=weights.config.num_points,
            seed=seed,
        )
        show(name, number, len(yardsticks))
    report = yardstick_report(
        measured,
        weights={"name": weights.name, "sha256": weights.sha256},
        sampling=asdict(sampling),
    )
    if path is not None:
        write_whole(path, json.dumps(report, allow_nan=False) + "\n")
    return report


def answers_of(
    weights: LoadedWeights, car: Car, told: Sampling | None = None
) -> dict[Answer, None]:
    """The answer to a picture by default, which comes first, and the first guess if one is made."""
    told = told or Sampling()
    by_weights = weights.config.sampling.over(STANDARD)
    answer = answer_to(told, by_weights, pictured=True)
    if isinstance(answer, SettledAnswer | GuessAnswer):
        answer = replace(answer, outlined=bool(told.over(by_weights).outline))
    guesses = () if car.guess is None else (GuessAnswer(),)
    return dict.fromkeys((answer, *guesses))


def table(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of IoU before and after, with the paired difference and its interval."""
    differences = {(row["set"], row["what"]): row for row in compare_reports(after, before)}
    earlier = {row["set"]: row["iou"] for row in before["rows"]}
    return [
        {
            "set": row["set"],
            "objects": row["num"],
            "answer": answer,
            "before": earlier[row["set"]][answer]["mean"],
            "after": entry["mean"],
            **{
                name: differences[row["set"], f"iou/{answer}"][of]
                for name, of in (("difference", "mean"), ("low", "low"), ("high", "high"))
            },
        }
        for row in after["rows"]
        if row["set"] in earlier
        for answer, entry in row["iou"].items()
    ]


def table_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The table in Markdown."""
    lines = [
        "| set | objects | answer | before | after | difference, 95 % |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['set']} | {row['objects']} | {row['answer']} | {row['before']:.3f} | "
        f"{row['after']:.3f} | {row['difference']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f}) |"
        for row in rows
    ]
    return lines
