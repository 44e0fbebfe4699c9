"""Shapes as arrays of primitives, and the function that evaluates their field.

Every primitive is a solid with its own distance function, placed by a rotation and a translation.
It is added to the union of the earlier ones or carved out of it, with a sharp edge or with a blend:
a fillet of a given radius. A primitive may also be limited by the next one: then not the two of
them but their intersection is added or carved, and so on for a chain of them. The sign of the field
is exact (a blended shape is defined by its field). Its magnitude is the distance for boxes,
cylinders, cones, tori and regular prisms; for other kinds, and where solids overlap, it is an
estimate with the correct zero set. Estimates of the kinds after DOME are divided by a bound of
their slope, so that outside they rarely exceed the distance.

Parameters of each kind, in its own frame (half lengths; the axis of round things is y):

    BOX        half x, half y, half z, rounding (a ball is a box with half lengths of zero)
    CYLINDER   radius, radius, half height, rounding
    CONE       bottom radius, top radius, half height, rounding
    ELLIPSOID  radius x, radius y, radius z
    TORUS      ring radius, tube radius
    FRUSTUM    bottom half x and z, top half x and z, half height, shift of the top in x and z
    PRISM      circumradius, half height, number of sides
    DOME       radius x, radius y, radius z, height of the cut (what lies above it is kept)
    SUPERQUADRIC
               radius x, radius y, radius z, exponent upright, exponent across (each 1.05 to 12:
               2 is round, 12 nearly a box, 1.05 nearly an octahedron)
    LATHE      half height, 8 radii at equal distances from bottom to top, smoothness (0: straight
               lines between them, 1: a cubic B-spline that they control)
    PLATE      half height, 10 radii at equal angles about y, from x towards z, hole (its share of
               the outline, 0: none), taper (share by which the top is smaller), twist (radians from
               bottom to top), smoothness (0: straight edges, 1: a cubic B-spline), repeats (how
               often the ten radii are gone through in one turn), bevel (how much of the rims of
               both ends, and of the hole's, is cut off at 45 degrees, along y and outwards)
    ARC        ring radius, half width across the ring, half width along y, half angle (up to .95
               pi, the middle of the arc lies towards x), taper (share by which the ends are
               thinner), rounding (added to both half widths and to the ends)
    TERRAIN    half x, half z, depth below zero, three waves: amplitude, half waves along x and z
               over half the side, phase (the top is their sum, its bottom is flat)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NUM_PARAMETERS = 17
NUM_STATIONS = 8
NUM_SPOKES = 10
_TETRAHEDRON = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / 3**0.5
_STATIONS = np.arange(NUM_STATIONS, dtype=np.float32)
_SPOKES = np.arange(NUM_SPOKES, dtype=np.float32)
_CHUNK = 4096
"""Points evaluated at a time: few enough that temporaries stay in the cache."""


class Kind(IntEnum):
    """Kinds of primitives; the module's docstring lists their parameters."""

    BOX = 0
    CYLINDER = 1
    CONE = 2
    ELLIPSOID = 3
    TORUS = 4
    FRUSTUM = 5
    PRISM = 6
    DOME = 7
    SUPERQUADRIC = 8
    LATHE = 9
    PLATE = 10
    ARC = 11
    TERRAIN = 12


def _lengths() -> NDArray[np.bool_]:
    lengths = np.ones((len(Kind), NUM_PARAMETERS), np.bool_)
    lengths[Kind.PRISM, 2] = False
    lengths[Kind.SUPERQUADRIC, 3:] = False
    lengths[Kind.LATHE, 1 + NUM_STATIONS :] = False
    lengths[Kind.PLATE, 1 + NUM_SPOKES : 16] = False
    lengths[Kind.ARC, 3:5] = False
    lengths[Kind.TERRAIN, 3:] = False
    lengths[Kind.TERRAIN, 3::4] = True
    return lengths


LENGTHS = _lengths()
"""True for parameters that scale with the shape, by kind; the others are counts, shares and
angles."""


class EvaluationPlan(NamedTuple):
    """The primitives' frames as one matrix, and the primitives grouped by kind."""

    matrix: NDArray[np.float32]
    offset: NDArray[np.float32]
    groups: list[tuple[Callable[..., NDArray[np.float32]], NDArray[np.int64], NDArray[np.float32]]]


@dataclass(frozen=True)
class ShapeArrays:
    """K primitives in the order in which they are applied.

    Attributes:
        kinds: (K,) int64, a `Kind` each.
        parameters: (K, 17) float32, zero where a kind has fewer.
        rotations: (K, 3, 3) float32, from the primitive's frame to the shape's.
        translations: (K, 3) float32, centre of the primitive in the shape's frame.
        carves: (K,) bool, True where the primitive is carved out instead of added.
        colors: (K, 3) uint8, colour of the surface that the primitive makes.
        blends: (K,) float32, radius of the fillet with the earlier primitives; zero for a sharp
            edge.
        limited: (K,) bool, True where the primitive is limited by the next one. Primitives up to
            one that is not limited form a chain, whose intersection takes part in their place,
            with the blend of the last; all of a chain carve or none. The last primitive of a shape
            is not limited.
    """

    kinds: NDArray[np.int64]
    parameters: NDArray[np.float32]
    rotations: NDArray[np.float32]
    translations: NDArray[np.float32]
    carves: NDArray[np.bool_]
    colors: NDArray[np.uint8]
    blends: NDArray[np.float32]
    limited: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.kinds)

    def only(self, rows: list[int]) -> ShapeArrays:
        """Return only the primitives at some indices."""
        return ShapeArrays(
            kinds=self.kinds[rows],
            parameters=self.parameters[rows],
            rotations=self.rotations[rows],
            translations=self.translations[rows],
            carves=self.carves[rows],
            colors=self.colors[rows],
            blends=self.blends[rows],
            limited=self.limited[rows],
        )

    @cached_property
    def chains(self) -> NDArray[np.int64]:
        """(K,) number of the chain of each primitive; one that is alone is a chain too."""
        return np.cumsum(np.concatenate([[False], ~self.limited[:-1]]))

    @cached_property
    def plan(self) -> EvaluationPlan:
        """Data that every evaluation of the field needs, computed once."""
        to_local = self.rotations.transpose(0, 2, 1)
        groups = [(kind, np.flatnonzero(self.kinds == kind)) for kind in np.unique(self.kinds)]
        return EvaluationPlan(
            matrix=np.ascontiguousarray(to_local.reshape(-1, 3)),
            offset=np.einsum("kij,kj->ki", to_local, self.translations).reshape(-1, 1),
            groups=[
                (DISTANCES[Kind(kind)], index, self.parameters[index].T[:, :, None])
                for kind, index in groups
            ],
        )


def signed_distance(arrays: ShapeArrays, points: NDArray[np.floating]) -> NDArray[np.float32]:
    """Evaluate the shape's field, negative inside, at (N, 3) points of the shape's frame."""
    return _evaluate(arrays, points)[0]


def surface_owner(arrays: ShapeArrays, points: NDArray[np.floating]) -> NDArray[np.int64]:
    """Index of the primitive that determines the field at each of the (N, 3) points."""
    owner = _evaluate(arrays, points, with_owner=True)[1]
    assert owner is not None
    return owner


def slope(
    arrays: ShapeArrays, points: NDArray[np.floating], step: float = 1e-3
) -> NDArray[np.float64]:
    """Gradient of the field at (N, 3) points, by finite differences at a tetrahedron's corners."""
    around = (points[None] + step * _TETRAHEDRON[:, None]).reshape(-1, 3)
    values = signed_distance(arrays, around).reshape(4, -1).astype(np.float64)
    return values.T @ _TETRAHEDRON * (0.75 / step)


def onto_surface(
    arrays: ShapeArrays, points: NDArray[np.floating], num_steps: int = 3
) -> NDArray[np.float64]:
    """Move (N, 3) points near the surface onto it, by Newton steps along the field's gradient."""
    moved = np.asarray(points, np.float64)
    for _ in range(num_steps):
        direction = slope(arrays, moved)
        size = np.maximum((direction**2).sum(axis=1, keepdims=True), 1e-2)
        moved = moved - signed_distance(arrays, moved)[:, None] * direction / size
    return moved


def _evaluate(
    arrays: ShapeArrays, points: NDArray[np.floating], *, with_owner: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.int64] | None]:
    num = len(points)
    field = np.empty(num, np.float32)
    owner = np.empty(num, np.int64) if with_owner else None
    plan = arrays.plan
    for start in range(0, num, _CHUNK):
        part = slice(start, min(start + _CHUNK, num))
        block = np.ascontiguousarray(points[part].T, dtype=np.float32)
        local = plan.matrix @ block
        local -= plan.offset
        local = local.reshape(len(arrays), 3, -1)
        distances = np.empty((len(arrays), block.shape[1]), np.float32)
        for distance, index, values in plan.groups:
            coordinates = local[index]
            distances[index] = distance(
                coordinates[:, 0], coordinates[:, 1], coordinates[:, 2], values
            )
        owner_part = None if owner is None else owner[part]
        field[part] = _combine(distances, arrays, owner_part)
    return field, owner


def _combine(
    distances: NDArray[np.float32], arrays: ShapeArrays, owner: NDArray[np.int64] | None
) -> NDArray[np.float32]:
    """Apply the primitives in order: minimum to add, maximum with the negative to carve.

    The maximum over a chain of limited primitives comes first.

    A blend lowers the minimum, or raises the maximum, where the two values differ by less than its
    radius, by up to a quarter of the radius where they are equal.
    """
    result = np.full(distances.shape[1], np.inf, np.float32)
    if owner is not None:
        owner[:] = 0
    chain: NDArray[np.float32] | None = None
    deciding: NDArray[np.int64] | int = 0
    columns = zip(distances, arrays.carves, arrays.blends, arrays.limited, strict=True)
    for index, (distance, carve, blend, limited) in enumerate(columns):
        if chain is None:
            deciding = index
        else:
            if owner is not None:
                deciding = np.where(distance > chain, index, deciding)
            np.maximum(distance, chain, out=distance)
        chain = distance if limited else None
        if limited:
            continue
        if carve:
            np.negative(distance, out=distance)
        if owner is not None:
            np.copyto(owner, deciding, where=distance > result if carve else distance < result)
        if blend > 0:
            overlap = np.maximum(blend - np.abs(distance - result), 0)
            overlap *= overlap
            overlap /= 4 * blend if carve else -4 * blend
            (np.maximum if carve else np.minimum)(result, distance, out=result)
            result += overlap
        else:
            (np.maximum if carve else np.minimum)(result, distance, out=result)
    return result


# Distances of one kind: coordinates (k, n) in the primitive's frame, parameters (16, k, 1).


def _positive_length(
    *components: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Length of the positive part of a vector, or its largest component if all are negative."""
    largest = components[0]
    for component in components[1:]:
        largest = np.maximum(largest, component)
    total = np.zeros_like(largest)
    for component in components:
        np.maximum(component, 0, out=component)
        np.multiply(component, component, out=component)
        total += component
    np.sqrt(total, out=total)
    total += np.minimum(largest, 0)
    return total


def _box(x, y, z, p):
    result = _positive_length(np.abs(x) - p[0], np.abs(y) - p[1], np.abs(z) - p[2])
    result -= p[3]
    return result


def _cylinder(x, y, z, p):
    result = _positive_length(_radius(x, z) - p[0], np.abs(y) - p[2])
    result -= p[3]
    return result


def _radius(x, z):
    result = x * x
    result += z * z
    return np.sqrt(result, out=result)


def _cone(x, y, z, p):
    bottom, top, half, rounding = p[0], p[1], p[2], p[3]
    rho = _radius(x, z)
    cap_x = rho - np.minimum(rho, np.where(y < 0, bottom, top))
    cap_y = np.abs(y) - half
    slope_x, slope_y = top - bottom, 2 * half
    along = (top - rho) * slope_x + (half - y) * slope_y
    along /= slope_x * slope_x + slope_y * slope_y
    np.clip(along, 0, 1, out=along)
    side_x = rho - top + slope_x * along
    side_y = y - half + slope_y * along
    inside = (side_x < 0) & (cap_y < 0)
    result = np.sqrt(np.minimum(cap_x * cap_x + cap_y * cap_y, side_x * side_x + side_y * side_y))
    np.negative(result, out=result, where=inside)
    result -= rounding
    return result


def _ellipsoid(x, y, z, p):
    x, y, z = x / p[0], y / p[1], z / p[2]
    radial = np.sqrt(x * x + y * y + z * z)
    x, y, z = x / p[0], y / p[1], z / p[2]
    gradient = np.sqrt(x * x + y * y + z * z)
    smallest = np.minimum(np.minimum(p[0], p[1]), p[2])
    # The ratio lies between the smallest and the largest radius; at the centre it is 0 / 0.
    ratio = np.maximum(radial / np.maximum(gradient, 1e-9), smallest)
    return (radial - 1) * ratio


def _torus(x, y, z, p):
    rho = _radius(x, z)
    rho -= p[0]
    result = _radius(rho, y)
    result -= p[1]
    return result


def _frustum(x, y, z, p):
    half = p[4]
    result = np.abs(y) - half
    height = y + half
    for value, bottom, top, shift in ((x, p[0], p[2], p[5]), (z, p[1], p[3], p[6])):
        for sign in (1.0, -1.0):
            slope = (sign * shift + top - bottom) / (2 * half)
            plane = (sign * value - bottom - slope * height) / np.sqrt(1 + slope * slope)
            np.maximum(result, plane, out=result)
    return result


def _prism(x, y, z, p):
    sector = np.pi / p[2]
    angle = np.mod(np.arctan2(z, x), 2 * sector) - sector
    rho = _radius(x, z)
    edge = rho * np.cos(angle) - p[0] * np.cos(sector)
    beyond = np.maximum(np.abs(rho * np.sin(angle)) - p[0] * np.sin(sector), 0)
    flat = np.where(edge > 0, np.sqrt(edge * edge + beyond * beyond), edge)
    return _positive_length(flat, np.abs(y) - p[1])


def _dome(x, y, z, p):
    return np.maximum(_ellipsoid(x, y, z, p), p[3] - y)


def _superquadric(x, y, z, p):
    a = np.maximum(np.abs(x) / p[0], 1e-7)
    b = np.maximum(np.abs(y) / p[1], 1e-7)
    c = np.maximum(np.abs(z) / p[2], 1e-7)
    upright, across = p[3], p[4]
    ring = _power_norm(a, c, across)
    gauge = _power_norm(ring, b, upright)
    # The gauge is convex, so its first-order distance outside is never too large.
    slope = _squared((b / gauge) ** (upright - 1) / p[1]) + (ring / gauge) ** (2 * upright - 2) * (
        _squared((a / ring) ** (across - 1) / p[0]) + _squared((c / ring) ** (across - 1) / p[2])
    )
    box = np.maximum(np.maximum(np.abs(x) - p[0], np.abs(y) - p[1]), np.abs(z) - p[2])
    return np.maximum((gauge - 1) / np.sqrt(slope), box)


def _power_norm(a, b, exponent):
    largest = np.maximum(a, b)
    return largest * ((a / largest) ** exponent + (b / largest) ** exponent) ** (1 / exponent)


def _squared(value):
    return value * value


def _spline(away):
    """Weight of a control value in a cubic B-spline, by its distance in stations."""
    far, near = np.maximum(2 - away, 0), np.maximum(1 - away, 0)
    return (far * far * far - 4 * near * near * near) / 6


def lathe_radius(y, p):
    """Radius of a LATHE at a height; beyond its ends the radius of the end."""
    place = np.clip(y / p[0] + 1, 0, 2) * ((NUM_STATIONS - 1) / 2)
    away = np.abs(place - _STATIONS.reshape(-1, *(1,) * place.ndim))
    straight = np.maximum(1 - away, 0)
    weights = straight + p[9] * (_spline(away) - straight)
    return (weights * p[1 : 1 + NUM_STATIONS]).sum(axis=0) / weights.sum(axis=0)


def _lathe(x, y, z, p):
    widest = np.abs(p[2:9] - p[1:8]).max(axis=0)
    slope = widest * (NUM_STATIONS - 1) / (2 * p[0])
    side = (_radius(x, z) - lathe_radius(y, p)) / np.sqrt(1 + slope * slope)
    return _positive_length(side, np.abs(y) - p[0])


def plate_radius(angle, p):
    """Radius of the outline of a PLATE at an angle in its bottom plane, before the twist."""
    place = np.mod(angle * (p[15] * (NUM_SPOKES / (2 * np.pi))), NUM_SPOKES)
    sector = 2 * np.pi / (NUM_SPOKES * p[15])
    away = np.abs(place - _SPOKES.reshape(-1, *(1,) * place.ndim))
    away = np.minimum(away, NUM_SPOKES - away)
    spokes = p[1 : 1 + NUM_SPOKES]
    curve = (_spline(away) * spokes).sum(axis=0)
    # A straight line in polar coordinates has an inverse radius that is a sum of sines.
    inverse = (np.sin(np.maximum(1 - away, 0) * sector) / spokes).sum(axis=0)
    straight = np.sin(sector) / inverse
    return straight + p[14] * (curve - straight)


def _plate(x, y, z, p):
    half, hole, taper, twist, bevel = p[0], p[11], p[12], p[13], p[16]
    height = np.clip(y / half, -1, 1)
    scale = 1 - taper * (height + 1) / 2
    radius = scale * plate_radius(np.arctan2(z, x) - twist * height / 2, p)
    rho = _radius(x, z)
    flat = np.maximum(rho - radius, np.where(hole > 0, hole * radius - rho, -np.inf))
    spokes = p[1 : 1 + NUM_SPOKES]
    following = np.roll(spokes, -1, axis=0)
    ratio = np.maximum(spokes / following, following / spokes).max(axis=0)
    sector = 2 * np.pi / (NUM_SPOKES * p[15])
    around = (ratio - np.cos(sector)) / np.sin(sector)
    upright = (np.abs(taper) + np.abs(twist) * around) * spokes.max(axis=0) / (2 * half)
    slope = np.sqrt(1 + around * around + upright * upright)
    # A bevel adds a slope of one along y to that of the side. Without one it is never the largest.
    steeper = np.sqrt(1 + around * around + (1 + upright) * (1 + upright))
    over = np.abs(y) - half
    cut = (flat + over + bevel) / steeper
    return np.maximum(_positive_length(flat / slope, over), cut)


def _arc(x, y, z, p):
    ring, across, along, half, taper, rounding = p[0], p[1], p[2], p[3], p[4], p[5]
    angle = np.abs(np.arctan2(z, x))
    rho = _radius(x, z)
    scale = 1 - taper * np.minimum(angle / half, 1)
    out = np.abs(rho * np.cos(np.maximum(angle - half, 0)) - ring) - across * scale
    end = rho * np.sin(np.maximum(angle - half, -np.pi / 2))
    result = _positive_length(out, np.abs(y) - along * scale, end) - rounding * scale
    inner = np.maximum(ring - across - rounding, ring / 4)
    slope = taper * (np.maximum(across, along) + rounding) / (half * inner)
    return result / np.sqrt(1 + slope * slope)


def terrain_height(x, z, p):
    """Height of the top of a TERRAIN above its zero level."""
    height = 0.0
    for wave in (3, 7, 11):
        turns = p[wave + 1] * x / p[0] + p[wave + 2] * z / p[1]
        height = height + p[wave] * np.sin(np.pi * turns + p[wave + 3])
    return height


def _terrain(x, y, z, p):
    slope = 0.0
    for wave in (3, 7, 11):
        slope = slope + np.abs(p[wave]) * np.hypot(p[wave + 1] / p[0], p[wave + 2] / p[1])
    height = terrain_height(np.clip(x, -p[0], p[0]), np.clip(z, -p[1], p[1]), p)
    top = (y - height) / np.sqrt(1 + _squared(np.pi * slope))
    return _positive_length(np.abs(x) - p[0], np.abs(z) - p[1], np.maximum(top, -y - p[2]))


DISTANCES: dict[Kind, Callable[..., NDArray[np.float32]]] = {
    Kind.BOX: _box,
    Kind.CYLINDER: _cylinder,
    Kind.CONE: _cone,
    Kind.ELLIPSOID: _ellipsoid,
    Kind.TORUS: _torus,
    Kind.FRUSTUM: _frustum,
    Kind.PRISM: _prism,
    Kind.DOME: _dome,
    Kind.SUPERQUADRIC: _superquadric,
    Kind.LATHE: _lathe,
    Kind.PLATE: _plate,
    Kind.ARC: _arc,
    Kind.TERRAIN: _terrain,
}
