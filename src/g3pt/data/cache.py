"""A folder of prepared shapes: memory-mapped arrays, one slot a shape, and an index.

    index.json        format version, what it was built from, how many shapes, fingerprint
    shapes.jsonl      one line a shape: its slot, id, family, licence, captions, measured shares
    quarantine.jsonl  one line a shape that was refused, with the reason
    points.npy, normals.npy, volume.npy, volume_inside.npy, near.npy, near_inside.npy
    views-K.npy, views-K.done.npy    pictures of view K, when rendered (see `views.py`)

The folder appears when it is complete; until then its parts are in `<folder>.partial`, from
which a stopped build goes on. The arrays are opened read-only, so forked workers share them.
"""

import hashlib
import json
import logging
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int8, Int16

from g3pt.config import from_json, load_json, save_json, to_json
from g3pt.data.prepare import PrepareConfig, prepare_shape
from g3pt.data.sources import Source, SourceConfig, open_source

FORMAT_VERSION = 1
PART_SIZE = 64

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheConfig:
    """What a cache is built from; the same config gives the same bytes."""

    source: SourceConfig
    prepare: PrepareConfig = field(default_factory=PrepareConfig)


@dataclass(frozen=True)
class BuildReport:
    """What a build did."""

    prepared: int
    refused: int
    seconds: float
    path: Path


# --- reading -------------------------------------------------------------------------------


class ShapeCache:
    """A complete cache, opened for reading. Rows are the shapes that were not refused."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open the cache.

        Raises:
            FileNotFoundError: if there is no complete cache at `path`.
            ValueError: if it has another format version.
        """
        self.path = Path(path)
        index = _read_index(self.path)
        self.config = from_json(CacheConfig, index["config"], origin=str(self.path / "index.json"))
        self.prepare = self.config.prepare
        self.fingerprint: str = index["fingerprint"]
        self.num_slots: int = index["num_slots"]
        self.shapes: list[dict[str, Any]] = _read_lines(self.path / "shapes.jsonl")
        self.slots = np.array([shape["slot"] for shape in self.shapes], dtype=np.int64)
        arrays = {  # as plain arrays: indexing a memmap object costs ten times as much
            name: np.load(self.path / f"{name}.npy", mmap_mode="r").view(np.ndarray)
            for name in _array_shapes(self.prepare)
        }
        self.points, self.normals = arrays["points"], arrays["normals"]
        self.volume, self.volume_inside = arrays["volume"], arrays["volume_inside"]
        self.near, self.near_inside = arrays["near"], arrays["near_inside"]

    def __len__(self) -> int:
        return len(self.shapes)

    def __reduce__(self) -> tuple[type["ShapeCache"], tuple[str]]:
        return ShapeCache, (str(self.path),)  # memory maps would be copied whole

    def captions(self, row: int) -> tuple[str, ...]:
        """All sentences that describe shape `row`; may be empty."""
        return tuple(self.shapes[row]["captions"])

    def draw_surface(
        self, row: int, num: int, rng: np.random.Generator
    ) -> tuple[Int16[np.ndarray, "N 3"], Int8[np.ndarray, "N 3"]]:
        """Random surface points and normals of one shape, none twice, as stored integers."""
        slot, chosen = self.slots[row], rng.choice(self.prepare.num_points, num, replace=False)
        return self.points[slot][chosen], self.normals[slot][chosen]

    @property
    def families(self) -> tuple[str, ...]:
        """The family names that occur, sorted."""
        return tuple(sorted({shape["family"] for shape in self.shapes}))


def _read_index(path: Path) -> dict[str, Any]:
    file = path / "index.json"
    if not file.is_file():
        hint = " (a stopped build is there: run it again)" if _partial(path).is_dir() else ""
        raise FileNotFoundError(f"expected a complete shape cache at {path}{hint}")
    index = json.loads(file.read_text(encoding="utf-8"))
    if index.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"{file}: format version {index.get('format_version')}, this program reads "
            f"{FORMAT_VERSION}; build the cache again"
        )
    return index


def _read_lines(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def _array_shapes(config: PrepareConfig) -> dict[str, tuple[tuple[int, ...], type]]:
    return {
        "points": ((config.num_points, 3), np.int16),
        "normals": ((config.num_points, 3), np.int8),
        "volume": ((config.num_volume_queries, 3), np.int16),
        "volume_inside": ((config.num_volume_queries // 8,), np.uint8),
        "near": ((config.num_near_queries, 3), np.int16),
        "near_inside": ((config.num_near_queries // 8,), np.uint8),
    }


# --- building ------------------------------------------------------------------------------


def build_cache(
    source: SourceConfig,
    prepare: PrepareConfig,
    out_dir: str | os.PathLike[str],
    *,
    workers: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> BuildReport:
    """Prepare every shape of a source into a cache folder.

    A stopped build goes on where it was; a finished one is left alone. The result does not
    depend on the number of workers.

    Args:
        source: where the shapes come from.
        prepare: what is kept of each.
        out_dir: the folder to make.
        workers: processes; 1 works in this one.
        on_progress: called with the shapes handled so far and their total.

    Raises:
        ValueError: if `out_dir` holds a cache built from something else, or nothing could be
            prepared.
    """
    out, began = Path(out_dir), time.monotonic()
    config = CacheConfig(source=source, prepare=prepare)
    if out.exists():
        existing = _read_index(out)
        if from_json(CacheConfig, existing["config"], origin=str(out)) != config:
            raise ValueError(f"{out}: holds a cache built from another config; choose another name")
        return BuildReport(existing["num_shapes"], existing["num_refused"], 0.0, out)
    ids = list(open_source(source).ids)
    work = _start(out, config, len(ids))
    parts = range(0, len(ids), PART_SIZE)
    waiting = [first for first in parts if not _part_file(work, first).is_file()]
    handled = len(ids) - sum(min(PART_SIZE, len(ids) - first) for first in waiting)
    for size in _run_parts(work, config, waiting, workers):
        handled += size
        if on_progress is not None:
            on_progress(handled, len(ids))
    prepared, refused = _finish(work, out, config, len(ids))
    return BuildReport(prepared, refused, time.monotonic() - began, out)


def _partial(out: Path) -> Path:
    return out.with_name(out.name + ".partial")


def _part_file(work: Path, first: int) -> Path:
    return work / "parts" / f"{first:08d}.jsonl"


def _start(out: Path, config: CacheConfig, num_slots: int) -> Path:
    """Make the work folder with its empty arrays, or take up the one that is there."""
    work = _partial(out)
    config_file = work / "config.json"
    if config_file.is_file():
        if load_json(config_file, CacheConfig) != config:
            raise ValueError(f"{work}: a build from another config stopped here; remove it first")
        return work
    (work / "parts").mkdir(parents=True, exist_ok=True)
    for name, (shape, dtype) in _array_shapes(config.prepare).items():
        file = work / f"{name}.npy"
        np.lib.format.open_memmap(file, mode="w+", dtype=dtype, shape=(num_slots, *shape)).flush()
    save_json(config_file, config)
    return work


def _run_parts(work: Path, config: CacheConfig, waiting: list[int], workers: int) -> Iterator[int]:
    if workers <= 1:
        source = open_source(config.source)
        yield from (_prepare_part(work, config, source, first) for first in waiting)
        return
    # Started afresh, not forked: the parent may hold threads (torch, BLAS) that do not survive.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _open_for_worker, (config.source,)) as pool:
        try:
            yield from pool.map(partial(_prepare_part_in_worker, work, config), waiting)
        finally:
            pool.shutdown(cancel_futures=True)


_worker_source: list[Source] = []


def _open_for_worker(config: SourceConfig) -> None:
    _worker_source[:] = [open_source(config)]


def _prepare_part_in_worker(work: Path, config: CacheConfig, first: int) -> int:
    return _prepare_part(work, config, _worker_source[0], first)


def _prepare_part(work: Path, config: CacheConfig, source: Source, first: int) -> int:
    """Fill the slots of one part, then write its lines: the part exists from that moment."""
    arrays = {
        name: np.load(work / f"{name}.npy", mmap_mode="r+")
        for name in _array_shapes(config.prepare)
    }
    slots = range(first, min(first + PART_SIZE, len(source.ids)))
    lines = [json.dumps(_prepare_slot(arrays, config, source, slot)) for slot in slots]
    for array in arrays.values():
        array.flush()
    write_whole(_part_file(work, first), "\n".join(lines) + "\n")
    return len(lines)


def _prepare_slot(
    arrays: dict[str, np.memmap], config: CacheConfig, source: Source, slot: int
) -> dict[str, Any]:
    try:
        record = prepare_shape(source.load(slot), config.prepare)
    except Exception as error:  # whatever one shape does, the others must go on
        reason = f"{type(error).__name__}: {error}"
        logger.warning("%s refused: %s", source.ids[slot], reason)
        return {"slot": slot, "id": source.ids[slot], "reason": reason}
    for name, array in arrays.items():
        array[slot] = getattr(record, name)
    return {"slot": slot, **record.description}


def _finish(work: Path, out: Path, config: CacheConfig, num_slots: int) -> tuple[int, int]:
    """Join the parts' lines, write the index and let the folder appear."""
    files = [_part_file(work, first) for first in range(0, num_slots, PART_SIZE)]
    rows = [row for file in files for row in _read_lines(file)]
    shapes = [row for row in rows if "reason" not in row]
    refused = [row for row in rows if "reason" in row]
    if not shapes:
        raise ValueError(f"{work}: all {len(rows)} shapes were refused; first: {rows[0]['reason']}")
    write_whole(work / "shapes.jsonl", _lines(shapes))
    write_whole(work / "quarantine.jsonl", _lines(refused))
    described = json.dumps(to_json(config)) + _lines(shapes)
    index = {
        "format_version": FORMAT_VERSION,
        "fingerprint": hashlib.sha256(described.encode()).hexdigest(),
        "num_slots": num_slots,
        "num_shapes": len(shapes),
        "num_refused": len(refused),
        "config": to_json(config),
    }
    write_whole(work / "index.json", json.dumps(index, indent=2) + "\n")
    shutil.rmtree(work / "parts")
    (work / "config.json").unlink()
    work.rename(out)
    return len(shapes), len(refused)


def _lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def write_whole(path: Path, text: str) -> None:
    """Write a text file that appears whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
