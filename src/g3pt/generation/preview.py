"""A picture of how shapes were generated: prompt, scales from coarse to fine, mesh."""

import textwrap
from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from g3pt.generation.results import GeneratedShape, GenerationResult
from g3pt.geometry.cameras import canonical_camera, frame_together
from g3pt.geometry.mesh import TriangleMesh
from g3pt.geometry.render import over_white, render, sheet
from g3pt.geometry.repaint import repainted
from g3pt.models.g3t import TokenPyramid

TILE = 224
"""Side of each tile of the sheet, in pixels."""
PREVIEW_RESOLUTION = 64
"""Grid cells per axis for meshes of coarser scales that were not made before."""
MAX_ROWS = 32
"""Shapes on a sheet at most; further ones are left out."""


LONGEST_NAME = 20
"""Longer file names are shortened; a tile has room for about thirty characters."""


MeshOf = Callable[[TokenPyramid, int], TriangleMesh]
"""(tokens, grid cells per axis) -> mesh."""


def preview_sheet(mesh_of: MeshOf, result: GenerationResult) -> UInt8[np.ndarray, "H W 3"]:
    """Draw one row per shape: its prompt, its coarser scales, its mesh."""
    rows, labels = [], []
    for shape in result.shapes[:MAX_ROWS]:
        meshes = [*(shape.scales or _coarser(mesh_of, shape)), shape.mesh]
        counts = np.cumsum(shape.tokens.scale_lengths).tolist()
        rows.append([_prompt_tile(result, shape), *mesh_tiles(meshes)])
        labels.append(
            [_prompt_label(result, shape)]
            + [f"{count} token{'s' if count > 1 else ''}" for count in counts[: len(meshes)]]
        )
    return sheet(rows, labels)


def _coarser(mesh_of: MeshOf, shape: GeneratedShape) -> list[TriangleMesh]:
    scales = range(1, shape.tokens.num_scales)
    made = (mesh_of(shape.tokens.truncate(k), PREVIEW_RESOLUTION) for k in scales)
    return [repainted(mesh, shape.mesh) for mesh in made]


def mesh_tiles(meshes: list[TriangleMesh]) -> list[UInt8[np.ndarray, "H W 3"]]:
    """Pictures of one shape's meshes, all cropped to the same box; an empty mesh becomes a note."""
    nothing = np.zeros((2 * TILE, 2 * TILE, 4), dtype=np.uint8)
    pictures = [
        nothing if mesh.is_empty else render(mesh, canonical_camera(), size=2 * TILE, supersample=1)
        for mesh in meshes
    ]
    return [
        _text_tile("empty") if mesh.is_empty else over_white(picture)
        for mesh, picture in zip(meshes, frame_together(pictures, TILE), strict=True)
    ]


def _prompt_tile(result: GenerationResult, shape: GeneratedShape) -> UInt8[np.ndarray, "H W 3"]:
    if result.prompts.pictures:
        picture = Image.fromarray(result.prompts.pictures[shape.prompt].rgba)
        resized = picture.resize((TILE, TILE), Image.Resampling.BICUBIC)
        return over_white(np.asarray(resized))
    if result.prompts.texts:
        return _text_tile(result.prompts.texts[shape.prompt])
    return _text_tile("no prompt")


def _prompt_label(result: GenerationResult, shape: GeneratedShape) -> str:
    """The seed, and the file name of the picture with its middle left out if it is long."""
    seed = f"seed {shape.seed}"
    if not result.prompts.pictures:
        return seed
    name = result.prompts.pictures[shape.prompt].name
    if len(name) > LONGEST_NAME:
        half = LONGEST_NAME // 2
        name = f"{name[: half - 2]}..{name[-half:]}"
    return f"{name}, {seed}"


def _text_tile(text: str) -> UInt8[np.ndarray, "H W 3"]:
    """Text in the middle of a white tile, wrapped."""
    tile = Image.new("RGB", (TILE, TILE), "white")
    lines = textwrap.wrap(text, width=24, max_lines=9, placeholder=" ...")
    ImageDraw.Draw(tile).multiline_text(
        (TILE / 2, TILE / 2),
        "\n".join(lines),
        fill=(40, 40, 40),
        font=ImageFont.load_default(size=16),
        anchor="mm",
        align="center",
    )
    return np.asarray(tile).copy()
