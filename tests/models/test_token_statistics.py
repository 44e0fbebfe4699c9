"""Usage, perplexity and bit entropy of sets whose values are known."""

import math

import pytest
import torch


@pytest.fixture
def statistics():
    from g3pt.models.token_statistics import scale_statistics

    return scale_statistics


def test_every_entry_once_is_full_use(statistics):
    found = statistics(torch.arange(16)[:, None], 4)
    assert found.usage == 1
    assert found.perplexity == pytest.approx(16)
    assert found.bit_entropy == pytest.approx(1)


def test_tokens_that_differ_by_place_but_not_by_shape_are_dead(statistics):
    found = statistics(torch.arange(16)[None].expand(10, -1), 4)
    assert found.usage == 1
    assert found.perplexity == pytest.approx(16)
    assert found.bit_entropy == 0


def test_entropy_of_a_biased_bit(statistics):
    found = statistics(torch.tensor([0, 0, 0, 1])[:, None], 1)
    expected = -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))
    assert found.bit_entropy == pytest.approx(expected)
    assert found.perplexity == pytest.approx(2**expected)
