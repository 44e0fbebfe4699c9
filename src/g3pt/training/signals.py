"""Signals that ask a run to save and leave."""

import signal
import threading
from types import FrameType
from typing import Any


class StopSignals:
    """While entered, SIGTERM, SIGUSR1 and the first SIGINT set `received` and do not end it.

    Clusters send SIGTERM or SIGUSR1 some time before they take a machine away. A second SIGINT ends
    the process at once. Outside the main thread nothing is caught.
    """

    def __init__(self) -> None:
        self.received = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            names = ("SIGTERM", "SIGINT", "SIGUSR1")  # Windows has no SIGUSR1
            for number in (n for n in signal.Signals if n.name in names):
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = True
