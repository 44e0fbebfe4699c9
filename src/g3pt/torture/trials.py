"""Trials: a hostile input at a door, in a process with limits, and the verdict.

What breaks a promise is a crash, an error that is not one of the door, a hang, too much memory,
something left behind in the folder of the input, a program or connection that was started, a pickle
that was opened, a refusal that does not name the file, a broken input that was taken for sound,
and a sound one that was refused.
"""

import os
import resource
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from g3pt.files import NO_ROOM
from g3pt.torture.damage import SPARSE_BYTES
from g3pt.torture.doors import Door, Hostile
from g3pt.work.engines import Engine, Limits, ProcessEngine
from g3pt.work.tasks import Stopwatch, Task, TaskResult, WorkerError

SECONDS = 10.0
"""Time that a trial may take."""
MEMORY_BYTES = 2**30
"""Memory that a trial may take beside what its process has."""
FORBIDDEN_EVENTS = (
    "pickle.find_class",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "subprocess.Popen",
    "socket.connect",
    "socket.getaddrinfo",
)
"""Audit events of what no file may ever cause."""
CHILD_MEMORY_BYTES = 64 * 2**30
"""Address space of a worker process; only a trial knows what its own process had before."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A trial that broke a promise."""

    door: str
    seed: int
    kind: str
    """What happened, in a word or two."""
    what: str
    """What the input was."""
    message: str


@dataclass(slots=True)
class DoorResult:
    """The trials of one door."""

    door: str
    promise: str
    trials: int = 0
    refusals: int = 0
    successes: int = 0
    violations: list[Violation] = field(default_factory=list[Violation])

    def as_json(self) -> dict[str, Any]:
        """JSON values."""
        return {**asdict(self), "seed": self.violations[0].seed if self.violations else None}


@dataclass(frozen=True)
class Trial(Task):
    """One hostile input at one door."""

    number: int
    door: Door
    seed: int
    root: str
    """Folder in which the trial makes its own."""

    @property
    def id(self) -> str:
        """Door and seed."""
        return f"{self.door.name}-{self.seed}"

    def work(self, watch: Stopwatch) -> TaskResult:
        """Write the input, enter the door, judge what happened.

        Raises:
            WorkerError: if there is no room for the input, which is nobody's promise.
        """
        folder = Path(self.root) / self.id
        with watch.stage("writing"):
            try:
                folder.mkdir()
                rng = np.random.default_rng((self.seed, *self.door.name.encode()))
                hostile = self.door.write(folder, rng)
            except OSError as error:
                if error.errno not in NO_ROOM:
                    raise
                shutil.rmtree(folder, ignore_errors=True)
                raise WorkerError(f"{folder}: no room for an input: {error.strerror}") from error
        with watch.stage("reading"):
            row = judge(self.door, hostile, folder)
        return TaskResult(self.number, row, data=b"judged")

    def refusal(self, stage: str, code: str, message: str) -> dict[str, Any]:
        """The row of a trial whose process did not come back, or that could not be written."""
        kind = {"timeout": "hang", "cpu_time": "hang", "memory": "memory", "killed": "memory"}
        word = kind.get(code, "crash") if stage != "writing" else "cannot be written"
        return {"outcome": word, "what": "", "message": message}


def judge(door: Door, hostile: Hostile, folder: Path) -> dict[str, Any]:
    """Enter a door with an input and say what came of it.

    Returns:
        `outcome` (`refused`, `opened`, or the kind of a violation), `what` and `message`.
    """
    before = _listed(folder)
    message = ""
    with _watched() as events, spare_memory(MEMORY_BYTES):
        try:
            door.enter(hostile.path)
            outcome = "opened"
        except MemoryError as error:
            outcome, message = "memory", _of(error)
        except Exception as error:
            outcome, message = _refused(door, error, folder), _of(error)
    if events:
        outcome, message = "ran something", ", ".join(events)
    elif (left := _listed(folder) ^ before) and outcome in ("refused", "opened"):
        outcome, message = "left behind", ", ".join(sorted(name for name, _ in left))
    elif outcome == "opened" and hostile.must == "refuse":
        outcome = "silent load"
    elif outcome == "refused" and hostile.must == "open":
        outcome = "refused a sound file"
    return {"outcome": outcome, "what": hostile.what, "message": message}


def _refused(door: Door, error: Exception, folder: Path) -> str:
    if "llocate memory" in str(error):
        return "memory"
    if isinstance(error, AssertionError):
        return "wrong result"
    if type(error) not in door.errors:
        return "foreign error"
    return "refused" if str(folder) in str(error) else "names no file"


def _of(error: Exception) -> str:
    place = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {text} ({Path(place.filename).name}:{place.lineno})"


def _listed(folder: Path) -> set[tuple[str, int]]:
    """Names and sizes of everything in a folder."""
    return {
        (path.relative_to(folder).as_posix(), path.lstat().st_size if path.is_file() else 0)
        for path in folder.rglob("*")
    }


_open_watches: list[list[str]] = []
_hooked: list[bool] = []


@contextmanager
def _watched() -> Iterator[list[str]]:
    """Collects the `FORBIDDEN_EVENTS` of the block."""
    if not _hooked:
        sys.addaudithook(_note)  # can never be removed, so there is one
        _hooked.append(True)
    events: list[str] = []
    _open_watches.append(events)
    try:
        yield events
    finally:
        _open_watches.remove(events)


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if _open_watches and event in FORBIDDEN_EVENTS:
        _open_watches[-1].append(f"{event} {arguments}"[:200])


@contextmanager
def spare_memory(num_bytes: int) -> Iterator[None]:
    """Let this process take only so much more memory than it has; needs Linux, does nothing else.

    Where there is more, Python raises `MemoryError`, and torch `RuntimeError`.
    """
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        yield
        return
    former = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + num_bytes
    hard = former[1]
    resource.setrlimit(
        resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard)
    )
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, former)


def process_engine(workers: int, seconds: float = SECONDS) -> ProcessEngine:
    """Worker processes with the limits of trials."""
    return ProcessEngine(
        workers,
        Limits(
            seconds=seconds,
            cpu_seconds=SECONDS,
            memory_bytes=CHILD_MEMORY_BYTES,
            written_bytes=2 * SPARSE_BYTES,
        ),
    )


def torture(
    doors: Sequence[Door],
    num: int,
    engine: Engine,
    *,
    seed: int = 0,
    keep: Path | None = None,
    on_trial: Callable[[int, int], None] | None = None,
) -> list[DoorResult]:
    """Try hostile inputs at doors.

    Args:
        doors: where.
        num: trials a door.
        engine: runs the trials; only worker processes survive crashes and hangs.
        seed: trial n of a door has the seed `seed + n`.
        keep: an existing folder to leave the inputs in; without it they are removed.
        on_trial: called with the trials done and their number.

    Returns:
        The result of each door, in their order.
    """
    results = {door.name: DoorResult(door.name, door.promise) for door in doors}
    root = tempfile.mkdtemp(prefix="g3pt-torture-") if keep is None else str(keep)
    pairs = [(door, seed + index) for door in doors for index in range(num)]
    trials = [Trial(number, *pair, root) for number, pair in enumerate(pairs)]
    try:
        for done, result in enumerate(engine.run(trials), start=1):
            trial = trials[result.number]
            _count(results[trial.door.name], trial, result.row)
            if keep is None:
                shutil.rmtree(os.path.join(root, trial.id), ignore_errors=True)
            if on_trial is not None:
                on_trial(done, len(trials))
    finally:
        if keep is None:
            shutil.rmtree(root, ignore_errors=True)
    for one in results.values():
        one.violations.sort(key=lambda violation: violation.seed)
    return list(results.values())


def _count(result: DoorResult, trial: Trial, row: dict[str, Any]) -> None:
    result.trials += 1
    match row["outcome"]:
        case "refused":
            result.refusals += 1
        case "opened":
            result.successes += 1
        case kind:
            result.violations.append(
                Violation(trial.door.name, trial.seed, kind, row["what"], row["message"])
            )
