"""Steps of a training on the stream: batches from the pool on the device, or from the host.

The other way is what a training on stored shapes does: pictures are PNG bytes in host memory, and
every step decodes those of its batch, gathers tokens, labels and features, and copies all of it.
Both ways give batches of the same examples to the same model, in turns in one run. Examples are
made before anything is timed.
"""

import io
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from g3pt.benchmarks.device import autocast, device_name, working_dtype
from g3pt.benchmarks.rows import BenchmarkRow, BenchmarkSettings, OnProgress
from g3pt.models.devices import resolve_device
from g3pt.models.speed import wait_for
from g3pt.recipes import stream
from g3pt.shapes.batch import CarBatch
from g3pt.stream.dataset import StreamConfig, StreamDataset
from g3pt.training.kinds.stream import StreamRun, StreamTask, seeing
from g3pt.training.next_scale import NextScale
from g3pt.training.optim import Optimizer
from g3pt.training.runs import kind_of
from g3pt.training.task import WHOLE, to_device

UNIT = "steps/min"


def benchmark_stream(settings: BenchmarkSettings, on_progress: OnProgress) -> list[BenchmarkRow]:
    """Steps a minute of `car-stream-small`, without meshes and without making new examples."""
    device = resolve_device(settings.device)
    run = _run(device, quick=settings.quick)
    seconds, waits = _measure(run, device, rounds=1 if settings.quick else 7)
    on_progress("stream", 1, 1)
    return [
        BenchmarkRow(
            name="stream/steps",
            unit=UNIT,
            ours=60 / seconds["pool"],
            other=60 / seconds["host"],
            note="quick sizes, not to be published"
            if settings.quick
            else "other: pictures as PNG and all else in host memory, put together every step",
            details={
                "device": device_name(device),
                "recipe": run.name,
                "batch_size": run.data.batch_size,
                "seconds_per_step": seconds,
                "seconds_per_batch": waits,
            },
        )
    ]


def _run(device: torch.device, *, quick: bool) -> StreamRun:
    run = stream.small_smoke() if quick else stream.small()
    batch_size = 4 if quick else 256 if device.type == "cuda" else 8
    held = 2 * batch_size
    per_chunk = {"grammar": 3 * held // 4, "families": held // 4} if device.type != "cuda" else {}
    data = replace(
        run.data,
        batch_size=batch_size,
        held=held,
        first=held,
        made_per_step=0.0,
        meshes=0,
        stock="",
        text_share=0.0,
        workers=0,
        **per_chunk,
    )
    return replace(run, data=data)


def _measure(
    run: StreamRun, device: torch.device, *, rounds: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Median seconds of a step, and of its batch alone, by the way that batches are made."""
    torch.manual_seed(0)
    task = kind_of(run).open_without_data(run)
    data = run.data
    assert isinstance(task, StreamTask) and isinstance(data, StreamConfig), "made by `_run`"
    module, tokenizer = task.module.to(device).train(), task.tokenizer.to(device)
    pool = StreamDataset(data, device, task.tokenize, seeing(module, data.image_size))
    ways: dict[str, Callable[[int], CarBatch]] = {
        "pool": pool.batch,
        "host": _HostRows(pool, data.held, device).batch,
    }
    objective, optimizer = NextScale(module, tokenizer, run.loss), Optimizer(module, run.optim)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    waits: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):  # the first round is not counted
        for name, batch in ways.items():
            wait_for(device)
            began = time.perf_counter()
            drawn = objective.draw(batch(number), number, WHOLE, data.batch_size)
            step = to_device(drawn, device)
            wait_for(device)
            waited = time.perf_counter() - began
            with autocast(device, working_dtype(device)):
                loss = objective.loss(step, step=number, progress=0.5).loss
            loss.backward()
            optimizer.step(1e-4)
            optimizer.zero_grad()
            wait_for(device)
            if number:
                seconds[name].append(time.perf_counter() - began)
                waits[name].append(waited)
    return (
        {name: median(values) for name, values in seconds.items()},
        {name: median(values) for name, values in waits.items()},
    )


class _HostRows:
    """Examples of a pool in host memory, one by one, their pictures as PNG."""

    def __init__(self, pool: StreamDataset, num: int, device: torch.device) -> None:
        self._device, self._size = device, pool.config.batch_size
        self._pictures: list[bytes] = []
        self._columns: dict[str, list[np.ndarray]] = {}
        for step in range(num // self._size):
            batch = pool.batch(step)
            assert batch.pictures_BSS4 is not None, "no step is told sentences"
            for picture_SS4 in batch.pictures_BSS4.cpu().numpy():
                file = io.BytesIO()
                Image.fromarray(picture_SS4).save(file, "PNG")
                self._pictures.append(file.getvalue())
            for name, value in vars(batch).items():
                if isinstance(value, Tensor) and name != "pictures_BSS4":
                    self._columns.setdefault(name, []).extend(value.cpu().numpy())

    def batch(self, step: int) -> CarBatch:
        """A batch of random rows, put together here and copied to the device."""
        rows = np.random.default_rng([1, step]).integers(len(self._pictures), size=self._size)
        pictures = [np.asarray(Image.open(io.BytesIO(self._pictures[row]))) for row in rows]
        gathered = {
            name: torch.from_numpy(np.stack([values[row] for row in rows])).to(self._device)
            for name, values in self._columns.items()
        }
        return CarBatch(
            pictures_BSS4=torch.from_numpy(np.stack(pictures)).to(self._device),
            captions=("",) * self._size,
            ids=tuple(f"host-{row}" for row in rows),
            **gathered,
        )
