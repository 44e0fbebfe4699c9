"""A client of `g3pt serve`, on the standard library: submit, follow, fetch, cancel.

```python
client = Client("http://127.0.0.1:8000")
job = client.submit("generation", image="mug.png", seed=3)
for event in client.events(job):
    print(event.name, event.data)
client.save(job, "mug.glb")
```
"""

import base64
import http.client
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

PLURALS = {"mix": "mixes"}
"""Addresses of kinds of jobs that are not the kind with an s."""
ENDED = ("done", "failed", "cancelled", "expired")
RECONNECTIONS = 5
"""A stream of events that breaks off is taken up again so often."""


class ServerError(RuntimeError):
    """The server refused a request, or a job did not end well."""

    def __init__(
        self, status: int, detail: str, errors: list[dict[str, str]], retry_after: float | None
    ) -> None:
        super().__init__(detail)
        self.status = status
        """HTTP status; 0 for a job that failed or was cancelled."""
        self.errors = errors
        """`field` and `detail` of every field that is wrong."""
        self.retry_after = retry_after
        """Seconds after which a full server has room again."""


class UnreachableError(RuntimeError):
    """There is no server at the address, or it went away."""


@dataclass(frozen=True)
class ServerEvent:
    """Something that happened to a job."""

    name: str
    data: dict[str, Any]
    number: int | None
    """None for events that are not stored, such as the place in the queue."""


class Client:
    """Talks to one server. Each call opens a connection of its own, so threads may share it."""

    def __init__(self, address: str, token: str | None = None, *, timeout: float = 60.0) -> None:
        """Name the server; nothing is asked yet.

        Args:
            address: `http://HOST:PORT`, with a path before `/v1` if a proxy adds one.
            token: secret of the server; the environment variable G3PT_TOKEN by default.
            timeout: seconds without a byte after which a server counts as gone.

        Raises:
            ValueError: if the address is none.
        """
        parts = urlsplit(address if "//" in address else f"http://{address}")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
            raise ValueError(f"{address}: expected the address of a server, http://HOST:PORT")
        self._secure, self._host, self._port = parts.scheme == "https", parts.hostname, parts.port
        self._path = parts.path.rstrip("/")
        self._token = token or os.environ.get("G3PT_TOKEN")
        self._timeout = timeout
        self.address = address

    # --- jobs --------------------------------------------------------------------------------

    def submit(self, kind: str = "generation", *, patience: float = 0.0, **request: Any) -> str:
        """Submit a job.

        Args:
            kind: `generation`, `reconstruction`, `tokenization`, `detokenization`, `variation`,
                `mix`, `completion` or `score`.
            patience: seconds to try again while the server is full.
            request: fields of the request. Pictures are paths or bytes; shapes and clouds are
                paths, or `{"job": ID, "sample": K}`.

        Returns:
            The id of the job.

        Raises:
            ServerError: if the server refuses it.
            UnreachableError: if there is no server.
        """
        body = {name: _sent(name, value) for name, value in request.items() if value is not None}
        end = time.monotonic() + patience
        while True:
            try:
                answer = self._json("POST", f"/v1/3d/{PLURALS.get(kind, f'{kind}s')}", body)
                return str(answer["id"])
            except ServerError as error:
                pause = error.retry_after or 1.0
                if error.status != 429 or time.monotonic() + pause > end:
                    raise
                time.sleep(pause)

    def job(self, job: str) -> dict[str, Any]:
        """State, progress and outputs of a job."""
        return self._json("GET", f"/v1/jobs/{quote(job, safe='')}")

    def jobs(self, status: str | None = None) -> list[dict[str, Any]]:
        """The newest jobs."""
        query = "" if status is None else f"?{urlencode({'status': status})}"
        return self._json("GET", f"/v1/jobs{query}")["jobs"]

    def cancel(self, job: str) -> dict[str, Any]:
        """Cancel a job; one that has ended stays as it is."""
        return self._json("DELETE", f"/v1/jobs/{quote(job, safe='')}")

    def events(self, job: str, *, cancel_on_disconnect: bool = False) -> Iterator[ServerEvent]:
        """Follow a job until it has ended.

        Args:
            job: its id.
            cancel_on_disconnect: the server cancels the job if this program goes away. The stream
                is not taken up again then.

        Raises:
            UnreachableError: if the server goes away and does not come back.
        """
        after, left = 0, 0 if cancel_on_disconnect else RECONNECTIONS
        while True:
            try:
                for event in self._stream(job, after, cancel_on_disconnect):
                    after = event.number or after
                    yield event
                    if event.name in ENDED:
                        return
            except UnreachableError:
                if not left:
                    raise
            if not left:
                raise UnreachableError(f"{self.address}: the server ended the events of {job}")
            left -= 1
            time.sleep(0.5)

    def wait(
        self, job: str, on_event: Callable[[ServerEvent], None] | None = None
    ) -> dict[str, Any]:
        """Wait until a job has ended.

        Returns:
            The job, which is done.

        Raises:
            ServerError: if it failed or was cancelled.
        """
        for event in self.events(job):
            if on_event is not None:
                on_event(event)
        return self.done(job)

    def done(self, job: str) -> dict[str, Any]:
        """A job that is done.

        Raises:
            ServerError: if it is not.
        """
        found = self.job(job)
        if found["status"] != "done":
            error = found["error"] or {"detail": f"the job is {found['status']}"}
            raise ServerError(0, error["detail"], [], None)
        return found

    # --- files -------------------------------------------------------------------------------

    def result(self, job: str, form: str = "glb", *, sample: int = 0, **finishing: Any) -> bytes:
        """A result: a mesh, its tokens (`g3t`) or a picture of it (`png`).

        Args:
            job: its id.
            form: the format.
            sample: number of the shape.
            finishing: fields of `Finishing` that are to differ from those of the job.
        """
        told = {name: value for name, value in finishing.items() if value is not None}
        query = urlencode({"sample": sample, **told})
        return self._bytes("GET", f"/v1/jobs/{quote(job, safe='')}/result.{form}?{query}")

    def scale(self, job: str, scale: int, form: str = "glb", *, sample: int = 0) -> bytes:
        """The mesh of the first scales."""
        name = quote(job, safe="")
        return self._bytes("GET", f"/v1/jobs/{name}/scales/{scale}.{form}?sample={sample}")

    def save(self, job: str, path: str | Path, *, sample: int = 0, **finishing: Any) -> None:
        """Write a result to a file; its suffix names the format."""
        # Here, so that programs which have this file alone can use all the rest.
        from g3pt.files import write_whole

        path = Path(path)
        form = path.suffix.lower().lstrip(".")
        write_whole(path, self.result(job, form, sample=sample, **finishing))

    def cutout(
        self, image: str | Path | bytes, mask: str | Path | bytes | None = None, **told: Any
    ) -> dict[str, Any]:
        """Find the object of a picture: `method`, `box`, `confidence`, `warnings`, and `png`."""
        body = {"image": _sent("image", image), **told}
        if mask is not None:
            body["mask"] = _sent("mask", mask)
        found = self._json("POST", "/v1/cutouts", body)
        png = base64.b64decode(found.pop("image").partition(",")[2])
        return {**found, "png": png}

    # --- talking -----------------------------------------------------------------------------

    def _stream(self, job: str, after: int, cancel: bool) -> Iterator[ServerEvent]:
        query = "?cancel_on_disconnect=true" if cancel else ""
        headers = {"Last-Event-ID": str(after)} if after else {}
        path = f"/v1/jobs/{quote(job, safe='')}/events{query}"
        with self._asked("GET", path, headers=headers) as response:
            lines: dict[str, str] = {}
            for raw in response.lines():
                line = raw.decode().rstrip("\r\n")
                if line and not line.startswith(":"):
                    name, _, value = line.partition(": ")
                    lines[name] = value
                elif lines and "event" in lines:
                    number = int(lines["id"]) if "id" in lines else None
                    yield ServerEvent(lines["event"], json.loads(lines["data"]), number)
                    lines = {}

    def _json(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        return json.loads(self._bytes(method, path, body))

    def _bytes(self, method: str, path: str, body: dict[str, Any] | None = None) -> bytes:
        with self._asked(method, path, body) as response:
            return response.read()

    def _asked(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> "_Response":
        told = {"Accept": "*/*", **(headers or {})}
        if self._token:
            told["Authorization"] = f"Bearer {self._token}"
        data = None
        if body is not None:
            data, told["Content-Type"] = json.dumps(body).encode(), "application/json"
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=self._timeout)
        try:
            connection.request(method, self._path + path, data, told)
            response = connection.getresponse()
            if response.status >= 400:
                raise _refusal(response)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise UnreachableError(f"{self.address}: no answer ({error})") from None
        except BaseException:
            connection.close()
            raise
        return _Response(connection, response, self.address)


@dataclass(frozen=True)
class _Response:
    """An answer that is read bit by bit; leaving the block closes its connection."""

    connection: http.client.HTTPConnection
    response: http.client.HTTPResponse
    address: str

    def __enter__(self) -> "_Response":
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def read(self) -> bytes:
        try:
            return self.response.read()
        except (OSError, http.client.HTTPException) as error:
            raise UnreachableError(f"{self.address}: the answer broke off ({error})") from None

    def lines(self) -> Iterator[bytes]:
        try:
            while line := self.response.readline():
                yield line
        except (OSError, http.client.HTTPException) as error:
            raise UnreachableError(f"{self.address}: the answer broke off ({error})") from None


def _refusal(response: http.client.HTTPResponse) -> ServerError:
    """The error of an answer, whatever its body is."""
    body = response.read()
    try:
        told = json.loads(body)
        detail, errors = str(told["detail"]), list(told.get("errors", []))
    except (ValueError, KeyError, TypeError):
        detail, errors = body.decode(errors="replace")[:200] or response.reason, []
    pause = response.headers.get("Retry-After", "")
    return ServerError(response.status, detail, errors, float(pause) if pause.isdigit() else None)


def _sent(name: str, value: Any) -> Any:
    """A field as it is sent: files are read and written as base64."""
    if isinstance(value, list | tuple) and name in ("image", "mask", "points"):
        return [_sent(name, one) for one in value]
    pictures, shapes = ("image", "mask"), ("mesh", "tokens", "source", "coarse", "fine", "part")
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    if isinstance(value, str | Path) and name in (*pictures, *shapes, "points"):
        path = Path(value)
        data = base64.b64encode(path.read_bytes()).decode()
        if name in pictures:
            return data
        return {"data": data, "format": path.suffix.lower().lstrip(".")}
    return value
