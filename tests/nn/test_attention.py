"""Attention against its written-out formula."""

import math

import pytest
import torch

from g3pt.nn.attention import Attention, merge_heads, split_heads
from g3pt.nn.cache import KeyValueCache


def test_attention_equals_the_written_out_softmax():
    torch.manual_seed(0)
    attention = Attention(8, 2, context_dim=6)
    x, context = torch.randn(2, 3, 8), torch.randn(2, 5, 6)
    queries = attention.queries(x)
    keys, values = attention.keys_values(context)
    weights = (queries @ keys.transpose(-1, -2) / math.sqrt(4)).softmax(dim=-1)
    expected = attention.to_output(merge_heads(weights @ values))
    torch.testing.assert_close(attention(x, context), expected)


def test_normalised_queries_and_keys_have_unit_length_up_to_the_temperature():
    attention = Attention(8, 2, normalize_qk=True)
    x = torch.randn(1, 4, 8) * 100
    keys, _ = attention.keys_values(x)
    torch.testing.assert_close(keys.norm(dim=-1), torch.ones(1, 2, 4))
    torch.testing.assert_close(attention.queries(x).norm(dim=-1), torch.full((1, 2, 4), 8.0))


def test_masked_tokens_do_not_change_the_output():
    attention = Attention(8, 2)
    x, context = torch.randn(1, 3, 8), torch.randn(1, 5, 8)
    mask = torch.tensor([True, True, True, False, False]).expand(3, 5)
    changed = context.clone()
    changed[:, 3:] = 100.0
    torch.testing.assert_close(attention(x, context, mask), attention(x, changed, mask))


def test_splitting_and_merging_heads_is_the_identity():
    x = torch.randn(2, 3, 8)
    assert torch.equal(merge_heads(split_heads(x, 4)), x)


def test_width_must_divide_into_heads():
    with pytest.raises(ValueError, match="not divisible"):
        Attention(10, 3)


def test_cache_returns_all_keys_in_the_order_they_came():
    attention = Attention(8, 2)
    x = torch.randn(1, 6, 8)
    cache = KeyValueCache(1)
    cache.append(0, attention.keys_values(x[:, :2]))
    held = cache.append(0, attention.keys_values(x[:, 2:]))
    torch.testing.assert_close(held.keys_BHMD, attention.keys_values(x).keys_BHMD)
    assert cache.num_tokens == 6
