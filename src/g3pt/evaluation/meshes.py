"""Any system's meshes against true ones, paired by file name."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from g3pt.config import to_json
from g3pt.evaluation.alignment import align
from g3pt.evaluation.objects import Truth, file_hash, object_rng
from g3pt.evaluation.protocol import EvaluationSettings
from g3pt.evaluation.reconstruction import refused, score
from g3pt.evaluation.report import base_report, code_version, markdown, scored, summarise
from g3pt.evaluation.results import Measured, Results, Row
from g3pt.evaluation.runner import Evaluator, Job, Progress, run
from g3pt.geometry.boundary import sample_boundary
from g3pt.geometry.mesh import (
    MESH_SUFFIXES,
    MeshError,
    TriangleMesh,
    UnitFrame,
    read_mesh,
    to_unit,
    unit_frame_of,
)
from g3pt.geometry.metrics import solid_test
from g3pt.geometry.solid import Solid

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pair:
    """A true mesh and what was predicted for it."""

    id: str
    truth: Path
    prediction: Path | None
    """None: nothing was; counts as an empty prediction."""


@dataclass(frozen=True, kw_only=True)
class MeshesJob(Job):
    """Everything that a worker process needs."""

    pairs: tuple[Pair, ...]
    settings: EvaluationSettings
    align: bool = False

    def open(self) -> Evaluator:
        """Nothing is shared between pairs."""
        return lambda slot: compare_pair(self.pairs[slot], slot, self.settings, aligned=self.align)


def find_pairs(prediction: Path, truth: Path, limit: int | None = None) -> tuple[Pair, ...]:
    """Pair the meshes of two folders by their names without suffix (below the folder).

    Predictions without a truth are named in a warning and left out.

    Raises:
        ValueError: if a name is there twice, or no name is in both folders.
    """
    predicted, true = _by_name(prediction), _by_name(truth)
    if not predicted.keys() & true.keys():
        raise ValueError(
            f"no mesh has the same name in {prediction} ({len(predicted)} meshes) and {truth} "
            f"({len(true)} meshes); files are paired by name without suffix"
        )
    if lonely := sorted(predicted.keys() - true.keys()):
        logger.warning("%d predictions have no truth: %s", len(lonely), ", ".join(lonely[:5]))
    names = sorted(true)[:limit]
    return tuple(Pair(name, true[name], predicted.get(name)) for name in names)


def _by_name(folder: Path) -> dict[str, Path]:
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
    workers: int = 1,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Score a folder of meshes.

    The truth sets the unit frame of both. A true mesh without a prediction, or with one that cannot
    be read, counts as an empty prediction.

    Args:
        prediction: folder of meshes to score.
        truth: folder of true meshes.
        settings: how finely to measure.
        align: also score after the best rotation, scale and shift, in columns `aligned_*`.
        limit: only the first so many.
        out: folder of the results; a rerun goes on there.
        workers: processes.
        on_progress: hears how many pairs are done.

    Returns:
        The report, as JSON values.

    Raises:
        ValueError: if nothing pairs, or `out` holds something else.
    """
    pairs = find_pairs(prediction, truth, limit)
    config = {
        "kind": "meshes",
        "settings": to_json(settings),
        "align": align,
        "data": _pairs_hash(pairs),
    }
    results = Results.open(out, config, code_version())
    job = MeshesJob(pairs=pairs, settings=settings, align=align)
    run(job, range(len(pairs)), results, workers=workers, on_progress=on_progress)
    rows = results.rows
    report = base_report("meshes", settings.protocol, rows, config=config, code=results.code)
    report["summary"] = summarise(scored(rows))
    report["objects"] = rows
    groups = ("", "aligned_") if align else ("",)
    results.finish(report, markdown(f"{prediction.name} against {truth.name}", report, groups))
    return report


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
    mesh, problem = _read_prediction(pair, frame)
    contains = None if mesh is None else solid_test(mesh)
    row: Row = {"id": pair.id, **score(mesh, truth, settings, contains).to_row()}
    row |= {"empty": mesh is None}
    if aligned:
        moved = mesh
        if mesh is not None:
            rng = object_rng(pair.id, settings, 5)
            moved = align(mesh, truth.samples.points, rng).move(mesh)
            contains = solid_test(moved)
        scores = score(moved, truth, settings, contains).to_row()
        row |= {f"aligned_{name}": value for name, value in scores.items()}
    return Measured(slot, ({**row, "problem": problem},))


def mesh_truth(object_id: str, mesh: TriangleMesh, settings: EvaluationSettings) -> Truth:
    """Ground truth of a mesh in the unit frame, clean or not.

    Raises:
        MeshError: if it bounds nothing.
    """
    solid = Solid.from_mesh(mesh)
    samples = sample_boundary(mesh, solid, settings.num_surface, object_rng(object_id, settings, 1))
    return Truth(object_id, "", "", mesh, samples, solid.contains)


def _read_prediction(pair: Pair, frame: UnitFrame) -> tuple[TriangleMesh | None, str | None]:
    if pair.prediction is None:
        return None, "no prediction"
    try:
        mesh = to_unit(read_mesh(pair.prediction), frame)
        solid_test(mesh, resolution=16)  # refuses meshes without area
    except MeshError as error:
        return None, str(error)
    return mesh, None
