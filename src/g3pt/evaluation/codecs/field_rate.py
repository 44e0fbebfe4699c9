"""Quality of decoded fields against bits a shape, object by object; no mesh is made.

IoU is that of the field at uniform points of the query cube, near-surface accuracy that of its
labels around the true surface. Points and labels are those of the reconstruction protocol and the
same for every codec, so rows of two codecs can be paired. Unit frame.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from g3pt.config import to_json
from g3pt.evaluation.codecs.field_codecs import FieldCodec
from g3pt.evaluation.objects import (
    EvaluationSettings,
    ObjectList,
    data_hash,
    load_truth,
    near_surface_labels,
    object_rng,
    uniform_labels,
)
from g3pt.evaluation.report.field_rate import METRICS, by_method
from g3pt.evaluation.report.summary import cell, scored
from g3pt.evaluation.results import Measured
from g3pt.evaluation.run import Evaluation, Progress, measure_objects
from g3pt.geometry.metrics import label_accuracy, occupancy_iou
from g3pt.preparation.sources import SourceShape


def evaluate_field_rate(
    codec: FieldCodec,
    objects: ObjectList,
    settings: EvaluationSettings,
    *,
    name: str,
    out: Path | None = None,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure a codec at every number of bits that it has.

    Args:
        codec: a trained model.
        objects: what to encode.
        settings: how finely to measure.
        name: of the codec, for the report.
        out: folder of the results; a rerun with the same arguments goes on where it stopped.
        on_progress: is told how many objects are done.

    Returns:
        The report, as JSON values; `objects` has a row for every object and number of bits.

    Raises:
        ValueError: if `out` holds results of something else.
    """
    identity = codec.identity
    return Evaluation(
        kind="field-rate",
        protocol=settings.protocol,
        config={
            "kind": "field-rate",
            "settings": to_json(settings),
            **identity,
            "data": data_hash(objects),
        },
        slots=objects.slots,
        measure=lambda slots: measure_objects(
            objects, lambda: partial(measure, codec=codec, settings=settings), slots
        ),
        describe=lambda results: {"summary": by_method(scored(results.rows))},
        table=_table,
        about={
            "data": objects.name,
            "weights": {"name": name, "sha256": identity["weights"]},
        },
    ).run(out, on_progress)


def measure(
    shape: SourceShape, slot: int, codec: FieldCodec, settings: EvaluationSettings
) -> Measured:
    """One row for every number of bits of one shape.

    Raises:
        ShapeError, MeshError: if its truth is of no use.
    """
    truth = load_truth(shape, settings)
    surface = shape.sample_surface(codec.num_points, object_rng(shape.id, settings, 4))
    volume = uniform_labels(truth, settings.num_prefix, settings)
    near = near_surface_labels(truth, settings)
    points = np.concatenate([volume.points, near.points]).astype(np.float32)
    rows = []
    for rated in codec.code(surface):
        inside = rated.field(points) > 0
        rows.append(
            {
                "id": truth.id,
                "family": truth.family,
                "method": rated.method,
                "bits": rated.bits,
                "iou": occupancy_iou(inside[: len(volume.points)], volume.inside),
                "near_accuracy": label_accuracy(inside[len(volume.points) :], near.inside),
                "problem": None,
            }
        )
    return Measured(slot, tuple(rows))


def _table(report: Mapping[str, Any]) -> str:
    lines = [
        f"# Fields against bits: {report['data']} by {report['weights']['name']}",
        "",
        f"Protocol {report['protocol']}, {report['counts']['objects']} objects. "
        "Mean [95 % interval].",
        "",
        "| method | bits | " + " | ".join(METRICS.values()) + " |",
        "|---" * (2 + len(METRICS)) + "|",
    ]
    for method, entry in report["summary"].items():
        cells = [cell(entry[metric]) for metric in METRICS]
        lines.append(f"| {method} | {entry['bits']['mean']:.0f} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
