"""A folder of tar shards that is built resumably: a plan and its results give the same bytes.

The place of each item is fixed before any work: new ids are sorted and written to a plan,
`per_shard` of them per shard. Results are kept in one file per item until a shard is complete; then
its tar and its index appear, each by a rename. So the number of workers, their order and
interruptions do not change a byte, and a rerun does only what is missing.

    plan/00000.jsonl      ids and sizes of the inputs of one plan, in order
    work/00000/...        results of a shard that is not complete yet
    times/00000.json      seconds by stage of every item of a shard; no part of the set's identity
    shard-00000.tar       samples of the items; on demand a folder shard-00000 of the same files
    shard-00000.jsonl     a line per item: its row and where its sample lies, or why it was refused
"""

import fcntl
import hashlib
import json
import logging
import os
import shutil
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from g3pt.files import TEMPORARY, naming, staying, write_whole
from g3pt.shapes.shards import END_OF_ARCHIVE, as_lines, read_lines, shard_name
from g3pt.work.tasks import TaskResult

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Planned:
    """One item of the plan."""

    number: int
    id: str


@contextmanager
def alone(out: Path, name: str) -> Iterator[None]:
    """Hold a lock that is released when this process ends, also when it is killed."""
    locks = out / "work"
    locks.mkdir(exist_ok=True)
    with (locks / f"{name}.lock").open("w") as file:
        _lock(file, out, name)
        # Runs with another number of parts would take shards of ours: none of them may be running.
        count = name.rpartition("-")[2]
        for other in sorted(locks.glob("part-*.lock")):
            if other.stem.rpartition("-")[2] != count:
                with other.open("r") as theirs:
                    _lock(theirs, out, other.stem)
        yield


def _lock(file: IO[str], out: Path, name: str) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise ValueError(f"{out}: another run is working on it ({name})") from error


def extend_plan(out: Path, sizes: Mapping[str, int]) -> dict[str, int]:
    """Add new ids to the plan, with the sizes of their inputs; return those planned before."""
    folder = out / "plan"
    folder.mkdir(exist_ok=True)
    while True:
        plans = sorted(folder.glob("*.jsonl"))
        known = {row["id"]: row["size"] for plan in plans for row in read_lines(plan)}
        new = sorted(sizes.keys() - known.keys())
        if not new:
            return known
        rows = [{"id": name, "size": sizes[name]} for name in new]
        # A link never replaces a file: of two parts that plan at once, one plans and both read.
        temporary = folder / f".{os.getpid()}{TEMPORARY}"
        write_whole(temporary, as_lines(rows))
        try:
            os.link(temporary, folder / f"{len(plans):05d}.jsonl")
            return known
        except FileExistsError:
            continue
        finally:
            temporary.unlink()


def read_plan(out: Path, per_shard: int) -> list[list[Planned]]:
    """The items of every shard."""
    shards: list[list[Planned]] = []
    number = 0
    for plan in sorted((out / "plan").glob("*.jsonl")):
        rows = read_lines(plan)
        for first in range(0, len(rows), per_shard):
            part = rows[first : first + per_shard]
            shards.append([Planned(number + i, row["id"]) for i, row in enumerate(part)])
            number += len(part)
    return shards


class ShardWork:
    """Stores the results of the items of incomplete shards, and assembles shards."""

    def __init__(self, out: Path, plan: list[list[Planned]], *, unpacked: bool = False) -> None:
        """Take up the work in a folder.

        Args:
            out: the folder.
            plan: the items of every shard.
            unpacked: a shard is a folder of files in place of a tar.
        """
        self._out, self._plan, self._unpacked = out, plan, unpacked
        self._shard_of = {item.number: n for n, shard in enumerate(plan) for item in shard}
        self._missing: dict[int, set[int]] = {}

    def take_up(self, shards: Sequence[int]) -> int:
        """Find results of earlier runs; return the number of items done."""
        done = 0
        for shard in shards:
            planned = {item.number for item in self._plan[shard]}
            if (self._out / shard_name(shard, ".jsonl")).is_file():
                done += len(planned)
                shutil.rmtree(self._folder(shard), ignore_errors=True)
                continue
            folder = self._folder(shard)
            folder.mkdir(parents=True, exist_ok=True)
            for leftover in folder.glob(".*"):
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
            there = {int(file.stem) for file in folder.glob("*.json")}
            self._missing[shard] = planned - there
            done += len(planned & there)
        for shard in [shard for shard, missing in self._missing.items() if not missing]:
            self._assemble(shard)
        return done

    def open(self, shards: Sequence[int]) -> list[Planned]:
        """The items of shards that are not done, shard by shard."""
        return [
            planned
            for shard in shards
            for planned in self._plan[shard]
            if planned.number in self._missing.get(shard, ())
        ]

    def keep(self, result: TaskResult) -> None:
        """Store one result; the last one of a shard completes it.

        Raises:
            RuntimeError: if someone has removed the folder.
        """
        with staying(self._out):
            self._keep(result)

    def _keep(self, result: TaskResult) -> None:
        shard = self._shard_of[result.number]
        file = self._folder(shard) / f"{result.number:08d}.json"
        if result.is_refused:
            logger.info("%s refused: %s", result.row["id"], result.row["message"])
        else:
            write_whole(file.with_suffix(".sample"), result.data)
        # The row last: an item is done when its row exists.
        write_whole(file, json.dumps({"row": result.row, "seconds": result.seconds}))
        self._missing[shard].discard(result.number)
        if not self._missing[shard]:
            self._assemble(shard)

    def _assemble(self, shard: int) -> None:
        folder = self._folder(shard)
        rows: list[dict[str, Any]] = []
        times: dict[str, dict[str, float]] = {}
        target = self._out / shard_name(shard, "" if self._unpacked else ".tar")
        temporary = folder / ".shard.tar"
        with naming(target), temporary.open("wb") as file:
            for planned in self._plan[shard]:
                kept = json.loads((folder / f"{planned.number:08d}.json").read_text("utf-8"))
                row = kept["row"]
                times[planned.id] = {n: round(s, 4) for n, s in kept["seconds"].items()}
                if "sha256" in row:
                    data = (folder / f"{planned.number:08d}.sample").read_bytes()
                    if hashlib.sha256(data).hexdigest() != row["sha256"]:
                        raise OSError(f"{folder}: the sample of {planned.id} has been damaged")
                    row = {**row, "shard": target.name, "offset": file.tell()}
                    file.write(data)
                rows.append(row)
            file.write(END_OF_ARCHIVE)
            file.flush()
            os.fsync(file.fileno())
        (self._out / "times").mkdir(exist_ok=True)
        write_whole(self._out / "times" / f"{shard:05d}.json", json.dumps(times))
        if self._unpacked:
            temporary = _unpacked(temporary)
            shutil.rmtree(target, ignore_errors=True)  # of a run that ended before its index
        temporary.replace(target)
        write_whole(self._out / shard_name(shard, ".jsonl"), as_lines(rows))
        shutil.rmtree(folder)
        del self._missing[shard]

    def _folder(self, shard: int) -> Path:
        return self._out / "work" / f"{shard:05d}"


def _unpacked(tar: Path) -> Path:
    """Turn a tar into a folder of its files."""
    folder = tar.with_name(".shard")
    with tarfile.open(tar, "r:") as archive:
        archive.extractall(folder, filter="data")
    for file in folder.iterdir():
        with file.open("rb") as written:
            os.fsync(written.fileno())
    tar.unlink()
    return folder


def renew(path: Path, text: str) -> None:
    """Write a file unless it has this content already."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_whole(path, text)
