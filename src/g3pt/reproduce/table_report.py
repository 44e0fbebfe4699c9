"""A reproduced table as Markdown, CSV and a plot."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, assert_never

from g3pt.evaluation.protocols.likelihood import PROTOCOL as LIKELIHOOD_PROTOCOL
from g3pt.evaluation.report.plots import Curve, Dot, Panel, plot_curves, plot_dots
from g3pt.evaluation.report.summary import cell
from g3pt.evaluation.results import Row, to_csv
from g3pt.files import write_whole
from g3pt.reproduce.experiments import EvaluationSet, Experiment, LikelihoodSet, MeasuredSet
from g3pt.reproduce.figure6 import plot_scaling, scaling_lines
from g3pt.reproduce.tabulate import Comparison, Reproduction, TableRow

_FACTS_NOTE = (
    "Validation: on the runs' own validation shapes, seed by seed; the IoU is that of the field at "
    "uniform points, usage the share of the codebook that occurs, entropy that of a bit across "
    "shapes."
)
METRIC_NAMES = {
    "iou": "IoU",
    "chamfer_mean": "Chamfer",
    "fscore_001": "F@0.01",
    "normal_consistency": "normals",
    "components": "parts",
    "near_accuracy": "accuracy",
    "coverage": "coverage",
    "one_nna": "1-NNA",
    "ce": "cross-entropy, nats a token",
    "bits_per_shape": "bits a shape",
}
"""Heads of columns; `ce_1` and so on are named after their scale."""
PAPER_COLUMNS = (
    ("iou", "IoU %"),
    ("chamfer", "Cham."),
    ("fscore", "F %"),
    ("accuracy", "Acc. %"),
    ("usage", "Usage %"),
)


def write_report(table: Reproduction, folder: Path) -> list[Path]:
    """Write `NAME-SCALE.md`, `.csv`, `.json` and `.png`; each appears whole or not at all.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    experiment = table.experiment
    base = folder / f"{experiment.name}-{experiment.scale}"
    files = [base.with_suffix(suffix) for suffix in (".md", ".csv", ".json", ".png")]
    plot_table(files[3], table)
    write_whole(files[0], markdown(table, files[3].name))
    write_whole(files[1], to_csv([flat(row) for row in table.rows]))
    write_whole(files[2], rounded_json(table.to_json()))
    return files


def rounded_json(values: dict[str, Any]) -> str:
    """JSON on one line, with fractions of four digits, which is below the noise of any score."""
    whole = json.dumps(values, allow_nan=False)
    rounded = json.loads(whole, parse_float=lambda digits: float(f"{float(digits):.4g}"))
    return json.dumps(rounded, separators=(",", ":")) + "\n"


def markdown(table: Reproduction, picture: str) -> str:
    """The table with the paper's numbers, the comparisons, and the cost."""
    experiment = table.experiment
    lines = [f"# {experiment.title}, {experiment.scale} scale", ""]
    lines += [_preamble(table), ""]
    if table.missing:
        lines += [f"**Not complete:** {table.missing} runs are not finished.", ""]
    for one in experiment.evaluation:
        rows = [row for row in table.rows if row.set == one.name]
        lines += [f"## {_heading(one)}", "", *_score_lines(rows), ""]
        comparisons = [entry for entry in table.comparisons if entry.set == one.name]
        if comparisons:
            lines += [*_comparison_lines(comparisons), ""]
        at_equal = [entry for entry in table.at_equal_operations if entry.set == one.name]
        if at_equal:
            lines += [f"### {one.name}, at equal operations", "", *_comparison_lines(at_equal), ""]
    if experiment.axis == "parameters":
        lines += ["## Power law", "", *scaling_lines(table), ""]
    if table.timings:
        lines += ["## Seconds a shape", "", *_timing_lines(table), ""]
    lines += ["## Models and cost", "", _FACTS_NOTE, "", *_fact_lines(table, experiment), ""]
    lines += [f"![{experiment.title}]({picture})", ""]
    return "\n".join(lines)


def _preamble(table: Reproduction) -> str:
    experiment, machine = table.experiment, table.machine
    sizes = [row.parameters for row in table.rows]
    threads = "one thread a run" if machine["accelerator"] == "none" else machine["accelerator"]
    return (
        f"`g3pt reproduce {experiment.name} --scale {experiment.scale}`; commit "
        f"{machine['commit']}, torch {machine['versions']['torch']}, {machine['machine']}, "
        f"{threads}. Mean [95 % interval] over seeds and objects; {min(sizes):,} to "
        f"{max(sizes):,} parameters a row. The paper's numbers stand beside ours for their order, "
        "not their height: other data, other sizes, other training."
    )


def _heading(one: MeasuredSet) -> str:
    match one:
        case EvaluationSet():
            return f"{one.name}: {one.settings.protocol}"
        case LikelihoodSet():
            return f"{one.name}: {LIKELIHOOD_PROTOCOL}"
        case _:
            assert_never(one)


def metric_name(metric: str) -> str:
    """Head of a column."""
    return METRIC_NAMES.get(metric) or metric.replace("ce_", "scale ")


def _score_lines(rows: Sequence[TableRow]) -> list[str]:
    paper = [(key, name) for key, name in PAPER_COLUMNS if any(key in row.paper for row in rows)]
    metrics = list(dict.fromkeys(metric for row in rows for metric in row.scores))
    names = ["", "tokens", *map(metric_name, metrics), "seeds"]
    names += [f"paper {name}" for _, name in paper]
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    for row in rows:
        cells = [row.label, str(row.facts.tokens)]
        cells += [cell(row.scores.get(metric)) for metric in metrics]
        cells.append(", ".join(f"{value:.3f}" for value in row.by_seed[metrics[0]]))
        cells += [_number(row.paper.get(key)) for key, _ in paper]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _comparison_lines(comparisons: Sequence[Comparison]) -> list[str]:
    names = ("comparison", "difference [95 % interval]", "paper", "seeds", "outcome")
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    for entry in comparisons:
        difference = f"{entry.difference:+.4f} [{entry.low:+.4f}, {entry.high:+.4f}]"
        paper = "" if entry.paper is None else f"{entry.paper:+.4f}"
        seeds = f"{entry.seeds[0]} and {entry.seeds[1]}"
        verdict = verdict_of(entry)
        lines.append(f"| {entry.claim} | {difference} | {paper} | {seeds} | {verdict} |")
    return lines


def verdict_of(entry: Comparison) -> str:
    """The outcome in words; a question of our own is answered, not reproduced."""
    if entry.of_paper:
        return entry.outcome
    return {"reproduced": "yes", "not reproduced": "no, worse"}.get(entry.outcome, "not told apart")


def _fact_lines(table: Reproduction, experiment: Experiment) -> list[str]:
    rows = [row for row in table.rows if row.set == experiment.evaluation[0].name]
    facts = [row.facts.cells() for row in rows]
    heads = list(dict.fromkeys(head for cells in facts for head in cells))
    names = ["", "parameters", *heads, "GFLOP a step", "steps", "core minutes"]
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    for row, cells in zip(rows, facts, strict=True):
        minutes = "" if row.core_minutes is None else f"{row.core_minutes:.1f}"
        shown = [row.label, f"{row.parameters:,}", *(cells.get(head, "") for head in heads)]
        shown += [f"{row.flops_per_step / 1e9:.3g}", f"{row.steps:,}", minutes]
        lines.append("| " + " | ".join(shown) + " |")
    return lines


def _timing_lines(table: Reproduction) -> list[str]:
    compared = next(t.label for t in table.timings if t.variant == table.experiment.timed)
    lines = [
        "One shape at a time on one thread, from the picture to a field and from the field to a "
        f"mesh; rows are asked in turn, medians over rounds. Ratio: to {compared}, [smallest, "
        "largest] of a round.",
        "",
        "| | picture to field, s | ratio | field to mesh, s |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {t.label} | {t.sample:.4f} | {t.ratio:.2f} [{t.ratio_low:.2f}, {t.ratio_high:.2f}] | "
        f"{t.extract:.3f} |"
        for t in table.timings
    ]
    return lines


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def flat(row: TableRow) -> Row:
    """A row of the CSV."""
    columns: Row = {
        "variant": row.variant,
        "label": row.label,
        "set": row.set,
        **row.facts.columns(),
        "parameters": row.parameters,
        "flops_per_step": row.flops_per_step,
        "steps": row.steps,
        "core_minutes": row.core_minutes,
        "num_seeds": len(row.seeds),
    }
    for metric, score in row.scores.items():
        columns |= {metric: score["mean"]}
        columns |= {f"{metric}_{edge}": score[edge] for edge in ("low", "high")}
    return columns | {f"paper_{key}": value for key, value in row.paper.items()}


def plot_table(path: Path, table: Reproduction) -> None:
    """Scores against tokens, codebook or parameters, or of every row."""
    experiment = table.experiment
    rows = [row for row in table.rows if row.set == experiment.evaluation[0].name]
    if experiment.axis == "parameters":
        plot_scaling(path, table)
        return
    if experiment.axis:
        panels = [_panel(experiment, rows, metric) for metric in ("iou", "chamfer_mean")]
        plot_curves(path, panels, title=experiment.title)
        return
    metric = next(iter(rows[0].scores))
    plot_dots(
        path,
        [Dot(label=row.label, **row.scores[metric], points=row.by_seed[metric]) for row in rows],
        x_label=metric_name(metric),
        title=f"{experiment.title} ({experiment.scale})",
    )


def _panel(experiment: Experiment, rows: Sequence[TableRow], metric: str) -> Panel:
    names = {variant.name: variant.curve for variant in experiment.variants}
    of_curve: dict[str, list[TableRow]] = {}
    for row in rows:
        of_curve.setdefault(names[row.variant] or f"CVQ ({experiment.scale})", []).append(row)
    return Panel(
        curves=[_curve(experiment, label, points, metric) for label, points in of_curve.items()],
        x_label={
            "tokens": "tokens",
            "codebook": "entries of the codebook",
            "operations": "operations of the training",
        }[experiment.axis],
        y_label={"iou": "IoU", "chamfer_mean": "Chamfer distance"}[metric],
        log_x=True,
    )


def _curve(experiment: Experiment, label: str, rows: Sequence[TableRow], metric: str) -> Curve:
    def edge(score: str) -> list[float]:
        return [row.scores[metric][score] for row in rows]

    x: list[Any] = [
        row.flops_per_step * row.steps
        if experiment.axis == "operations"
        else row.facts.columns()[experiment.axis]
        for row in rows
    ]
    return Curve(x=x, y=edge("mean"), low=edge("low"), high=edge("high"), label=label, marker="o")
