"""Another system's meshes of the objects that generation is evaluated on, from a folder."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Literal, assert_never

import numpy as np

from g3pt.config import to_json
from g3pt.evaluation.judging import Judge
from g3pt.evaluation.objects import EvaluationSettings, ObjectList, data_hash, file_hash, load_truth
from g3pt.evaluation.protocols.generation import family_references
from g3pt.evaluation.protocols.meshes import meshes_by_name, read_prediction
from g3pt.evaluation.report.generation import describe_generation, generation_table
from g3pt.evaluation.results import Measured, Row
from g3pt.evaluation.run import (
    Evaluation,
    Measure,
    Progress,
    measure_objects,
    num_local_workers,
)
from g3pt.evaluation.sets.distribution import pack_sketches
from g3pt.evaluation.sets.families import FamilyReferences
from g3pt.files import MAX_JSON_BYTES, parse_json, read_plain
from g3pt.geometry.mesh import MESH_SUFFIXES, TriangleMesh, UnitFrame, to_unit, unit_frame_of
from g3pt.geometry.metrics import solid_test
from g3pt.preparation.sources import ProceduralRef, SourceShape
from g3pt.work.engines import Engine

logger = logging.getLogger(__name__)

MANIFEST = "manifest.jsonl"

PredictionFrame = Literal["unit", "box", "source"]
"""Meshes are in the unit frame already, or each is moved there by its own bounding box, or as the
file of the true mesh was moved, whose place and scale it has."""

USUAL_SIDES = (1.5, 2.2)
"""Range of the longest side of meshes that are likely in the unit frame; true ones have 1.9."""


def evaluate_predictions(
    folder: Path,
    objects: ObjectList,
    settings: EvaluationSettings,
    *,
    frame: PredictionFrame = "unit",
    align: bool = False,
    out: Path | None = None,
    engine: Engine | None = None,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Score a folder of meshes as generation is scored: same objects, truth and metrics.

    An object without a mesh, or with one that cannot be read, counts as an empty prediction and is
    named among the problems.

    Args:
        folder: meshes named by object id, or with a manifest (`find_predictions`).
        objects: what the other system was asked for.
        settings: how finely to measure.
        frame: where the meshes are; nothing else is aligned in the headline.
        align: also score after the best rotation, scale and shift, in columns `aligned_*`.
        out: folder of the results; a rerun with the same arguments goes on where it stopped.
        engine: runs the work; by default this process. The numbers do not depend on it.
        on_progress: is told how many objects are done.

    Returns:
        The report, as JSON values, with one method, `prediction`.

    Raises:
        FileNotFoundError, ValueError: if no object has a mesh, or the manifest or `out` cannot be
            used.
    """
    check_frame(frame, objects)
    ids = [ref.id for ref in objects.refs]
    files = find_predictions(folder, ids)

    def measure(slots: Sequence[int]) -> Iterator[Measured]:
        placed = _Predictions(files, frame, align, settings, family_references(objects))
        return measure_objects(objects, placed.measure_all, slots, engine)

    report = Evaluation(
        kind="generation",  # as a report it is one
        protocol=settings.protocol,
        config={
            "kind": "predictions",
            "settings": to_json(settings),
            "frame": frame,
            "align": align,
            "predictions": {name: file_hash(path) for name, path in sorted(files.items())},
            "data": data_hash(objects),
        },
        slots=objects.slots,
        measure=measure,
        describe=partial(describe_generation, settings=settings, threads=num_local_workers(engine)),
        table=partial(generation_table, f"Meshes of {folder.name} against {objects.name}"),
        about={
            "data": objects.name,
            "frame": frame,
            "predictions": {
                "folder": folder.name,
                "found": len(files),
                "missing": [name for name in ids if name not in files],
            },
        },
        about_last=True,
    ).run(out, on_progress)
    _warn_of_frames(report["objects"], frame)
    return report


@dataclass(frozen=True)
class _Predictions:
    """Meshes of another system by object id, and how they are scored."""

    files: dict[str, Path]
    frame: PredictionFrame
    align: bool
    settings: EvaluationSettings
    families: FamilyReferences | None

    def measure_all(self) -> Measure:
        """Nothing has to be loaded."""
        return self.measure

    def measure(self, shape: SourceShape, slot: int) -> Measured:
        """Score the mesh of one object."""
        truth = load_truth(shape, self.settings)
        judge = Judge(truth, self.settings, self.families, aligned=self.align)
        rows: list[Row] = [] if self.families is None else [judge.judge_truth()]
        mesh, problem = read_prediction(
            self.files.get(shape.id), lambda found: placed(found, self.frame, shape)
        )
        contains = None if mesh.is_empty else solid_test(mesh)
        side = None if mesh.is_empty else float(np.ptp(mesh.bounds(), axis=0).max())
        row = judge.judge("prediction", mesh, contains)
        rows.append({**row, "longest_side": side, "problem": problem})
        return Measured(slot, tuple(rows), arrays=pack_sketches(judge.sketches))


def find_predictions(folder: Path, ids: Sequence[str]) -> dict[str, Path]:
    """The meshes of some objects in a folder, by id.

    With a `manifest.jsonl`, its rows name `id` and `path` (below the folder). Without one, a mesh
    belongs to the object whose id is its path below the folder without suffix; the suffix of an id
    that is itself a file of a mesh need not be kept.

    Raises:
        FileNotFoundError: if there is no such folder, or a file that the manifest names is missing.
        ValueError: if the manifest cannot be read, names are there twice, or no object has a mesh.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder of meshes")
    manifest = folder / MANIFEST
    found = _read_manifest(manifest) if manifest.is_file() else meshes_by_name(folder)
    names = {name: name if name in found else _without_suffix(name) for name in ids}
    chosen = {name: found[own] for name, own in names.items() if own in found}
    if not chosen:
        raise ValueError(
            f"{folder}: no mesh belongs to any of the {len(ids)} objects; name files by object "
            f"id, such as {_without_suffix(ids[0])}.glb, or list them in {MANIFEST} with 'id' and "
            "'path'"
        )
    if lonely := sorted(found.keys() - set(names.values())):
        logger.warning("%d meshes belong to no object: %s", len(lonely), ", ".join(lonely[:5]))
    return chosen


def _without_suffix(name: str) -> str:
    path = PurePosixPath(name)
    return path.with_suffix("").as_posix() if path.suffix.lower() in MESH_SUFFIXES else name


def _read_manifest(manifest: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    lines = read_plain(manifest, MAX_JSON_BYTES).splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            row = parse_json(line, str(manifest))
            name, path = str(row["id"]), manifest.parent / str(row["path"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{manifest}, line {number}: expected a JSON object with 'id' and 'path'"
            ) from error
        if name in found:
            raise ValueError(f"{manifest}, line {number}: {name} is there twice; keep one of them")
        if not path.is_file():
            raise FileNotFoundError(f"{manifest}, line {number}: {path}: no such mesh")
        found[name] = path
    return found


def check_frame(frame: PredictionFrame, objects: ObjectList) -> None:
    """Refuse a frame that the objects do not have.

    Raises:
        ValueError: if it is that of a source, and some objects were made in the unit frame.
    """
    made = [ref.id for ref in objects.refs if isinstance(ref, ProceduralRef)]
    if frame == "source" and made:
        raise ValueError(
            f"frame source is that of the files of true meshes, and {made[0]} comes from no file: "
            "choose unit or box"
        )


def placed(mesh: TriangleMesh, frame: PredictionFrame, shape: SourceShape) -> TriangleMesh:
    """A predicted mesh in the unit frame of the true shape; see `check_frame`."""
    match frame:
        case "unit":
            return mesh
        case "box":
            return to_unit(mesh, unit_frame_of(mesh))
        case "source":
            own = shape.details["frame"]
            return to_unit(mesh, UnitFrame(scale=own["scale"], offset=tuple(own["offset"])))
        case _:
            assert_never(frame)


def _warn_of_frames(rows: Sequence[Row], frame: PredictionFrame) -> None:
    sides = [row["longest_side"] for row in rows if row.get("longest_side") is not None]
    low, high = USUAL_SIDES
    if frame == "unit" and sides and not low <= float(np.median(sides)) <= high:
        logger.warning(
            "the median longest side of the predictions is %.3g, true shapes have 1.9: if the "
            "system knows no unit frame, ask for frame 'box'",
            float(np.median(sides)),
        )
