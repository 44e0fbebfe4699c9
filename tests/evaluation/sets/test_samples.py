import numpy as np
import pytest

from g3pt.evaluation.sets.samples import (
    diversity,
    mean_over_samples,
    spread_over_samples,
    spread_rows,
)

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


def ball(radius: float):
    return lambda points: np.linalg.norm(points, axis=1) < radius


def test_diversity_is_the_mean_distance_of_all_pairs():
    points = np.random.default_rng(0).uniform(-1, 1, (100_000, 3))
    found = diversity([ball(0.5), ball(0.5), ball(1.0)], points)
    # Two of three pairs share an eighth of the larger ball; the count of points in the
    # smaller one, 6,500, scatters by 1.2 %.
    assert found == pytest.approx(2 / 3 * (1 - 1 / 8), abs=0.005)


def test_equal_samples_have_no_diversity_and_empty_ones_share_nothing():
    points = np.random.default_rng(0).uniform(-1, 1, (1000, 3))
    assert diversity([ball(0.5)] * 3, points) == 0.0
    assert diversity([ball(0.5), None], points) == 1.0
    assert diversity([None, None], points) == 0.0
    assert diversity([ball(0.5)], points) is None
