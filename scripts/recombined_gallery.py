"""Draw recombined shapes on a sheet: the picture of docs/training.md.

python scripts/recombined_gallery.py cache/meshes-train.safetensors docs/images/recombined.png
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from g3pt.geometry.render import over_white, save_png, sheet
from g3pt.procedural import CUT_ASSEMBLY
from g3pt.shapes.mesh_stock import MeshStock
from g3pt.stream.cameras import canonical_cameras
from g3pt.stream.drawing import draw
from g3pt.stream.recombination import RecombinationConfig, Recombiner
from g3pt.stream.recombined import RecombinedBatch
from g3pt.stream.warps import WarpConfig


def main() -> None:
    """Draw the sheet."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("stock", help="file of meshes (g3pt prepare --stock)")
    parser.add_argument("out", type=Path, help="PNG file")
    parser.add_argument("--num", type=int, default=36, help="number of shapes")
    parser.add_argument("--columns", type=int, default=12, help="shapes in a row")
    parser.add_argument("--size", type=int, default=88, help="side of a picture in pixels")
    arguments = parser.parse_args()
    stock = MeshStock.read(arguments.stock)
    config = RecombinationConfig()
    recombiner = Recombiner(config, stock, WarpConfig(), assembly=CUT_ASSEMBLY)
    shapes = [recombiner.make(np.random.default_rng(seed)) for seed in range(arguments.num)]
    device = torch.device("cpu")
    batch = RecombinedBatch(shapes, device, cast_by="embree", backend="torch")
    cameras = canonical_cameras(len(shapes), device)
    pictures_BSS4 = draw(batch, torch.arange(len(shapes)), cameras, arguments.size).numpy()
    cells = [over_white(picture) for picture in pictures_BSS4]
    starts = range(0, len(cells), arguments.columns)
    save_png(arguments.out, sheet([cells[at : at + arguments.columns] for at in starts]))


if __name__ == "__main__":
    main()
