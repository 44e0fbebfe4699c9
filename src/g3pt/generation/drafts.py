"""The work of a request: samples are drawn, grouped into drafts of answers, and meshed.

Of a group of samples the best is kept, or its mean becomes the answer.

Legend: L latents, C tokenizer channels, T tokens.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import assert_never

import numpy as np
import torch
from jaxtyping import Float, UInt8
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
from g3pt.generation.meshing import (
    OnBlock,
    coarser_meshes,
    mesh_features,
    mesh_tokens,
    pyramid_of,
)
from g3pt.generation.prompts import Prompts
from g3pt.generation.resemblance import Resemblance, has_outline, resemblance_of
from g3pt.generation.results import (
    GeneratedShape,
    GuessReason,
    OnScale,
    ScaleEvent,
    on_meshing,
)
from g3pt.generation.sampler import SampledTokens, ScaleSample, generate_tokens
from g3pt.generation.selection import Selection, choose_candidate
from g3pt.geometry.isosurface import Extraction
from g3pt.geometry.mesh import TriangleMesh
from g3pt.models.car import Car
from g3pt.models.conditioning import ConditionBatch
from g3pt.models.g3t import TokenPyramid
from g3pt.models.sampling import Sampling
from g3pt.models.tokenizer import DiscreteTokenizer

BATCH_SIZE = 16
"""Shapes whose tokens are sampled together."""

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
    guess: "Draft | None" = None
    """The first guess, which is meshed if the mean does not have the outline of the picture."""
    because: GuessReason | None = None
    """Why a guess replaced the consensus, if it did."""

    @property
    def is_guess(self) -> bool:
        """Whether this is the first guess."""
        return not self.seeds


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

    Arguments as for `consensus_drafts`. With a spread above `guess_above` the samples disagree. A
    consensus keeps the guess, in case its mesh does not resemble the picture.
    """
    agreed = consensus_drafts(tokenizer, car, condition, owners, sampled, num_samples)
    guesses = guess_drafts(tokenizer, car, condition, owners)
    spreads = sample_spread(sampled.summed_BLC, num_samples).tolist()
    drafts: list[Draft] = []
    for consensus, guess, spread in zip(agreed, guesses, spreads, strict=True):
        assert consensus.consensus is not None and guess.consensus is not None
        by_spread = replace(guess.consensus, spread=spread, because="spread")
        if spread > guess_above:
            drafts.append(replace(guess, consensus=by_spread))
            continue
        by_outline = replace(guess, consensus=replace(by_spread, because="outline"))
        agreed_on = replace(consensus.consensus, spread=spread, guess=by_outline)
        drafts.append(replace(consensus, consensus=agreed_on))
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


def sample_drafts(
    tokenizer: DiscreteTokenizer,
    car: Car,
    prompts: Prompts,
    answer: Answer,
    *,
    seed: int,
    num: int,
    sampling: Sampling,
    known: TokenPyramid | None,
    listener: "Listener",
) -> list[Draft]:
    """Sample the tokens of all drafts of a request, in batches.

    Args:
        tokenizer: stage 1.
        car: stage 2.
        prompts: the prompts.
        answer: kind of answer.
        seed: seed of the first draft of every prompt; the next draft begins after its samples.
        num: drafts per prompt.
        sampling: settings of every sample.
        known: coarse scales that every sample begins with.
        listener: hears of every scale of every batch.

    Returns:
        All drafts of the first prompt, then all of the second ...
    """
    samples = answer.num_samples
    owners = [(prompt, seed + k * samples) for prompt in range(len(prompts)) for k in range(num)]
    batch_size = max(1, BATCH_SIZE // samples)
    drafts: list[Draft] = []
    for first in range(0, len(owners), batch_size):
        batch = owners[first : first + batch_size]
        condition = prompts.condition.rows(torch.tensor([prompt for prompt, _ in batch]))
        if isinstance(answer, GuessAnswer):
            drafts += guess_drafts(tokenizer, car, condition, batch)
            continue
        seeds = [own_seed + k for _, own_seed in batch for k in range(samples)]
        sampled = generate_tokens(
            tokenizer,
            car,
            condition,
            seeds=seeds,
            samples_each=samples,
            sampling=sampling,
            known_BT=None if known is None else known.indices.expand(len(seeds), -1),
            on_scale=listener.tokens(first * samples),
        )
        drafts += drafts_of(answer, tokenizer, car, condition, batch, sampled)
    return drafts


def mesh_drafts(
    tokenizer: DiscreteTokenizer,
    drafts: Sequence[Draft],
    best_of: int,
    prompts: Prompts,
    *,
    resolution: int,
    min_share: float,
    every_scale: bool,
    outline: bool,
    listener: "Listener",
) -> list[GeneratedShape]:
    """Keep the best of every `best_of` consecutive drafts, and mesh what is kept.

    Args:
        tokenizer: stage 1.
        drafts: from `sample_drafts`.
        best_of: candidates of which one is kept; they are compared at `DRAFT_RESOLUTION`.
        prompts: the prompts.
        resolution: grid cells per axis.
        min_share: drop parts below this share of the whole surface area.
        every_scale: also mesh the coarser scales.
        outline: fit first guesses to the outlines of their pictures.
        listener: hears of the meshing.
    """
    listener.place(drafts)

    chosen: Sequence[tuple[Draft, Selection | None]] = [(draft, None) for draft in drafts]
    if best_of > 1:
        rough = min(resolution, DRAFT_RESOLUTION)

        def rough_mesh(draft: Draft) -> TriangleMesh:
            return _mesh(tokenizer, draft, rough, min_share, listener.mesh(draft)).mesh

        chosen = select_drafts(drafts, best_of, prompts, rough_mesh)
    shapes: list[GeneratedShape] = []
    for draft, selection in chosen:
        on_block = listener.mesh(draft)
        picture = prompts.pictures[draft.prompt] if prompts.pictures else None
        shown = picture.rgba if picture is not None and outline and has_outline(picture) else None
        extraction = _mesh(tokenizer, draft, resolution, min_share, on_block, shown)
        guess = None if draft.consensus is None else draft.consensus.guess
        resemblance: Resemblance | None = None
        if guess is not None and picture is not None and has_outline(picture):
            if not extraction.mesh.is_empty:
                resemblance = resemblance_of(extraction.mesh, picture)
            if resemblance is None or not resemblance.agrees:
                draft, resemblance = guess, None
                extraction = _mesh(tokenizer, draft, resolution, min_share, on_block, shown)
        if extraction.mesh.is_empty and draft.consensus and draft.consensus.instead:
            draft = draft.consensus.instead
            extraction = _mesh(tokenizer, draft, resolution, min_share, on_block)
        agreed, scales = draft.consensus, ()
        if every_scale:
            scales = coarser_meshes(
                tokenizer,
                draft.tokens,
                resolution=resolution,
                min_share=min_share,
                on_block=on_block,
            )
        shapes.append(
            GeneratedShape(
                draft.prompt,
                draft.seed,
                draft.tokens,
                draft.nll,
                extraction,
                scales,
                selection,
                consensus=() if agreed is None else agreed.seeds,
                guessed=agreed is not None and agreed.is_guess,
                guessed_because=None if agreed is None else agreed.because,
                spread=None if agreed is None else agreed.spread,
                cutout=prompts.cutouts[draft.prompt] if prompts.pictures else None,
                resemblance=resemblance,
            )
        )
    return shapes


def _mesh(
    tokenizer: DiscreteTokenizer,
    draft: Draft,
    resolution: int,
    min_share: float,
    on_block: OnBlock | None,
    outline: UInt8[np.ndarray, "P P 4"] | None = None,
) -> Extraction:
    """Mesh the features of a draft if it has any, else its tokens.

    Only a guess is fitted to the outline.
    """
    if draft.consensus is None:
        return mesh_tokens(
            tokenizer,
            draft.tokens,
            resolution=resolution,
            min_share=min_share,
            on_block=on_block,
        )
    return mesh_features(
        tokenizer,
        draft.consensus.features_LC,
        draft.tokens.num_scales,
        outline=outline if draft.consensus.is_guess else None,
        resolution=resolution,
        min_share=min_share,
        on_block=on_block,
    )


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


class Listener:
    """Passes the progress of the sampler and of meshing on to `on_scale`."""

    def __init__(
        self,
        on_scale: OnScale | None,
        tokenizer: DiscreteTokenizer,
        num_samples: int,
    ) -> None:
        self._on_scale = on_scale
        self._pyramid_of = partial(pyramid_of, tokenizer)
        self._num_samples = num_samples
        self._places: dict[int, int] = {}

    def tokens(self, first: int) -> Callable[[ScaleSample], None] | None:
        """The callback for the sampler of a batch whose first sample has this number."""
        on_scale = self._on_scale
        if on_scale is None:
            return None

        def listen(sample: ScaleSample) -> None:
            tokens = tuple(self._pyramid_of(indices_T) for indices_T in sample.indices_BT.cpu())
            event = ScaleEvent(first, sample.scale, sample.num_scales, tokens)
            on_scale(replace(event, total=self._num_samples))

        return listen

    def place(self, drafts: Sequence[Draft]) -> None:
        """Number the drafts in the order of sampling; events about their meshes use the numbers."""
        self._places = {id(draft): number for number, draft in enumerate(drafts)}

    def mesh(self, draft: Draft) -> OnBlock | None:
        """The callback for the meshing of a draft."""
        if self._on_scale is None:
            return None
        return on_meshing(self._on_scale, draft.tokens, self._places[id(draft)], len(self._places))

    def coloring(self, number: int, shape: GeneratedShape, total: int) -> None:
        """Say that a picture is about to colour a shape, number `number` of `total`."""
        if self._on_scale is not None:
            last, tokens = shape.tokens.num_scales - 1, (shape.tokens,)
            self._on_scale(ScaleEvent(number, last, last + 1, tokens, "color", total))
