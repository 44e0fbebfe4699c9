"""Worker processes: one thread hands tasks to them, hears of them, and replaces those that end.

A task waits, runs in one process, and ends once: done, failed or cancelled. The process that holds
a task that was cancelled, or ran too long, gets a moment to notice; then it is killed and replaced.
So nothing that happens inside a model can hold up the server.
"""

import json
import logging
import signal
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any

from g3pt.app.engine import (
    EndedAs,
    EngineState,
    Task,
    tell_end,
    tell_event,
    tell_left,
    tell_start,
)
from g3pt.app.settings import ModelSource
from g3pt.processes import prepared_context

LOGGER = logging.getLogger(__name__)

START_SECONDS = 120.0
"""A process that is not ready so long after its start is replaced."""
MAX_PAUSE = 10.0
"""Largest pause in seconds before a process that cannot start is started again."""


@dataclass(eq=False)
class Worker:
    """A worker process as the pool sees it."""

    process: Any
    connection: Connection
    started: float = field(default_factory=time.monotonic)
    ready: bool = False
    task: Task | None = None
    """The task that it does, or still does although it has ended."""
    ended: bool = False
    """Whether the task has ended for everybody else."""
    due: float | None = None
    """When the task has run too long."""
    kill_at: float | None = None
    """When the process is killed if it does not answer."""


class Pool:
    """An engine: worker processes of this machine with one queue."""

    def __init__(
        self,
        models: tuple[ModelSource, ...],
        num: int,
        *,
        grace: float,
        threads: int | None = None,
        name: str = "pool",
    ) -> None:
        self._models, self._num = models, num
        self._grace, self._threads, self._name = grace, threads, name
        self._context = prepared_context("g3pt.app.work")
        self._lock = threading.RLock()
        self._queue: OrderedDict[str, Task] = OrderedDict()
        self._workers: list[Worker] = []
        self._heard, self._bell = Pipe(duplex=False)
        self._rung = False
        self._stopping = False
        self._restarts = 0
        self._failures = 0
        self._start_after = 0.0
        self._broken: str | None = None
        self._thread = threading.Thread(target=self._run, name=f"g3pt-{name}", daemon=True)

    def start(self) -> None:
        """Start the processes."""
        self._thread.start()

    def stop(self) -> None:
        """End all processes; tasks that wait or run are dropped without a word."""
        with self._lock:
            self._stopping = True
        self._ring()
        self._thread.join()
        for end in (self._heard, self._bell):
            end.close()

    # --- for the server ----------------------------------------------------------------------

    def submit(self, task: Task) -> None:
        """Put a task at the end of the queue."""
        with self._lock:
            self._queue[task.id] = task
        self._ring()

    def cancel(self, task: str) -> bool:
        """End a task that waits or runs.

        Returns:
            Whether there was one; it has ended as cancelled then.
        """
        with self._lock:
            waiting = self._queue.pop(task, None)
            if waiting is not None:
                tell_end(waiting, "cancelled", {})
                tell_left(waiting)
                return True
            for worker in self._workers:
                if worker.task is not None and worker.task.id == task and not worker.ended:
                    self._end(worker, "cancelled", {})
                    self._dismiss(worker)
                    return True
        return False

    def place(self, task: str) -> int | None:
        """How many tasks come before one that waits; None if it does not wait."""
        with self._lock:
            return list(self._queue).index(task) if task in self._queue else None

    def state(self) -> EngineState:
        """How the pool is."""
        with self._lock:
            return EngineState(
                queued=len(self._queue),
                workers=len(self._workers),
                ready=sum(worker.ready for worker in self._workers),
                busy=sum(worker.task is not None for worker in self._workers),
                restarts=self._restarts,
                broken=self._broken,
            )

    def processes(self) -> list[int]:
        """Ids of the processes that are alive."""
        with self._lock:
            return [worker.process.pid for worker in self._workers]

    # --- the thread --------------------------------------------------------------------------

    def _ring(self) -> None:
        """Wake the thread."""
        with self._lock:
            if not self._rung:
                self._rung = True
                self._bell.send_bytes(b"!")

    def _run(self) -> None:
        while True:
            with self._lock:
                if self._stopping:
                    break
            self._fill()
            with self._lock:
                self._hand_out()
                ends: dict[Any, Worker | None] = {self._heard: None}
                for worker in self._workers:
                    ends |= {worker.connection: worker, worker.process.sentinel: worker}
                pause = self._pause()
            for end in wait(list(ends), pause):
                worker = ends[end]
                with self._lock:
                    if worker is None:
                        self._heard.recv_bytes()
                        self._rung = False
                    elif worker in self._workers:
                        self._hear(worker)
            with self._lock:
                self._look_at_the_clock()
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            self._forget(worker)

    def _fill(self) -> None:
        """Start processes until there are enough; nobody waits for that, so without the lock."""
        while len(self._workers) < self._num and time.monotonic() >= self._start_after:
            ours, theirs = self._context.Pipe()
            process = self._context.Process(
                target=run_worker,
                args=(theirs, self._models, self._threads),
                name=f"g3pt-{self._name}",
                daemon=True,
            )
            try:
                process.start()
            except (OSError, EOFError) as error:  # no memory, or too many processes
                LOGGER.error("no worker can be started: %s", error)
                ours.close()
                self._broken = f"no process can be started: {error}"
                self._start_after = time.monotonic() + MAX_PAUSE
                return
            finally:
                theirs.close()
            with self._lock:
                self._workers.append(Worker(process, ours))

    def _hand_out(self) -> None:
        """Give waiting tasks to idle processes."""
        for worker in self._workers:
            while self._queue and worker.ready and worker.task is None:
                _, task = self._queue.popitem(last=False)
                if not tell_start(task):
                    continue
                worker.task, worker.ended = task, False
                worker.due = time.monotonic() + task.seconds
                message = {
                    "task": task.id,
                    "work": task.work,
                    "request": task.request,
                    "folder": str(task.folder),
                }
                self._tell(worker, message)

    def _pause(self) -> float | None:
        """Seconds until the clock asks for something."""
        times = [time for worker in self._workers for time in (worker.due, worker.kill_at) if time]
        times += [worker.started + START_SECONDS for worker in self._workers if not worker.ready]
        if len(self._workers) < self._num:
            times.append(self._start_after)
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _look_at_the_clock(self) -> None:
        now = time.monotonic()
        for worker in list(self._workers):
            if worker.due is not None and now >= worker.due:
                seconds = worker.task.seconds if worker.task else 0.0
                detail = f"ran longer than its {seconds:g} seconds and was ended"
                self._end(worker, "failed", {"reason": "deadline", "detail": detail})
                self._dismiss(worker)
            slow = not worker.ready and now >= worker.started + START_SECONDS
            if slow or (worker.kill_at is not None and now >= worker.kill_at):
                worker.process.kill()  # its end is heard of like that of any other
                worker.kill_at = None

    def _hear(self, worker: Worker) -> None:
        """Take what a process says, or notice that it has ended."""
        try:
            while worker.connection.poll():
                self._take(worker, json.loads(worker.connection.recv_bytes()))
        except (EOFError, OSError):
            self._replace(worker)
            return
        if not worker.process.is_alive():
            self._replace(worker)

    def _take(self, worker: Worker, message: dict[str, Any]) -> None:
        match message["kind"]:
            case "ready":
                worker.ready = True
                self._failures, self._broken = 0, None
            case "broken":
                self._broken = message["detail"]
                LOGGER.error("a worker cannot work: %s", message["detail"])
            case "event":
                if worker.task is not None and not worker.ended:
                    tell_event(worker.task, message["event"], message["data"])
            case kind:
                content = message.get("outcome" if kind == "done" else "error", {})
                self._end(worker, kind, content)
                if worker.task is not None:
                    tell_left(worker.task)
                worker.task, worker.due, worker.kill_at = None, None, None

    def _end(self, worker: Worker, how: EndedAs, content: dict[str, Any]) -> None:
        """Say once that the task of a process has ended."""
        worker.due = None
        if worker.task is not None and not worker.ended:
            worker.ended = True
            tell_end(worker.task, how, content)

    def _dismiss(self, worker: Worker) -> None:
        """Tell a process that its task is not wanted, and kill it if it does not hear."""
        assert worker.task is not None
        worker.kill_at = time.monotonic() + self._grace
        self._tell(worker, {"cancel": worker.task.id})
        self._ring()

    def _tell(self, worker: Worker, message: dict[str, Any]) -> None:
        try:
            worker.connection.send_bytes(json.dumps(message).encode())
        except OSError:
            pass  # it has ended, which is heard of

    def _replace(self, worker: Worker) -> None:
        """A process has ended: so has its task, and another takes its place."""
        worker.process.join(5)
        code = worker.process.exitcode
        detail = f"the process that did it ended ({_how(code)}); submit it again"
        self._end(worker, "failed", {"reason": "worker", "detail": detail})
        if worker.task is not None:
            tell_left(worker.task)
        self._forget(worker)
        self._workers.remove(worker)
        self._restarts += 1
        if not worker.ready:  # do not start a process that fails at once again and again
            self._failures += 1
            pause = min(MAX_PAUSE, 0.5 * 2 ** min(self._failures, 10))
            self._start_after = time.monotonic() + pause
            self._broken = self._broken or f"a worker ended while it started ({_how(code)})"
        LOGGER.warning("a worker ended (%s) and is replaced", _how(code))

    def _forget(self, worker: Worker) -> None:
        worker.connection.close()
        worker.process.join()
        worker.process.close()


def run_worker(
    connection: Connection, models: tuple[ModelSource, ...], threads: int | None
) -> None:
    """The main function of a worker process; the models are imported there, not in the server."""
    from g3pt.app.work import run

    run(connection, models, threads)


def _how(code: int | None) -> str:
    """How a process ended."""
    if code is None or code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
