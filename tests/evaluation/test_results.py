import json
import logging
from pathlib import Path

import numpy as np
import pytest

from g3pt.evaluation.results import Measured, Results, from_csv, to_csv
from g3pt.evaluation.runner import EvaluationError, Job, run

CONFIG = {"kind": "test", "weights": "abc"}


class Squares(Job):
    """Squares the slot; fails at one of them; remembers what it was asked."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.fail_at = fail_at
        self.asked: list[int] = []

    def open(self):
        def evaluate(slot: int) -> Measured:
            self.asked.append(slot)
            if slot == self.fail_at:
                raise ValueError("no square")
            return Measured(slot, ({"id": f"n{slot}", "iou": slot**2 / 7},), (slot, slot + 1))

        return evaluate


def test_rows_come_back_exactly_from_csv():
    rows = [
        {"id": "0042", "iou": 0.1 + 0.2, "closed": True, "components": 3, "prompt": 'a, b\n"c"'},
        {"id": "x", "iou": None, "closed": False, "components": 0, "prompt": None},
    ]
    assert from_csv(to_csv(rows)) == rows


def test_a_rerun_does_not_do_finished_objects_again(tmp_path: Path):
    first = Results.open(tmp_path, CONFIG, "v1")
    with pytest.raises(EvaluationError, match="object 2: ValueError: no square"):
        run(Squares(fail_at=2), range(4), first)
    job = Squares()
    again = Results.open(tmp_path, CONFIG, "v1")
    run(job, range(4), again)
    assert job.asked == [2, 3]
    fresh = Results.open(None, CONFIG, "v1")
    run(Squares(), range(4), fresh)
    assert again.rows == fresh.rows
    assert again.tokens is not None
    assert fresh.tokens is not None
    assert again.tokens.tolist() == fresh.tokens.tolist()


def test_a_finished_run_asks_for_nothing(tmp_path: Path):
    run(Squares(), range(3), Results.open(tmp_path, CONFIG))
    job, heard = Squares(), []
    run(job, range(3), Results.open(tmp_path, CONFIG), on_progress=lambda *x: heard.append(x))
    assert job.asked == []
    assert heard == [(3, 3)]


def test_results_of_something_else_are_refused_by_name(tmp_path: Path):
    Results.open(tmp_path, CONFIG)
    with pytest.raises(ValueError, match="differs in weights"):
        Results.open(tmp_path, {**CONFIG, "weights": "def"})


def test_other_code_is_told_and_recorded(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    run(Squares(), range(1), Results.open(tmp_path, CONFIG, "v1"))
    with caplog.at_level(logging.WARNING):
        again = Results.open(tmp_path, CONFIG, "v2")
    assert again.code == ("v1", "v2")
    assert "other code (v1)" in caplog.text
    assert json.loads((tmp_path / "config.json").read_text())["code"] == ["v1", "v2"]


def test_rows_follow_the_order_of_the_objects_not_of_their_completion():
    results = Results()
    for slot in (2, 0, 1):
        results.add(Measured(slot, ({"id": str(slot)},)))
    assert [row["id"] for row in results.rows] == ["0", "1", "2"]


def test_arrays_survive_a_rerun(tmp_path: Path):
    arrays = {"image/points": np.arange(6, dtype=np.float32).reshape(2, 3)}
    results = Results.open(tmp_path, {"kind": "x"})
    results.add(Measured(3, ({"id": "b"},), arrays={"image/points": np.zeros((0, 3))}))
    results.add(Measured(1, ({"id": "a"},), arrays=arrays))
    results.add(Measured(2, ({"id": "none"},)))
    first, second = Results.open(tmp_path, {"kind": "x"}).arrays
    np.testing.assert_array_equal(first["image/points"], arrays["image/points"])
    assert second["image/points"].shape == (0, 3)
