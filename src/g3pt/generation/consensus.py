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
from g3pt.generation.prompts import PromptError
from g3pt.generation.sampler import SampledTokens
from g3pt.models.car import Car
from g3pt.models.conditioning.contract import ConditionBatch
from g3pt.models.contract import DiscreteTokenizer


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


def num_consensus(
    asked: int | None, default: int, *, num: int = 1, best_of: int = 1, has_known: bool = False
) -> int:
    """How many samples an answer is the consensus of; 1 is a plain sample.

    Args:
        asked: what the user says; None leaves it to the weights where one answer is wanted.
        default: what the weights say.
        num: answers that are wanted of each prompt: several ask for variety.
        best_of: candidates of each answer.
        has_known: whether coarse scales are given.

    Raises:
        PromptError: if a count is not positive, or the arguments exclude each other.
    """
    for name, count in (("num", num), ("best_of", best_of), ("consensus", asked)):
        if count is not None and count < 1:
            raise PromptError(f"{name} must be at least 1, got {count}")
    if asked is None:
        return default if num == best_of == 1 and not has_known else 1
    if asked > 1 and best_of > 1:
        raise PromptError(
            "best_of keeps one of several samples and consensus joins them: give one of the two, "
            f"got best_of={best_of} and consensus={asked}"
        )
    if asked > 1 and has_known:
        raise PromptError(
            "the tokens of a consensus are made after the samples and begin with no given ones: "
            f"give one of consensus and known, got consensus={asked}"
        )
    return asked


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
