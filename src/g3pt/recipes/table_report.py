"""A reproduced table as Markdown, CSV and a plot."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from g3pt.evaluation.plots import Curve, Dot, Panel, plot_curves, plot_dots
from g3pt.evaluation.report import cell
from g3pt.evaluation.results import Row, to_csv, write_whole
from g3pt.recipes.experiments import Experiment
from g3pt.recipes.reproduce import Comparison, Reproduction, TableRow

_HEALTH_NOTE = (
    "On the validation shapes of the runs, seed by seed: IoU of the field at uniform points, share "
    "of the codebook that occurs, entropy of a bit across shapes."
)
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
    write_whole(files[0], markdown(table, files[3].name).encode())
    write_whole(files[1], to_csv([flat(row) for row in table.rows]).encode())
    text = json.dumps(table.to_json(), indent=2, allow_nan=False) + "\n"
    write_whole(files[2], text.encode())
    return files


def markdown(table: Reproduction, picture: str) -> str:
    """The table beside the paper's, the comparisons, and what it cost."""
    experiment = table.experiment
    lines = [f"# {experiment.title}, {experiment.scale} scale", ""]
    lines += [_preamble(table), ""]
    if table.missing:
        lines += [f"**Not complete:** {table.missing} runs are not finished.", ""]
    for one in experiment.evaluation:
        rows = [row for row in table.rows if row.set == one.name]
        lines += [f"## {one.name}: {one.settings.protocol}", "", *_score_lines(rows), ""]
        comparisons = [entry for entry in table.comparisons if entry.set == one.name]
        lines += [*_comparison_lines(comparisons), ""]
    lines += [
        "## Codebook use and cost",
        "",
        _HEALTH_NOTE,
        "",
        *_health_lines(table, experiment),
        "",
    ]
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


def _score_lines(rows: Sequence[TableRow]) -> list[str]:
    paper = [(key, name) for key, name in PAPER_COLUMNS if any(key in row.paper for row in rows)]
    names = ["", "tokens", "IoU", "Chamfer", "F@0.01", "accuracy", "seeds"]
    names += [f"paper {name}" for _, name in paper]
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    for row in rows:
        cells = [row.label, str(row.tokens)]
        cells += [cell(row.scores[metric]) for metric in row.scores]
        cells.append(", ".join(f"{value:.3f}" for value in row.by_seed["iou"]))
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


def _health_lines(table: Reproduction, experiment: Experiment) -> list[str]:
    lines = [
        "| | parameters | bits a shape | validation IoU | usage % | usage % by scale | "
        "bit entropy by scale | GFLOP a step | core minutes |",
        "|---" * 9 + "|",
    ]
    for row in table.rows:
        if row.set != experiment.evaluation[0].name:
            continue
        by_scale = " ".join(f"{100 * value:.1f}" for value in row.usage_by_scale)
        entropy = " ".join(f"{value:.2f}" for value in row.bit_entropy_by_scale)
        minutes = "" if row.core_minutes is None else f"{row.core_minutes:.1f}"
        validation = ", ".join(f"{value:.3f}" for value in row.validation_iou)
        usage = "" if row.usage is None else f"{100 * row.usage:.1f}"
        lines.append(
            f"| {row.label} | {row.parameters:,} | {row.bits} | {validation} | {usage} | "
            f"{by_scale} | {entropy} | {row.flops_per_step / 1e9:.3g} | {minutes} |"
        )
    return lines


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def flat(row: TableRow) -> Row:
    """A row of the CSV."""
    columns: Row = {
        "variant": row.variant,
        "label": row.label,
        "set": row.set,
        "tokens": row.tokens,
        "codebook": row.codebook,
        "bits": row.bits,
        "parameters": row.parameters,
        "flops_per_step": row.flops_per_step,
        "core_minutes": row.core_minutes,
        "num_seeds": len(row.seeds),
    }
    for metric, score in row.scores.items():
        columns |= {metric: score["mean"]}
        columns |= {f"{metric}_{edge}": score[edge] for edge in ("low", "high")}
    columns["usage"] = row.usage
    return columns | {f"paper_{key}": value for key, value in row.paper.items()}


def plot_table(path: Path, table: Reproduction) -> None:
    """IoU and Chamfer against tokens or codebook, or of every row."""
    experiment = table.experiment
    rows = [row for row in table.rows if row.set == experiment.evaluation[0].name]
    if experiment.axis:
        panels = [_panel(experiment, rows, metric) for metric in ("iou", "chamfer_mean")]
        plot_curves(path, panels, title=experiment.title)
        return
    plot_dots(
        path,
        [Dot(label=row.label, **row.scores["iou"], points=row.by_seed["iou"]) for row in rows],
        x_label="IoU",
        title=f"{experiment.title} ({experiment.scale})",
    )


def _panel(experiment: Experiment, rows: Sequence[TableRow], metric: str) -> Panel:
    def curve_of(score: str) -> list[float]:
        return [row.scores[metric][score] for row in rows]

    x: list[Any] = [row.tokens if experiment.axis == "tokens" else row.codebook for row in rows]
    curve = Curve(
        x=x,
        y=curve_of("mean"),
        low=curve_of("low"),
        high=curve_of("high"),
        label=f"CVQ ({experiment.scale})",
        marker="o",
    )
    return Panel(
        curves=[curve],
        x_label={"tokens": "tokens", "codebook": "entries of the codebook"}[experiment.axis],
        y_label={"iou": "IoU", "chamfer_mean": "Chamfer distance"}[metric],
        log_x=True,
    )
