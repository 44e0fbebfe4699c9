"""How many shapes one loader process gives, beside what a GPU of the paper's training can take.

A loader serves one process of 136, which takes its share of each global batch. Shards and tokens
are read from the memory of the machine, as they are after the first epoch; tokens are random.
"""

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from g3pt.benchmarks.rows import BenchmarkRow, BenchmarkSettings, OnProgress
from g3pt.preparation.build import ShardsConfig, build_shards
from g3pt.preparation.sources import ProceduralSourceConfig
from g3pt.recipes import recipe
from g3pt.shapes.cache.tokens import TokenCacheConfig, TokenizerIdentity, build_token_cache
from g3pt.shapes.datasets.tokenizer import CarDataset
from g3pt.shapes.shards import ShardSet
from g3pt.shapes.stored import PrepareConfig, ViewsConfig
from g3pt.training.cost import flops_by_formula
from g3pt.training.kinds.car import CarRun

RECIPE = "car-1.5B"
PROCESSES = 136
BATCH = 1632
"""The multiple of 136 next to the paper's 1,600."""
GPU_FLOPS = 989e12
"""Dense bfloat16 operations a second that an H100 or H200 is sold with; no training reaches it."""


def benchmark_loader(settings: BenchmarkSettings, on_progress: OnProgress) -> list[BenchmarkRow]:
    """Shapes a second of one process with the paper's batch, pictures decoded."""
    run = recipe(RECIPE)
    assert isinstance(run, CarRun)
    operations = flops_by_formula(run)
    num, steps = (2, 2) if settings.quick else (32, 200)
    with tempfile.TemporaryDirectory() as folder:
        shards = _prepare(Path(folder) / "shards", num, run, settings, on_progress)
        tokens = _tokens(Path(folder) / "tokens", shards, run)
        data = replace(
            run.data,
            shards=(str(shards.path),),
            tokens=(str(tokens),),
            selection=shards.selection,
            batch_size=BATCH,
        )
        dataset = CarDataset(data, rank=PROCESSES // 2, world_size=PROCESSES)
        dataset.batch(0)
        began = time.perf_counter()
        for step in range(1, 1 + steps):
            dataset.batch(step)
        seconds = (time.perf_counter() - began) / steps
    share = BATCH // PROCESSES
    needed = GPU_FLOPS / operations
    return [
        BenchmarkRow(
            name="loader/pictures",
            unit="shapes/s",
            ours=share / seconds,
            floor=None if settings.quick else needed,
            note="quick sizes, not to be published" if settings.quick else "",
            details={
                "recipe": RECIPE,
                "processes": PROCESSES,
                "batch": BATCH,
                "share": share,
                "seconds_per_batch": seconds,
                "operations_per_shape": operations,
                "needed": needed,
                "steps": steps,
            },
        )
    ]


def _prepare(
    folder: Path, num: int, run: CarRun, settings: BenchmarkSettings, on_progress: OnProgress
) -> ShardSet:
    """Shards with pictures of the usual size; queries, which CAR does not read, are few."""
    small = PrepareConfig(
        num_points=256, num_volume_queries=48, num_near_queries=48, solid_resolution=32
    )
    config = ShardsConfig(
        source=ProceduralSourceConfig(num=num),
        prepare=replace(small, seed=settings.seed),
        views=ViewsConfig(num_views=2, seed=settings.seed),
    )
    build_shards(
        config,
        folder,
        on_progress=lambda state: on_progress("loader", state.done, state.total),
    )
    return ShardSet(folder, run.data.selection)


def _tokens(folder: Path, shards: ShardSet, run: CarRun) -> Path:
    """Random tokens in the layout of the recipe."""
    model = run.model
    identity = TokenizerIdentity(
        fingerprint="random", scale_lengths=model.scale_lengths, num_bits=model.num_bits
    )
    num_tokens = sum(model.scale_lengths)

    def tokenize(points_BN3: torch.Tensor, normals_BN3: torch.Tensor) -> torch.Tensor:
        return torch.randint(2**model.num_bits, (len(points_BN3), num_tokens))

    config = TokenCacheConfig(resamplings=1, num_points=64)
    return build_token_cache(tokenize, identity, shards, folder, config).path
