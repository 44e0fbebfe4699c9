"""Flags of how a mesh leaves g3pt, and what its file then holds."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from g3pt.arguments import PromptError

if TYPE_CHECKING:
    from g3pt.geometry.mesh import TriangleMesh, UnitFrame
    from g3pt.geometry.placement import Move, Placement
    from g3pt.geometry.texture import Texture, TexturedMesh
    from g3pt.models.g3t import TokenFrame


@dataclass(frozen=True, kw_only=True, slots=True)
class FinishFlags:
    """Flags for size, up axis, origin and solidity of what is written."""

    size_mm: float | None = None
    """Size in millimetres (default: 100 in .stl and .3mf; other formats keep the unit frame). GLB
    and USDZ are in metres, so 120 gives .12 there."""

    axis: Literal["longest", "width", "height", "depth"] | None = None
    """The side that --size-mm measures (default: longest)."""

    up: Literal["y", "z"] | None = None
    """Axis that points up (default: z in .stl and .3mf, else y). GLB and USDZ are always Y up."""

    origin: Literal["center", "base"] | None = None
    """What lies at the origin: the centre of the bounding box, or the middle of its lowest side
    (default: base in .stl and .3mf, else center)."""

    printable: bool = False
    """Make one closed solid: loose parts are joined if they are within a wall's thickness, or else
    dropped, and thin walls are reported."""

    min_wall_mm: float = 0.8
    """Walls thinner than this are reported (with --printable)."""

    thicken: bool = False
    """Make thin walls as thick as --min-wall-mm (with --printable)."""

    faces: int | None = None
    """Largest number of faces; more are kept, and it is said, if fewer would open the surface."""

    compress: Literal["draco"] | None = None
    """Compress .glb: Draco rounds positions to 1/16384 of the longest side."""

    texture: int | None = None
    """Side in pixels of a texture in place of vertex colours, 1024 for instance, in .glb, .gltf,
    .obj and .usdz. Meshes of few faces (--faces 20000) are unwrapped faster."""

    def check(
        self,
        paths: Sequence[Path],
        *,
        has_place: bool = False,
        unit_frame: bool = False,
        levels: bool = False,
        colored: bool = False,
    ) -> None:
        """Refuse what a format cannot carry, before any work.

        Args:
            paths: files that the meshes will be written to.
            has_place: the meshes are known to have a place and scale of their own.
            unit_frame: the unit frame was asked for.
            levels: levels of detail were asked for.
            colored: the meshes may get colours.

        Raises:
            ValueError: if flags and formats do not fit; the message names the flag.
        """
        told = (self.size_mm, self.up, self.origin) != (None, None, None)
        if unit_frame and (told or self.printable):
            raise ValueError(
                "--unit-frame keeps size, axes and origin of the unit frame: leave it out, or "
                "leave out --size-mm, --up, --origin and --printable"
            )
        from g3pt.geometry.mesh import check_compression
        from g3pt.geometry.texture import check_texture

        if levels and self.texture is not None:
            raise ValueError("--texture belongs to one mesh, --lod writes several: leave one out")
        if self.texture is not None and not colored:
            raise ValueError(
                "--texture shows the colours of --image or --text, and these meshes get none: "
                "leave it out"
            )
        if levels and self.compress is not None:
            raise ValueError("--compress writes one mesh, --lod several: leave one out")
        if levels and (self.printable or self.faces is not None):
            raise ValueError(
                "--printable and --faces finish one mesh, --lod makes several: leave it out, or "
                "give --lod-faces"
            )
        if self.faces is not None and self.faces < 4:
            raise ValueError(f"--faces must be at least 4, got {self.faces}")
        if self.thicken and not self.printable:
            raise ValueError("--thicken is about walls of a printable solid: give --printable")
        if not self.min_wall_mm > 0:
            raise ValueError(f"--min-wall-mm must be above 0, got {self.min_wall_mm:g}")
        for path in paths:
            with _flags_named():
                check_compression(path.suffix.lower(), self.compress)
                check_texture(path.suffix.lower(), self.texture)
            place = self.placement(path, has_place=has_place)
            if self.printable and (place is None or place.size_mm is None):
                raise ValueError(
                    "--printable measures walls in millimetres, which these meshes have only with "
                    "a size: give --size-mm"
                )

    def placement(self, path: Path, *, has_place: bool) -> "Placement | None":
        """The placement in a file, or None if numbers are written as they are.

        Args:
            path: the file.
            has_place: the mesh has a place and scale of its own, which is kept if nothing is told.

        Raises:
            ValueError: if flags and format do not fit; the message names the flag.
        """
        from g3pt.geometry.placement import placement_in

        with _flags_named():
            return placement_in(
                path.suffix.lower(),
                size_mm=self.size_mm,
                axis=self.axis,
                up=self.up,
                origin=self.origin,
                has_place=has_place,
            )


@contextmanager
def _flags_named() -> Iterator[None]:
    """Turn the value that an error begins with into the name of its flag: wrong input."""
    from g3pt.geometry.triangles import MeshError

    try:
        yield
    except MeshError:
        raise
    except ValueError as error:
        name, _, rule = str(error).partition(" ")
        raise PromptError(f"--{name.replace('_', '-')} {rule}") from None


def own_unit(frame: "TokenFrame | UnitFrame", *, unit_frame: bool) -> str | None:
    """Name the unit of a shape that has a place and scale of its own, or None if it has none.

    A mesh that was read has one, and the unit frame is one if it was asked for. The tokens of a
    generated shape have none: such a shape may be placed as its format expects.
    """
    if unit_frame:
        return "unit-frame"
    return "source" if (frame.scale, *frame.offset) != (1.0, 0.0, 0.0, 0.0) else None


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
    flags: FinishFlags,
    *,
    own_unit: str | None = None,
    bake: "Callable[[TriangleMesh], TexturedMesh] | None" = None,
) -> Finish:
    """Find how a shape comes to its place in a file.

    Args:
        meshes: the shape and coarser versions of it, finest first; the first that is not empty
            decides, so that all lie at the same place.
        path: the file.
        flags: how it is to leave.
        own_unit: name of the unit of a mesh that has a place and scale of its own.
        bake: gives a texture to the shape, or to a version of it with other faces in the same
            frame; None if it has no colours.
    """
    from g3pt.geometry.placement import in_unit, unit_in
    from g3pt.geometry.triangles import without_collapsed_faces

    place = flags.placement(path, has_place=own_unit is not None)
    mesh = next((one for one in meshes if not one.is_empty), meshes[0])
    said: dict[str, Any] = {"unit": own_unit or "unit-frame", "up": "y", "size_mm": None}
    if flags.printable and (place is None or place.size_mm is None):
        raise PromptError(
            f"--printable measures walls in millimetres, and {path} keeps the scale of its source: "
            "give --size-mm"
        )
    if mesh.is_empty:
        return Finish(lambda one: one, said, mesh, None)
    moves: Sequence[Move] = ()
    if flags.printable and place is not None:
        placed, moves, done = _printable(mesh, place, flags)
        said |= done
    else:
        placed, done = _reduced(mesh, flags)
        said |= done
        moves = (place.move_of(placed),) if place else ()
        for move in moves:
            placed = move.apply(placed)
    if flags.compress == "draco":
        placed = without_collapsed_faces(placed)  # as the encoder does, for their number
    texture = None
    if flags.texture is not None:
        said["texture"] = None if bake is None else flags.texture
        if bake is not None:
            texture = bake(_moved_back(placed, moves)).texture
            placed = replace(placed, colors=None)
    if place is None:
        return Finish(lambda one: one, said, placed, flags.compress, texture)
    said["up"] = place.up
    move = place.move_of(mesh)
    if place.size_mm is None:
        return Finish(move.apply, said, placed, flags.compress, texture)
    unit = unit_in(path.suffix.lower())
    lowest, highest = placed.bounds()
    said |= {"unit": unit, "size_mm": (highest - lowest).round(4).tolist()}

    def put(one: "TriangleMesh") -> "TriangleMesh":
        return in_unit(move.apply(one), unit)

    return Finish(put, said, in_unit(placed, unit), flags.compress, texture)


def _moved_back(mesh: "TriangleMesh", moves: "Sequence[Move]") -> "TriangleMesh":
    for move in reversed(moves):
        mesh = move.undo(mesh)
    return mesh


def _reduced(mesh: "TriangleMesh", flags: FinishFlags) -> "tuple[TriangleMesh, dict[str, Any]]":
    """Keep the face budget, if there is one, and say so if it was not."""
    from g3pt.geometry.lod import reduce_faces

    if flags.faces is None:
        return mesh, {}
    reduction = reduce_faces(mesh, flags.faces)
    return reduction.mesh, {"note": reduction.note} if reduction.note else {}


def _printable(
    mesh: "TriangleMesh", place: "Placement", flags: FinishFlags
) -> "tuple[TriangleMesh, Sequence[Move], dict[str, Any]]":
    """Make one solid, tell what moved it to its place, and describe it."""
    from dataclasses import asdict

    from g3pt.geometry.printable import make_printable

    with _flags_named():
        made = make_printable(
            mesh,
            place,
            min_wall_mm=flags.min_wall_mm,
            thicken=flags.thicken,
            num_faces=flags.faces,
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


def describe_finish(entry: dict[str, Any]) -> str:
    """What is added to the line of a result: its size, and lines about a printable solid."""
    text = ""
    if entry.get("size_mm"):
        text = ", " + " x ".join(f"{side:g}" for side in entry["size_mm"]) + " mm"
    if "texture" in entry:
        side = entry["texture"]
        text += f", texture of {side} x {side}" if side else ", no texture, as there are no colours"
    if "note" in entry:
        text += f"\n  {entry['note']}"
    if "printable" in entry:
        text += "\n" + "\n".join(_describe_printable(entry["printable"]))
    return text


def _describe_printable(said: dict[str, Any]) -> list[str]:
    walls = said["walls"]
    done = [f"{said[what]} {what}" for what in ("joined", "dropped") if said[what]]
    lines = [
        f"  one closed solid, {said['volume_cm3']:.1f} cm3, {said['area_cm2']:.1f} cm2; loose "
        f"parts: {', '.join(done) or 'none'}; cavities filled: {said['filled']}"
    ]
    if said["walls_before"]:
        before = said["walls_before"]
        lines.append(
            f"  thickened: walls below {before['minimum']:g} mm were {before['thin_share']:.1%} of "
            f"the surface, the thinnest {before['thinnest']:.2f} mm"
        )
    if not walls["thin_share"]:
        lines.append(
            f"  no wall below {walls['minimum']:g} mm; the thinnest {walls['thinnest']:.2f} mm"
        )
        return lines
    lines.append(
        f"  walls below {walls['minimum']:g} mm: {walls['thin_share']:.1%} of the surface, the "
        f"thinnest {walls['thinnest']:.2f} mm"
        + ("" if said["walls_before"] else " (--thicken makes them thicker)")
    )
    lines += [
        f"    {place['share']:.1%} around x {x:.1f}, y {y:.1f}, z {z:.1f} mm, from "
        f"{place['thinnest']:.2f} mm"
        for place in walls["places"]
        if place["share"] >= 0.001
        for x, y, z in [place["center"]]
    ]
    return lines
