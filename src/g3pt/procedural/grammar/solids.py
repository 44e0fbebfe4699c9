"""Random solids of a given size, one primitive each, in the style of one assembly (`Taste`)."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, sin, sqrt

import numpy as np

from g3pt.procedural.builder import Paint, turned
from g3pt.procedural.grammar.chance import Chance
from g3pt.procedural.grammar.clusters import Color, Matrix, part
from g3pt.procedural.primitives import NUM_SPOKES, NUM_STATIONS, Kind, ShapeArrays

Sizes = tuple[float, float, float]

ALONG: tuple[Matrix, ...] = (turned(z=-90), np.eye(3), turned(x=90))
"""Rotations that take y to x, y and z."""

_SHARP = {
    Kind.BOX: 5.0,
    Kind.CYLINDER: 2.0,
    Kind.PLATE: 3.0,
    Kind.FRUSTUM: 2.0,
    Kind.PRISM: 1.5,
    Kind.CONE: 1.0,
    Kind.SUPERQUADRIC: 1.0,
    Kind.LATHE: 1.0,
}
_SOFT = {
    Kind.SUPERQUADRIC: 4.0,
    Kind.LATHE: 3.0,
    Kind.PLATE: 2.0,
    Kind.ELLIPSOID: 2.0,
    Kind.BOX: 1.0,
    Kind.CONE: 1.5,
    Kind.DOME: 1.0,
    Kind.CYLINDER: 1.0,
}


@dataclass(frozen=True, slots=True)
class Taste:
    """Style parameters that the solids of one assembly share."""

    softness: float
    """Probability of solids without sharp edges."""
    thinness: float
    """Ratio of thickness to length of sheets and rods."""
    paints: tuple[Paint, ...]
    """Colours; the first is the main one."""
    cuts: bool = False
    """Whether extrusions may be bevelled and solids intersected; without, the draws are the same as
    before there was either."""

    @classmethod
    def draw(cls, chance: Chance, *, cuts: bool = False) -> Taste:
        """Draw a taste."""
        paints = [chance.paint()]
        for _ in range(chance.whole(0, 5)):
            paints.append(chance.paint() if chance.flag(0.6) else chance.tint())
        softness = chance.pick((0.0, 0.15, 0.5, 0.85, 1.0))
        return cls(softness, chance.ratio(0.006, 0.1), tuple(paints), cuts)

    @property
    def main(self) -> Color:
        """The main colour."""
        return self.paints[0].rgb

    def color(self, chance: Chance) -> Color:
        """Pick one of the colours."""
        return chance.pick(self.paints).rgb

    def thickness(self, chance: Chance) -> float:
        """Draw half the thickness of a sheet or rod of half length one."""
        return min(0.2, self.thinness * chance.ratio(0.6, 1.8))


def sizes(chance: Chance, taste: Taste, form: str = "") -> Sizes:
    """Draw half lengths along x, y and z, the longest about one.

    Args:
        chance: source of randomness.
        taste: style, which sets the thickness.
        form: "sheet", "rod", "chunk", "slab" or any of them.
    """
    form = form or chance.weighted({"sheet": 0.28, "rod": 0.3, "slab": 0.22, "chunk": 0.2})
    if form == "sheet":
        half = [chance.ratio(0.3, 1), chance.ratio(0.3, 1), taste.thickness(chance)]
    elif form == "rod":
        thick = chance.ratio(0.5, 2.0) * taste.thickness(chance)
        half = [1.0, thick, thick * chance.ratio(0.6, 1.6)]
    elif form == "slab":
        half = [1.0, chance.ratio(0.25, 0.8), chance.ratio(0.06, 0.25)]
    else:
        half = [1.0, chance.ratio(0.4, 1), chance.ratio(0.35, 1)]
    order = chance.pick(((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)))
    return half[order[0]], half[order[1]], half[order[2]]


def solid(
    chance: Chance,
    taste: Taste,
    half: Sizes,
    *,
    color: Color | None = None,
    kind: Kind | None = None,
    upright: bool = False,
) -> ShapeArrays:
    """Draw one solid that about fills a box of these half lengths, centred at the origin.

    Args:
        chance: source of randomness.
        taste: style, which sets softness and colours.
        half: half lengths of the box along x, y and z.
        color: by default one of the style's.
        kind: by default one that fits the style.
        upright: keep the solid's axis along y, so that its height is exact.
    """
    options = _SOFT if chance.flag(taste.softness) else _SHARP
    kind = chance.weighted(options) if kind is None else kind
    axis = 1 if upright else _axis(chance, kind, half)
    a, b, c = ((half[1], half[0], half[2]), half, (half[0], half[2], half[1]))[axis]
    color = taste.color(chance) if color is None else color
    parameters = _parameters(chance, kind, a, b, c, bevels=taste.cuts)
    # The part of an ellipsoid above a cut is not centred at the ellipsoid's centre.
    lift = -(parameters[1] + parameters[3]) / 2 if kind == Kind.DOME else 0.0
    return part(kind, parameters, color, lift * ALONG[axis][:, 1], ALONG[axis])


def _axis(chance: Chance, kind: Kind, half: Sizes) -> int:
    """Direction of a solid's y axis: plates lie flat, lathes stand along the longest side."""
    order = sorted(range(3), key=lambda i: half[i])
    if kind in (Kind.BOX, Kind.ELLIPSOID):
        return 1
    if kind in (Kind.PLATE, Kind.ARC, Kind.TORUS):
        return order[0] if chance.flag(0.85) else order[2]
    # The circular section of round solids spans the two most similar sides.
    if half[order[1]] < 1.6 * half[order[0]] or half[order[2]] > 1.6 * half[order[1]]:
        return order[2]
    return order[0] if chance.flag(0.8) else 1


def _parameters(
    chance: Chance, kind: Kind, a: float, b: float, c: float, *, bevels: bool
) -> tuple[float, ...]:
    """Parameters of a kind that fills half lengths a, b, c along its x, y, z."""
    mean, least = sqrt(a * c), min(a, b, c)
    match kind:
        case Kind.BOX:
            r = least * chance.real(0.1, 1) if chance.flag(0.35) else 0.0
            return a - r, b - r, c - r, r
        case Kind.CYLINDER:
            r = min(mean, b) * chance.real(0.1, 0.9) if chance.flag(0.3) else 0.0
            return mean - r, mean - r, b - r, r
        case Kind.CONE:
            thin = mean * chance.real(0.05, 0.9)
            r = min(thin, 0.5 * b) if chance.flag(0.4) else 0.0
            ends = (mean - r, thin - r) if chance.flag(0.7) else (thin - r, mean - r)
            return *ends, b - r, r
        case Kind.ELLIPSOID:
            return a, b, c
        case Kind.SUPERQUADRIC:
            return a, b, c, _exponent(chance), _exponent(chance)
        case Kind.FRUSTUM:
            narrow = chance.real(0.15, 1), chance.real(0.15, 1)
            ends = (a, c, a * narrow[0], c * narrow[1])
            ends = ends if chance.flag(0.75) else (*ends[2:], *ends[:2])
            lean = chance.flag(0.25)
            shifts = (chance.real(-0.6, 0.6) * a * lean, chance.real(-0.6, 0.6) * c * lean)
            return *ends, b, *shifts
        case Kind.PRISM:
            return mean, b, float(chance.pick((3, 5, 6, 8)))
        case Kind.DOME:
            cut = chance.real(-0.6, 0.3)
            height = 2 * b / (1 - cut)
            return a, height, c, cut * height
        case Kind.TORUS:
            ring = mean * chance.real(0.6, 0.95)
            return ring, max(min(b, mean - ring), 0.01)
        case Kind.LATHE:
            return lathe(chance, mean, b)
        case Kind.PLATE:
            return plate(chance, a, b, c, bevels=bevels)
        case Kind.ARC:
            return arc(chance, mean, b)
        case Kind.TERRAIN:
            return terrain(chance, a, b, c)


def _exponent(chance: Chance) -> float:
    return chance.pick((2.0, 2.0, 4.0, 10.0, 1.15, chance.ratio(1.1, 8)))


def lathe(chance: Chance, radius: float, half: float) -> tuple[float, ...]:
    """Draw a profile: of a vase, a spindle, beads, steps or a walk."""
    style = chance.pick(("walk", "vase", "beads", "steps", "spindle"))
    first, second = chance.real(0, 2 * pi), chance.real(0, 2 * pi)
    level, radii = chance.real(0.3, 1.0), []
    for station in range(NUM_STATIONS):
        u = station / (NUM_STATIONS - 1)
        if style == "walk":
            level = min(1.0, max(0.12, level + chance.real(-0.35, 0.35)))
        elif style == "vase":
            level = 0.55 + 0.3 * sin(first + 3.5 * u) + 0.15 * sin(second + 7 * u)
        elif style == "beads":
            level = (0.9 if station % 2 else 0.35) * (1 - 0.4 * u)
        elif style == "steps":
            level = level if chance.flag(0.6) else chance.real(0.2, 1.0)
        else:
            level = max(0.06, sin(pi * min(1.0, max(0.0, u * 0.96 + 0.02))) ** 0.8)
        radii.append(level)
    largest = max(radii)
    radii = [radius * value / largest for value in radii]
    # Slopes above two make the field's estimate poor: smooth steeper profiles.
    steepest = 2.0 * 2 * half / (NUM_STATIONS - 1)
    for sweep in (range(1, NUM_STATIONS), range(NUM_STATIONS - 2, -1, -1)):
        step = 1 if sweep.step > 0 else -1
        for station in sweep:
            lowest = radii[station - step] - steepest
            radii[station] = max(radii[station], lowest)
    return half, *radii, 0.0 if chance.flag(0.3) else 1.0


def plate(
    chance: Chance, a: float, half: float, c: float, *, bevels: bool = False
) -> tuple[float, ...]:
    """Draw an outline: a polygon, a star, a gear, a blob or a leaf, perhaps with a hole.

    Args:
        chance: source of randomness.
        a: half length along x, before the outline narrows it; `c` along z.
        half: half height.
        c: half length along z.
        bevels: whether the rims may be bevelled, which takes more draws.
    """
    style = chance.pick(("polygon", "star", "blob", "blob", "leaf", "gear", "cut"))
    repeats, smooth = 1.0, chance.pick((0.0, 0.0, 1.0, 1.0, 0.4))
    deep, phase, lobes = chance.real(0.45, 0.85), chance.real(0, 2 * pi), chance.whole(2, 4)
    radii = []
    for spoke in range(NUM_SPOKES):
        turn = 2 * pi * spoke / NUM_SPOKES
        if style == "polygon":
            radius = 1.0
        elif style == "star":
            radius = deep if spoke % 2 else 1.0
        elif style == "gear":
            radius = (1.0, 1.0, deep, deep, deep)[spoke % 5]
        elif style == "blob":
            radius = 0.75 + 0.2 * sin(lobes * turn + phase) + chance.real(-0.12, 0.12)
        elif style == "leaf":
            radius = 0.45 + 0.55 * ((1 + cos(turn)) / 2) ** 1.5
        else:
            radius = chance.real(0.45, 1.0)
        radii.append(radius)
    if style == "gear":
        repeats, smooth = float(chance.whole(2, 4)), 0.0
    else:
        # The radius of an ellipse stretches the outline to the requested sides.
        longer = max(a, c)
        shorter = longer / 4
        a, c = (longer, max(c, shorter)) if a > c else (max(a, shorter), longer)
        for spoke in range(NUM_SPOKES):
            turn = 2 * pi * spoke / NUM_SPOKES
            radii[spoke] *= 1 / sqrt((cos(turn) / a) ** 2 + (sin(turn) / c) ** 2) / sqrt(a * c)
    radii = [radius * sqrt(a * c) for radius in radii]
    hole = chance.real(0.3, 0.9) if chance.flag(0.22) else 0.0
    taper = chance.real(0.1, 0.8) if chance.flag(0.25) else 0.0
    twist = chance.real(-1.5, 1.5) if half > 0.5 * sqrt(a * c) and chance.flag(0.4) else 0.0
    bevel = 0.0
    if bevels and chance.flag(0.5):
        # Less than the height, and than what a hole leaves between the rims of the narrower end.
        room = min(radii) * (1 - taper) * (1 - hole) * (0.5 if hole else 1.0)
        bevel = 0.85 * min(half, room) * chance.ratio(0.12, 1.0)
    return half, *radii, hole, taper, twist, smooth, repeats, bevel


def arc(chance: Chance, ring: float, half: float) -> tuple[float, ...]:
    """Draw an arc: a tube or a strap, perhaps a horn."""
    angle = chance.pick((0.5, 0.5, chance.real(0.2, 0.95))) * pi
    taper = chance.real(0.3, 0.95) if chance.flag(0.3) else 0.0
    if chance.flag(0.6):
        return ring, 0.0, 0.0, angle, taper, min(half, 0.45 * ring)
    thin = ring * chance.ratio(0.02, 0.2)
    return (
        (ring, thin, half, angle, taper, 0.0)
        if chance.flag()
        else (ring, half, thin, angle, taper, 0.0)
    )


def terrain(chance: Chance, a: float, b: float, c: float) -> tuple[float, ...]:
    """Draw a block whose top is a sum of three waves."""
    rough = chance.real(0.2, 0.8) * b
    waves: list[float] = []
    for number in range(3):
        waves += (
            rough * 0.6**number * chance.real(0.2, 0.5),
            chance.real(0, 1.3) * (1 + number),
            chance.real(0, 1.3) * (1 + number),
            chance.real(0, 2 * pi),
        )
    return a, c, b, *waves


def limb(
    start: Matrix, end: Matrix, first: float, last: float, color: Color, *, blend: float = 0.0
) -> ShapeArrays:
    """Make a tapering rod with round ends between two points."""
    along = np.asarray(end, np.float64) - start
    length = float(np.linalg.norm(along))
    least = min(first, last)
    parameters = (first - least, last - least, 0.5 * length, least)
    middle = (np.asarray(start) + end) / 2
    return part(Kind.CONE, parameters, color, middle, facing(along / length), blend=blend)


def facing(direction: Matrix) -> Matrix:
    """Rotation that takes y to a unit vector."""
    x, y, z = (float(value) for value in direction)
    if y < 0:
        # Two half turns: the shortest rotation is ill-defined near -y.
        return facing(-direction) * np.array([1.0, -1.0, -1.0])
    k = 1 / (1 + y)
    return np.array([[1 - x * x * k, x, -x * z * k], [-x, y, -z], [-x * z * k, z, 1 - z * z * k]])
