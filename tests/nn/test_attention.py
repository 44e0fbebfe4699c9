"""Attention against its written-out formula."""

import math

import pytest
import torch

from g3pt.nn.attention import (
    Attention,
    GrowingCache,
    StaticCache,
    _weighted_values_written_out,
    merge_heads,
    split_heads,
    weighted_values,
)


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


@pytest.mark.parametrize("kind", ["growing", "static", "static again"])
def test_cache_returns_all_keys_in_the_order_they_came(kind):
    attention = Attention(8, 2)
    x = torch.randn(1, 6, 8)
    cache = GrowingCache(1) if kind == "growing" else StaticCache(1)
    if isinstance(cache, StaticCache):
        cache.begin(6)
    if isinstance(cache, StaticCache) and kind == "static again":
        buffer = cache.append(0, attention.keys_values(x + 1)).keys_BHMD
        cache.begin(6)
        assert cache.append(0, attention.keys_values(x)).keys_BHMD.data_ptr() == buffer.data_ptr()
        cache.begin(6)
    assert cache.num_tokens == 0
    cache.append(0, attention.keys_values(x[:, :2]))
    held = cache.append(0, attention.keys_values(x[:, 2:]))
    torch.testing.assert_close(held.keys_BHMD, attention.keys_values(x).keys_BHMD)
    assert cache.num_tokens == 6


@pytest.mark.parametrize("masked", [False, True])
def test_written_out_attention_equals_the_fused_kernel_with_gradients(masked):
    torch.manual_seed(0)
    mask = torch.rand(3, 5) > 0.3 if masked else None
    results = []
    for function in (weighted_values, _weighted_values_written_out):
        torch.manual_seed(1)
        q, k, v = (torch.randn(1, 2, n, 4, requires_grad=True) for n in (3, 5, 5))
        out = function(q, k, v, scale=0.7, mask=mask)
        out.square().sum().backward()
        results.append((out, q.grad, k.grad, v.grad))
    for fused, written in zip(*results, strict=True):
        torch.testing.assert_close(fused, written)


def test_bfloat16_training_on_a_cpu_stays_near_float32():
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 2, 6, 4) for _ in range(3))
    half = [x.bfloat16().requires_grad_() for x in (q, k, v)]
    # bfloat16 keeps 8 bits: 2**-8 relative, a few roundings deep
    torch.testing.assert_close(
        weighted_values(*half).float(), weighted_values(q, k, v), atol=0.05, rtol=0.05
    )
