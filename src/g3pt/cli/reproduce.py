"""`g3pt reproduce`: train and measure a table of the paper, and print it next to the paper's."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from g3pt.cli.options import CommonOptions, parse, report, require_folder, say, working
from g3pt.cli.progress import steps
from g3pt.cli.shapes import scales_shown
from g3pt.cli.speech import WITH_TIME, listen

if TYPE_CHECKING:
    from g3pt.reproduce.experiments import Experiment, Scale
    from g3pt.reproduce.figure5 import Gallery
    from g3pt.reproduce.tabulate import Reproduction
    from g3pt.reproduce.trials import Trial


HEARD = ("g3pt.training.ingredients", "g3pt.training.features", "g3pt.reproduce")
"""Loggers that report the progress of making data."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReproduceOptions(CommonOptions):
    """Train what is missing, measure, and print a table with the paper's numbers.

    Finished rows are kept below --runs and reused; a run that was stopped continues.
    `table1`: pictures to shapes by generators and their rivals, timed in turn. `table2`, `table3a`,
    `table3b`, `table4`: tokenizers. `budget`: their kinds after growing numbers of steps, at
    equal steps and at equal operations.
    `choices`: choices that the paper leaves open, in both stages (`car-choices`: in the second
    only). `figure5`: sentences to a gallery of meshes; it trains nothing. `figure6`: generators of
    growing size, and a power law. `unseen`: which training data make a generator work on kinds that
    it never saw. Seeds and training devices are those of the recipes.
    """

    name: Annotated[str, tyro.conf.Positional]
    """table1, table2, table3a, table3b, table4, budget, choices, car-choices, figure5, figure6 or
    unseen."""

    scale: str = "toy"
    """toy: minutes per run on one core. small: for one large GPU. paper: the paper's sizes. smoke:
    seconds, only to check that everything runs."""

    out: Path = Path("docs/results")
    """Folder for the table as Markdown, CSV, JSON and a plot."""

    runs: Path = Path("runs/reproduce")
    """Folder of the trained rows, with a subfolder for every scale."""

    workers: int = 1
    """Runs at the same time, each on one thread."""

    dry_run: bool = False
    """Print the rows with their parameters, operations and memory, and train nothing."""

    try_steps: int = 0
    """Instead of training, take so many steps of every row on synthetic input, and print time and
    memory."""

    try_batch: int = 1
    """Batch size of these steps."""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    options = parse(ReproduceOptions, "reproduce", arguments)
    if not options.dry_run and not options.try_steps:
        require_folder(options.out)
        require_folder(options.runs)
    say(f"g3pt reproduce: loading {options.name}")  # takes seconds
    listen(logging.INFO, *HEARD, layout=WITH_TIME)
    from g3pt.reproduce.figure5 import GALLERIES

    if options.name in GALLERIES:
        result, lines = _draw(options, GALLERIES[options.name](_scale(options)))
        report(options, result, lines)
        return 0
    if options.name == "unseen":
        result, lines = _unseen(options)
        report(options, result, lines)
        return 0
    from g3pt.reproduce.experiments import with_sets_that_are_there
    from g3pt.reproduce.series import take_stock_of

    results: list[dict[str, Any]] = []
    lines: list[str] = []
    for wanted in _experiments(options):
        experiment = wanted
        if not options.try_steps:
            experiment, left_out = with_sets_that_are_there(wanted)
            for line in dict.fromkeys((*left_out, *take_stock_of(experiment, options.runs))):
                say(line)
        try_only = options.dry_run or options.try_steps
        result, printed = (_try if try_only else _reproduce)(options, experiment)
        results.append(result)
        lines += printed
    report(options, results[0] if len(results) == 1 else {"tables": results}, lines)
    return 0


def _reproduce(
    options: ReproduceOptions, experiment: "Experiment"
) -> tuple[dict[str, Any], list[str]]:
    from g3pt.evaluation.report.plots import require_matplotlib
    from g3pt.reproduce.row_timing import time_rows
    from g3pt.reproduce.series import finished_rows, run_series
    from g3pt.reproduce.table_report import write_report
    from g3pt.reproduce.tabulate import tabulate

    require_matplotlib()
    with steps() as shown:

        def on_row(name: str, done: int, total: int) -> None:
            shown.show("rows", done, total, name)
            if done < total:  # finished rows can be read while the others are trained
                write_report(
                    tabulate(experiment, finished_rows(experiment, options.runs)), options.out
                )

        finished = run_series(
            experiment,
            options.runs,
            workers=options.workers,
            prepare_workers=options.workers,
            on_row=on_row,
        )
    timings = []
    if experiment.timed:
        with working("timing the rows"):
            timings = time_rows(experiment, options.runs)
    with working("writing the table"):
        table = tabulate(experiment, finished, timings)
        files = write_report(table, options.out)
    result = {**table.to_json(), "files": [str(path) for path in files]}
    return result, _lines(table, files)


def _unseen(options: ReproduceOptions) -> tuple[dict[str, Any], list[str]]:
    if options.dry_run or options.try_steps:
        raise ValueError("--dry-run and --try-steps are for tables of the paper, not for unseen")
    if options.scale not in ("smoke", "toy"):
        raise ValueError(f"--scale: unseen is there at smoke and toy scale, got {options.scale!r}")

    from g3pt.reproduce.unseen import unseen
    from g3pt.reproduce.unseen_report import write_unseen
    from g3pt.reproduce.unseen_series import finished_rows, run_unseen

    table = unseen("smoke" if options.scale == "smoke" else "toy")
    root = options.runs / f"unseen-{table.scale}"
    with steps() as shown:

        def on_row(name: str, done: int, total: int) -> None:
            shown.show("rows", done, total, name)
            write_unseen(table, finished_rows(table, root), options.out)

        rows = run_unseen(table, root, on_row)
    files = write_unseen(table, rows, options.out)
    lines = [f"{row['name']}: finished" for row in rows]
    lines.append(f"written: {', '.join(map(str, files))}")
    return {"name": "unseen", "rows": rows, "files": [str(path) for path in files]}, lines


def _draw(options: ReproduceOptions, gallery: "Gallery") -> tuple[dict[str, Any], list[str]]:
    if options.dry_run or options.try_steps:
        raise ValueError(
            f"--dry-run and --try-steps are for what is trained; {gallery.name} trains nothing"
        )

    from g3pt.generation.pipeline import G3PT
    from g3pt.reproduce.figure5 import draw_gallery, write_gallery

    pipeline = G3PT.from_pretrained(gallery.weights, options.device)
    with scales_shown() as on_scale:
        drawn = draw_gallery(pipeline, gallery, on_scale)
    with working("writing the gallery"):
        files = write_gallery(drawn, options.out)
    lines = [
        f"{row.prompt}, seed {row.seed}: {row.found or 'empty'}, {row.faces} faces, "
        f"{row.nll:.0f} nats"
        for row in drawn.rows
    ]
    lines.append(f"{drawn.num_right} of {len(drawn.rows)} of the family asked for")
    lines.append(f"written: {', '.join(map(str, files))}")
    return {**drawn.to_json(), "files": [str(path) for path in files]}, lines


def _scale(options: ReproduceOptions) -> "Scale":
    from g3pt.reproduce.catalogue import SCALES

    for scale in SCALES:
        if scale == options.scale:
            return scale
    raise ValueError(f"--scale: choose one of {', '.join(SCALES)}, got {options.scale!r}")


def _experiments(options: ReproduceOptions) -> "tuple[Experiment, ...]":
    for name in ("workers", "try_batch"):
        if getattr(options, name) < 1:
            flag = name.replace("_", "-")
            raise ValueError(f"--{flag} must be at least 1, got {getattr(options, name)}")
    if options.try_steps < 0:
        raise ValueError(f"--try-steps must not be negative, got {options.try_steps}")

    from g3pt.reproduce.catalogue import experiments_of

    return experiments_of(options.name, _scale(options))


def _try(options: ReproduceOptions, experiment: "Experiment") -> tuple[dict[str, Any], list[str]]:
    from g3pt.reproduce.trials import try_experiment

    with steps() as shown:
        trials = try_experiment(
            experiment,
            num_steps=options.try_steps,
            batch_size=options.try_batch,
            device=options.device,
            on_row=lambda done, total: shown.show("rows", done, total),
        )
    rows = [asdict(trial) for trial in trials]
    result = {"name": experiment.name, "scale": experiment.scale, "rows": rows}
    return result, [_trial_line(trial) for trial in trials]


def _trial_line(trial: "Trial") -> str:
    text = (
        f"{trial.variant}: {trial.parameters:,} parameters, {trial.flops_per_step / 1e12:.3g} "
        f"TFLOP and {trial.memory_bytes / 2**30:.2f} GiB a step of {trial.batch_size}, "
        f"{trial.num_runs} runs of {trial.steps} steps"
    )
    if trial.seconds_per_step is None:
        return text
    peak = trial.peak_bytes / 2**30 if trial.peak_bytes is not None else float("nan")
    return (
        f"{text}; tried on {trial.tried_batch_size}: {trial.seconds_per_step:.2f} s a step, "
        f"{peak:.2f} GiB, loss {trial.loss:.3f}"
    )


def _lines(table: "Reproduction", files: Sequence[Path]) -> list[str]:
    from g3pt.evaluation.report.summary import cell
    from g3pt.reproduce.figure6 import scaling_text
    from g3pt.reproduce.table_report import metric_name, verdict_of

    width = max(len(row.label) for row in table.rows)
    lines: list[str] = []
    for row in table.rows:
        paper = f"  paper IoU {row.paper['iou']:g} %" if "iou" in row.paper else ""
        scores = [f"{metric_name(metric)} {cell(row.scores[metric])}" for metric in row.scores]
        lines.append(f"{row.set}  {row.label:<{width}}  {'  '.join(scores[:3])}{paper}")
    for entry in (*table.comparisons, *table.at_equal_operations):
        lines.append(
            f"{entry.set}  {entry.claim}: {entry.difference:+.4f} "
            f"[{entry.low:+.4f}, {entry.high:+.4f}], {verdict_of(entry)}"
        )
    lines += [scaling_text(fit) for fit in table.scaling]
    lines += [
        f"{timing.label}: {timing.sample:.4f} s to a field, {timing.ratio:.2f} times that of the "
        f"row compared with, {timing.extract:.3f} s to a mesh"
        for timing in table.timings
    ]
    return [*lines, f"written: {', '.join(map(str, files))}"]
