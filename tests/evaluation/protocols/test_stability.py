from pathlib import Path

import numpy as np
import pytest

from g3pt.evaluation.objects import list_objects
from g3pt.evaluation.protocols.stability import (
    TEMPERATURES,
    compare_draws,
    evaluate_stability,
    fit_temperature,
)
from g3pt.models.weights.load import load_weights
from g3pt.procedural import make_shape


class SameDraw:
    """A shape whose points do not depend on the generator."""

    def __init__(self, shape):
        self._shape = shape

    def sample_surface(self, num, rng):
        del rng
        return self._shape.sample_surface(num, np.random.default_rng(5))


def test_the_same_points_give_the_same_bits(tiny_weights: Path) -> None:
    tokenizer = load_weights(tiny_weights, "cpu").tokenizer
    draws = compare_draws(tokenizer, SameDraw(make_shape(0, "chair")), 256, [0])
    assert not any(part.any() for part in (*draws.differ, *draws.differ_given))


def test_other_points_flip_bits_that_were_close_to_it(tiny_weights: Path) -> None:
    tokenizer = load_weights(tiny_weights, "cpu").tokenizer
    found = [compare_draws(tokenizer, make_shape(seed, "chair"), 64, [seed]) for seed in range(8)]
    flipped = np.concatenate([part for each in found for part in each.differ_given])
    margins = np.concatenate([part for each in found for part in each.margins])
    assert 0 < flipped.mean() < 0.5
    assert margins[flipped].mean() < margins[~flipped].mean()
    # nothing is coarser than scale 0
    assert all(np.array_equal(each.differ[0], each.differ_given[0]) for each in found)


@pytest.mark.parametrize("temperature", [0.0625, 0.5])
def test_the_temperature_that_made_the_flips_is_found(temperature: float) -> None:
    rng = np.random.default_rng(0)
    margins = np.abs(rng.standard_normal(20_000))
    kept = rng.random(20_000) < 1 / (1 + np.exp(-margins / temperature))
    found = fit_temperature(margins, kept)
    assert found in TEMPERATURES
    # two steps of the grid
    assert found == pytest.approx(temperature, rel=0.2)


def test_stability_is_told_by_scale_and_by_object(tiny_weights: Path) -> None:
    objects = list_objects("procedural", limit=3)
    found = evaluate_stability(tiny_weights, objects, num_points=64, spread=2, device="cpu")
    tokenizer = load_weights(tiny_weights, "cpu").tokenizer
    assert [row["tokens"] for row in found["scales"]] == list(tokenizer.scale_lengths)
    assert (found["num_points"], found["spread"]) == (64, 2)
    for name in ("differ", "differ_given"):
        means = np.mean([row[name] for row in found["objects"]], axis=0)
        assert [row[name]["mean"] for row in found["scales"]] == pytest.approx(means.tolist())
    with pytest.raises(ValueError, match="must be at least 1, got 0 and None"):
        evaluate_stability(tiny_weights, objects, spread=0)
