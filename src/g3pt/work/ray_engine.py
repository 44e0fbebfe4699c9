"""Tasks on many machines with Ray (extra `cluster`).

Ray sends tasks to the nodes and results back, and reports when a node died. Every Ray worker keeps
one child process with limits, as `ProcessEngine` does, so that a crash, a hang or excessive memory
costs one object and not the worker.

Every node needs the same version of g3pt and a shared file system: the paths that tasks name
must exist on all nodes. Results are returned to the process that calls `run`, the only one that
writes.
"""

import logging
import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from pebble import ProcessPool

from g3pt.work.engines import MAX_POOLS, Engine, Limits, child_pool, limited, outcome
from g3pt.work.tasks import Task, TaskResult

WINDOW = 3
"""Objects submitted per processor of the cluster: one running and two waiting."""

MAX_RETRIES = 2
"""How often Ray itself retries an object whose node or worker died."""

MAX_ATTEMPTS = 3
"""How often an object is submitted; after that late ones are waited for and lost ones given up."""

PATIENCE = WINDOW + 1
"""An object submitted longer ago than this many time limits is submitted again."""

POLL_SECONDS = 1.0
"""Interval at which the size of the cluster and late objects are checked."""

CLIENT_TRIES = 4
CLIENT_PAUSE = 2.0
UNPREPARED = "Initialization failure"
"""What a server for clients says while it cannot start the process that a client gets, as soon
after its own start. The client then waits `CLIENT_PAUSE` seconds and asks again."""
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # no usage reports
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # under `uv run` Ray would upload the working folder
}
LOCAL_SETTINGS = {
    # Makes Ray bind to 127.0.0.1, on Linux too; given that address it takes the external one.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # By default workers have low priority and may wait longer than their limits.
    "RAY_worker_niceness": "0",
}

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Out:
    """A submitted object, possibly with several copies: the first result counts."""

    task: Task
    since: float
    copies: set[Any] = field(default_factory=set)
    """Ray's references to its pending results."""
    attempts: int = 0


class RayEngine(Engine):
    """Runs tasks on the nodes of a Ray cluster, each in a child process with limits."""

    def __init__(
        self, address: str = "local", limits: Limits | None = None, *, on_gpus: bool = False
    ) -> None:
        """Join a cluster, or start one on this machine.

        Args:
            address: "local" starts Ray here, reachable from this machine only; "auto" finds the
                cluster of this node; "ip:port" and "ray://ip:port" name one.
            limits: time and memory per object.
            on_gpus: every task gets a GPU of its own beside its processor.

        Raises:
            ImportError: without the extra `cluster`.
            ConnectionError: if there is no cluster at `address`.
        """
        self.address, self.limits, self.on_gpus = address, limits or Limits(), on_gpus
        self._ray = import_ray(local=address == "local")
        self._is_ours = not self._ray.is_initialized()
        if self._is_ours:
            connect(self._ray, address)

    def __enter__(self) -> "RayEngine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Shut down Ray if it was started here; leave a cluster that was joined."""
        if self._is_ours:
            self._ray.shutdown()
            self._is_ours = False

    def run(self, tasks: Iterable[Task]) -> Iterator[TaskResult]:
        """Run every task; closing the iterator early cancels submitted tasks."""
        dispatch = _Dispatch(self._ray, self.limits, on_gpus=self.on_gpus)
        waiting = iter(tasks)
        try:
            while True:
                while len(dispatch) < dispatch.window():
                    if (task := next(waiting, None)) is None:
                        break
                    dispatch.hand_out(task)
                if not len(dispatch):
                    return
                yield from dispatch.collect()
        finally:
            dispatch.take_back()


class _Dispatch:
    """The objects submitted at the moment."""

    def __init__(self, ray: Any, limits: Limits, *, on_gpus: bool) -> None:
        self._ray, self._limits = ray, limits
        self._counted = "GPU" if on_gpus else "CPU"
        self._remote = ray.remote(
            num_cpus=1, num_gpus=int(on_gpus), max_retries=MAX_RETRIES, retry_exceptions=False
        )(run_limited)
        self._out: dict[int, _Out] = {}
        self._owner: dict[Any, int] = {}
        self._window, self._looked = 0, -POLL_SECONDS

    def __len__(self) -> int:
        return len(self._out)

    def window(self) -> int:
        """Number of objects that may be submitted at once; follows the size of the cluster."""
        now = time.monotonic()
        if now - self._looked >= POLL_SECONDS:
            processors = int(self._ray.cluster_resources().get(self._counted, 0))
            # At least one, without processors too: it makes an autoscaling cluster grow.
            self._window, self._looked = max(WINDOW * processors, 1), now
        return self._window

    def hand_out(self, task: Task) -> None:
        """Submit an object to the cluster."""
        self._send(self._out.setdefault(task.number, _Out(task, 0.0)))

    def collect(self) -> Iterator[TaskResult]:
        """Results available after a short wait; resubmits lost and late objects."""
        done, _ = self._ray.wait(list(self._owner), num_returns=1, timeout=POLL_SECONDS)
        for copy in done:
            yield from self._received(copy)
        late = time.monotonic() - PATIENCE * self._limits.seconds
        for out in self._out.values():
            if out.since < late:
                self._remind(out)

    def take_back(self) -> None:
        """Cancel everything submitted."""
        for out in list(self._out.values()):
            self._forget(out)

    def _send(self, out: _Out) -> None:
        copy = self._remote.remote(out.task, self._limits)
        out.copies.add(copy)
        out.attempts, out.since = out.attempts + 1, time.monotonic()
        self._owner[copy] = out.task.number

    def _received(self, copy: Any) -> Iterator[TaskResult]:
        out = self._out[self._owner.pop(copy)]
        out.copies.discard(copy)
        try:
            result: TaskResult = self._ray.get(copy, timeout=PATIENCE * self._limits.seconds)
        except self._ray.exceptions.RayTaskError as error:  # `run_limited` itself never raises
            raise ValueError(
                f"{out.task.id}: a Ray worker cannot run g3pt, expected the same version of it "
                f"on every node, got: {error}"
            ) from error
        except self._ray.exceptions.RayError as error:  # its node, worker or result is lost
            yield from self._lost(out, type(error).__name__)
        else:
            self._forget(out)
            yield result

    def _lost(self, out: _Out, reason: str) -> Iterator[TaskResult]:
        """Resubmit an object unless another copy is pending, or give it up."""
        if out.copies:
            return
        if out.attempts < MAX_ATTEMPTS:
            logger.warning("%s was lost (%s); it is handed out again", out.task.id, reason)
            self._send(out)
            return
        self._forget(out)
        message = f"lost {out.attempts} times with the node or worker that had it ({reason})"
        yield out.task.refuse("worker", "lost", message)

    def _remind(self, out: _Out) -> None:
        """Submit a late object a second time, in case its node hangs; then wait."""
        logger.warning("%s has been out for long", out.task.id)
        if len(out.copies) < 2 and out.attempts < MAX_ATTEMPTS:
            self._send(out)
        out.since = time.monotonic()

    def _forget(self, out: _Out) -> None:
        del self._out[out.task.number]
        for copy in out.copies:
            del self._owner[copy]
            self._ray.cancel(copy, force=True)


def run_limited(task: Task, limits: Limits) -> TaskResult:
    """Run one object in the child process of this Ray worker.

    Raises:
        RuntimeError: if child processes do not start.
    """
    for _ in range(MAX_POOLS):
        try:
            future = _children(limits).schedule(
                limited, args=(task, limits.cpu_seconds), timeout=limits.seconds
            )
        except RuntimeError:  # the pool broke between two objects
            _children.cache_clear()
            continue
        if not isinstance(future.exception(), BrokenProcessPool):
            return outcome(future, task, limits)
        _children.cache_clear()
    raise RuntimeError(f"child processes died {MAX_POOLS} times while idle")


@lru_cache(maxsize=1)
def _children(limits: Limits) -> ProcessPool:
    return child_pool(1, limits)


def import_ray(*, local: bool) -> Any:
    """The module `ray`, told to report nothing, and to stay on loopback if it is started here.

    Raises:
        ImportError: without the extra `cluster`.
    """
    for name, value in (SETTINGS | (LOCAL_SETTINGS if local else {})).items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise ImportError("work on a cluster needs Ray: pip install g3pt[cluster]") from error
    return ray


def connect(ray: Any, address: str, *, num_cpus: int | None = None) -> None:
    """Join a cluster, or start one on this machine.

    Args:
        ray: the module, from `import_ray`.
        address: as `RayEngine` takes it.
        num_cpus: processors that a cluster which is started here is to have; None counts them.

    Raises:
        ConnectionError: if there is no cluster at `address`.
    """
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        quiet |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
        quiet["num_cpus"] = num_cpus
    logging.getLogger("ray").setLevel(logging.ERROR)
    for again in reversed(range(CLIENT_TRIES)):
        try:
            ray.init(address=address, **quiet)
            return
        except (ConnectionError, RuntimeError, TimeoutError) as error:
            if again and UNPREPARED in str(error):
                ray.shutdown()
                time.sleep(CLIENT_PAUSE)
                continue
            said = " ".join(str(error).split())
            if len(said) > 400:  # a traceback of the other side: what went wrong stands at its end
                said = f"{said[:100]} ... {said[-300:]}"
            raise ConnectionError(f"expected a Ray cluster at {address!r}, got: {said}") from error
