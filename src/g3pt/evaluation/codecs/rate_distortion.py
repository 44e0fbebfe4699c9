"""The `.g3t` file as a codec of shapes: bits against distortion, with compressed meshes.

Every prefix of scales is one point of g3t. The baselines decimate the true mesh to several numbers
of faces, round it to lattices of several bits and write it with Draco or with our own code (see
`decimation` and `mesh_codecs`). Scores are those of what was decoded from the bytes. Unit frame.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

from jaxtyping import Int
from torch import Tensor

from g3pt.config import to_json
from g3pt.evaluation.codecs.decimation import decimations
from g3pt.evaluation.codecs.mesh_codecs import (
    LatticeMesh,
    decode_draco,
    decode_quantised,
    draco,
    encode_draco,
    encode_quantised,
    snap,
)
from g3pt.evaluation.judging import score
from g3pt.evaluation.objects import (
    EvaluationSettings,
    ObjectList,
    Truth,
    data_hash,
    load_truth,
    object_rng,
)
from g3pt.evaluation.report.plots import require_matplotlib
from g3pt.evaluation.report.rate import CODECS, describe_rate, draw, table
from g3pt.evaluation.report.summary import scored
from g3pt.evaluation.results import Measured, Row
from g3pt.evaluation.run import Evaluation, Measure, Progress, measure_objects
from g3pt.generation.field import ShapeField
from g3pt.generation.surface import encode_surface
from g3pt.geometry.isosurface import extract_surface
from g3pt.geometry.lod import fast_simplification
from g3pt.geometry.mesh import TriangleMesh, area_vectors
from g3pt.geometry.metrics import solid_test
from g3pt.geometry.sampling import SurfaceSamples
from g3pt.models.g3t import TokenFrame, TokenPyramid, encode_g3t
from g3pt.models.tokenizer import require_tokens
from g3pt.models.weights.load import LoadedWeights
from g3pt.preparation.sources import SourceShape
from g3pt.training.usable import load_models
from g3pt.work.engines import Engine

ALL_FACES = 2**31 - 1
"""Budget of the mesh that is not decimated."""

MESH_SETTINGS: Mapping[int, tuple[int, ...]] = {
    12: (4, 5),
    24: (4, 5),
    50: (5, 6),
    70: (5, 6),
    100: (5, 6),
    140: (6,),
    200: (6, 7),
    400: (6, 8),
    1000: (8,),
    4000: (9,),
    ALL_FACES: (12,),
}
"""Bits per coordinate that are measured, by number of faces: those that are worth their bytes."""

COLUMNS = ("iou", "chamfer_mean", "fscore_001")


def evaluate_rate(
    weights: str | Path,
    objects: ObjectList,
    settings: EvaluationSettings,
    *,
    device: str = "cpu",
    out: Path | None = None,
    engine: Engine | None = None,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure rate and distortion of every codec at every setting, object by object.

    Args:
        weights: a weights folder, a run folder or a bundled name.
        objects: what to encode.
        settings: how finely to measure.
        device: where the tokenizer runs.
        out: folder of the results and of the plot; a rerun goes on where it stopped.
        engine: runs the work; by default this process. The numbers do not depend on it.
        on_progress: is told how many objects are done.

    Returns:
        The report, as JSON values.

    Raises:
        ImportError: if the packages of the baselines or of the plot are not installed.
        FileNotFoundError, ValueError: if weights, objects or `out` cannot be used.
    """
    for require in (draco, fast_simplification):
        require()
    if out is not None:
        require_matplotlib()
    loaded = load_models(weights, device)
    require_tokens(loaded.tokenizer, loaded.name)
    load = partial(_load, weights, device, settings)
    report = Evaluation(
        kind="rate",
        protocol=settings.protocol,
        config={
            "kind": "rate",
            "settings": to_json(settings),
            "mesh_settings": {_face_word(faces): bits for faces, bits in MESH_SETTINGS.items()},
            "weights": loaded.sha256,
            "data": data_hash(objects),
        },
        slots=objects.slots,
        measure=lambda slots: measure_objects(objects, load, slots, engine),
        describe=lambda results: describe_rate(scored(results.rows)),
        table=table,
        about={
            "data": objects.name,
            "weights": {"name": loaded.name, "sha256": loaded.sha256},
        },
    ).run(out, on_progress)
    rows = scored(report["objects"])
    if out is not None and rows:
        draw(out / "rate_distortion.png", report, rows)
    return report


def _load(weights: str | Path, device: str, settings: EvaluationSettings) -> Measure:
    return partial(measure, weights=load_models(weights, device), settings=settings)


def measure(
    shape: SourceShape, slot: int, weights: LoadedWeights, settings: EvaluationSettings
) -> Measured:
    """Encode, decode and score one shape with every codec at every setting.

    Raises:
        ShapeError, MeshError: if its truth is of no use.
    """
    truth = load_truth(shape, settings)
    tokenizer = require_tokens(weights.tokenizer, weights.name)
    rng = object_rng(shape.id, settings, 4)
    encoded = encode_surface(tokenizer, shape, weights.config.num_points, rng)
    rows = [
        *g3t_rows(weights, encoded.indices_T, encoded.samples, truth, settings),
        *mesh_rows(truth, settings, MESH_SETTINGS),
    ]
    named = tuple({"id": truth.id, "family": truth.family, **row} for row in rows)
    return Measured(slot, named, tuple(encoded.indices_T.tolist()))


def g3t_rows(
    weights: LoadedWeights,
    indices_T: Int[Tensor, " T"],
    surface: SurfaceSamples,
    truth: Truth,
    settings: EvaluationSettings,
) -> list[Row]:
    """One row per prefix of scales: `bits` of its tokens alone, `bytes` of the file."""
    tokenizer = require_tokens(weights.tokenizer, weights.name)
    rows: list[Row] = []
    for number, stop in enumerate(accumulate(tokenizer.scale_lengths), start=1):
        field = ShapeField.from_tokens(tokenizer, indices_T[:stop])
        mesh = extract_surface(field, resolution=settings.resolution, seeds=surface.points).mesh
        tokens = TokenPyramid(tokenizer.scale_lengths, tokenizer.num_bits, indices_T[:stop])
        size = len(encode_g3t(tokens, TokenFrame(), weights.sha256))
        columns = _scores(mesh, truth, settings, closed=True)
        rows.append({"method": f"g3t-{number}", "bits": tokens.total_bits, "bytes": size} | columns)
    return rows


def mesh_rows(
    truth: Truth, settings: EvaluationSettings, mesh_settings: Mapping[int, Sequence[int]]
) -> list[Row]:
    """One row per baseline, number of faces and bits per coordinate, as in `MESH_SETTINGS`.

    Settings that decode to the same triangles are scored once. A mesh without a face left on its
    lattice cannot be written and has no row.
    """
    known: dict[bytes, Row] = {}
    rows: dict[str, list[Row]] = {codec: [] for codec in CODECS}
    meshes = decimations(truth, mesh_settings, object_rng(truth.id, settings, 6))
    for faces, choices in mesh_settings.items():
        for bits in choices:
            lattice = snap(meshes[faces], bits)
            if not len(lattice.faces):
                continue
            for codec, (data, decoded) in _round_trips(lattice).items():
                key = snap(decoded, bits).key()
                if key not in known:
                    known[key] = _scores(decoded, truth, settings, closed=False)
                letter = "q" if codec == "draco" else "b"
                method = f"{codec}-{letter}{bits}-{_face_word(faces)}"
                size = {"method": method, "bits": 8 * len(data), "bytes": len(data)}
                rows[codec].append(size | known[key])
    return [row for codec in CODECS for row in rows[codec]]


def _round_trips(lattice: LatticeMesh) -> dict[str, tuple[bytes, TriangleMesh]]:
    """By baseline: the bytes, and the mesh that was read from them."""
    draco_data, own_data = encode_draco(lattice), encode_quantised(lattice)
    return {
        "draco": (draco_data, decode_draco(draco_data)),
        "quantised": (own_data, decode_quantised(own_data).mesh()),
    }


def _face_word(faces: int) -> str:
    return "full" if faces == ALL_FACES else f"f{faces}"


def _scores(mesh: TriangleMesh, truth: Truth, settings: EvaluationSettings, *, closed: bool) -> Row:
    """The columns of distortion; a mesh that may be open gets the inside test that copes."""
    usable = bool(area_vectors(mesh).any())
    contains = solid_test(mesh, settings.resolution) if usable and not closed else None
    found = score(mesh if usable else None, truth, settings, contains).to_row()
    return {name: found[name] for name in COLUMNS} | {"empty": not usable, "problem": None}
