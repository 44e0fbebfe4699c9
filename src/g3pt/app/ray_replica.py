"""The inside of a replica on a Ray cluster: it does tasks as a worker process does.

What comes with a task travels as bytes and so does what it makes, so that the machines of a cluster
need no file system in common. Files go ahead of the message that speaks of them.
"""

import asyncio
import os
import shutil
import tempfile
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from g3pt.app.settings import ModelSource
from g3pt.processes import let_waiting_threads_sleep

ENDS = ("done", "failed", "cancelled")
"""Kinds of the last message of a task."""


class Replica:
    """Holds the models; Ray Serve sends it one request at a time."""

    def __init__(self, models: tuple[ModelSource, ...], grace: float) -> None:
        """Load the first of the models.

        Args:
            models: what can be loaded; their folders must exist on every machine.
            grace: seconds after which a task that does not hear of its end costs the process.
        """
        let_waiting_threads_sleep()
        from g3pt.app.work import Bench  # loads torch, which the server does without

        self._grace = grace
        self._free = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, "g3pt-work")
        self._bench = Bench(_Silent(), models)
        self._bench.pipeline(None)

    async def run(
        self, task: dict[str, Any], files: dict[str, bytes]
    ) -> AsyncIterator[dict[str, Any]]:
        """Do a task.

        Args:
            task: as `Bench.do` takes it, without its folder.
            files: name -> bytes of what lies in that folder.

        Yields:
            `running` with the id of this process; then what the task tells, and before that a
            `file` for every one that is new or has changed; at last one of `ENDS`. Whoever stops
            listening ends the task.
        """
        async with self._free:  # a cancelled task may still be ending, or end this process
            stream = self._alone(task, files)
            try:
                async for message in stream:
                    yield message
            finally:
                await stream.aclose()

    async def _alone(
        self, task: dict[str, Any], files: dict[str, bytes]
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Do a task when no other is at work here."""
        folder = Path(tempfile.mkdtemp(prefix="g3pt-"))
        try:
            for name, data in files.items():
                (folder / name).write_bytes(data)
            yield {"kind": "running", "process": os.getpid()}
            stream = self._bench.line = Stream(folder)
            work = self._thread.submit(self._bench.do, {**task, "folder": str(folder)})
            try:
                async for message in stream.messages():
                    yield message
            finally:
                stream.unwanted.set()
                await asyncio.wait([asyncio.wrap_future(work)], timeout=self._grace)
                if not work.done():
                    shutil.rmtree(folder, ignore_errors=True)
                    os._exit(1)  # Ray Serve starts another replica
        finally:
            shutil.rmtree(folder, ignore_errors=True)


class Stream:
    """A line from the thread of the work to the event loop that it was made in."""

    def __init__(self, folder: Path) -> None:
        self.unwanted = threading.Event()
        """Set when nobody wants the task any more."""
        self._folder = folder
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._known = self._state()

    def send(self, message: dict[str, Any]) -> None:
        """Tell something, after the files that are new."""
        state = self._state()
        for name in sorted(name for name in state if state[name] != self._known.get(name)):
            data = (self._folder / name).read_bytes()
            self._put({"kind": "file", "name": name, "data": data})
        self._known = state
        self._put(message)

    def is_unwanted(self, task: str) -> bool:
        """Whether the task has been cancelled."""
        return self.unwanted.is_set()

    async def messages(self) -> AsyncIterator[dict[str, Any]]:
        """What was told, until the end of the task."""
        while True:
            message = await self._queue.get()
            yield message
            if message["kind"] in ENDS:
                return

    def _put(self, message: dict[str, Any]) -> None:
        self._loop.call_soon_threadsafe(self._queue.put_nowait, message)

    def _state(self) -> dict[str, tuple[int, int]]:
        """Name -> time of change and size of every file."""
        found = {path.name: path.stat() for path in self._folder.iterdir()}
        return {name: (one.st_mtime_ns, one.st_size) for name, one in found.items()}


class _Silent:
    """The line while there is no task."""

    def send(self, message: dict[str, Any]) -> None:
        pass

    def is_unwanted(self, task: str) -> bool:
        return False
