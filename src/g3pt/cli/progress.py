"""Progress on stderr: bars on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

ItemT = TypeVar("ItemT")

PAUSE_SECONDS = 10.0
"""Seconds between two lines about a step, if stderr is not a terminal."""


class Steps:
    """Progress of named steps, each of which begins when the one before is done."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}
        self._times: dict[str, tuple[float, float, int]] = {}

    def show(self, name: str, done: int, total: int, note: str = "") -> None:
        """Show that `done` of `total` parts of a step are done."""
        if self._progress is None:
            self._print(name, done, total, note)
            return
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total, note="")
        self._progress.update(self._tasks[name], completed=done, total=total, note=note)

    def _print(self, name: str, done: int, total: int, note: str) -> None:
        """Print a line every `PAUSE_SECONDS`, and one at the end."""
        now = time.monotonic()
        # What was done before the first line cost this run no time.
        began, said, before = self._times.setdefault(name, (now, -PAUSE_SECONDS, done))
        if done < total and now - said < PAUSE_SECONDS:
            return
        self._times[name] = began, now, before
        left = (now - began) / (done - before) * (total - done) if done > before else 0.0
        rest = [note] if note else []
        if left >= PAUSE_SECONDS:
            from g3pt.training.tracking import duration

            rest.append(f"{duration(left)} left")
        print(", ".join([f"{name} {done}/{total}", *rest]), file=sys.stderr, flush=True)


@contextmanager
def steps() -> Iterator[Steps]:
    """Show progress while the block runs."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Steps(None)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as progress:
        yield Steps(progress)


def tracked(items: Iterable[ItemT], name: str, total: int) -> Iterator[ItemT]:
    """Iterate over items and show how many are done."""
    with steps() as shown:
        for done, item in enumerate(items, start=1):
            yield item
            shown.show(name, done, total)
