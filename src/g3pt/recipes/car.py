"""Runs of stage 2. Each is a function that returns a complete config."""

from dataclasses import replace

from g3pt.models.car import CarConfig
from g3pt.models.conditioning import (
    ClipConditionConfig,
    ConditionConfig,
    DinoConditionConfig,
    ImageConditionConfig,
    TextConditionConfig,
)
from g3pt.models.cvq import CvqConfig
from g3pt.models.sizes import TransformerSize, size_of_depth, size_of_name
from g3pt.models.tokenizers import TokenizerConfig
from g3pt.recipes import tokenizer
from g3pt.shapes.cache.tokens import TokenCacheConfig
from g3pt.shapes.datasets.tokenizer import CarDataConfig
from g3pt.training.config import TrainConfig
from g3pt.training.curriculum import CurriculumConfig
from g3pt.training.ingredients import PreparedShapes
from g3pt.training.kinds.car import CarRun, CarValidationConfig
from g3pt.training.next_scale import CarLossConfig
from g3pt.training.optim import AdamWConfig, MuonConfig, ScheduleConfig


def first() -> CarRun:
    """Pictures to shapes, in minutes on one core (docs/first-experiment.md)."""
    stage1 = tokenizer.first()
    image = ImageConditionConfig(image_size=64, patch_size=16, depth=1, width=96, num_heads=2)
    model = CarConfig(depth=3, width=128, num_heads=2, conditions=(image,), head="bitwise")
    return CarRun(
        name="car-first",
        tokenizer="runs/tokenizer-first",
        model=fitting(model, stage1.model),
        shapes=stage1.shapes,
        held_out=stage1.held_out,
        tokens=TokenCacheConfig(resamplings=2, num_points=stage1.data.num_points),
        data=CarDataConfig(batch_size=32, image_size=64, canonical_share=1.0),
        validation=CarValidationConfig(num_shapes=64),
        loss=CarLossConfig(dropout=0.1, curriculum=CurriculumConfig(progressive_share=0.5)),
        optim=MuonConfig(
            lr=4e-3,
            betas=(0.9, 0.95),
            weight_decay=0.05,
            schedule=ScheduleConfig(warmup_steps=20, final_share=0.02),
        ),
        train=TrainConfig(
            steps=350, threads=1, ema_decay=0.97, eval_every=175, checkpoint_every=175
        ),
    )


def tiny() -> CarRun:
    """Pictures and sentences to shapes; trains in an hour on two cores.

    `meshes` is a folder of meshes with a `manifest.jsonl` (docs/data.md). If there is none, the run
    trains without it.
    """
    conditions = (ImageConditionConfig(image_size=96, depth=2), TextConditionConfig())
    model = CarConfig(
        depth=6,
        width=192,
        num_heads=3,
        conditions=conditions,
        head="bit_softmax",
        bitwise_scales=2,
    )
    return CarRun(
        name="car-tiny",
        tokenizer="runs/tokenizer-tiny",
        model=fitting(model, tokenizer.tiny().model),
        shapes=(tokenizer.procedural_shapes(), tokenizer.mesh_shapes()),
        held_out=(tokenizer.procedural_shapes(held_out=True),),
        tokens=TokenCacheConfig(resamplings=1, num_points=4096),
        data=CarDataConfig(
            selection=tokenizer.OPEN_TRAINING,
            weights=(0.8, 0.2),
            batch_size=48,
            image_size=96,
            canonical_share=0.7,
        ),
        validation=CarValidationConfig(num_shapes=192),
        loss=CarLossConfig(
            weighting="scales",
            image_preference=0.7,
            curriculum=CurriculumConfig(progressive_share=0.7),
        ),
        optim=MuonConfig(
            lr=1.5e-3,
            betas=(0.9, 0.95),
            weight_decay=0.05,
            schedule=ScheduleConfig(warmup_steps=100, final_share=0.02),
        ),
        train=TrainConfig(steps=20_000, eval_every=1000, checkpoint_every=500),
    )


def small() -> CarRun:
    """The generator on the tokens of `tokenizer-small`; trains in minutes on one GPU.

    It is trained on more shapes than its tokenizer, because with 20,480 of them it overfits within
    five minutes.
    """
    conditions = (
        ImageConditionConfig(image_size=96, patch_size=16, depth=4, width=256, num_heads=4),
        TextConditionConfig(),
    )
    model = CarConfig(
        depth=8,
        width=384,
        num_heads=6,
        conditions=conditions,
        head="bit_softmax",
        bitwise_scales=1,
    )
    first = tiny()
    return replace(
        first,
        name="car-small",
        tokenizer="runs/tokenizer-small",
        model=fitting(model, tokenizer.small().model),
        shapes=(*_pictured_shapes(), tokenizer.mesh_shapes()),
        tokens=TokenCacheConfig(resamplings=1, num_points=4096, batch_size=256),
        data=replace(
            first.data,
            weights=(0.48, 0.32, 0.2),
            batch_size=256,
            canonical_share=0.4,
            in_memory=True,
        ),
        optim=MuonConfig(
            lr=2e-3,
            betas=(0.9, 0.95),
            weight_decay=0.05,
            schedule=ScheduleConfig(warmup_steps=100, final_share=0.02),
        ),
        train=TrainConfig(
            steps=0,
            minutes=8.5,
            precision="bf16",
            log_every=50,
            eval_every=1500,
            checkpoint_every=1000,
            keep_checkpoints=1,
        ),
    )


def _pictured_shapes() -> tuple[PreparedShapes, PreparedShapes]:
    """Shapes with only the canonical picture, and others with one more; both with few queries."""
    shapes = tokenizer.small_shapes()
    prepare = replace(shapes.prepare, num_volume_queries=64, num_near_queries=192)
    one, two = (
        replace(
            shapes,
            path=f"cache/procedural-pictured-{name}",
            source=replace(shapes.source, num=num, first_seed=first_seed),
            prepare=prepare,
            views=replace(shapes.views, num_views=num_views),
        )
        for name, num, first_seed, num_views in (
            ("one", 49_152, 1_000_000, 0),
            ("two", 32_768, 501_000_000, 1),
        )
    )
    return one, two


def paper() -> CarRun:
    """The paper's 0.1B model: 12 layers, width 768, pictures by DINOv2 (Sec. 3.4, 4.1)."""
    return _paper("car-paper", size_of_depth(12), DinoConditionConfig())


def paper_large() -> CarRun:
    """The paper's 0.5B model: 24 layers, width 1280."""
    return _paper("car-paper-l", size_of_depth(24), DinoConditionConfig())


def paper_xl() -> CarRun:
    """The paper's 1.5B model: 48 layers, width 1600."""
    return _paper("car-paper-xl", size_of_depth(48), DinoConditionConfig())


def paper_text() -> CarRun:
    """The paper's 0.1B model for sentences, by CLIP (Sec. 3.4)."""
    return _paper("car-paper-text", size_of_depth(12), ClipConditionConfig())


def of_size(name: str) -> CarRun:
    """The paper's training at a size of the ladder, `car-0.8M` to `car-1.5B`.

    Pictures are read by a built-in encoder, which needs no pretrained weights. Below 0.1B it
    shrinks with the model; above, it keeps its size at 0.1B.

    Raises:
        ValueError: if there is no size of that name.
    """
    size = size_of_name(name)
    small = min(size, size_of_depth(12), key=lambda one: one.depth)
    image = ImageConditionConfig(
        image_size=224, depth=small.depth, width=small.width, num_heads=small.num_heads
    )
    return _paper(f"car-{name}", size, image)


def _paper(name: str, size: TransformerSize, condition: ConditionConfig) -> CarRun:
    stage1 = tokenizer.paper()
    return CarRun(
        name=name,
        tokenizer="runs/tokenizer-paper",
        model=fitting(
            CarConfig(
                depth=size.depth,
                width=size.width,
                num_heads=size.num_heads,
                conditions=(condition,),
                head="softmax",
            ),
            stage1.model,
        ),
        shapes=stage1.shapes,
        held_out=stage1.held_out,
        tokens=TokenCacheConfig(num_points=stage1.data.num_points),
        data=CarDataConfig(batch_size=1600, image_size=224, canonical_share=0.1),
        loss=CarLossConfig(curriculum=CurriculumConfig(progressive_share=0.5)),
        optim=AdamWConfig(
            lr=1e-5,
            betas=(0.9, 0.95),
            weight_decay=0.05,
            schedule=ScheduleConfig(warmup_steps=2000),
        ),
        train=TrainConfig(steps=200_000, precision="bf16", accumulation=32, log_every=100),
    )


def fitting(model: CarConfig, stage1: TokenizerConfig) -> CarConfig:
    """The same generator, adapted to the tokens of another tokenizer."""
    assert isinstance(stage1, CvqConfig)
    return replace(
        model,
        scale_lengths=stage1.cqt.scale_lengths,
        num_bits=stage1.quantizer.num_bits,
        input_dim=stage1.dim,
    )


def first_smoke() -> CarRun:
    """`first` in seconds, on the tokens of `tokenizer-first-smoke`."""
    return _smoke(first(), "runs/tokenizer-first-smoke")


def tiny_smoke() -> CarRun:
    """`tiny` in seconds, on the tokens of `tokenizer-tiny-smoke`."""
    return _smoke(tiny(), "runs/tokenizer-tiny-smoke")


def small_smoke() -> CarRun:
    """`small` in seconds, on the tokens of `tokenizer-small-smoke`."""
    return _smoke(small(), "runs/tokenizer-small-smoke")


def paper_smoke() -> CarRun:
    """`paper` in seconds, on the tokens of `tokenizer-paper-smoke`."""
    return _smoke(paper(), "runs/tokenizer-paper-smoke")


def paper_text_smoke() -> CarRun:
    """`paper_text` in seconds."""
    return _smoke(paper_text(), "runs/tokenizer-paper-smoke")


def paper_large_smoke() -> CarRun:
    """`paper_large` in seconds."""
    return _smoke(paper_large(), "runs/tokenizer-paper-smoke")


def paper_xl_smoke() -> CarRun:
    """`paper_xl` in seconds."""
    return _smoke(paper_xl(), "runs/tokenizer-paper-smoke")


def _smoke(run: CarRun, stage1: str) -> CarRun:
    model = replace(
        run.model,
        depth=2,
        width=32,
        num_heads=2,
        conditions=tuple(
            ImageConditionConfig(image_size=32, patch_size=8, depth=1, width=32, num_heads=2)
            if condition.slot == "image"
            else TextConditionConfig(depth=1, width=32, num_heads=2)
            for condition in run.model.conditions
        ),
    )
    return replace(
        run,
        name=f"{run.name}-smoke",
        tokenizer=stage1,
        model=fitting(model, tokenizer.tiny_smoke().model),
        shapes=(tokenizer.smoke_shapes(),),
        held_out=(tokenizer.smoke_shapes(held_out=True),),
        tokens=TokenCacheConfig(resamplings=2, num_points=64, batch_size=8),
        data=replace(run.data, weights=(), batch_size=4, image_size=32),
        validation=CarValidationConfig(num_shapes=4, batch_size=4),
        loss=replace(run.loss, flip_share=0.5),
        train=tokenizer.smoke_train(run.train),
    )
