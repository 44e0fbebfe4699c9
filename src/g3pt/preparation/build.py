"""Builds a set of shards, resumably: the same inputs always give the same bytes.

`work.shard_folder` says how; `shapes.shards` says what is in the folder. Inputs added later become
new shards after the existing ones.

Several processes may share one folder, each taking every n-th shard (`part`).
"""

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from g3pt.config import to_json
from g3pt.files import TEMPORARY, read_json, write_whole
from g3pt.preparation.sources import (
    MeshRef,
    ShapeRef,
    SourceConfig,
    as_once_meant,
    list_shapes,
)
from g3pt.preparation.worker import ObjectTask
from g3pt.shapes.shape_set import QualityLimits
from g3pt.shapes.shards import (
    FORMAT_VERSION,
    INDEX_FILE,
    QUARANTINE_FILE,
    as_lines,
    read_lines,
    read_rows,
    shard_name,
)
from g3pt.shapes.stored import PrepareConfig, ViewsConfig
from g3pt.work.engines import Engine, InlineEngine
from g3pt.work.shard_folder import (
    Planned,
    ShardWork,
    alone,
    extend_plan,
    read_plan,
    renew,
)
from g3pt.work.tasks import TaskResult

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
    with alone(out, f"part-{index}-of-{count}"):
        refs = {ref.id: ref for ref in list_shapes(config.source)}
        known = extend_plan(out, {name: _size(ref) for name, ref in refs.items()})
        plan = read_plan(out, config.samples_per_shard)
        mine = [number for number in range(len(plan)) if number % count == index]
        work = ShardWork(out, plan)
        total = sum(len(plan[number]) for number in mine)
        skipped, refused, spent = work.take_up(mine), 0, 0.0
        done = skipped
        if on_progress is not None and done < total:
            on_progress(Progress(done=done, total=total, refused=refused))
        left = work.open(mine)
        tasks = _tasks(config, val_share, refs, left)
        for result in chain(_lost(refs, left), (engine or InlineEngine()).run(tasks)):
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
    found = as_once_meant(read_json(file))
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


def _size(ref: ShapeRef) -> int:
    return ref.size if isinstance(ref, MeshRef) else 0


def _num_changed(known: dict[str, int], refs: dict[str, ShapeRef]) -> int:
    return sum(name in refs and size != _size(refs[name]) for name, size in known.items())


def _lost(refs: Mapping[str, ShapeRef], left: Sequence[Planned]) -> Iterator[TaskResult]:
    """Refuse planned objects that are no longer in the source."""
    message = "was planned, and is no longer in the source"
    for planned in left:
        if planned.id not in refs:
            row = {"id": planned.id, "path": "", "stage": "list", "code": "missing"}
            yield TaskResult(planned.number, {**row, "message": message})


def _tasks(
    config: ShardsConfig, val_share: float, refs: Mapping[str, ShapeRef], left: Sequence[Planned]
) -> Iterator[ObjectTask]:
    """Tasks for the objects that are not done, shard by shard."""
    for planned in left:
        if planned.id in refs:
            ref = refs[planned.id]
            yield ObjectTask(planned.number, ref, config.prepare, config.views, val_share)


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
    renew(out / QUARANTINE_FILE, as_lines(refused))
    renew(out / INDEX_FILE, json.dumps(index, indent=2) + "\n")
    return True
