"""Building blocks of families: a builder that collects solids, random choices, and colours."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from g3pt.procedural.bounds import NUM_MEASURED, bounding_box
from g3pt.procedural.primitives import LENGTHS, NUM_PARAMETERS, Kind, ShapeArrays

UNIT_SIZE = 1.9
"""Longest side of a shape in the unit frame."""
THINNEST = 0.046
"""Smallest thickness of an added primitive in the unit frame."""


Vector = tuple[float, float, float]
Sides = float | tuple[float, float]
Choice = TypeVar("Choice")

PALETTE: dict[str, tuple[int, int, int]] = {
    "red": (204, 44, 40),
    "orange": (234, 132, 36),
    "yellow": (240, 204, 60),
    "green": (62, 150, 70),
    "teal": (40, 150, 150),
    "blue": (48, 98, 196),
    "purple": (130, 76, 170),
    "pink": (234, 140, 172),
    "brown": (134, 84, 48),
    "beige": (218, 194, 154),
    "white": (240, 240, 236),
    "grey": (140, 142, 146),
    "black": (44, 44, 48),
}
BRIGHT = ("red", "orange", "yellow", "green", "teal", "blue", "purple", "pink")
WOOD = ("brown", "beige", "white", "black", "grey", "orange")
METAL = ("grey", "black", "white", "yellow")


@dataclass(frozen=True)
class Paint:
    """A named colour, and the shade of it in one shape."""

    name: str
    rgb: tuple[int, int, int]


class Draw:
    """Random choices of one shape, as families need them."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def real(self, low: float, high: float) -> float:
        """Return a uniform number in [low, high)."""
        return float(self._rng.uniform(low, high))

    def whole(self, low: int, high: int) -> int:
        """Return a uniform integer in [low, high], both ends included."""
        return int(self._rng.integers(low, high + 1))

    def flag(self, chance: float = 0.5) -> bool:
        """Return True with the given probability."""
        return bool(self._rng.random() < chance)

    def pick(self, *options: Choice) -> Choice:
        """Return one of the options."""
        return options[int(self._rng.integers(len(options)))]

    def paint(self, *names: str, unlike: Paint | None = None) -> Paint:
        """Return a shade of a named colour, by default any, different from another paint."""
        choices = [name for name in names or PALETTE if unlike is None or name != unlike.name]
        name = self.pick(*choices)
        shade = np.array(PALETTE[name]) * self.real(0.92, 1.06) + self._rng.uniform(-6, 6, 3)
        red, green, blue = (int(value) for value in shade.clip(0, 255))
        return Paint(name, (red, green, blue))

    def apart(self, paint: Paint, other: Paint, *names: str) -> Paint:
        """Return the paint, or one of the named colours if it resembles the other paint."""
        return paint if paint.name != other.name else self.paint(*names, unlike=other)


def turned(x: float = 0, y: float = 0, z: float = 0) -> NDArray[np.float64]:
    """Rotation matrix in degrees: about z first, then x, then y."""
    angles = np.deg2rad([x, y, z])
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_y @ about_x @ about_z


def pointing(direction: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation matrix that takes +y to a direction."""
    up = direction / np.linalg.norm(direction)
    side = np.cross(up, [0, 0, 1] if abs(up[2]) < 0.9 else [1, 0, 0])
    side /= np.linalg.norm(side)
    return np.stack([side, up, np.cross(side, up)], axis=1)


def outwards(turn: float) -> NDArray[np.float64]:
    """Rotation matrix that takes y outwards, at `turn` radians about the vertical, and x up."""
    out = np.array([np.cos(turn), 0.0, -np.sin(turn)])
    up = np.array([0.0, 1.0, 0.0])
    return np.stack([up, out, np.cross(up, out)], axis=1)


_ALONG = {"x": turned(z=-90), "y": np.eye(3), "z": turned(x=90)}


@dataclass
class Builder:
    """Collects primitives in order. Sizes are full lengths, and `at` is the centre.

    `axis` aligns the y axis of a round solid with another axis; `turn` then rotates by degrees
    about x, y and z (see `turned`).
    """

    kinds: list[Kind] = field(default_factory=list)
    parameters: list[tuple[float, ...]] = field(default_factory=list)
    rotations: list[NDArray[np.float64]] = field(default_factory=list)
    centres: list[Vector] = field(default_factory=list)
    carves: list[bool] = field(default_factory=list)
    colors: list[tuple[int, int, int]] = field(default_factory=list)

    def add(
        self,
        kind: Kind,
        parameters: tuple[float, ...],
        at: Vector,
        paint: Paint,
        *,
        axis: str = "y",
        turn: Vector = (0, 0, 0),
        rotation: NDArray[np.float64] | None = None,
        carve: bool = False,
    ) -> None:
        """Append one primitive with the parameters that its kind lists."""
        self.kinds.append(kind)
        self.parameters.append(parameters)
        self.rotations.append(turned(*turn) @ _ALONG[axis] if rotation is None else rotation)
        self.centres.append(at)
        self.carves.append(carve)
        self.colors.append(paint.rgb)

    def box(self, size: Vector, at: Vector, paint: Paint, *, rounding: float = 0, **pose) -> None:
        """Add a box; `rounding` is the radius of its edges and does not change its size."""
        rounding = min(rounding, *(0.5 * side for side in size))
        x, y, z = (0.5 * side - rounding for side in size)
        self.add(Kind.BOX, (x, y, z, rounding), at, paint, **pose)

    def cylinder(
        self,
        radius: float,
        height: float,
        at: Vector,
        paint: Paint,
        *,
        rounding: float = 0.0,
        **pose,
    ) -> None:
        """Add a cylinder along `axis`, with rims rounded inside its size."""
        rounding = min(rounding, radius, 0.5 * height)
        core = radius - rounding
        self.add(Kind.CYLINDER, (core, core, 0.5 * height - rounding, rounding), at, paint, **pose)

    def cone(
        self, bottom: float, top: float, height: float, at: Vector, paint: Paint, **pose
    ) -> None:
        """Add a capped cone along `axis`, from its lower to its upper radius."""
        self.add(Kind.CONE, (bottom, top, 0.5 * height, 0.0), at, paint, **pose)

    def sphere(self, radius: float, at: Vector, paint: Paint, **pose) -> None:
        """Add a ball."""
        self.add(Kind.BOX, (0.0, 0.0, 0.0, radius), at, paint, **pose)

    def ellipsoid(self, radii: Vector, at: Vector, paint: Paint, **pose) -> None:
        """Add an ellipsoid by its three radii."""
        self.add(Kind.ELLIPSOID, radii, at, paint, **pose)

    def torus(self, ring: float, tube: float, at: Vector, paint: Paint, **pose) -> None:
        """Add a torus around `axis`."""
        self.add(Kind.TORUS, (ring, tube), at, paint, **pose)

    def frustum(
        self,
        bottom: Sides,
        top: Sides,
        height: float,
        at: Vector,
        paint: Paint,
        *,
        shift: tuple[float, float] = (0.0, 0.0),
        **pose,
    ) -> None:
        """Add a four-sided block from one rectangle (x, z) or square to another, shifted one."""
        ends = (end if isinstance(end, tuple) else (end, end) for end in (bottom, top))
        sides = [side / 2 for end in ends for side in end]
        self.add(Kind.FRUSTUM, (*sides, height / 2, *shift), at, paint, **pose)

    def prism(
        self, radius: float, sides: int, height: float, at: Vector, paint: Paint, **pose
    ) -> None:
        """Add a regular prism by its circumradius and its number of sides."""
        self.add(Kind.PRISM, (radius, height / 2, float(sides)), at, paint, **pose)

    def dome(self, radii: Vector, cut: float, at: Vector, paint: Paint, **pose) -> None:
        """Add the part of an ellipsoid above the height `cut` over its centre."""
        self.add(Kind.DOME, (*radii, cut), at, paint, **pose)

    def rod(self, start: Vector, end: Vector, radius: float, paint: Paint, **options) -> None:
        """Add a cylinder between two points."""
        middle, direction = _between(start, end)
        pose = {"rotation": pointing(direction)}
        self.cylinder(radius, float(np.linalg.norm(direction)), middle, paint, **pose, **options)

    def limb(self, start: Vector, end: Vector, first: float, last: float, paint: Paint) -> None:
        """Add a tapering rod with round ends, centres at the two points."""
        middle, direction = _between(start, end)
        least = min(first, last)
        sizes = (first - least, last - least, 0.5 * float(np.linalg.norm(direction)), least)
        self.add(Kind.CONE, sizes, middle, paint, rotation=pointing(direction))

    def bar(self, start: Vector, end: Vector, width: float, paint: Paint, **options) -> None:
        """Add a square bar between two points."""
        middle, direction = _between(start, end)
        size = (width, float(np.linalg.norm(direction)), width)
        self.box(size, middle, paint, rotation=pointing(direction), **options)

    def finish(self) -> tuple[ShapeArrays, Vector]:
        """Return the shape in the unit frame, without too thin parts, and the sides of its box."""
        parameters = np.zeros((len(self.kinds), NUM_PARAMETERS), np.float32)
        for row, values in zip(parameters, self.parameters, strict=True):
            row[: len(values)] = values
        arrays = ShapeArrays(
            kinds=np.array([int(kind) for kind in self.kinds], np.int64),
            parameters=parameters,
            rotations=np.array(self.rotations, np.float32),
            translations=np.array(self.centres, np.float32),
            carves=np.array(self.carves, np.bool_),
            colors=np.array(self.colors, np.uint8),
            blends=np.zeros(len(self.kinds), np.float32),
            limited=np.zeros(len(self.kinds), np.bool_),
        )
        return normalised(thickened(normalised(arrays)[0], THINNEST))


def _between(start: Vector, end: Vector) -> tuple[Vector, NDArray[np.float64]]:
    first, last = np.array(start, np.float64), np.array(end, np.float64)
    x, y, z = (float(value) for value in (first + last) / 2)
    return (x, y, z), last - first


def normalised(
    arrays: ShapeArrays, *, num_measured: int = NUM_MEASURED
) -> tuple[ShapeArrays, Vector]:
    """Return the shape in the unit frame and the sides of its box (see `bounding_box`)."""
    low, high = bounding_box(arrays, num_measured=num_measured)
    scale = UNIT_SIZE / float((high - low).max())
    parameters = arrays.parameters.astype(np.float64)
    parameters = np.where(LENGTHS[arrays.kinds], parameters * scale, parameters)
    translations = (arrays.translations - (low + high) / 2) * scale
    width, height, depth = (float(side) for side in (high - low) * scale)
    scaled = replace(
        arrays,
        parameters=parameters.astype(np.float32),
        translations=translations.astype(np.float32),
        blends=(arrays.blends * scale).astype(np.float32),
    )
    return scaled, (width, height, depth)


def thickened(arrays: ShapeArrays, thinnest: float) -> ShapeArrays:
    """Widen added primitives that are thinner than a length."""
    parameters = arrays.parameters.copy()
    least = thinnest / 2
    for kind, row, carve in zip(arrays.kinds, parameters, arrays.carves, strict=True):
        if carve:
            continue
        match Kind(kind):
            case Kind.BOX:
                row[:3] = np.maximum(row[:3], least - row[3])
            case Kind.CYLINDER | Kind.CONE:
                grow = max(0.0, least - row[3] - max(row[0], row[1]))
                row[:2] += grow
                row[2] = max(row[2], least - row[3])
            case Kind.ELLIPSOID:
                row[:3] = np.maximum(row[:3], least)
            case Kind.TORUS:
                row[1] = max(row[1], least)
            case Kind.FRUSTUM:
                row[0:4:2] *= max(1.0, least / max(row[0], row[2]))
                row[1:4:2] *= max(1.0, least / max(row[1], row[3]))
                row[4] = max(row[4], least)
            case Kind.PRISM:
                row[:2] = np.maximum(row[:2], least)
            case Kind.DOME:
                row[:3] = np.maximum(row[:3], (least, least + row[3], least))
            case Kind.SUPERQUADRIC:
                row[:3] = np.maximum(row[:3], least)
            case Kind.LATHE:
                row[0] = max(row[0], least)
                row[1:9] *= max(1.0, least / row[1:9].max())
            case Kind.PLATE:
                row[0] = max(row[0], least)
                row[1:11] *= max(1.0, least / row[1:11].min())
                row[11] = min(row[11], 1 - 2 * least / row[1:11].min())
            case Kind.ARC:
                row[5] = max(row[5], least - min(row[1], row[2]))
            case Kind.TERRAIN:
                row[:2] = np.maximum(row[:2], least)
                row[2] = max(row[2], 2 * least + np.abs(row[3:15:4]).sum())
    return replace(arrays, parameters=parameters)
