"""Signals that ask a run to save and leave."""

import signal
import threading
from types import FrameType
from typing import Any


class StopSignals:
    """While entered, SIGTERM and the first SIGINT set `received` instead of ending the process.

    A second SIGINT ends it at once. Outside the main thread nothing is caught.
    """

    def __init__(self) -> None:
        self.received = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = True
