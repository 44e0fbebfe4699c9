"""Reconstruction: a shape's surface points through the tokenizer and back, scale by scale.

N surface points, T tokens; unit frame.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from g3pt.config import to_json
from g3pt.evaluation.bootstrap import bootstrap
from g3pt.evaluation.decoding import CodedShape, code_shape
from g3pt.evaluation.objects import (
    ObjectList,
    Truth,
    data_hash,
    load_truth,
    near_surface_labels,
    object_rng,
    uniform_labels,
)
from g3pt.evaluation.protocol import EvaluationSettings
from g3pt.evaluation.report.summary import (
    base_report,
    cell,
    columns_of,
    difference_table,
    markdown,
    scored,
    summarise,
)
from g3pt.evaluation.results import Measured, Results, Row
from g3pt.evaluation.runner import Evaluator, Job, Progress, run
from g3pt.geometry.isosurface import extract_surface
from g3pt.geometry.mesh import MeshError, TriangleMesh
from g3pt.geometry.metrics import (
    Contains,
    MeshScores,
    compare_meshes,
    label_accuracy,
    occupancy_iou,
    winding_test,
)
from g3pt.models.token_statistics import scale_statistics
from g3pt.models.weights.load import LoadedWeights, load_weights
from g3pt.preparation.sources import ShapeError, SourceShape
from g3pt.versions import code_version


@dataclass(frozen=True, kw_only=True)
class ReconstructionJob(Job):
    """Everything that a worker process needs."""

    weights: str | Path
    device: str
    objects: ObjectList
    settings: EvaluationSettings

    def open(self) -> Evaluator:
        """Load the weights."""
        weights = load_weights(self.weights, self.device)

        def evaluate(slot: int) -> Measured:
            try:
                return reconstruct(self.objects.load(slot), slot, weights, self.settings)
            except (ShapeError, MeshError) as error:
                return refused(self.objects.refs[slot].id, slot, error)

        return evaluate


def evaluate_reconstruction(
    weights: str | Path,
    objects: ObjectList,
    settings: EvaluationSettings,
    *,
    device: str = "cpu",
    out: Path | None = None,
    workers: int = 1,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Reconstruct and score a set of objects.

    Args:
        weights: a weights folder or a bundled name.
        objects: what to reconstruct.
        settings: how finely to measure.
        device: where the tokenizer runs.
        out: folder of the results; a rerun with the same arguments goes on where it stopped.
        workers: processes.
        on_progress: hears how many objects are done.

    Returns:
        The report, as JSON values.

    Raises:
        FileNotFoundError, ValueError: if weights, objects or `out` cannot be used.
    """
    loaded = load_weights(weights, device)
    config = {
        "kind": "reconstruction",
        "settings": to_json(settings),
        "weights": loaded.sha256,
        "data": data_hash(objects),
    }
    results = Results.open(out, config, code_version())
    job = ReconstructionJob(weights=weights, device=device, objects=objects, settings=settings)
    run(job, objects.slots, results, workers=workers, on_progress=on_progress)
    rows = results.rows
    report = base_report(
        "reconstruction",
        settings.protocol,
        rows,
        config=config,
        code=results.code,
    )
    report["data"] = objects.name
    report["weights"] = {"name": loaded.name, "sha256": loaded.sha256}
    report["summary"] = summarise(scored(rows))
    report["differences"] = _gains(scored(rows), len(loaded.tokenizer.scale_lengths))
    tokens = results.tokens
    if tokens is not None:
        tokenizer = loaded.tokenizer
        report["tokens"] = token_report(tokens, tokenizer.scale_lengths, tokenizer.num_bits)
    report["objects"] = rows
    results.finish(report, _table(report))
    return report


def _gains(rows: Sequence[Row], num_scales: int) -> dict[str, Any]:
    """What each scale adds to the IoU, object by object."""
    columns = columns_of(rows)
    if not rows:
        return {}
    gains = {
        f"prefix_iou_{k + 1}-prefix_iou_{k}": columns[f"prefix_iou_{k + 1}"]
        - columns[f"prefix_iou_{k}"]
        for k in range(1, num_scales)
    }
    return {name: interval.to_json() for name, interval in bootstrap(gains).items()}


def _table(report: Mapping[str, Any]) -> str:
    lines = [markdown(f"Reconstruction of {report['data']} by {report['weights']['name']}", report)]
    if "tokens" in report:
        lines += ["| scale | tokens | prefix IoU | usage | perplexity | bit entropy |"]
        lines += ["|---" * 6 + "|"]
        for number, scale in enumerate(report["tokens"]["scales"], start=1):
            lines.append(
                f"| {number} | {scale['tokens']} | "
                f"{cell(report['summary'].get(f'prefix_iou_{number}'))} | {scale['usage']:.3f} | "
                f"{scale['perplexity']:.1f} | {scale['bit_entropy']:.3f} |"
            )
    return "\n".join(lines) + "\n\n" + difference_table(report["differences"])


def refused(object_id: str, slot: int, error: Exception) -> Measured:
    """An object without a usable truth: no numbers, but a reason."""
    return Measured(slot, ({"id": object_id, "problem": str(error)},))


def reconstruct(
    shape: SourceShape, slot: int, weights: LoadedWeights, settings: EvaluationSettings
) -> Measured:
    """Score one shape.

    Raises:
        ShapeError, MeshError: if its truth is of no use.
    """
    truth = load_truth(shape, settings)
    surface = shape.sample_surface(weights.config.num_points, object_rng(shape.id, settings, 4))
    coded = code_shape(weights.tokenizer, surface)
    whole = coded.fields[-1]
    extraction = extract_surface(whole, resolution=settings.resolution, seeds=surface.points)
    scores = score(extraction.mesh, truth, settings)
    near = near_surface_labels(truth, settings)
    predicted = whole(near.points) > 0
    row: Row = {
        "id": truth.id,
        "family": truth.family,
        **scores.to_row(),
        "empty": extraction.mesh.is_empty,
        "near_accuracy": label_accuracy(predicted, near.inside),
        **prefix_ious(coded, truth, settings),
        "queries": extraction.queries,
        "queries_dense": extraction.queries_dense,
        "problem": None,
    }
    return Measured(slot, (row,), coded.tokens)


def score(
    mesh: TriangleMesh | None,
    truth: Truth,
    settings: EvaluationSettings,
    contains: Contains | None = None,
) -> MeshScores:
    """Score a predicted mesh; `contains` defaults to the winding number of a closed mesh."""
    if mesh is None or mesh.is_empty:
        mesh, contains = None, None
    return compare_meshes(
        mesh,
        truth.mesh,
        truth.contains,
        rng=object_rng(truth.id, settings, 0),
        num_volume=settings.num_volume,
        num_surface=settings.num_surface,
        prediction_contains=contains or (None if mesh is None else winding_test(mesh)),
        truth_samples=truth.samples,
    )


def prefix_ious(coded: CodedShape, truth: Truth, settings: EvaluationSettings) -> dict[str, float]:
    """IoU after each prefix of scales (`prefix_iou_1` is the coarsest), asked of the field."""
    labels = uniform_labels(truth, settings.num_prefix, settings)
    found: dict[str, float] = {}
    for number, field in enumerate(coded.fields, start=1):
        inside = field(labels.points) > 0
        found[f"prefix_iou_{number}"] = occupancy_iou(inside, labels.inside)
    return found


def token_report(tokens: np.ndarray, scale_lengths: Sequence[int], num_bits: int) -> dict[str, Any]:
    """Use of the vocabulary over a set of shapes (objects, T), per scale and in all."""
    indices_BT = torch.from_numpy(tokens)
    parts = indices_BT.split(list(scale_lengths), dim=1)
    scales = [
        {"tokens": length, **asdict(scale_statistics(part, num_bits))}
        for length, part in zip(scale_lengths, parts, strict=True)
    ]
    overall = asdict(scale_statistics(indices_BT, num_bits))
    return {"num_shapes": len(tokens), "num_bits": num_bits, "all": overall, "scales": scales}
