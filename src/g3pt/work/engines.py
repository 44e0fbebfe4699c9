"""Engines run tasks: in this process, or in child processes with limits.

An engine takes tasks and yields one result per task, in any order. A crash, a hang or excessive
memory costs only that one task. `ray_engine.py` does the same on a cluster.
"""

import logging
import os
import resource
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, TimeoutError, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import chain

from pebble import ProcessExpired, ProcessPool

from g3pt.processes import end_with, worker_context
from g3pt.work.tasks import Task, TaskResult, WorkerError

MAX_TASKS_A_PROCESS = 500
"""Objects after which a child process is replaced, because foreign parsers leak memory."""

WINDOW = 4
"""Tasks submitted ahead per worker: enough to keep all busy, few enough to hold in memory."""

MAX_POOLS = 5
"""Pools of child processes that may break before a run is given up."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Limits of time and memory per object; objects beyond them are refused with a reason."""

    seconds: float = 180.0
    """Wall-clock time."""
    cpu_seconds: float = 150.0
    """Processor time."""
    memory_bytes: int | None = 6 * 2**30
    """Address space of the child process, in bytes; None sets no limit, which CUDA needs."""
    written_bytes: int = 0
    """Largest file that a task may write, in bytes; 0 lets it write none."""

    def __post_init__(self) -> None:
        small = self.memory_bytes is not None and self.memory_bytes < 2**29
        if min(self.seconds, self.cpu_seconds) <= 0 or small:
            raise ValueError(
                "limits need positive seconds and cpu_seconds and memory_bytes of at least 512 "
                f"MiB, got {self.seconds}, {self.cpu_seconds} and {self.memory_bytes}"
            )


class Engine(ABC):
    """Runs tasks."""

    @abstractmethod
    def run(self, tasks: Iterable[Task]) -> Iterator[TaskResult]:
        """Run every task; yield results as they are ready."""


class InlineEngine(Engine):
    """Runs tasks in this process, one after the other, without limits: for trusted sources."""

    def run(self, tasks: Iterable[Task]) -> Iterator[TaskResult]:
        """Run every task in order."""
        return (task.run() for task in tasks)


class ProcessEngine(Engine):
    """Runs tasks in child processes of this machine, each with limits."""

    def __init__(self, workers: int = 1, limits: Limits | None = None) -> None:
        if workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}")
        self.workers = workers
        self.limits = limits or Limits()

    def run(self, tasks: Iterable[Task]) -> Iterator[TaskResult]:
        """Run every task; closing the iterator early stops the child processes.

        Raises:
            RuntimeError: if child processes do not start.
        WorkerError: if one of them cannot do such work at all.
        """
        waiting, failures = iter(tasks), 0
        while True:
            unfinished = yield from self._run(waiting)
            if not unfinished:
                return
            failures += 1
            if failures == MAX_POOLS:
                raise RuntimeError(f"child processes died {failures} times while idle")
            logger.warning("child processes broke off; starting others")
            waiting = chain(unfinished, waiting)

    def _run(self, waiting: Iterator[Task]) -> Generator[TaskResult, None, list[Task]]:
        """Run tasks until none are left or the pool breaks.

        It breaks when an idle child process dies, for which no object is the cause.

        Returns:
            Submitted tasks without a result.
        """
        running: dict[Future[TaskResult], Task] = {}
        with child_pool(self.workers, self.limits) as pool:
            try:
                while True:
                    while len(running) < WINDOW * self.workers:
                        task = next(waiting, None)
                        if task is None:
                            break
                        try:
                            running[self._schedule(pool, task)] = task
                        except RuntimeError:
                            return [*running.values(), task]
                    if not running:
                        return []
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        if isinstance(future.exception(), BrokenProcessPool):
                            return list(running.values())
                        yield outcome(future, running.pop(future), self.limits)
            finally:
                for future in running:
                    future.cancel()
                pool.stop()

    def _schedule(self, pool: ProcessPool, task: Task) -> "Future[TaskResult]":
        return pool.schedule(
            limited, args=(task, self.limits.cpu_seconds), timeout=self.limits.seconds
        )


def child_pool(workers: int, limits: Limits) -> ProcessPool:
    """A pool of child processes that end with this one and obey `limits`."""
    return ProcessPool(
        max_workers=workers,
        max_tasks=MAX_TASKS_A_PROCESS,
        initializer=_enter_child,
        initargs=(os.getpid(), limits),
        context=worker_context(),
    )


def outcome(future: "Future[TaskResult]", task: Task, limits: Limits) -> TaskResult:
    """The result of a finished task, or a refusal with the cause of its child's death."""
    try:
        return future.result()
    except TimeoutError:
        message = f"took longer than {limits.seconds:g} seconds"
        return task.refuse("worker", "timeout", message)
    except ProcessExpired as error:
        return task.refuse("worker", *_cause(error, limits))
    except CancelledError:
        return task.refuse("worker", "cancelled", "the run was stopped")
    except MemoryError:
        return task.refuse("worker", "memory", "ran out of the memory it may use")
    except WorkerError:
        raise
    except Exception as error:  # a result that cannot be pickled, or a broken child
        message = f"{type(error).__name__}: {error}"
        return task.refuse("worker", "crash", " ".join(message.split())[:500])


def _cause(error: ProcessExpired, limits: Limits) -> tuple[str, str]:
    import signal

    code = int(error.exitcode or 0)
    if -code == signal.SIGXCPU:
        return "cpu_time", f"used more than {limits.cpu_seconds:g} seconds of processor time"
    if -code == signal.SIGKILL:
        return "killed", "its process was killed, most likely for lack of memory"
    name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return "crash", f"its process died of {name}"


def limited(task: Task, cpu_seconds: float) -> TaskResult:
    """Run a task in a child process, with a limit of processor time for this one."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    allowed = int(used.ru_utime + used.ru_stime + cpu_seconds) + 1
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    if hard != resource.RLIM_INFINITY:
        allowed = min(allowed, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (allowed, hard))
    return task.run()


def _enter_child(parent: int, limits: Limits) -> None:
    """Set the limits of a new child process: memory, no core dumps, written files."""
    os.environ.setdefault("IGL_NUM_THREADS", "1")  # one per object: libigl takes all
    if limits.memory_bytes is not None:
        _limit(resource.RLIMIT_AS, limits.memory_bytes)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, limits.written_bytes)
    end_with(parent)


def _limit(which: int, most: int) -> None:
    """Limit a resource of this process, which may have less already and never gets more."""
    hard = resource.getrlimit(which)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(which, (most, most))
