"""How a mesh leaves g3pt: its size in millimetres, the axis that points up, and its origin.

Inside g3pt meshes are +Y up, +Z front, with width along x, height along y and depth along z, and
have no unit. Files differ: STL and 3MF go to printers, which expect millimetres, Z up, and the
object on the plate; glTF is Y up and in metres by its specification (glTF 2.0, 3.4), and so is
what is written as USDZ; OBJ, PLY and OFF carry neither unit nor axis.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from g3pt.geometry.triangles import MeshError, TriangleMesh

Axis = Literal["longest", "width", "height", "depth"]
"""The side of the bounding box that a size measures; height is the side along +Y."""
Up = Literal["y", "z"]
"""Axis of the file that points up. `z` turns +Y to +Z, and the front from +Z to -Y."""
Origin = Literal["center", "base"]
"""What lies at the origin: the centre of the bounding box, or the middle of its lowest side."""
Unit = Literal["millimetre", "metre"]

PRINTED_SUFFIXES = (".stl", ".3mf")
"""Formats for printers."""

METRE_SUFFIXES = (".glb", ".gltf", ".usdz")
"""Formats in metres and Y up: glTF by its specification, USDZ as Apple's viewers ask for it."""

PRINTED_SIZE_MM = 100.0
"""Longest side in files for printers if no size is given: such objects fit on most plates."""

MAX_SIZE_MM = 1e6
"""Largest size, a kilometre: beyond it readers of 32-bit floats lose small objects' shape."""


@dataclass(frozen=True)
class Move:
    """A uniform scale, then a turn to the up axis, then a shift, as `Placement.move_of` finds."""

    scale: float
    up: Up
    shift: tuple[float, float, float]

    def apply(self, mesh: TriangleMesh) -> TriangleMesh:
        """Move a mesh; faces and colours stay, and orientation does too."""
        points = mesh.vertices * self.scale
        if self.up == "z":
            points = np.stack([points[:, 0], -points[:, 2], points[:, 1]], axis=1)
        return replace(mesh, vertices=points + np.array(self.shift))

    def undo(self, mesh: TriangleMesh) -> TriangleMesh:
        """Move a mesh back: the inverse of `apply`."""
        points = mesh.vertices - np.array(self.shift)
        if self.up == "z":
            points = np.stack([points[:, 0], points[:, 2], -points[:, 1]], axis=1)
        return replace(mesh, vertices=points / self.scale)


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Where and how large a mesh is to be, once it leaves the frame that it was made in."""

    size_mm: float | None = None
    """Length of one side in millimetres; None keeps the numbers of the mesh."""
    axis: Axis = "longest"
    """Which side `size_mm` measures."""
    up: Up = "y"
    """Axis that points up; meshes come with +Y up."""
    origin: Origin = "center"
    """What lies at the origin."""

    def __post_init__(self) -> None:
        """Refuse sizes that no object has."""
        if self.size_mm is not None and not 0 < self.size_mm <= MAX_SIZE_MM:
            raise ValueError(
                f"size_mm must be above 0 and at most {MAX_SIZE_MM:.0f}, got {self.size_mm:g}"
            )

    def move_of(self, mesh: TriangleMesh) -> Move:
        """Find the move that places a mesh; lengths after it are millimetres if there is a size.

        Raises:
            MeshError: if the mesh has no faces, or no extent along `axis`.
        """
        lowest, highest = mesh.bounds()
        sides = highest - lowest
        scale = 1.0
        if self.size_mm is not None:
            number = {"width": 0, "height": 1, "depth": 2, "longest": int(sides.argmax())}
            side = float(sides[number[self.axis]])
            if not side > 0:
                raise MeshError(f"the mesh has no {self.axis} to scale", "no_extent")
            scale = self.size_mm / side
        turned = Move(scale, self.up, (0.0, 0.0, 0.0)).apply(mesh).bounds()
        centre = turned.mean(axis=0)
        if self.origin == "base":
            level = "yz".index(self.up) + 1
            centre[level] = turned[0, level]
        x, y, z = (-centre).tolist()
        return Move(scale, self.up, (x, y, z))


def placement_in(
    suffix: str,
    *,
    size_mm: float | None = None,
    axis: Axis | None = None,
    up: Up | None = None,
    origin: Origin | None = None,
    has_place: bool = False,
) -> Placement | None:
    """Choose the placement in a file of one format; what is not told is the format's usual way.

    Args:
        suffix: of the file, lower case; it names the format.
        size_mm: as in `Placement`; None is `PRINTED_SIZE_MM` in files for printers.
        axis: as in `Placement`; told only with a size.
        up: as in `Placement`; None is z in files for printers, else y.
        origin: as in `Placement`; None is the base in files for printers, else the center.
        has_place: the mesh has a place and scale of its own, which a file for printers keeps too
            if nothing is told.

    Returns:
        The placement, or None if the numbers of the mesh are written as they are.

    Raises:
        ValueError: if the format cannot carry it, or the values do not fit; the message begins
            with the name of the value.
    """
    if axis is not None and size_mm is None:
        raise ValueError("axis names the side that size_mm measures: give size_mm as well")
    if up == "z" and suffix in METRE_SUFFIXES:
        raise ValueError(
            f"up cannot be z in {suffix}, which is Y up for all programs that read it and turn it "
            "if they need to: leave it out, or write .3mf, .stl, .obj, .ply or .off"
        )
    if up == "y" and suffix == ".3mf":
        raise ValueError(
            "up cannot be y in .3mf, whose plate is Z up by its specification: leave it out, or "
            "write .stl, .obj, .ply or .off"
        )
    printed = suffix in PRINTED_SUFFIXES
    told = any(value is not None for value in (size_mm, up, origin))
    if not told and (has_place or not printed):
        return None
    if size_mm is None and printed and not has_place:
        size_mm = PRINTED_SIZE_MM
    return Placement(
        size_mm=size_mm,
        axis=axis or "longest",
        up=up or ("z" if printed else "y"),
        origin=origin or ("base" if printed else "center"),
    )


def unit_in(suffix: str) -> Unit:
    """The unit of a mesh of known size in a file of one format: what it says, else millimetres."""
    return "metre" if suffix in METRE_SUFFIXES else "millimetre"


def in_unit(mesh: TriangleMesh, unit: Unit) -> TriangleMesh:
    """Turn a mesh in millimetres to a unit."""
    return mesh if unit == "millimetre" else replace(mesh, vertices=mesh.vertices / 1000)
