"""Finds the width of a model's layers that gives it a wanted number of parameters."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import TypeVar, assert_never

import torch

from g3pt.models.alternatives.kl import KlConfig
from g3pt.models.alternatives.pooling import PoolingConfig
from g3pt.models.alternatives.triplane import TriplaneConfig
from g3pt.models.alternatives.volume import VolumeConfig
from g3pt.models.alternatives.vq import VqConfig
from g3pt.models.car import Car, CarConfig
from g3pt.models.cvq import CvqConfig
from g3pt.models.rivals.flow import Flow, FlowConfig
from g3pt.models.rivals.regressor import Regressor, RegressorConfig
from g3pt.models.tokenizers import TokenizerConfig, build_tokenizer
from g3pt.nn.convolutions import GROUPS

TOLERANCE = 0.05
"""Largest relative difference of parameter counts that counts as equal."""


ConfigT = TypeVar("ConfigT")
RivalT = TypeVar("RivalT", FlowConfig, RegressorConfig)


@cache
def num_parameters(config: TokenizerConfig) -> int:
    """Number of parameters of a tokenizer."""
    return sum(p.numel() for p in build_tokenizer(config).parameters())


def matched(config: TokenizerConfig, wanted: int) -> TokenizerConfig:
    """The same tokenizer with about `wanted` parameters.

    The hidden width of the MLPs of a transformer, or of the residual blocks of a convolutional
    stack, is changed. The number of parameters is linear in both.

    Raises:
        ValueError: if no width comes within 5 %.
    """
    step, widened = _knob(config)
    return _solve(config.kind, widened, num_parameters, wanted, step=step)


@cache
def num_generator_parameters(config: CarConfig | FlowConfig | RegressorConfig) -> int:
    """Number of parameters of a generator: the model from conditions to tokens or latents.

    The field decoder of a regressor is not counted, because other generators use that of the
    tokenizer, which is not counted either. No memory is allocated.
    """
    with torch.device("meta"):
        match config:
            case CarConfig():
                model = Car(config)
            case FlowConfig():
                model = Flow(config)
            case RegressorConfig():
                # The decoder would compute initial values from positions; counting needs none.
                by_chance = replace(config, decoder=replace(config.decoder, local_gain=0.0))
                model = Regressor(by_chance)
            case _:
                assert_never(config)
    counted = sum(p.numel() for p in model.parameters())
    if isinstance(model, Regressor):
        counted -= sum(p.numel() for p in model.decoder.parameters())
    return counted


def matched_rival(config: RivalT, wanted: int) -> RivalT:
    """The same rival with about `wanted` parameters; the hidden width of its MLPs is changed.

    Raises:
        ValueError: if no width comes within 5 %.
    """
    name = "flow" if isinstance(config, FlowConfig) else "regressor"
    return _solve(
        name,
        lambda hidden: replace(config, mlp_ratio=hidden / config.width),
        num_generator_parameters,
        wanted,
    )


def _solve(
    name: str,
    widened: Callable[[int], ConfigT],
    count: Callable[[ConfigT], int],
    wanted: int,
    *,
    step: int = 1,
) -> ConfigT:
    """The config whose width, a multiple of `step`, comes nearest to `wanted` parameters.

    The number of parameters is linear in the width.
    """
    low, high = step, 64 * step
    at_low, at_high = count(widened(low)), count(widened(high))
    slope = (at_high - at_low) / (high - low)
    width = low + step * round((wanted - at_low) / (slope * step))
    if width < step:
        raise ValueError(
            f"{name}: has {at_low:,} parameters with the thinnest layers, more than the "
            f"{wanted:,} wanted; take fewer layers"
        )
    found = widened(width)
    if abs(count(found) - wanted) > TOLERANCE * wanted:
        raise ValueError(
            f"{name}: no width comes within {TOLERANCE:.0%} of {wanted:,} parameters; the "
            f"nearest has {count(found):,}"
        )
    return found


def _knob(config: TokenizerConfig) -> tuple[int, Callable[[int], TokenizerConfig]]:
    """The step of the width that is varied, and a function that sets it."""
    match config:
        case CvqConfig() | VqConfig() | KlConfig() | PoolingConfig():
            return 1, lambda width: replace(config, mlp_ratio=width / config.dim)
        case TriplaneConfig() | VolumeConfig():
            return GROUPS, lambda width: replace(config, hidden=width)
        case _:
            assert_never(config)
