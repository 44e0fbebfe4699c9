"""The inside of a worker process: it holds models, and does one task after another.

It answers with events and outcomes on a line to the server: a pipe, or the stream of a replica on
a cluster. On the pipe it also hears of tasks and cancellations; every message is JSON. Nothing here
is imported by the server, which stays small and quick.
"""

import json
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from g3pt.app.previews import Progress
from g3pt.app.settings import ModelSource
from g3pt.app.tasks import TASKS, EmptyShapeError
from g3pt.arguments import PromptError
from g3pt.generation.pipeline import G3PT
from g3pt.geometry.triangles import MeshError


class UnwantedError(Exception):
    """The task that is being done is not wanted any more."""


class ServerGoneError(Exception):
    """The server that handed out a task cannot be reached any more."""


@runtime_checkable
class Line(Protocol):
    """To the server that hands out tasks."""

    def send(self, message: dict[str, Any]) -> None:
        """Tell something; raises `ServerGoneError` if nobody hears it."""
        ...

    def is_unwanted(self, task: str) -> bool:
        """Whether a task has been cancelled; raises `ServerGoneError` if nobody can say."""
        ...


class Pipe:
    """A line to the server that started this process."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def send(self, message: dict[str, Any]) -> None:
        """Tell something."""
        try:
            self._connection.send_bytes(json.dumps(message).encode())
        except OSError as error:
            raise ServerGoneError from error

    def receive(self) -> dict[str, Any]:
        """Wait for the next message."""
        try:
            return json.loads(self._connection.recv_bytes())
        except (EOFError, OSError) as error:
            raise ServerGoneError from error

    def is_unwanted(self, task: str) -> bool:
        """Whether a cancellation of the task has come."""
        try:
            while self._connection.poll():
                if self.receive().get("cancel") == task:
                    return True
        except OSError as error:
            raise ServerGoneError from error
        return False


@dataclass
class Bench:
    """What a process that does tasks holds between them."""

    line: Line
    models: tuple[ModelSource, ...]
    loaded: dict[str, G3PT] = field(default_factory=dict[str, G3PT])
    task: str = ""
    """Id of the task that is being done."""

    def pipeline(self, name: str | None) -> G3PT:
        """Weights by name, the first by default; loaded when they are asked for first."""
        source = next(one for one in self.models if name in (None, one.name))
        if source.name not in self.loaded:
            self.loaded[source.name] = G3PT.from_pretrained(
                source.weights, source.device, dtype=source.dtype, adapter=source.adapter
            )
        return self.loaded[source.name]

    def event(self, event: str, data: dict[str, Any]) -> None:
        """Tell the server of progress, after looking whether the task is still wanted.

        Raises:
            UnwantedError: if it is not.
        """
        self.check()
        self.line.send({"kind": "event", "task": self.task, "event": event, "data": data})

    def check(self) -> None:
        """Look whether the task is still wanted.

        Raises:
            UnwantedError: if it is not.
            ServerGoneError: if the server is gone.
        """
        if self.line.is_unwanted(self.task):
            raise UnwantedError

    def do(self, message: dict[str, Any]) -> None:
        """Do a task, and tell how it ended; only the loss of the line is an error here.

        Args:
            message: `task`, the id; `work`, a name in `TASKS`; `request`; `folder`.
        """
        self.task = message["task"]
        folder = Path(message["folder"])
        started = time.perf_counter()
        try:
            self.check()
            work: Callable[..., dict[str, Any]] = TASKS[message["work"]]
            outcome = work(self, message["request"], folder, Progress(self, folder))
            outcome.setdefault("seconds", {})["total"] = round(time.perf_counter() - started, 4)
            end = {"kind": "done", "outcome": outcome}
        except UnwantedError:
            end = {"kind": "cancelled"}
        except ServerGoneError:
            raise
        except Exception as error:
            end = {"kind": "failed", "error": _error(error, folder)}
        finally:
            task, self.task = self.task, ""
        self.line.send({**end, "task": task})


def run(connection: Connection, models: tuple[ModelSource, ...], threads: int | None) -> None:
    """Do tasks until the server closes the pipe.

    Args:
        connection: to the server.
        models: what can be loaded; the first is loaded at once. Without any, only tasks that need
            none can be done.
        threads: threads of torch; None leaves its own number.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server says when to end
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if threads is not None:
        torch.set_num_threads(threads)
    pipe = Pipe(connection)
    bench = Bench(pipe, models)
    try:
        try:
            if models:
                bench.pipeline(None)
        except Exception as error:
            pipe.send({"kind": "broken", "detail": f"{type(error).__name__}: {error}"})
            return
        pipe.send({"kind": "ready"})
        while True:
            message = pipe.receive()
            if "task" in message:
                bench.do(message)
    except ServerGoneError:
        return


def _error(error: Exception, folder: Path) -> dict[str, Any]:
    """What went wrong, without the names of folders."""
    text = " ".join(str(error).split()) or type(error).__name__
    told = text.replace(f"{folder}/", "")[:1000]
    wanted = (PromptError, MeshError, ValueError, FileNotFoundError)
    reason = "input" if isinstance(error, wanted) else "work"
    if reason == "work" and not isinstance(error, EmptyShapeError):
        told = f"{type(error).__name__}: {told}"
    return {"reason": reason, "detail": told}
