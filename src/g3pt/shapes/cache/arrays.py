"""Arrays that are computed once, item by item; a build that was stopped resumes where it was.

    index.json    the shapes and the model that the numbers belong to
    NAME.npy      one or several arrays, one row for each item

The folder appears when it is complete. Until then it is called `<folder>.partial`, where
`done.npy` marks the items that are finished. In `build_draws_cache` the items are random draws of
the surface points of prepared shapes; its arrays are (shapes, R, ...), with R draws of each shape.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from g3pt.config import ConfigError, ConfigT, from_json, read_versioned, to_json
from g3pt.files import alone_in, map_array, naming, read_json, write_array_whole, write_whole
from g3pt.shapes.shape_set import ShapeSet
from g3pt.shapes.stored import normals, positions

INDEX_FILE = "index.json"
_NOTE_FILE, _DONE_FILE = "wanted.json", "done.npy"

ComputeItems = Callable[[np.ndarray], Mapping[str, np.ndarray]]
"""From indices of items to the rows of these items, by the name of the array."""
OnItems = Callable[[int, int], None]
"""Called with the number of items done and their total."""


@dataclass(frozen=True, kw_only=True)
class StoredArray:
    """An array of a cache."""

    name: str
    """Name of its file, without the suffix."""
    dtype: type[np.generic]
    row_shape: tuple[int, ...] = ()
    """Shape of the row of one item."""


def fill_arrays(
    out: Path,
    wanted: Mapping[str, Any],
    arrays: Sequence[StoredArray],
    item_shape: tuple[int, ...],
    compute: ComputeItems,
    *,
    what: str,
    batch_size: int,
    settled: Mapping[str, np.ndarray] | None = None,
    on_items: OnItems | None = None,
) -> Path:
    """Compute every item that has not been computed yet.

    Args:
        out: the folder to make.
        wanted: JSON values for the index: format version, shapes, model.
        arrays: the arrays to compute.
        item_shape: leading shape of the arrays, (items,) or (shapes, draws); items are numbered in
            row-major order.
        compute: computes the rows of some items.
        what: name of the numbers in messages.
        batch_size: items per call of `compute`; changes speed only.
        settled: further arrays, known in advance, to store in the folder.
        on_items: called after every batch.

    Raises:
        ValueError: if `out` holds other numbers, the unfinished build there is another one, or
            another process is at work on it.
    """
    work = out.with_name(out.name + ".partial")
    if not _is_made(out, wanted, what):
        work.mkdir(parents=True, exist_ok=True)
        with alone_in(work):
            if _is_made(out, wanted, what):  # by another process, since we looked
                work.rmdir()
            else:
                _fill(work, wanted, arrays, item_shape, compute, batch_size, settled, on_items)
                work.rename(out)
    return out


def _is_made(out: Path, wanted: Mapping[str, Any], what: str) -> bool:
    """Whether the folder is complete.

    Raises:
        ValueError: if it holds other numbers.
    """
    if not out.exists():
        return False
    if read_json(out / INDEX_FILE) != wanted:
        raise ValueError(f"{out}: holds {what} of other shapes or of another model")
    return True


def _fill(
    work: Path,
    wanted: Mapping[str, Any],
    arrays: Sequence[StoredArray],
    item_shape: tuple[int, ...],
    compute: ComputeItems,
    batch_size: int,
    settled: Mapping[str, np.ndarray] | None,
    on_items: OnItems | None,
) -> None:
    """Compute what is missing in an unfinished build, and write its index."""
    opened = _open_work(work, wanted, arrays, item_shape)
    marks = opened.pop("done")
    done = marks.reshape(-1)
    flat = {array.name: opened[array.name].reshape(-1, *array.row_shape) for array in arrays}
    waiting = np.flatnonzero(done == 0)
    for first in range(0, len(waiting), batch_size):
        places = waiting[first : first + batch_size]
        for name, rows in compute(places).items():
            flat[name][places] = rows
        for array in opened.values():
            array.flush()
        done[places] = 1
        marks.flush()
        if on_items is not None:
            on_items(int(done.sum()), len(done))
    for name, values in (settled or {}).items():
        write_array_whole(work / f"{name}.npy", values)
    (work / _DONE_FILE).unlink()
    (work / _NOTE_FILE).unlink()
    write_whole(work / INDEX_FILE, json.dumps(wanted, indent=2) + "\n")


def _open_work(
    work: Path,
    wanted: Mapping[str, Any],
    arrays: Sequence[StoredArray],
    item_shape: tuple[int, ...],
) -> dict[str, np.memmap]:
    """The arrays of a new or unfinished build, and `done`."""
    layouts = (*arrays, StoredArray(name=Path(_DONE_FILE).stem, dtype=np.uint8))
    note = work / _NOTE_FILE
    if note.is_file():
        if read_json(note) != wanted:
            raise ValueError(f"{work}: another build stopped here; remove it first")
        return {one.name: np.load(work / f"{one.name}.npy", mmap_mode="r+") for one in layouts}
    opened = {one.name: _new_array(work, one, item_shape) for one in layouts}
    write_whole(note, json.dumps(wanted))
    return opened


def _new_array(work: Path, array: StoredArray, item_shape: tuple[int, ...]) -> np.memmap:
    """Make an array of zeros that has its place on the disk.

    Without that a full disk would end the process when the numbers are written, without a word.

    Raises:
        OSError: naming the file, if there is no room for it.
    """
    path = work / f"{array.name}.npy"
    with naming(path):
        opened = np.lib.format.open_memmap(
            path, mode="w+", dtype=array.dtype, shape=(*item_shape, *array.row_shape)
        )
        if hasattr(os, "posix_fallocate"):
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return opened


def read_index(path: Path, what: str, format_version: int) -> dict[str, Any]:
    """The index of a finished cache.

    Raises:
        FileNotFoundError: if there is no complete cache at `path`; `what` names it in the message.
        ValueError: if it has another format version.
    """
    file = path / INDEX_FILE
    if not file.is_file():
        raise FileNotFoundError(f"expected a complete {what} cache at {path}")
    index = read_versioned(file, format_version, "build it again")
    if not isinstance(index.get("shapes"), str):
        raise ValueError(f"{file}: shapes: expected the fingerprint of the shapes; build it again")
    return index


def read_identity(path: Path, index: Mapping[str, Any], key: str, cls: type[ConfigT]) -> ConfigT:
    """The identity of the model that made a cache.

    Args:
        path: the cache.
        index: its index.
        key: where the index holds it.
        cls: the dataclass of the identity.

    Raises:
        ConfigError: if the index does not hold one.
    """
    values = index.get(key)
    file = path / INDEX_FILE
    if not isinstance(values, dict):
        raise ConfigError(f"{file}: {key}: expected an object, got {str(values)[:40]!r}")
    return from_json(cls, cast("dict[str, Any]", values), origin=f"{file}: {key}")


def open_array(
    path: Path,
    array: StoredArray,
    leading: int,
    *,
    mapped: bool = True,
    advice: str = "build the cache again",
) -> np.ndarray:
    """Open an array of a finished cache.

    Args:
        path: the cache.
        array: its name, number format, and the shape of its rows.
        leading: number of dimensions before those of a row.
        mapped: leave the numbers on disk until they are used.
        advice: ends the messages.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, or of another number format or shape.
    """
    file = path / f"{array.name}.npy"
    if not file.is_file():
        raise FileNotFoundError(f"{file}: is missing; {advice}")
    try:
        opened = map_array(file)
    except ValueError as error:
        raise ValueError(f"{file}: is damaged ({error}); {advice}") from None
    dtype, shape = np.dtype(array.dtype), tuple(opened.shape)
    if (
        opened.dtype != dtype
        or len(shape) != leading + len(array.row_shape)
        or shape[leading:] != array.row_shape
    ):
        sizes = ("*",) * leading + array.row_shape
        raise ValueError(
            f"{file}: holds {opened.dtype} of shape {shape}, expected {dtype} of shape "
            f"({', '.join(map(str, sizes))}); {advice}"
        )
    return opened if mapped else np.array(opened)


ComputeRows = Callable[[Tensor, Tensor], np.ndarray]
"""(points_BN3, normals_BN3) -> one row of the array for each draw."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawsConfig:
    """How many surface points are drawn, and how often."""

    resamplings: int = 4
    """Draws of surface points per shape."""
    num_points: int = 2048
    """Surface points per draw: as many as the tokenizer was trained with."""
    batch_size: int = 32
    """Draws per call of the tokenizer; changes speed only."""
    seed: int = 0
    """Seeds the draws."""


def build_draws_cache(
    compute: ComputeRows,
    made_by: dict[str, Any],
    array: StoredArray,
    shapes: ShapeSet,
    out_dir: str | os.PathLike[str],
    config: DrawsConfig,
    *,
    format_version: int = 1,
    device: torch.device | str = "cpu",
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Compute an array from draws of the surface points of every shape, unless it exists.

    Args:
        compute: the frozen model, in evaluation mode.
        made_by: JSON values that identify the model and its layout; a folder made by another one is
            refused.
        array: the array to compute.
        shapes: the prepared shapes.
        out_dir: the folder to make.
        config: number of draws and points.
        format_version: version written to the index.
        device: device of the points given to `compute`.
        on_progress: called with the draws done so far and their total.

    Raises:
        ValueError: if `out_dir` holds numbers of other shapes or another model.
    """
    draws = to_json(config)
    del draws["batch_size"]

    def rows_of(places: np.ndarray) -> dict[str, np.ndarray]:
        with torch.no_grad():
            points_BN3, normals_BN3 = _draw(shapes, config, places)
            return {array.name: compute(points_BN3.to(device), normals_BN3.to(device))}

    return fill_arrays(
        Path(out_dir),
        {
            "format_version": format_version,
            "shapes": shapes.fingerprint,
            "tokenizer": made_by,
            "draws": draws,
        },
        (array,),
        (len(shapes), config.resamplings),
        rows_of,
        what=array.name,
        batch_size=config.batch_size,
        on_items=on_progress,
    )


def _draw(shapes: ShapeSet, config: DrawsConfig, places: np.ndarray) -> tuple[Tensor, Tensor]:
    draws = [
        shapes.draw_surface(
            int(place) // config.resamplings,
            config.num_points,
            np.random.default_rng((config.seed, 3, int(place))),
        )
        for place in places
    ]
    points_BN3 = torch.from_numpy(np.stack([positions(points) for points, _ in draws]))
    normals_BN3 = torch.from_numpy(np.stack([normals(directions) for _, directions in draws]))
    return points_BN3, normals_BN3
