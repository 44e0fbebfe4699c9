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
