"""A picture of every family, for the documentation and for looking at what was changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from g3pt.geometry.cameras import canonical_camera
from g3pt.geometry.render import over_white, render, save_png, sheet
from g3pt.procedural.shape import FAMILIES, make_shape


def family_pictures(
    family: str, seeds: Sequence[int], *, size: int = 96, resolution: int = 96
) -> list[NDArray[np.uint8]]:
    """Render one shape of a family per seed from the canonical view, on white."""
    camera = canonical_camera()
    return [
        over_white(render(make_shape(seed, family).mesh(resolution), camera, size=size))
        for seed in seeds
    ]


def draw_gallery(
    path: str | Path,
    *,
    families: Sequence[str] = FAMILIES,
    per_family: int = 3,
    columns: int = 5,
    size: int = 88,
    resolution: int = 112,
    first_seed: int = 0,
) -> None:
    """Write one sheet with `per_family` shapes of each family, several families to a row."""
    seeds = range(first_seed, first_seed + per_family)
    cells = [family_pictures(name, seeds, size=size, resolution=resolution) for name in families]
    rows: list[list[NDArray[np.uint8]]] = []
    labels: list[list[str]] = []
    for start in range(0, len(cells), columns):
        group = slice(start, start + columns)
        rows.append([picture for cell in cells[group] for picture in cell])
        labels.append(
            [text for name in families[group] for text in (name, *[""] * (per_family - 1))]
        )
    blank = np.full((size, size, 3), 255, np.uint8)
    missing = len(rows[0]) - len(rows[-1])
    rows[-1] += [blank] * missing
    labels[-1] += [""] * missing
    save_png(path, sheet(rows, labels=labels))
