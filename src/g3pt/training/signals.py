"""Signals that ask for a stop, after which the same command goes on."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

NAMES = ("SIGTERM", "SIGUSR1")  # Windows has no SIGUSR1
"""Clusters send one of them some time before they take a machine away."""


class Stopped(KeyboardInterrupt):
    """A signal asked for a stop; what was done is kept, and the same command goes on from there.

    Like the user's interrupt, it passes whatever handles the errors of a single object.
    """


class StopSignals:
    """While entered, SIGTERM, SIGUSR1 and the first SIGINT set `received` and do not end it.

    A second SIGINT ends the process at once. Outside the main thread nothing is caught.
    """

    def __init__(self, on_signal: Callable[[], None] = lambda: None) -> None:
        """Catch nothing yet.

        Args:
            on_signal: called with every signal that is caught.
        """
        self.received = False
        self._on_signal = on_signal
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for number in (n for n in signal.Signals if n.name in (*NAMES, "SIGINT")):
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = True
        self._on_signal()


def heed_no_more() -> None:
    """From here on a request to stop comes too late: the exit code says how the work has ended.

    Outside the main thread nothing is changed.
    """
    if threading.current_thread() is threading.main_thread():
        for number in (each for each in signal.Signals if each.name in NAMES):
            signal.signal(number, signal.SIG_IGN)


@contextmanager
def stop_at_once(advice: str = "the same command goes on from here") -> Iterator[None]:
    """While entered, SIGTERM and SIGUSR1 end the block at the next instruction.

    For work that may end anywhere, since whatever is finished is whole on disk.

    Outside the main thread nothing is caught.

    Args:
        advice: the end of the message, after the name of the signal.

    Raises:
        Stopped: when the first signal comes; others are not heard until the block has ended.
    """
    is_main = threading.current_thread() is threading.main_thread()
    numbers = [number for number in signal.Signals if is_main and number.name in NAMES]

    def stop(number: int, frame: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        name = signal.Signals(number).name
        raise Stopped(f"stopped by {name}: {advice}")

    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
