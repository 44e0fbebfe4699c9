"""Several samples in place of one: drafts are meshed coarsely, the best of each group is kept."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from g3pt.generation.prompts import Prompts
from g3pt.generation.selection import Choice, choose_candidate
from g3pt.geometry.mesh import TriangleMesh
from g3pt.models.tokens import TokenPyramid

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


@dataclass(frozen=True)
class Selection:
    """Why a shape was taken among several."""

    choice: Choice
    seeds: tuple[int, ...]
    """Of every candidate: with it alone, each can be made again."""


def select_drafts(
    drafts: Sequence[Draft],
    best_of: int,
    prompts: Prompts,
    mesh_of: Callable[[TokenPyramid], TriangleMesh],
) -> list[tuple[Draft, Selection]]:
    """Keep the best of every `best_of` drafts that follow each other; see `choose_candidate`.

    Args:
        drafts: groups of one prompt each, laid end to end.
        best_of: drafts in a group.
        prompts: what was asked for. Of several views of a shape the first one counts.
        mesh_of: a mesh good enough to compare silhouettes.
    """
    selected: list[tuple[Draft, Selection]] = []
    for first in range(0, len(drafts), best_of):
        group = drafts[first : first + best_of]
        choice = choose_candidate(
            [mesh_of(draft.tokens) for draft in group],
            [draft.nll for draft in group],
            prompts.pictures[group[0].prompt] if prompts.pictures else None,
        )
        seeds = tuple(draft.seed for draft in group)
        selected.append((group[choice.index], Selection(choice, seeds)))
    return selected
