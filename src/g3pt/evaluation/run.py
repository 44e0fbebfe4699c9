"""The skeleton of every evaluation: measure what is missing, keep the rows, write the report.

An evaluation says what it is of, how a shape is measured, and how rows become a report
(`Evaluation`). Everything else happens here: a folder is opened or taken up, objects are measured
in this process or in several, each is kept as soon as it is finished, and the report is written.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from g3pt.evaluation.objects import ObjectList
from g3pt.evaluation.report.summary import base_report
from g3pt.evaluation.results import Measured, Results, refused
from g3pt.geometry.mesh import MeshError
from g3pt.preparation.sources import ShapeError, SourceShape
from g3pt.processes import worker_context
from g3pt.versions import code_version

Progress = Callable[[int, int], None]
"""Is told how many objects are done, and of how many."""

Evaluator = Callable[[int], Measured]
"""Evaluates the object in a slot."""

Job = Callable[[], Evaluator]
"""Loads models and data, once in every process. Must be picklable where there are several."""

Measure = Callable[[SourceShape, int], Measured]
"""Measures a shape; its slot is passed on. May raise `ShapeError` and `MeshError`."""


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
            EvaluationError: if an object fails for another reason than its own truth.
        """
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


def measure_objects(
    objects: ObjectList, load: Callable[[], Measure], slots: Sequence[int], workers: int = 1
) -> Iterator[Measured]:
    """Measure shapes one by one. A shape without a usable truth gives its reason alone.

    Args:
        objects: where the shapes come from.
        load: loads the models, once in every process. Must be picklable for several workers.
        slots: which shapes.
        workers: processes; 1 works in this one. The numbers do not depend on it.

    Raises:
        EvaluationError: if a shape fails for another reason than its own truth.
    """
    return measure_slots(partial(_open_on_objects, objects, load), slots, workers)


def _open_on_objects(objects: ObjectList, load: Callable[[], Measure]) -> Evaluator:
    measure = load()

    def evaluate(slot: int) -> Measured:
        try:
            return measure(objects.load(slot), slot)
        except (ShapeError, MeshError) as error:
            return refused(objects.refs[slot].id, slot, error)

    return evaluate


def measure_slots(job: Job, slots: Sequence[int], workers: int = 1) -> Iterator[Measured]:
    """Do a job for every slot, in this process or in several, in the order of completion.

    Raises:
        EvaluationError: if it fails for a slot.
    """
    if workers <= 1 or len(slots) <= 1:
        evaluate = job()
        for slot in slots:
            yield _evaluate(evaluate, slot)
        return
    context = worker_context()
    with ProcessPoolExecutor(min(workers, len(slots)), context, _open_in_worker, (job,)) as pool:
        try:
            for future in as_completed([pool.submit(_evaluate_in_worker, slot) for slot in slots]):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


_worker_evaluator: list[Evaluator] = []


def _open_in_worker(job: Job) -> None:
    torch.set_num_threads(1)
    _worker_evaluator[:] = [job()]


def _evaluate_in_worker(slot: int) -> Measured:
    return _evaluate(_worker_evaluator[0], slot)


def _evaluate(evaluate: Evaluator, slot: int) -> Measured:
    try:
        return evaluate(slot)
    except Exception as error:
        raise EvaluationError(f"object {slot}: {type(error).__name__}: {error}") from error
