"""What stands before every request: who may ask, from where, and how much may be sent.

A page of another site that the user has open can reach a server on loopback, by its address or by a
name that it makes point there. So the name in `Host` must be ours, and a page that asks must be one
of ours.
"""

import asyncio
import secrets
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from g3pt.app.problems import Problem, answer
from g3pt.app.settings import LOOPBACK, ServeSettings

COOKIE = "g3pt_token"
"""Cookie that carries the token for the page."""
OPEN_PATHS = ("/healthz", "/readyz")
"""They say nothing about jobs, so they ask for no token."""
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self' blob: data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


class Guard:
    """Checks host, origin and token, and limits the body while it comes in."""

    def __init__(
        self, app: ASGIApp, settings: ServeSettings, on_answer: Callable[[str, int], None]
    ) -> None:
        """Stand before an app.

        Args:
            app: whatever answers requests that may pass.
            settings: names, token and limits.
            on_answer: hears method and status of every answer.
        """
        self._app, self._settings, self._on_answer = app, settings, on_answer
        self._hosts = {_bare(name) for name in (*LOOPBACK, settings.host, *settings.allowed_hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer it with a problem."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limited = _Limited(receive, self._settings)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._on_answer(scope["method"], message["status"])
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if limited.unread:
                    headers["Connection"] = "close"
            await send(message)

        try:
            self._check(scope, Headers(scope=scope))
        except Problem as problem:
            await answer(problem)(scope, receive, with_headers)
            return
        token = self._settings.token
        if token is not None and _same(_told_token(scope), token):
            await _remember(token)(scope, receive, with_headers)
            return
        await self._app(scope, limited, with_headers)

    def _check(self, scope: Scope, headers: Headers) -> None:
        """Raise a problem if the request may not pass."""
        hosts = headers.getlist("host")
        if len(hosts) != 1 or _name_of(hosts[0]) not in self._hosts:
            raise Problem(
                421,
                "this server is not called so: name the address that it printed, or start it "
                "with --allow-host",
            )
        origin = headers.get("origin")
        if origin is not None and not self._is_ours(origin, hosts[0]):
            raise Problem(403, "pages of other sites may not ask this server")
        size = headers.get("content-length")
        if size is not None and (not size.isdecimal() or int(size[:20]) > self._settings.max_body):
            raise Problem(413, f"a request may have {self._settings.max_body} bytes")
        token = self._settings.token
        if token is None or scope["path"] in OPEN_PATHS:
            return
        given = _token_of(headers) or _told_token(scope)
        if not _same(given, token):
            raise Problem(
                401,
                "this server asks for its token: send it as Authorization: Bearer TOKEN",
                headers={"WWW-Authenticate": "Bearer"},
            )

    def _is_ours(self, origin: str, host: str) -> bool:
        """Whether a page comes from this server."""
        try:
            parts = urlsplit(origin)
            name = _bare(parts.hostname or "")
        except ValueError:
            return False
        same = parts.netloc.lower() == host.lower()
        return parts.scheme in ("http", "https") and name in self._hosts and same


class _Limited:
    """`receive` with limits of size and patience."""

    def __init__(self, receive: Receive, settings: ServeSettings) -> None:
        self._receive, self._settings = receive, settings
        self._size = 0
        self._end: float | None = None
        """When the body must be complete; counted from when it is asked for."""
        self._done = False
        self.unread = False
        """Whether the rest of the body will not be read: the connection is of no use then."""

    async def __call__(self) -> Message:
        if self._done:
            return await self._receive()
        pause, whole = self._settings.receive_seconds, self._settings.body_seconds
        now = asyncio.get_running_loop().time()
        self._end = now + whole if self._end is None else self._end
        left = self._end - now
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, min(pause, left)))
        except TimeoutError:
            self._done = self.unread = True
            slow = f"nothing came for {pause:g} seconds"
            late = f"the body was not complete after {whole:g} seconds"
            raise Problem(408, slow if pause < left else late) from None
        if message["type"] == "http.request":
            self._size += len(message.get("body", b""))
            self._done = not message.get("more_body", False)
            if self._size > self._settings.max_body:
                self._done = self.unread = True
                raise Problem(413, f"a request may have {self._settings.max_body} bytes")
        return message


def _name_of(host: str) -> str:
    """The name in a `Host` header, without its port; empty if it is malformed."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return ""
    odd = parts.path or parts.query or parts.fragment or parts.username is not None
    return "" if odd or "@" in host else _bare(parts.hostname or "")


def _same(given: str, token: str) -> bool:
    return secrets.compare_digest(given.encode("utf-8", "replace"), token.encode())


def _bare(name: str) -> str:
    return name.lower().strip("[]").rstrip(".")


def _token_of(headers: Headers) -> str:
    """The token of a request; empty if it has none."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    try:
        cookie = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return ""
    return cookie[COOKIE].value if COOKIE in cookie else ""


def _told_token(scope: Scope) -> str:
    """The token in the address of the page, as the server prints it; empty if there is none."""
    if scope["path"] != "/" or scope["method"] != "GET":
        return ""
    return parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]


def _remember(token: str) -> ASGIApp:
    """Keep the token in a cookie, and take it out of the address."""

    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        cookie = f"{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict"
        headers = [(b"location", b"/"), (b"set-cookie", cookie.encode("latin-1"))]
        await send({"type": "http.response.start", "status": 303, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    return respond
