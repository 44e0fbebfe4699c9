"""Asks an app of ASGI in this process, as a server would, and looks at how it refuses."""

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

PIECES, STALLS = "x-pieces", "x-stalls"
"""Headers that tell how a body arrives: bytes of a piece, and that its end never comes."""
MOST_ANSWERED = 16_384
"""Bytes of a refusal: none may repeat what was sent."""

Headers = list[tuple[str, str]]


@dataclass(frozen=True)
class HttpRequest:
    """A request as it arrives."""

    method: str
    path: str
    headers: Headers
    body: bytes

    def header(self, name: str) -> str | None:
        """The first header of a name in small letters."""
        return next((value for each, value in self.headers if each.lower() == name), None)


@dataclass
class HttpAnswer:
    """What the app has said."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""


def as_http(path: str, headers: Headers, body: bytes) -> bytes:
    """A request as a file; it tells the length of its body unless the headers do."""
    if not any(name.lower() == "content-length" for name, _ in headers):
        headers = [*headers, ("Content-Length", str(len(body)))]
    lines = [f"POST {path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def parse_request(data: bytes) -> HttpRequest:
    """The parts of a request that `as_http` wrote, whatever its headers and its body are now.

    Raises:
        ValueError: if a server of HTTP would not hand it to an app, or it posts nothing.
    """
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    posted = re.fullmatch(r"POST (/[!-~]*) HTTP/1\.1", first)
    pairs = [re.fullmatch(r"([!#-'*+.0-9A-Z^-z|~-]+): ([\t -~\x80-\xff]*)", line) for line in lines]
    if posted is None or None in pairs:
        raise ValueError("no request that posts something")
    headers = [(pair[1], pair[2]) for pair in pairs if pair is not None]
    if not all(value.isdecimal() for name, value in headers if name.lower() == PIECES):
        raise ValueError(f"{PIECES} is no number")
    return HttpRequest("POST", posted[1], headers, body)


async def ask(app: Any, jobs: Any, request: HttpRequest) -> HttpAnswer:
    """The answer of an app; 202 with no body if what it accepted waits for a worker."""
    answer = HttpAnswer()
    messages = _messages(request)

    async def receive() -> dict[str, Any]:
        message = next(messages, None)
        if message is None:
            await asyncio.Event().wait()
        assert message is not None
        return message

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            answer.body += message.get("body", b"")

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": request.path,
        "raw_path": request.path.encode(),
        "query_string": b"",
        "headers": [
            (name.lower().encode(), value.encode("latin-1")) for name, value in request.headers
        ],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8000),
    }
    asked = asyncio.ensure_future(app(scope, receive, send))
    while not asked.done():
        await asyncio.wait({asked}, timeout=0.005)
        if jobs.quick.state().queued:
            asked.cancel()
            await asyncio.wait({asked})
            return HttpAnswer(202)
    assert asked.exception() is None, f"the app failed: {asked.exception()!r}"
    return answer


def _told_length(request: HttpRequest) -> int:
    """Bytes that the request says its body has, which is all that a server reads of it."""
    told = request.header("content-length") or ""
    return int(told) if told.isdecimal() and len(told) < 20 else len(request.body)


def _messages(request: HttpRequest) -> Iterator[dict[str, Any]]:
    """What a server hands on of a body: as much as its length says, or that the client has left."""
    whole = _told_length(request)
    body = request.body[:whole]
    size = max(int(request.header(PIECES) or 0) or len(body), len(body) // 5000, 1)
    pieces = [body[first : first + size] for first in range(0, len(body), size)]
    for number, piece in enumerate(pieces):
        last = number == len(pieces) - 1 and len(body) == whole
        yield {"type": "http.request", "body": piece, "more_body": not last}
    if request.header(STALLS):
        return
    if len(body) < whole:
        yield {"type": "http.disconnect"}
    elif not pieces:
        yield {"type": "http.request", "body": b"", "more_body": False}


def check_refusal(answer: HttpAnswer, request: HttpRequest) -> None:
    """Check that an answer refuses a request as problem details do, by field where there is one.

    Raises:
        AssertionError: saying what is wrong.
    """
    shown = f"{answer.status} {answer.body[:200]!r}"
    assert 400 <= answer.status < 500, f"answers {shown}"
    assert answer.headers.get("content-type") == "application/problem+json", shown
    assert len(answer.body) <= MOST_ANSWERED, f"answers {len(answer.body)} bytes"
    assert b"Traceback" not in answer.body, shown
    told = json.loads(answer.body)
    assert told["status"] == answer.status and told["detail"], shown
    if answer.status != 422:
        return
    assert told["errors"], f"names no field: {shown}"
    fields = [one["field"] for one in told["errors"]]
    try:
        parts = isinstance(json.loads(request.body[: _told_length(request)]), dict)
    except ValueError:
        parts = True  # a form
    assert all(fields) or not parts, f"names no field: {shown}"
