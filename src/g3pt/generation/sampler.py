"""Sampling of tokens, scale by scale, with cached keys and values (next-scale prediction).

Every shape has its own random generator: its tokens depend neither on the other shapes of the batch
nor on the requested number of scales. The random generator goes through the scales in order. At
each scale it draws one number per token, or one per bit where bits are drawn, even if the scale's
tokens are given. So the same seed draws the same numbers for a scale in every case.

Legend: B batch, T tokens, S scales, L latents, C tokenizer channels, V logits per token.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from g3pt.generation.drawing import uniform_numbers
from g3pt.generation.scale_steps import RecordedScales, ScaleSteps, StepInputs
from g3pt.models.car import CacheKind, Car
from g3pt.models.conditioning.contract import (
    ConditionBatch,
    ConditionOutput,
    concatenate_batches,
)
from g3pt.models.sampling import UNCHANGED, Sampling
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
    cache: CacheKind = "static",
    recorded: RecordedScales | None = None,
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
        cache: how keys and values of coarser scales are kept.
        recorded: recordings of scales, which on a GPU are replayed as CUDA graphs; they use a
            static cache. None runs the scales one kernel after the other.
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
    config, device = car.config, encoded.vector_BD.device
    lengths, heads = config.scale_lengths[:num_scales], config.heads[:num_scales]
    inputs = StepInputs(
        encoded,
        uniform_numbers(seeds, lengths, heads, config.num_bits, device),
        tuple(part.to(device) for part in given),
        _shown_guess(tokenizer, car, condition, samples_each, guided=guided),
    )
    if recorded is None:
        steps = ScaleSteps(tokenizer, car, settings, inputs, cache=cache)
        runs = [partial(steps.run, scale) for scale in range(num_scales)]
    else:
        steps, runs = recorded.prepare(tokenizer, car, settings, inputs)
    for scale, run in enumerate(runs):
        run()
        if on_scale is not None:
            so_far_BT, summed_BLC = steps.indices(scale).clone(), steps.summed_BLC.clone()
            on_scale(ScaleSample(scale, num_scales, so_far_BT, summed_BLC))
    indices_BT = steps.indices(num_scales - 1)
    return SampledTokens(indices_BT.clone(), steps.nll_B.clone(), steps.summed_BLC.clone())


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
