"""Flags and files of levels of detail (LOD), for the commands that make meshes from tokens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from g3pt.cli.finish import FinishFlags
from g3pt.cli.options import make_folder_for

if TYPE_CHECKING:
    from g3pt.generation.pipeline import G3PT
    from g3pt.generation.results import Reconstruction
    from g3pt.geometry.lod import Level
    from g3pt.geometry.mesh import TriangleMesh

DEFAULT_LEVELS = 5
MAX_LEVELS = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class LodFlags:
    """Flags for levels of detail."""

    lod: bool = False
    """Write several levels of detail into one GLB (MSFT_lod), each with its distance to the
    finest."""

    lod_from: Literal["finest", "scales"] = "finest"
    """What coarser levels are made from: the finest mesh with fewer faces, or the meshes of the
    first scales."""

    lod_faces: tuple[int, ...] = ()
    """Largest number of faces of each level, finest first (default: a quarter of the level before;
    five levels of the finest mesh, or one per scale)."""

    lod_files: bool = False
    """Write one file per level instead, as NAME-lod0.glb and so on."""

    @property
    def needs_scales(self) -> bool:
        """Whether levels are made from the meshes of the first scales."""
        return self.lod and self.lod_from == "scales"

    def check(self, paths: Sequence[Path], num_scales: int) -> None:
        """Refuse flags that do not fit together.

        Args:
            paths: files that the meshes will be written to.
            num_scales: number of scales of the shapes.

        Raises:
            ValueError: if they do not fit; the message names the flag.
        """
        if not self.lod:
            if self.lod_faces or self.lod_files:
                raise ValueError("--lod-faces and --lod-files are about levels: give --lod as well")
            return
        others = sorted({path.suffix for path in paths if path.suffix.lower() != ".glb"})
        if others and not self.lod_files:
            raise ValueError(
                f"--lod: {others[0]} holds a single level; write to .glb or add --lod-files"
            )
        falling = all(a >= b for a, b in zip(self.lod_faces, self.lod_faces[1:], strict=False))
        if self.lod_faces and (min(self.lod_faces) < 4 or not falling):
            raise ValueError(
                f"--lod-faces needs counts from 4 up, largest first, got {self.lod_faces}"
            )
        limit = num_scales if self.lod_from == "scales" else MAX_LEVELS
        if len(self.lod_faces) > limit:
            raise ValueError(
                f"--lod-faces: {limit} levels can be made from {self.lod_from}, got "
                f"{len(self.lod_faces)}"
            )


def make_chain(
    flags: LodFlags, finest: "TriangleMesh", coarser: "Sequence[TriangleMesh]", *, seed: int
) -> "tuple[Level, ...]":
    """Make the levels of one shape, in the unit frame.

    Args:
        flags: the requested levels.
        finest: the mesh of all scales, not empty.
        coarser: meshes of the first scales, coarsest first; used if levels are made from them.
        seed: seed of the points at which errors are measured.
    """
    from g3pt.geometry.lod import face_budgets, make_levels

    if flags.lod_from == "scales":
        meshes = [finest, *reversed(coarser)]
        meshes = meshes[: len(flags.lod_faces) or None]
    else:
        meshes = [finest] * (len(flags.lod_faces) or DEFAULT_LEVELS)
    budgets = flags.lod_faces or face_budgets(len(finest.faces), len(meshes))
    return make_levels(meshes, budgets, seed=seed)


def write_chain(
    flags: LodFlags,
    levels: "Sequence[Level]",
    path: Path,
    put: "Callable[[TriangleMesh], TriangleMesh]",
) -> dict[str, Any]:
    """Write levels to one file or several, and describe them; errors are in unit-frame lengths.

    Args:
        flags: say whether to write one file or several.
        levels: finest first, in the unit frame.
        path: the file; names of several files are made from its name.
        put: moves each level from the unit frame to its place in the file.
    """
    from dataclasses import replace

    from g3pt.files import write_whole
    from g3pt.geometry.lod import encode_levels
    from g3pt.geometry.mesh import is_closed, num_components, tell_rounding, write_mesh

    placed = [replace(level, mesh=put(level.mesh)) for level in levels]
    make_folder_for(path)
    paths = [path] * len(placed)
    if flags.lod_files:
        paths = [path.with_name(f"{path.stem}-lod{n}{path.suffix}") for n in range(len(placed))]
        for file, level in zip(paths, placed, strict=True):
            write_mesh(file, level.mesh)
    else:
        tell_rounding(path, placed[0].mesh)
        write_whole(path, encode_levels(placed))
    finest = levels[0].mesh
    return {
        "path": str(paths[0]),
        "vertices": len(finest.vertices),
        "faces": len(finest.faces),
        "closed": is_closed(finest),
        "components": num_components(finest),
        "lods": [
            {
                "path": str(file),
                "faces": len(level.mesh.faces),
                "error_mean": level.error_mean,
                "error_max": level.error_max,
                "coverage": level.coverage,
            }
            for file, level in zip(paths, levels, strict=True)
        ],
    }


def write_reconstruction(
    pipeline: "G3PT",
    result: "Reconstruction",
    path: Path,
    flags: LodFlags,
    finish_flags: FinishFlags,
    *,
    resolution: int,
    unit_frame: bool,
    seed: int,
) -> dict[str, Any]:
    """Write a reconstruction in its place, at several levels of detail if the flags say so.

    Returns:
        The path of the file, None if the mesh is empty, what its numbers mean, and the levels if
        there are any.
    """
    from g3pt.generation.meshing import coarser_meshes
    from g3pt.generation.writing import own_unit, write_one
    from g3pt.geometry.finishing import finish_of
    from g3pt.geometry.mesh import to_source

    if result.unit_mesh.is_empty:
        return {"path": None}
    mesh = result.unit_mesh if unit_frame else result.mesh
    unit = own_unit(result.frame, unit_frame=unit_frame)
    finish = finish_of([mesh], path, finish_flags, own_unit=unit)
    if not flags.lod:
        return {**write_one(finish.mesh, path, compress=finish.compress), **finish.said}
    coarser: tuple[TriangleMesh, ...] = ()
    if flags.needs_scales:
        coarser = coarser_meshes(pipeline.tokenizer, result.tokens, resolution=resolution)
    levels = make_chain(flags, result.unit_mesh, coarser, seed=seed)

    def put(level: "TriangleMesh") -> "TriangleMesh":
        return finish.put(level if unit_frame else to_source(level, result.frame))

    written = write_chain(flags, levels, path, put)
    return {"path": written["path"], "lods": written["lods"], **finish.said}
