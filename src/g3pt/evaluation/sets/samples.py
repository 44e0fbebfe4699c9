"""Several samples of one prompt: their mean, their spread, and how much they differ. N points."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from jaxtyping import Float64

from g3pt.evaluation.report.summary import columns_of
from g3pt.evaluation.results import TEXT_COLUMNS, Row
from g3pt.geometry.metrics import Contains, occupancy_iou


def mean_over_samples(rows: Sequence[Row]) -> list[Row]:
    """One row per object: means of its samples' numbers, text of the first one.

    What only some samples have is averaged over those; shares come out of truth values.
    """
    found: list[Row] = []
    for own in rows_by_object(rows).values():
        means = {
            name: float(np.nanmean(values))
            for name, values in columns_of(own).items()
            if not np.isnan(values).all()
        }
        texts = {name: own[0][name] for name in own[0] if name in TEXT_COLUMNS}
        found.append({**texts, **means})
    return found


def spread_over_samples(
    rows: Sequence[Row], metrics: Sequence[str]
) -> dict[str, dict[str, dict[str, float]]]:
    """Of every object and metric: mean, std (of a draw, so over one less), min and max."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for object_id, own in rows_by_object(rows).items():
        columns = columns_of(own)
        found[object_id] = {
            name: {
                "mean": float(columns[name].mean()),
                "std": float(columns[name].std(ddof=1)) if len(own) > 1 else 0.0,
                "min": float(columns[name].min()),
                "max": float(columns[name].max()),
            }
            for name in metrics
        }
    return found


def spread_rows(spread: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[Row]:
    """The same as rows with columns `METRIC_std`, `METRIC_min`, `METRIC_max`."""
    return [
        {"id": object_id}
        | {
            f"{name}_{statistic}": values[statistic]
            for name, values in metrics.items()
            for statistic in ("std", "min", "max")
        }
        for object_id, metrics in spread.items()
    ]


def rows_by_object(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows in their order, by the id of their object."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["id"], []).append(row)
    return found


def diversity(
    solids: Sequence[Contains | None], points_N3: Float64[np.ndarray, "N 3"]
) -> float | None:
    """Mean 1 - IoU over all pairs of samples; None for a single sample.

    Args:
        solids: inside tests of the samples; None for an empty one.
        points_N3: where they are asked; two samples without a point inside are equal.
    """
    if len(solids) < 2:
        return None
    nothing = np.zeros(len(points_N3), dtype=bool)
    inside = [nothing if contains is None else contains(points_N3) for contains in solids]
    return float(np.mean([1.0 - occupancy_iou(a, b) for a, b in combinations(inside, 2)]))
