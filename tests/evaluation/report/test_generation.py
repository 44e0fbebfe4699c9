import pytest

from g3pt.evaluation.report.generation import mean_over_samples, spread_over_samples, spread_rows

ROWS = [
    {"id": "a", "sample": 0, "iou": 0.2, "empty": False, "prompt": "one", "diversity": 0.3},
    {"id": "a", "sample": 1, "iou": 0.6, "empty": True, "prompt": "one"},
    {"id": "b", "sample": 0, "iou": 0.5, "empty": False, "prompt": "two", "diversity": None},
    {"id": "b", "sample": 1, "iou": 0.5, "empty": False, "prompt": "two"},
]


def test_an_object_counts_with_the_mean_of_its_samples():
    a, b = mean_over_samples(ROWS)
    assert (a["id"], a["prompt"], a["iou"]) == ("a", "one", pytest.approx(0.4))
    assert a["empty"] == 0.5
    assert b["iou"] == 0.5
    assert "sample" not in a


def test_what_one_sample_alone_knows_is_not_averaged_away():
    a, b = mean_over_samples(ROWS)
    assert a["diversity"] == 0.3
    assert "diversity" not in b


def test_the_spread_is_that_of_a_draw():
    spread = spread_over_samples(ROWS, ["iou"])
    assert spread["a"]["iou"] == {
        "mean": pytest.approx(0.4),
        "std": pytest.approx(0.4 / 2**0.5),
        "min": 0.2,
        "max": 0.6,
    }
    assert spread["b"]["iou"]["std"] == 0.0
    assert spread_rows(spread)[0] == {
        "id": "a",
        "iou_std": pytest.approx(0.4 / 2**0.5),
        "iou_min": 0.2,
        "iou_max": 0.6,
    }
