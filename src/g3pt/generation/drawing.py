"""Drawing of tokens from logits, from uniform numbers that are drawn beforehand.

Legend: B batch, T tokens, S scales, V logits per token (entries or bits), K bits per token.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from g3pt.models.heads import HeadKind
from g3pt.models.quantizers import pack_bits
from g3pt.models.sampling import ScaleSampling

_SUMS = {"cpu": torch.float64}
"""Precision of sums of probabilities, by device; float32 elsewhere, where float64 may be slow or
missing. Tokens of a CPU follow float64."""


def uniform_numbers(
    seeds: Sequence[int],
    scale_lengths: Sequence[int],
    heads: Sequence[HeadKind],
    num_bits: int,
    device: torch.device,
) -> tuple[Tensor, ...]:
    """The uniform numbers of every scale, one per token, or per bit where bits are drawn.

    They are drawn on the CPU, so that a seed gives the same ones on every device, and cross to the
    device together.

    Returns:
        For every scale a tensor (B T), or (B T K).
    """
    shapes = [
        (length, num_bits) if head == "bitwise" else (length,)
        for length, head in zip(scale_lengths, heads, strict=True)
    ]
    rows: list[Tensor] = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        parts = [torch.rand(shape, generator=generator).flatten() for shape in shapes]
        rows.append(torch.cat(parts))
    numbers = torch.stack(rows)
    if device.type == "cuda":
        numbers = numbers.pin_memory()
    numbers = numbers.to(device, non_blocking=True)
    sizes = [torch.Size(shape).numel() for shape in shapes]
    pairs = zip(numbers.split(sizes, dim=1), shapes, strict=True)
    return tuple(part.unflatten(1, shape) for part, shape in pairs)


def draw_tokens(
    logits_BTV: Float[Tensor, "B T V"], noise: Float[Tensor, "B T *bits"], setting: ScaleSampling
) -> Int[Tensor, "B T"]:
    """Draw the tokens of one scale: bits if the noise holds a number per bit, or entries."""
    if noise.ndim == 2:
        return draw_entries(
            logits_BTV,
            noise,
            temperature=setting.temperature,
            top_k=setting.top_k,
            top_p=setting.top_p,
        )
    temperature = 0.0 if setting.top_k == 1 else setting.temperature
    return draw_bits(logits_BTV, noise, temperature=temperature, top_p=setting.top_p)


def draw_entries(
    logits_BTV: Float[Tensor, "B T V"],
    noise_BT: Float[Tensor, "B T"],
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> Int[Tensor, "B T"]:
    """Choose a vocabulary entry per token by inverting the distribution at `noise_BT`.

    Args:
        logits_BTV: logits over the vocabulary.
        noise_BT: uniform in [0, 1).
        temperature: divides the logits; 0 takes the largest logit.
        top_k: keep the k likeliest entries; 0 keeps all.
        top_p: of those, keep the likeliest until their probabilities add up to this.
    """
    if temperature == 0:
        return logits_BTV.argmax(dim=-1)
    probabilities_BTV = torch.softmax(logits_BTV.float() / temperature, dim=-1)
    entries_BTV = None
    if 0 < top_k < logits_BTV.shape[-1]:
        probabilities_BTV, entries_BTV = probabilities_BTV.topk(top_k, dim=-1)
        probabilities_BTV = probabilities_BTV / probabilities_BTV.sum(dim=-1, keepdim=True)
    elif top_p < 1:
        probabilities_BTV, entries_BTV = _likeliest(probabilities_BTV, top_p)
    exact = _SUMS.get(logits_BTV.device.type, torch.float32)
    probabilities_BTV = probabilities_BTV.to(exact)
    if top_p < 1:
        before_BTV = probabilities_BTV.cumsum(dim=-1) - probabilities_BTV
        probabilities_BTV = probabilities_BTV * (before_BTV < top_p)
    cumulative_BTV = probabilities_BTV.cumsum(dim=-1)
    # Below the total in float32, too: noise is at most 1 - 2^-24, half the last place of any total.
    threshold_BT1 = noise_BT.to(exact).unsqueeze(-1) * cumulative_BTV[..., -1:]
    chosen_BT1 = torch.searchsorted(cumulative_BTV, threshold_BT1, right=True)
    chosen_BT1 = chosen_BT1.clamp(max=cumulative_BTV.shape[-1] - 1)
    if entries_BTV is not None:
        chosen_BT1 = entries_BTV.gather(-1, chosen_BT1)
    return chosen_BT1.squeeze(-1)


def _likeliest(probabilities_BTV: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """The likeliest entries in falling order, until they add up to `share` for every token.

    On a CPU, sorting the whole vocabulary takes about half as long as a small transformer. A
    trained model rarely needs it. Other devices sort all: to ask them how many are needed would
    make the host wait.
    """
    num_entries = 256
    while probabilities_BTV.device.type == "cpu" and num_entries < probabilities_BTV.shape[-1]:
        top = probabilities_BTV.topk(num_entries, dim=-1)
        if top.values.sum(dim=-1).min() > share + 1e-5:
            return top.values, top.indices
        num_entries *= 8
    ordered = probabilities_BTV.sort(dim=-1, descending=True)
    return ordered.values, ordered.indices


def draw_bits(
    logits_BTK: Float[Tensor, "B T K"],
    noise_BTK: Float[Tensor, "B T K"],
    *,
    temperature: float = 1.0,
    top_p: float = 1.0,
) -> Int[Tensor, "B T"]:
    """Choose every bit on its own and pack them into vocabulary entries.

    A bit whose likelier value has at least the probability `top_p` takes that value.
    """
    likelier_BTK = logits_BTK > 0
    if temperature == 0:
        return pack_bits(likelier_BTK)
    probabilities_BTK = torch.sigmoid(logits_BTK.float() / temperature)
    certain_BTK = torch.maximum(probabilities_BTK, 1 - probabilities_BTK) >= top_p
    return pack_bits(torch.where(certain_BTK, likelier_BTK, noise_BTK < probabilities_BTK))
