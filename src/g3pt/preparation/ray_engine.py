"""Many machines at work on one set of shards, by Ray (extra `cluster`).

Ray carries tasks to the nodes and results back, and tells when a node died. What it runs there is
what `ProcessEngine` runs here: every Ray worker keeps one limited child process, so that a crash,
a hang or a memory bomb costs one object and not the worker.

Every node needs the same g3pt and a shared file system: inputs are read by the paths that the
source lists, so those must exist on all of them. Results come to the process that calls `run`,
which alone writes.
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

from g3pt.preparation.engines import MAX_POOLS, Engine, Limits, child_pool, limited, outcome
from g3pt.preparation.worker import ObjectResult, ObjectTask, refuse

WINDOW = 3
"""Objects handed out, a processor of the cluster: one at work and two waiting beside it."""

MAX_RETRIES = 2
"""How often Ray itself starts an object again whose node or worker died."""

MAX_ATTEMPTS = 3
"""How often an object is handed out: late ones are waited for then, lost ones given up."""

PATIENCE = WINDOW + 1
"""An object out for longer than this many time limits, waiting included, is handed out again."""

POLL_SECONDS = 1.0
"""How often the size of the cluster and the time are looked at."""

SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # no reports to Ray's makers
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # under `uv run` Ray would upload the working folder
}
LOCAL_SETTINGS = {
    # Makes Ray bind to 127.0.0.1, on Linux too; asked for that address it takes the outer one.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # By default workers give way to every other process, and may wait longer than their limits.
    "RAY_worker_niceness": "0",
}

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Out:
    """An object that is handed out, perhaps more than once: the first result counts."""

    task: ObjectTask
    since: float
    copies: set[Any] = field(default_factory=set)
    """Ray's references to its results to come."""
    attempts: int = 0


class RayEngine(Engine):
    """On the nodes of a Ray cluster, each object in a child process under limits."""

    def __init__(self, address: str = "local", limits: Limits | None = None) -> None:
        """Join a cluster, or start one of this machine alone.

        Args:
            address: "local" starts Ray here, reachable from this machine only; "auto" finds the
                cluster of this node; "ip:port" and "ray://ip:port" name one.
            limits: what one object may cost.

        Raises:
            ImportError: without the extra `cluster`.
            ConnectionError: if there is no cluster at `address`.
        """
        self.address, self.limits = address, limits or Limits()
        self._ray = _import_ray(local=address == "local")
        self._is_ours = not self._ray.is_initialized()
        if self._is_ours:
            _connect(self._ray, address)

    def __enter__(self) -> "RayEngine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the Ray that was started here; leave one that was joined."""
        if self._is_ours:
            self._ray.shutdown()
            self._is_ours = False

    def run(self, tasks: Iterable[ObjectTask]) -> Iterator[ObjectResult]:
        """Run every task; whoever stops early takes back what is handed out."""
        dispatch = _Dispatch(self._ray, self.limits)
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
    """What is handed out at the moment."""

    def __init__(self, ray: Any, limits: Limits) -> None:
        self._ray, self._limits = ray, limits
        self._remote = ray.remote(num_cpus=1, max_retries=MAX_RETRIES, retry_exceptions=False)(
            run_limited
        )
        self._out: dict[int, _Out] = {}
        self._owner: dict[Any, int] = {}
        self._window, self._looked = 0, -POLL_SECONDS

    def __len__(self) -> int:
        return len(self._out)

    def window(self) -> int:
        """How many objects may be out; follows the size of the cluster."""
        now = time.monotonic()
        if now - self._looked >= POLL_SECONDS:
            processors = int(self._ray.cluster_resources().get("CPU", 0))
            # One even without processors: it tells a cluster that grows on demand to grow.
            self._window, self._looked = max(WINDOW * processors, 1), now
        return self._window

    def hand_out(self, task: ObjectTask) -> None:
        """Send an object to the cluster."""
        self._send(self._out.setdefault(task.number, _Out(task, 0.0)))

    def collect(self) -> Iterator[ObjectResult]:
        """Results that are there, after a short wait; sends lost and late objects again."""
        done, _ = self._ray.wait(list(self._owner), num_returns=1, timeout=POLL_SECONDS)
        for copy in done:
            yield from self._received(copy)
        late = time.monotonic() - PATIENCE * self._limits.seconds
        for out in self._out.values():
            if out.since < late:
                self._remind(out)

    def take_back(self) -> None:
        """Stop everything that is out."""
        for out in list(self._out.values()):
            self._forget(out)

    def _send(self, out: _Out) -> None:
        copy = self._remote.remote(out.task, self._limits)
        out.copies.add(copy)
        out.attempts, out.since = out.attempts + 1, time.monotonic()
        self._owner[copy] = out.task.number

    def _received(self, copy: Any) -> Iterator[ObjectResult]:
        out = self._out[self._owner.pop(copy)]
        out.copies.discard(copy)
        try:
            result: ObjectResult = self._ray.get(copy, timeout=PATIENCE * self._limits.seconds)
        except self._ray.exceptions.RayTaskError as error:  # `run_limited` itself never raises
            raise ValueError(
                f"{out.task.ref.id}: a Ray worker cannot run g3pt, expected the same version of it "
                f"on every node, got: {error}"
            ) from error
        except self._ray.exceptions.RayError as error:  # its node, its worker, its result is gone
            yield from self._lost(out, type(error).__name__)
        else:
            self._forget(out)
            yield result

    def _lost(self, out: _Out, reason: str) -> Iterator[ObjectResult]:
        """Hand an object out again unless another copy is still out, or give it up."""
        if out.copies:
            return
        if out.attempts < MAX_ATTEMPTS:
            logger.warning("%s was lost (%s); it is handed out again", out.task.ref.id, reason)
            self._send(out)
            return
        self._forget(out)
        message = f"lost {out.attempts} times with the node or worker that had it ({reason})"
        yield refuse(out.task, "worker", "lost", message)

    def _remind(self, out: _Out) -> None:
        """Hand a late object out a second time, in case its node is stuck; then wait."""
        logger.warning("%s has been out for long", out.task.ref.id)
        if len(out.copies) < 2 and out.attempts < MAX_ATTEMPTS:
            self._send(out)
        out.since = time.monotonic()

    def _forget(self, out: _Out) -> None:
        del self._out[out.task.number]
        for copy in out.copies:
            del self._owner[copy]
            self._ray.cancel(copy, force=True)


def run_limited(task: ObjectTask, limits: Limits) -> ObjectResult:
    """Run one object in the child process of this Ray worker.

    Raises:
        RuntimeError: if child processes do not even start.
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
    raise RuntimeError(f"child processes broke off {MAX_POOLS} times, not at any object")


@lru_cache(maxsize=1)
def _children(limits: Limits) -> ProcessPool:
    return child_pool(1, limits)


def _import_ray(*, local: bool) -> Any:
    for name, value in (SETTINGS | (LOCAL_SETTINGS if local else {})).items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise ImportError(
            "preparing shapes on a cluster needs Ray: pip install g3pt[cluster]"
        ) from error
    return ray


def _connect(ray: Any, address: str) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        quiet |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, TimeoutError) as error:
        raise ConnectionError(
            f"expected a Ray cluster at {address!r}, got: {' '.join(str(error).split())[:300]}"
        ) from error
