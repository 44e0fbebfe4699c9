"""Output of a run's numbers: always a JSONL file, and a progress bar on a terminal."""

import json
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from g3pt.files import parse_json, read_plain, write_whole

LOGGER = logging.getLogger(__name__)
MAX_METRICS_BYTES = 2**29
"""Largest metrics file that is read; a million records have about half of it."""


class MetricsFile:
    """`metrics.jsonl`: one JSON object per line, flushed at once.

    When it is reopened at a step, later lines and a half-written last line are removed, so that an
    interrupted run leaves the same record as one that never stopped. Only one process may write,
    because reopening replaces the file.
    """

    def __init__(self, path: Path, *, resume_step: int, writes: bool = True) -> None:
        self._path = path
        self._file = None
        if not writes:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = [line for line in read_metrics(path) if line["step"] <= resume_step]
        write_whole(path, "".join(json.dumps(line) + "\n" for line in kept))
        self._file = path.open("a", encoding="utf-8")

    def write(self, kind: str, step: int, **values: Any) -> None:
        """Append a record, e.g. kind `train`, `evaluation`, `skipped`, `rollback`."""
        assert self._file is not None, "this process does not write metrics"
        self._file.write(json.dumps({"kind": kind, "step": step, **values}) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read the records of a metrics file; a last line cut short by a crash is left out."""
    if not path.is_file():
        return []
    records: list[dict[str, Any]] = []
    for line in read_plain(path, MAX_METRICS_BYTES).splitlines():
        try:
            record = parse_json(line, str(path))
        except ValueError:
            record = None
        if isinstance(record, dict) and isinstance(record.get("step"), int):
            records.append(record)
        else:
            LOGGER.warning("%s: dropped a line that is no record of a step", path)
    return records


UNITS = ((172_800, 86_400, "days"), (7200, 3600, "h"), (99.5, 60, "min"))
"""From so many seconds on, a duration is told in a unit of so many seconds."""


def duration(seconds: float) -> str:
    """A time in words: `40 s`, `3.2 min`, `2.5 h`, `12 days`."""
    for least, length, unit in UNITS:
        if seconds >= least:
            number = seconds / length
            return f"{number:,.1f} {unit}" if number < 9.95 else f"{number:,.0f} {unit}"
    return f"{seconds:.0f} s"


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a run stands, for a line of its log."""

    step: int
    progress: float
    """Share of the run that is over, by steps or by the clock."""
    elapsed: float
    """Seconds of training so far, summed over all resumptions."""
    loss: float
    """Mean since the line before."""
    over: str
    """What the loss is taken over; see `TaskOutput`."""
    rate: float
    """Steps per second since the line before."""

    @property
    def total(self) -> int:
        """Steps of the whole run; if the clock ends it, as many as it will do at this speed."""
        return max(round(self.step / self.progress), self.step)

    @property
    def left(self) -> float:
        """Seconds until the end, at the speed so far; evaluations and checkpoints are in it."""
        return max(self.elapsed * (1 / self.progress - 1), 0.0)


class ProgressDisplay:
    """A bar with an estimate of the time left on a terminal; plain log lines elsewhere."""

    def __init__(self, description: str, *, start: float, by_clock: bool = False) -> None:
        """Begin to show a run.

        Args:
            description: name of the run.
            start: share of it that is over.
            by_clock: whether the run may end before its steps are done.
        """
        self._about = "about " if by_clock else ""
        self._bar: Progress | None = None
        if sys.stderr.isatty():
            bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:>5.1f} %"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[numbers]}"),
                console=Console(stderr=True),
            )
            self._row = bar.add_task(description, total=1.0, numbers="")
            bar.update(self._row, completed=start)
            bar.start()
            self._bar = bar

    def advance(self, progress: float) -> None:
        """Show the share of the run that is over."""
        if self._bar is not None:
            self._bar.update(self._row, completed=progress)

    def report(self, now: Standing) -> None:
        """Show the numbers of the last steps."""
        over = f" over {now.over}" if now.over else ""
        text = (
            f"step {now.step:,} of {self._about}{now.total:,}  loss {now.loss:.4g}{over}  "
            f"{now.rate:.3g} steps/s"
        )
        if self._bar is not None:
            self._bar.update(self._row, numbers=text)
        else:
            LOGGER.info("%s  %s left", text, duration(now.left))

    def close(self) -> None:
        """Restore the terminal."""
        if self._bar is not None:
            self._bar.stop()
