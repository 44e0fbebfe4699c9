"""The skeleton of every evaluation: measure what is missing, keep the rows, write the report.

An evaluation says what it is of, how a shape is measured, and how rows become a report
(`Evaluation`). Everything else happens here: a folder is opened or taken up, objects are measured
in this process or by an engine, each is kept as soon as it is finished, and the report is written.
"""

import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from g3pt.evaluation.objects import ObjectList
from g3pt.evaluation.report.summary import base_report
from g3pt.evaluation.results import Measured, Results, refused
from g3pt.files import alone_in
from g3pt.geometry.mesh import MeshError
from g3pt.preparation.sources import ShapeError, SourceShape
from g3pt.versions import code_version
from g3pt.work.engines import Engine, Limits, ProcessEngine
from g3pt.work.tasks import Stopwatch, Task, TaskResult, WorkerError

Progress = Callable[[int, int], None]
"""Is told how many objects are done, and of how many."""

Evaluator = Callable[[int], Measured]
"""Evaluates the object in a slot."""

Job = Callable[[], Evaluator]
"""Loads models and data, once in every process. Must be picklable where an engine runs it."""

Measure = Callable[[SourceShape, int], Measured]
"""Measures a shape; its slot is passed on. May raise `ShapeError` and `MeshError`."""


LIMITS = Limits(seconds=3600.0, cpu_seconds=3600.0, memory_bytes=None, written_bytes=2**32)
"""Of one object, loading the models included; only what hangs comes near them."""

MEASURED = "measured"
"""Name under which the result of a task holds what was measured."""


class EvaluationError(RuntimeError):
    """Evaluating an object failed. What was finished before is kept."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What one kind of evaluation consists of."""

    kind: str
    """Name of the report."""
    protocol: str
    """Name under which numbers may be compared."""
    config: Mapping[str, Any]
    """JSON values that say what is evaluated and how. A rerun must agree with them. `settings` and
    the hashes `data` and `weights` go into the report."""
    slots: Sequence[int]
    """The objects."""
    measure: Callable[[Sequence[int]], Iterable[Measured]]
    """Measures the objects of some slots, in any order. Is not called when all are finished."""
    describe: Callable[[Results], dict[str, Any]]
    """Makes the parts of the report that are particular to this kind, in their order."""
    table: Callable[[Mapping[str, Any]], str]
    """Writes the finished report as Markdown."""
    about: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Names of the data and the weights, for the report."""
    about_last: bool = False
    """Puts `about` behind the objects, where reports of generation have it."""

    def run(self, out: Path | None, on_progress: Progress | None = None) -> dict[str, Any]:
        """Measure what is missing and report on everything.

        Args:
            out: folder of the results; a rerun takes finished objects from it. None keeps
                everything in memory.
            on_progress: called after every object, and once for those that were finished before.

        Returns:
            The report, as JSON values; `objects` holds the rows.

        Raises:
            ValueError: if `out` holds results of something else.
            BusyError: if another process writes to `out`.
            EvaluationError: if an object fails for another reason than its own truth.
        """
        if out is None:
            return self._run(None, on_progress)
        out.mkdir(parents=True, exist_ok=True)
        with alone_in(out):
            return self._run(out, on_progress)

    def _run(self, out: Path | None, on_progress: Progress | None) -> dict[str, Any]:
        results = Results.open(out, dict(self.config), code_version())
        self.finish(results, on_progress)
        rows = results.rows
        report = base_report(self.kind, self.protocol, rows, config=self.config, code=results.code)
        first, last = ({}, self.about) if self.about_last else (self.about, {})
        report |= {**first, **self.describe(results), "objects": rows, **last}
        results.finish(report, self.table(report))
        return report

    def finish(self, results: Results, on_progress: Progress | None = None) -> None:
        """Measure the objects that the results lack, and add each as soon as it is finished."""
        waiting = [slot for slot in self.slots if slot not in results.finished]
        done, total = len(self.slots) - len(waiting), len(self.slots)
        if on_progress is not None and done:
            on_progress(done, total)
        for measured in self.measure(waiting) if waiting else ():
            results.add(measured)
            done += 1
            if on_progress is not None:
                on_progress(done, total)


def local_engine(workers: int) -> Engine | None:
    """An engine of so many processes on this machine; None, which is this process, for one."""
    return None if workers <= 1 else ProcessEngine(workers, LIMITS)


def num_local_workers(engine: Engine | None) -> int:
    """Processes of this machine that an engine keeps busy, at least 1."""
    return engine.workers if isinstance(engine, ProcessEngine) else 1


def measure_objects(
    objects: ObjectList,
    load: Callable[[], Measure],
    slots: Sequence[int],
    engine: Engine | None = None,
) -> Iterator[Measured]:
    """Measure shapes one by one. A shape without a usable truth gives its reason alone.

    Args:
        objects: where the shapes come from.
        load: loads the models, once in every process. Must be picklable for an engine.
        slots: which shapes.
        engine: runs the work; by default this process. The numbers do not depend on it.

    Raises:
        EvaluationError: if a shape fails for another reason than its own truth.
    """
    return measure_slots(partial(_open_on_objects, objects, load), slots, engine)


def _open_on_objects(objects: ObjectList, load: Callable[[], Measure]) -> Evaluator:
    measure = load()

    def evaluate(slot: int) -> Measured:
        try:
            return measure(objects.load(slot), slot)
        except (ShapeError, MeshError) as error:
            return refused(objects.refs[slot].id, slot, error)

    return evaluate


def measure_slots(
    job: Job, slots: Sequence[int], engine: Engine | None = None
) -> Iterator[Measured]:
    """Do a job for every slot, in this process or by an engine, in the order of completion.

    Raises:
        EvaluationError: if it fails for a slot, or a worker cannot do it at all.
    """
    if engine is None:
        evaluate = job()
        for slot in slots:
            try:
                measured = evaluate(slot)
            except Exception as error:
                raise EvaluationError(f"object {slot}: {_said(error)}") from error
            yield measured
        return
    run_id, folder = uuid.uuid4().hex, os.getcwd()
    try:
        for result in engine.run(SlotTask(slot, job, run_id, folder) for slot in slots):
            if MEASURED not in result.row:
                raise EvaluationError(f"object {result.number}: {result.row['message']}")
            yield result.row[MEASURED]
    except WorkerError as error:
        raise EvaluationError(str(error)) from error


@dataclass(frozen=True, slots=True)
class SlotTask(Task):
    """The job for one slot, in any process that sees the same files."""

    number: int
    """The slot."""
    job: Job
    run_id: str
    """Name of the run: a process opens the job of each once."""
    folder: str
    """The working folder, from which paths may be relative."""

    @property
    def id(self) -> str:
        """Name of the object in messages."""
        return f"object {self.number}"

    def refusal(self, stage: str, code: str, message: str) -> dict[str, Any]:
        """Why nothing was measured."""
        return {"id": self.id, "stage": stage, "code": code, "message": message}

    def work(self, watch: Stopwatch) -> TaskResult:
        """Measure the object.

        Raises:
            WorkerError: if the job cannot be opened in this process.
        """
        with watch.stage("open"):
            evaluate = self._evaluator()
        with watch.stage("measure"):
            try:
                measured = evaluate(self.number)
            except Exception as error:
                return self.refuse("measure", "error", _said(error))
        return TaskResult(self.number, {MEASURED: measured}, seconds=watch.seconds)

    def _evaluator(self) -> Evaluator:
        if self.run_id not in _opened:
            _opened.clear()
            torch.set_num_threads(1)
            try:
                os.chdir(self.folder)
                _opened[self.run_id] = self.job()
            except Exception as error:
                raise WorkerError(f"a worker cannot evaluate: {_said(error)}") from error
        return _opened[self.run_id]


_opened: dict[str, Evaluator] = {}
"""The job that this process works on, by the name of its run."""


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
