"""Groups of samples: the best of a group is kept, or its mean becomes the answer.

Legend: L latents, C tokenizer channels, T tokens.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

import torch
from jaxtyping import Float, Int
from torch import Tensor

from g3pt.arguments import PromptError
from g3pt.generation.answers import (
    Answer,
    ConsensusAnswer,
    GuessAnswer,
    SampleAnswer,
    SettledAnswer,
)
from g3pt.generation.consensus import consensus_features, consensus_tokens, sample_spread
from g3pt.generation.prompts import Prompts
from g3pt.generation.sampler import SampledTokens
from g3pt.generation.selection import Choice, choose_candidate
from g3pt.geometry.mesh import TriangleMesh
from g3pt.models.car import Car
from g3pt.models.conditioning import ConditionBatch
from g3pt.models.g3t import TokenPyramid
from g3pt.models.sampling import Sampling
from g3pt.models.tokenizer import DiscreteTokenizer

DRAFT_RESOLUTION = 64
"""Grid cells per axis of candidates that are only compared."""


@dataclass(frozen=True, eq=False)
class Draft:
    """Sampled tokens that have no mesh yet."""

    prompt: int
    """Number of the picture or text that it belongs to."""
    seed: int
    tokens: TokenPyramid
    nll: float
    """Negative log-likelihood given the prompt, in nats."""
    consensus: "DraftConsensus | None" = None
    """What is meshed in place of the tokens, if the draft is not a plain sample."""


@dataclass(frozen=True, eq=False)
class DraftConsensus:
    """The mean of several samples, or the first guess."""

    features_LC: Float[Tensor, "L C"]
    """From `consensus_features` or the guess; the draft's tokens are these features quantised."""
    seeds: tuple[int, ...]
    """Seeds of all samples; empty for a guess."""
    spread: float | None = None
    """How far the samples are from their mean (`sample_spread`), if it was computed. A guess that
    replaced them has it too."""
    instead: "Draft | None" = None
    """The first sample, which is meshed if the mean has no inside."""

    @property
    def is_guess(self) -> bool:
        """Whether this is the first guess."""
        return not self.seeds


@dataclass(frozen=True)
class Selection:
    """Which of several candidates was taken, and why."""

    choice: Choice
    seeds: tuple[int, ...]
    """Seed of every candidate; it is enough to make the candidate again."""


Owner = tuple[int, int]
"""A draft's prompt and seed."""


def plain_drafts(
    tokenizer: DiscreteTokenizer, owners: Sequence[Owner], sampled: SampledTokens
) -> list[Draft]:
    """One draft per sample."""
    rows = zip(owners, sampled.indices_BT.cpu(), sampled.nll_B.tolist(), strict=True)
    return [
        Draft(prompt, seed, pyramid_of(tokenizer, indices_T), nll)
        for (prompt, seed), indices_T, nll in rows
    ]


def consensus_drafts(
    tokenizer: DiscreteTokenizer,
    car: Car,
    condition: ConditionBatch,
    owners: Sequence[Owner],
    sampled: SampledTokens,
    num_samples: int,
) -> list[Draft]:
    """One draft per group of `num_samples` consecutive samples: their mean.

    Args:
        tokenizer: stage 1.
        car: stage 2, which gives the likelihood of the quantised mean.
        condition: raw conditions, one row per draft.
        owners: prompt of each draft and the seed of its first sample; the other seeds follow it.
        sampled: all samples.
        num_samples: samples per draft.
    """
    features_BLC = consensus_features(sampled.summed_BLC, num_samples)
    num_scales = tokenizer.num_scales_of(sampled.indices_BT.shape[1])
    tokens = consensus_tokens(tokenizer, car, features_BLC, condition, num_scales)
    firsts = plain_drafts(
        tokenizer,
        owners,
        SampledTokens(
            sampled.indices_BT[::num_samples],
            sampled.nll_B[::num_samples],
            sampled.summed_BLC[::num_samples],
        ),
    )
    stands_for = [
        DraftConsensus(features_LC, tuple(range(seed, seed + num_samples)), instead=first)
        for (_, seed), features_LC, first in zip(owners, features_BLC, firsts, strict=True)
    ]
    drafts = zip(plain_drafts(tokenizer, owners, tokens), stands_for, strict=True)
    return [replace(draft, consensus=consensus) for draft, consensus in drafts]


@torch.no_grad()
def guess_drafts(
    tokenizer: DiscreteTokenizer, car: Car, condition: ConditionBatch, owners: Sequence[Owner]
) -> list[Draft]:
    """One draft per row of the condition: the first guess, with the quantised guess as its tokens.

    Raises:
        PromptError: if the generator makes no first guess.
    """
    guess = car.config.guess
    if guess is None:
        raise PromptError("these weights make no first guess: ask for samples, or a consensus")
    features_BLC = car.guess_features(tokenizer, condition)
    tokens = consensus_tokens(tokenizer, car, features_BLC, condition, guess.num_scales)
    drafts = plain_drafts(tokenizer, owners, tokens)
    return [
        replace(draft, consensus=DraftConsensus(features_LC, ()))
        for draft, features_LC in zip(drafts, features_BLC, strict=True)
    ]


def settled_drafts(
    tokenizer: DiscreteTokenizer,
    car: Car,
    condition: ConditionBatch,
    owners: Sequence[Owner],
    sampled: SampledTokens,
    num_samples: int,
    guess_above: float,
) -> list[Draft]:
    """One draft per group: the consensus if its samples agree, otherwise the first guess.

    Arguments as for `consensus_drafts`. With a spread above `guess_above` the samples disagree.
    """
    agreed = consensus_drafts(tokenizer, car, condition, owners, sampled, num_samples)
    guesses = guess_drafts(tokenizer, car, condition, owners)
    spreads = sample_spread(sampled.summed_BLC, num_samples).tolist()
    drafts: list[Draft] = []
    for consensus, guess, spread in zip(agreed, guesses, spreads, strict=True):
        chosen = guess if spread > guess_above else consensus
        assert chosen.consensus is not None
        drafts.append(replace(chosen, consensus=replace(chosen.consensus, spread=spread)))
    return drafts


def drafts_of(
    answer: SampleAnswer | ConsensusAnswer | SettledAnswer,
    tokenizer: DiscreteTokenizer,
    car: Car,
    condition: ConditionBatch,
    owners: Sequence[Owner],
    sampled: SampledTokens,
) -> list[Draft]:
    """Drafts of a batch of samples; arguments as for `consensus_drafts`."""
    match answer:
        case SampleAnswer():
            return plain_drafts(tokenizer, owners, sampled)
        case ConsensusAnswer(num_samples=num):
            return consensus_drafts(tokenizer, car, condition, owners, sampled, num)
        case SettledAnswer(num_samples=num, guess_above=above):
            return settled_drafts(tokenizer, car, condition, owners, sampled, num, above)
        case _:
            assert_never(answer)


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


def pyramid_of(tokenizer: DiscreteTokenizer, indices_T: Int[Tensor, " T"]) -> TokenPyramid:
    """Tokens of the first scales as a `TokenPyramid`, with scale lengths and bits per token."""
    return TokenPyramid(tuple(tokenizer.scale_lengths), tokenizer.num_bits, indices_T)


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


def select_drafts(
    drafts: Sequence[Draft],
    best_of: int,
    prompts: Prompts,
    mesh_of: Callable[[Draft], TriangleMesh],
) -> list[tuple[Draft, Selection]]:
    """Keep the best of each group of `best_of` consecutive drafts; see `choose_candidate`.

    Args:
        drafts: groups of drafts end to end; all drafts of a group have the same prompt.
        best_of: drafts per group.
        prompts: the prompts. Of several views of a shape only the first is compared.
        mesh_of: makes a mesh of a draft, fine enough to compare silhouettes.
    """
    selected: list[tuple[Draft, Selection]] = []
    for first in range(0, len(drafts), best_of):
        group = drafts[first : first + best_of]
        choice = choose_candidate(
            [mesh_of(draft) for draft in group],
            [draft.nll for draft in group],
            prompts.pictures[group[0].prompt] if prompts.pictures else None,
        )
        seeds = tuple(draft.seed for draft in group)
        selected.append((group[choice.index], Selection(choice, seeds)))
    return selected
