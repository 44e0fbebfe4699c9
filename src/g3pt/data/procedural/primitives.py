"""A shape as data: arrays of primitives, and the one function that turns them into a field.

Every primitive is a solid with its own distance function, placed by a rotation and a translation,
and either added to what the earlier ones made or carved out of it. The sign of the field is exact;
its size is the distance for boxes, cylinders, cones, tori and regular prisms, and an estimate with
the right zero set for ellipsoids, frusta and wherever solids overlap.

Parameters of each kind, in its own frame (half lengths; the axis of round things is y):

    BOX        half x, half y, half z, rounding (a ball is a box with half lengths of zero)
    CYLINDER   radius, radius, half height, rounding
    CONE       bottom radius, top radius, half height, rounding
    ELLIPSOID  radius x, radius y, radius z
    TORUS      ring radius, tube radius
    FRUSTUM    bottom half x and z, top half x and z, half height, shift of the top in x and z
    PRISM      circumradius, half height, number of sides
    DOME       radius x, radius y, radius z, height of the cut (what lies above it is kept)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NUM_PARAMETERS = 7
_CHUNK = 4096
"""Points evaluated at a time: small enough that the temporaries stay in the cache."""


class Kind(IntEnum):
    """What a primitive is; the module's docstring lists the parameters."""

    BOX = 0
    CYLINDER = 1
    CONE = 2
    ELLIPSOID = 3
    TORUS = 4
    FRUSTUM = 5
    PRISM = 6
    DOME = 7


class EvaluationPlan(NamedTuple):
    """The primitives' frames as one matrix, and the primitives of each kind side by side."""

    matrix: NDArray[np.float32]
    offset: NDArray[np.float32]
    groups: list[tuple[Callable[..., NDArray[np.float32]], NDArray[np.int64], NDArray[np.float32]]]


@dataclass(frozen=True)
class ShapeArrays:
    """K primitives in the order in which they apply.

    Attributes:
        kinds: (K,) int64, a `Kind` each.
        parameters: (K, 7) float32.
        rotations: (K, 3, 3) float32, from the primitive's frame to the shape's.
        translations: (K, 3) float32, centre of the primitive in the shape's frame.
        carves: (K,) bool, True where the primitive is taken away instead of added.
        colors: (K, 3) uint8, colour of the surface that the primitive makes.
    """

    kinds: NDArray[np.int64]
    parameters: NDArray[np.float32]
    rotations: NDArray[np.float32]
    translations: NDArray[np.float32]
    carves: NDArray[np.bool_]
    colors: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.kinds)

    @cached_property
    def plan(self) -> EvaluationPlan:
        """What every evaluation of the field needs, made once."""
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
    """Index of the primitive that decides the field at each of the (N, 3) points."""
    owner = _evaluate(arrays, points, with_owner=True)[1]
    assert owner is not None
    return owner


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
        field[part] = _combine(distances, arrays.carves, None if owner is None else owner[part])
    return field, owner


def _combine(
    distances: NDArray[np.float32], carves: NDArray[np.bool_], owner: NDArray[np.int64] | None
) -> NDArray[np.float32]:
    """Apply the primitives in order: minimum to add, maximum with the negative to carve."""
    result = np.full(distances.shape[1], np.inf, np.float32)
    if owner is not None:
        owner[:] = 0
    for index, (distance, carve) in enumerate(zip(distances, carves, strict=True)):
        if carve:
            np.negative(distance, out=distance)
        if owner is not None:
            owner[distance > result if carve else distance < result] = index
        (np.maximum if carve else np.minimum)(result, distance, out=result)
    return result


# Distances of one kind: coordinates (k, n) in the primitive's frame, parameters (7, k, 1).


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


DISTANCES: dict[Kind, Callable[..., NDArray[np.float32]]] = {
    Kind.BOX: _box,
    Kind.CYLINDER: _cylinder,
    Kind.CONE: _cone,
    Kind.ELLIPSOID: _ellipsoid,
    Kind.TORUS: _torus,
    Kind.FRUSTUM: _frustum,
    Kind.PRISM: _prism,
    Kind.DOME: _dome,
}
