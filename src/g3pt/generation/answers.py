"""Kinds of answers to a prompt: one sample, the consensus of several samples, or the first guess.

A fourth kind chooses between the last two by the spread of the samples. If the generator knows the
kind of object, its samples are much alike, and their consensus is better than the guess. If it does
not, the samples differ, and the guess is better.

Every kind of answer is a config of the union `Answer`. `answer_to` says which kind a request gets,
`answer_features` computes the features of many answers without meshes.

Legend: B prompts, L latents, C tokenizer channels, P pixels of a side.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, assert_never

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from g3pt.arguments import PromptError
from g3pt.generation.consensus import consensus_features, sample_spread
from g3pt.generation.field import ShapeField
from g3pt.generation.sampler import generate_tokens
from g3pt.geometry.outline import OutlinedField
from g3pt.models.car import Car
from g3pt.models.conditioning.contract import ConditionBatch
from g3pt.models.sampling import Sampling
from g3pt.models.tokenizer import DiscreteTokenizer, Tokenizer


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleAnswer:
    """A single sample."""

    kind: Literal["sample"] = "sample"

    @property
    def num_samples(self) -> int:
        """Number of seeds that an answer takes."""
        return 1

    @property
    def name(self) -> str:
        """Name in tables."""
        return "sample"


@dataclass(frozen=True, kw_only=True, slots=True)
class ConsensusAnswer:
    """The mean of the features of several samples; see `consensus_features`."""

    kind: Literal["consensus"] = "consensus"

    num_samples: int = 8
    """Samples in the mean; their seeds are consecutive."""

    def __post_init__(self) -> None:
        if self.num_samples < 2:
            raise ValueError(
                f"a consensus takes at least 2 samples, num_samples is {self.num_samples}"
            )

    @property
    def name(self) -> str:
        """Name in tables."""
        return f"consensus_of_{self.num_samples}"


@dataclass(frozen=True, kw_only=True, slots=True)
class SettledAnswer:
    """The consensus of several samples if they agree, otherwise the first guess."""

    kind: Literal["settled"] = "settled"

    num_samples: int = 8
    guess_above: float
    """`sample_spread` above which the guess is the answer."""
    outlined: bool = False
    """Whether a guess is fitted to the outline of its picture."""

    @property
    def name(self) -> str:
        """Name in tables."""
        return f"settled_of_{self.num_samples}"


@dataclass(frozen=True, kw_only=True, slots=True)
class GuessAnswer:
    """The first guess, for generators that make one; no tokens are sampled."""

    kind: Literal["guess"] = "guess"

    outlined: bool = False
    """Whether the field is fitted to the outline of its picture (`OutlinedField`)."""

    @property
    def num_samples(self) -> int:
        """Seeds that an answer takes."""
        return 1

    @property
    def name(self) -> str:
        """Name in tables."""
        return "outlined_guess" if self.outlined else "guess"


Answer = SampleAnswer | ConsensusAnswer | SettledAnswer | GuessAnswer


def answer_of(consensus: int) -> Answer:
    """The answer for a number of samples: 1 is a single sample, more are a consensus.

    Raises:
        ValueError: if it is not positive.
    """
    if consensus < 1:
        raise ValueError(f"consensus must be at least 1, got {consensus}")
    return SampleAnswer() if consensus == 1 else ConsensusAnswer(num_samples=consensus)


def answer_to(
    told: Sampling,
    weights: Sampling,
    *,
    pictured: bool,
    num: int = 1,
    best_of: int = 1,
    has_known: bool = False,
) -> Answer:
    """The kind of answer that each prompt gets.

    Args:
        told: the user's settings for consensus and guess, which take precedence.
        weights: the settings of the weights. They apply to pictures of which one answer is wanted.
        pictured: whether the prompts have pictures.
        num: answers per prompt.
        best_of: candidates per answer.
        has_known: whether coarse scales are given.

    Raises:
        PromptError: if a count is not positive, or the arguments exclude each other.
    """
    asked = {"num": num, "best_of": best_of, "has_known": has_known}
    by_default = bool(weights.guess) and pictured
    if answers_with_guess(told.guess, by_default, consensus=told.consensus, **asked):
        return GuessAnswer()
    samples = num_consensus(told.consensus, (weights.consensus or 1) if pictured else 1, **asked)
    limit = told.spread_limit
    if limit is not None and samples == 1:
        raise PromptError(
            "guess_above says how far apart the samples of a consensus may be: give a consensus "
            "of at least 2"
        )
    if told.guess_above is None and told.consensus is None:
        limit = weights.spread_limit  # only if the user has set neither
    if samples == 1:
        return SampleAnswer()
    if limit is None:
        return ConsensusAnswer(num_samples=samples)
    return SettledAnswer(num_samples=samples, guess_above=limit)


def answers_with_guess(
    asked: bool | None,
    default: bool,
    *,
    consensus: int | None,
    num: int,
    best_of: int,
    has_known: bool,
) -> bool:
    """Whether the answer is the first guess.

    Args:
        asked: the user's setting; None leaves it to the weights if one answer is wanted.
        default: the setting of the weights.
        consensus: the user's setting for the consensus.
        num: answers per prompt.
        best_of: candidates per answer.
        has_known: whether coarse scales are given.

    Raises:
        PromptError: if the arguments exclude each other.
    """
    alone = num == best_of == 1 and not has_known and consensus is None
    if asked and not alone:
        raise PromptError(
            "the first guess is one answer and needs no sample: give guess without num, best_of, "
            "consensus and known"
        )
    return default and alone if asked is None else asked


def num_consensus(
    asked: int | None, default: int, *, num: int = 1, best_of: int = 1, has_known: bool = False
) -> int:
    """Number of samples whose mean is the answer; 1 is a plain sample.

    Args:
        asked: the user's setting; None leaves it to the weights if one answer is wanted.
        default: the setting of the weights.
        num: answers per prompt; who wants several wants variety, so the default is a sample.
        best_of: candidates per answer.
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


@dataclass(frozen=True, eq=False)
class Answered:
    """Features of a batch of answers, ready for `Tokenizer.shape_memory`."""

    summed_BLC: Float[Tensor, "B L C"]
    """Sum of the upsampled features of each answer."""
    num_scales_B: Int[Tensor, " B"]
    """Number of scales in each sum."""
    outlines: tuple[UInt8[np.ndarray, "P P 4"] | None, ...]
    """For each answer the picture whose outline its field is to be fitted to, or None."""

    def fields(self, tokenizer: Tokenizer) -> list[ShapeField | OutlinedField]:
        """The occupancy field of each answer."""
        memory = tokenizer.shape_memory(self.summed_BLC, self.num_scales_B)
        plain = [ShapeField(tokenizer, row) for row in memory.split(1)]
        return [
            field if outline is None else OutlinedField(field, outline)
            for field, outline in zip(plain, self.outlines, strict=True)
        ]


@torch.no_grad()
def answer_features(
    tokenizer: DiscreteTokenizer,
    car: Car,
    condition: ConditionBatch,
    answer: Answer,
    *,
    seeds: Sequence[int],
    sampling: Sampling,
) -> Answered:
    """Summed features of one answer per prompt.

    Args:
        tokenizer: stage 1.
        car: stage 2.
        condition: raw conditions, one row per prompt.
        answer: kind of answer.
        seeds: one per prompt; a consensus also takes the seeds that follow.
        sampling: guidance, temperature and truncation of every sample.

    Raises:
        ValueError: if the numbers of seeds and prompts differ, or the generator makes no guess.
    """
    match answer:
        case SampleAnswer():
            sampled = generate_tokens(tokenizer, car, condition, seeds=seeds, sampling=sampling)
            summed_BLC = sampled.summed_BLC
        case ConsensusAnswer(num_samples=num) | SettledAnswer(num_samples=num):
            every = [seed + k for seed in seeds for k in range(num)]
            summed_MLC = generate_tokens(
                tokenizer, car, condition, seeds=every, samples_each=num, sampling=sampling
            ).summed_BLC
            summed_BLC = consensus_features(summed_MLC, num)
            if isinstance(answer, SettledAnswer):
                guess = _guess(tokenizer, car, condition, answer.outlined)
                open_B = sample_spread(summed_MLC, num) > answer.guess_above
                scales_B = _scales(car, sampling, len(seeds), open_B.device)
                pairs = zip(open_B.tolist(), guess.outlines, strict=True)
                return Answered(
                    torch.where(open_B[:, None, None], guess.summed_BLC, summed_BLC),
                    torch.where(open_B, guess.num_scales_B, scales_B),
                    tuple(outline if is_open else None for is_open, outline in pairs),
                )
        case GuessAnswer():
            return _guess(tokenizer, car, condition, answer.outlined)
        case _:
            assert_never(answer)
    scales_B = _scales(car, sampling, len(seeds), summed_BLC.device)
    return Answered(summed_BLC, scales_B, (None,) * len(seeds))


def _guess(
    tokenizer: DiscreteTokenizer, car: Car, condition: ConditionBatch, outlined: bool
) -> Answered:
    guess = car.config.guess
    if guess is None:
        raise ValueError("this generator makes no first guess: ask for samples")
    summed_BLC = car.guess_features(tokenizer, condition)
    num_scales_B = torch.full((len(summed_BLC),), guess.num_scales, device=summed_BLC.device)
    pictures = condition.guess_pictures_BZZ4
    if pictures is None:
        pictures = condition.pictures_BSS4
    outlines: tuple[UInt8[np.ndarray, "P P 4"] | None, ...] = (None,) * len(summed_BLC)
    if outlined and pictures is not None:
        first_views = pictures if pictures.ndim == 4 else pictures[:, 0]
        outlines = tuple(first_views.cpu().numpy())
    return Answered(summed_BLC, num_scales_B, outlines)


def _scales(car: Car, sampling: Sampling, num: int, device: torch.device) -> Int[Tensor, " B"]:
    return torch.full((num,), sampling.num_scales or car.config.num_scales, device=device)
