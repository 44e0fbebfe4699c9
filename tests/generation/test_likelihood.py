import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from g3pt.generation.likelihood import token_likelihood
from g3pt.generation.prompts import read_prompts
from g3pt.generation.sampler import generate_tokens
from g3pt.models.sampling import UNCHANGED
from g3pt.models.tokenizer import require_tokens
from g3pt.models.weights.load import load_weights


@pytest.fixture(scope="module")
def models(tiny_weights: Path):
    loaded = load_weights(tiny_weights, "cpu")
    assert loaded.car is not None
    return require_tokens(loaded.tokenizer, loaded.name), loaded.car


@pytest.fixture(scope="module")
def condition(models):
    return read_prompts(models[1], text=["a red mug", "a table"]).condition


@pytest.fixture(scope="module")
def sampled(models, condition):
    return generate_tokens(
        *models, condition, seeds=[3, 4], sampling=replace(UNCHANGED, guidance=1.5)
    )


def test_samples_score_what_the_sampler_says_of_them(models, condition, sampled):
    found = token_likelihood(*models, sampled.indices_BT, condition)
    # Scale by scale with a cache against all at once: sums of 21 losses in float32.
    torch.testing.assert_close(found.nats.float(), sampled.nll_B, rtol=1e-5, atol=1e-4)
    assert found.nats_BS.shape == (2, 3)


def test_a_prefix_of_scales_scores_like_the_start_of_the_whole(models, condition, sampled):
    whole = token_likelihood(*models, sampled.indices_BT, condition)
    start = token_likelihood(*models, sampled.indices_BT[:, :5], condition)
    assert start.scale_lengths == (1, 4)
    torch.testing.assert_close(start.nats_BS, whole.nats_BS[:, :2], rtol=1e-5, atol=1e-5)


def test_units_agree_with_each_other(models, condition, sampled):
    found = token_likelihood(*models, sampled.indices_BT, condition)
    by_scale_B = (found.scale_nats_per_token * torch.tensor(found.scale_lengths)).sum(dim=1)
    torch.testing.assert_close(by_scale_B / 21, found.nats_per_token)
    torch.testing.assert_close(found.bits_per_shape * math.log(2), found.nats)


def test_the_condition_counts(models, condition, sampled):
    given = token_likelihood(*models, sampled.indices_BT, condition)
    swapped = token_likelihood(*models, sampled.indices_BT.flip(0), condition)
    nothing = token_likelihood(*models, sampled.indices_BT, condition.without_conditions())
    assert (given.nats - swapped.nats.flip(0)).abs().min() > 1e-4
    assert (given.nats - nothing.nats).abs().min() > 1e-4


def test_as_many_conditions_as_shapes_are_needed(models, condition, sampled):
    with pytest.raises(ValueError, match="2 conditions for the tokens of 1"):
        token_likelihood(*models, sampled.indices_BT[:1], condition)
