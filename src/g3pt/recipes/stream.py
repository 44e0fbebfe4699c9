"""Runs of generators whose shapes are made during training.

Each is a function that returns a complete config.
"""

from dataclasses import replace

from g3pt.models.car import CarConfig
from g3pt.models.conditioning import PretrainedImageConditionConfig, TextConditionConfig
from g3pt.models.guess import GuessConfig
from g3pt.recipes import tokenizer
from g3pt.recipes.car import fitting
from g3pt.shapes.yardstick import YARDSTICKS, yardstick_path
from g3pt.stream.dataset import StreamConfig
from g3pt.stream.fields import QueryCounts
from g3pt.training.config import TrainConfig
from g3pt.training.kinds.stream import StreamRun, WatchConfig
from g3pt.training.next_scale import CarLossConfig
from g3pt.training.optim import MuonConfig, ScheduleConfig

SCALE_WEIGHTS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Loss weights of the scales: the square root of the number of tokens of each."""
SOFT_TARGETS = (0.019, 0.043, 0.072, 0.105, 0.136)
"""Temperatures at which bits of 8,192 points differ between two draws, between those of 4,096 and
16,384 points (docs/results/2026-11-28-soft-stable.md)."""


def small() -> StreamRun:
    """The generator of the bundled weights; trains in nine minutes on one GPU.

    The stock of meshes and the yardsticks are made beforehand (docs/training.md). Stock and real
    models are optional.
    """
    image = PretrainedImageConditionConfig(depth=6, width=320, num_heads=5, pool=2)
    text = TextConditionConfig(depth=2, width=192, num_heads=3, words="distilled")
    return StreamRun(
        name="car-stream-small",
        tokenizer="g3pt-small",
        model=fitting(
            CarConfig(
                depth=6,
                width=256,
                num_heads=4,
                conditions=(image, text),
                head="bit_softmax",
                bitwise_scales=1,
                guess=GuessConfig(),
            ),
            tokenizer.small().model,
        ),
        data=StreamConfig(
            stock="cache/meshes-train.safetensors",
            stock_is_optional=True,
            queries=QueryCounts(num_volume=768, num_near=384),
        ),
        watch=watched(),
        loss=CarLossConfig(
            dropout=0.1,
            single_share=0.0,
            scale_weights=SCALE_WEIGHTS,
            soft_targets=SOFT_TARGETS,
        ),
        optim=MuonConfig(
            lr=2e-3,
            betas=(0.9, 0.95),
            weight_decay=0.05,
            schedule=ScheduleConfig(warmup_steps=100, final_share=0.02),
        ),
        train=TrainConfig(
            steps=0,
            minutes=9.0,
            precision="bf16",
            prefetch=False,
            log_every=25,
            eval_every=500,
            checkpoint_every=100_000,
            keep_checkpoints=1,
            keep_best="iou/new",
        ),
    )


def watched(num_queries: int = 0) -> WatchConfig:
    """Evaluation during training, by the yardsticks in `cache/yardsticks`.

    The yardstick of real models is optional.

    Args:
        num_queries: labelled points at which fields are queried; 0 takes all.
    """
    known, unseen, real = (str(yardstick_path("cache/yardsticks", name)) for name in YARDSTICKS)
    return WatchConfig(yardsticks=(known, unseen), optional=(real,), num_queries=num_queries)


def small_smoke() -> StreamRun:
    """`small` in seconds, without stock and yardsticks; it learns nothing useful."""
    run = small()
    image, text = run.model.conditions
    assert isinstance(image, PretrainedImageConditionConfig)
    assert isinstance(text, TextConditionConfig)
    return replace(
        run,
        name=f"{run.name}-smoke",
        model=replace(
            run.model,
            depth=1,
            width=32,
            num_heads=2,
            conditions=(
                replace(image, image_size=64, depth=1, width=32, num_heads=2),
                replace(text, depth=1, width=32, num_heads=2),
            ),
            guess=GuessConfig(image_size=64, place_width=4, width=32, depth=1),
        ),
        data=replace(
            run.data,
            batch_size=4,
            held=8,
            first=4,
            made_per_step=1,
            grammar=2,
            families=2,
            meshes=0,
            stock="",
            num_points=256,
            image_size=64,
            queries=QueryCounts(num_volume=64, num_near=48),
            workers=0,
        ),
        watch=WatchConfig(),
        train=replace(
            run.train,
            steps=4,
            minutes=0.0,
            precision="fp32",
            log_every=1,
            eval_every=0,
            checkpoint_every=2,
            keep_best="",
            device="cpu",
            threads=1,
        ),
    )
