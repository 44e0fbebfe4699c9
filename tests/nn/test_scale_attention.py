import pytest
import torch

from g3pt.nn.attention import KeyValues
from g3pt.nn.scale_attention import block_causal_mask, merge_blocks, plan_attention

BLOCKS = (6, 1, 4, 9, 16)
DENSE = 1000
"""Merged tokens that leave one dense mask: the slow, obvious twin."""


def draw(num_keys, *, num_queries=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    lengths = (num_queries or num_keys, num_keys, num_keys)
    tensors = [torch.randn(2, 3, length, 8, generator=generator) for length in lengths]
    return [tensor.requires_grad_() for tensor in tensors]


def attend(merged_tokens, valid=None):
    queries, keys, values = draw(sum(BLOCKS))
    plan = plan_attention(BLOCKS, valid_BI=valid, merged_tokens=merged_tokens)
    out = plan(queries, KeyValues(keys, values))
    weights = torch.linspace(-1, 1, out.numel()).view_as(out)
    gradients = torch.autograd.grad((out * weights).sum(), (queries, keys, values))
    return [out, *gradients]


def test_block_causal_mask_of_two_blocks():
    expected = torch.tensor([[1, 0, 0], [1, 1, 1], [1, 1, 1]]).bool()
    assert torch.equal(block_causal_mask((1, 2)), expected)


def test_block_causal_mask_sees_every_cached_key():
    expected = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]]).bool()
    assert torch.equal(block_causal_mask((1, 1), first_key=2), expected)


@pytest.mark.parametrize("merged_tokens", [1, 7, 12, 1000])
def test_spans_cover_all_queries_once_and_end_at_their_own_keys(merged_tokens):
    spans = merge_blocks(BLOCKS, first_key=3, merged_tokens=merged_tokens)
    covered = [token for span in spans for token in range(span.start, span.stop)]
    assert covered == list(range(sum(BLOCKS)))
    assert [length for span in spans for length in span.blocks] == list(BLOCKS)
    assert all(span.num_keys == 3 + span.stop for span in spans)


def test_only_merged_spans_carry_several_blocks():
    assert [span.blocks for span in merge_blocks((6, 1, 4, 9, 16), merged_tokens=11)] == [
        (6, 1, 4),
        (9,),
        (16,),
    ]


def test_an_empty_prefix_makes_no_block():
    assert [span.blocks for span in merge_blocks((0, 1, 4), merged_tokens=1)] == [(1,), (4,)]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("merged_tokens", [1, 12])
def test_scale_by_scale_attention_equals_the_dense_mask(merged_tokens, masked):
    valid = torch.tensor([[True] * 6, [True, True, False, False, True, False]]) if masked else None
    results = attend(merged_tokens, valid)
    twins = attend(DENSE, valid)
    for result, twin in zip(results, twins, strict=True):
        # float32 sums in another order
        torch.testing.assert_close(result, twin, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("merged_tokens", [1, 12, DENSE])
def test_attention_over_cached_keys_equals_the_last_rows(merged_tokens):
    queries, keys, values = (x.detach() for x in draw(sum(BLOCKS)))
    valid = torch.tensor([[True] * 6, [True, True, False, False, True, False]])
    held = sum(BLOCKS[:-2])
    with torch.no_grad():
        whole = plan_attention(BLOCKS, valid_BI=valid, merged_tokens=DENSE)(
            queries, KeyValues(keys, values)
        )
        plan = plan_attention(
            BLOCKS[-2:], first_key=held, valid_BI=valid, merged_tokens=merged_tokens
        )
        last = plan(queries[:, :, held:], KeyValues(keys, values))
    torch.testing.assert_close(last, whole[:, :, held:], atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("merged_tokens", [1, 12, DENSE])
def test_no_token_sees_a_later_block_or_an_unseen_prefix_token(merged_tokens):
    queries, keys, values = (x.detach() for x in draw(sum(BLOCKS)))
    valid = torch.ones(2, 6, dtype=torch.bool)
    valid[:, 2] = False
    plan = plan_attention(BLOCKS, valid_BI=valid, merged_tokens=merged_tokens)
    before = sum(BLOCKS[:3])
    with torch.no_grad():
        first = plan(queries, KeyValues(keys, values))[:, :, :before]
        keys[:, :, before:] += 1
        values[:, :, before:] += 1
        values[:, :, 2] += 1
        second = plan(queries, KeyValues(keys, values))[:, :, :before]
    assert torch.equal(first, second)


def test_masks_take_the_precision_of_the_queries():
    queries, keys, values = (x.detach().bfloat16().requires_grad_() for x in draw(sum(BLOCKS)))
    low = plan_attention(BLOCKS)(queries, KeyValues(keys, values))
    assert low.dtype == torch.bfloat16
    high = plan_attention(BLOCKS)(queries.float(), KeyValues(keys.float(), values.float()))
    # bfloat16 keeps eight bits of values around one
    torch.testing.assert_close(low.float(), high, atol=0.03, rtol=0.03)
