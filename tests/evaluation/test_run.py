"""The skeleton of every evaluation: what is measured again, and what the report is made of."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from g3pt.evaluation.objects import ObjectList, list_objects
from g3pt.evaluation.results import Measured, Results
from g3pt.evaluation.run import (
    Evaluation,
    EvaluationError,
    SlotTask,
    local_engine,
    measure_objects,
    measure_slots,
)
from g3pt.preparation.sources import ShapeError, SourceShape
from g3pt.work.engines import Engine
from g3pt.work.tasks import WorkerError


def square(slot: int, *, fail_at: int | None = None) -> Measured:
    """The square of a slot, with tokens."""
    if slot == fail_at:
        raise ValueError("no square")
    return Measured(slot, ({"id": f"n{slot}", "iou": slot**2 / 7},), (slot, slot + 1))


def open_squares(fail_at: int | None = None):
    return partial(square, fail_at=fail_at)


def squares(
    num: int, *, fail_at: int | None = None, engine: Engine | None = None, **changes: Any
) -> tuple[Evaluation, list[int]]:
    """An evaluation of squares, and the slots that it was asked for."""
    asked: list[int] = []

    def measure(slots: Sequence[int]) -> Iterator[Measured]:
        for measured in measure_slots(partial(open_squares, fail_at), slots, engine):
            asked.append(measured.slot)
            yield measured

    fields: dict[str, Any] = {
        "kind": "squares",
        "protocol": "by hand",
        "config": {"kind": "squares", "settings": {"num": num}, "data": "abc"},
        "slots": range(num),
        "measure": measure,
        "describe": lambda results: {"sum": sum(row["iou"] for row in results.rows)},
        "table": lambda report: f"# {report['about']}: {report['sum']:.3f}\n",
        "about": {"about": "numbers"},
    }
    return Evaluation(**fields | changes), asked


def test_a_rerun_measures_what_is_missing_alone(tmp_path: Path):
    with pytest.raises(EvaluationError, match="object 2: ValueError: no square"):
        squares(4, fail_at=2)[0].run(tmp_path)
    evaluation, asked = squares(4)
    report = evaluation.run(tmp_path)
    assert asked == [2, 3]
    assert report["objects"] == squares(4)[0].run(None)["objects"]


def test_nothing_is_opened_when_all_is_finished_and_the_report_is_the_same_bytes(tmp_path: Path):
    squares(3)[0].run(tmp_path)
    files = [tmp_path / name for name in ("evaluation.json", "report.md", "objects.csv")]
    before = [file.read_bytes() for file in files]
    heard: list[tuple[int, int]] = []

    def refuse(slots: Sequence[int]) -> Iterator[Measured]:
        raise AssertionError(slots)

    evaluation, _ = squares(3, measure=refuse)
    evaluation.run(tmp_path, lambda *done: heard.append(done))

    assert heard == [(3, 3)]
    assert [file.read_bytes() for file in files] == before
    assert before[1] == b"# numbers: 0.714\n"


def test_progress_counts_objects_that_were_finished_before(tmp_path: Path):
    results = Results.open(tmp_path, {})
    results.add(square(0))
    heard: list[tuple[int, int]] = []
    squares(3)[0].finish(results, lambda *done: heard.append(done))
    assert heard == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("last", "order"), [(False, ["about", "sum", "objects"]), (True, ["sum", "objects", "about"])]
)
def test_what_the_report_is_about_stands_before_or_behind_the_objects(last: bool, order: list[str]):
    report = squares(2, about_last=last)[0].run(None)
    assert list(report)[-3:] == order
    assert report["hashes"]["data"] == "abc"
    assert (report["kind"], report["protocol"]) == ("squares", "by hand")


class BackwardEngine(Engine):
    """Runs tasks in this process, the last one first."""

    def run(self, tasks):
        return (task.run() for task in reversed(list(tasks)))


def test_any_engine_and_order_write_the_same_files(tmp_path: Path):
    engines = {"here": None, "two": local_engine(2), "backward": BackwardEngine()}
    asked = {}
    for name, engine in engines.items():
        evaluation, asked[name] = squares(5, engine=engine)
        evaluation.run(tmp_path / name)
    here, two, backward = (
        {file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in engines
    )
    assert asked["here"] == list(reversed(asked["backward"])) == [0, 1, 2, 3, 4]
    assert here == two == backward
    assert here.keys() > {"evaluation.json", "objects.csv", "tokens.json"}


def test_a_failure_in_a_worker_names_the_object_and_ends_the_run():
    with pytest.raises(EvaluationError, match="object 1: ValueError: no square"):
        list(measure_slots(partial(open_squares, 1), range(3), local_engine(2)))


def refuse_to_open():
    raise FileNotFoundError("weights: no such folder")


def test_a_worker_that_cannot_open_the_job_ends_the_run():
    with pytest.raises(EvaluationError, match="cannot evaluate: FileNotFoundError: weights"):
        list(measure_slots(refuse_to_open, range(3), local_engine(2)))


def test_a_process_opens_the_job_of_a_run_once_and_that_of_another_anew():
    opened = []

    def open_it():
        opened.append(len(opened))
        return square

    for _ in range(2):
        list(measure_slots(open_it, range(3), BackwardEngine()))
    assert opened == [0, 1]


def where(slot: int) -> Measured:
    return Measured(slot, ({"id": str(Path.cwd())},))


def open_where():
    return where


def test_paths_are_meant_from_the_folder_of_who_asks(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (found,) = measure_slots(open_where, [0], local_engine(2))
    assert found.rows == ({"id": str(tmp_path)},)
    with pytest.raises(WorkerError, match="elsewhere"):
        SlotTask(0, open_where, "another run", str(tmp_path / "elsewhere")).run()


def first_alone(shape: SourceShape, slot: int) -> Measured:
    if slot:
        raise ShapeError("it is hollow", code="no_interior")
    return Measured(slot, ({"id": shape.id},))


def test_a_shape_without_a_usable_truth_has_its_reason_as_a_row():
    objects: ObjectList = list_objects("procedural", limit=2)
    first, second = measure_objects(objects, lambda: first_alone, objects.slots)
    assert first.rows == ({"id": objects.refs[0].id},)
    assert second.rows == ({"id": objects.refs[1].id, "problem": "it is hollow"},)
