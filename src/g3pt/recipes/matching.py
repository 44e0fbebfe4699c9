"""Equal sizes: the width of a tokenizer's layers that gives it a wanted number of parameters."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import assert_never

from g3pt.models.alternatives.kl import KlConfig
from g3pt.models.alternatives.pooling import PoolingConfig
from g3pt.models.alternatives.triplane import TriplaneConfig
from g3pt.models.alternatives.volume import VolumeConfig
from g3pt.models.alternatives.vq import VqConfig
from g3pt.models.tokenizer import CvqConfig
from g3pt.models.tokenizers import TokenizerConfig, build_tokenizer
from g3pt.nn.convolutions import GROUPS

TOLERANCE = 0.05
"""Largest difference of parameter counts that passes as equal."""


@cache
def num_parameters(config: TokenizerConfig) -> int:
    """Parameters of a tokenizer."""
    return sum(p.numel() for p in build_tokenizer(config).parameters())


def matched(config: TokenizerConfig, wanted: int) -> TokenizerConfig:
    """The same tokenizer with about `wanted` parameters.

    Changed is the width inside the MLPs of a transformer, and inside the residual blocks of
    a convolutional stack: parameters are linear in both.

    Raises:
        ValueError: if no width comes within 5 %.
    """
    step, widened = _knob(config)
    low, high = step, 64 * step
    at_low, at_high = num_parameters(widened(low)), num_parameters(widened(high))
    slope = (at_high - at_low) / (high - low)
    width = low + step * round((wanted - at_low) / (slope * step))
    if width < step:
        raise ValueError(
            f"{config.kind}: has {at_low:,} parameters with the thinnest layers, more than the "
            f"{wanted:,} wanted; take fewer layers"
        )
    found = widened(width)
    if abs(num_parameters(found) - wanted) > TOLERANCE * wanted:
        raise ValueError(
            f"{config.kind}: no width comes within {TOLERANCE:.0%} of {wanted:,} parameters; the "
            f"nearest has {num_parameters(found):,}"
        )
    return found


def _knob(config: TokenizerConfig) -> tuple[int, Callable[[int], TokenizerConfig]]:
    """Step of a width, and how to set it."""
    match config:
        case CvqConfig() | VqConfig() | KlConfig() | PoolingConfig():
            return 1, lambda width: replace(config, mlp_ratio=width / config.dim)
        case TriplaneConfig() | VolumeConfig():
            return GROUPS, lambda width: replace(config, hidden=width)
        case _:
            assert_never(config)
