import json
import logging
from pathlib import Path

import numpy as np
import pytest

from g3pt.evaluation.results import Measured, Results, from_csv, to_csv

CONFIG = {"kind": "test", "weights": "abc"}


def test_rows_come_back_exactly_from_csv():
    rows = [
        {"id": "0042", "iou": 0.1 + 0.2, "closed": True, "components": 3, "prompt": 'a, b\n"c"'},
        {"id": "x", "iou": None, "closed": False, "components": 0, "prompt": None},
    ]
    assert from_csv(to_csv(rows)) == rows


def test_results_of_something_else_are_refused_by_name(tmp_path: Path):
    Results.open(tmp_path, CONFIG)
    with pytest.raises(ValueError, match="differs in weights"):
        Results.open(tmp_path, {**CONFIG, "weights": "def"})


def test_other_code_is_told_and_recorded(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    Results.open(tmp_path, CONFIG, "v1").add(Measured(0, ({"id": "n0"},)))
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
