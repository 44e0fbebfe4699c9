"""Arrays computed once from draws of the surface points of prepared shapes.

    index.json    which shapes, what made the numbers, how the points were drawn
    NAME.npy      (shapes, R, ...): R draws of the surface points of each shape

The folder appears when it is complete, and a stopped build goes on from `<folder>.partial`.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from g3pt.config import to_json
from g3pt.files import write_whole
from g3pt.shapes.packs import PackedShapes
from g3pt.shapes.shards import ShardSet
from g3pt.shapes.stored import normals, positions

ComputeRows = Callable[[Tensor, Tensor], np.ndarray]
"""(points_BN3, normals_BN3) -> one row of the array for each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawsConfig:
    """How surface points are drawn, and how often."""

    resamplings: int = 4
    """Draws of surface points a shape."""
    num_points: int = 2048
    """Surface points a draw; what the tokenizer was trained with."""
    batch_size: int = 32
    """Draws a call of the tokenizer; changes speed only."""
    seed: int = 0
    """Seeds the draws."""


@dataclass(frozen=True, kw_only=True)
class StoredArray:
    """The array that a cache consists of."""

    name: str
    """Of its file, without the ending."""
    dtype: type[np.generic]
    row_shape: tuple[int, ...]
    """Of one draw."""


def build_draws_cache(
    compute: ComputeRows,
    made_by: dict[str, Any],
    array: StoredArray,
    shapes: ShardSet | PackedShapes,
    out_dir: str | os.PathLike[str],
    config: DrawsConfig,
    *,
    format_version: int = 1,
    device: torch.device | str = "cpu",
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Fill the array for every shape, unless that has been done.

    Args:
        compute: the frozen model, in evaluation mode.
        made_by: JSON values that name the model and its layout; a folder of another one is
            refused.
        array: what is stored.
        shapes: the prepared shapes.
        out_dir: the folder to make.
        config: draws per shape.
        format_version: goes into the index.
        device: where `compute` wants its points.
        on_progress: called with the draws done so far and their total.

    Raises:
        ValueError: if `out_dir` holds numbers of other shapes or another model.
    """
    out = Path(out_dir)
    draws = to_json(config)
    del draws["batch_size"]
    wanted = {"format_version": format_version, "shapes": shapes.fingerprint}
    wanted |= {"tokenizer": made_by, "draws": draws}
    if out.exists():
        if json.loads((out / "index.json").read_text(encoding="utf-8")) != wanted:
            raise ValueError(f"{out}: holds {array.name} of other shapes or of another tokenizer")
        return out
    work = out.with_name(out.name + ".partial")
    rows, done = _open_work(work, wanted, array, (len(shapes), config.resamplings))
    flat_rows, flat_done = rows.reshape(-1, *array.row_shape), done.reshape(-1)
    waiting = np.flatnonzero(flat_done == 0)
    for first in range(0, len(waiting), config.batch_size):
        places = waiting[first : first + config.batch_size]
        with torch.no_grad():
            points_BN3, normals_BN3 = _draw(shapes, config, places)
            flat_rows[places] = compute(points_BN3.to(device), normals_BN3.to(device))
        rows.flush()
        flat_done[places] = 1
        done.flush()
        if on_progress is not None:
            on_progress(int(flat_done.sum()), len(flat_done))
    (work / "done.npy").unlink()
    (work / "wanted.json").unlink()
    write_whole(work / "index.json", json.dumps(wanted, indent=2) + "\n")
    work.rename(out)
    return out


def read_index(path: Path, what: str, format_version: int) -> dict[str, Any]:
    """The index of a finished cache.

    Raises:
        FileNotFoundError: if there is no complete one at `path`; `what` says of what.
        ValueError: if it has another format version.
    """
    file = path / "index.json"
    if not file.is_file():
        raise FileNotFoundError(f"expected a complete {what} cache at {path}")
    index: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if index["format_version"] != format_version:
        raise ValueError(f"{file}: format version {index['format_version']}; build it again")
    return index


def _open_work(
    work: Path, wanted: dict[str, Any], array: StoredArray, sizes: tuple[int, int]
) -> tuple[np.memmap, np.memmap]:
    note, file = work / "wanted.json", work / f"{array.name}.npy"
    if note.is_file():
        if json.loads(note.read_text(encoding="utf-8")) != wanted:
            raise ValueError(f"{work}: another build stopped here; remove it first")
        return np.load(file, mmap_mode="r+"), np.load(work / "done.npy", mmap_mode="r+")
    work.mkdir(parents=True, exist_ok=True)
    create = np.lib.format.open_memmap
    rows = create(file, mode="w+", dtype=array.dtype, shape=(*sizes, *array.row_shape))
    done = create(work / "done.npy", mode="w+", dtype=np.uint8, shape=sizes)
    write_whole(note, json.dumps(wanted))
    return rows, done


def _draw(
    shapes: ShardSet | PackedShapes, config: DrawsConfig, places: np.ndarray
) -> tuple[Tensor, Tensor]:
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
