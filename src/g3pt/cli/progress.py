"""Progress on stderr: bars on a terminal, plain lines elsewhere."""

import sys
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
)

ItemT = TypeVar("ItemT")


class Steps:
    """Named steps of which the next one begins when the one before is done."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def show(self, name: str, done: int, total: int) -> None:
        """`done` of `total` parts of a step are through."""
        if self._progress is None:
            print(f"{name} {done}/{total}", file=sys.stderr, flush=True)
            return
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total)
        self._progress.update(self._tasks[name], completed=done, total=total)


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
    )
    with Progress(*columns, console=console) as progress:
        yield Steps(progress)


def tracked(items: Iterable[ItemT], name: str, total: int) -> Iterator[ItemT]:
    """Go through items and show how many are done."""
    with steps() as shown:
        for done, item in enumerate(items, start=1):
            yield item
            shown.show(name, done, total)
