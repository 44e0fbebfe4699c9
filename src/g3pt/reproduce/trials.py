"""The cost of every row of an experiment: counted, and on request measured on synthetic input."""

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from g3pt.models.devices import resolve_device
from g3pt.reproduce.experiments import Experiment, Variant
from g3pt.training.cost import estimate_cost, open_without_data
from g3pt.training.optim import Optimizer

OnRow = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A row before it is trained."""

    variant: str
    num_runs: int
    """Seeds that the experiment trains it from."""
    steps: int
    batch_size: int
    parameters: int
    flops_per_step: int
    """Counted over shapes alone, for the whole batch."""
    memory_bytes: int
    """Estimated for one slice of the batch."""
    tried_batch_size: int | None = None
    precision: str | None = None
    """Of the steps tried."""
    seconds_per_step: float | None = None
    """Fastest of the steps tried, optimiser included."""
    flops_per_second: float | None = None
    peak_bytes: int | None = None
    """Most memory held: on a GPU by tensors; otherwise by the process until then, so that a row
    after a larger one repeats that one's."""
    loss: float | None = None


def try_experiment(
    experiment: Experiment,
    *,
    num_steps: int = 0,
    batch_size: int = 1,
    device: str = "auto",
    on_row: OnRow | None = None,
) -> list[Trial]:
    """Count what each row costs, and take training steps with it.

    Args:
        experiment: whose rows.
        num_steps: steps on synthetic input; 0 counts only.
        batch_size: shapes in such a step.
        device: where.
        on_row: is told how many rows are done, and of how many.
    """
    trials: list[Trial] = []
    for done, variant in enumerate(experiment.variants, start=1):
        trials.append(_try(variant, num_steps, batch_size, device))
        if on_row is not None:
            on_row(done, len(experiment.variants))
    return trials


def _try(variant: Variant, num_steps: int, batch_size: int, device: str) -> Trial:
    run = variant.run
    cost = estimate_cost(run)
    counted = Trial(
        variant=variant.name,
        num_runs=len(variant.seeds),
        steps=run.train.steps,
        batch_size=run.data.batch_size,
        parameters=cost.parameters,
        flops_per_step=cost.flops_per_step,
        memory_bytes=cost.memory_bytes,
    )
    if not num_steps:
        return counted
    target = resolve_device(device)
    if target.type == "cuda":
        torch.cuda.reset_peak_memory_stats(target)
    task = open_without_data(run)
    task.module.to(target).train()
    optimizer = Optimizer(task.module, run.optim)
    # Most processors have no bfloat16 units and only emulate them.
    precision = "fp32" if target.type == "cpu" else run.train.precision
    seconds: list[float] = []
    loss = float("nan")
    for _ in range(num_steps):
        began = time.perf_counter()
        with torch.autocast(target.type, torch.bfloat16, enabled=precision == "bf16"):
            value = task.synthetic_loss(batch_size, target)
        value.backward()  # pyright: ignore[reportUnknownMemberType]
        optimizer.step(run.optim.lr)
        optimizer.zero_grad()
        loss = float(value.detach())  # waits for the device
        seconds.append(time.perf_counter() - began)
    fastest = min(seconds)
    flops = cost.flops_per_step * batch_size / run.data.batch_size
    return replace(
        counted,
        tried_batch_size=batch_size,
        precision=precision,
        seconds_per_step=fastest,
        flops_per_second=flops / fastest,
        peak_bytes=_peak_bytes(target),
        loss=loss,
    )


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
