"""Training steps of both stages: the share that they reach of what the device can do.

A step is forward, backward, clipping and optimiser, on synthetic input. What gradient
checkpointing computes twice counts once.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch

from g3pt.benchmarks.device import (
    Probe,
    autocast,
    device_name,
    peak_bytes,
    probe,
    release,
    reset_peak,
    row_that_fits,
    working_dtype,
)
from g3pt.benchmarks.rows import BenchmarkRow, BenchmarkSettings, OnProgress
from g3pt.models.car import Car
from g3pt.models.cvq import CvqConfig, CvqTokenizer
from g3pt.models.devices import resolve_device
from g3pt.models.speed import median_seconds
from g3pt.models.tokenizers import build_tokenizer
from g3pt.recipes import car, recipe, tokenizer
from g3pt.training.cost import flops_by_formula
from g3pt.training.kinds.car import CarRun, CarTask
from g3pt.training.kinds.tokenizer import TokenizerRun, TokenizerTask
from g3pt.training.optim import Optimizer
from g3pt.training.recomputation import recompute_blocks
from g3pt.training.runs import Run

SHARE_TO_REACH = 0.5

UNIT = "TFLOP/s"


def default_sizes(settings: BenchmarkSettings, device: torch.device) -> tuple[str, ...]:
    """The sizes asked for, or those of the paper on a GPU and a small one elsewhere."""
    if settings.sizes:
        return settings.sizes
    if settings.quick:
        return ("0.8M",)
    return ("0.1B", "0.5B", "1.5B") if device.type == "cuda" else ("6M",)


def benchmark_car_step(settings: BenchmarkSettings, on_progress: OnProgress) -> list[BenchmarkRow]:
    """A step of CAR at some sizes, with everything kept and with blocks computed again."""
    device = resolve_device(settings.device)
    sizes = default_sizes(settings, device)
    runs = {name: car.of_size(name) for name in sizes}
    reached = probe(device, working_dtype(device), quick=settings.quick)
    rows: list[BenchmarkRow] = []
    plans = [(name, again) for name in sizes for again in (False, True)]
    for done, (name, again) in enumerate(plans, start=1):
        run = runs[name]
        run = replace(run, train=replace(run.train, recompute_blocks=again))
        title = f"car-step/{name}" + ("/recompute" if again else "")
        batches = _halved(_car_batch(run, device, again=again))
        measure = partial(_measure, title, run, device, reached, settings.quick)
        rows.append(row_that_fits(title, UNIT, measure, batches))
        release()
        on_progress("car-step", done, len(plans))
    return rows


def benchmark_tokenizer_step(
    settings: BenchmarkSettings, on_progress: OnProgress
) -> list[BenchmarkRow]:
    """A step of `tokenizer-tiny` and, on a GPU, of the paper's tokenizer."""
    device = resolve_device(settings.device)
    plans = [("tokenizer-tiny", 256 if device.type == "cuda" else 4)]
    if device.type == "cuda" and not settings.quick:
        plans.append(("tokenizer-paper", 8))
    reached = probe(device, working_dtype(device), quick=settings.quick)
    rows: list[BenchmarkRow] = []
    for done, (name, batch_size) in enumerate(plans, start=1):
        title = f"tokenizer-step/{name.removeprefix('tokenizer-')}"
        measure = partial(_measure, title, recipe(name), device, reached, settings.quick)
        rows.append(row_that_fits(title, UNIT, measure, _halved(batch_size)))
        release()
        on_progress("tokenizer-step", done, len(plans))
    return rows


def _car_batch(run: CarRun, device: torch.device, *, again: bool) -> int:
    """Shapes that fill a large GPU without filling its memory."""
    if device.type != "cuda":
        return 1
    if again:
        return 16
    return 16 if run.model.depth <= 12 else 8 if run.model.depth <= 24 else 2


def _halved(batch_size: int) -> Sequence[int]:
    """The batch size, its half, and so on, down to one."""
    return [batch_size >> step for step in range(batch_size.bit_length())]


def _measure(
    title: str, run: Run, device: torch.device, reached: Probe, quick: bool, batch_size: int
) -> BenchmarkRow:
    task = _task_on(run, device)
    module = task.module.train()
    if run.train.recompute_blocks:
        recompute_blocks(module)
    optimizer = Optimizer(module, run.optim)
    dtype = working_dtype(device)

    def step() -> None:
        with autocast(device, dtype):
            loss = task.synthetic_loss(batch_size, device)
        loss.backward()  # pyright: ignore[reportUnknownMemberType]
        torch.nn.utils.clip_grad_norm_(optimizer.parameters, run.optim.clip_norm)
        optimizer.step(run.optim.lr)
        optimizer.zero_grad()

    reset_peak(device)
    seconds = median_seconds(
        step, device, repeats=1 if quick else 5, warmup=1 if quick else 2, budget=20.0
    )
    flops = flops_by_formula(run, batch_size)
    return BenchmarkRow(
        name=title,
        unit=UNIT,
        ours=flops / seconds / 1e12,
        other=reached.flops_per_second / 1e12,
        floor=None if quick else SHARE_TO_REACH,
        floor_of="ratio",
        note="quick sizes, not to be published" if quick else "other: a matrix product, same run",
        details={
            "device": device_name(device),
            "dtype": str(dtype).removeprefix("torch."),
            "parameters": sum(p.numel() for p in module.parameters()),
            "batch_size": batch_size,
            "seconds_per_step": seconds,
            "shapes_per_second": batch_size / seconds,
            "flops_per_step": flops,
            "peak_bytes": peak_bytes(device),
        },
    )


def _task_on(run: Run, device: torch.device) -> CarTask | TokenizerTask:
    """The task of a run with fresh weights, drawn on the device where they are many."""
    if isinstance(run, TokenizerRun):
        module = build_tokenizer(run.model).to(device)
        return TokenizerTask(module, run.data, run.loss, run.validation)
    assert isinstance(run, CarRun), "only the stages are measured"
    with device:
        module = Car(run.model)
    return CarTask(module, resampling_alone().to(device), run.data, run.loss, run.validation)


def resampling_alone() -> CvqTokenizer:
    """The paper's tokenizer without the layers of encoder and decoder: enough to feed CAR."""
    config = tokenizer.paper().model
    assert isinstance(config, CvqConfig)
    return CvqTokenizer(replace(config, encoder_layers=0, decoder_layers=0)).eval()
