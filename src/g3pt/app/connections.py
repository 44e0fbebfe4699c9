"""Connections as uvicorn serves them, with a limit of time and typed answers to what is no HTTP."""

import asyncio
from typing import ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from g3pt.app.problems import Problem, answer


class _Connection(H11Protocol):
    """One connection. uvicorn itself would wait for the end of headers for ever."""

    header_seconds: ClassVar[float]
    _late: asyncio.TimerHandle | None = None
    _begun = False
    """Whether any byte of the headers that are awaited has come."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore
        """Somebody has connected."""
        super().connection_made(transport)
        self._watch(begun=False)

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        super().data_received(data)
        self._watch(begun=True)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self._stop_watching()
        super().connection_lost(exc)

    def _watch(self, *, begun: bool) -> None:
        """Let the clock run while headers are awaited; further bytes do not set it back."""
        if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
            self._stop_watching()
            return
        self._begun = begun
        if self._late is None:
            self._late = self.loop.call_later(self.header_seconds, self._give_up)

    def _stop_watching(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        self._late = None
        if self._begun:
            seconds = f"{self.header_seconds:g} seconds"
            self._refuse(Problem(408, f"the headers were not complete after {seconds}"))
        else:
            self.transport.close()  # nothing was asked, so there is nothing to answer

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self._refuse(Problem(400, msg))

    def _refuse(self, problem: Problem) -> None:
        """Answer without the app, and close."""
        response = answer(problem)
        headers = [*response.raw_headers, (b"connection", b"close")]
        for event in (
            h11.Response(status_code=problem.status_code, headers=headers),
            h11.Data(data=bytes(response.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def connection_class(header_seconds: float) -> type[H11Protocol]:
    """What uvicorn makes of every connection (`http` of its configuration).

    Args:
        header_seconds: time from the connection, or from the first byte of a further request, until
            headers are complete. A slower client is answered 408; one that has sent nothing is cut.
    """

    class Connection(_Connection):
        pass

    Connection.header_seconds = header_seconds
    return Connection
