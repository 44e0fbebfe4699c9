"""How long a run will take on this machine, before it begins.

Where a step is short, steps on placeholder shapes are timed. Elsewhere its operations are divided
by the rate that training reaches: a share of the rate of a matrix product, which is measured.
Evaluations, checkpoints and the building of batches are not counted.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from g3pt.models.devices import resolve_device
from g3pt.models.speed import gemm_rate, gemm_size, median_seconds
from g3pt.preparation.estimate import estimate_work
from g3pt.preparation.sources import ProceduralSourceConfig
from g3pt.training.cost import RunCost, open_without_data
from g3pt.training.ingredients import PreparedShapes
from g3pt.training.kinds.car import CarRun
from g3pt.training.kinds.stream import StreamRun
from g3pt.training.optim import Ema, Optimizer
from g3pt.training.recomputation import recompute_blocks
from g3pt.training.runs import Run
from g3pt.work.engines import InlineEngine

REACHED_SHARE = {"cuda": 0.3, "cpu": 0.5, "mps": 0.3}
"""Share of the rate of a matrix product that a training step reaches, by device: of large models
(docs/performance.md). Small ones reach less, and are timed."""

TIMED_SECONDS = 0.3
"""A timed call has as many shapes as are expected to take so long, at least one."""

LONGEST_SECONDS = 4.0
"""If one shape is expected to take longer, nothing is timed."""

NUM_PREPARED = 8
"""Shapes that are prepared to find out how long all of them take."""


@dataclass(frozen=True, kw_only=True)
class RunTime:
    """Expected duration of the steps of a run."""

    seconds: float
    steps: int
    """All steps of the run; if the clock ends it, those that it will do until then."""
    seconds_per_step: float
    """Mean over the run: where scales are trained one after the other, early steps are shorter."""
    is_timed: bool
    """Whether it comes from timed steps, not from the rate of a matrix product."""
    by_clock: bool
    """Whether the clock ends the run: then only `steps` is uncertain."""


def run_time(run: Run, cost: RunCost) -> RunTime:
    """Estimate how long the steps of a run take here.

    It takes a few seconds. The caller's random state and number of threads are unchanged.

    Args:
        run: the run as a whole, also where a part of it is done already.
        cost: what `estimate_cost` returned for it.

    Raises:
        ValueError: if this machine does not have the device of the run.
    """
    device = resolve_device(run.train.device)
    with _as_the_run(run, device):
        expected = cost.flops_per_step / _reached_rate(run, device)
        timed = _timed_step(run, expected / run.data.batch_size, device)
    each = expected if timed is None else timed
    each *= _mean_share(run)
    limit = 60 * run.train.minutes
    whole = run.train.steps * each
    by_clock = bool(limit) and (not whole or limit < whole)
    return RunTime(
        seconds=limit if by_clock else whole,
        steps=max(1, round(limit / each)) if by_clock else run.train.steps,
        seconds_per_step=each,
        is_timed=timed is not None,
        by_clock=by_clock,
    )


def preparation_seconds(shapes: PreparedShapes, *, workers: int) -> float | None:
    """Estimate how long it takes to prepare procedural shapes, by preparing a few of them.

    Args:
        shapes: a set that does not exist yet.
        workers: processes that will prepare it.

    Returns:
        None if its shapes come from elsewhere: `g3pt prepare --estimate` is for those.
    """
    if not isinstance(shapes.source, ProceduralSourceConfig):
        return None
    found = estimate_work(shapes.config, InlineEngine(), num_samples=NUM_PREPARED, workers=workers)
    return found.seconds.value


@contextmanager
def _as_the_run(run: Run, device: torch.device) -> Iterator[None]:
    """The threads of a run; they are put back, and so is the random state."""
    threads = torch.get_num_threads()
    if run.train.threads:
        torch.set_num_threads(run.train.threads)
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        torch.set_num_threads(threads)


def _mean_share(run: Run) -> float:
    """Tokens that the loss is taken over, mean over the run, as a share of all tokens."""
    if not isinstance(run, CarRun | StreamRun):
        return 1.0
    lengths = run.model.scale_lengths
    return run.loss.curriculum.mean_tokens(lengths) / sum(lengths)


def _reached_rate(run: Run, device: torch.device) -> float:
    """Operations per second that a step of a large model reaches."""
    dtype = torch.bfloat16 if run.train.precision == "bf16" else torch.float32
    # Processors without instructions for bfloat16 need minutes for a larger product.
    small = device.type == "cpu" and dtype == torch.bfloat16
    size = gemm_size(device, dtype, quick=small)
    return REACHED_SHARE[device.type] * gemm_rate(device, dtype, size)


def _timed_step(run: Run, expected: float, device: torch.device) -> float | None:
    """Seconds of a step, by a step on fewer shapes; None if that would take too long.

    Args:
        run: whose step it is.
        expected: seconds of one shape.
        device: where it runs.
    """
    if expected > LONGEST_SECONDS:
        return None
    batch_size = run.data.batch_size
    num = min(max(int(TIMED_SECONDS / expected), 1), batch_size // run.train.pieces(1))
    try:
        task = open_without_data(run)
        module = task.module.to(device).train()
        if run.train.recompute_blocks:
            recompute_blocks(module)
        optimizer, ema = Optimizer(module, run.optim), Ema(module, run.train.ema_decay)

        halved = run.train.precision == "bf16"

        def learn() -> None:
            with torch.autocast(device.type, torch.bfloat16, enabled=halved):
                loss = task.synthetic_loss(num, device)
            loss.backward()

        def change() -> None:
            optimizer.step(run.optim.lr)
            ema.update(0)

        learning = median_seconds(learn, device, repeats=3, budget=3.0)
        changing = median_seconds(change, device, repeats=2, budget=1.0)
    except torch.OutOfMemoryError:
        return None
    return learning * batch_size / num + changing
