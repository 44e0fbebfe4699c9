"""Scales join one at a time and never leave."""

import pytest


@pytest.fixture
def curriculum():
    from g3pt.training.curriculum import CurriculumConfig

    return CurriculumConfig


def test_without_a_progressive_share_all_scales_are_there_at_once(curriculum):
    assert curriculum().num_scales(0.0, 5) == 5


@pytest.mark.parametrize(("total", "first"), [(1, 1), (4, 2), (5, 3), (7, 4)])
def test_half_the_scales_first_then_one_more_at_a_time(curriculum, total, first):
    seen = [curriculum(progressive_share=0.5).num_scales(p / 1000, total) for p in range(1000)]
    assert (seen[0], seen[500], seen[-1]) == (first, total, total)
    assert seen == sorted(seen)
    assert set(seen) == set(range(first, total + 1))


@pytest.mark.parametrize("lengths", [(85,), (1, 4), (1, 4, 16, 64), (1, 2, 6, 12, 24)])
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_mean_tokens_are_the_mean_over_a_run(curriculum, lengths, share):
    one = curriculum(progressive_share=share)
    numbers = [one.num_scales(p / 3000, len(lengths)) for p in range(3000)]
    mean = sum(sum(lengths[:number]) for number in numbers) / len(numbers)
    assert one.mean_tokens(lengths) == pytest.approx(mean, rel=1e-3)
