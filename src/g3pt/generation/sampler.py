"""Sampling of tokens, scale by scale, with cached keys and values (next-scale prediction).

Every shape has its own random generator: its tokens depend neither on the other shapes of the batch
nor on the requested number of scales. The random generator goes through the scales in order. At
each scale it draws one number per token, or one per bit where bits are drawn, even if the scale's
tokens are given. So the same seed draws the same numbers for a scale in every case.

Legend: B batch, T tokens, S scales, L latents, C tokenizer channels, V logits per token.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from g3pt.models.car import Car
from g3pt.models.conditioning.contract import (
    ConditionBatch,
    ConditionOutput,
    concatenate_batches,
)
from g3pt.models.quantizers import pack_bits
from g3pt.models.sampling import UNCHANGED, Sampling, ScaleSampling
from g3pt.models.teacher import ScaleInputs
from g3pt.models.tokenizer import DiscreteTokenizer


@dataclass(frozen=True)
class ScaleSample:
    """The argument of `on_scale`, given after each scale."""

    scale: int
    num_scales: int
    """Number of scales that will be sampled in total."""
    indices_BT: Int[Tensor, "B T"]
    """Tokens of all scales so far."""
    summed_BLC: Float[Tensor, "B L C"]
    """Sum of their upsampled features, which decodes to the shape at this level of detail."""


@dataclass(frozen=True)
class SampledTokens:
    """Tokens of new shapes."""

    indices_BT: Int[Tensor, "B T"]
    """Vocabulary indices of all scales end to end."""

    nll_B: Float[Tensor, " B"]
    """Negative log-likelihood in nats under the conditional model, without guidance,
    temperature or truncation."""

    summed_BLC: Float[Tensor, "B L C"]
    """Sum of the upsampled features, ready for `Tokenizer.shape_memory`."""


@torch.no_grad()
def generate_tokens(
    tokenizer: DiscreteTokenizer,
    car: Car,
    condition: ConditionBatch,
    *,
    seeds: Sequence[int],
    samples_each: int = 1,
    sampling: Sampling = UNCHANGED,
    known_BT: Int[Tensor, "B T"] | None = None,
    cached: bool = True,
    on_scale: Callable[[ScaleSample], None] | None = None,
) -> SampledTokens:
    """Sample the tokens of one shape per seed: all scales, or those after given coarse scales.

    Args:
        tokenizer: stage 1, whose CQT makes the inputs of the next scale.
        car: stage 2.
        condition: raw conditions, one row per shape, or one row per `samples_each` shapes.
        seeds: one per shape.
        samples_each: consecutive shapes that share a row, which is encoded once.
        sampling: guidance, temperature, truncation and number of scales; coarser tokens do not
            depend on the number of scales. The default samples the generator's own distribution.
        known_BT: tokens of the first scales, which are kept as they are; their likelihood counts.
            The first scales of a shape with that shape's seed give the same shape again.
        cached: keep keys and values of coarser scales; False computes them again at every scale.
        on_scale: called after each scale; an error raised in it ends the sampling.

    Raises:
        ValueError: if counts or settings do not fit the models.
    """
    total = car.config.num_scales
    num_scales = sampling.num_scales or total
    if num_scales > total:
        raise ValueError(f"num_scales must be within 1 to {total}, got {num_scales}")
    if len(seeds) != condition.batch_size * samples_each:
        times = f" of {samples_each} samples" if samples_each > 1 else ""
        raise ValueError(f"{len(seeds)} seeds for {condition.batch_size} conditions{times}")
    given = _known_scales(tokenizer, known_BT, len(seeds), num_scales)
    settings = sampling.per_scale(total)
    guided = any(setting.guidance != 1 for setting in settings)
    encoded = _encode(car, condition, samples_each, guided=guided)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    num_rows = len(encoded.vector_BD)
    guess_RLC = _shown_guess(tokenizer, car, condition, samples_each, guided=guided)
    inputs = ScaleInputs(tokenizer, car.config.input_kind, num_rows, guess_RLC)
    cache = car.start_cache(reuse=cached)
    device = encoded.vector_BD.device
    indices: list[Tensor] = []
    nll_B = torch.zeros(len(seeds), device=device)
    for scale in range(num_scales):
        logits_RTV = car.forward_scale(inputs.next(), scale, encoded, cache).float()
        conditional_BTV, guided_BTV = _guide(logits_RTV, settings[scale].guidance, guided=guided)
        sampled_BT = _draw(guided_BTV, car.config.heads[scale], settings[scale], generators)
        if scale < len(given):
            sampled_BT = given[scale].to(device)
        nll_B = nll_B + car.losses_of_scale(conditional_BTV, sampled_BT, scale).sum(dim=1)
        indices.append(sampled_BT)
        inputs.add(sampled_BT)
        if on_scale is not None:
            so_far_BT = torch.cat(indices, dim=1)
            on_scale(ScaleSample(scale, num_scales, so_far_BT, inputs.summed()))
    return SampledTokens(torch.cat(indices, dim=1), nll_B, inputs.summed())


def _known_scales(
    tokenizer: DiscreteTokenizer, known_BT: Tensor | None, num_shapes: int, num_scales: int
) -> Sequence[Tensor]:
    """Split given tokens by scale.

    Raises:
        ValueError: if the number of shapes differs, the tokens do not end with a scale, or there
            are too many scales.
    """
    if known_BT is None:
        return ()
    if len(known_BT) != num_shapes:
        raise ValueError(f"known tokens of {len(known_BT)} shapes for {num_shapes} seeds")
    num_known = tokenizer.num_scales_of(known_BT.shape[1])
    if num_known > num_scales:
        raise ValueError(f"known tokens cover {num_known} scales, num_scales is {num_scales}")
    return known_BT.split(list(tokenizer.scale_lengths[:num_known]), dim=1)


def _encode(
    car: Car, condition: ConditionBatch, samples_each: int, *, guided: bool
) -> ConditionOutput:
    batches = [condition, condition.without_conditions()] if guided else [condition]
    encoded = [car.encode_condition(batch).repeat(samples_each) for batch in batches]
    return concatenate_batches(encoded)


def _shown_guess(
    tokenizer: DiscreteTokenizer,
    car: Car,
    condition: ConditionBatch,
    samples_each: int,
    *,
    guided: bool,
) -> Tensor | None:
    """The first guess for the rows of `_encode`, if the generator reads one."""
    batches = [condition, condition.without_conditions()] if guided else [condition]
    shown = [car.shown_features(tokenizer, batch) for batch in batches]
    parts = [each.repeat_interleave(samples_each, dim=0) for each in shown if each is not None]
    return torch.cat(parts) if parts else None


def _guide(logits_BTV: Tensor, guidance: float, *, guided: bool) -> tuple[Tensor, Tensor]:
    """Apply classifier-free guidance (Sec. 4.2); returns conditional and guided logits."""
    if not guided:
        return logits_BTV, logits_BTV
    conditional_BTV, null_BTV = logits_BTV.chunk(2)
    return conditional_BTV, torch.lerp(null_BTV, conditional_BTV, guidance)


def _draw(
    logits_BTV: Tensor, head: str, setting: ScaleSampling, generators: Sequence[torch.Generator]
) -> Tensor:
    """Draw the tokens of one scale, each shape with its own random generator."""
    if head != "bitwise":
        noise_BT = _uniform(logits_BTV.shape[1:2], generators, logits_BTV.device)
        return draw_entries(
            logits_BTV,
            noise_BT,
            temperature=setting.temperature,
            top_k=setting.top_k,
            top_p=setting.top_p,
        )
    noise_BTK = _uniform(logits_BTV.shape[1:], generators, logits_BTV.device)
    temperature = 0.0 if setting.top_k == 1 else setting.temperature
    return draw_bits(logits_BTV, noise_BTK, temperature=temperature, top_p=setting.top_p)


def _uniform(
    shape: Sequence[int], generators: Sequence[torch.Generator], device: torch.device
) -> Tensor:
    """Uniform numbers, drawn on the CPU so that a seed gives the same ones on every device."""
    drawn = [torch.rand(tuple(shape), generator=generator) for generator in generators]
    return torch.stack(drawn).to(device)


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
    probabilities_BTV = probabilities_BTV.double()
    if top_p < 1:
        before_BTV = probabilities_BTV.cumsum(dim=-1) - probabilities_BTV
        probabilities_BTV = probabilities_BTV * (before_BTV < top_p)
    cumulative_BTV = probabilities_BTV.cumsum(dim=-1)
    threshold_BT1 = noise_BT.double().unsqueeze(-1) * cumulative_BTV[..., -1:]
    chosen_BT1 = torch.searchsorted(cumulative_BTV, threshold_BT1, right=True)
    chosen_BT1 = chosen_BT1.clamp(max=cumulative_BTV.shape[-1] - 1)
    if entries_BTV is not None:
        chosen_BT1 = entries_BTV.gather(-1, chosen_BT1)
    return chosen_BT1.squeeze(-1)


def _likeliest(probabilities_BTV: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """The likeliest entries in falling order, until they add up to `share` for every token.

    On a CPU, sorting the whole vocabulary takes about half as long as a small transformer. A
    trained model rarely needs it.
    """
    num_entries = 256
    while num_entries < probabilities_BTV.shape[-1]:
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
