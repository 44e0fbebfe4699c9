"""One piece of work among many, and its result: the same for every engine.

A task is sent to a worker, which reads what it needs and returns bytes; the caller stores them. The
result depends only on the task.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


class WorkerError(RuntimeError):
    """A worker cannot work at all, whatever its task is: no task is to blame, and the run ends."""


class Stopwatch:
    """Measures seconds by stage. After an exception `current` names the stage that raised it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.current = "start"

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block; times of the same name add up."""
        self.current = name
        began = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - began
            self.seconds[name] = self.seconds.get(name, 0.0) + spent


@dataclass(frozen=True, slots=True)
class TaskResult:
    """Result of one task."""

    number: int
    row: dict[str, Any]
    """Its row in the index: that of its sample, with `sha256`, or that of its refusal."""
    data: bytes = b""
    """Bytes of its sample; empty if it was refused."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Seconds by stage."""

    @property
    def is_refused(self) -> bool:
        """Whether there is no sample."""
        return not self.data


class Task(ABC):
    """One piece of work. It is pickled, so it holds little; any error in it is its refusal."""

    __slots__ = ()

    number: int
    """Its number in the plan."""

    @property
    @abstractmethod
    def id(self) -> str:
        """Its name, unique in the plan."""

    @abstractmethod
    def work(self, watch: Stopwatch) -> TaskResult:
        """Do the work; an error refuses this task, a `WorkerError` ends the run."""

    @abstractmethod
    def refusal(self, stage: str, code: str, message: str) -> dict[str, Any]:
        """The index row of this task if it failed: id, stage, code, message and what it was."""

    def refuse(self, stage: str, code: str, message: str) -> TaskResult:
        """The result of this task if it failed."""
        return TaskResult(self.number, self.refusal(stage, code, message))

    def run(self) -> TaskResult:
        """Do the work; any error is returned as a refusal.

        Raises:
            WorkerError: if this process cannot do such work at all.
        """
        watch = Stopwatch()
        try:
            return self.work(watch)
        except WorkerError:
            raise
        except MemoryError:
            refused = self.refuse(watch.current, "memory", "ran out of the memory it may use")
        except Exception as error:  # an error of one task must not stop the others
            code = getattr(error, "code", None)
            code = code if isinstance(code, str) else "error"
            message = " ".join(str(error).split())[:500] or type(error).__name__
            refused = self.refuse(watch.current, code, message)
        return TaskResult(self.number, refused.row, seconds=watch.seconds)
