"""Guidance of every scale, and what weights say about it."""

import pytest

from g3pt.models.guidance import guidance_per_scale
from g3pt.models.weights.config import SamplingDefaults


def test_schedules_give_each_scale_its_guidance():
    assert guidance_per_scale(3.0, 5, "ramp") == (1.0, 1.5, 2.0, 2.5, 3.0)
    assert guidance_per_scale(3.0, 5, "constant") == (3.0,) * 5
    assert guidance_per_scale(3.0, 5, "last_half") == (1.0, 1.0, 3.0, 3.0, 3.0)


@pytest.mark.parametrize("schedule", ["ramp", "constant", "last_half"])
def test_guidance_of_one_is_none_at_every_scale(schedule):
    assert guidance_per_scale(1.0, 4, schedule) == (1.0,) * 4


def test_numbers_per_scale_stand_in_place_of_a_schedule():
    sampling = SamplingDefaults(guidance=9.0, guidance_by_scale=(2.0, 1.5, 1.0))
    assert sampling.guidance_of(3) == (2.0, 1.5, 1.0)
    with pytest.raises(ValueError, match=r"guidance_by_scale needs 5 numbers, one a scale, got 3"):
        sampling.guidance_of(5)
