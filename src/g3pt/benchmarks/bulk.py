"""Seconds a picture of bulk generation by one process and by two, each with one thread.

Seconds are on the wall and include the start of the processes and the loading of the weights, which
forty pictures share. The two runs follow each other: an idle machine is meant.
"""

import tempfile
from functools import partial
from pathlib import Path

from g3pt.benchmarks.rows import BenchmarkRow, BenchmarkSettings, OnProgress
from g3pt.generation.bulk.build import BulkProgress, generate_many
from g3pt.generation.bulk.manifest import BulkRow, read_manifest
from g3pt.generation.bulk.tasks import BulkSettings, ModelSource
from g3pt.models.devices import resolve_device
from g3pt.preparation.prepare import draw_views
from g3pt.preparation.sources import ProceduralSourceConfig, list_shapes, load_shape
from g3pt.shapes.stored import ViewsConfig
from g3pt.training.usable import load_models
from g3pt.work.engines import Limits, ProcessEngine

WORKERS = (1, 2)


def benchmark_bulk(settings: BenchmarkSettings, on_progress: OnProgress) -> list[BenchmarkRow]:
    """Two processes beside one, on the same pictures with the same results."""
    models = ModelSource(
        load=load_models,
        weights=settings.weights,
        device=resolve_device(settings.device).type,
        sha256=load_models(settings.weights, "cpu").sha256,
    )
    how = BulkSettings(seed=settings.seed, resolution=16 if settings.quick else 128)
    limits = Limits(
        seconds=settings.seconds,
        cpu_seconds=settings.seconds,
        memory_bytes=None,
        written_bytes=2**32,
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = _pictures(folder / "pictures", settings)
        one, two = (
            generate_many(
                rows,
                folder / str(workers),
                how,
                models,
                engine=ProcessEngine(workers, limits),
                on_progress=partial(_show, on_progress, workers),
            )
            for workers in WORKERS
        )
    return [
        BenchmarkRow(
            name="bulk/2-workers",
            unit="s/picture",
            ours=two.seconds / len(rows),
            other=one.seconds / len(rows),
            lower_is_better=True,
            note="quick sizes, not to be published" if settings.quick else "",
            details={
                "pictures": len(rows),
                "failed": [one.failed, two.failed],
                "weights": settings.weights,
                "device": models.device,
                "worker_seconds": [one.worker_seconds, two.worker_seconds],
            },
        )
    ]


def _pictures(folder: Path, settings: BenchmarkSettings) -> list[BulkRow]:
    """Canonical pictures of procedural shapes, as a folder to read."""
    folder.mkdir()
    source = ProceduralSourceConfig(num=settings.num, first_seed=settings.seed)
    for ref in list_shapes(source):
        pictures, _ = draw_views(load_shape(ref), ViewsConfig(num_views=0))
        (folder / f"{ref.id}.png").write_bytes(pictures[0])
    return read_manifest(folder)


def _show(on_progress: OnProgress, workers: int, state: BulkProgress) -> None:
    on_progress(f"bulk, workers: {workers}", state.done, state.total)
