"""Sheet of pictures with the shapes that weights make of them, to be judged by eye.

    python scripts/picture_sheet.py PICTURES... --answers default consensus=1 --out sheet.png

Every picture has a row of tiles: the framed picture with its background removed, and one mesh for
each kind of answer. `default` leaves everything to the weights; `NAME=VALUE` sets a field of
`Sampling`. Refused pictures are named.
"""

import argparse
import ast
import json
import textwrap
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from g3pt import G3PT
from g3pt.generation.pixels import PictureError
from g3pt.geometry.cameras import canonical_camera
from g3pt.geometry.render import over_white, render

GAP = 4


def main() -> None:
    """Make every shape and write the sheet and a JSON list beside it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("--answers", nargs="+", default=["default"])
    parser.add_argument("--weights", default="g3pt-small")
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--tile", type=int, default=128)
    parser.add_argument("--columns", type=int, default=4, help="pictures in a row of the sheet")
    parser.add_argument("--out", type=Path, required=True)
    told = parser.parse_args()
    pipeline = G3PT.from_pretrained(told.weights)
    rows: list[list[Image.Image]] = []
    entries: list[dict[str, object]] = []
    for path in told.pictures:
        tiles, entry = one_row(pipeline, path, told)
        rows.append(tiles)
        entries.append(entry)
        print(json.dumps(entry), flush=True)
    told.out.parent.mkdir(parents=True, exist_ok=True)
    joined(rows, told.columns, told.tile).save(told.out, optimize=True)
    told.out.with_suffix(".json").write_text(json.dumps(entries, indent=1) + "\n")


def one_row(
    pipeline: G3PT, path: Path, told: argparse.Namespace
) -> tuple[list[Image.Image], dict[str, object]]:
    """The tiles of a picture, and what is known about its answers."""
    entry: dict[str, object] = {"picture": path.name}
    try:
        prompts = pipeline.read_prompts(image=path)
    except PictureError as error:
        entry["refused"] = str(error)
        note = words(f"{path.stem}: {error}", told.tile)
        return [note, *(words("", told.tile) for _ in told.answers)], entry
    tiles = [Image.fromarray(over_white(prompts.pictures[0].rgba))]
    for answer in told.answers:
        settings = {} if answer == "default" else dict([setting(answer)])
        (shape,) = pipeline.generate(prompts=prompts, resolution=told.resolution, **settings).shapes
        entry[answer] = {"guess": shape.guessed, "spread": shape.spread}
        if shape.mesh.is_empty:
            tiles.append(words("empty", told.tile))
            continue
        drawn = render(shape.mesh, canonical_camera(), size=told.tile, supersample=2)
        tiles.append(Image.fromarray(over_white(drawn)))
    return [tile.resize((told.tile, told.tile)) for tile in tiles], entry


def setting(text: str) -> tuple[str, object]:
    """Name and value of `NAME=VALUE`."""
    name, _, value = text.partition("=")
    return name, ast.literal_eval(value)


def words(text: str, side: int) -> Image.Image:
    """A tile with text."""
    tile = Image.new("RGB", (side, side), "white")
    ImageDraw.Draw(tile).text((4, 4), "\n".join(textwrap.wrap(text, side // 7)), fill="black")
    return tile


def joined(rows: list[list[Image.Image]], columns: int, side: int) -> Image.Image:
    """All rows, `columns` of them next to each other."""
    width = len(rows[0]) * side + GAP
    lines = -(-len(rows) // columns)
    sheet = np.full((lines * (side + GAP), columns * width, 3), 200, np.uint8)
    for number, tiles in enumerate(rows):
        top, left = number // columns * (side + GAP), number % columns * width
        for place, tile in enumerate(tiles):
            start = left + place * side
            sheet[top : top + side, start : start + side] = np.asarray(tile)
    return Image.fromarray(sheet)


if __name__ == "__main__":
    main()
