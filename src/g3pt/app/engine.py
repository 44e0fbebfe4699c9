"""What carries out jobs: the contract between the server and its engines.

An engine takes tasks, does each in a process that the server does not depend on, and tells what
happens to it. `workers.Pool` has processes of its own on this machine, `ray_engine.RayServeEngine`
replicas on a Ray cluster.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

LOGGER = logging.getLogger(__name__)

EndedAs = Literal["done", "failed", "cancelled"]


@runtime_checkable
class Listener(Protocol):
    """Hears of a task, from a thread of the engine; must not block."""

    def started(self) -> bool:
        """The task is about to run; False if it is not wanted any more."""
        ...

    def event(self, event: str, data: dict[str, Any]) -> None:
        """Something happened."""
        ...

    def ended(self, how: EndedAs, content: dict[str, Any]) -> None:
        """The task has ended; `content` is its outcome, or why it failed."""
        ...

    def left(self) -> None:
        """The task has ended, and nothing is written to its folder any more."""
        ...


@dataclass(frozen=True, eq=False)
class Task:
    """Something for a worker process to do."""

    id: str
    work: str
    """Name in `tasks.TASKS`."""
    request: dict[str, Any]
    folder: Path
    seconds: float
    """It may run so long."""
    listener: Listener


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineState:
    """How an engine is."""

    queued: int
    """Tasks that wait."""
    workers: int
    """Processes, ready or not."""
    ready: int
    busy: int
    """Processes that do a task."""
    restarts: int
    """Processes that ended and were replaced."""
    broken: str | None
    """Why no process can start, if so."""


@runtime_checkable
class Engine(Protocol):
    """Does tasks. All methods may be called from any thread."""

    def start(self) -> None:
        """Start whatever does the work, without waiting for it."""
        ...

    def stop(self) -> None:
        """End it; tasks that wait or run are dropped without a word."""
        ...

    def submit(self, task: Task) -> None:
        """Put a task at the end of the queue."""
        ...

    def cancel(self, task: str) -> bool:
        """End a task that waits or runs.

        Returns:
            Whether there was one; it has ended as cancelled then.
        """
        ...

    def place(self, task: str) -> int | None:
        """How many tasks come before one that waits; None if it does not wait."""
        ...

    def state(self) -> EngineState:
        """How the engine is, without waiting for anything."""
        ...


# A listener that fails, as when the disk is full, must not end the thread that serves all others.


def tell_start(task: Task) -> bool:
    """Say that a task is about to run; False if it is not wanted, or cannot be noted."""
    try:
        return task.listener.started()
    except Exception:
        LOGGER.exception("task %s could not be started", task.id)
        tell_end(task, "failed", {"reason": "server", "detail": "the server could not note it"})
        return False


def tell_event(task: Task, event: str, data: dict[str, Any]) -> None:
    """Say that something happened."""
    try:
        task.listener.event(event, data)
    except Exception:
        LOGGER.exception("event %s of task %s is lost", event, task.id)


def tell_end(task: Task, how: EndedAs, content: dict[str, Any]) -> None:
    """Say how a task ended."""
    try:
        task.listener.ended(how, content)
    except Exception:
        LOGGER.exception("the end of task %s is lost", task.id)


def tell_left(task: Task) -> None:
    """Say that nobody writes to the folder of a task any more."""
    try:
        task.listener.left()
    except Exception:
        LOGGER.exception("files of task %s are left", task.id)
