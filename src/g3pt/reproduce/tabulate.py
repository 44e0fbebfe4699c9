"""From finished rows to a table with the paper's numbers, and the outcome of each comparison."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float64

from g3pt.config import to_json
from g3pt.evaluation.bootstrap import Outcome, outcome, seeded_difference, seeded_mean
from g3pt.evaluation.scaling import MIN_SIZES, ScalingFit, fit_scaling
from g3pt.hashes import json_sha256
from g3pt.reproduce.experiments import Claim, Experiment, MeasuredSet, Variant
from g3pt.reproduce.row_timing import RowTiming
from g3pt.reproduce.rows import Facts, kind_of
from g3pt.reproduce.series import FinishedRow

PAPER_METRICS = {
    "iou": "iou",
    "chamfer_mean": "chamfer",
    "fscore_001": "fscore",
    "near_accuracy": "accuracy",
    "usage": "usage",
}
"""Our column -> key of `Variant.paper`."""

SET_METRICS = ("coverage", "one_nna")
"""Of all answers of a generator together; intervals are means over those of the seeds."""


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """A variant on one evaluation set, over its seeds."""

    variant: str
    label: str
    set: str
    parameters: int
    flops_per_step: int
    steps: int
    core_minutes: float | None
    """Processor time of one training, mean over seeds; None if it was not trained here."""
    seeds: tuple[int, ...]
    scores: dict[str, dict[str, float]]
    """Metric -> mean, low, high over seeds and objects."""
    by_seed: dict[str, tuple[float, ...]]
    """Metric -> mean over objects, seed by seed."""
    facts: Facts
    """What belongs to its kind of run."""
    paper: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A claim and its outcome."""

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
    at_equal_operations: tuple[Comparison, ...]
    """Of an experiment over operations: the reference and every other row."""
    missing: int
    """Rows, seeds counted, that are not finished; comparisons with them are left out."""
    scaling: tuple[ScalingFit, ...]
    """Of an experiment over parameters: the law of the first metric without offset and with one,
    on the first set; nothing while too few sizes are finished."""
    timings: tuple[RowTiming, ...]
    """Of an experiment whose rows are timed, when all are finished."""
    machine: dict[str, Any]
    """Where and with what code the rows were trained; several commits if they differ."""

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        experiment = self.experiment
        return {
            "name": experiment.name,
            "scale": experiment.scale,
            "recipe": json_sha256({"experiment": to_json(experiment)}),
            "rows": [asdict(row) for row in self.rows],
            "comparisons": [asdict(comparison) for comparison in self.comparisons],
            "at_equal_operations": [asdict(entry) for entry in self.at_equal_operations],
            "missing": self.missing,
            "scaling": [asdict(fit) for fit in self.scaling],
            "timings": [asdict(timing) for timing in self.timings],
            "machine": self.machine,
        }


def tabulate(
    experiment: Experiment, finished: Sequence[FinishedRow], timings: Sequence[RowTiming] = ()
) -> Reproduction:
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
    rows = [
        _table_row(variant, by_variant[variant.name], one)
        for one in experiment.evaluation
        for variant in experiment.variants
        if variant.name in present
    ]
    variants = {variant.name: variant for variant in experiment.variants}
    comparisons = [
        _compare(claim, variants, by_variant, one)
        for one in experiment.evaluation
        for claim in experiment.claims
        if {claim.better, claim.worse} <= present and _is_measured(claim, variants, one)
    ]
    return Reproduction(
        experiment=experiment,
        rows=tuple(rows),
        comparisons=tuple(comparisons),
        at_equal_operations=tuple(_at_equal_operations(experiment, by_variant)),
        missing=wanted - len(finished),
        scaling=_scaling(experiment, by_variant),
        timings=tuple(timings),
        machine=_machine(finished),
    )


def _is_measured(claim: Claim, variants: Mapping[str, Variant], one: MeasuredSet) -> bool:
    """Whether both rows have the metric of a claim on a set."""
    metrics = [kind_of(variants[name].run).metrics(one) for name in (claim.better, claim.worse)]
    return claim.metric == "usage" or all(claim.metric in known for known in metrics)


def _table_row(variant: Variant, finished: Sequence[FinishedRow], one: MeasuredSet) -> TableRow:
    kind = kind_of(variant.run)
    values = {metric: _values(finished, variant, one, metric) for metric in kind.metrics(one)}
    of_sets = {
        metric: [row.of_sets[one.name][metric] for row in finished]
        for metric in SET_METRICS
        if all(one.name in row.of_sets for row in finished)
    }
    return TableRow(
        variant=variant.name,
        label=variant.label,
        set=one.name,
        parameters=finished[0].summary["parameters"],
        flops_per_step=finished[0].summary["flops_per_step"],
        steps=finished[0].summary["steps"],
        core_minutes=_core_minutes(finished),
        seeds=tuple(row.seed for row in finished),
        scores={
            metric: {key: asdict(seeded_mean(found))[key] for key in ("mean", "low", "high")}
            for metric, found in values.items()
        }
        | {
            metric: {key: _mean([seed[key] for seed in found]) for key in ("mean", "low", "high")}
            for metric, found in of_sets.items()
        },
        by_seed={metric: tuple(found.mean(axis=1).tolist()) for metric, found in values.items()}
        | {metric: tuple(seed["mean"] for seed in found) for metric, found in of_sets.items()},
        facts=kind.facts([row.summary for row in finished]),
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


def _values(
    finished: Sequence[FinishedRow], variant: Variant, one: MeasuredSet, metric: str
) -> np.ndarray:
    """Scores (seeds, objects)."""
    return np.array(
        [
            [
                float(row[metric])
                for row in seed.objects[one.name]
                if row.get(metric) is not None and row.get("method") in (None, variant.method)
            ]
            for seed in finished
        ]
    )


def _compare(
    claim: Claim,
    variants: Mapping[str, Variant],
    by_variant: Mapping[str, Sequence[FinishedRow]],
    one: MeasuredSet,
) -> Comparison:
    better, worse = by_variant[claim.better], by_variant[claim.worse]
    if claim.metric == "usage":  # of a set of shapes: there are seeds to draw again, no objects
        ours, other = (
            np.array([[row.summary["validation"]["usage"]] for row in rows])
            for rows in (better, worse)
        )
    else:
        ours, other = (
            _values(by_variant[name], variants[name], one, claim.metric)
            for name in (claim.better, claim.worse)
        )
    difference = seeded_difference(ours, other)
    return Comparison(
        claim=claim.text,
        set=one.name,
        metric=claim.metric,
        of_paper=claim.of_paper,
        difference=difference.mean,
        low=difference.low,
        high=difference.high,
        paper=_paper_difference(claim, variants),
        seeds=(len(better), len(worse)),
        outcome=outcome(difference, higher_is_better=claim.higher_is_better),
    )


def _at_equal_operations(
    experiment: Experiment, by_variant: Mapping[str, Sequence[FinishedRow]]
) -> list[Comparison]:
    """The reference, interpolated to the operations of every row of another curve, and that row."""
    if experiment.axis != "operations":
        return []
    present = [variant for variant in experiment.variants if by_variant[variant.name]]
    ours = [variant for variant in present if variant.curve == experiment.reference]
    found: list[Comparison] = []
    for one in experiment.evaluation:
        for row in (variant for variant in present if variant.curve != experiment.reference):
            spent = _operations(by_variant[row.name])
            metric = kind_of(row.run).metrics(one)[0]
            curve = [
                (_operations(by_variant[v.name]), _values(by_variant[v.name], v, one, metric))
                for v in ours
            ]
            between = at_operations(curve, spent)
            if between is None:
                continue
            theirs = _values(by_variant[row.name], row, one, metric)
            difference = seeded_difference(between, theirs)
            found.append(
                Comparison(
                    claim=f"{experiment.reference} > {row.curve}, both after {spent / 1e12:.3g} "
                    f"TFLOP ({row.run.train.steps:,} steps of the latter)",
                    set=one.name,
                    metric=metric,
                    of_paper=False,
                    difference=difference.mean,
                    low=difference.low,
                    high=difference.high,
                    paper=None,
                    seeds=(len(between), len(theirs)),
                    outcome=outcome(difference),
                )
            )
    return found


def _operations(finished: Sequence[FinishedRow]) -> int:
    """Of one training of a row."""
    return finished[0].summary["flops_per_step"] * finished[0].summary["steps"]


def at_operations(
    curve: Sequence[tuple[float, Float64[np.ndarray, "_ N"]]], operations: float
) -> Float64[np.ndarray, "_ N"] | None:
    """Scores of a model after some operations, linear in their logarithm between two budgets.

    Args:
        curve: operations of each budget, growing, and its scores (seeds, objects); seeds that two
            neighbours do not share are left out.
        operations: where the curve is read. The ends stand for what is within `NEAR` of them.

    Returns:
        Scores (seeds, objects); None outside the curve.
    """
    if not curve or not curve[0][0] / NEAR <= operations <= curve[-1][0] * NEAR:
        return None
    if operations <= curve[0][0]:
        return curve[0][1]
    for (less, before), (more, after) in pairwise(curve):
        if operations <= more:
            seeds = min(len(before), len(after))
            share = np.log(operations / less) / np.log(more / less)
            return (1.0 - share) * before[:seeds] + share * after[:seeds]
    return curve[-1][1]


NEAR = 1.05
"""Budgets whose operations differ by less than this factor are taken for equal."""


def _scaling(
    experiment: Experiment, by_variant: Mapping[str, Sequence[FinishedRow]]
) -> tuple[ScalingFit, ...]:
    present = [variant for variant in experiment.variants if by_variant[variant.name]]
    if experiment.axis != "parameters" or len(present) < MIN_SIZES:
        return ()
    one = experiment.evaluation[0]
    sizes = [by_variant[variant.name][0].summary["parameters"] for variant in present]
    losses = [
        _values(by_variant[variant.name], variant, one, kind_of(variant.run).metrics(one)[0])
        for variant in present
    ]
    return tuple(
        fit_scaling(np.array(sizes, dtype=np.float64), losses, with_offset=with_offset)
        for with_offset in (False, True)
    )


def _paper_difference(claim: Claim, variants: Mapping[str, Variant]) -> float | None:
    key = PAPER_METRICS.get(claim.metric)
    better, worse = variants[claim.better].paper, variants[claim.worse].paper
    if key is None or key not in better or key not in worse:
        return None
    percent = 1.0 if key == "chamfer" else 0.01
    return (better[key] - worse[key]) * percent


def _machine(finished: Sequence[FinishedRow]) -> dict[str, Any]:
    environments = [row.summary["environment"] for row in finished]
    commits = sorted({environment["commit"][:10] for environment in environments})
    return {**environments[0], "commit": ", ".join(commits)}
