"""Measure on one GPU what makes training and generation faster, each change alone and all together.

    python scripts/gpu_speed.py --out OUT

Needs no data and no network, and ends by itself in under six minutes; what no longer fits in
`--seconds` is left out and named. OUT gets `speed.json`, written anew after every row, and
`speed.txt`, a table that is printed as well. Weights are random, except those of the decoder in the
extraction. What stands for "before" is made again from the code of today: docs/performance.md.
"""

import argparse
import json
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is loaded

import torch
import torch.nn.functional as F

from g3pt.benchmarks.device import (
    Probe,
    autocast,
    device_name,
    is_out_of_memory,
    peak_bytes,
    probe,
    release,
    reset_peak,
    working_dtype,
)
from g3pt.benchmarks.generation import GUIDANCE, random_generator, random_pictures
from g3pt.benchmarks.rows import BenchmarkRow, BenchmarkSettings
from g3pt.benchmarks.steps import resampling_alone
from g3pt.cli.bench import as_lines
from g3pt.generation.sampler import SampledTokens, generate_tokens
from g3pt.generation.scale_steps import RecordedScales
from g3pt.models import heads
from g3pt.models.car import Car
from g3pt.models.devices import resolve_device
from g3pt.models.sampling import UNCHANGED
from g3pt.models.speed import median_seconds
from g3pt.recipes import car, recipe
from g3pt.training import compilation, next_scale
from g3pt.training.compilation import compile_blocks, missing_compiler
from g3pt.training.config import TrainConfig
from g3pt.training.cost import flops_by_formula
from g3pt.training.kinds.car import CarRun, CarTask
from g3pt.training.kinds.generator import cqt_alone
from g3pt.training.optim import Ema, Optimizer
from g3pt.training.recomputation import recompute_blocks

CHANGES = ("compile", "pieces", "querying", "late")
"""Compiled blocks; cross-entropy in pieces; querying in low precision; numbers looked at late."""
VARIANTS = {
    "before": (),
    "all": CHANGES,
    **{name: (name,) for name in CHANGES},
    "all, blocks computed again": (*CHANGES, "recompute"),
}
BATCHES = {"0.1B": 16, "0.5B": 8, "1.5B": 2}
"""Shapes of a step that an H200 holds, as in docs/results/bench-h200.json."""
MORE = {"0.1B": 16, "0.5B": 16, "1.5B": 16}
"""The same with blocks computed again."""


@dataclass
class Job:
    """What all measurements share, and the rows so far."""

    out: Path
    device: torch.device
    reached: Probe
    ends: float
    """Time of a steady clock after which nothing new is begun."""
    toy: bool
    rows: list[BenchmarkRow] = field(default_factory=list[BenchmarkRow])

    def measure(self, name: str, unit: str, make: Callable[[], BenchmarkRow]) -> None:
        """Add a row; whatever goes wrong costs this row alone."""
        if time.monotonic() > self.ends:
            row = BenchmarkRow(name=name, unit=unit, note="left out: no time")
        else:
            try:
                row = make()
            except Exception as error:
                kind = "out of memory" if is_out_of_memory(error) else type(error).__name__
                row = BenchmarkRow(name=name, unit=unit, note=f"{kind}: {error}"[:300])
        release()
        self.rows.append(row)
        content = {"device": device_name(self.device), "rows": [r.as_json() for r in self.rows]}
        (self.out / "speed.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
        print("\n".join(as_lines([row])[1:]), flush=True)


def main() -> None:
    """Measure in the order of what matters most, and print the table."""
    arguments = parse()
    device = resolve_device(arguments.device)
    arguments.out.mkdir(parents=True, exist_ok=True)
    ends = time.monotonic() + arguments.seconds
    toy = arguments.sizes == ["toy"]
    reached = probe(device, working_dtype(device), quick=toy)
    job = Job(arguments.out, device, reached, ends, toy)
    for size in arguments.sizes:
        measure_generation(job, size)
    for name in ("before", "all"):
        for size in arguments.sizes:
            measure_step(job, size, name, arguments.backend)
    measure_extraction(job)
    for name in VARIANTS:
        for size in arguments.sizes:
            if name not in ("before", "all"):
                measure_step(job, size, name, arguments.backend)
    lines = as_lines(job.rows)
    (job.out / "speed.txt").write_text("\n".join([*lines, ""]), encoding="utf-8")
    print("\n".join(lines), flush=True)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--sizes", nargs="+", default=list(BATCHES), help="or toy, on any machine")
    parser.add_argument("--seconds", type=float, default=300.0, help="nothing is begun after them")
    parser.add_argument("--backend", default="inductor", help="of torch.compile")
    return parser.parse_args()


def run_of(size: str) -> CarRun:
    """The training of the paper at a size, or one for a rehearsal."""
    if size != "toy":
        return car.of_size(size)
    run = recipe("car-paper-smoke")
    assert isinstance(run, CarRun)
    return replace(run, loss=replace(run.loss, flip_share=0.0))


def stage_1(run: CarRun, job: Job):
    """A frozen tokenizer of the right layout."""
    made = cqt_alone(run.model) if job.toy else resampling_alone()
    return made.to(job.device).eval().requires_grad_(False)


# -- training ---------------------------------------------------------------------------------


def whole_cross_entropy(logits_NV, targets_N):
    """What `heads.cross_entropy` was on a GPU: all logits in float32."""
    return F.cross_entropy(logits_NV.float(), targets_N, reduction="none")


@contextmanager
def without(changes: tuple[str, ...], device: torch.device, backend: str) -> Iterator[None]:
    """Undo the changes that are not asked for."""
    with ExitStack() as stack:
        stack.enter_context(patch.object(compilation, "_BACKEND", backend))
        if "pieces" not in changes:
            stack.enter_context(patch.object(heads, "cross_entropy", whole_cross_entropy))
        rounded = {device.type} if "querying" in changes else set[str]()
        stack.enter_context(patch.object(next_scale, "_ROUNDED_QUERYING", rounded))
        yield


def measure_step(job: Job, size: str, name: str, backend: str) -> None:
    """Steps as the loop makes them, a log interval at a time."""
    title, changes = f"step/{size}/{name}", VARIANTS[name]
    again = "recompute" in changes
    batch_size = (MORE if again else BATCHES).get(size, 2)

    def make() -> BenchmarkRow:
        if "compile" in changes and (missing := missing_compiler(job.device.type)):
            return BenchmarkRow(name=title, unit="TFLOP/s", note=missing)
        with without(changes, job.device, backend):
            return _step_row(job, title, size, batch_size, changes)

    job.measure(title, "TFLOP/s", make)
    torch.compiler.reset()


def _step_row(
    job: Job, title: str, size: str, batch_size: int, changes: tuple[str, ...]
) -> BenchmarkRow:
    run, device = run_of(size), job.device
    with device:
        module = Car(run.model)
    task = CarTask(module, stage_1(run, job), run.data, run.loss, run.validation)
    module.train()
    if "compile" in changes:
        compile_blocks(module, device)
    if "recompute" in changes:
        recompute_blocks(module)
    optimizer, ema = Optimizer(module, run.optim), Ema(module, run.train.ema_decay)
    every = TrainConfig().check_every if "late" in changes else 1
    num_steps = 2 if job.toy else 8 if size == "0.1B" else 4
    unread: list[torch.Tensor] = []

    def step() -> None:
        with autocast(device, working_dtype(device)):
            loss = task.synthetic_loss(batch_size, device)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(optimizer.parameters, run.optim.clip_norm)
        numbers = torch.stack([loss.detach().float(), norm.float()])
        sound = None
        if every == 1:
            numbers.tolist()
        else:
            sound = torch.isfinite(numbers).all()
            unread.append(numbers)
        optimizer.step(run.optim.lr, sound=sound)
        ema.update(0, sound=sound)
        optimizer.zero_grad()

    def steps() -> None:
        for _ in range(num_steps):
            step()
            if len(unread) == every:
                torch.stack(unread).tolist()
                unread.clear()

    reset_peak(device)
    began = time.perf_counter()
    step()
    first = time.perf_counter() - began
    seconds = median_seconds(steps, device, repeats=3, warmup=1, budget=12.0) / num_steps
    unread.clear()
    flops = flops_by_formula(run, batch_size)
    return BenchmarkRow(
        name=title,
        unit="TFLOP/s",
        ours=flops / seconds / 1e12,
        other=job.reached.flops_per_second / 1e12,
        note="toy" if job.toy else "other: a matrix product, same run",
        details={
            "changes": list(changes),
            "batch_size": batch_size,
            "steps_per_second": 1 / seconds,
            "shapes_per_second": batch_size / seconds,
            "seconds_of_first_step": first,
            "waits_of_the_host": _waits(step, device),
            "peak_bytes": peak_bytes(device),
        },
    )


def _waits(step: Callable[[], None], device: torch.device) -> int | None:
    """How often the host waits for the GPU in a step; None where it never does."""
    if device.type != "cuda":
        return None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(each.message) for each in caught)


# -- generation -------------------------------------------------------------------------------


def measure_generation(job: Job, size: str) -> None:
    """All tokens of one guided shape: without cache, with each cache, and as graphs."""
    run, device = run_of(size), job.device
    made: dict[str, Any] = {}

    def models() -> dict[str, Any]:
        if not made:
            made["tokenizer"] = stage_1(run, job)
            made["car"] = random_generator(run.model, device, working_dtype(device))
            made["condition"] = random_pictures(run.model, 1, device)
        return made

    seconds: dict[str, float] = {}
    for name in ("none", "growing", "static", "graphs"):
        row = partial(_generation_row, job, f"generation/{size}/{name}", name, models, seconds)
        job.measure(f"generation/{size}/{name}", "s", row)
    made.clear()
    release()


def _generation_row(
    job: Job,
    title: str,
    name: str,
    models: Callable[[], dict[str, Any]],
    seconds: dict[str, float],
) -> BenchmarkRow:
    held = models()
    recorded = RecordedScales() if name == "graphs" else None
    cache: Any = "static" if recorded else name

    def generate(*, sampling: Any = None, recorded: Any = recorded) -> SampledTokens:
        return generate_tokens(
            held["tokenizer"],
            held["car"],
            held["condition"],
            seeds=[0],
            sampling=sampling or replace(UNCHANGED, guidance=GUIDANCE, top_p=0.95),
            cache=cache,
            recorded=recorded,
        )

    reset_peak(job.device)
    began = time.perf_counter()
    first = generate()
    seconds_of_first = time.perf_counter() - began
    repeats = 1 if job.toy else 7
    seconds[name] = median_seconds(generate, job.device, repeats=repeats, warmup=1, budget=5.0)
    same = torch.equal(generate().indices_BT, generate(recorded=None).indices_BT)
    return BenchmarkRow(
        name=title,
        unit="s",
        ours=seconds[name],
        other=seconds.get("none") if name != "none" else None,
        lower_is_better=True,
        note="toy" if job.toy else "other: without a cache" if name != "none" else "",
        details={
            "tokens": first.indices_BT.shape[1],
            "guidance": GUIDANCE,
            "dtype": str(held["car"].dtype).removeprefix("torch."),
            "same_tokens_as_single_kernels": same,
            "seconds_of_first": seconds_of_first,
            "peak_bytes": peak_bytes(job.device),
        },
    )


# -- extraction -------------------------------------------------------------------------------


def measure_extraction(job: Job) -> None:
    """A mesh at 256 cells per axis, and how much of its time is the decoder's."""
    settings = BenchmarkSettings(quick=True, device=str(job.device), num=1)
    if not job.toy:
        settings = replace(settings, quick=False, resolutions=(256,), num=3)

    def make() -> BenchmarkRow:
        from g3pt.benchmarks.extraction import benchmark_extraction  # needs scikit-image

        rows = benchmark_extraction(settings, lambda *_: None)
        return next(row for row in reversed(rows) if row.unit == "s")

    job.measure("extraction", "s", make)


if __name__ == "__main__":
    main()
