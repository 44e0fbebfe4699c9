"""`g3pt render`: meshes to a sheet of pictures or a turntable."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from g3pt.cli.options import (
    CommonOptions,
    Inputs,
    Output,
    make_folder_for,
    parse,
    plan_outputs,
    report,
    require_files,
    working,
)
from g3pt.cli.progress import tracked

if TYPE_CHECKING:
    import numpy as np

    from g3pt.geometry.mesh import TriangleMesh

MAX_VIEWS = 360
MAX_SIZE = 2048


@dataclass(frozen=True, kw_only=True, slots=True)
class RenderOptions(CommonOptions):
    """Draw meshes, each in its unit frame: a PNG sheet, or GIF animations with --turntable."""

    mesh: Inputs
    """Mesh files."""

    output: Output
    """OUT.png: one sheet with all meshes. OUT.gif: an animation. A folder: one file per mesh."""

    views: int | None = None
    """Cameras around each mesh, starting at the canonical one (default: 4, or 1 for more than eight
    meshes; 36 for a turntable)."""

    turntable: bool = False
    """Animate one turn as GIF."""

    size: int = 256
    """Side of each picture in pixels."""

    labels: bool = False
    """Write the name of the mesh below its picture. Sheets of several meshes always have names."""

    shadow: bool = False
    """Let parts of the object cast shadows on others."""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    options = parse(RenderOptions, "render", arguments)
    require_files(options.mesh, "mesh")
    views = options.views
    if views is None:
        views = 36 if options.turntable else 4 if len(options.mesh) <= 8 else 1
    if not 1 <= views <= MAX_VIEWS:
        raise ValueError(f"--views must lie in 1..{MAX_VIEWS}, got {views}")
    if not 16 <= options.size <= MAX_SIZE:
        raise ValueError(f"--size must lie in 16..{MAX_SIZE} pixels, got {options.size}")
    one_sheet = options.output.suffix.lower() == ".png" and not options.output.is_dir()
    formats = (".gif",) if options.turntable else (".png",)
    stems = ["sheet"] if one_sheet else [path.stem for path in options.mesh]
    paths = plan_outputs(options.output, stems, formats, folder_suffix=formats[0])
    if options.turntable and options.labels:
        raise ValueError("--labels names the pictures of a PNG; a turntable holds no names")
    meshes = [_read(path) for path in options.mesh]

    from g3pt.geometry.render import save_gif

    with working("rendering"):
        drawn = [_views(mesh, views, options) for mesh in tracked(meshes, "meshes", len(meshes))]
        make_folder_for(paths[0])
        if one_sheet:
            labelled = options.labels or len(options.mesh) > 1
            names = [path.stem for path in options.mesh]
            _save_sheet(paths[0], drawn, names if labelled else None)
        else:
            for mesh, path, pictures in zip(options.mesh, paths, drawn, strict=True):
                if options.turntable:
                    save_gif(path, pictures)
                else:
                    _save_sheet(path, [pictures], [mesh.stem] if options.labels else None)
    outputs: list[dict[str, Any]] = [{"path": str(path), "views": views} for path in paths]
    report(options, {"outputs": outputs}, [str(path) for path in paths])
    return 0


def _read(path: Path) -> "TriangleMesh":
    from g3pt.geometry.mesh import read_mesh, to_unit, unit_frame_of

    mesh = read_mesh(path)
    return to_unit(mesh, unit_frame_of(mesh))


def _views(mesh: "TriangleMesh", num: int, options: RenderOptions) -> "list[np.ndarray]":
    from g3pt.geometry.cameras import frame_together, turntable_cameras
    from g3pt.geometry.render import Scene

    scene = Scene(mesh)
    pictures = [
        scene.render(camera, size=2 * options.size, supersample=1, shadow=options.shadow)
        for camera in turntable_cameras(num)
    ]
    return frame_together(pictures, options.size)


def _save_sheet(path: Path, drawn: "list[list[np.ndarray]]", names: list[str] | None) -> None:
    """One row per mesh; with a single view each, the meshes form a near-square grid instead.

    Without names nothing is written into the picture, so that it can serve as a prompt.
    """
    from g3pt.geometry.render import save_png, sheet

    labels = None
    if names is not None:
        labels = [[name] + [""] * (len(row) - 1) for name, row in zip(names, drawn, strict=True)]
    if len(drawn[0]) == 1:
        width = math.ceil(math.sqrt(len(drawn)))
        starts = range(0, len(drawn), width)
        drawn = [[row[0] for row in drawn[start : start + width]] for start in starts]
        if names is not None:
            labels = [names[start : start + width] for start in starts]
    save_png(path, sheet(drawn, labels))
