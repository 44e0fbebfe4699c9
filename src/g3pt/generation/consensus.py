"""The consensus of several samples: the mean of their summed features, decoded once.

A sample must decide what the prompt leaves open. A wrong decision counts twice in the scores: a
part is in the wrong place, and the right place is empty. The mean keeps what most samples share.
It is not a sample itself: no tokens decode to its features, and it is smoother than the samples.

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
    """The mean of the features of each answer's samples, which are consecutive rows.

    Args:
        summed_MLC: sum of the upsampled features of each sample (`SampledTokens.summed_BLC`).
        num_samples: samples per answer; with 1 the input is returned unchanged.

    Raises:
        ValueError: if the number of samples is not a multiple of `num_samples`.
    """
    if num_samples < 1 or len(summed_MLC) % num_samples:
        raise ValueError(
            f"a consensus needs whole groups of samples, got {len(summed_MLC)} samples in groups "
            f"of {num_samples}"
        )
    return summed_MLC.unflatten(0, (-1, num_samples)).mean(dim=1)


def sample_spread(summed_MLC: Float[Tensor, "M L C"], num_samples: int) -> Float[Tensor, " B"]:
    """How far the samples of each answer are from their mean: the mean squared difference.

    It is small where the generator knows the kind of object, because its samples then agree.
    Arguments as in `consensus_features`.
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
    """Quantise a consensus to tokens, for token files and the meshes of coarser scales.

    The features are quantised like latents, so the tokens decode to features close to the
    consensus, not equal to it.

    Args:
        tokenizer: stage 1.
        car: stage 2, which gives the likelihood of the tokens.
        features_BLC: from `consensus_features`.
        condition: raw conditions that the samples were drawn with, one row per answer.
        num_scales: number of scales of the samples.
    """
    quantised = tokenizer.quantize(features_BLC, num_scales=num_scales)
    nll = token_likelihood(tokenizer, car, quantised.indices_BT, condition).nats.float()
    return SampledTokens(quantised.indices_BT, nll, quantised.summed_BLC)
