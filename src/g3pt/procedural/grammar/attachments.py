"""Points where solids can touch, and attaching a cluster to another, once or symmetrically."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi

import numpy as np
from numpy.typing import NDArray

from g3pt.procedural.builder import turned
from g3pt.procedural.grammar.chance import Chance
from g3pt.procedural.grammar.clusters import mirrored, moved, rotated
from g3pt.procedural.grammar.solids import facing
from g3pt.procedural.primitives import DISTANCES, Kind, ShapeArrays, signed_distance

Vector = NDArray[np.floating]
_RAY = np.linspace(0, 1, 24)[:, None]
_NUDGE = 1e-3
_PROBE = np.concatenate([np.zeros((1, 3)), _NUDGE * np.eye(3)])


@dataclass(frozen=True, slots=True)
class Hub:
    """An axis-aligned ellipsoid inside a primitive, in the primitive's frame."""

    at: tuple[float, float, float]
    radii: tuple[float, float, float]

    def reach(self, direction: Vector) -> float:
        """Distance from the centre to the surface of the ellipsoid along a unit vector."""
        x, y, z = (float(d) / r for d, r in zip(direction, self.radii, strict=True))
        return (x * x + y * y + z * z) ** -0.5


def hub_of(cluster: ShapeArrays, row: int) -> Hub:
    """Compute the hub of one primitive."""
    p = cluster.parameters[row].tolist()
    match Kind(int(cluster.kinds[row])):
        case Kind.BOX:
            return Hub((0, 0, 0), (p[0] + p[3], p[1] + p[3], p[2] + p[3]))
        case Kind.CYLINDER | Kind.CONE:
            middle = (p[0] + p[1]) / 2
            round_ = 1.0 if p[0] == p[1] else 0.7
            return Hub((0, 0, 0), (round_ * middle + p[3], p[2] + p[3], round_ * middle + p[3]))
        case Kind.ELLIPSOID | Kind.SUPERQUADRIC:
            give = 1.0 if p[3] == 0 or min(p[3], p[4]) >= 2 else 0.57
            return Hub((0, 0, 0), (give * p[0], give * p[1], give * p[2]))
        case Kind.TORUS:
            return Hub((p[0], 0, 0), (p[1], p[1], p[1]))
        case Kind.FRUSTUM:
            x, z = 0.35 * (p[0] + p[2]), 0.35 * (p[1] + p[3])
            return Hub((p[5] / 2, 0, p[6] / 2), (x, 0.9 * p[4], z))
        case Kind.PRISM:
            inner = p[0] * cos(pi / p[2])
            return Hub((0, 0, 0), (inner, p[1], inner))
        case Kind.DOME:
            low, high = p[3], p[1]
            rest = 0.6 * (1 - max(low / high, 0.0) ** 2) ** 0.5
            half = (high - low) / 2
            return Hub((0, low + half, 0), (rest * p[0], half, rest * p[2]))
        case Kind.LATHE:
            inner = min(p[2:8])
            return Hub((0, 0, 0), (inner, p[0], inner))
        case Kind.PLATE:
            rim, narrow = p[1], min(p[1:11])
            if p[11] == 0:
                inner = 0.9 * narrow * (1 - max(p[12], 0.0))
                return Hub((0, 0, 0), (inner, p[0], inner))
            scale = 1 - p[12] / 2
            wall = 0.4 * narrow * (1 - p[11]) * (1 - abs(p[12]))
            return Hub(((1 + p[11]) / 2 * rim * scale, 0, 0), (wall, 0.6 * p[0], wall))
        case Kind.ARC:
            out, up = p[1] + p[5], p[2] + p[5]
            return Hub((p[0], 0, 0), (out, up, min(p[0] * min(p[3], 1.0), 2 * max(out, up))))
        case Kind.TERRAIN:
            depth = p[2] - abs(p[3]) - abs(p[7]) - abs(p[11])
            return Hub((0, -p[2] + depth / 2, 0), (p[0], depth / 2, p[1]))


@dataclass(frozen=True, slots=True)
class Touch:
    """A point of a primitive's surface in the cluster's frame, with the outward normal there."""

    row: int
    point: Vector
    normal: Vector


def touch(cluster: ShapeArrays, row: int, chance: Chance) -> Touch | None:
    """Cast a ray from inside a primitive, along an axis or at random; None if it finds no surface.

    Where another primitive limits this one, the point may be one that is cut off.

    Args:
        cluster: the cluster.
        row: index of the primitive.
        chance: source of the ray's origin and direction.
    """
    hub = hub_of(cluster, row)
    radii = np.array(hub.radii)
    if chance.flag(0.75):
        x, y, z = hub.radii
        axis = chance.weighted({0: y * z + 0.3 * x * x, 1: x * z + 0.5 * y * y, 2: x * y})
        direction = np.zeros(3)
        direction[axis] = chance.sign()
    else:
        direction = chance.rotation()[0] * radii
        direction /= np.linalg.norm(direction)
    start = np.array(hub.at)
    if chance.flag(0.7):
        start = start + radii * (chance.rotation()[0] * chance.real(0.2, 0.95))
    distance = DISTANCES[Kind(int(cluster.kinds[row]))]
    p = cluster.parameters[row][:, None, None]
    length = 2.2 * float(cluster.parameters[row, :11].max()) + 0.1
    ray = (start + length * _RAY**1.5 * direction).astype(np.float32)
    field = distance(ray[None, :, 0], ray[None, :, 1], ray[None, :, 2], p)[0]
    outside = np.flatnonzero(field > 0)
    if not len(outside) or outside[0] == 0:
        return None
    last, first = int(outside[0]) - 1, int(outside[0])
    share = field[last] / (field[last] - field[first])
    local = ray[last] + share * (ray[first] - ray[last])
    probe = (local + _PROBE).astype(np.float32)
    values = distance(probe[None, :, 0], probe[None, :, 1], probe[None, :, 2], p)[0]
    normal = (values[1:] - values[0]) / _NUDGE
    size = float(np.linalg.norm(normal))
    if not size > 1e-3:
        return None
    normal = normal / size
    local = local - normal * min(float(values[0]) / size, 0.1)
    rotation = cluster.rotations[row]
    return Touch(row, rotation @ local + cluster.translations[row], rotation @ normal)


def is_inside(cluster: ShapeArrays, row: int, points: Vector, slack: float) -> NDArray[np.bool_]:
    """Tell which of (N, 3) points lie in one primitive or within a distance of it."""
    local = (points - cluster.translations[row]) @ cluster.rotations[row]
    local = local.astype(np.float32)[None]
    distance = DISTANCES[Kind(int(cluster.kinds[row]))]
    p = cluster.parameters[row][:, None, None]
    return distance(local[..., 0], local[..., 1], local[..., 2], p)[0] < slack


def place(child: ShapeArrays, row: int, spot: Touch, depth: float) -> Vector:
    """Translation after which a primitive of the child, within its limits, stands on a spot.

    Args:
        child: the cluster to move.
        row: index of its primitive that is to touch.
        spot: the point to touch.
        depth: how deep it sinks in, as a share of the distance from its surface to its hub.
    """
    chains = child.chains
    shifts: list[Vector] = []
    for each in np.flatnonzero(chains == chains[row]).tolist():
        hub = hub_of(child, each)
        rotation = child.rotations[each]
        reach = hub.reach(rotation.T @ -spot.normal)
        middle = rotation @ np.array(hub.at) + child.translations[each]
        shifts.append(spot.point + spot.normal * (reach * (1 - depth)) - middle)
    return min(shifts, key=lambda shift: float(shift @ spot.normal))


_SLACK = 2e-3
"""Largest distance of a copy's foot from the surface it stands on; it sinks in by more."""


def attach(
    base: ShapeArrays,
    row: int,
    child: ShapeArrays,
    chance: Chance,
    *,
    up: bool = False,
    copies: bool = False,
) -> list[ShapeArrays]:
    """Attach a child by its first primitive to one primitive of the base.

    Args:
        base: the cluster to attach to.
        row: index of the primitive to attach to.
        child: the cluster to attach, in its own frame.
        chance: source of randomness.
        up: attach only to surfaces that face up, and stand upright.
        copies: attach several copies, mirrored, around or in a row, where the base has room.

    Returns:
        The placed children; none if no place was found.
    """
    spot = touch(base, row, chance)
    for _ in range(3 if up else 0):
        if spot is not None and spot.normal[1] > 0.6:
            break
        spot = touch(base, row, chance)
    if spot is None or (up and spot.normal[1] < 0.3):
        return []
    foot = spot.point - 0.01 * spot.normal
    if _is_cut(base) and signed_distance(base, foot[None])[0] > 0:
        return []
    if up:
        spot = Touch(spot.row, spot.point, np.array([0.0, 1.0, 0.0]))
    elif chance.flag(0.65):
        child = rotated(child, facing(spot.normal))
    depth = chance.real(0.04, 0.3) if chance.flag(0.8) else chance.real(0.3, 1.0)
    child = moved(child, place(child, 0, spot, depth))
    if not copies:
        return [child]
    return [child, *_copies(base, spot, child, chance)]


def _is_cut(cluster: ShapeArrays) -> bool:
    """Whether parts of its primitives are carved away or cut off by limits."""
    return bool(cluster.carves.any() or cluster.limited.any())


def _copies(
    base: ShapeArrays, spot: Touch, child: ShapeArrays, chance: Chance
) -> list[ShapeArrays]:
    """Copies of the first child whose feet stand on the same primitive."""
    rotation, centre = base.rotations[spot.row], base.translations[spot.row]
    foot = spot.point - 0.01 * spot.normal
    found: list[tuple[ShapeArrays, np.ndarray]] = []
    style = chance.weighted({"mirror": 0.4, "radial": 0.3, "row": 0.3})
    if style == "radial":
        num = chance.pick((3, 4, 5, 6, 8))
        for i in range(1, num):
            turn = rotation @ turned(y=360.0 * i / num) @ rotation.T
            found.append((rotated(child, turn, centre), turn @ (foot - centre) + centre))
    elif style == "row":
        num = chance.whole(2, 6)
        local = rotation.T @ (foot - centre)
        free = np.abs(rotation.T @ spot.normal) < 0.5
        if not free.any():
            return []
        axis = int(np.argmax(np.where(free, np.abs(local) + 1e-3, 0)))
        step = rotation[:, axis] * (-2 * local[axis] / num)
        for i in range(1, num + 1):
            found.append((moved(child, step * i), foot + step * i))
    else:
        # Axis-parallel planes through the primitive's centre.
        across = [0] if chance.flag(0.7) else [0, 2]
        for axis in across:
            flip = np.ones(3)
            flip[axis] = -1
            for one, at in [(child, foot), *found]:
                other = mirrored(one, axis, float(centre[axis]))
                found.append((other, (at - centre) * flip + centre))
    if not found:
        return []
    feet = np.array([at for _, at in found])
    keep = is_inside(base, spot.row, feet, _SLACK)
    # A copy at the place of the first one would be redundant.
    keep &= np.abs(feet - foot).max(axis=1) > 0.1 * float(child.parameters[0, :3].max())
    if _is_cut(base):
        keep &= signed_distance(base, feet) < _SLACK
    return [one for (one, _), kept in zip(found, keep, strict=True) if kept]
