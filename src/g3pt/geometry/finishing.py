"""`Finishing`: how a mesh leaves g3pt, and what its file then holds.

Size, up axis, origin, solidity, number of faces and texture, for the command line and for served
jobs. Both read these settings before any work, so what does the work is imported where it is done.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from g3pt.arguments import PromptError

if TYPE_CHECKING:
    from g3pt.geometry.placement import Move, Placement
    from g3pt.geometry.texture import Texture, TexturedMesh
    from g3pt.geometry.triangles import TriangleMesh


@dataclass(frozen=True, kw_only=True, slots=True)
class Finishing:
    """Size, up axis, origin and solidity of what is written; None leaves it to the format."""

    size_mm: float | None = None
    """Size in millimetres (default: 100 in .stl and .3mf; other formats keep the unit frame). GLB
    and USDZ are in metres, so 120 gives .12 there."""

    axis: Literal["longest", "width", "height", "depth"] | None = None
    """The side that the size measures (default: longest)."""

    up: Literal["y", "z"] | None = None
    """Axis that points up (default: z in .stl and .3mf, else y). GLB and USDZ are always Y up."""

    origin: Literal["center", "base"] | None = None
    """What lies at the origin: the centre of the bounding box, or the middle of its lowest side
    (default: base in .stl and .3mf, else center)."""

    printable: bool = False
    """Make one closed solid: loose parts are joined if they are within a wall's thickness, or else
    dropped, and thin walls are reported."""

    min_wall_mm: float = 0.8
    """Walls of a printable solid that are thinner than this are reported."""

    thicken: bool = False
    """Make walls of a printable solid at least so thick."""

    faces: int | None = None
    """Largest number of faces; more are kept, and it is said, if fewer would open the surface."""

    compress: Literal["draco"] | None = None
    """Compress .glb: Draco rounds positions to 1/16384 of the longest side."""

    texture: int | None = None
    """Side in pixels of a texture in place of vertex colours, 1024 for instance, in .glb, .gltf,
    .obj and .usdz. Meshes of few faces (20000) are unwrapped faster."""

    def spelled(self, name: str) -> str:
        """How errors call a setting: by its name, or as it was given."""
        return name

    def check(
        self,
        suffixes: Sequence[str],
        *,
        has_place: bool = False,
        unit_frame: bool = False,
        levels: bool = False,
        colored: bool = False,
    ) -> None:
        """Refuse what a format cannot carry, before any work.

        Args:
            suffixes: of the files that the meshes will be written to, lower case.
            has_place: the meshes are known to have a place and scale of their own.
            unit_frame: the unit frame was asked for.
            levels: levels of detail were asked for.
            colored: the meshes may get colours.

        Raises:
            ValueError: if settings and formats do not fit; the message names the setting.
        """
        from g3pt.geometry.mesh import check_compression
        from g3pt.geometry.texture import check_texture

        said = self.spelled
        told = (self.size_mm, self.up, self.origin) != (None, None, None)
        if unit_frame and (told or self.printable):
            raise ValueError(
                f"{said('unit_frame')} keeps size, axes and origin of the unit frame: leave it "
                f"out, or leave out {said('size_mm')}, {said('up')}, {said('origin')} and "
                f"{said('printable')}"
            )
        if levels and self.texture is not None:
            raise ValueError(
                f"{said('texture')} belongs to one mesh, {said('lod')} writes several: leave one "
                "out"
            )
        if self.texture is not None and not colored:
            raise ValueError(
                f"{said('texture')} shows the colours of {said('image')} or {said('text')}, and "
                "these meshes get none: leave it out"
            )
        if levels and self.compress is not None:
            raise ValueError(
                f"{said('compress')} writes one mesh, {said('lod')} several: leave one out"
            )
        if levels and (self.printable or self.faces is not None):
            raise ValueError(
                f"{said('printable')} and {said('faces')} finish one mesh, {said('lod')} makes "
                f"several: leave it out, or give {said('lod_faces')}"
            )
        if self.faces is not None and self.faces < 4:
            raise ValueError(f"{said('faces')} must be at least 4, got {self.faces}")
        if self.thicken and not self.printable:
            raise ValueError(
                f"{said('thicken')} is about walls of a printable solid: give {said('printable')}"
            )
        if not self.min_wall_mm > 0:
            raise ValueError(f"{said('min_wall_mm')} must be above 0, got {self.min_wall_mm:g}")
        for suffix in suffixes:
            with self.spelling():
                check_compression(suffix, self.compress)
                check_texture(suffix, self.texture)
            place = self.placement(suffix, has_place=has_place)
            if self.printable and (place is None or place.size_mm is None):
                raise ValueError(
                    f"{said('printable')} measures walls in millimetres, which these meshes have "
                    f"only with a size: give {said('size_mm')}"
                )

    def placement(self, suffix: str, *, has_place: bool) -> "Placement | None":
        """The placement in a file, or None if numbers are written as they are.

        Args:
            suffix: of the file, lower case.
            has_place: the mesh has a place and scale of its own, which is kept if nothing is told.

        Raises:
            ValueError: if settings and format do not fit; the message names the setting.
        """
        from g3pt.geometry.placement import placement_in

        with self.spelling():
            return placement_in(
                suffix,
                size_mm=self.size_mm,
                axis=self.axis,
                up=self.up,
                origin=self.origin,
                has_place=has_place,
            )

    @contextmanager
    def spelling(self) -> Generator[None, None, None]:
        """Spell the setting that an error of the block begins with: wrong input."""
        from g3pt.geometry.triangles import MeshError

        try:
            yield
        except MeshError:
            raise
        except ValueError as error:
            name, _, rule = str(error).partition(" ")
            raise PromptError(f"{self.spelled(name)} {rule}") from None


@dataclass(frozen=True, eq=False)
class Finish:
    """How the meshes of one shape come to their place in files of one format."""

    put: "Callable[[TriangleMesh], TriangleMesh]"
    """Moves a mesh to its place in the file."""
    said: dict[str, Any]
    """What the numbers of the file mean: `unit`, `up`, and `size_mm`, the sides of the bounding
    box along x, y and z of the file, or None if the unit is no length; and what was done."""
    mesh: "TriangleMesh"
    """The finest mesh, finished, with the numbers of the file."""
    compress: Literal["draco"] | None
    """How its file is compressed."""
    texture: "Texture | None" = None
    """Texture of the finest mesh, which then has no vertex colours."""


def finish_of(
    meshes: "Sequence[TriangleMesh]",
    path: Path,
    finishing: Finishing,
    *,
    own_unit: str | None = None,
    bake: "Callable[[TriangleMesh], TexturedMesh] | None" = None,
) -> Finish:
    """Find how a shape comes to its place in a file.

    Args:
        meshes: the shape and coarser versions of it, finest first; the first that is not empty
            decides, so that all lie at the same place.
        path: the file.
        finishing: how it is to leave.
        own_unit: name of the unit of a mesh that has a place and scale of its own.
        bake: gives a texture to the shape, or to a version of it with other faces in the same
            frame; None if it has no colours.
    """
    from g3pt.geometry.placement import in_unit, unit_in
    from g3pt.geometry.triangles import without_collapsed_faces

    place = finishing.placement(path.suffix.lower(), has_place=own_unit is not None)
    mesh = next((one for one in meshes if not one.is_empty), meshes[0])
    said: dict[str, Any] = {"unit": own_unit or "unit-frame", "up": "y", "size_mm": None}
    if finishing.printable and (place is None or place.size_mm is None):
        raise PromptError(
            f"{finishing.spelled('printable')} measures walls in millimetres, and {path.name} "
            f"keeps the scale of its source: give {finishing.spelled('size_mm')}"
        )
    if mesh.is_empty:
        return Finish(lambda one: one, said, mesh, None)
    moves: Sequence[Move] = ()
    if finishing.printable and place is not None:
        placed, moves, done = _printable(mesh, place, finishing)
        said |= done
    else:
        placed, done = _reduced(mesh, finishing)
        said |= done
        moves = (place.move_of(placed),) if place else ()
        for move in moves:
            placed = move.apply(placed)
    if finishing.compress == "draco":
        placed = without_collapsed_faces(placed)  # as the encoder does, for their number
    texture = None
    if finishing.texture is not None:
        said["texture"] = None if bake is None else finishing.texture
        if bake is not None:
            texture = bake(_moved_back(placed, moves)).texture
            placed = replace(placed, colors=None)
    if place is None:
        return Finish(lambda one: one, said, placed, finishing.compress, texture)
    said["up"] = place.up
    move = place.move_of(mesh)
    if place.size_mm is None:
        return Finish(move.apply, said, placed, finishing.compress, texture)
    unit = unit_in(path.suffix.lower())
    lowest, highest = placed.bounds()
    said |= {"unit": unit, "size_mm": (highest - lowest).round(4).tolist()}

    def put(one: "TriangleMesh") -> "TriangleMesh":
        return in_unit(move.apply(one), unit)

    return Finish(put, said, in_unit(placed, unit), finishing.compress, texture)


def _moved_back(mesh: "TriangleMesh", moves: "Sequence[Move]") -> "TriangleMesh":
    for move in reversed(moves):
        mesh = move.undo(mesh)
    return mesh


def _reduced(mesh: "TriangleMesh", finishing: Finishing) -> "tuple[TriangleMesh, dict[str, Any]]":
    """Keep the face budget, if there is one, and say so if it was not."""
    from g3pt.geometry.lod import reduce_faces

    if finishing.faces is None:
        return mesh, {}
    reduction = reduce_faces(mesh, finishing.faces)
    return reduction.mesh, {"note": reduction.note} if reduction.note else {}


def _printable(
    mesh: "TriangleMesh", place: "Placement", finishing: Finishing
) -> "tuple[TriangleMesh, Sequence[Move], dict[str, Any]]":
    """Make one solid, tell what moved it to its place, and describe it."""
    from g3pt.geometry.printable import make_printable

    with finishing.spelling():
        made = make_printable(
            mesh,
            place,
            min_wall_mm=finishing.min_wall_mm,
            thicken=finishing.thicken,
            num_faces=finishing.faces,
        )
    solid = {
        **asdict(made.repair),
        "manifold": made.manifold,
        "volume_cm3": round(made.volume_cm3, 4),
        "area_cm2": round(made.area_cm2, 4),
        "walls": asdict(made.walls),
        "walls_before": asdict(made.walls_before) if made.walls_before else None,
    }
    said = {"printable": solid, **({"note": made.note} if made.note else {})}
    return made.mesh, made.moves, said
