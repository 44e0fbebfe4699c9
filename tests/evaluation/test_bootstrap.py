import numpy as np
import pytest

from g3pt.evaluation.bootstrap import bootstrap
from g3pt.evaluation.report.summary import paired_differences, summarise


def test_a_constant_has_an_interval_without_width():
    interval = bootstrap({"iou": np.full(7, 0.3)})["iou"]
    assert (interval.mean, interval.low, interval.high, interval.num) == (0.3, 0.3, 0.3, 7)


def test_the_interval_is_that_of_the_normal_approximation():
    values = np.random.default_rng(0).normal(2.0, 3.0, 900)
    interval = bootstrap({"x": values})["x"]
    half = 1.96 * values.std() / 30
    assert interval.mean == pytest.approx(values.mean())
    # 4,000 resamples place an edge within a few percent of the half width.
    assert interval.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_undefined_values_are_left_out():
    interval = bootstrap({"x": np.array([1.0, np.nan, 1.0]), "nothing": np.array([np.nan])})
    assert interval["x"].num == 2
    assert "nothing" not in interval


def test_the_same_values_give_the_same_interval():
    values = np.random.default_rng(1).random(50)
    assert bootstrap({"x": values}) == bootstrap({"x": values})


def test_pairing_removes_what_objects_have_in_common():
    difficulty = np.random.default_rng(2).random(100)
    ours = [{"id": str(k), "iou": x} for k, x in enumerate(difficulty)]
    control = [{"id": str(k), "iou": x - 0.01} for k, x in enumerate(difficulty)]
    gain = paired_differences(ours, control[::-1], ["iou"])["iou"]
    assert gain.low == pytest.approx(0.01)
    assert gain.high == pytest.approx(0.01)
    alone = summarise(ours)["iou"]
    assert alone["high"] - alone["low"] > 0.05


def test_only_objects_that_both_have_are_compared():
    ours = [{"id": "a", "iou": 1.0}, {"id": "b", "iou": 0.0}]
    assert paired_differences(ours, [{"id": "a", "iou": 0.25}], ["iou"])["iou"].num == 1


def test_truth_values_are_averaged_and_text_is_not():
    summary = summarise([{"id": "7", "closed": True}, {"id": "8", "closed": False}])
    assert summary.keys() == {"closed"}
    assert summary["closed"]["mean"] == 0.5
