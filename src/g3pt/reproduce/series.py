"""Trains and measures the rows of an experiment: finished rows are kept, missing ones are made.

One folder a run, below a folder named after the scale: the run itself (config, checkpoints,
metrics), `weights/` when training is over, `evaluation-SET/` with the scores of every object, and
`row.json` last. A folder with `row.json` is a finished row; a rerun takes it as it is, if its
config is the same. A row that another one was trained for has scores alone.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from g3pt.config import save_json
from g3pt.evaluation.results import Row, read_rows
from g3pt.files import BusyError, read_json, write_whole
from g3pt.models.weights.places import CONFIG_FILE as WEIGHTS_CONFIG
from g3pt.processes import worker_pool
from g3pt.reproduce.experiments import WEIGHTS_FOLDER, Experiment, MeasuredSet, Variant, located
from g3pt.reproduce.rows import kind_of
from g3pt.training.checkpoint import list_checkpoints
from g3pt.training.cost import estimate_cost
from g3pt.training.environment import describe_environment
from g3pt.training.loop import TrainResult
from g3pt.training.runs import Run, read_run
from g3pt.training.signals import Stopped, stop_at_once
from g3pt.training.start import start, take_stock

ROW_FILE = "row.json"
RECIPE_FILE = "recipe.json"

OnRow = Callable[[str, int, int], None]
"""Is told which row was finished, how many are finished, and of how many."""


class SeriesError(RuntimeError):
    """A row could not be finished; finished ones are kept."""


@dataclass(frozen=True, eq=False)
class FinishedRow:
    """One trained and measured run."""

    variant: str
    seed: int
    summary: dict[str, Any]
    """What `row.json` says."""
    objects: dict[str, list[Row]]
    """Scores of every object, by evaluation set."""
    of_sets: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """Of generators, by evaluation set: how all answers together compare with all true shapes, by
    Chamfer distance (`coverage`, `one_nna`), each with its interval."""


def run_series(
    experiment: Experiment,
    root: Path,
    *,
    workers: int = 1,
    prepare_workers: int = 1,
    on_row: OnRow | None = None,
) -> list[FinishedRow]:
    """Finish all rows of an experiment.

    Args:
        experiment: what to train and measure.
        root: folder of the runs, those that rows start from among them; what is finished in it is
            taken as it is.
        workers: runs at a time, each on one thread; 1 trains in this process.
        prepare_workers: processes that prepare shapes.
        on_row: called after every row, with those found finished first.

    Raises:
        FileNotFoundError, ValueError: if a folder holds the run of another recipe, or something
            that a run reads is missing.
        BusyError: if another process trains a row.
        SeriesError: if a row fails.
    """
    # Seed by seed, so that an unfinished series has a row of everything before a second one.
    wanted = sorted(
        ((variant, seed) for variant in experiment.variants for seed in variant.seeds),
        key=lambda pair: pair[1],
    )
    folders = [run_folder(root, experiment, variant, seed) for variant, seed in wanted]
    for (variant, seed), folder in zip(wanted, folders, strict=True):
        check_recipe(folder, variant.seeded(seed))
    waiting = [
        _Job(
            root,
            variant,
            seed,
            folder,
            root / experiment.scale / variant.seeded(seed).name,
            experiment.evaluation,
        )
        for (variant, seed), folder in zip(wanted, folders, strict=True)
        if not is_finished(folder, experiment.evaluation)
    ]
    done, total = len(wanted) - len(waiting), len(wanted)
    if on_row is not None and done:
        on_row("finished before", done, total)
    if waiting:
        take_stock_of(experiment, root)
        _finish_before(experiment, root, prepare_workers)
    for run in dict.fromkeys(located(job.variant.run, root) for job in waiting):
        kind_of(run).prepare(experiment.evaluation, prepare_workers)
    borrowing = [job for job in waiting if job.trained_in != job.folder]
    training = [job for job in waiting if job.trained_in == job.folder]
    for jobs in (training, borrowing):  # in this order: weights must be there before they are lent
        for job in _finish_all(jobs, workers):
            done += 1
            if on_row is not None:
                on_row(job.folder.name, done, total)
    return finished_rows(experiment, root)


def take_stock_of(experiment: Experiment, root: Path) -> tuple[str, ...]:
    """Look at every path and name that the trainings of an experiment read.

    Args:
        experiment: whose rows and what they start from.
        root: folder of the runs.

    Returns:
        What is optional and not there, and what has to be made first, a line each.

    Raises:
        FileNotFoundError, ValueError: if something is missing or wrong.
    """
    promised = [
        str(run_folder(root, experiment, variant, variant.seeds[0]) / WEIGHTS_FOLDER)
        for variant in experiment.before
    ]
    runs = (*experiment.before, *experiment.variants)
    stocks = [
        take_stock(run, promised=promised)
        for run in dict.fromkeys(located(variant.run, root) for variant in runs)
    ]
    return tuple(dict.fromkeys(line for stock in stocks for line in (*stock.left_out, *stock.made)))


def finished_rows(experiment: Experiment, root: Path) -> list[FinishedRow]:
    """The rows of an experiment that are finished by now."""
    found: list[FinishedRow] = []
    for variant in experiment.variants:
        for seed in variant.seeds:
            folder = run_folder(root, experiment, variant, seed)
            if is_finished(folder, experiment.evaluation):
                found.append(read_row(folder, variant, seed, experiment.evaluation))
    return found


def run_folder(root: Path, experiment: Experiment, variant: Variant, seed: int) -> Path:
    """Where a run is kept; the same for every experiment of a scale that has it."""
    return root / experiment.scale / f"{variant.name}-seed{seed}"


def is_finished(folder: Path, sets: tuple[MeasuredSet, ...]) -> bool:
    """Whether a row is trained and measured on all sets."""
    if not (folder / ROW_FILE).is_file():
        return False
    row = read_json(folder / ROW_FILE)
    return all(one.name in row["evaluation"] for one in sets)


def read_row(
    folder: Path, variant: Variant, seed: int, sets: tuple[MeasuredSet, ...]
) -> FinishedRow:
    """A finished row with the scores of its objects."""
    summary = read_json(folder / ROW_FILE)
    folders = {one.name: folder / f"evaluation-{one.name}" for one in sets}
    objects = {name: read_rows(place) for name, place in folders.items()}
    of_sets = {
        name: read_json(place / "evaluation.json")["sets"]["methods"][variant.method]["chamfer"]
        for name, place in folders.items()
        if any("method" in row for row in objects[name])
    }
    return FinishedRow(variant.name, seed, summary, objects, of_sets)


def check_recipe(folder: Path, run: Run) -> None:
    """Refuse a folder that another recipe made.

    Raises:
        ValueError: if it is one.
    """
    file = folder / RECIPE_FILE
    if file.is_file() and read_run(file) != run:
        raise ValueError(
            f"{folder}: was trained by another recipe (see {RECIPE_FILE} in it); move it away, "
            "or name another folder with --runs"
        )


# --- one row -------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Job:
    root: Path
    """Folder of all runs."""
    variant: Variant
    seed: int
    folder: Path
    trained_in: Path
    """Folder of the run; another one where the row borrows its weights."""
    sets: tuple[MeasuredSet, ...]

    @property
    def run(self) -> Run:
        """As it is trained in this place."""
        return located(self.variant.seeded(self.seed), self.root)


def _finish_all(jobs: list[_Job], workers: int) -> Iterator[_Job]:
    if workers <= 1 or len(jobs) <= 1:
        for job in jobs:
            try:
                _finish(job)
            except Exception as error:
                raise _failed(job, error) from error
            yield job
        return
    with worker_pool(min(workers, len(jobs))) as pool:
        running: dict[Future[None], _Job] = {pool.submit(_finish_alone, job): job for job in jobs}
        while running:
            ready, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ready:
                job = running.pop(future)
                error = future.exception()
                if isinstance(error, KeyboardInterrupt):  # a signal came to the worker alone
                    raise error
                if error is not None:
                    raise _failed(job, error) from error
                yield job


def _failed(job: _Job, error: BaseException) -> Exception:
    """What to raise for an error of a row."""
    if isinstance(error, BusyError):  # the row is in good hands
        return error
    reason = f"{type(error).__name__}: {error}"
    if isinstance(error, OSError) and error.filename is not None:
        reason = f"{os.fsdecode(error.filename)}: {error.strerror}"
    elif isinstance(error, MemoryError):
        reason = f"not enough memory {error}"
    return SeriesError(f"{job.folder}: {reason}")


def _finish_alone(job: _Job) -> None:
    """Finish a row in a process of its own; a training that is asked to stop is saved first."""
    torch.set_num_threads(1)
    with stop_at_once("a rerun goes on there"):
        _finish(job)


def _finish_before(experiment: Experiment, root: Path, prepare_workers: int) -> None:
    """Train what the rows start from; these are rows of other experiments, measured there."""
    for variant in experiment.before:
        seed = variant.seeds[0]
        folder = run_folder(root, experiment, variant, seed)
        check_recipe(folder, variant.seeded(seed))
        if not (folder / WEIGHTS_FOLDER / WEIGHTS_CONFIG).is_file():
            kind_of(variant.run).prepare((), prepare_workers)
        job = _Job(root, variant, seed, folder, folder, ())
        try:
            _train(job)
        except Exception as error:
            raise _failed(job, error) from error


def _train(job: _Job) -> Path:
    """Train unless it is done, and give the folder of the weights."""
    run, folder = job.run, job.folder
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / RECIPE_FILE).is_file():  # as the recipe says: folders can be moved
        save_json(folder / RECIPE_FILE, job.variant.seeded(job.seed))
    weights = job.trained_in / WEIGHTS_FOLDER
    if not (weights / WEIGHTS_CONFIG).is_file():
        assert folder == job.trained_in, "rows that borrow weights come after those that lend them"
        first, began = max(list_checkpoints(folder / "checkpoints"), default=0), time.process_time()
        result = start(run, folder, resume=True)
        if not result.finished:
            raise Stopped("stopped by a signal; a rerun goes on there")
        seconds = (time.process_time() - began) / max(result.step - first, 1)
        _note_training(folder, result, seconds if result.step > first else None)
        kind_of(run).keep(job.variant, job.seed, folder, weights)
    return weights


def _finish(job: _Job) -> None:
    """Train, keep the weights, measure, and write the row."""
    run, folder, weights = job.run, job.folder, _train(job)
    reports: dict[str, dict[str, Any]] = {}
    for one in job.sets:
        reports[one.name] = kind_of(run).measure(
            job.variant, weights, one, folder / f"evaluation-{one.name}", run.train.device
        )
    _write_row(job, run, reports)


def _note_training(folder: Path, result: TrainResult, processor_seconds: float | None) -> None:
    """Write what the training was like; the weights come after it and say that it is over.

    `processor_seconds` are those of a step taken here; None if all were taken elsewhere.
    """
    training = {
        "steps": result.step,
        "loss": result.loss,
        "validation": _last_evaluation(folder / "metrics.jsonl"),
        "processor_seconds_per_step": processor_seconds,
        "environment": describe_environment(),
    }
    write_whole(folder / "training.json", json.dumps(training, indent=2) + "\n")


def _last_evaluation(file: Path) -> dict[str, float]:
    """What the run last measured itself; a run that was taken up at its end measured earlier."""
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    found = [line for line in lines if line["kind"] == "evaluation"]
    return {name: value for name, value in found[-1].items() if name not in ("kind", "step")}


def _write_row(job: _Job, run: Run, reports: dict[str, dict[str, Any]]) -> None:
    training = read_json(job.trained_in / "training.json")
    cost = estimate_cost(run)
    file = job.folder / ROW_FILE
    # Sets that another experiment measured stay.
    before: dict[str, Any] = {}
    if file.is_file():
        before = read_json(file)["evaluation"]
    row: dict[str, Any] = {
        "variant": job.variant.name,
        "seed": job.seed,
        "parameters": cost.parameters,
        "flops_per_step": cost.flops_per_step,
        **training,
        "evaluation": before
        | {
            name: {key: report[key] for key in ("protocol", "counts", "hashes", "summary")}
            | {"tokens": report.get("tokens")}
            for name, report in reports.items()
        },
    }
    write_whole(file, json.dumps(row, indent=2) + "\n")
