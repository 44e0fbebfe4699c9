"""A job of a server, followed in a thread of its own; whoever asks takes messages from a queue.

Nothing here knows Blender. The thread never touches anything but the server and its queue.
"""

import queue
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .client import Client, ServerError, ServerEvent, UnreachableError

FULL = 10.0
"""Seconds to try again while the server is full."""


@dataclass(frozen=True)
class Progress:
    """How far a job is."""

    text: str
    share: float
    """Of the whole work, in 0..1."""


@dataclass(frozen=True)
class Arrived:
    """A mesh came."""

    glb: bytes
    label: str
    """Name for people, such as `scale 2` or `1`."""
    passing: bool = False
    """Whether the next mesh takes its place."""


@dataclass(frozen=True)
class Ended:
    """Nothing comes after this."""

    error: str | None = None
    """What went wrong, in words."""
    cancelled: bool = False


Message = Progress | Arrived | Ended


class Follower:
    """Submits a job and follows it until it has ended."""

    def __init__(
        self,
        client: Client,
        kind: str,
        request: dict[str, Any],
        *,
        every_scale: bool = False,
        result: dict[str, Any] | None = None,
    ) -> None:
        """Describe the work; nothing is asked before `start`.

        Args:
            client: of the server.
            kind: kind of the job, `generation` for instance.
            request: its fields, as `Client.submit` takes them.
            every_scale: also hand over the whole mesh of every coarser scale at the end.
            result: fields that say how results are to leave, `size_mm` for instance.
        """
        self.messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self.job: str | None = None
        self._client, self._kind, self._result = client, kind, result or {}
        self._request = {**request, "format": "glb"}
        self._every_scale = every_scale
        if every_scale:
            self._request["every_scale"] = True
        self._cancelled = threading.Event()
        self._thread = threading.Thread(target=self._run, name="g3pt job", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def cancel(self) -> None:
        """End the job; returns at once, and `Ended` comes when the server has heard."""
        if not self._cancelled.is_set():
            self._cancelled.set()
            threading.Thread(target=self._tell, name="g3pt cancel", daemon=True).start()

    @property
    def alive(self) -> bool:
        """Whether messages may still come."""
        return self._thread.is_alive() or not self.messages.empty()

    def join(self, seconds: float) -> None:
        """Wait for the thread."""
        self._thread.join(seconds)

    def _tell(self) -> None:
        """Tell the server that nobody waits for the job; if it does not hear, its limits end it."""
        if self.job is not None:
            try:
                self._client.cancel(self.job)
            except (ServerError, UnreachableError) as error:
                self.messages.put(Progress(f"not cancelled: {error}", 0.0))

    def _run(self) -> None:
        try:
            self.messages.put(Progress("sending", 0.0))
            self.job = self._client.submit(self._kind, patience=FULL, **self._request)
            if self._cancelled.is_set():  # asked for while the request was on its way
                self._client.cancel(self.job)
            for event in self._client.events(self.job, cancel_on_disconnect=True):
                self._heard(event)
            if self._cancelled.is_set():
                self.messages.put(Ended(cancelled=True))
                return
            self._fetch(self._client.done(self.job))
            self.messages.put(Ended())
        except (ServerError, UnreachableError, OSError) as error:
            self.messages.put(Ended(None if self._cancelled.is_set() else str(error)))
        except Exception as error:  # whoever waits must hear of the end, whatever it was
            self.messages.put(Ended(f"{type(error).__name__}: {error}"))
            raise

    def _heard(self, event: ServerEvent) -> None:
        told = event.data
        match event.name:
            case "queue":
                self.messages.put(Progress(f"waiting, {told['place']} before it", 0.0))
            case "scale":
                share = 0.5 * told["scale"] / told["scales"]
                text = f"scale {told['scale']} of {told['scales']}"
                self.messages.put(Progress(text, share))
                if told.get("preview") and not self._cancelled.is_set():
                    glb = self._client.scale(str(self.job), told["scale"])
                    self.messages.put(Arrived(glb, text, passing=True))
            case "mesh":
                self.messages.put(Progress("mesh", 0.5 + 0.45 * told["percent"] / 100))
            case "color":
                self.messages.put(Progress("colours", 0.95))
            case _:
                pass

    def _fetch(self, job: dict[str, Any]) -> None:
        """Hand over the meshes of a job that is done."""
        several = len(job["outputs"]) > 1
        for sample, _ in enumerate(job["outputs"]):
            name = f"{sample + 1}" if several else ""
            if self._every_scale:
                for scale in range(1, job["scales"] or 1):
                    glb = self._client.scale(str(self.job), scale, sample=sample)
                    self.messages.put(Arrived(glb, f"{name} scale {scale}".strip()))
            glb = self._client.result(str(self.job), "glb", sample=sample, **self._result)
            self.messages.put(Arrived(glb, name))


def picture(path: str) -> bytes:
    """The bytes of a picture.

    Raises:
        ValueError: if there is no such file.
    """
    file = Path(path)
    if not path or not file.is_file():
        raise ValueError(f"there is no picture {path!r}: choose a file")
    return file.read_bytes()
