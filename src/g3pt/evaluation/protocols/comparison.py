"""Two sides on the same objects: paired differences of weights, or of folders of meshes.

A difference is B - A, object by object; its interval is a bootstrap over objects. Answers are
meshes and scored by g3pt-eval-v1; `yardstick_comparison` has the comparison without meshes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from g3pt.config import to_json
from g3pt.evaluation.bootstrap import bootstrap
from g3pt.evaluation.objects import EvaluationSettings, ObjectList, data_hash
from g3pt.evaluation.protocols.before_after import Show
from g3pt.evaluation.protocols.predictions import check_frame
from g3pt.evaluation.protocols.sides import (
    TRUE_PICTURE,
    Answerer,
    MeshesAnswers,
    MeshesSide,
    Side,
    Task,
    WeightsAnswers,
    measure_side,
    open_side,
    read_png,
)
from g3pt.evaluation.report.comparison import (
    LOWER_IS_BETTER,
    METRICS,
    Comparison,
    Picture,
    Shown,
)
from g3pt.evaluation.report.summary import columns_of, paired_differences
from g3pt.evaluation.results import Row
from g3pt.versions import code_version
from g3pt.work.engines import Engine


def compare_on_objects(
    sides: tuple[Side, Side],
    objects: ObjectList,
    settings: EvaluationSettings,
    *,
    tasks: Sequence[Task] = (),
    num_shown: int = 8,
    device: str = "cpu",
    out: Path | None = None,
    engine: Engine | None = None,
    show: Show | None = None,
) -> Comparison:
    """Ask both sides for the same objects and compare the scores of their answers.

    Objects that a folder of meshes does not have are left out for both.

    Args:
        sides: A and B.
        objects: what they are asked for.
        settings: how finely to measure.
        tasks: what they are asked with; empty takes all that both can do, reconstruction only if
            they have different tokenizers.
        num_shown: objects on the sheet, from the greatest loss of B to its greatest gain.
        device: where models run.
        out: folder; `a` and `b` in it keep what is measured, and a rerun goes on there.
        engine: runs the work; by default this process. The numbers do not depend on it.
        show: is told how many objects are done.

    Raises:
        FileNotFoundError, ValueError: if a side cannot be used, the sides have no object or no task
            in common, or `out` holds something else.
    """
    for side in sides:
        if isinstance(side, MeshesSide):
            check_frame(side.frame, objects)
    ids = [ref.id for ref in objects.refs]
    opened = (open_side(sides[0], ids, device), open_side(sides[1], ids, device))
    chosen, notes = common_tasks(opened, tasks)
    kept, left_out = common_objects(opened, objects)
    reports: list[dict[str, Any]] = []
    pictures: list[dict[str, Mapping[str, np.ndarray]]] = []
    for letter, side, answerer, own_tasks in zip("ab", sides, opened, chosen, strict=True):
        report, found = measure_side(
            side,
            answerer,
            own_tasks,
            kept,
            settings,
            device=device,
            out=None if out is None else out / letter,
            engine=engine,
            on_progress=None if show is None else partial(show, f"objects of {letter.upper()}"),
        )
        reports.append(report)
        pictures.append({str(each["id"]): each for each in found})
    rows, per_object = compared_rows(reports[0]["objects"], reports[1]["objects"], chosen)
    if not rows:
        raise ValueError(f"{objects.name}: there is no object that both sides have an answer for")
    problems = [
        {"side": letter, **problem}
        for letter, report in zip("ab", reports, strict=True)
        for problem in report["problems"]
    ]
    result = {
        "protocol": settings.protocol,
        "kind": "comparison",
        "data": objects.name,
        **_about(sides, opened),
        "counts": {"objects": len(kept.refs), "left_out": len(left_out), "problems": len(problems)},
        "notes": notes,
        "rows": rows,
        "objects": per_object,
        "left_out": left_out,
        "problems": problems,
        "hashes": {"data": data_hash(kept), "code": code_version()},
        "settings": to_json(settings),
        "machine": reports[0]["machine"],
    }
    names = spread_objects(per_object, num_shown)
    return Comparison(result, tuple(_shown(name, pictures, chosen) for name in names))


def common_tasks(
    opened: tuple[Answerer, Answerer], wanted: Sequence[Task]
) -> tuple[tuple[tuple[Task, ...], tuple[Task, ...]], list[str]]:
    """What each side is asked for, in the same order, and what is to be said about it.

    Raises:
        ValueError: if a side cannot do what is wanted, or they have nothing in common.
    """
    weights = [one for one in opened if isinstance(one, WeightsAnswers)]
    if not weights:
        if wanted:
            raise ValueError("folders of meshes are there already: leave out --task")
        return (("meshes",), ("meshes",)), []
    for one in weights:
        if odd := [task for task in wanted if task not in one.tasks]:
            raise ValueError(
                f"{one.name} cannot do {odd[0]}; it can do: {', '.join(one.tasks) or 'nothing'}"
            )
    common: list[Task] = [
        task for task in weights[0].tasks if all(task in one.tasks for one in weights)
    ]
    if not common:
        told = "; ".join(f"{one.name} can do {', '.join(one.tasks)}" for one in weights)
        raise ValueError(f"the sides have no task in common: {told}")
    notes: list[str] = []
    prints = [one.fingerprint for one in weights]
    if not wanted and len(weights) == 2 and len(common) > 1 and prints[0] == prints[1]:
        common.remove("reconstruction")
        notes.append("both have the same tokenizer, so reconstruction is left out")
    chosen: tuple[Task, ...] = tuple(dict[Task, None].fromkeys(wanted or common))
    if len(weights) == 2:
        return (chosen, chosen), notes
    if len(chosen) > 1:
        raise ValueError(
            f"weights against a folder of meshes: say what the meshes were made from with --task "
            f"({', '.join(weights[0].tasks)})"
        )
    there: tuple[Task, ...] = ("meshes",)
    of_a, of_b = (chosen if isinstance(one, WeightsAnswers) else there for one in opened)
    return (of_a, of_b), notes


def common_objects(
    opened: tuple[Answerer, Answerer], objects: ObjectList
) -> tuple[ObjectList, list[str]]:
    """The objects that every folder of meshes has, and the ids of the others.

    Raises:
        ValueError: if there is none.
    """
    folders = [one for one in opened if isinstance(one, MeshesAnswers)]
    kept = tuple(ref for ref in objects.refs if all(ref.id in one.files for one in folders))
    if not kept:
        counts = " and ".join(f"{len(one.files)} in {one.name}" for one in folders)
        raise ValueError(
            f"no object of {objects.name} has a mesh on both sides: of {len(objects.refs)}, "
            f"{counts}"
        )
    names = {ref.id for ref in kept}
    return replace(objects, refs=kept), [ref.id for ref in objects.refs if ref.id not in names]


def compared_rows(
    rows_a: Sequence[Row],
    rows_b: Sequence[Row],
    tasks: tuple[Sequence[Task], Sequence[Task]],
) -> tuple[list[dict[str, Any]], list[Row]]:
    """Rows of the table, and a row of every object and task.

    Args:
        rows_a: of the objects of A; `method` is the task.
        rows_b: of B.
        tasks: which task of A is compared with which of B.
    """
    rows: list[dict[str, Any]] = []
    per_object: list[Row] = []
    for task_a, task_b in zip(*tasks, strict=True):
        name = task_a if task_b == "meshes" else task_b
        of_a = {row["id"]: row for row in rows_a if row.get("method") == task_a}
        of_b = {row["id"]: row for row in rows_b if row.get("method") == task_b}
        common = [one for one in of_a if one in of_b]
        ours, others = [of_b[one] for one in common], [of_a[one] for one in common]
        differences = paired_differences(ours, others, METRICS)
        means_a, means_b = (bootstrap(columns_of(each)) for each in (others, ours))
        for metric, difference in differences.items():
            sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
            gains = [sign * (b[metric] - a[metric]) for a, b in zip(others, ours, strict=True)]
            rows.append(
                {
                    "task": name,
                    "metric": metric,
                    "objects": len(common),
                    "a": means_a[metric].to_json(),
                    "b": means_b[metric].to_json(),
                    "difference": difference.to_json(),
                    "better": {"a": sum(g < 0 for g in gains), "b": sum(g > 0 for g in gains)},
                }
            )
        per_object += [_pair(name, a, b) for a, b in zip(others, ours, strict=True)]
    return rows, per_object


def _pair(task: Task, a: Row, b: Row) -> Row:
    row: Row = {"id": a["id"], "family": a["family"], "task": task}
    for metric in METRICS:
        row |= {
            f"{metric}_a": a[metric],
            f"{metric}_b": b[metric],
            f"{metric}_difference": b[metric] - a[metric],
        }
    return row | {"empty_a": a["empty"], "empty_b": b["empty"]}


def spread_objects(per_object: Sequence[Row], num: int) -> list[str]:
    """Ids of some objects, evenly from the greatest loss of B to its greatest gain in IoU.

    The first task decides.
    """
    first = [row for row in per_object if row["task"] == per_object[0]["task"]]
    ordered = sorted(first, key=lambda row: row["iou_difference"])
    places = np.linspace(0, len(ordered) - 1, min(num, len(ordered))).round()
    return [ordered[int(place)]["id"] for place in places]


def _shown(
    name: str,
    pictures: Sequence[Mapping[str, Mapping[str, np.ndarray]]],
    tasks: tuple[Sequence[Task], Sequence[Task]],
) -> Shown:
    def read(side: int, task: Task) -> Picture | None:
        content = pictures[side][name].get(task)
        return None if content is None else read_png(content)

    answers = {
        (task_a if task_b == "meshes" else task_b): (read(0, task_a), read(1, task_b))
        for task_a, task_b in zip(*tasks, strict=True)
    }
    return Shown(name, read_png(pictures[0][name][TRUE_PICTURE]), answers)


def _about(sides: tuple[Side, Side], opened: Sequence[Answerer]) -> dict[str, Any]:
    return {
        letter: {
            "kind": side.kind,
            "name": one.name,
            **one.identity,
            "label": label_of(side, one.name),
        }
        for letter, side, one in zip("ab", sides, opened, strict=True)
    }


def label_of(side: Side, name: str) -> str:
    """What a reader calls a side: its name, with settings of its own."""
    if isinstance(side, MeshesSide):
        return name
    said = {key: value for key, value in to_json(side.sampling).items() if value is not None}
    return ", ".join([name, *(f"{key} {value}" for key, value in said.items())])
