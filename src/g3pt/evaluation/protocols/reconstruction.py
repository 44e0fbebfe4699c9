"""Reconstruction: a shape's surface points through the tokenizer and back, scale by scale.

T tokens; unit frame.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from g3pt.config import to_json
from g3pt.evaluation.bootstrap import bootstrap
from g3pt.evaluation.judging import score
from g3pt.evaluation.objects import (
    EvaluationSettings,
    ObjectList,
    Truth,
    data_hash,
    load_truth,
    near_surface_labels,
    object_rng,
    uniform_labels,
)
from g3pt.evaluation.report.summary import (
    cell,
    columns_of,
    difference_table,
    markdown,
    scored,
    summarise,
)
from g3pt.evaluation.results import Measured, Results, Row
from g3pt.evaluation.run import Evaluation, Measure, Progress, measure_objects
from g3pt.generation.field import ShapeField
from g3pt.generation.surface import encode_samples, surface_tensors
from g3pt.geometry.isosurface import Extraction, extract_surface
from g3pt.geometry.metrics import label_accuracy, occupancy_iou
from g3pt.geometry.sampling import SurfaceSamples
from g3pt.models.token_statistics import scale_statistics
from g3pt.models.tokenizer import DiscreteTokenizer, Tokenizer
from g3pt.models.weights.load import LoadedWeights
from g3pt.preparation.sources import SourceShape
from g3pt.training.usable import load_models
from g3pt.work.engines import Engine


def evaluate_reconstruction(
    weights: str | Path,
    objects: ObjectList,
    settings: EvaluationSettings,
    *,
    device: str = "cpu",
    out: Path | None = None,
    engine: Engine | None = None,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Reconstruct and score a set of objects.

    Args:
        weights: a weights folder, a run folder or a bundled name.
        objects: what to reconstruct.
        settings: how finely to measure.
        device: where the tokenizer runs.
        out: folder of the results; a rerun with the same arguments goes on where it stopped.
        engine: runs the work; by default this process. The numbers do not depend on it.
        on_progress: is told how many objects are done.

    Returns:
        The report, as JSON values.

    Raises:
        FileNotFoundError, ValueError: if weights, objects or `out` cannot be used.
    """
    loaded = load_models(weights, device)
    load = partial(_load, weights, device, settings)
    return Evaluation(
        kind="reconstruction",
        protocol=settings.protocol,
        config={
            "kind": "reconstruction",
            "settings": to_json(settings),
            "weights": loaded.sha256,
            "data": data_hash(objects),
        },
        slots=objects.slots,
        measure=lambda slots: measure_objects(objects, load, slots, engine),
        describe=partial(_describe, tokenizer=loaded.tokenizer),
        table=_table,
        about={
            "data": objects.name,
            "weights": {"name": loaded.name, "sha256": loaded.sha256},
        },
    ).run(out, on_progress)


def _load(weights: str | Path, device: str, settings: EvaluationSettings) -> Measure:
    return partial(reconstruct, weights=load_models(weights, device), settings=settings)


def _describe(results: Results, tokenizer: Tokenizer) -> dict[str, Any]:
    rows = scored(results.rows)
    found: dict[str, Any] = {
        "summary": summarise(rows),
        "differences": _gains(rows, len(tokenizer.scale_lengths)),
    }
    if results.tokens is not None:
        tokens = token_report(results.tokens, tokenizer.scale_lengths, tokenizer.num_bits)
        found["tokens"] = tokens
    return found


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


def reconstruct(
    shape: SourceShape, slot: int, weights: LoadedWeights, settings: EvaluationSettings
) -> Measured:
    """Score one shape.

    Raises:
        ShapeError, MeshError: if its truth is of no use.
    """
    truth = load_truth(shape, settings)
    surface = shape.sample_surface(weights.config.num_points, object_rng(shape.id, settings, 4))
    coded, extraction = reconstructed(weights.tokenizer, surface, settings)
    whole = coded.fields[-1]
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


def reconstructed(
    tokenizer: Tokenizer, surface: SurfaceSamples, settings: EvaluationSettings
) -> "tuple[CodedShape, Extraction]":
    """A shape after the bottleneck, and the mesh of all scales.

    Args:
        tokenizer: of any kind.
        surface: what the tokenizer reads of the shape; the search for the surface starts there.
        settings: resolution of the mesh.
    """
    coded = code_shape(tokenizer, surface)
    mesh = extract_surface(coded.fields[-1], resolution=settings.resolution, seeds=surface.points)
    return coded, mesh


@dataclass(frozen=True, eq=False)
class CodedShape:
    """A shape after the bottleneck of a tokenizer."""

    fields: tuple[ShapeField, ...]
    """Its field after each prefix of scales, coarsest first; the last is the whole."""
    tokens: tuple[int, ...]
    """Vocabulary indices of all scales end to end; empty if the bottleneck is continuous."""


@torch.inference_mode()
def code_shape(tokenizer: Tokenizer, samples: SurfaceSamples) -> CodedShape:
    """Encode a surface and decode it; a discrete tokenizer decodes from its tokens alone."""
    if isinstance(tokenizer, DiscreteTokenizer):
        indices_T = encode_samples(tokenizer, samples)
        stops = np.cumsum(tokenizer.scale_lengths)
        fields = tuple(ShapeField.from_tokens(tokenizer, indices_T[:stop]) for stop in stops)
        return CodedShape(fields, tuple(indices_T.tolist()))
    device = next(tokenizer.parameters()).device
    coded = tokenizer.quantize(tokenizer.encode(*surface_tensors(samples, device)))
    fields = tuple(
        ShapeField(tokenizer, tokenizer.shape_memory(prefix_1LC, scale))
        for scale, prefix_1LC in enumerate(coded.prefixes, start=1)
    )
    return CodedShape(fields, ())


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
