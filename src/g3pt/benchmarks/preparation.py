"""Preparing meshes: our cost an object, and our labels against those of other packages.

Seconds of whole preparations are those on the wall of a process with one thread that does nothing
else; run it on an idle machine. Seconds of labels are processor time, and every object is labelled
by all packages in turn, so that other work on the machine changes their ratio little. Reading the
file belongs to preparation, not to labelling.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from g3pt.benchmarks.analytic import SOLID_NAMES
from g3pt.benchmarks.converters import (
    CONVERTERS,
    OURS,
    Outcome,
    measure_label_error,
    run_limited,
    time_labels,
)
from g3pt.benchmarks.rows import (
    BenchmarkRow,
    BenchmarkSettings,
    OnProgress,
    missing_package,
)
from g3pt.geometry.mesh import write_mesh
from g3pt.preparation.inputs import FolderSourceConfig, MeshRef, list_meshes
from g3pt.preparation.sources import ProceduralSourceConfig, list_shapes, load_shape
from g3pt.preparation.worker import ObjectTask
from g3pt.shapes.stored import PrepareConfig, ViewsConfig

FLOORS = {0: 500.0, 12: 250.0, 24: None}
"""Meshes per core-hour to reach, by number of views."""

MAX_LABEL_ERROR = 0.005

NUM_LABEL_POINTS = 20_000
QUICK_SOLIDS = ("open box", "double-sided")


def benchmark_preparation(
    settings: BenchmarkSettings, on_progress: OnProgress
) -> list[BenchmarkRow]:
    """Measure our whole preparation, then labels against other packages: time and error."""
    if missing := missing_package("pebble", "pebble", "bench"):
        return [BenchmarkRow(name="prepare", unit="meshes/core-hour", note=missing)]
    config = PrepareConfig()
    if settings.quick:
        config = replace(
            config, num_points=4096, num_volume_queries=16_384, num_near_queries=16_392
        )
    with tempfile.TemporaryDirectory() as folder:
        refs = _mesh_refs(settings, Path(folder), on_progress)
        rows = _preparation_rows(refs, config, settings, on_progress)
        rows += _time_rows(refs, config, settings, on_progress)
    return rows + _error_rows(settings, on_progress)


def _mesh_refs(settings: BenchmarkSettings, folder: Path, on_progress: OnProgress) -> list[MeshRef]:
    """Meshes spread evenly over a folder, or shapes of our own written as files."""
    if settings.meshes is None:
        source = ProceduralSourceConfig(num=settings.num, first_seed=settings.seed)
        for done, ref in enumerate(list_shapes(source), start=1):
            write_mesh(folder / f"{ref.id}.glb", load_shape(ref).mesh())
            on_progress("meshes", done, settings.num)
    found = list_meshes(FolderSourceConfig(path=str(settings.meshes or folder)))
    num = min(settings.num, len(found))
    # Neighbours in a list are often of one pack or one kind.
    return [found[int(place)] for place in np.linspace(0, len(found) - 1, num).round()]


# --- our whole preparation -----------------------------------------------------------------


def time_preparation(task: ObjectTask) -> dict[str, float]:
    """Seconds of one object by stage, and in all.

    Raises:
        RuntimeError: if the object is refused.
    """
    began = time.perf_counter()
    result = task.run()
    total = time.perf_counter() - began
    if result.is_refused:
        raise RuntimeError(f"refused: {result.row['message']}")
    return {**result.seconds, "total": total}


def _preparation_rows(
    refs: Sequence[MeshRef],
    config: PrepareConfig,
    settings: BenchmarkSettings,
    on_progress: OnProgress,
) -> list[BenchmarkRow]:
    """Every object twice, with fewer and with more views; without pictures is the former's rest."""
    size = 64 if settings.quick else 256
    outcomes: dict[int, list[Outcome]] = {}
    for views in (12, 24):
        drawn = ViewsConfig(num_views=views, size=size)
        tasks = [(ObjectTask(number, ref, config, drawn),) for number, ref in enumerate(refs)]
        outcomes[views] = _tried(
            time_preparation, tasks, settings, partial(on_progress, f"prepare, {views} views")
        )
    return [
        _preparation_row(0, _without_pictures(outcomes[12]), settings),
        *(_preparation_row(views, outcomes[views], settings) for views in (12, 24)),
    ]


def _without_pictures(outcomes: Sequence[Outcome]) -> list[Outcome]:
    kept: list[Outcome] = []
    for outcome in outcomes:
        value = outcome.value
        if value is not None:
            value = {**value, "total": value["total"] - value["render"], "render": 0.0}
        kept.append(replace(outcome, value=value))
    return kept


def _preparation_row(
    views: int, outcomes: Sequence[Outcome], settings: BenchmarkSettings
) -> BenchmarkRow:
    done = [outcome.value for outcome in outcomes if outcome.value is not None]
    totals = [seconds["total"] for seconds in done]
    stages = {
        stage: statistics.fmean(seconds[stage] for seconds in done)
        for stage in (done[0] if done else ())
    }
    return BenchmarkRow(
        name=f"prepare/{views or 'no'}-views",
        unit="meshes/core-hour",
        ours=3600.0 / statistics.fmean(totals) if totals else None,
        floor=None if settings.quick else FLOORS[views],
        note=_note(settings, outcomes),
        details={
            "objects": len(done),
            "seconds_mean": statistics.fmean(totals) if totals else None,
            "seconds_median": statistics.median(totals) if totals else None,
            "stages": stages,
        },
    )


# --- labels --------------------------------------------------------------------------------


def _time_rows(
    refs: Sequence[MeshRef],
    config: PrepareConfig,
    settings: BenchmarkSettings,
    on_progress: OnProgress,
) -> list[BenchmarkRow]:
    """Time from a mesh to the labels of its queries, over objects that both could do."""
    make = partial(BenchmarkRow, unit="s/object", lower_is_better=True)
    installed = [name for name, converter in CONVERTERS.items() if not converter.missing()]
    calls = [(name, ref, config) for ref in refs for name in installed]
    tried = _tried(time_labels, calls, settings, partial(on_progress, "label time"))
    found = {name: tried[place :: len(installed)] for place, name in enumerate(installed)}
    ours = found.get(OURS, [])
    rows: list[BenchmarkRow] = []
    for name, converter in CONVERTERS.items():
        row_name = "label-time" if name == OURS else f"label-time/{name}"
        if missing := converter.missing():
            rows.append(make(name=row_name, ours=_mean(ours), note=missing))
            continue
        both = [
            (mine.value, theirs.value)
            for mine, theirs in zip(ours, found[name], strict=True)
            if not mine.problem and not theirs.problem
        ]
        mine, theirs = zip(*both, strict=True) if both else ((), ())
        rows.append(
            make(
                name=row_name,
                ours=statistics.fmean(mine) if both else None,
                other=statistics.fmean(theirs) if both and name != OURS else None,
                note=_note(settings, found[name]),
                details={
                    "objects": len(both),
                    "median_ratio": statistics.median(np.divide(theirs, mine)) if both else None,
                },
            )
        )
    return rows


def _error_rows(settings: BenchmarkSettings, on_progress: OnProgress) -> list[BenchmarkRow]:
    """Share of wrong labels within two voxels of the surface of analytic solids."""
    solids = QUICK_SOLIDS if settings.quick else SOLID_NAMES
    num = 2000 if settings.quick else NUM_LABEL_POINTS
    make = partial(BenchmarkRow, unit="share of labels", lower_is_better=True)
    ours: dict[str, Outcome] = {}
    rows: list[BenchmarkRow] = []
    for name, converter in CONVERTERS.items():
        if missing := converter.missing():
            rows.append(make(name=f"label-error/*/{name}", note=missing))
            continue
        calls = [(name, solid, num) for solid in solids]
        found = _tried(
            measure_label_error, calls, settings, partial(on_progress, f"label error, {name}")
        )
        results = dict(zip(solids, found, strict=True))
        ours = ours or results
        for solid, outcome in results.items():
            rows.append(
                make(
                    name=f"label-error/{solid}" + ("" if name == OURS else f"/{name}"),
                    ours=ours[solid].value,
                    other=None if name == OURS else outcome.value,
                    floor=MAX_LABEL_ERROR if name == OURS and not settings.quick else None,
                    note=_note(settings, [outcome]),
                )
            )
    return rows


# --- shared --------------------------------------------------------------------------------


def _tried(
    function: Callable[..., Any],
    calls: Sequence[tuple[Any, ...]],
    settings: BenchmarkSettings,
    show: Callable[[int, int], None],
) -> list[Outcome]:
    outcomes: list[Outcome] = []
    for outcome in run_limited(function, calls, settings.seconds):
        outcomes.append(outcome)
        show(len(outcomes), len(calls))
    return outcomes


def _mean(outcomes: Sequence[Outcome]) -> float | None:
    values = [outcome.value for outcome in outcomes if not outcome.problem]
    return statistics.fmean(values) if values else None


def _note(settings: BenchmarkSettings, outcomes: Sequence[Outcome]) -> str:
    """How many objects failed, and why the first did."""
    problems = [outcome.problem for outcome in outcomes if outcome.problem]
    notes = ["quick sizes, not to be published"] if settings.quick else []
    if problems:
        notes.append(f"{len(problems)} of {len(outcomes)} failed, the first: {problems[0]}")
    return "; ".join(notes)
