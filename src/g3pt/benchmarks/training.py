"""Training steps of two processes beside those of one, on the same global batch.

All are measured in turns in one run, since a machine that is busy with other things slows all. Two
processes that train apart, each by itself, show what the processors allow: two threads of one core
do not give twice the steps, whatever the processes exchange.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch

from g3pt.benchmarks.rows import BenchmarkRow, BenchmarkSettings, OnProgress
from g3pt.recipes import recipe
from g3pt.training.distributed import World
from g3pt.training.engines import build_engine
from g3pt.training.kinds.contract import SyntheticTask
from g3pt.training.optim import Optimizer
from g3pt.training.runs import kind_of
from g3pt.training.task import TaskOutput

SIZE = 2
TO_REACH = 1.7
RECIPE = "car-tiny"


def benchmark_training(settings: BenchmarkSettings, on_progress: OnProgress) -> list[BenchmarkRow]:
    """Samples a second of two processes with DDP, one thread each, and of one, on the CPU."""
    rounds, batch = (1, 4) if settings.quick else (5, 48)
    try:
        found = _measure(rounds, batch, settings.seconds)
        note = f"two that share nothing: {found['apart'] / found['alone']:.2f}x"
    except RuntimeError as error:
        found, note = {}, str(error)
    on_progress("train", 1, 1)
    if settings.quick:
        note += "; quick sizes, not to be published"
    return [
        BenchmarkRow(
            name=f"train/ddp-{SIZE}",
            unit="samples/s",
            ours=found.get("together"),
            other=found.get("alone"),
            floor=None if settings.quick else TO_REACH,
            floor_of="ratio",
            note=note,
            details={"recipe": RECIPE, "batch": batch, "rounds": rounds, **found},
        )
    ]


def _measure(rounds: int, batch: int, limit: float) -> dict[str, Any]:
    """What `time_steps` finds in processes of their own.

    Raises:
        RuntimeError: if one of them fails or takes too long.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        processes = [
            subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    f"from {__name__} import time_steps; "
                    f"time_steps({rank}, {str(Path(folder) / 'store')!r}, {rounds}, {batch})",
                ],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(SIZE)
        ]
        try:
            outputs = [process.communicate(timeout=limit) for process in processes]
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"took longer than {limit:g} seconds") from None
        finally:
            for process in processes:
                process.kill()
    for process, (_, problem) in zip(processes, outputs, strict=True):
        if process.returncode:
            raise RuntimeError(" ".join(problem.split())[-300:])
    return json.loads(outputs[0][0].splitlines()[-1])


class _Placeholder:
    """A stage whose batches are sizes, and whose steps run on placeholder input."""

    def __init__(self, task: SyntheticTask) -> None:
        self.module = task.module
        self._task = task

    def loss(self, batch: int, *, step: int, progress: float) -> TaskOutput:
        """The loss of a placeholder batch of this size."""
        return TaskOutput(self._task.synthetic_loss(batch))


class _Training:
    """Model, engine and optimiser of the recipe."""

    def __init__(self, world: World) -> None:
        run = recipe(RECIPE)
        torch.manual_seed(0)
        task: Any = _Placeholder(kind_of(run).open_without_data(run))
        self._engine = build_engine(task, "auto", world, bfloat16=False)
        self._optimizer = Optimizer(task.module.train(), run.optim)

    def seconds(self, batch: int) -> float:
        """Seconds of a step on so many samples of this process."""
        began = time.perf_counter()
        self._engine.run(batch, step=0, progress=0.99).loss.backward()
        self._optimizer.step(1e-4)
        self._optimizer.zero_grad()
        return time.perf_counter() - began


def time_steps(rank: int, store: str, rounds: int, batch: int) -> None:
    """Train in turns: rank 0 alone while the others sleep, all apart, and all together.

    Rank 0 prints samples a second as JSON.
    """
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo",
        store=torch.distributed.FileStore(store, SIZE),  # pyright: ignore
        rank=rank,
        world_size=SIZE,
    )
    world = World.current()
    alone, together = (_Training(size) for size in (World(), world))
    alone.seconds(2)  # what is done once is done
    together.seconds(2)
    seconds: dict[str, list[float]] = {"alone": [], "apart": [], "together": []}
    for _ in range(rounds):
        if world.speaks:
            seconds["alone"].append(alone.seconds(batch))
        world.meet()
        seconds["apart"].append(alone.seconds(batch // SIZE))
        world.meet()
        seconds["together"].append(together.seconds(batch // SIZE))
        world.meet()
    if world.speaks:
        result = {name: batch / median(each) for name, each in seconds.items()}
        sys.stdout.write(f"{json.dumps(result)}\n")
    world.part_ways()
