"""Jobs on a Ray cluster: Ray Serve has the replicas, hands out the requests and scales.

Every task is one streaming call of a handle. Ray Serve keeps those that find no idle replica in its
queue (`max_queued_requests`), gives a replica one at a time (`max_ongoing_requests`), replaces
replicas that end, and changes their number (`autoscaling_config`). Here the streams are read, and
deadlines and cancellations end them. No port is opened for them: requests come through our own
server.
"""

import asyncio
import hashlib
import logging
import math
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, TypeVar

from g3pt.app.engine import (
    EndedAs,
    EngineState,
    Task,
    tell_end,
    tell_event,
    tell_left,
    tell_start,
)
from g3pt.app.ray_replica import ENDS, Replica
from g3pt.app.settings import RaySettings, ServeSettings
from g3pt.files import write_whole
from g3pt.work.ray_engine import connect, import_ray

LOGGER = logging.getLogger(__name__)
ResultT = TypeVar("ResultT")

LOOK_SECONDS = 2.0
"""Between two looks at the replicas."""
PAUSE_SECONDS = 10.0
"""Before replicas that could not be started are started again."""
MAX_ATTEMPTS = 3
"""How often a task is handed out whose replica ended before it began."""


@dataclass(eq=False)
class _Held:
    """A task that waits or runs."""

    task: Task
    begun: bool = False
    ended: bool = False
    """Whether it has ended for everybody else."""
    process: int | None = None
    """Id of the process that does it, on whichever machine."""
    following: asyncio.Task[None] | None = field(default=None, repr=False)


class _NotBegunError(Exception):
    """The replica that a task was handed to ended before it began."""


class RayServeEngine:
    """An engine: replicas of the models on a Ray cluster."""

    def __init__(self, settings: ServeSettings, places: RaySettings) -> None:
        """Nothing is started yet.

        Args:
            settings: models, number of replicas, limits.
            places: the cluster, and what a replica takes of it.

        Raises:
            ImportError: naming the extra, if Ray Serve is not installed.
        """
        self._settings, self._places = settings, places
        try:
            self._ray = import_ray(local=places.cluster == "local")
            from ray import serve
        except ImportError as error:
            raise ImportError(
                f"replicas need Ray Serve ({error}): pip install 'g3pt[ray-serve]'"
            ) from error
        self._serve: Any = serve
        owner = f"{socket.gethostname()}:{settings.folder.resolve()}"
        self._name = f"g3pt-{hashlib.sha256(owner.encode()).hexdigest()[:12]}"
        """Of the application: a server that starts again with its folder takes over the old one."""
        self._lock = threading.RLock()
        self._held: dict[str, _Held] = {}
        """In the order in which they came."""
        self._state = {"workers": 0, "ready": 0}
        self._restarts = 0
        self._broken: str | None = None
        self._handle: Any = None
        self._is_ours = False
        """Whether Ray was started here."""
        self._loop = asyncio.new_event_loop()
        self._deployed = asyncio.Event()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="g3pt-ray", daemon=True)

    # --- for the server ----------------------------------------------------------------------

    def start(self) -> None:
        """Start the replicas, without waiting for them."""
        self._thread.start()

    def stop(self) -> None:
        """Take the replicas down; tasks that wait or run are dropped without a word."""
        with self._lock:
            for held in self._held.values():
                held.ended = True
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._loop.close()

    def submit(self, task: Task) -> None:
        """Hand a task to Ray Serve."""
        held = _Held(task)
        with self._lock:
            self._held[task.id] = held
        self._loop.call_soon_threadsafe(self._follow, held)

    def cancel(self, task: str) -> bool:
        """End a task that waits or runs; False if there is none."""
        with self._lock:
            held = self._held.get(task)
            if held is None or held.ended:
                return False
            self._end(held, "cancelled", {})
        self._loop.call_soon_threadsafe(self._let_go, held)
        return True

    def place(self, task: str) -> int | None:
        """How many tasks come before one that waits; None if it does not wait."""
        with self._lock:
            waiting = [id for id, held in self._held.items() if not held.begun and not held.ended]
        return waiting.index(task) if task in waiting else None

    def state(self) -> EngineState:
        """How the replicas were when they were last looked at."""
        with self._lock:
            held = [one for one in self._held.values() if not one.ended]
            return EngineState(
                queued=sum(not one.begun for one in held),
                busy=sum(one.begun for one in held),
                restarts=self._restarts,
                broken=self._broken,
                **self._state,
            )

    def process_of(self, task: str) -> int | None:
        """Id of the process that does a task, on whichever machine; None if it does not run."""
        with self._lock:
            return self._held[task].process if task in self._held else None

    # --- the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve_until_stopped())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())

    async def _serve_until_stopped(self) -> None:
        deploying = asyncio.create_task(self._keep_deployed())
        await self._stopping.wait()
        deploying.cancel()
        following = [held.following for held in self._held.values() if held.following]
        for one in following:
            one.cancel()
        await asyncio.gather(deploying, *following, return_exceptions=True)
        await asyncio.to_thread(self._take_down)

    async def _keep_deployed(self) -> None:
        """Deploy the replicas, and look at them from time to time."""
        while True:
            try:
                self._handle = await _wholly(self._deploy)
                self._deployed.set()
                while True:
                    await _wholly(self._look)
                    await asyncio.sleep(LOOK_SECONDS)
            except Exception as error:  # whatever Ray raises: the cluster is not as it should be
                text = " ".join(str(error).split())[:500]
                LOGGER.error("no replicas on the cluster: %s", text)
                self._deployed.clear()
                with self._lock:
                    self._broken = f"{type(error).__name__}: {text}"
                    self._state = {"workers": 0, "ready": 0}
            await asyncio.sleep(PAUSE_SECONDS)

    def _deploy(self) -> Any:
        """Join the cluster, or start one here, and start the replicas.

        Returns:
            The handle that calls them.
        """
        settings, places, serve = self._settings, self._places, self._serve
        if not self._ray.is_initialized():
            most = max(settings.workers, places.max_replicas or 0)
            # Replicas for which there is no processor would never start.
            processors = max(os.cpu_count() or 1, math.ceil(most * places.replica_cpus))
            connect(self._ray, places.cluster, num_cpus=processors)
            self._is_ours = True
        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        serve.start(proxy_location="Disabled", logging_config={"log_level": "ERROR"})
        deployment = serve.deployment(
            Replica,
            name="replica",
            ray_actor_options={"num_cpus": places.replica_cpus, "num_gpus": places.replica_gpus},
            max_ongoing_requests=1,
            max_queued_requests=settings.max_queued,
            graceful_shutdown_timeout_s=settings.grace,
            graceful_shutdown_wait_loop_s=settings.grace,
            health_check_period_s=2.0,
            health_check_timeout_s=20.0,
            **self._size(),
        )
        bound = deployment.bind(tuple(settings.models), settings.grace)
        target = serve.RunTarget(bound, name=self._name, route_prefix=None)
        (handle,) = serve.run_many([target], wait_for_applications_running=False)
        return handle.options(method_name="run", stream=True)

    def _size(self) -> dict[str, Any]:
        """How many replicas there are."""
        settings, places = self._settings, self._places
        if places.max_replicas is None:
            return {"num_replicas": settings.workers}
        scaling = {
            "min_replicas": settings.workers,
            "max_replicas": places.max_replicas,
            "target_ongoing_requests": 1,
            "upscale_delay_s": places.up_seconds,
            "downscale_delay_s": places.down_seconds,
        }
        return {"autoscaling_config": scaling}

    def _look(self) -> None:
        """Note how the replicas are."""
        found = self._serve.status().applications.get(self._name)
        if found is None:
            raise RuntimeError(f"the application {self._name} is gone from the cluster")
        if found.status == "DEPLOY_FAILED":
            raise RuntimeError(found.message)
        (deployment,) = found.deployments.values()
        states = {str(state): num for state, num in deployment.replica_states.items()}
        ready = states.get("RUNNING", 0)
        with self._lock:
            self._state = {"workers": sum(states.values()), "ready": ready}
            self._broken = None if ready else deployment.message or None

    def _take_down(self) -> None:
        """End the replicas, and Ray if it was started here."""
        if not self._ray.is_initialized():
            return
        try:
            if self._is_ours:
                self._serve.shutdown()
            else:
                self._serve.delete(self._name)
        except Exception as error:  # the cluster is gone, and the replicas with it
            LOGGER.warning("replicas were not taken down: %s", error)
        if self._is_ours:
            self._ray.shutdown()

    # --- one task ----------------------------------------------------------------------------

    def _follow(self, held: _Held) -> None:
        held.following = self._loop.create_task(self._do(held))
        held.following.add_done_callback(lambda _: self._leave(held))

    def _let_go(self, held: _Held) -> None:
        if held.following is not None:
            held.following.cancel()

    def _leave(self, held: _Held) -> None:
        """Nothing follows a task any more."""
        with self._lock:
            del self._held[held.task.id]
        if not self._stopping.is_set():  # a task that waits is taken up by the next server
            tell_left(held.task)

    async def _do(self, held: _Held) -> None:
        seconds = held.task.seconds
        try:
            for _ in range(MAX_ATTEMPTS):
                await self._deployed.wait()
                try:
                    return await self._call(held)
                except _NotBegunError as error:
                    LOGGER.warning("task %s is handed out again: %s", held.task.id, error)
            self._fail(held, "worker", f"{MAX_ATTEMPTS} replicas ended before it began")
        except TimeoutError:
            self._fail(held, "deadline", f"ran longer than its {seconds:g} seconds and was ended")
        except Exception as error:
            LOGGER.exception("task %s", held.task.id)
            self._fail(held, "server", f"the server could not follow it: {type(error).__name__}")

    async def _call(self, held: _Held) -> None:
        """Call a replica, and take what it tells until the end.

        Raises:
            _NotBegunError: if the replica ended before the task began.
            TimeoutError: if the task ran too long.
        """
        task, exceptions = held.task, self._serve.exceptions
        files = {path.name: path.read_bytes() for path in task.folder.iterdir()}
        message = {"task": task.id, "work": task.work, "request": task.request}
        stream = self._handle.remote(message, files)
        try:
            async with asyncio.timeout(None) as limit:
                async for told in stream:
                    if told["kind"] == "running":
                        if not tell_start(task):
                            return
                        limit.reschedule(self._loop.time() + task.seconds)
                    self._take(held, told)
        except exceptions.BackPressureError:
            waiting = f"{self._settings.max_queued} jobs wait on the cluster already"
            self._fail(held, "worker", f"{waiting}; submit it again")
        except (self._ray.exceptions.RayError, exceptions.RayServeException) as error:
            with self._lock:
                self._restarts += 1
            if not held.begun:
                raise _NotBegunError(type(error).__name__) from error
            reason = f"the replica that did it ended ({type(error).__name__}); submit it again"
            self._fail(held, "worker", reason)
        finally:
            stream.cancel()  # reaches the replica if it still works

    def _take(self, held: _Held, told: dict[str, Any]) -> None:
        """Take a message of a replica."""
        with self._lock:
            if held.ended:
                return
        match told["kind"]:
            case "running":
                with self._lock:
                    held.begun, held.process = True, told["process"]
            case "file":
                # Replicas are ours; a name with a folder in it would still be a mistake.
                write_whole(held.task.folder / PurePath(told["name"]).name, told["data"])
            case "event":
                tell_event(held.task, told["event"], told["data"])
            case kind:
                assert kind in ENDS
                self._end(held, kind, told.get("outcome" if kind == "done" else "error", {}))

    def _fail(self, held: _Held, reason: str, detail: str) -> None:
        self._end(held, "failed", {"reason": reason, "detail": detail})

    def _end(self, held: _Held, how: EndedAs, content: dict[str, Any]) -> None:
        """Say once that a task has ended."""
        with self._lock:
            if not held.ended:
                held.ended = True
                tell_end(held.task, how, content)


async def _wholly(work: Callable[[], ResultT]) -> ResultT:
    """Do something in a thread; a cancellation waits for its end."""
    future = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        raise
