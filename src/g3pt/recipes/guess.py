"""Training of the bundled generator's first guess, on recorded examples and one or two CPU cores.

The rest of the generator is kept. A small network is trained on the features of a frozen one, so a
step costs a hundredth of a step of CAR. Most of the cost is making the recordings
(`scripts/record_guess.py`).
"""

from dataclasses import replace

from g3pt.models.car import CarConfig
from g3pt.models.guess import GuessConfig
from g3pt.models.weights.config import WeightsConfig
from g3pt.models.weights.folder import read_config
from g3pt.models.weights.places import find_weights
from g3pt.recipes.pools import Pool, toy_pools
from g3pt.recipes.stream import small_smoke as small_stream_smoke
from g3pt.recipes.stream import watched
from g3pt.stream.fields import QueryCounts
from g3pt.stream.maker import MakerConfig
from g3pt.stream.recorded import RecordedConfig
from g3pt.stream.recording import RecordingConfig, Selection
from g3pt.training.config import TrainConfig
from g3pt.training.kinds.stream import StreamRun, WatchConfig
from g3pt.training.next_scale import CarLossConfig
from g3pt.training.optim import AdamWConfig, ScheduleConfig

GENERATOR = "g3pt-small"
"""Weights of the generator that gets the guess."""


def sources(stock: str) -> tuple[Pool, ...]:
    """The examples: framed pictures of 128 pixels, and tokens.

    There are three recordings with two pictures of every shape, and those of the table `unseen`,
    which have one. No shape is in two recordings, but many warps of a mesh are.

    Args:
        stock: file of the meshes that may be trained on.
    """
    maker = MakerConfig(
        num_points=2048,
        image_size=128,
        num_views=2,
        queries=QueryCounts(num_volume=256, num_near=255),
        seed=1,
    )
    plain = RecordingConfig(
        source="grammar", num_scales=5, features=True, maker=maker, first_seed=100_000_000
    )
    ours = (
        Pool(name="grammar", config=plain, num=10_752),
        Pool(name="families", config=replace(plain, source="families"), num=8192),
        Pool(name="warped", config=replace(plain, source="meshes", stock=stock), num=33_280),
    )
    nums = {"grammar": 16_384, "families": 8192, "real": 1_000_000, "warped": 11_776}
    table = tuple(
        Pool(name=f"table-{pool.name}", config=pool.config, num=nums[pool.name])
        for pool in toy_pools(stock)
        if pool.name in nums
    )
    return ours + table


def small() -> StreamRun:
    """The bundled guess; trains in half an hour on one core, once the examples are recorded.

    Examples made from meshes are optional.
    """
    guess = GuessConfig(place_width=8, width=352, shown=False)
    return StreamRun(
        name="guess-small",
        initial=GENERATOR,
        tokenizer=GENERATOR,
        model=replace(_bundled_car(), guess=guess),
        trained="guess",
        data=RecordedConfig(
            selections=tuple(
                Selection(
                    folder=str(source.folder("cache/guess")),
                    optional=source.config.source == "meshes",
                )
                for source in sources("unused")
            ),
            batch_size=128,
            num_queries=256,
        ),
        watch=watched(num_queries=2048),
        loss=CarLossConfig(
            dropout=0.0,
            single_share=0.0,
            guess_field=1.0,
            guess_field_from=0.7,
            guess_field_share=0.125,
        ),
        optim=AdamWConfig(
            lr=1.5e-3,
            betas=(0.9, 0.95),
            weight_decay=0.05,
            schedule=ScheduleConfig(warmup_steps=50, final_share=0.02),
        ),
        train=TrainConfig(
            steps=4000,
            ema_decay=0.99,
            prefetch=False,
            log_every=50,
            eval_every=500,
            checkpoint_every=1000,
            keep_checkpoints=1,
            keep_best="iou/new",
            device="cpu",
            threads=1,
        ),
    )


def small_smoke() -> StreamRun:
    """`small` in seconds, on shapes that are made while it runs; it learns nothing useful."""
    run, stream = small(), small_stream_smoke()
    guess = GuessConfig(image_size=64, place_width=4, width=32, depth=1, shown=False)
    return replace(
        run,
        name=f"{run.name}-smoke",
        model=replace(run.model, guess=guess),
        data=replace(stream.data, text_share=0.0),
        loss=replace(run.loss, guess_field_from=0.5),
        watch=WatchConfig(),
        train=stream.train,
    )


def _bundled_car() -> CarConfig:
    car = read_config(find_weights(GENERATOR), WeightsConfig).car
    assert car is not None, "the bundled weights hold a generator"
    return car
