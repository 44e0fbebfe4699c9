import numpy as np
import pytest

from g3pt.evaluation.bootstrap import (
    Interval,
    bootstrap,
    outcome,
    seeded_difference,
    seeded_mean,
)
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


# --- systems with several seeds over the same objects -------------------------------------------


def scores(num_seeds: int = 2, num_objects: int = 200, spread: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(0)
    objects = rng.uniform(0.4, 0.9, num_objects)
    return objects + spread * rng.normal(size=(num_seeds, 1))


def test_a_constant_gain_on_every_object_has_an_interval_without_width():
    found = seeded_difference(scores() + 0.05, scores())
    assert found.mean == pytest.approx(0.05)
    assert found.high - found.low == pytest.approx(0.0, abs=1e-12)


def test_seeds_that_differ_widen_the_interval():
    narrow = seeded_difference(scores(3), scores(3))
    wide = seeded_difference(scores(3, spread=0.05), scores(3))
    assert wide.high - wide.low > narrow.high - narrow.low + 0.03


def test_one_seed_is_the_bootstrap_over_objects():
    values = scores(1)
    ours, other = seeded_mean(values), bootstrap({"x": values[0]})["x"]
    # two sets of 4000 draws of the same distribution
    assert ours.mean == pytest.approx(other.mean)
    assert (ours.low, ours.high) == pytest.approx((other.low, other.high), abs=2e-3)


def test_objects_are_drawn_for_both_together():
    """Objects differ by far more than the systems do: apart, nothing could be told."""
    rng = np.random.default_rng(1)
    ours = scores() + 0.01 + 0.001 * rng.normal(size=(2, 200))
    found = seeded_difference(ours, scores())
    assert 0.009 < found.low < found.high < 0.011


def test_other_objects_cannot_be_compared():
    with pytest.raises(ValueError, match="same objects, got 200 and 199"):
        seeded_difference(scores(), scores(num_objects=199))


@pytest.mark.parametrize(
    ("low", "high", "higher", "expected"),
    [
        (0.01, 0.03, True, "reproduced"),
        (-0.03, -0.01, True, "not reproduced"),
        (-0.01, 0.02, True, "within the interval"),
        (0.01, 0.03, False, "not reproduced"),
        (-0.03, -0.01, False, "reproduced"),
    ],
)
def test_the_outcome_follows_the_interval(low, high, higher, expected):
    interval = Interval((low + high) / 2, low, high, 10)
    assert outcome(interval, higher_is_better=higher) == expected
