"""Systems with several seeds over the same objects."""

import numpy as np
import pytest

from g3pt.evaluation.bootstrap import Interval, bootstrap
from g3pt.evaluation.comparison import outcome, seeded_difference, seeded_mean


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
