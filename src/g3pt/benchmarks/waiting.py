"""Meshing on a quiet machine and with another busy process, by how threads of OpenMP wait.

OpenMP reads its settings once, when torch is loaded, so that every number comes from a process of
its own.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from g3pt.benchmarks.rows import BenchmarkRow, BenchmarkSettings, OnProgress
from g3pt.generation.field import ShapeField
from g3pt.generation.pipeline import G3PT
from g3pt.geometry.isosurface import extract_surface
from g3pt.procedural import HELD_OUT_SEEDS, make_shape
from g3pt.processes import WAIT_POLICY

_BUSY = "import os\nstarter = os.getppid()\nwhile os.getppid() == starter: pass"
"""Ends with whoever started it, however that ends."""


def benchmark_waiting(settings: BenchmarkSettings, on_progress: OnProgress) -> list[BenchmarkRow]:
    """Seconds of a mesh with threads that sleep, and with the default of OpenMP.

    A processor's number of threads follows OMP_NUM_THREADS, as always.
    """
    rows: list[BenchmarkRow] = []
    situations = {"alone": 0, "beside-one": 1}
    if settings.quick:
        del situations["alone"]
    for number, (name, num_busy) in enumerate(situations.items(), start=1):
        asleep = _measure(settings, "PASSIVE", num_busy)
        default = _measure(settings, None, num_busy)
        rows.append(
            BenchmarkRow(
                name=f"waiting/{name}",
                unit="s",
                ours=asleep.get("seconds"),
                other=default.get("seconds"),
                lower_is_better=True,
                note="; ".join(filter(None, (asleep.get("problem"), default.get("problem"))))
                or ("quick sizes, not to be published" if settings.quick else ""),
                details={"passive": asleep, "default": default, "busy_processes": num_busy},
            )
        )
        on_progress("waiting", number, len(situations))
    return rows


def _measure(settings: BenchmarkSettings, policy: str | None, num_busy: int) -> dict[str, Any]:
    """What `time_mesh` gives in a process with a policy, or what the problem was."""
    environment = {name: value for name, value in os.environ.items() if name != WAIT_POLICY}
    if policy is not None:
        environment[WAIT_POLICY] = policy
    arguments = (settings.weights, settings.seed, 32 if settings.quick else 256)
    code = f"from {__name__} import time_mesh; time_mesh(*{arguments!r})"
    with _busy(num_busy):
        try:
            done = subprocess.run(
                [sys.executable, "-c", code],
                env=environment,
                capture_output=True,
                text=True,
                timeout=settings.seconds,
            )
        except subprocess.TimeoutExpired:
            return {"problem": f"took longer than {settings.seconds:g} seconds"}
    if done.returncode:
        return {"problem": " ".join(done.stderr.split())[-300:]}
    return json.loads(done.stdout.splitlines()[-1])


@contextmanager
def _busy(num: int) -> Iterator[None]:
    """Processes that do nothing with a core each."""
    processes = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(num)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def time_mesh(weights: str, seed: int, resolution: int) -> None:
    """Mesh a held-out shape from its tokens and print how long that took, as JSON."""
    pipeline = G3PT.from_pretrained(weights, "cpu")
    mesh = make_shape(HELD_OUT_SEEDS.start + seed).mesh()
    field = ShapeField.from_tokens(pipeline.tokenizer, pipeline.tokenize(mesh).tokens.indices)
    extract_surface(field, resolution=16)  # whatever is done once is done
    began, used = time.perf_counter(), time.process_time()
    extract_surface(field, resolution=resolution)
    result = {
        "seconds": time.perf_counter() - began,
        "processor_seconds": time.process_time() - used,
        "threads": torch.get_num_threads(),
    }
    sys.stdout.write(f"{json.dumps(result)}\n")
