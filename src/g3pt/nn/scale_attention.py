"""Block-causal attention over scales: a token sees the prefix, coarser scales and its own.

The tokens are a condition prefix, which sees only itself, followed by the scales, coarsest first.
Attention is computed block by block without a mask; small neighbouring blocks are merged under a
small mask. With `merged_tokens` as large as the sequence there is one dense mask: the slow, obvious
twin.

Legend: B batch, H heads, T queries, M keys, D channels of a head, I prefix tokens.
"""

from dataclasses import dataclass
from itertools import accumulate

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from g3pt.nn.attention import KeyValues, weighted_values
from g3pt.nn.blocks import AttentionFunction

MERGED_TOKENS = 512
"""Neighbouring blocks of at most this many tokens in total share one masked call, which is then
faster than several calls."""


@dataclass(frozen=True)
class Span:
    """Queries [start, stop) that read the keys [0, num_keys) in one call."""

    start: int
    stop: int
    num_keys: int
    blocks: tuple[int, ...]
    """Lengths of the blocks in the span; with more than one a mask is needed."""


def merge_blocks(
    block_lengths: tuple[int, ...], *, first_key: int = 0, merged_tokens: int = MERGED_TOKENS
) -> tuple[Span, ...]:
    """Cut a sequence of blocks into spans, joining neighbours while they stay small.

    Args:
        block_lengths: the prefix length and the scale lengths, in order; zeros are skipped.
        first_key: keys already held in a cache, seen by every query.
        merged_tokens: the largest span made of several blocks.
    """
    groups: list[list[int]] = []
    for length in filter(None, block_lengths):
        if groups and sum(groups[-1]) + length <= merged_tokens:
            groups[-1].append(length)
        else:
            groups.append([length])
    stops = list(accumulate(sum(group) for group in groups))
    return tuple(
        Span(stop - sum(group), stop, first_key + stop, tuple(group))
        for stop, group in zip(stops, groups, strict=True)
    )


def block_causal_mask(
    block_lengths: tuple[int, ...], *, first_key: int = 0, device: torch.device | None = None
) -> Bool[Tensor, "T M"]:
    """True where the query's block is the key's or a later one."""
    blocks_T = block_numbers(block_lengths, device=device)
    seen_TT = blocks_T[:, None] >= blocks_T[None, :]
    return F.pad(seen_TT, (first_key, 0), value=True)


def block_numbers(
    block_lengths: tuple[int, ...], *, device: torch.device | None = None
) -> Int[Tensor, " T"]:
    """Number the tokens by the block that they belong to.

    Nothing is copied from the host, which would have to wait for the device.
    """
    places_T = torch.arange(sum(block_lengths), device=device)
    numbers_T = torch.zeros_like(places_T)
    for stop in list(accumulate(block_lengths))[:-1]:
        numbers_T += places_T >= stop
    return numbers_T


def plan_attention(
    block_lengths: tuple[int, ...],
    *,
    first_key: int = 0,
    valid_BI: Bool[Tensor, "B I"] | None = None,
    device: torch.device | None = None,
    merged_tokens: int = MERGED_TOKENS,
) -> AttentionFunction:
    """Prepare what all layers share and return the function that each of them calls.

    Args:
        block_lengths: blocks of the queries at hand, in order.
        first_key: keys that a cache holds before those of the queries.
        valid_BI: which of the first I keys (the prefix) count; None when all do.
        device: device of the masks.
        merged_tokens: see `merge_blocks`.

    Returns:
        A function of scaled queries (B H T D) and the keys and values (B H M D).
    """
    spans = merge_blocks(block_lengths, first_key=first_key, merged_tokens=merged_tokens)
    seen = [_span_mask(span, valid_BI, device) for span in spans]
    masks: list[Tensor | None] = []

    def attend(
        queries_BHTD: Float[Tensor, "B H T D"], keys_values: KeyValues
    ) -> Float[Tensor, "B H T D"]:
        biases = masks
        if torch.compiler.is_compiling():  # alike in all layers, so that one graph serves them
            biases = [_additive(mask, queries_BHTD.dtype) for mask in seen]
        elif not masks:  # only the first layer knows the dtype that autocast has chosen
            masks.extend(_additive(mask, queries_BHTD.dtype) for mask in seen)
        parts = [
            weighted_values(
                queries_BHTD[:, :, span.start : span.stop],
                keys_values.keys_BHMD[:, :, : span.num_keys],
                keys_values.values_BHMD[:, :, : span.num_keys],
                scale=1.0,
                mask=mask,
            )
            for span, mask in zip(spans, biases, strict=True)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)

    return attend


def _additive(mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    if mask is None:
        return None
    return torch.zeros_like(mask, dtype=dtype).masked_fill_(~mask, -torch.inf)


def _span_mask(
    span: Span, valid_BI: Bool[Tensor, "B I"] | None, device: torch.device | None
) -> Bool[Tensor, "*#B T M"] | None:
    mask = None
    if len(span.blocks) > 1:
        before = span.num_keys - sum(span.blocks)
        mask = block_causal_mask(span.blocks, first_key=before, device=device)
    if valid_BI is None:
        return mask
    valid_BM = F.pad(valid_BI, (0, span.num_keys - valid_BI.shape[1]), value=True)
    valid_B11M = valid_BM[:, None, None, :]
    return valid_B11M if mask is None else valid_B11M & mask
