"""The tokenizers of Tables 2 and 4 after more and more training: does their order turn?

Rows are compared after equal steps, as in the tables, and after equal operations, since a 3D
convolution takes more of them per parameter.
"""

from dataclasses import replace
from itertools import chain

from g3pt.reproduce.experiments import Claim, EvaluationSet, Experiment, Scale, Variant
from g3pt.reproduce.tables import cvq, kl, pooling, short_name, trained_longer, triplane, volume, vq
from g3pt.reproduce.tokenizer_sizes import TokenizerSize, procedural_set, size, toy_settings

FACTORS = (1, 4, 10)
"""Times the steps of the tables."""
REFERENCE_FACTOR = 20
"""Steps of CVQ alone, to reach the operations of the longest training of any other kind."""


def budget(scale: Scale) -> Experiment:
    """All kinds at the token count of Table 4, each trained from its start for every budget."""
    of = size(scale)
    ours = cvq(of, of.ladder[-1])
    rivals = (
        kl(of, ours, {}),
        vq(of, ours, {}),
        pooling(of, ours),
        triplane(of, ours),
        volume(of, ours),
    )
    curves = {short_name(one): _longer_and_longer(one, FACTORS) for one in (ours, *rivals)}
    reference, *others = curves
    claims = tuple(
        Claim(
            text=f"{reference} > {other}, both after {better.run.train.steps:,} steps",
            better=better.name,
            worse=worse.name,
            of_paper=False,
        )
        for other in others
        for better, worse in zip(curves[reference], curves[other], strict=True)
    )
    longest = _longer_and_longer(ours, (REFERENCE_FACTOR,))
    return Experiment(
        name="budget",
        title=f"Tables 2 and 4 with up to {FACTORS[-1]} times the steps",
        scale=scale,
        variants=(*curves[reference], *longest, *chain(*(curves[other] for other in others))),
        claims=claims,
        evaluation=_sets(of),
        axis="operations",
        reference=reference,
    )


def _longer_and_longer(variant: Variant, factors: tuple[int, ...]) -> tuple[Variant, ...]:
    return tuple(
        replace(
            variant if factor == 1 else trained_longer(variant, factor), curve=short_name(variant)
        )
        for factor in factors
    )


def _sets(of: TokenizerSize) -> tuple[EvaluationSet, ...]:
    """Those of the tables; at toy scale more objects, since latent sets are close together."""
    if of.scale != "toy":
        return of.evaluation
    return (replace(procedural_set(_NUM_OBJECTS, toy_settings()), name="budget-procedural"),)


_NUM_OBJECTS = 96
