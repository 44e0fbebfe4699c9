"""From finished rows to a table beside the paper's, and what became of each comparison."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, get_args

import numpy as np

from g3pt.config import to_json
from g3pt.evaluation.comparison import Outcome, outcome, seeded_difference, seeded_mean
from g3pt.evaluation.report import config_hash
from g3pt.models.tokenizers import build_tokenizer
from g3pt.recipes.choices import choices
from g3pt.recipes.experiments import Claim, Experiment, Scale, Variant
from g3pt.recipes.series import FinishedRow
from g3pt.recipes.tables import budget, table2, table3a, table3b, table4

EXPERIMENTS: dict[str, Callable[[Scale], Experiment]] = {
    "table2": table2,
    "table3a": table3a,
    "table3b": table3b,
    "table4": table4,
    "budget": budget,
    "choices": choices,
}
"""By the name that `g3pt reproduce` takes."""

SCALES: tuple[Scale, ...] = get_args(Scale)
"""Smallest first."""

METRICS = ("iou", "chamfer_mean", "fscore_001", "near_accuracy")
"""Measured on every object; the paper's IoU, Cham., F-score and Acc."""

PAPER_METRICS = {
    "iou": "iou",
    "chamfer_mean": "chamfer",
    "fscore_001": "fscore",
    "near_accuracy": "accuracy",
    "usage": "usage",
}
"""Our column -> key of `Variant.paper`."""


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """A variant on one evaluation set, over its seeds."""

    variant: str
    label: str
    set: str
    tokens: int
    codebook: int
    """Entries; 0 where the bottleneck is continuous."""
    bits: int
    """Of a whole shape; a continuous latent is counted as 16-bit numbers."""
    parameters: int
    flops_per_step: int
    core_minutes: float | None
    """Processor time of one training, mean over seeds; None if it was not trained here."""
    seeds: tuple[int, ...]
    scores: dict[str, dict[str, float]]
    """Metric -> mean, low, high over seeds and objects."""
    by_seed: dict[str, tuple[float, ...]]
    """Metric -> mean over objects, seed by seed."""
    validation_iou: tuple[float, ...]
    """Of the field on the run's own validation shapes, seed by seed."""
    usage: float | None
    """Share of the codebook that occurs in the validation shapes of the run, mean over seeds."""
    usage_by_scale: tuple[float, ...]
    bit_entropy_by_scale: tuple[float, ...]
    paper: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A claim and what became of it."""

    claim: str
    set: str
    metric: str
    of_paper: bool
    difference: float
    low: float
    high: float
    paper: float | None
    """The paper's difference, in our units."""
    seeds: tuple[int, int]
    outcome: Outcome


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """A table as measured."""

    experiment: Experiment
    rows: tuple[TableRow, ...]
    comparisons: tuple[Comparison, ...]
    missing: int
    """Rows, seeds counted, that are not finished; comparisons with them are left out."""
    machine: dict[str, Any]
    """Where and with what code the rows were trained; several commits if they differ."""

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        experiment = self.experiment
        return {
            "name": experiment.name,
            "scale": experiment.scale,
            "recipe": config_hash({"experiment": to_json(experiment)}),
            "rows": [asdict(row) for row in self.rows],
            "comparisons": [asdict(comparison) for comparison in self.comparisons],
            "missing": self.missing,
            "machine": self.machine,
        }


def experiment_of(name: str, scale: Scale) -> Experiment:
    """A table by name.

    Raises:
        ValueError: if there is none of that name.
    """
    if name not in EXPERIMENTS:
        raise ValueError(f"{name!r}: nothing of that name; there are {', '.join(EXPERIMENTS)}")
    return EXPERIMENTS[name](scale)


def tabulate(experiment: Experiment, finished: Sequence[FinishedRow]) -> Reproduction:
    """Put finished rows side by side.

    Raises:
        ValueError: if there is none.
    """
    if not finished:
        raise ValueError(f"{experiment.name}: no row is finished yet")
    by_variant = {
        variant.name: [row for row in finished if row.variant == variant.name]
        for variant in experiment.variants
    }
    present = {name for name, rows in by_variant.items() if rows}
    wanted = sum(len(variant.seeds) for variant in experiment.variants)
    sets = [one.name for one in experiment.evaluation]
    rows = [
        _table_row(variant, by_variant[variant.name], name)
        for name in sets
        for variant in experiment.variants
        if variant.name in present
    ]
    papers = {variant.name: variant.paper for variant in experiment.variants}
    comparisons = [
        _compare(claim, by_variant, name, papers)
        for name in sets
        for claim in experiment.claims
        if {claim.better, claim.worse} <= present
    ]
    return Reproduction(
        experiment=experiment,
        rows=tuple(rows),
        comparisons=tuple(comparisons),
        missing=wanted - len(finished),
        machine=_machine(finished),
    )


def _table_row(variant: Variant, finished: Sequence[FinishedRow], name: str) -> TableRow:
    values = {metric: _values(finished, name, metric) for metric in METRICS}
    tokenizer = build_tokenizer(variant.run.model)
    tokens = sum(tokenizer.scale_lengths)
    numbers = int(np.prod(tokenizer.noise_shape)) if tokenizer.noise_shape else 0
    health = [row.summary["validation"] for row in finished]
    scales = range(tokenizer.num_scales if tokenizer.num_bits else 0)
    return TableRow(
        variant=variant.name,
        label=variant.label,
        set=name,
        tokens=tokens,
        codebook=2**tokenizer.num_bits if tokenizer.num_bits else 0,
        bits=tokens * tokenizer.num_bits or 16 * numbers,
        parameters=finished[0].summary["parameters"],
        flops_per_step=finished[0].summary["flops_per_step"],
        core_minutes=_core_minutes(finished),
        seeds=tuple(row.seed for row in finished),
        scores={
            metric: {key: asdict(seeded_mean(found))[key] for key in ("mean", "low", "high")}
            for metric, found in values.items()
        },
        by_seed={metric: tuple(found.mean(axis=1).tolist()) for metric, found in values.items()},
        validation_iou=tuple(one["iou"] for one in health),
        usage=_mean([one["usage"] for one in health]) if tokenizer.num_bits else None,
        usage_by_scale=tuple(_mean([one[f"usage/{k}"] for one in health]) for k in scales),
        bit_entropy_by_scale=tuple(
            _mean([one[f"bit_entropy/{k}"] for one in health]) for k in scales
        ),
        paper=variant.paper,
    )


def _core_minutes(finished: Sequence[FinishedRow]) -> float | None:
    known = [
        row.summary["processor_seconds_per_step"] * row.summary["steps"] / 60
        for row in finished
        if row.summary["processor_seconds_per_step"] is not None
    ]
    return _mean(known) if known else None


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _values(finished: Sequence[FinishedRow], name: str, metric: str) -> np.ndarray:
    """Scores (seeds, objects)."""
    return np.array(
        [
            [float(row[metric]) for row in one.objects[name] if row.get(metric) is not None]
            for one in finished
        ]
    )


def _compare(
    claim: Claim,
    by_variant: Mapping[str, Sequence[FinishedRow]],
    name: str,
    papers: Mapping[str, Mapping[str, float]],
) -> Comparison:
    better, worse = by_variant[claim.better], by_variant[claim.worse]
    if claim.metric == "usage":  # of a set of shapes: there are seeds to draw again, no objects
        ours, other = (
            np.array([[row.summary["validation"]["usage"]] for row in rows])
            for rows in (better, worse)
        )
    else:
        ours, other = (_values(rows, name, claim.metric) for rows in (better, worse))
    difference = seeded_difference(ours, other)
    return Comparison(
        claim=claim.text,
        set=name,
        metric=claim.metric,
        of_paper=claim.of_paper,
        difference=difference.mean,
        low=difference.low,
        high=difference.high,
        paper=_paper_difference(claim, papers),
        seeds=(len(better), len(worse)),
        outcome=outcome(difference, higher_is_better=claim.higher_is_better),
    )


def _paper_difference(claim: Claim, papers: Mapping[str, Mapping[str, float]]) -> float | None:
    key = PAPER_METRICS[claim.metric]
    better, worse = papers[claim.better], papers[claim.worse]
    if key not in better or key not in worse:
        return None
    percent = 1.0 if key == "chamfer" else 0.01
    return (better[key] - worse[key]) * percent


def _machine(finished: Sequence[FinishedRow]) -> dict[str, Any]:
    environments = [row.summary["environment"] for row in finished]
    commits = sorted({environment["commit"][:10] for environment in environments})
    return {**environments[0], "commit": ", ".join(commits)}
