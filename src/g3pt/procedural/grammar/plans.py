"""Plans: ways to put solids together, each about two units large around the origin, +Y up.

A plan is a way of building, such as a frame of rods, a column or a shell, not a kind of object. It
returns its cluster and the phrases that are true of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import cos, pi, sin

import numpy as np

from g3pt.procedural.builder import turned
from g3pt.procedural.captions import counted
from g3pt.procedural.grammar.attachments import attach
from g3pt.procedural.grammar.chance import Chance
from g3pt.procedural.grammar.clusters import (
    UPRIGHT,
    blended,
    carving,
    joined,
    mirrored,
    moved,
    part,
    rotated,
    scaled,
)
from g3pt.procedural.grammar.meetings import meeting
from g3pt.procedural.grammar.solids import (
    ALONG,
    Taste,
    facing,
    limb,
    plate,
    sizes,
    solid,
    terrain,
)
from g3pt.procedural.primitives import NUM_STATIONS, Kind, ShapeArrays, lathe_radius


@dataclass(frozen=True, slots=True)
class Plan:
    """Result of a plan."""

    cluster: ShapeArrays
    words: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()


def body(chance: Chance, taste: Taste) -> Plan:
    """One solid."""
    return Plan(solid(chance, taste, sizes(chance, taste), color=taste.main))


def frame(chance: Chance, taste: Taste) -> Plan:
    """Posts at the corners of a rectangle or a ring, boards or rails between them."""
    wide, deep, tall = chance.real(0.35, 1), chance.real(0.3, 1), chance.real(0.3, 1)
    thick = max(0.012, taste.thickness(chance))
    num = chance.pick((4, 4, 4, 3, 6, 2))
    if num == 4:
        feet = [(x * wide, z * deep) for x in (-1, 1) for z in (-1, 1)]
    else:
        feet = [
            (wide * cos(2 * pi * (i + 0.25) / num), wide * sin(2 * pi * (i + 0.25) / num))
            for i in range(num)
        ]
    splay = chance.pick((1.0, 1.0, 1.0, chance.real(0.5, 1.3)))
    color, square = taste.color(chance), chance.flag()
    clusters = []
    for x, z in feet:
        low, high = np.array([x, -tall, z]), np.array([x * splay, tall, z * splay])
        clusters.append(_bar(low, high, thick, color, square=square))
    levels = sorted(chance.real(-0.9, 0.9) for _ in range(chance.whole(0, 3)))
    if chance.flag(0.75) or not levels:
        levels.append(1.0)
    for level in levels:
        u = (level + 1) / 2
        at = 1 - u + u * splay
        reach = wide * at if num != 4 else 0.0
        half = (
            (reach or wide * at) + thick,
            thick * chance.real(0.5, 2),
            (reach or deep * at) + thick,
        )
        if chance.flag(0.6):
            round_ = num != 4
            kind = Kind.CYLINDER if round_ else Kind.BOX
            sides = (half[0], half[0], half[1], 0.0) if round_ else (*half, 0.0)
            clusters.append(part(kind, sides, taste.main, (0, level * tall, 0)))
        else:
            rim = [np.array([x * at, level * tall, z * at]) for x, z in feet]
            ring = [0, 1, 3, 2] if num == 4 else list(range(num))
            for i in range(num if num > 2 else 1):
                ends = rim[ring[i]], rim[ring[(i + 1) % num]]
                clusters.append(_bar(*ends, thick * 0.8, color, square=square))
    if num == 4 and chance.flag(0.3):
        panel = part(Kind.BOX, (wide, tall, thick / 2, 0), taste.color(chance), (0, 0, -deep))
        clusters.append(panel)
    phrases = (counted(num, "post"),) if num > 2 else ()
    return Plan(joined(clusters), parts=phrases)


def _bar(
    start: np.ndarray, end: np.ndarray, thick: float, color: tuple[int, int, int], *, square: bool
) -> ShapeArrays:
    if not square:
        return limb(start, end, thick, thick, color)
    along = end - start
    length = float(np.linalg.norm(along))
    parameters = (thick, 0.5 * length + thick, thick, 0.0)
    return part(Kind.BOX, parameters, color, (start + end) / 2, facing(along / length))


def column(chance: Chance, taste: Taste) -> Plan:
    """Stacked solids."""
    num = chance.whole(2, 7)
    clusters, top, width = [], 0.0, chance.ratio(0.1, 0.8)
    shared = chance.weighted({Kind.LATHE: 2, Kind.CYLINDER: 2, Kind.BOX: 1, Kind.PLATE: 1})
    mixed = chance.flag(0.6)
    for _ in range(num):
        half = chance.ratio(0.03, 0.6)
        radius = min(1.0, max(0.025, width * chance.ratio(0.4, 1.9)))
        deep = radius if chance.flag(0.8) else radius * chance.real(0.3, 1)
        kind = None if mixed else shared
        block = solid(chance, taste, (radius, half, deep), kind=kind, upright=True)
        sunk = 0.06 * half
        clusters.append(moved(block, (0, top + half - sunk, 0)))
        if kind is None and clusters[-1].kinds[0] in (Kind.ELLIPSOID, Kind.SUPERQUADRIC):
            top -= 0.15 * half
        top += 2 * half - sunk
        if chance.flag(0.3):
            width = chance.ratio(0.05, 0.8)
    cluster = scaled(moved(joined(clusters), (0, -top / 2, 0)), 2 / max(top, 1.0))
    return Plan(cluster, words=("stacked",))


def tree(chance: Chance, taste: Taste) -> Plan:
    """Branching limbs with solids at their ends."""
    color, tip_color = taste.color(chance), taste.color(chance)
    spread, shrink = chance.real(0.3, 1.1), chance.real(0.55, 0.85)
    flat, blend = chance.flag(0.2), chance.pick((0.0, 0.0, 0.04))
    forks, levels = chance.whole(2, 3), chance.whole(1, 3)
    tips = chance.pick(("none", "ball", "leaf", "none"))
    clusters: list[ShapeArrays] = []
    thick = max(0.02, 1.5 * taste.thickness(chance))
    ends = [(np.array([0.0, -1.0, 0.0]), np.array([0.0, 1.0, 0.0]), chance.real(0.5, 1.1), thick)]
    for level in range(levels + 1):
        following = []
        for start, heading, length, wide in ends:
            if len(clusters) > 24:
                break
            end = start + heading * length
            narrow = wide * 0.75
            clusters.append(limb(start, end, wide, narrow, color, blend=blend))
            last = level == levels
            if last and tips != "none" and len(clusters) < 30:
                size = chance.real(2, 6) * wide
                half = (size, size * 1.5, 0.2 * size) if tips == "leaf" else (size, size, size)
                kind = Kind.ELLIPSOID if tips == "ball" else Kind.SUPERQUADRIC
                tip = part(kind, (*half, 2.0, 2.0)[: 3 if tips == "ball" else 5], tip_color)
                tip = rotated(tip, facing(heading))
                clusters.append(moved(tip, end + heading * half[1] * 0.8))
            turn = 0.0 if flat else chance.real(0, 2 * pi)
            for fork in range(0 if last else forks):
                roll = turn + 2 * pi * fork / forks
                lean = spread * chance.real(0.6, 1.3)
                side = np.array([cos(roll) * sin(lean), cos(lean), sin(roll) * sin(lean)])
                following.append((end, facing(heading) @ side, length * shrink, narrow))
        ends = following
    return Plan(joined(clusters), words=("branching",))


def blob(chance: Chance, taste: Taste) -> Plan:
    """Round solids blended along a curve, with limbs in pairs."""
    num, blend = chance.whole(2, 6), chance.ratio(0.03, 0.25)
    place, heading = np.zeros(3), facing(np.array([0.0, 0.0, 1.0]))[:, 1]
    clusters: list[ShapeArrays] = []
    color = taste.main
    flat = chance.flag(0.7)
    radius = chance.real(0.2, 0.45)
    for _ in range(num):
        radii = [radius * chance.real(0.7, 1.3) for _ in range(3)]
        tint = color if chance.flag(0.7) else taste.color(chance)
        round_ = part(Kind.ELLIPSOID, (radii[0], radii[1], radii[2]), tint, place, blend=blend)
        clusters.append(round_)
        bend = 0.0 if flat else chance.real(-40, 40)
        heading = turned(chance.real(-50, 50), bend) @ heading
        place = place + heading * radius * 0.6
        radius = min(0.5, max(0.06, radius * chance.ratio(0.55, 1.5)))
        place = place + heading * radius * 0.55
    pairs = chance.whole(0, 3)
    for _ in range(pairs):
        row = chance.whole(0, num - 1)
        centre, half = clusters[row].translations[0], clusters[row].parameters[0]
        start = centre + np.array([0.5 * half[0], 0, 0], np.float32)
        reach = chance.real(0.4, 1.1)
        down = chance.real(-1.4, 1.0)
        end = start + reach * np.array([cos(down), sin(down), chance.real(-0.4, 0.4)])
        wide = chance.real(0.02, 0.12)
        knee = (start + end) / 2 + np.array([0, chance.real(-0.2, 0.2), chance.real(-0.1, 0.1)])
        one = joined(
            [
                limb(start, knee, wide, wide * 0.9, color, blend=blend / 2),
                limb(knee, end, wide * 0.9, wide * chance.real(0.3, 1.3), color, blend=blend / 4),
            ]
        )
        clusters += [one, mirrored(one, 0)]
    phrases = (counted(2 * pairs, "limb"),) if pairs and flat else ()
    return Plan(joined(clusters), words=("smooth", "rounded"), parts=phrases)


def shell(chance: Chance, taste: Taste) -> Plan:
    """An open hollow solid: the same solid, smaller and shifted, is carved out."""
    kind = chance.weighted(
        {Kind.LATHE: 3, Kind.PLATE: 2, Kind.SUPERQUADRIC: 2, Kind.BOX: 2, Kind.FRUSTUM: 1}
    )
    wide, deep, tall = chance.real(0.3, 1), chance.real(0.3, 1), chance.ratio(0.12, 1)
    if kind == Kind.PLATE:
        parameters = plate(chance, wide, tall, deep)
        parameters = (*parameters[:11], 0.0, *parameters[12:])  # a hole would leave no bottom
        outer = part(kind, parameters, taste.main)
    else:
        outer = solid(chance, taste, (wide, tall, deep), kind=kind, color=taste.main)
        outer = rotated(outer, outer.rotations[0].T)
    wall = min(0.2, max(0.02, 3 * taste.thickness(chance)))
    color = taste.color(chance) if chance.flag(0.3) else taste.main
    opening = chance.weighted({"top": 6, "front": 1.5, "both ends": 1})
    inner = scaled(outer, 1 - wall)
    along = chance.real(1.1, 1.4) * wall
    if kind == Kind.LATHE:
        inner = _within(outer, wall)
    elif opening == "front":
        inner = moved(inner, (0, 0, along * deep))
    elif opening == "top":
        inner = moved(inner, (0, along * tall, 0))
    else:
        inner = _stretched(inner)
    return Plan(joined([outer, carving(inner, color)]), words=("hollow",))


def _within(outer: ShapeArrays, wall: float) -> ShapeArrays:
    """The inside of a lathe with a wall and a bottom, which extends beyond its top."""
    p = outer.parameters[0].astype(np.float64)
    half = p[0]
    heights = np.linspace(-half * (1 - 2 * wall), half, NUM_STATIONS)
    radii = lathe_radius(heights, p[:, None]) - wall * p[1 : 1 + NUM_STATIONS].max()
    inner = outer.parameters.copy()
    inner[0, 0] = half * (1 - wall) + 0.01
    inner[0, 1 : 1 + NUM_STATIONS] = np.maximum(radii, 0.01)
    return moved(replace(outer, parameters=inner), (0, half * wall + 0.01, 0))


def _stretched(inner: ShapeArrays) -> ShapeArrays:
    """The same solid, tall enough to extend beyond both ends of the outer one."""
    kind, longer = Kind(int(inner.kinds[0])), inner.parameters.copy()
    longer[0, {Kind.PLATE: 0, Kind.FRUSTUM: 4}.get(kind, 1)] *= 1.5
    return replace(inner, parameters=longer)


def wings(chance: Chance, taste: Taste) -> Plan:
    """A slender body with sheets in mirrored pairs and upright ones."""
    axis = chance.pick((2, 2, 2, 0, 1))
    thick = chance.ratio(0.04, 0.3)
    half = [thick, thick * chance.real(0.6, 1.3), thick]
    half[axis] = 1.0
    if axis == 1:
        half[2] = thick
    kind = chance.pick((Kind.LATHE, Kind.SUPERQUADRIC, Kind.CONE, Kind.FRUSTUM, Kind.BOX))
    clusters = [solid(chance, taste, (half[0], half[1], half[2]), kind=kind, color=taste.main)]
    num = chance.whole(1, 3)
    for _ in range(num):
        span, chord = chance.real(0.2, 1), chance.real(0.06, 0.5)
        thin = max(0.01, span * taste.thickness(chance))
        shift, lift = chance.real(-0.7, 0.7), 0.0
        if axis != 1 and kind in (Kind.BOX, Kind.SUPERQUADRIC):
            lift = chance.real(-0.7, 0.7) * half[1]
        narrow, sweep = chance.real(0.2, 1), chance.real(-0.6, 0.6) * (chord + 0.2)
        sheet = part(
            Kind.FRUSTUM,
            (thin, chord, thin * 0.6, chord * narrow, span / 2, 0, sweep),
            taste.color(chance),
        )
        sheet = moved(sheet, (0, span / 2, 0))
        tilt = chance.pick((90.0, 90.0, 90 + chance.real(-50, 50), 0.0))
        sheet = rotated(sheet, turned(z=-tilt))
        if axis != 2:
            sheet = rotated(sheet, ALONG[axis] @ ALONG[2].T)
        at = np.array([0.0, lift, 0.0])
        at[axis] += shift
        sheet = moved(sheet, at)
        side = 0 if axis != 0 else 2
        clusters.append(sheet)
        if tilt:
            clusters.append(mirrored(sheet, side))
    return Plan(joined(clusters))


def rings(chance: Chance, taste: Taste) -> Plan:
    """Arcs and rings: a chain, one within the other, a coil or meridians of a ball."""
    style = chance.pick(("chain", "nest", "coil", "meridians"))
    num = chance.whole(2, 6) if style != "nest" else chance.whole(1, 4)
    thick = max(0.012, taste.thickness(chance) * 1.5)
    color, clusters = taste.main, []
    strap, taper = chance.flag(0.4), chance.real(0.2, 0.6) * chance.flag(0.2)
    wide = thick * chance.real(1, 5)
    angle = chance.real(0.52, 0.92) * pi
    for i in range(num):
        ring = 0.9 * (1 - 0.14 * i) if style == "nest" else 0.9
        if style == "chain":
            one = part(Kind.TORUS, (ring, thick), taste.color(chance))
            one = moved(rotated(one, turned(x=90 * (i % 2))), (1.9 * (ring - thick) * i, 0, 0))
            clusters.append(one)
            continue
        section = (thick, wide, 0.0) if strap else (0.0, 0.0, thick)
        one = part(Kind.ARC, (ring, *section[:2], angle, taper, section[2]), taste.color(chance))
        if style == "coil":
            one = moved(rotated(one, turned(y=180.0 * i)), (0, 1.6 * thick * i, 0))
        elif style == "meridians":
            one = rotated(rotated(one, turned(x=90)), turned(y=360.0 * i / num))
        else:
            one = rotated(one, turned(x=chance.real(-90, 90)))
        clusters.append(one)
    if style == "nest" and num > 1:
        ends = np.array([0.3, 0, 0]), np.array([1.1, 0, 0])
        clusters.append(limb(*ends, thick, thick, color))
    cluster = joined(clusters)
    if chance.flag(0.4):
        cluster = rotated(cluster, turned(x=90))
    return Plan(cluster)


def land(chance: Chance, taste: Taste) -> Plan:
    """A height field or a board with solids standing on it."""
    wide, deep, thick = 1.0, chance.real(0.5, 1.0), chance.ratio(0.03, 0.25)
    if chance.flag(0.6):
        ground = part(Kind.TERRAIN, terrain(chance, wide, 1.5 * thick, deep), taste.main)
    else:
        half = (wide, max(0.012, taste.thickness(chance)), deep)
        ground = solid(
            chance,
            taste,
            half,
            kind=chance.pick((Kind.BOX, Kind.PLATE, Kind.SUPERQUADRIC)),
            color=taste.main,
        )
    clusters = [ground]
    things = [_small(chance, taste) for _ in range(chance.whole(1, 3))]
    for _ in range(chance.whole(3, 12)):
        size = chance.ratio(0.06, 0.35)
        thing = scaled(chance.pick(things), size)
        thing = rotated(thing, turned(y=chance.real(0, 360)))
        clusters += attach(ground, 0, thing, chance, up=True)
    return Plan(joined(clusters))


def _small(chance: Chance, taste: Taste) -> ShapeArrays:
    """One or two solids, the lower one about one unit large."""
    half = sizes(chance, taste, chance.pick(("rod", "chunk", "slab")))
    half = (half[0], half[1], half[2]) if chance.flag(0.4) else (half[0] * 0.4, 1.0, half[2] * 0.4)
    low = solid(chance, taste, half)
    if chance.flag(0.5):
        return low
    more = attach(low, 0, solid(chance, taste, (0.5, 0.6, 0.5)), chance, up=True)
    return joined([low, *more])


def blocks(chance: Chance, taste: Taste) -> Plan:
    """A grid of boxes or posts of different heights."""
    nx, nz = chance.whole(1, 5), chance.whole(1, 4)
    nx = max(nx, 2) if nz == 1 else nx
    base = max(0.012, taste.thickness(chance))
    pitch = 2 / max(nx, nz)
    fill = chance.real(0.2, 1.02) * pitch / 2
    tall, wild = chance.ratio(0.1, 1.0), chance.flag(0.6)
    kind = chance.pick(
        (Kind.BOX, Kind.BOX, Kind.CYLINDER, Kind.FRUSTUM, Kind.SUPERQUADRIC, Kind.LATHE)
    )
    clusters = [part(Kind.BOX, (nx * pitch / 2, base, nz * pitch / 2, 0), taste.color(chance))]
    pattern = solid(chance, taste, (fill, tall, fill), kind=kind, upright=True)
    for i in range(nx):
        for j in range(nz):
            if chance.flag(0.12):
                continue
            high = tall * (chance.ratio(0.3, 1) if wild else 1.0)
            one = pattern
            if wild:
                one = solid(chance, taste, (fill, high, fill), kind=kind, upright=True)
            at = ((i + 0.5) * pitch - nx * pitch / 2, high, (j + 0.5) * pitch - nz * pitch / 2)
            clusters.append(moved(one, at))
    return Plan(joined(clusters), words=("regular",) if not wild else ())


def panel(chance: Chance, taste: Taste) -> Plan:
    """A flat panel that faces the front, with details on its face."""
    outline = plate(
        chance,
        chance.real(0.3, 1),
        max(0.012, taste.thickness(chance)),
        chance.real(0.3, 1),
        bevels=taste.cuts,
    )
    if chance.flag(0.4):
        half = (chance.real(0.3, 1), chance.real(0.3, 1), max(0.012, taste.thickness(chance)))
        sheet = solid(chance, taste, half, kind=Kind.BOX, color=taste.main)
    else:
        sheet = part(Kind.PLATE, outline, taste.main, rotation=ALONG[2])
    clusters = [sheet]
    for _ in range(chance.whole(0, 3)):
        detail = solid(chance, taste, (chance.ratio(0.04, 0.3), chance.ratio(0.04, 0.3), 0.05))
        clusters += attach(sheet, 0, detail, chance, copies=chance.flag(0.5))
    if chance.flag(0.5):
        thick = max(0.012, taste.thickness(chance))
        clusters.append(
            limb(
                np.zeros(3),
                np.array([0, -chance.real(1.0, 2.2), 0]),
                thick,
                thick,
                taste.color(chance),
            )
        )
    return Plan(joined(clusters))


def burst(chance: Chance, taste: Taste) -> Plan:
    """Equal pieces around a centre, in a plane or in all directions."""
    num, whole = chance.whole(3, 14), chance.flag(0.35)
    half = sizes(chance, taste, chance.pick(("sheet", "rod", "rod", "slab")))
    half = (half[0] * 0.4, 1.0, half[2] * 0.4)
    piece = solid(chance, taste, half)
    core = chance.ratio(0.05, 0.4)
    piece = moved(scaled(piece, 0.5), (0, 0.45, 0))
    piece = rotated(piece, turned(y=chance.pick((0, 0, 90, 30))))
    middle = solid(chance, taste, (core, core, core), color=taste.main)
    clusters = [middle]
    for i in range(num):
        if whole:
            height = 1 - (2 * i + 1) / num
            flat, turn = (1 - height * height) ** 0.5, i * 2.39996
            turn_to = facing(np.array([flat * cos(turn), height, flat * sin(turn)]))
        else:
            turn_to = turned(z=360.0 * i / num)
        clusters.append(rotated(piece, turn_to))
    cluster = joined(clusters)
    if not whole:
        cluster = rotated(cluster, chance.pick((UPRIGHT, turned(x=90), turned(x=90))))
    return Plan(cluster, words=("radial",), parts=(counted(num, "equal part"),))


def chain(chance: Chance, taste: Taste) -> Plan:
    """Boxes or limbs end to end, each rotated relative to the previous one."""
    num = chance.whole(3, 9)
    place, heading = np.zeros(3), np.array([0.0, 1.0, 0.0])
    thick, bend = max(0.015, 2 * taste.thickness(chance)), chance.real(10, 100)
    fixed = turned(chance.real(-bend, bend), chance.real(-bend, bend), chance.real(-bend, bend))
    regular, square, blend = chance.flag(0.5), chance.flag(0.5), chance.pick((0.0, thick))
    clusters = []
    for _ in range(num):
        end = place + heading * chance.real(0.25, 0.6)
        bar = _bar(place, end, thick, taste.color(chance), square=square)
        clusters.append(bar if square or not blend else blended(bar, blend))
        turn = fixed if regular else turned(*(chance.real(-bend, bend) for _ in range(3)))
        heading = turn @ heading
        place = end
    cluster = joined(clusters)
    if chance.flag(0.4):
        cluster = joined([cluster, mirrored(cluster, 0)])
    return Plan(cluster)


def meet(chance: Chance, taste: Taste) -> Plan:
    """Solids that leave only what they have in common; sometimes several of them."""
    one = meeting(chance, taste, sizes(chance, taste, chance.pick(("chunk", "chunk", "slab"))))
    if chance.flag(0.75):
        return Plan(one)
    clusters = [one]
    for _ in range(chance.whole(1, 3)):
        size = chance.ratio(0.2, 0.8)
        clusters += attach(one, 0, scaled(one, size), chance, copies=chance.flag(0.4))
    return Plan(joined(clusters))


PLANS: dict[Callable[[Chance, Taste], Plan], float] = {
    body: 3.0,
    frame: 2.2,
    column: 1.6,
    tree: 1.0,
    blob: 1.6,
    shell: 1.5,
    wings: 1.6,
    rings: 0.9,
    land: 0.8,
    blocks: 0.8,
    panel: 1.2,
    burst: 0.9,
    chain: 0.6,
}
"""Every plan and its relative frequency."""

CUT_PLANS = {**PLANS, meet: 2.5}
"""The same with intersections."""
