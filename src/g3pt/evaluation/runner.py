"""Evaluates objects one by one, in this process or in several, and keeps what is finished."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed

import torch

from g3pt.evaluation.results import Measured, Results
from g3pt.processes import worker_context

Evaluator = Callable[[int], Measured]
"""Evaluates the object in a slot."""

Progress = Callable[[int, int], None]
"""Hears how many objects are done, and of how many."""


class EvaluationError(RuntimeError):
    """Evaluating an object failed; what was finished before is kept."""


class Job(ABC):
    """Picklable description of the work; each process opens it once."""

    @abstractmethod
    def open(self) -> Evaluator:
        """Load models and data."""


def run(
    job: Job,
    slots: Sequence[int],
    results: Results,
    *,
    workers: int = 1,
    on_progress: Progress | None = None,
) -> None:
    """Evaluate all slots that are not in the results yet, and add them.

    The numbers do not depend on how many workers there are.

    Args:
        job: what to do with an object.
        slots: the objects.
        results: where finished objects go; those in there are skipped.
        workers: processes; 1 works in this one.
        on_progress: called after every object.

    Raises:
        EvaluationError: if an object fails for another reason than its own truth.
    """
    waiting = [slot for slot in slots if slot not in results.finished]
    total = len(slots)
    if on_progress is not None and len(waiting) < total:
        on_progress(total - len(waiting), total)
    for done, measured in enumerate(_measure(job, waiting, workers), start=1):
        results.add(measured)
        if on_progress is not None:
            on_progress(total - len(waiting) + done, total)


def _measure(job: Job, slots: Sequence[int], workers: int) -> Iterator[Measured]:
    if workers <= 1 or len(slots) <= 1:
        yield from _measure_here(job, slots)
        return
    context = worker_context()
    with ProcessPoolExecutor(min(workers, len(slots)), context, _open_in_worker, (job,)) as pool:
        try:
            for future in as_completed([pool.submit(_evaluate_in_worker, slot) for slot in slots]):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _measure_here(job: Job, slots: Iterable[int]) -> Iterator[Measured]:
    evaluate: Evaluator | None = None
    for slot in slots:
        evaluate = evaluate or job.open()
        yield _evaluate(evaluate, slot)


_worker_evaluator: list[Evaluator] = []


def _open_in_worker(job: Job) -> None:
    torch.set_num_threads(1)
    _worker_evaluator[:] = [job.open()]


def _evaluate_in_worker(slot: int) -> Measured:
    return _evaluate(_worker_evaluator[0], slot)


def _evaluate(evaluate: Evaluator, slot: int) -> Measured:
    try:
        return evaluate(slot)
    except Exception as error:
        raise EvaluationError(f"object {slot}: {type(error).__name__}: {error}") from error
