"""Assemblies: shapes that are no known object, made from a seed by plans, attachments and cuts."""

from __future__ import annotations

from dataclasses import replace
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from g3pt.procedural.bounds import EmptyShapeError, outer_box
from g3pt.procedural.builder import UNIT_SIZE, Paint, Vector, normalised, thickened, turned
from g3pt.procedural.captions import Facts
from g3pt.procedural.grammar.attachments import attach, hub_of, is_inside, touch
from g3pt.procedural.grammar.chance import Chance
from g3pt.procedural.grammar.clusters import (
    blended,
    carving,
    joined,
    mirrored,
    moved,
    part,
    rotated,
    scaled,
)
from g3pt.procedural.grammar.meetings import kept_within, meeting
from g3pt.procedural.grammar.plans import CUT_PLANS, PLANS, Plan
from g3pt.procedural.grammar.solids import ALONG, Taste, arc, sizes, solid
from g3pt.procedural.primitives import Kind, ShapeArrays, signed_distance
from g3pt.procedural.shape import ASSEMBLY, CUT_ASSEMBLY, ProceduralShape

THINNEST = 0.012
"""Smallest thickness of an added primitive of an assembly in the unit frame."""
Corners = NDArray[np.float64]
_MOST_PARTS = 44
_MOST_TRIES = 16


class _DegenerateError(Exception):
    """Raised for a draw that is discarded."""


def make_assembly(seed: int, family: str = ASSEMBLY) -> ProceduralShape:
    """Make the assembly of a seed.

    Args:
        seed: any number from 0 up.
        family: `ASSEMBLY`, whose shapes never change, or `CUT_ASSEMBLY`, which also bevels and
            intersects.

    Raises:
        ValueError: if the seed is negative, or the family is none of the two.
    """
    if seed < 0:
        raise ValueError(f"a shape's seed is a number from 0 up, got {seed}")
    if family not in (ASSEMBLY, CUT_ASSEMBLY):
        raise ValueError(f"assemblies are {ASSEMBLY!r} or {CUT_ASSEMBLY!r}, got {family!r}")
    for attempt in range(_MOST_TRIES):
        chance = Chance([seed, crc32(family.encode()), attempt])
        try:
            arrays, facts, extents = _finish(*_grow(chance, cuts=family == CUT_ASSEMBLY))
        except _DegenerateError:
            continue
        return ProceduralShape(family, int(seed), arrays, facts, extents)
    raise AssertionError(f"{family} {seed}: {_MOST_TRIES} draws were degenerate")


def _grow(chance: Chance, *, cuts: bool) -> tuple[ShapeArrays, Taste, Plan]:
    taste = Taste.draw(chance, cuts=cuts)
    plans = CUT_PLANS if cuts else PLANS
    plan = chance.weighted(plans)(chance, taste)
    cluster = plan.cluster
    if cuts and 2 * len(cluster) <= _MOST_PARTS and chance.flag(0.12):
        cluster, plan = kept_within(chance, taste, cluster), replace(plan, parts=())
    for _ in range(chance.weighted({0: 5, 1: 4, 2: 1.5})):
        minor = chance.weighted(plans)(chance, taste).cluster
        cluster = _with(cluster, scaled(minor, chance.ratio(0.12, 0.8)), chance)
    for _ in range(chance.weighted({0: 3, 1: 2, 2: 2, 3: 2, 5: 1, 8: 0.5})):
        half = sizes(chance, taste)
        kind = chance.weighted({None: 10, Kind.ARC: 1, Kind.TORUS: 0.5, Kind.TERRAIN: 0.2})
        if cuts and kind is None and chance.flag(0.2):
            detail = meeting(chance, taste, half)
        else:
            detail = solid(chance, taste, half, kind=kind)
        cluster = _with(cluster, scaled(detail, chance.ratio(0.06, 0.7)), chance)
    if chance.flag(0.2):
        cluster = _with_handles(cluster, chance, taste)
    # Stated numbers of parts are no longer true after a cut or a doubling.
    if chance.flag(0.22):
        cluster, plan = _cut(cluster, chance, taste), replace(plan, parts=())
    if chance.flag(0.12):
        cluster, plan = _joined_twice(cluster, chance), replace(plan, parts=())
    if chance.flag(0.08 + 0.2 * taste.softness):
        cluster = blended(cluster, chance.ratio(0.02, 0.15))
    return _posed(cluster, chance), taste, plan


def _row(cluster: ShapeArrays, chance: Chance) -> int:
    """Index of a random added primitive; larger ones are more likely."""
    added = np.flatnonzero(~cluster.carves).tolist()
    first, second = chance.pick(added), chance.pick(added)
    larger = cluster.parameters[first, :3].max() > cluster.parameters[second, :3].max()
    return first if larger else second


def _with(cluster: ShapeArrays, child: ShapeArrays, chance: Chance) -> ShapeArrays:
    """Attach a random child, possibly several copies, if there is room."""
    if len(cluster) + len(child) > _MOST_PARTS:
        return cluster
    copies = chance.flag(0.6)
    placed = attach(cluster, _row(cluster, chance), child, chance, copies=copies)
    room = max(1, (_MOST_PARTS - len(cluster)) // len(child))
    # A child's carvings must not cut the part that it stands on.
    first, last = (placed[:room], []) if child.carves.any() else ([], placed[:room])
    return joined([*first, cluster, *last])


def _with_handles(cluster: ShapeArrays, chance: Chance, taste: Taste) -> ShapeArrays:
    """Attach an arc whose two ends sink into the surface."""
    spot = touch(cluster, _row(cluster, chance), chance)
    if spot is None:
        return cluster
    size = float(cluster.parameters[spot.row, :3].max()) * chance.real(0.2, 0.7)
    ring, *section = arc(chance, size, max(0.012, size * taste.thickness(chance) * 2))
    section[2] = chance.real(0.5, 0.7) * np.pi
    section[3] = 0.0
    handle = part(Kind.ARC, (ring, *section), taste.color(chance))
    y = np.cross(spot.normal, chance.rotation()[0])
    y /= np.linalg.norm(y)
    pose = np.stack([spot.normal, y, np.cross(spot.normal, y)], axis=1)
    handle = moved(rotated(handle, pose), spot.point - spot.normal * (0.05 * size))
    ends = [(np.cos(section[2]), 0, sign * np.sin(section[2])) for sign in (-1, 1)]
    ends = ring * np.array(ends) @ pose.T + handle.translations
    inside = is_inside(cluster, spot.row, ends, 0)
    if cluster.limited.any():
        inside &= signed_distance(cluster, ends) < 0
    if not inside.any():
        return cluster
    placed = [handle]
    if chance.flag(0.4):
        centre = float(cluster.translations[spot.row, 0])
        placed.append(mirrored(handle, 0, centre))
    return joined([cluster, *placed])


def _cut(cluster: ShapeArrays, chance: Chance, taste: Taste) -> ShapeArrays:
    """Carve a hole through a solid, a row of holes, or a bite."""
    row = _row(cluster, chance)
    spot = touch(cluster, row, chance)
    if spot is None:
        return cluster
    size = float(np.sort(cluster.parameters[row, :3])[1]) * chance.ratio(0.12, 0.6) + 0.01
    color = taste.color(chance) if chance.flag(0.3) else tuple(cluster.colors[row].tolist())
    through = chance.flag(0.6)
    half = (size, 3.0 if through else size, size * chance.pick((1.0, 1.0, 2.5)))
    kind = chance.pick((Kind.CYLINDER, Kind.BOX, Kind.PRISM, Kind.SUPERQUADRIC))
    hole = solid(chance, taste, half, kind=kind, color=color)
    hole = carving(rotated(hole, hole.rotations[0].T))
    placed = attach(cluster, row, hole, chance, copies=chance.flag(0.5))
    return joined([cluster, *placed])


def _joined_twice(cluster: ShapeArrays, chance: Chance) -> ShapeArrays:
    """Join the cluster with its mirror image or a rotated copy, overlapping."""
    if 2 * len(cluster) > _MOST_PARTS or cluster.carves.any():
        return cluster
    axis, row = chance.pick((0, 0, 2)), _row(cluster, chance)
    # A plane through the centre of an added primitive, which overlaps its own image.
    middle = cluster.rotations[row] @ np.array(hub_of(cluster, row).at) + cluster.translations[row]
    if cluster.limited.any() and signed_distance(cluster, middle[None])[0] > 0:
        return cluster
    at = float(middle[axis])
    return joined([cluster, mirrored(cluster, axis, at)])


def _posed(cluster: ShapeArrays, chance: Chance) -> ShapeArrays:
    """Usually unchanged; sometimes rotated about y, laid down, or rotated at random."""
    style = chance.weighted({"upright": 0.72, "yaw": 0.12, "laid": 0.1, "any": 0.06})
    if style == "upright":
        return cluster
    if style == "yaw":
        return rotated(cluster, turned(y=chance.real(0, 360)))
    if style == "laid":
        return rotated(cluster, ALONG[chance.pick((0, 2))])
    return rotated(cluster, chance.rotation())


def _main_paint(cluster: ShapeArrays, taste: Taste, low: Corners, high: Corners) -> Paint:
    """The paint with the largest area, estimated by the boxes of the primitives."""
    x, y, z = (high - low).T
    shown = np.where(cluster.carves, 0, x * y + y * z + z * x)
    areas = {
        paint: float(shown[(cluster.colors == np.array(paint.rgb)).all(axis=1)].sum())
        for paint in taste.paints
    }
    return max(areas, key=lambda paint: areas[paint])


def _finish(cluster: ShapeArrays, taste: Taste, plan: Plan) -> tuple[ShapeArrays, Facts, Vector]:
    """Scale to the unit frame, thicken too thin parts, and state the facts."""
    low, high = outer_box(cluster)
    added = ~cluster.carves
    rough = float((high[added].max(axis=0) - low[added].min(axis=0)).max())
    cluster = thickened(cluster, THINNEST * rough / UNIT_SIZE)
    if not _hangs_together(low[added], high[added]):
        raise _DegenerateError
    try:
        arrays, extents = normalised(cluster, num_measured=2000)
    except EmptyShapeError as error:
        raise _DegenerateError from error
    if not (np.isfinite(extents).all() and min(extents) > 2 * THINNEST):
        raise _DegenerateError
    facts = Facts(
        nouns=("object", "thing", "shape"),
        paint=_main_paint(cluster, taste, low, high),
        words=plan.words,
        parts=plan.parts,
    )
    return arrays, facts, extents


def _hangs_together(low: Corners, high: Corners) -> bool:
    """Whether the boxes of the primitives, given by (K, 3) corners, form one connected group."""
    meets = np.all((low[:, None] < high) & (low < high[:, None]), axis=2)
    reached = meets[0]
    for _ in range(len(low)):
        further = meets[reached].any(axis=0)
        if (further == reached).all():
            break
        reached = further
    return bool(reached.all())
