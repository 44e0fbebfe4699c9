"""Jobs: the queue with its limits, what happens to a job, and who wants to hear of it."""

import asyncio
import shutil
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from g3pt.app.engine import EndedAs, Engine, Task
from g3pt.app.problems import Problem
from g3pt.app.requests import Request, StoredShape
from g3pt.app.settings import ServeSettings
from g3pt.app.store import Job, JobStore
from g3pt.app.workers import Pool
from g3pt.files import write_whole

QUICK_SECONDS = 60.0
"""A quick task may run so long."""
MAX_QUICK = 16
"""Quick tasks that may wait."""
SWEEP_SECONDS = 5.0
"""Between two looks for results that have expired."""


class Jobs:
    """All jobs of a server, and what carries them out."""

    def __init__(self, settings: ServeSettings) -> None:
        self.settings = settings
        self.engine = _engine(settings)
        self.store = JobStore(settings.folder)
        self.quick = Pool((), 1, grace=settings.grace, threads=1, name="helper")
        self.ended: Counter[tuple[str, str]] = Counter()
        """(kind, state) -> number of jobs that ended so since the start."""
        self.seconds: defaultdict[str, float] = defaultdict(float)
        """Kind -> seconds that its jobs ran."""
        self._lock = threading.RLock()
        self._open: dict[str, str] = {}
        """Job that waits or runs -> its client."""
        self._running: set[str] = set()
        self._waiting: dict[str, set[Callable[[], None]]] = {}
        """Job -> who wants to hear of its events."""
        self._stopped = threading.Event()
        self._sweeper = threading.Thread(target=self._sweep, name="g3pt-expiry", daemon=True)

    def start(self) -> None:
        """Take up what an earlier server left, and start the processes."""
        for job in self.store.restart():
            self._open[job.id] = job.client
            self.engine.submit(self._task(job))
        shutil.rmtree(self._scratch, ignore_errors=True)
        self.engine.start()
        self.quick.start()
        self._sweeper.start()

    def stop(self) -> None:
        """End the processes; jobs that ran have failed when the next server starts."""
        self._stopped.set()
        self._sweeper.join()
        self.engine.stop()
        self.quick.stop()
        self.store.close()

    # --- submitting --------------------------------------------------------------------------

    def submit(self, kind: str, request: Request, client: str) -> Job:
        """Put a job into the queue.

        Raises:
            Problem: 429 if the queue is full or the client has enough jobs, 422 if the request
                names a model, a job or a sample that is not there.
        """
        settings, job = self.settings, JobStore.new_id()
        if request.model is not None and request.model not in settings.names:
            names = ", ".join(settings.names)
            raise Problem.of_field("model", f"there are {names}, got {request.model[:80]!r}")
        with self._lock:
            self.check_room(client)
            self._open[job] = client
        try:
            told = self._deposit(job, request)
            timeout = min(request.timeout or settings.deadline, settings.deadline)
            stored = self.store.add(job, kind, client, told, timeout=timeout)
        except BaseException:
            with self._lock:
                del self._open[job]
            shutil.rmtree(self.store.files_of(job), ignore_errors=True)
            raise
        self.engine.submit(self._task(stored))
        return stored

    def check_room(self, client: str) -> None:
        """Refuse a job if there is no room for it.

        Raises:
            Problem: 429 if the queue is full or the client has enough jobs.
        """
        limits = self.settings
        with self._lock:
            own = sum(1 for one in self._open.values() if one == client)
            waiting = len(self._open) - len(self._running)
        if own >= limits.max_per_client:
            detail = f"{own} jobs of this client wait or run: wait for one, or cancel one"
        elif waiting >= limits.max_queued:
            detail = f"{waiting} jobs wait already"
        else:
            return
        raise Problem(429, detail, headers={"Retry-After": str(self._retry_after())})

    def _retry_after(self) -> int:
        """Seconds until a place is likely to be free: as long as jobs usually run."""
        done = sum(self.ended.values())
        usual = sum(self.seconds.values()) / done if done else 2.0
        return max(1, min(60, round(usual)))

    def _deposit(self, job: str, request: Request) -> dict[str, Any]:
        """Write the bytes of a request to the folder of its job.

        Returns:
            The request as JSON values, with names of files in the place of bytes.
        """
        folder = self.store.files_of(job)
        folder.mkdir()
        told = request.model_dump(mode="json")
        for place, blob in request.blobs():
            field, _, number = place.partition(".")
            name = f"{field}-{number or 0}.{blob.format}"
            write_whole(folder / name, blob.data)
            if number:
                told[field][int(number)] = name
            else:
                told[field] = name
        for field, shape in request.shapes():
            told[field] = self._copy(field, shape, folder)
        return told

    def _copy(self, field: str, shape: StoredShape, folder: Path) -> str:
        """Copy the tokens of another job's result."""
        source = self.store.get(shape.job)
        if source is None or source.status != "done":
            state = "there is none" if source is None else f"it is {source.status}"
            raise Problem.of_field(f"{field}.job", f"names no job that is done: {state}")
        outputs = source.outcome.get("outputs", [])
        if shape.sample >= len(outputs) or "tokens_path" not in outputs[shape.sample]:
            raise Problem.of_field(
                f"{field}.sample", f"the job has {len(outputs)} shapes, got {shape.sample}"
            )
        output = outputs[shape.sample]
        # A part is looked at as a mesh; everything else starts from tokens.
        mesh = field == "part" or (field == "mesh" and output["path"] is not None)
        name = output["path"] if mesh else output["tokens_path"]
        if name is None:
            raise Problem.of_field(f"{field}.sample", "that shape is empty")
        copy = f"{field}-0{Path(name).suffix}"
        try:
            shutil.copyfile(self.store.files_of(shape.job) / name, folder / copy)
        except FileNotFoundError:
            raise Problem.of_field(f"{field}.job", "its results have expired") from None
        return copy

    def _task(self, job: Job) -> Task:
        folder = self.store.files_of(job.id)
        listener = JobListener(self, job)
        return Task(job.id, job.kind, job.request, folder, job.timeout, listener)

    # --- hearing -----------------------------------------------------------------------------

    def told(self, job: str, event: str, data: dict[str, Any]) -> None:
        """Store an event and wake those who wait for it."""
        self.store.add_event(job, event, data)
        self.wake(job)

    def begun(self, job: str) -> None:
        """A job runs now; those behind it have moved up."""
        with self._lock:
            self._running.add(job)
            behind = [one for one in self._waiting if one in self._open]
        self.wake(job)
        for one in behind:
            self.wake(one)

    def wake(self, job: str) -> None:
        """Wake those who wait for events of a job."""
        with self._lock:
            waiting = list(self._waiting.get(job, ()))
        for call in waiting:
            call()

    def listen(self, job: str) -> tuple[asyncio.Event, Callable[[], None]]:
        """An event of the running loop that is set whenever something happens to a job.

        Returns:
            The event, and what to call when nobody listens any more.
        """
        loop, event = asyncio.get_running_loop(), asyncio.Event()

        def call() -> None:
            try:
                loop.call_soon_threadsafe(event.set)
            except RuntimeError:
                pass  # the loop has ended

        with self._lock:
            self._waiting.setdefault(job, set()).add(call)

        def leave() -> None:
            with self._lock:
                left = self._waiting.get(job, set())
                left.discard(call)
                if not left:
                    self._waiting.pop(job, None)

        return event, leave

    def close(self, job: Job, how: EndedAs, content: dict[str, Any]) -> None:
        """A job has ended."""
        outcome, error = (content, None) if how == "done" else (None, content or None)
        told = {"outputs": content["outputs"]} if how == "done" else {}
        told |= {"error": error} if error else {}
        if not self.store.move(job.id, how, outcome=outcome, error=error, told=told):
            return
        ended = self.store.get(job.id)
        with self._lock:
            self._open.pop(job.id, None)
            self._running.discard(job.id)
            self.ended[job.kind, how] += 1
            if ended and ended.started and ended.finished:
                self.seconds[job.kind] += ended.finished - ended.started
        self.wake(job.id)

    def cancel(self, job: Job) -> None:
        """Cancel a job; one that has ended stays as it is."""
        if not self.engine.cancel(job.id):
            # It is stored and about to enter the queue, or it has ended.
            self.close(job, "cancelled", {})

    # --- quick tasks -------------------------------------------------------------------------

    @property
    def _scratch(self) -> Path:
        return self.settings.folder / "scratch"

    def quick_folder(self) -> Path:
        """A new folder for a quick task without a job; whoever asks deletes it."""
        folder = self._scratch / JobStore.new_id()
        folder.mkdir(parents=True)
        return folder

    async def do_quickly(self, work: str, told: dict[str, Any], folder: Path) -> dict[str, Any]:
        """Do a task that somebody waits for.

        Raises:
            Problem: 429 if too many wait, 422 or 500 with the reason if it failed.
        """
        if self.quick.state().queued >= MAX_QUICK:
            raise Problem(429, f"{MAX_QUICK} quick tasks wait", headers={"Retry-After": "1"})
        future: Future[dict[str, Any]] = Future()
        task = JobStore.new_id()
        self.quick.submit(Task(task, work, told, folder, QUICK_SECONDS, _Waiting(future)))
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            self.quick.cancel(task)
            raise

    # --- expiry ------------------------------------------------------------------------------

    def _sweep(self) -> None:
        while not self._stopped.wait(SWEEP_SECONDS):
            self.sweep()

    def sweep(self) -> list[str]:
        """Delete what has expired."""
        limits = self.settings
        expired = self.store.expire(older_than=limits.keep_seconds, keep_bytes=limits.keep_bytes)
        for job in expired:
            self.wake(job)
        return expired


def _engine(settings: ServeSettings) -> Engine:
    """What carries out the jobs; not started yet.

    Raises:
        ImportError: if it is not installed.
    """
    if settings.ray is None:
        models = tuple(settings.models)
        return Pool(models, settings.workers, grace=settings.grace, name="worker")
    from g3pt.app.ray_engine import RayServeEngine

    return RayServeEngine(settings, settings.ray)


@dataclass(frozen=True)
class JobListener:
    """Writes down what happens to a job."""

    jobs: Jobs
    job: Job

    def started(self) -> bool:
        """The job leaves the queue."""
        if not self.jobs.store.move(self.job.id, "running"):
            return False
        self.jobs.begun(self.job.id)
        return True

    def event(self, event: str, data: dict[str, Any]) -> None:
        """The job got on."""
        if event == "scale":
            self.jobs.store.set_scale(self.job.id, data["scale"], data["scales"])
        self.jobs.told(self.job.id, event, data)

    def ended(self, how: EndedAs, content: dict[str, Any]) -> None:
        """The job has ended."""
        self.jobs.close(self.job, how, content)

    def left(self) -> None:
        """Nothing is written any more: a job without a result needs no files."""
        found = self.jobs.store.get(self.job.id)
        if found is not None and found.status != "done":
            self.jobs.store.drop_files(self.job.id)


@dataclass(frozen=True)
class _Waiting:
    """Somebody waits for a quick task."""

    future: Future[dict[str, Any]]

    def started(self) -> bool:
        return not self.future.cancelled()

    def event(self, event: str, data: dict[str, Any]) -> None:
        pass

    def ended(self, how: EndedAs, content: dict[str, Any]) -> None:
        if self.future.cancelled():
            return
        if how == "done":
            self.future.set_result(content)
        else:
            wrong = content.get("reason") == "input"
            detail = content.get("detail", "was cancelled")
            self.future.set_exception(Problem(422 if wrong else 500, detail))

    def left(self) -> None:
        pass
