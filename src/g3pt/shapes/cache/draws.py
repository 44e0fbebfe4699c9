"""Arrays computed once from draws of the surface points of prepared shapes (`arrays.py`).

index.json    which shapes, what made the numbers, how the points were drawn
NAME.npy      (shapes, R, ...): R draws of the surface points of each shape
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from g3pt.config import to_json
from g3pt.shapes.cache.arrays import StoredArray, fill_arrays
from g3pt.shapes.shape_set import ShapeSet
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
