"""Figure 6: generators of growing size on the same tokens, and the power law of their loss."""

from itertools import pairwise

from g3pt.reproduce.car_sizes import CarSize, car_size, deepened
from g3pt.reproduce.experiments import Claim, Experiment, Scale, Variant


def figure6(scale: Scale) -> Experiment:
    """Cross-entropy of held-out tokens over parameters (Fig. 6)."""
    of = car_size(scale)
    variants = [rung(of, depth) for depth in of.depths]
    claims = [
        Claim(
            text=f"cross-entropy falls from {smaller.label} to {larger.label}",
            better=larger.name,
            worse=smaller.name,
            metric="ce",
            higher_is_better=False,
        )
        for smaller, larger in pairwise(variants)
    ]
    claims.append(
        Claim(
            text=f"IoU of generated meshes rises from {variants[0].label} to {variants[-1].label}",
            better=variants[-1].name,
            worse=variants[0].name,
            of_paper=False,
        )
    )
    return Experiment(
        name="figure6",
        title="Figure 6: cross-entropy over parameters",
        scale=scale,
        variants=tuple(variants),
        claims=tuple(claims),
        evaluation=of.sets,
        before=(of.stage1,),
        axis="parameters",
    )


def rung(of: CarSize, depth: int) -> Variant:
    """A generator of one depth, trained as all others are."""
    run = deepened(of.run, depth)
    size = run.model
    return Variant(
        name=f"car-{depth}",
        label=f"{size.depth} x {size.width}",
        run=run,
        seeds=of.seeds,
    )
