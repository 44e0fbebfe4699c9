"""Many pictures and sentences to a folder of meshes, resumably.

    config.json           settings, weights and manifest; a run with others is refused
    shard-00000.tar       for each row KEY.json, KEY.glb ... (`work.shard_folder`)
    shard-00000.jsonl     a line per row of the shard, failed ones included
    index.jsonl           the lines of all shards, when all are there
    plan/ work/ times/    for going on, and for looking at seconds

The same rows, settings and weights give the same bytes, whatever the engine, the number of workers
and the interruptions.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from g3pt import __version__
from g3pt.config import to_json
from g3pt.files import TEMPORARY, naming, read_json, write_whole
from g3pt.generation.bulk.manifest import MISSING, BulkRow, manifest_sha256, sizes_of
from g3pt.generation.bulk.tasks import BulkSettings, BulkTask, ModelSource
from g3pt.shapes.shards import shard_name
from g3pt.work.engines import Engine, InlineEngine
from g3pt.work.shard_folder import Planned, ShardWork, alone, extend_plan, read_plan
from g3pt.work.tasks import TaskResult

CONFIG_FILE = "config.json"
INDEX_FILE = "index.jsonl"
FORMAT_VERSION = 1
NAMED = 3
"""Differences, and missing pictures, that a message names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BulkProgress:
    """Progress of a run."""

    done: int
    """Rows done, including those of earlier runs."""
    total: int
    failed: int
    """Rows that failed in this run."""
    per_second: float
    """Rows of this run a second of wall-clock time; 0 before the first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BulkReport:
    """Result of a run, and the state of the folder after it."""

    path: Path
    made: int
    """Rows with results in the whole folder."""
    failed: int
    """Rows without results in the whole folder."""
    failures: dict[str, int]
    """Reason code -> rows that failed for it."""
    first_failures: tuple[str, ...]
    """A few of them: id and message."""
    skipped: int
    """Rows that were done before this run."""
    changed: int
    """Rows done before whose picture has another size now."""
    total: int
    seconds: float
    """Wall-clock time of this run."""
    worker_seconds: float
    """Time of all workers on the rows of this run."""
    shards: int
    complete: bool
    """False if the run was asked to stop before all rows were done."""


def generate_many(
    rows: Sequence[BulkRow],
    out_dir: str | os.PathLike[str],
    settings: BulkSettings,
    models: ModelSource,
    *,
    engine: Engine | None = None,
    stopped: Callable[[], bool] = lambda: False,
    on_progress: Callable[[BulkProgress], None] | None = None,
) -> BulkReport:
    """Make the shapes of every row that the folder does not have yet.

    Args:
        rows: what to make, by `read_manifest`.
        out_dir: the folder.
        settings: how.
        models: with which weights.
        engine: runs the tasks; by default this process.
        stopped: asked before a row is handed out. Once true, rows in work are finished unless their
            workers are stopped as well, and the others are left for another run.
        on_progress: called before the first row and after every row.

    Raises:
        ValueError: if all pictures are missing, the folder holds something else, another run works
            on it, or every row failed.
        WorkerError: if a worker cannot load the models.
    """
    out, began = Path(out_dir), time.monotonic()
    sizes = sizes_of(rows)
    missing = [row.location for row in rows if sizes[row.id] == MISSING]
    if len(missing) == len(rows):
        raise ValueError(f"none of {len(rows)} pictures exists; the first: {missing[0]}")
    _enter(out, rows, settings, models)
    with alone(out, "part-0-of-1"):
        known = extend_plan(out, sizes)
        plan = read_plan(out, settings.per_shard)
        every = range(len(plan))
        work = ShardWork(out, plan, unpacked=settings.layout == "files")
        skipped = work.take_up(every)
        done, failed, spent = skipped, 0, 0.0

        def tell() -> None:
            seconds = time.monotonic() - began
            if on_progress is not None:
                rate = (done - skipped) / seconds
                told = BulkProgress(done=done, total=len(rows), failed=failed, per_second=rate)
                on_progress(told)

        tell()
        by_id = {row.id: row for row in rows}
        tasks = _tasks(by_id, work.open(every), settings, models, stopped)
        for result in _trusted((engine or InlineEngine()).run(tasks), stopped):
            work.keep(result)
            done, failed = done + 1, failed + result.is_refused
            spent += sum(result.seconds.values())
            tell()
        complete = done == len(rows)
        if complete:
            _write_index(out, len(plan))
    found = _counted(out, len(plan))
    if complete and not found.made:
        raise ValueError(f"{out}: all {len(rows)} rows failed; first: {found.first[0]}")
    return BulkReport(
        path=out,
        made=found.made,
        failed=sum(found.failures.values()),
        failures=found.failures,
        first_failures=tuple(found.first),
        skipped=skipped,
        changed=sum(size != sizes[name] for name, size in known.items()),
        total=len(rows),
        seconds=time.monotonic() - began,
        worker_seconds=spent,
        shards=len(plan),
        complete=complete,
    )


def _tasks(
    rows: Mapping[str, BulkRow],
    left: Sequence[Planned],
    settings: BulkSettings,
    models: ModelSource,
    stopped: Callable[[], bool],
) -> Iterator[BulkTask]:
    for planned in left:
        if stopped():
            return
        yield BulkTask(planned.number, rows[planned.id], settings, models)


def _trusted(results: Iterator[TaskResult], stopped: Callable[[], bool]) -> Iterator[TaskResult]:
    """End with the workers if whoever stops this run stops them as well: no row is to blame."""
    for result in results:
        if stopped() and result.row.get("stage") == "worker":
            return
        yield result


# --- entering the folder -------------------------------------------------------------------


def _enter(out: Path, rows: Sequence[BulkRow], settings: BulkSettings, models: ModelSource) -> None:
    """Make the folder and record what it is for, or check that it is for the same.

    Raises:
        ValueError: if it holds something else; the message says what differs.
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out}: expected a new or empty folder, it is a file")
    out.mkdir(parents=True, exist_ok=True)
    wanted, file = _identity(rows, settings, models), out / CONFIG_FILE
    others = [path.name for path in out.iterdir() if not path.name.endswith(TEMPORARY)]
    if not file.is_file():
        if others:
            raise ValueError(f"{out}: expected a new or empty folder, it holds {others[0]}")
        write_whole(file, json.dumps({**wanted, "g3pt": __version__}, indent=2) + "\n")
        return
    found = read_json(file)
    if found.get("format_version") != FORMAT_VERSION or "manifest" not in found:
        raise ValueError(f"{out}: expected results of a manifest, {CONFIG_FILE} tells of others")
    _check_manifest(out, found["manifest"], wanted["manifest"])
    before, now = (_flat({**each, "manifest": None, "g3pt": None}) for each in (found, wanted))
    differences = [
        f"{name} = {before.get(name)}, not {now.get(name)}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    if differences:
        more = f" and {len(differences) - NAMED} more" if len(differences) > NAMED else ""
        raise ValueError(
            f"{out}: holds results with {'; '.join(differences[:NAMED])}{more}; give the same "
            "settings, or choose another folder"
        )


def _identity(
    rows: Sequence[BulkRow], settings: BulkSettings, models: ModelSource
) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "manifest": {
            "rows": len(rows),
            "sha256": manifest_sha256(rows),
            "first": rows[0].id,
            "last": rows[-1].id,
        },
        "weights": {"sha256": models.sha256, "device": models.device, "dtype": models.dtype},
        "settings": to_json(settings),
    }


def _check_manifest(out: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    if found == wanted:
        return
    told = [
        f"{found['rows']} rows from {found['first']!r} to {found['last']!r}",
        f"{wanted['rows']} rows from {wanted['first']!r} to {wanted['last']!r}",
    ]
    said = f"{told[0]}, this one has {told[1]}"
    if told[0] == told[1]:
        said = f"also {told[0]}, but other ids, pictures, texts or seeds"
    raise ValueError(
        f"{out}: holds the results of another manifest ({said}); give that manifest, or choose "
        "another folder"
    )


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested values by names joined with dots."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        nested = isinstance(value, dict)
        flat |= _flat(value, f"{before}{name}.") if nested else {before + name: value}
    return flat


# --- the index -----------------------------------------------------------------------------


def _write_index(out: Path, num_shards: int) -> None:
    """Join the lines of all shards, without holding them in memory."""
    target = out / INDEX_FILE
    if target.is_file():
        return
    temporary = target.with_name(f".{INDEX_FILE}{TEMPORARY}")
    with naming(target), temporary.open("wb") as file:
        for number in range(num_shards):
            file.write((out / shard_name(number, ".jsonl")).read_bytes())
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(target)


@dataclass
class _Counted:
    """Rows of complete shards."""

    made: int
    failures: dict[str, int]
    first: list[str]


def _counted(out: Path, num_shards: int) -> _Counted:
    """Count the rows of complete shards, a line at a time."""
    counted = _Counted(0, {}, [])
    for number in range(num_shards):
        lines = out / shard_name(number, ".jsonl")
        if not lines.is_file():
            continue
        with lines.open(encoding="utf-8") as file:
            for line in file:
                row = json.loads(line)
                if "sha256" in row:
                    counted.made += 1
                    continue
                counted.failures[row["code"]] = counted.failures.get(row["code"], 0) + 1
                if len(counted.first) < NAMED:
                    counted.first.append(f"{row['id']}: {row['message']}")
    return counted
