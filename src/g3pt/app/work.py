"""The inside of a worker process: it holds models, and does one task after another.

It hears of tasks and cancellations on a pipe, and answers with events and outcomes; every message
is JSON. Nothing here is imported by the server, which stays small and quick.
"""

import json
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from g3pt.app.previews import Progress
from g3pt.app.settings import ModelSource
from g3pt.app.tasks import TASKS, EmptyShapeError
from g3pt.arguments import PromptError
from g3pt.generation.pipeline import G3PT
from g3pt.geometry.triangles import MeshError


class UnwantedError(Exception):
    """The task that is being done is not wanted any more."""


@dataclass
class Bench:
    """What a worker process holds between tasks."""

    connection: Connection
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

    def send(self, kind: str, **content: Any) -> None:
        """Tell the server something about the task."""
        message = {"kind": kind, "task": self.task, **content}
        self.connection.send_bytes(json.dumps(message).encode())

    def event(self, event: str, data: dict[str, Any]) -> None:
        """Tell the server of progress, after looking whether the task is still wanted.

        Raises:
            UnwantedError: if it is not.
        """
        self.check()
        self.send("event", event=event, data=data)

    def check(self) -> None:
        """Look whether the task is still wanted.

        Raises:
            UnwantedError: if it is not.
            EOFError: if the server is gone.
        """
        while self.connection.poll():
            message = json.loads(self.connection.recv_bytes())
            if message.get("cancel") == self.task:
                raise UnwantedError


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
    bench = Bench(connection, models)
    try:
        if models:
            bench.pipeline(None)
        bench.send("ready")
        while True:
            message = json.loads(connection.recv_bytes())
            if "task" in message:
                _do(bench, message)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the server is gone
    except Exception as error:
        bench.send("broken", detail=f"{type(error).__name__}: {error}")


def _do(bench: Bench, message: dict[str, Any]) -> None:
    bench.task = message["task"]
    folder = Path(message["folder"])
    started = time.perf_counter()
    try:
        bench.check()
        work: Callable[..., dict[str, Any]] = TASKS[message["work"]]
        outcome = work(bench, message["request"], folder, Progress(bench, folder))
        outcome.setdefault("seconds", {})["total"] = round(time.perf_counter() - started, 4)
        bench.send("done", outcome=outcome)
    except UnwantedError:
        bench.send("cancelled")
    except (EOFError, BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:
        bench.send("failed", error=_error(error, folder))
    finally:
        bench.task = ""


def _error(error: Exception, folder: Path) -> dict[str, Any]:
    """What went wrong, without the names of folders."""
    text = " ".join(str(error).split()) or type(error).__name__
    told = text.replace(f"{folder}/", "")[:1000]
    wanted = (PromptError, MeshError, ValueError, FileNotFoundError)
    reason = "input" if isinstance(error, wanted) else "work"
    if reason == "work" and not isinstance(error, EmptyShapeError):
        told = f"{type(error).__name__}: {told}"
    return {"reason": reason, "detail": told}
