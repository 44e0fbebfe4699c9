"""Any system's meshes against true ones, paired by file name."""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from g3pt.config import to_json
from g3pt.evaluation.judging import Judge
from g3pt.evaluation.objects import EvaluationSettings, Truth, file_hash, object_rng
from g3pt.evaluation.report.summary import markdown, scored, summarise
from g3pt.evaluation.results import Measured, Results, refused
from g3pt.evaluation.run import Evaluation, Evaluator, Progress, measure_slots, num_local_workers
from g3pt.evaluation.sets.distribution import num_cloud, pack_sketches, report_sets, set_table
from g3pt.geometry.boundary import SolidMesh
from g3pt.geometry.mesh import (
    MESH_SUFFIXES,
    MeshError,
    TriangleMesh,
    read_mesh,
    to_unit,
    unit_frame_of,
)
from g3pt.geometry.metrics import solid_test
from g3pt.work.engines import Engine

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pair:
    """A true mesh and what was predicted for it."""

    id: str
    truth: Path
    prediction: Path | None
    """None: nothing was; counts as an empty prediction."""


def find_pairs(prediction: Path, truth: Path, limit: int | None = None) -> tuple[Pair, ...]:
    """Pair the meshes of two folders by their names without suffix (below the folder).

    Predictions without a truth are named in a warning and left out.

    Raises:
        ValueError: if a name is there twice, or no name is in both folders.
    """
    predicted, true = meshes_by_name(prediction), meshes_by_name(truth)
    if not predicted.keys() & true.keys():
        raise ValueError(
            f"no mesh has the same name in {prediction} ({len(predicted)} meshes) and {truth} "
            f"({len(true)} meshes); files are paired by name without suffix"
        )
    if lonely := sorted(predicted.keys() - true.keys()):
        logger.warning("%d predictions have no truth: %s", len(lonely), ", ".join(lonely[:5]))
    names = sorted(true)[:limit]
    return tuple(Pair(name, true[name], predicted.get(name)) for name in names)


def meshes_by_name(folder: Path) -> dict[str, Path]:
    """Meshes anywhere below a folder, by their path there without suffix.

    Raises:
        ValueError: if a name is there twice.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in MESH_SUFFIXES:
            continue
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise ValueError(f"{path}: {found[name].name} has the same name; keep one of them")
        found[name] = path
    return found


def evaluate_meshes(
    prediction: Path,
    truth: Path,
    settings: EvaluationSettings,
    *,
    align: bool = False,
    limit: int | None = None,
    out: Path | None = None,
    engine: Engine | None = None,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Score a folder of meshes, one by one and as a set.

    The truth sets the unit frame of both. A true mesh without a prediction, or with one that cannot
    be read, counts as an empty prediction.

    Args:
        prediction: folder of meshes to score.
        truth: folder of true meshes.
        settings: how finely to measure.
        align: also score after the best rotation, scale and shift, in columns `aligned_*`.
        limit: only the first so many.
        out: folder of the results; a rerun goes on there.
        engine: runs the work; by default this process. The numbers do not depend on it.
        on_progress: is told how many pairs are done.

    Returns:
        The report, as JSON values.

    Raises:
        ValueError: if nothing pairs, or `out` holds something else.
    """
    pairs = find_pairs(prediction, truth, limit)
    job = partial(_on_pairs, pairs, settings, align)
    return Evaluation(
        kind="meshes",
        protocol=settings.protocol,
        config={
            "kind": "meshes",
            "settings": to_json(settings),
            "align": align,
            "data": _pairs_hash(pairs),
        },
        slots=range(len(pairs)),
        measure=lambda slots: measure_slots(job, slots, engine),
        describe=partial(_describe, settings=settings, threads=num_local_workers(engine)),
        table=partial(_table, f"{prediction.name} against {truth.name}", align),
    ).run(out, on_progress)


def _on_pairs(pairs: Sequence[Pair], settings: EvaluationSettings, align: bool) -> Evaluator:
    return lambda slot: compare_pair(pairs[slot], slot, settings, aligned=align)


def _describe(results: Results, settings: EvaluationSettings, threads: int) -> dict[str, Any]:
    sets = report_sets(results.arrays, threads=threads)
    return {
        "summary": summarise(scored(results.rows)),
        "sets": {"points": num_cloud(settings), "methods": sets},
    }


def _table(title: str, align: bool, report: Mapping[str, Any]) -> str:
    sets = report["sets"]["methods"]
    table = markdown(title, report, ("", "aligned_") if align else ("",))
    return f"{table}\n{set_table(sets)}" if sets else table


def _pairs_hash(pairs: Sequence[Pair]) -> str:
    digest = hashlib.sha256()
    for pair in pairs:
        predicted = "none" if pair.prediction is None else file_hash(pair.prediction)
        digest.update(f"{pair.id} {file_hash(pair.truth)} {predicted}\n".encode())
    return digest.hexdigest()


def compare_pair(
    pair: Pair, slot: int, settings: EvaluationSettings, *, aligned: bool = False
) -> Measured:
    """Score one prediction; a truth that cannot be used gives a row with the reason alone."""
    try:
        source = read_mesh(pair.truth)
        frame = unit_frame_of(source)
        truth = mesh_truth(pair.id, to_unit(source, frame), settings)
    except MeshError as error:
        return refused(pair.id, slot, error)
    mesh, problem = read_prediction(pair.prediction, lambda found: to_unit(found, frame))
    contains = None if mesh.is_empty else solid_test(mesh)
    judge = Judge(truth, settings, aligned=aligned)
    row = judge.judge("prediction", mesh, contains)
    kept = {name: value for name, value in row.items() if name not in ("family", "method")}
    arrays = pack_sketches(judge.sketches)
    return Measured(slot, ({**kept, "problem": problem},), arrays=arrays)


def mesh_truth(object_id: str, mesh: TriangleMesh, settings: EvaluationSettings) -> Truth:
    """Ground truth of a mesh in the unit frame, clean or not.

    Raises:
        MeshError: if it bounds nothing.
    """
    bounded = SolidMesh(mesh)
    samples = bounded.sample_surface(settings.num_surface, object_rng(object_id, settings, 1))
    return Truth(object_id, "", "", mesh, samples, bounded.contains)


def read_prediction(
    path: Path | None, place: Callable[[TriangleMesh], TriangleMesh]
) -> tuple[TriangleMesh, str | None]:
    """A prediction where it is to be scored, or an empty mesh and the reason for it.

    Args:
        path: of its file; None if there is none.
        place: moves it into the unit frame.
    """
    nothing = TriangleMesh(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64))
    if path is None:
        return nothing, "no prediction"
    try:
        mesh = place(read_mesh(path))
        solid_test(mesh, resolution=16)  # refuses meshes without area
    except MeshError as error:
        return nothing, str(error)
    return mesh, None
