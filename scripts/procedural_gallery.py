"""Draw some shapes of every procedural family on one sheet: the picture of docs/data.md.

python scripts/procedural_gallery.py docs/images/procedural_gallery.png
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from g3pt.geometry.cameras import canonical_camera
from g3pt.geometry.render import over_white, render, save_png, sheet
from g3pt.procedural import FAMILIES, make_shape

PER_FAMILY = 3
RESOLUTION = 112
"""Cells per axis of the meshes."""


def main() -> None:
    """Draw the sheet."""
    arguments = parse()
    draw_gallery(arguments.out, arguments.families, columns=arguments.columns, size=arguments.size)


def draw_gallery(path: Path, families: Sequence[str], *, columns: int, size: int) -> None:
    """Write one sheet with `PER_FAMILY` shapes of each family, `columns` families to a row."""
    seeds = range(PER_FAMILY)
    cells = [family_pictures(name, seeds, size) for name in families]
    rows: list[list[UInt8[np.ndarray, "S S 3"]]] = []
    labels: list[list[str]] = []
    for start in range(0, len(cells), columns):
        group = slice(start, start + columns)
        rows.append([picture for cell in cells[group] for picture in cell])
        labels.append(
            [text for name in families[group] for text in (name, *[""] * (PER_FAMILY - 1))]
        )
    save_png(path, sheet(rows, labels=labels))


def family_pictures(family: str, seeds: Sequence[int], size: int) -> list[np.ndarray]:
    """One shape of a family per seed from the canonical view, on white."""
    camera = canonical_camera()
    return [
        over_white(render(make_shape(seed, family).mesh(RESOLUTION), camera, size=size))
        for seed in seeds
    ]


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, help="PNG file")
    parser.add_argument("--families", nargs="+", default=FAMILIES, help="by default all")
    parser.add_argument("--columns", type=int, default=5, help="families in a row")
    parser.add_argument("--size", type=int, default=88, help="side of a picture in pixels")
    return parser.parse_args()


if __name__ == "__main__":
    main()
