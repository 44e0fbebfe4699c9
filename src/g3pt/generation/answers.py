"""What a generator answers to a prompt: one sample, the consensus of several, or its first guess.

Every kind of answer is a config of the union `Answer`, and `answer_features` gives its features:
a further kind needs a class here and a case there.

Legend: B prompts, L latents, C tokenizer channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, assert_never

import torch
from jaxtyping import Float
from torch import Tensor

from g3pt.generation.consensus import consensus_features
from g3pt.generation.sampler import SampledTokens, generate_tokens
from g3pt.models.car import Car
from g3pt.models.conditioning.contract import ConditionBatch
from g3pt.models.contract import DiscreteTokenizer
from g3pt.models.weights_config import SamplingDefaults


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleAnswer:
    """Tokens drawn once."""

    kind: Literal["sample"] = "sample"

    @property
    def name(self) -> str:
        """In tables."""
        return "sample"


@dataclass(frozen=True, kw_only=True, slots=True)
class ConsensusAnswer:
    """The mean features of several samples; see `consensus_features`."""

    kind: Literal["consensus"] = "consensus"

    num_samples: int = 8
    """Their seeds follow each other."""

    def __post_init__(self) -> None:
        if self.num_samples < 2:
            raise ValueError(
                f"a consensus takes at least 2 samples, num_samples is {self.num_samples}"
            )

    @property
    def name(self) -> str:
        """In tables."""
        return f"consensus_of_{self.num_samples}"


@dataclass(frozen=True, kw_only=True, slots=True)
class GuessAnswer:
    """The first guess of a generator that makes one, without any token."""

    kind: Literal["guess"] = "guess"

    @property
    def name(self) -> str:
        """In tables."""
        return "guess"


Answer = SampleAnswer | ConsensusAnswer | GuessAnswer


def answer_of(consensus: int) -> Answer:
    """The answer that a number of samples stands for: 1 is a single one.

    Raises:
        ValueError: if it is not positive.
    """
    if consensus < 1:
        raise ValueError(f"consensus must be at least 1, got {consensus}")
    return SampleAnswer() if consensus == 1 else ConsensusAnswer(num_samples=consensus)


@torch.no_grad()
def answer_features(
    tokenizer: DiscreteTokenizer,
    car: Car,
    condition: ConditionBatch,
    answer: Answer,
    *,
    seeds: Sequence[int],
    sampling: SamplingDefaults,
) -> Float[Tensor, "B L C"]:
    """Summed features of one answer per prompt, ready for `Tokenizer.shape_memory`.

    Args:
        tokenizer: stage 1.
        car: stage 2.
        condition: raw conditions, one row per prompt.
        answer: which kind.
        seeds: one per prompt; a consensus takes those that follow as well.
        sampling: guidance, temperature and truncation of every sample.

    Raises:
        ValueError: if there are not as many seeds as prompts, or the generator makes no guess.
    """
    match answer:
        case SampleAnswer():
            return sample_tokens(tokenizer, car, condition, seeds, sampling).summed_BLC
        case ConsensusAnswer(num_samples=num):
            every = [seed + k for seed in seeds for k in range(num)]
            sampled = sample_tokens(tokenizer, car, condition, every, sampling, num)
            return consensus_features(sampled.summed_BLC, num)
        case GuessAnswer():
            if car.guess is None:
                raise ValueError("this generator makes no first guess: ask for samples")
            return car.guess_features(tokenizer, condition)
        case _:
            assert_never(answer)


def scales_in(answer: Answer, num_scales: int, car: Car) -> int:
    """Scales in the features of an answer whose samples have `num_scales`; a guess has its own."""
    if isinstance(answer, GuessAnswer) and car.config.guess is not None:
        return car.config.guess.num_scales
    return num_scales


def sample_tokens(
    tokenizer: DiscreteTokenizer,
    car: Car,
    condition: ConditionBatch,
    seeds: Sequence[int],
    sampling: SamplingDefaults,
    samples_each: int = 1,
) -> SampledTokens:
    """`generate_tokens`, set as weights say it."""
    return generate_tokens(
        tokenizer,
        car,
        condition,
        seeds=seeds,
        samples_each=samples_each,
        guidance=sampling.guidance_of(car.config.num_scales),
        temperature=sampling.temperature,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
        num_scales=sampling.num_scales or None,
    )
