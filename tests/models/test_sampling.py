"""What can be told to a sampler: ranges, what stays open, and guidance of every scale."""

import pytest

from g3pt.models.sampling import STANDARD, Sampling, guidance_per_scale, told_sampling


def test_schedules_give_each_scale_its_guidance():
    assert guidance_per_scale(3.0, 5, "ramp") == (1.0, 1.5, 2.0, 2.5, 3.0)
    assert guidance_per_scale(3.0, 5, "constant") == (3.0,) * 5
    assert guidance_per_scale(3.0, 5, "last_half") == (1.0, 1.0, 3.0, 3.0, 3.0)


@pytest.mark.parametrize("schedule", ["ramp", "constant", "last_half"])
def test_guidance_of_one_is_none_at_every_scale(schedule):
    assert guidance_per_scale(1.0, 4, schedule) == (1.0,) * 4


def test_numbers_per_scale_stand_in_place_of_a_schedule():
    sampling = Sampling(guidance=9.0, guidance_by_scale=(2.0, 1.5, 1.0))
    assert sampling.guidance_of(3) == (2.0, 1.5, 1.0)
    with pytest.raises(ValueError, match=r"guidance_by_scale needs 5 numbers, one a scale, got 3"):
        sampling.guidance_of(5)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"guidance": -0.1}, "guidance must not be negative, got -0.1"),
        ({"guidance_by_scale": (1.0, -2.0)}, "guidance_by_scale must not be negative, got -2.0"),
        ({"temperature": -1.0}, "temperature must not be negative, got -1.0"),
        ({"temperature": (0.5, -1.0)}, "temperature must not be negative, got -1.0"),
        ({"top_k": -1}, "top_k must not be negative, got -1"),
        ({"top_p": 0.0}, r"top_p must be within \(0, 1\], got 0.0"),
        ({"top_p": 1.5}, r"top_p must be within \(0, 1\], got 1.5"),
        ({"num_scales": -1}, "num_scales must not be negative, got -1"),
        ({"consensus": 0}, "consensus must be at least 1, got 0"),
        ({"guess_above": -0.5}, "guess_above must not be negative, got -0.5"),
        ({"temperature": float("nan")}, "temperature must be a number, got nan"),
        ({"num_scales": True}, "num_scales must be a whole number, got True"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(told, message):
    with pytest.raises(ValueError, match=message):
        Sampling(**told)


def test_what_is_said_holds_and_the_rest_is_as_the_weights_say():
    weights = Sampling(guidance=3.0, temperature=0.5, top_k=0)
    found = Sampling(temperature=0.7, top_k=4).over(weights)
    assert found == Sampling(guidance=3.0, temperature=0.7, top_k=4)
    assert found.over(STANDARD).top_p == STANDARD.top_p


@pytest.mark.parametrize("told", [{"guidance": 4.0}, {"guidance_schedule": "constant"}])
def test_one_guidance_does_not_leave_numbers_by_scale_in_its_place(told):
    weights = Sampling(guidance=1.0, guidance_by_scale=(5.0, 6.0))
    assert Sampling(**told).over(weights).guidance_by_scale == ()
    assert Sampling(temperature=1.0).over(weights).guidance_by_scale == (5.0, 6.0)


def test_settings_by_name_count_more_than_those_in_one_piece():
    piece = Sampling(guidance=2.0, top_p=0.5)
    assert told_sampling(piece, {"top_p": 0.9}) == Sampling(guidance=2.0, top_p=0.9)
    assert told_sampling(None, {"guidance": [1, 2.0]}).guidance_by_scale == (1, 2.0)
    with pytest.raises(TypeError, match=r"no argument 'guidence'.* are guidance, .*temperature"):
        told_sampling(None, {"guidence": 2.0})


def test_every_scale_gets_its_numbers():
    each = Sampling(guidance=3.0, temperature=(0.1, 0.2, 0.3), top_k=7).per_scale(3)
    assert [one.guidance for one in each] == [1.0, 2.0, 3.0]
    assert [one.temperature for one in each] == [0.1, 0.2, 0.3]
    assert {(one.top_k, one.top_p) for one in each} == {(7, 0.95)}
    with pytest.raises(ValueError, match="temperature needs one value or 4, got 3"):
        Sampling(temperature=(0.1, 0.2, 0.3)).per_scale(4)
