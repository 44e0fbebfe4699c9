"""How well a set of shapes uses the vocabulary, scale by scale.

Legend: B shapes, T tokens of one scale, K bits per token.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from g3pt.models.quantizers import unpack_bits


@dataclass(frozen=True)
class ScaleStatistics:
    """The tokens of one scale over a set of shapes."""

    usage: float
    """Share of all 2**K entries that occur at least once."""

    perplexity: float
    """exp(entropy) of the entries, pooled over shapes and places: the effective number in use."""

    bit_entropy: float
    """Entropy of a bit ACROSS shapes, in bits, mean over places and bits. A token that is the
    same for every shape has 0 here, even if the pooled numbers are high."""


def scale_statistics(indices_BT: Int[Tensor, "B T"], num_bits: int) -> ScaleStatistics:
    """Measure the tokens of one scale (or of all scales end to end)."""
    _, counts = indices_BT.flatten().unique(return_counts=True)
    shares = counts.double() / counts.sum()
    entropy = -(shares * shares.log()).sum()
    return ScaleStatistics(
        usage=len(counts) / 2**num_bits,
        perplexity=float(entropy.exp()),
        bit_entropy=bit_entropy(indices_BT, num_bits),
    )


def bit_entropy(indices_BT: Int[Tensor, "B T"], num_bits: int) -> float:
    """Mean entropy across shapes of every bit at every place, in bits."""
    p_TK = unpack_bits(indices_BT, num_bits).double().mean(dim=0)
    entropy_TK = -(torch.special.xlogy(p_TK, p_TK) + torch.special.xlog1py(1 - p_TK, -p_TK))
    return float(entropy_TK.mean()) / math.log(2.0)
