"""Intersections: solids of which only the common part is left, and clusters kept within a solid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from g3pt.procedural.bounds import outer_box
from g3pt.procedural.builder import turned
from g3pt.procedural.grammar.chance import Chance
from g3pt.procedural.grammar.clusters import Color, joined, moved, rotated, scaled
from g3pt.procedural.grammar.solids import ALONG, Sizes, Taste, solid
from g3pt.procedural.primitives import Kind, ShapeArrays

_EXTRUSIONS = {Kind.PLATE: 4.0, Kind.PRISM: 1.5, Kind.CYLINDER: 1.5, Kind.FRUSTUM: 1.0}
_CLOSED = {Kind.ELLIPSOID: 2.0, Kind.SUPERQUADRIC: 2.0, Kind.BOX: 1.5, Kind.CYLINDER: 1.0}
"""Solids to cut with: convex, so that what they leave of a solid is rarely in pieces."""
_HOLLOW = (Kind.TORUS, Kind.ARC)


def limited_by(first: ShapeArrays, *others: ShapeArrays) -> ShapeArrays:
    """Intersect single primitives, all added or all carved."""
    chain = joined([first, *others])
    assert len(chain) == 1 + len(others), "a chain is made of single primitives"
    return replace(chain, limited=np.arange(len(chain)) < len(others))


def meeting(chance: Chance, taste: Taste, half: Sizes) -> ShapeArrays:
    """Draw the intersection of two or three solids about the centre of a box they about fill."""
    style = chance.weighted({"crossed": 3, "trimmed": 3, "lens": 1.5, "slice": 2})
    color = taste.color(chance)
    second = taste.color(chance) if chance.flag(0.35) else color
    if style == "crossed":
        return _crossed(chance, taste, half, color, second)
    if style == "trimmed":
        inner = solid(chance, taste, half, color=color)
        reach = [side * chance.ratio(0.72, 1.15) for side in half]
        kind = chance.weighted(_CLOSED)
        limit = solid(chance, taste, (reach[0], reach[1], reach[2]), color=second, kind=kind)
        return limited_by(inner, limit)
    if style == "lens":
        axis = int(np.argmin(half))
        one = solid(chance, taste, half, color=color, kind=Kind.ELLIPSOID)
        apart = np.zeros(3)
        apart[axis] = half[axis] * chance.real(0.2, 0.7)
        kind = chance.pick((Kind.ELLIPSOID, Kind.ELLIPSOID, Kind.SUPERQUADRIC))
        two = solid(chance, taste, half, color=second, kind=kind)
        return limited_by(moved(one, apart), moved(two, -apart))
    return _slice(chance, taste, half, color, second)


def _crossed(chance: Chance, taste: Taste, half: Sizes, color: Color, second: Color) -> ShapeArrays:
    """Extrusions along two or three different axes, each as wide as the box."""
    axes = [0, 1, 2]
    axes.remove(chance.whole(0, 2))
    if chance.flag(0.2):
        axes = [0, 1, 2]
    found: list[ShapeArrays] = []
    for number, axis in enumerate(axes):
        long = np.array(half)
        long[axis] *= chance.real(1.0, 1.2)
        turn = ALONG[axis]
        own = np.abs(turn.T @ long)
        kind = chance.weighted(_EXTRUSIONS)
        tint = second if number else color
        sides = float(own[0]), float(own[1]), float(own[2])
        found.append(
            rotated(solid(chance, taste, sides, color=tint, kind=kind, upright=True), turn)
        )
    return limited_by(found[0], *found[1:])


def _slice(chance: Chance, taste: Taste, half: Sizes, color: Color, second: Color) -> ShapeArrays:
    """A solid of which a flat cut leaves a half, a quarter or a slab."""
    kind = chance.weighted({None: 5, Kind.TORUS: 1, Kind.LATHE: 1.5})
    whole = solid(chance, taste, half, color=color, kind=kind)
    hollow = int(whole.kinds[0]) in _HOLLOW
    box, middle = np.array(half) * 1.05, np.zeros(3)
    for axis in chance.pick(((0,), (1,), (2,), (0, 2), (0, 1))):
        keep = chance.real(0.3, 0.75)
        both = not hollow and chance.flag(0.4)
        middle[axis] = 0.0 if both else box[axis] * (1 - keep) * chance.sign()
        box[axis] *= keep
    sides = float(box[0]), float(box[1]), float(box[2])
    limit = solid(chance, taste, sides, color=second, kind=Kind.BOX)
    if chance.flag(0.3) and not hollow:
        limit = rotated(limit, turned(*(chance.real(-30, 30) for _ in range(3))))
    return limited_by(whole, moved(limit, middle))


def within(cluster: ShapeArrays, limit: ShapeArrays) -> ShapeArrays:
    """Keep what lies within one solid: every added primitive or chain is limited by it."""
    found: list[ShapeArrays] = []
    for chain in np.unique(cluster.chains):
        rows = np.flatnonzero(cluster.chains == chain).tolist()
        own = cluster.only(rows)
        if own.carves[0]:
            found.append(own)
            continue
        last = replace(limit, blends=own.blends[-1:])
        found.append(replace(joined([own, last]), limited=np.arange(len(rows) + 1) < len(rows)))
    return joined(found)


def kept_within(chance: Chance, taste: Taste, cluster: ShapeArrays) -> ShapeArrays:
    """Keep what lies within a random solid about the middle of the cluster."""
    low, high = outer_box(cluster)
    added = ~cluster.carves
    low, high = low[added].min(axis=0), high[added].max(axis=0)
    half = (high - low) / 2 * [chance.real(0.55, 0.95) for _ in range(3)]
    sides = float(half[0]), float(half[1]), float(half[2])
    longest = max(sides)
    color = taste.color(chance)
    limit = solid(
        chance,
        taste,
        (sides[0] / longest, sides[1] / longest, sides[2] / longest),
        color=color,
        kind=chance.weighted(_CLOSED),
    )
    return within(cluster, moved(scaled(limit, longest), (low + high) / 2))
