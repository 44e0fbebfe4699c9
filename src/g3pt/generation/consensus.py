"""What several samples agree on: the mean of their summed features, decoded once.

A sample has to settle what the prompt leaves open, and where it guesses wrong it costs twice: a
part in the wrong place, and none in the right one. The mean keeps what most samples share. It is
itself no sample: its features are the decode of no tokens, and it is smoother than any of them.

Legend: B answers, M samples of all answers, L latents, C tokenizer channels, T tokens.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from g3pt.generation.likelihood import token_likelihood
from g3pt.generation.sampler import SampledTokens
from g3pt.models.car import Car
from g3pt.models.conditioning.contract import ConditionBatch
from g3pt.models.tokenizer import DiscreteTokenizer


def consensus_features(
    summed_MLC: Float[Tensor, "M L C"], num_samples: int
) -> Float[Tensor, "B L C"]:
    """The mean over every `num_samples` samples that follow each other.

    Args:
        summed_MLC: sum of the upsampled features of each sample (`SampledTokens.summed_BLC`).
        num_samples: samples of an answer; of 1 nothing changes.

    Raises:
        ValueError: if the samples are not a whole number of groups.
    """
    if num_samples < 1 or len(summed_MLC) % num_samples:
        raise ValueError(
            f"a consensus needs whole groups of samples, got {len(summed_MLC)} samples in groups "
            f"of {num_samples}"
        )
    return summed_MLC.unflatten(0, (-1, num_samples)).mean(dim=1)


def sample_spread(summed_MLC: Float[Tensor, "M L C"], num_samples: int) -> Float[Tensor, " B"]:
    """How far the samples of each answer are from their mean: a mean square of features.

    Little where a generator knows what it sees, since its samples then agree. Arguments as in
    `consensus_features`.
    """
    mean_BLC = consensus_features(summed_MLC, num_samples)
    off_BMLC = summed_MLC.unflatten(0, (-1, num_samples)) - mean_BLC[:, None]
    return off_BMLC.square().mean(dim=(1, 2, 3))


@torch.no_grad()
def consensus_tokens(
    tokenizer: DiscreteTokenizer,
    car: Car,
    features_BLC: Float[Tensor, "B L C"],
    condition: ConditionBatch,
    num_scales: int,
) -> SampledTokens:
    """Tokens of a consensus, for what needs tokens: files, and the meshes of coarser scales.

    The features are quantised as latents are, so what these tokens decode to is close to the
    consensus, not equal.

    Args:
        tokenizer: stage 1.
        car: stage 2, which says how likely the tokens are.
        features_BLC: from `consensus_features`.
        condition: what the samples were made of, a row of each answer.
        num_scales: scales that the samples have.
    """
    quantised = tokenizer.quantize(features_BLC, num_scales=num_scales)
    nll = token_likelihood(tokenizer, car, quantised.indices_BT, condition).nats.float()
    return SampledTokens(quantised.indices_BT, nll, quantised.summed_BLC)
