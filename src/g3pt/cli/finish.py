"""Flags of how a mesh leaves g3pt, and what its file then holds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from g3pt.geometry.mesh import TriangleMesh, UnitFrame
    from g3pt.geometry.placement import Placement
    from g3pt.models.g3t import TokenFrame


@dataclass(frozen=True, kw_only=True, slots=True)
class FinishFlags:
    """Flags for size, up axis and origin of the files."""

    size_mm: float | None = None
    """Size in millimetres (default: 100 in .stl and .3mf; other formats keep the unit frame). GLB
    is in metres by its specification, so 120 gives .12 there."""

    axis: Literal["longest", "width", "height", "depth"] | None = None
    """The side that --size-mm measures (default: longest)."""

    up: Literal["y", "z"] | None = None
    """Axis that points up (default: z in .stl and .3mf, else y). GLB is always Y up."""

    origin: Literal["center", "base"] | None = None
    """What lies at the origin: the centre of the bounding box, or the middle of its lowest side
    (default: base in .stl and .3mf, else center)."""

    def check(self, paths: Sequence[Path], *, unit_frame: bool = False) -> None:
        """Refuse what a format cannot carry, before any work.

        Args:
            paths: files that the meshes will be written to.
            unit_frame: the unit frame was asked for.

        Raises:
            ValueError: if flags and formats do not fit; the message names the flag.
        """
        if unit_frame and (self.size_mm, self.up, self.origin) != (None, None, None):
            raise ValueError(
                "--unit-frame keeps size, axes and origin of the unit frame: leave it out, or "
                "leave out --size-mm, --up and --origin"
            )
        for path in paths:
            self.placement(path, has_place=True)

    def placement(self, path: Path, *, has_place: bool) -> "Placement | None":
        """The placement in a file, or None if numbers are written as they are.

        Args:
            path: the file.
            has_place: the mesh has a place and scale of its own, which is kept if nothing is told.

        Raises:
            ValueError: if flags and format do not fit; the message names the flag.
        """
        from g3pt.geometry.placement import placement_in

        try:
            return placement_in(
                path.suffix.lower(),
                size_mm=self.size_mm,
                axis=self.axis,
                up=self.up,
                origin=self.origin,
                has_place=has_place,
            )
        except ValueError as error:
            name, _, rule = str(error).partition(" ")
            raise ValueError(f"--{name.replace('_', '-')} {rule}") from None


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
    box along x, y and z of the file, or None if the unit is no length."""


def finish_of(
    meshes: "Sequence[TriangleMesh]",
    path: Path,
    flags: FinishFlags,
    *,
    own_unit: str | None = None,
) -> Finish:
    """Find how a shape comes to its place in a file.

    Args:
        meshes: the shape and coarser versions of it, finest first; the first that is not empty
            decides, so that all lie at the same place.
        path: the file.
        flags: how it is to leave.
        own_unit: name of the unit of a mesh that has a place and scale of its own.
    """
    from g3pt.geometry.placement import in_unit, unit_in

    place = flags.placement(path, has_place=own_unit is not None)
    mesh = next((one for one in meshes if not one.is_empty), None)
    said: dict[str, Any] = {"unit": own_unit or "unit-frame", "up": "y", "size_mm": None}
    if place is None or mesh is None:
        return Finish(lambda one: one, said)
    move = place.move_of(mesh)
    said["up"] = place.up
    if place.size_mm is None:
        return Finish(move.apply, said)
    unit = unit_in(path.suffix.lower())
    lowest, highest = move.apply(mesh).bounds()
    said |= {"unit": unit, "size_mm": (highest - lowest).round(4).tolist()}
    return Finish(lambda one: in_unit(move.apply(one), unit), said)
