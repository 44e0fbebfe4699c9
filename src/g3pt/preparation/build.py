"""Builds a set of shards, resumably: the same inputs always give the same bytes.

The place of each object is fixed before any work: new ids are sorted and written to a plan,
`samples_per_shard` of them per shard. Results are kept in one file per object until a shard is
complete; then its tar and its index appear, each by a rename. So the number of workers, their order
and interruptions do not change a byte, a rerun does only what is missing, and inputs added later
become new shards after the existing ones.

    plan/00000.jsonl      ids and sizes of the inputs of one plan, in order
    work/00000/...        results of a shard that is not complete yet
    times/00000.json      seconds by stage of every object of a shard; no part of the set's identity

Several processes may share one folder, each taking every n-th shard (`part`).
"""

import fcntl
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import IO, Any

from g3pt.config import to_json
from g3pt.files import TEMPORARY, write_whole
from g3pt.preparation.engines import Engine, InlineEngine
from g3pt.preparation.sources import (
    MeshRef,
    ShapeRef,
    SourceConfig,
    as_once_meant,
    list_shapes,
)
from g3pt.preparation.worker import ObjectResult, ObjectTask
from g3pt.shapes.shape_set import QualityLimits
from g3pt.shapes.shards import (
    END_OF_ARCHIVE,
    FORMAT_VERSION,
    INDEX_FILE,
    QUARANTINE_FILE,
    as_lines,
    read_lines,
    read_rows,
    shard_name,
)
from g3pt.shapes.stored import PrepareConfig, ViewsConfig

CONFIG_FILE = "config.json"
OnProgress = Callable[["Progress"], None]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardsConfig:
    """Config of a set of shards; the same config and inputs give the same bytes."""

    source: SourceConfig
    prepare: PrepareConfig = field(default_factory=PrepareConfig)
    views: ViewsConfig = field(default_factory=ViewsConfig)
    samples_per_shard: int = 256
    """Objects per shard, refused ones included."""

    def __post_init__(self) -> None:
        if self.samples_per_shard < 1:
            raise ValueError(f"samples_per_shard must be at least 1, got {self.samples_per_shard}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Progress of a run."""

    done: int
    """Objects done, including those of earlier runs."""
    total: int
    refused: int
    """Objects refused in this run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildReport:
    """Result of a run, and the state of the set after it."""

    path: Path
    prepared: int
    """Objects with a sample in the whole set."""
    flagged: int
    """Objects with a sample whose quality exceeds a limit."""
    refused: int
    """Objects without a sample in the whole set."""
    noted: int
    """Objects in the whole set that were read without a file that they refer to, such as a
    texture."""
    first_note: str
    """Message about the first of these; empty if there is none."""
    skipped: int
    """Objects that were done before this run."""
    changed: int
    """Objects done before whose file has another size now: prepare into another folder to redo
    them."""
    seconds: float
    """Wall-clock time of this run."""
    worker_seconds: float
    """Time of all workers on the objects of this run."""
    shards: int
    complete: bool
    """False while other parts are not done."""


@dataclass(frozen=True, slots=True)
class _Planned:
    """One object of the plan."""

    number: int
    id: str


def build_shards(
    config: ShardsConfig,
    out_dir: str | os.PathLike[str],
    *,
    engine: Engine | None = None,
    part: tuple[int, int] = (0, 1),
    val_share: float = 0.0,
    on_progress: OnProgress | None = None,
) -> BuildReport:
    """Prepare every object of a source that the set does not have yet.

    Args:
        config: the source, and what is stored of its objects.
        out_dir: the folder of the set.
        engine: runs the tasks; by default this process.
        part: (i, n) builds only every n-th shard, beginning with the i-th.
        val_share: share of the objects without a given split that go to `val`.
        on_progress: called before the first object and after every object.

    Raises:
        ValueError: if the folder holds a set with another config, another run is working on the
            same part, or no object could be prepared.
    """
    out, began = Path(out_dir), time.monotonic()
    index, count = part
    if not 0 <= index < count:
        raise ValueError(f"part i/n needs 0 <= i < n, got {index}/{count}")
    _enter(out, config, val_share)
    with _alone(out, f"part-{index}-of-{count}"):
        refs = {ref.id: ref for ref in list_shapes(config.source)}
        known = _extend_plan(out, refs)
        plan = _shards_of(out, config)
        mine = [number for number in range(len(plan)) if number % count == index]
        work = _Work(out, config, val_share, refs, plan)
        total = sum(len(plan[number]) for number in mine)
        skipped, refused, spent = work.take_up(mine), 0, 0.0
        done = skipped
        if on_progress is not None and done < total:
            on_progress(Progress(done=done, total=total, refused=refused))
        results = (engine or InlineEngine()).run(work.tasks(mine))
        for result in chain(work.lost(mine), results):
            work.keep(result)
            done, refused = done + 1, refused + result.is_refused
            spent += sum(result.seconds.values())
            if on_progress is not None:
                on_progress(Progress(done=done, total=total, refused=refused))
        complete = _finish(out, config, len(plan))
    rows = [row for number in range(len(plan)) for row in _rows_if_there(out, number)]
    prepared = [row for row in rows if "sha256" in row]
    if complete and not prepared:
        raise ValueError(f"{out}: all {len(rows)} objects were refused; first: {_reason(rows[0])}")
    notes = [f"{row['id']}: {row['notes'][0]}" for row in prepared if row.get("notes")]
    return BuildReport(
        path=out,
        prepared=len(prepared),
        flagged=sum(bool(QualityLimits().flags(row)) for row in prepared),
        refused=len(rows) - len(prepared),
        noted=len(notes),
        first_note=notes[0] if notes else "",
        skipped=skipped,
        changed=_num_changed(known, refs),
        seconds=time.monotonic() - began,
        worker_seconds=spent,
        shards=len(plan),
        complete=complete,
    )


def _reason(row: dict[str, Any]) -> str:
    return f"{row['path']}: {row['message']}"


# --- entering the folder -------------------------------------------------------------------


def _enter(out: Path, config: ShardsConfig, val_share: float) -> None:
    """Make the folder and record its config, or check that the recorded one is the same."""
    out.mkdir(parents=True, exist_ok=True)
    check_folder(out, config, val_share=val_share)
    file = out / CONFIG_FILE
    if not file.is_file():
        write_whole(file, json.dumps(_identity(config, val_share), indent=2) + "\n")


def _identity(config: ShardsConfig, val_share: float) -> dict[str, Any]:
    return {"config": to_json(config), "val_share": val_share}


def check_folder(out: Path, config: ShardsConfig, *, val_share: float = 0.0) -> None:
    """Check that a set can be built in a folder: a new one, or one with the same config.

    The source may differ, since this is how objects are added, but not the reading of its colours.

    Args:
        out: the folder; it need not exist.
        config: config of the set.
        val_share: as for `build_shards`.

    Raises:
        ValueError: if the folder holds something else.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise ValueError(f"{out}: expected a new or empty folder, it is a file")
    wanted, file = _identity(config, val_share), out / CONFIG_FILE
    # Read first, since another part may be making the folder. A killed run may leave a temporary.
    others = [path.name for path in out.iterdir() if not path.name.endswith(TEMPORARY)]
    if not file.is_file():
        if others:
            raise ValueError(f"{out}: expected a new or empty folder, it holds {others[0]}")
        return
    found = as_once_meant(json.loads(file.read_text(encoding="utf-8")))
    for name in ("prepare", "views", "samples_per_shard"):
        if found["config"].get(name) != wanted["config"][name]:
            raise ValueError(
                f"{out}: holds shapes prepared with {name} = {found['config'].get(name)}, not "
                f"{wanted['config'][name]}; choose another folder"
            )
    before, now = (each["config"]["source"].get("gltf_colors") for each in (found, wanted))
    if before and now and before != now:  # procedural shapes have none
        raise ValueError(
            f"{out}: holds shapes whose glTF colours were read as {before}, not {now}: go on with "
            f"--gltf-colors {before} (source.gltf_colors of a recipe), or choose another folder"
        )
    if found["val_share"] != val_share:
        raise ValueError(
            f"{out}: was started with a validation share of {found['val_share']}, not {val_share}"
        )


@contextmanager
def _alone(out: Path, name: str) -> Iterator[None]:
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


def _extend_plan(out: Path, refs: dict[str, ShapeRef]) -> dict[str, int]:
    """Add new objects to the plan; return the sizes of those planned before."""
    folder = out / "plan"
    folder.mkdir(exist_ok=True)
    while True:
        plans = sorted(folder.glob("*.jsonl"))
        known = {row["id"]: row["size"] for plan in plans for row in read_lines(plan)}
        new = sorted(refs.keys() - known.keys())
        if not new:
            return known
        rows = [{"id": name, "size": _size(refs[name])} for name in new]
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


def _size(ref: ShapeRef) -> int:
    return ref.size if isinstance(ref, MeshRef) else 0


def _num_changed(known: dict[str, int], refs: dict[str, ShapeRef]) -> int:
    return sum(name in refs and size != _size(refs[name]) for name, size in known.items())


def _shards_of(out: Path, config: ShardsConfig) -> list[list[_Planned]]:
    """The objects of every shard."""
    shards: list[list[_Planned]] = []
    number = 0
    for plan in sorted((out / "plan").glob("*.jsonl")):
        rows = read_lines(plan)
        for first in range(0, len(rows), config.samples_per_shard):
            part = rows[first : first + config.samples_per_shard]
            shards.append([_Planned(number + i, row["id"]) for i, row in enumerate(part)])
            number += len(part)
    return shards


# --- the work ------------------------------------------------------------------------------


class _Work:
    """Gives the tasks of incomplete shards, stores their results and assembles shards."""

    def __init__(
        self,
        out: Path,
        config: ShardsConfig,
        val_share: float,
        refs: dict[str, ShapeRef],
        plan: list[list[_Planned]],
    ) -> None:
        self._out, self._config, self._val_share = out, config, val_share
        self._refs, self._plan = refs, plan
        self._shard_of = {object.number: n for n, shard in enumerate(plan) for object in shard}
        self._missing: dict[int, set[int]] = {}

    def take_up(self, shards: Sequence[int]) -> int:
        """Find results of earlier runs; return the number of objects done."""
        done = 0
        for shard in shards:
            planned = {object.number for object in self._plan[shard]}
            if (self._out / shard_name(shard, ".jsonl")).is_file():
                done += len(planned)
                shutil.rmtree(self._folder(shard), ignore_errors=True)
                continue
            folder = self._folder(shard)
            folder.mkdir(parents=True, exist_ok=True)
            for leftover in folder.glob(".*"):
                leftover.unlink()
            there = {int(file.stem) for file in folder.glob("*.json")}
            self._missing[shard] = planned - there
            done += len(planned & there)
        for shard in [shard for shard, missing in self._missing.items() if not missing]:
            self._assemble(shard)
        return done

    def lost(self, shards: Sequence[int]) -> Iterator[ObjectResult]:
        """Refuse planned objects that are no longer in the source."""
        message = "was planned, and is no longer in the source"
        for planned in self._open(shards):
            if planned.id not in self._refs:
                row = {"id": planned.id, "path": "", "stage": "list", "code": "missing"}
                yield ObjectResult(planned.number, {**row, "message": message})

    def tasks(self, shards: Sequence[int]) -> Iterator[ObjectTask]:
        """Tasks for the objects that are not done, shard by shard."""
        config = self._config
        for planned in self._open(shards):
            if planned.id in self._refs:
                ref = self._refs[planned.id]
                yield ObjectTask(planned.number, ref, config.prepare, config.views, self._val_share)

    def _open(self, shards: Sequence[int]) -> list[_Planned]:
        return [
            planned
            for shard in shards
            for planned in self._plan[shard]
            if planned.number in self._missing.get(shard, ())
        ]

    def keep(self, result: ObjectResult) -> None:
        """Store one result; the last one of a shard completes it."""
        shard = self._shard_of[result.number]
        file = self._folder(shard) / f"{result.number:08d}.json"
        if result.is_refused:
            logger.info("%s refused: %s", result.row["id"], result.row["message"])
        else:
            write_whole(file.with_suffix(".sample"), result.data)
        # The row last: an object is done when its row exists.
        write_whole(file, json.dumps({"row": result.row, "seconds": result.seconds}))
        self._missing[shard].discard(result.number)
        if not self._missing[shard]:
            self._assemble(shard)

    def _assemble(self, shard: int) -> None:
        folder = self._folder(shard)
        rows: list[dict[str, Any]] = []
        times: dict[str, dict[str, float]] = {}
        tar = self._out / shard_name(shard, ".tar")
        temporary = folder / ".shard.tar"
        with temporary.open("wb") as file:
            for planned in self._plan[shard]:
                kept = json.loads((folder / f"{planned.number:08d}.json").read_text("utf-8"))
                row = kept["row"]
                times[planned.id] = {n: round(s, 4) for n, s in kept["seconds"].items()}
                if "sha256" in row:
                    data = (folder / f"{planned.number:08d}.sample").read_bytes()
                    if hashlib.sha256(data).hexdigest() != row["sha256"]:
                        raise OSError(f"{folder}: the sample of {planned.id} has been damaged")
                    row = {**row, "shard": tar.name, "offset": file.tell()}
                    file.write(data)
                rows.append(row)
            file.write(END_OF_ARCHIVE)
            file.flush()
            os.fsync(file.fileno())
        (self._out / "times").mkdir(exist_ok=True)
        write_whole(self._out / "times" / f"{shard:05d}.json", json.dumps(times))
        temporary.replace(tar)
        write_whole(self._out / shard_name(shard, ".jsonl"), as_lines(rows))
        shutil.rmtree(folder)
        del self._missing[shard]

    def _folder(self, shard: int) -> Path:
        return self._out / "work" / f"{shard:05d}"


def _rows_if_there(out: Path, shard: int) -> list[dict[str, Any]]:
    file = out / shard_name(shard, ".jsonl")
    return read_lines(file) if file.is_file() else []


def _finish(out: Path, config: ShardsConfig, num_shards: int) -> bool:
    """Write the index if all shards are complete; return whether they are."""
    if not all((out / shard_name(n, ".jsonl")).is_file() for n in range(num_shards)):
        return False
    rows = read_rows(out, num_shards)
    refused = [row for row in rows if "sha256" not in row]
    digest = hashlib.sha256(as_lines(rows).encode())
    index = {
        "format_version": FORMAT_VERSION,
        "fingerprint": digest.hexdigest(),
        "num_shards": num_shards,
        "num_shapes": len(rows) - len(refused),
        "num_refused": len(refused),
        "config": to_json(config),
    }
    _renew(out / QUARANTINE_FILE, as_lines(refused))
    _renew(out / INDEX_FILE, json.dumps(index, indent=2) + "\n")
    return True


def _renew(path: Path, text: str) -> None:
    """Write a file unless it has this content already."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_whole(path, text)
