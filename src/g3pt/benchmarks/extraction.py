"""Meshing decoded fields: tracking the surface against asking the whole grid."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from g3pt.benchmarks.device import device_name
from g3pt.benchmarks.rows import BenchmarkRow, BenchmarkSettings, OnProgress
from g3pt.generation.field import ShapeField
from g3pt.generation.pipeline import G3PT
from g3pt.geometry.isosurface import extract_surface
from g3pt.models.speed import wait_for
from g3pt.preparation.sources import ProceduralSourceConfig, list_shapes, load_shape
from g3pt.procedural import HELD_OUT_SEEDS

FEWER_QUERIES = 20.0
"""How many times fewer queries at 256 cells per axis are to be reached."""

DENSE_SECONDS = 25.0
"""The whole grid is asked where that is expected to take no longer."""


@dataclass(frozen=True, slots=True)
class Tried:
    """One field at one resolution."""

    queries: int
    queries_dense: int
    seconds: float
    calls: int
    """Calls of the field."""
    seconds_in_field: float
    """Seconds in these calls: the decoder, and copies to and from the device."""
    seconds_dense: float | None
    same: bool | None
    """Whether both gave the same mesh; None where only one was made."""


def benchmark_extraction(
    settings: BenchmarkSettings, on_progress: OnProgress
) -> list[BenchmarkRow]:
    """Queries and seconds of meshes from trained weights, by tracking and by the dense twin."""
    pipeline = G3PT.from_pretrained(settings.weights, settings.device)
    resolutions = settings.resolutions or ((32, 64) if settings.quick else (256, 512))
    num = 1 if settings.quick else min(settings.num, 5)
    source = ProceduralSourceConfig(num=num, first_seed=HELD_OUT_SEEDS.start + settings.seed)
    fields: list[ShapeField] = []
    for ref in list_shapes(source):
        indices_T = pipeline.tokenize(load_shape(ref).mesh()).tokens.indices
        fields.append(ShapeField.from_tokens(pipeline.tokenizer, indices_T))
    rows: list[BenchmarkRow] = []
    for number, resolution in enumerate(resolutions, start=1):
        tried: list[Tried] = []
        for field in fields:
            # the dense twin once: it does the same work for every shape
            tried.append(_try(field, resolution, dense_too=not tried, pipeline=pipeline))
        rows += _rows(pipeline, resolution, tried, settings)
        on_progress("extraction", number, len(resolutions))
    return rows


class _WatchedField:
    """A field whose calls are counted and timed; an answer is there when a call returns."""

    def __init__(self, field: ShapeField) -> None:
        self._field = field
        self.calls = 0
        self.seconds = 0.0

    def __call__(self, points: Float[np.ndarray, "Q 3"]) -> Float32[np.ndarray, " Q"]:
        began = time.perf_counter()
        answer = self._field(points)
        self.seconds += time.perf_counter() - began
        self.calls += 1
        return answer


def _try(field: ShapeField, resolution: int, *, dense_too: bool, pipeline: G3PT) -> Tried:
    wait_for(pipeline.weights.device)
    watched = _WatchedField(field)
    began = time.perf_counter()
    tracked = extract_surface(watched, resolution=resolution, chunk=field.block)
    seconds = time.perf_counter() - began
    counted = tracked.queries, tracked.queries_dense, seconds, watched.calls, watched.seconds
    expected = seconds / tracked.queries * tracked.queries_dense
    if not dense_too or expected > DENSE_SECONDS:
        return Tried(*counted, None, None)
    began = time.perf_counter()
    dense = extract_surface(field, resolution=resolution, dense=True)
    seconds_dense = time.perf_counter() - began
    same = np.array_equal(tracked.mesh.vertices, dense.mesh.vertices) and np.array_equal(
        tracked.mesh.faces, dense.mesh.faces
    )
    return Tried(*counted, seconds_dense, same)


def _rows(
    pipeline: G3PT, resolution: int, tried: Sequence[Tried], settings: BenchmarkSettings
) -> list[BenchmarkRow]:
    note = "quick sizes, not to be published" if settings.quick else ""
    dense = [one.seconds_dense for one in tried if one.seconds_dense is not None]
    details = {
        "device": device_name(pipeline.weights.device),
        "weights": pipeline.weights.name,
        "shapes": len(tried),
        "calls": statistics.median(one.calls for one in tried),
        "seconds_in_field": statistics.median(one.seconds_in_field for one in tried),
        "same_mesh": next((one.same for one in tried if one.same is not None), None),
    }
    return [
        BenchmarkRow(
            name=f"extraction/{resolution}/queries",
            unit="queries",
            ours=statistics.median(one.queries for one in tried),
            other=tried[0].queries_dense,
            lower_is_better=True,
            floor=FEWER_QUERIES if resolution == 256 else None,
            floor_of="ratio",
            note=note,
            details=details,
        ),
        BenchmarkRow(
            name=f"extraction/{resolution}/seconds",
            unit="s",
            ours=statistics.median(one.seconds for one in tried),
            other=dense[0] if dense else None,
            lower_is_better=True,
            note=note if dense else "the dense grid would take too long",
            details=details,
        ),
    ]
