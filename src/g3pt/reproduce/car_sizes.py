"""The generators of the tables at four sizes: everything in which the sizes differ.

Tokens are those of a CVQ of Table 3b, which is trained first: at `toy` scale of the one with 22
tokens, whose meshes are nearly as good as those of 85. `toy` takes minutes a run on one core of a
laptop. `small` is for one large GPU and has not been run yet; `paper` has the paper's numbers.
"""

from dataclasses import dataclass, replace
from typing import assert_never

from g3pt.evaluation.objects import EvaluationSettings, quick_settings
from g3pt.models.car import CarConfig
from g3pt.models.conditioning.image import ImageConditionConfig
from g3pt.models.sizes import size_of_depth
from g3pt.recipes import car, tokenizer
from g3pt.reproduce.experiments import EvaluationSet, LikelihoodSet, Scale, Variant, weights_of
from g3pt.reproduce.tables import cvq, tokenizer_run
from g3pt.reproduce.tokenizer_sizes import (
    REPORTED_SEEDS,
    mesh_set,
    procedural_set,
    size,
    smoke_settings,
    toy_settings,
    toy_shapes,
)
from g3pt.shapes.cache.tokens import TokenCacheConfig
from g3pt.shapes.datasets.tokenizer import CarDataConfig
from g3pt.training.config import TrainConfig
from g3pt.training.ingredients import PreparedShapes
from g3pt.training.kinds.car import CarRun, CarValidationConfig
from g3pt.training.next_scale import CarLossConfig
from g3pt.training.optim import MuonConfig, ScheduleConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class CarSize:
    """What the tables need to know about a size."""

    scale: Scale
    stage1: Variant
    """The tokenizer, trained first."""
    run: CarRun
    """The generator of the middle of the ladder."""
    depths: tuple[int, ...]
    """Rungs of Figure 6; width and heads follow (`models/sizes.py`)."""
    seeds: tuple[int, ...]
    """Of every row."""
    likelihood: LikelihoodSet
    evaluation: tuple[EvaluationSet, ...]

    @property
    def sets(self) -> tuple[LikelihoodSet | EvaluationSet, ...]:
        """Likelihood first: it separates rows that meshes do not separate."""
        return (self.likelihood, *self.evaluation)


def car_size(scale: Scale) -> CarSize:
    """The generators of the tables at a size."""
    match scale:
        case "smoke":
            return smoke()
        case "toy":
            return toy()
        case "small":
            return small()
        case "paper":
            return paper()
        case _:
            assert_never(scale)


def deepened(run: CarRun, depth: int) -> CarRun:
    """The same run with a transformer of another depth, and the width that belongs to it.

    Condition encoder, data, steps and learning rate stay: Muon's update has the same root mean
    square in a matrix of any size, so that one rate serves the whole ladder.
    """
    rung = size_of_depth(depth)
    model = replace(run.model, depth=rung.depth, width=rung.width, num_heads=rung.num_heads)
    return replace(run, model=model)


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


def toy() -> CarSize:
    """Minutes a run on one core, from canonical pictures of procedural shapes.

    Every bit is chosen on its own: at the smallest widths a logit for every entry of the vocabulary
    would hold most of the parameters.
    """
    of = size("toy")
    stage1 = cvq(of, of.ladder[of.few])
    image = ImageConditionConfig(image_size=64, patch_size=32, depth=1, width=64, num_heads=1)
    run = CarRun(
        name="toy",
        tokenizer=weights_of("toy", stage1.name),
        model=car.fitting(
            CarConfig(conditions=(image,), head="bitwise"), tokenizer_run(stage1).model
        ),
        shapes=(toy_shapes(),),
        held_out=(toy_shapes(held_out=True),),
        tokens=TokenCacheConfig(resamplings=2, num_points=of.run.data.num_points),
        data=CarDataConfig(batch_size=32, image_size=image.image_size, canonical_share=1.0),
        validation=CarValidationConfig(num_shapes=96),
        loss=CarLossConfig(dropout=0.1),
        optim=MuonConfig(
            lr=4e-3,
            betas=(0.9, 0.95),
            weight_decay=0.05,
            schedule=ScheduleConfig(warmup_steps=20, final_share=0.02),
        ),
        train=TrainConfig(
            steps=200, threads=1, ema_decay=0.97, eval_every=200, checkpoint_every=50
        ),
    )
    return CarSize(
        scale="toy",
        stage1=stage1,
        run=deepened(run, 3),
        depths=(1, 2, 3, 4, 5),
        seeds=(0, 1),
        likelihood=_likelihood(reported_shapes(toy_shapes(), "toy", 256), 256),
        evaluation=(procedural_set(16, toy_settings()),),
    )


def small() -> CarSize:
    """Minutes to an hour a run on one large GPU, on procedural shapes and real meshes."""
    of = size("small")
    stage1, base = cvq(of, of.ladder[-1]), car.tiny()
    image = ImageConditionConfig(image_size=128, patch_size=16, depth=4, width=256, num_heads=4)
    run = replace(
        base,
        name="small",
        tokenizer=weights_of("small", stage1.name),
        model=car.fitting(
            replace(base.model, conditions=(image,), num_heads=4, width=256),
            tokenizer_run(stage1).model,
        ),
        tokens=TokenCacheConfig(resamplings=2, num_points=of.run.data.num_points),
        data=replace(base.data, batch_size=128, image_size=image.image_size),
        validation=CarValidationConfig(num_shapes=192),
        loss=CarLossConfig(dropout=0.1),
        train=TrainConfig(
            steps=10_000, precision="bf16", ema_decay=0.999, eval_every=5000, checkpoint_every=500
        ),
    )
    shapes = reported_shapes(tokenizer.procedural_shapes(held_out=True), "small", 512)
    return CarSize(
        scale="small",
        stage1=stage1,
        run=deepened(run, 6),
        depths=(1, 2, 4, 6, 8, 12),
        seeds=(0,),
        likelihood=_likelihood(shapes, 512),
        evaluation=(procedural_set(100, quick_settings()), mesh_set(quick_settings())),
    )


def paper() -> CarSize:
    """The paper's three sizes (Sec. 4.1), and rungs between them and below."""
    of = size("paper")
    stage1 = cvq(of, of.ladder[-1])
    shapes = reported_shapes(tokenizer.paper().held_out[0], "paper", 512)
    return CarSize(
        scale="paper",
        stage1=stage1,
        run=replace(car.paper(), name="paper", tokenizer=weights_of("paper", stage1.name)),
        depths=(4, 8, 12, 18, 24, 48),
        seeds=(0,),
        likelihood=_likelihood(shapes, 512),
        evaluation=(
            procedural_set(120, EvaluationSettings()),
            mesh_set(EvaluationSettings()),
        ),
    )


def smoke() -> CarSize:
    """`toy` in seconds: every part of it, nothing learnt."""
    of, base = size("smoke"), toy()
    stage1 = cvq(of, of.ladder[0])
    (image,) = base.run.model.conditions
    assert isinstance(image, ImageConditionConfig)
    conditions = (replace(image, image_size=32, patch_size=16, width=16),)
    model = replace(base.run.model, depth=1, width=16, num_heads=1, conditions=conditions)
    run = replace(
        base.run,
        name="smoke",
        tokenizer=weights_of("smoke", stage1.name),
        model=car.fitting(model, tokenizer_run(stage1).model),
        shapes=(tokenizer.smoke_shapes(),),
        held_out=(tokenizer.smoke_shapes(held_out=True),),
        tokens=TokenCacheConfig(resamplings=1, num_points=64, batch_size=8),
        data=replace(base.run.data, batch_size=2, image_size=32),
        validation=CarValidationConfig(num_shapes=4, batch_size=4),
        train=replace(tokenizer.smoke_train(base.run.train), steps=2, eval_every=2),
    )
    return CarSize(
        scale="smoke",
        stage1=stage1,
        run=run,
        depths=(1, 2, 3, 4),
        seeds=(0,),
        likelihood=_likelihood(tokenizer.smoke_shapes(held_out=True), 4),
        evaluation=(procedural_set(2, smoke_settings()),),
    )


def reported_shapes(like: PreparedShapes, name: str, num: int) -> PreparedShapes:
    """Prepared as others are, but of the held-out seeds that nothing was chosen by."""
    return replace(
        like,
        path=f"cache/procedural-{name}-test",
        source=replace(like.source, num=num, first_seed=REPORTED_SEEDS),
    )


def _likelihood(shapes: PreparedShapes, num: int) -> LikelihoodSet:
    return LikelihoodSet(name="likelihood", shapes=shapes, num=num)
