"""A server with untrained weights in this process, and a client for it."""

import contextlib
import http.client
import io
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

TINY = {"text": "a mug", "resolution": 16, "previews": False}
"""A job of some ten milliseconds."""
SLOW = {"text": "a mug", "resolution": 256, "num": 16, "previews": False}
"""A job of many seconds."""
CUBE = """
v 0 0 0\nv 0 0 1\nv 0 1 0\nv 0 1 1\nv 1 0 0\nv 1 0 1\nv 1 1 0\nv 1 1 1
f 1 2 4 3\nf 5 7 8 6\nf 1 5 6 2\nf 3 4 8 7\nf 1 3 7 5\nf 2 6 8 4
"""
"""A cube as a file of OBJ."""


@dataclass
class Answer:
    """What a server said."""

    status: int
    headers: dict[str, str]
    data: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.data)


@dataclass
class Running:
    """A server on a port of loopback."""

    settings: Any
    port: int
    app: Any
    seen: dict[str, Any] = field(default_factory=dict)

    @property
    def jobs(self) -> Any:
        return self.app.state.jobs

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        *,
        source: str = "127.0.0.1",
    ) -> Answer:
        """One request from an address of loopback; dictionaries are sent as JSON."""
        told = dict(headers or {})
        if isinstance(body, dict | list):
            body = json.dumps(body).encode()
            told.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=30, source_address=(source, 0)
        )
        try:
            connection.request(method, path, body, told)
            response = connection.getresponse()
            data = response.read()
            heads = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, heads, data)
        finally:
            connection.close()

    def submit(self, body: dict[str, Any] | None = None, **more: Any) -> str:
        """Submit a generation, and return its id."""
        answer = self.ask("POST", "/v1/3d/generations", {**(body or TINY), **more})
        assert answer.status == 202, answer.data
        return answer.json["id"]

    def state(self, job: str) -> dict[str, Any]:
        return self.ask("GET", f"/v1/jobs/{job}").json

    def wait(self, job: str, *, seconds: float = 60.0) -> dict[str, Any]:
        """Wait until a job has ended."""
        return self.until(job, lambda state: state["status"] not in ("queued", "running"), seconds)

    def until(self, job: str, happened: Any, seconds: float = 60.0) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while True:
            state = self.state(job)
            if happened(state):
                return state
            assert time.monotonic() < end, state
            time.sleep(0.02)

    def events(self, job: str, **query: Any) -> list[tuple[str, dict[str, Any]]]:
        """All events of a job until it has ended."""
        return [(name, data) for name, data, _ in self.numbered(job)]

    def numbered(
        self, job: str, after: int | None = None
    ) -> list[tuple[str, dict[str, Any], str | None]]:
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        answer = self.ask("GET", f"/v1/jobs/{job}/events", headers=headers)
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        found = []
        for block in answer.data.decode().strip().split("\n\n"):
            lines = dict(line.split(": ", 1) for line in block.split("\n") if line[0] != ":")
            if lines:
                found.append((lines["event"], json.loads(lines["data"]), lines.get("id")))
        return found


@contextlib.contextmanager
def running(settings: Any, *, ready: bool = True, port: int = 0) -> Iterator[Running]:
    """Serve in a thread of this process; the worker processes are real."""
    import uvicorn

    from g3pt.app.server import create_app
    from g3pt.cli.serve import listening, server_config

    with listening("127.0.0.1", port) as listener:
        port = listener.getsockname()[1]
        app = create_app(replace(settings, port=port))
        server = uvicorn.Server(server_config(app, settings.header_seconds))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            running = Running(settings, port, app)
            end = time.monotonic() + 240
            while not server.started or (ready and not app.state.jobs.engine.state().ready):
                assert thread.is_alive() and time.monotonic() < end, "the server did not start"
                time.sleep(0.02)
            yield running
        finally:
            server.should_exit = True
            thread.join()


def tiny_settings(weights: Path, folder: Path, **changes: Any) -> Any:
    from g3pt.app.settings import ModelSource, ServeSettings

    source = ModelSource(name="untrained", weights=str(weights), device="cpu")
    return ServeSettings(
        **{
            "models": (source,),
            "folder": folder,
            "max_per_client": 1000,
            "grace": 1.0,
            "receive_seconds": 1.0,
            **changes,
        }
    )


@pytest.fixture(scope="session")
def server(tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One server for all tests that leave it as it was."""
    settings = tiny_settings(tiny_weights, tmp_path_factory.mktemp("served"))
    with running(settings) as found:
        yield found


@pytest.fixture(scope="session")
def picture() -> bytes:
    from PIL import Image

    image = Image.new("RGB", (80, 80), "white")
    image.paste((200, 30, 30), (20, 30, 60, 70))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
