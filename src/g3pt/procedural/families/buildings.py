"""Houses, towers, castles and bridges, doors towards +z."""

from __future__ import annotations

from math import cos, pi, sin

from g3pt.procedural.builder import BRIGHT, Builder, Draw, Paint
from g3pt.procedural.captions import Facts, counted

_STONE = ("grey", "beige", "brown", "white", "orange", "red")


def house(b: Builder, d: Draw) -> Facts:
    """A house: gabled, hipped or flat roof, door, windows, chimney, maybe a porch."""
    wall = d.paint("white", "beige", "yellow", "red", "blue", "grey", "pink", "green")
    roof = d.paint("red", "brown", "grey", "black", "orange", "blue", "teal")
    roof = d.apart(roof, wall, "brown", "black")
    door = d.paint("brown", "red", "blue", "green", unlike=wall)
    glass = d.paint("teal", "blue", "black", "yellow", unlike=wall)
    width, depth = d.real(1.0, 1.8), d.real(0.9, 1.4)
    floors = d.whole(1, 2)
    height = floors * d.real(0.5, 0.65)
    b.box((width, height, depth), (0, height / 2, 0), wall)
    style, rise = _house_roof(b, d, (width, depth), height, roof)
    tall, x = 0.36, d.pick(-0.25, 0.0, 0.25) * width
    b.box((0.22, tall, 0.1), (x, tall / 2, depth / 2), door)
    num = d.whole(1, 3)
    for floor in range(floors):
        for i in range(num):
            at = (width * ((i + 0.5) / num - 0.5), height * (floor + 0.6) / floors, depth / 2)
            if floor > 0 or abs(at[0] - x) >= 0.24:
                b.box((0.17, 0.2, 0.1), at, glass)
    b.box((width + 0.06, 0.18, 0.2), (0, height * (0.6 if floors == 1 else 0.3), 0), glass)
    parts = [f"a {style} roof", "one storey" if floors == 1 else counted(floors, "storey")]
    if d.flag(0.6):
        top, bottom = height + rise * 0.6 + 0.25, height * 0.5
        at = (width * d.pick(-0.28, 0.28), (top + bottom) / 2, -0.1)
        b.box((0.16, top - bottom, 0.16), at, d.paint("red", "brown", "grey"))
        parts.append("a chimney")
    if d.flag(0.3):
        b.box((0.5, 0.06, 0.35), (x, tall + 0.1, depth / 2 + 0.15), roof)
        for sx in (-1, 1):
            at = (x + sx * 0.2, (tall + 0.1) / 2, depth / 2 + 0.27)
            b.box((0.06, tall + 0.1, 0.06), at, wall)
        parts.append("a porch")
    nouns = ("house", "cottage" if floors == 1 else "house", "home")
    return Facts(nouns, wall, (), tuple(parts), (("roof", roof), ("door", door)))


def _house_roof(
    b: Builder, d: Draw, ground: tuple[float, float], height: float, paint: Paint
) -> tuple[str, float]:
    """Cover a (width, depth) ground at a height; gives the style and how far the roof rises."""
    style, rise = d.pick("gabled", "hipped", "flat"), d.real(0.35, 0.75)
    over = d.real(0.08, 0.2)
    eaves = (ground[0] + over, ground[1] + over)
    if style == "flat":
        rise = 0.12
        b.box((eaves[0], rise, eaves[1]), (0, height + 0.04, 0), paint)
        return style, rise
    ridge = eaves[0] if style == "gabled" else max(0.06, ground[0] - ground[1])
    b.frustum(eaves, (ridge, 0.06), rise, (0, height + rise / 2 - 0.01, 0), paint)
    return style, rise


def tower(b: Builder, d: Draw) -> Facts:
    """A tower: round, square or many-sided shaft, gallery, pointed roof or battlements."""
    stone = d.paint(*_STONE)
    top = d.apart(
        d.paint("red", "blue", "grey", "brown", "green", "black"),
        stone,
        *(name for name in ("blue", "brown") if name != stone.name),
    )
    height, radius = d.real(1.2, 1.8), d.real(0.26, 0.4)
    sides = d.pick(0, 0, 4, 6, 8)
    slim = radius * d.real(0.7, 1.0)
    if sides == 4:
        low, high = 1.8 * radius, 1.8 * slim
        b.frustum((low, low), (high, high), height, (0, height / 2, 0), stone)
    elif sides:
        slim = radius
        b.prism(radius, sides, height, (0, height / 2, 0), stone)
    else:
        b.cone(radius, slim, height, (0, height / 2, 0), stone)
    bands = d.whole(0, 3)
    for i in range(bands):
        t = (i + 1) / (bands + 1)
        wide = radius + (slim - radius) * t
        if sides == 4:
            b.box((1.8 * wide + 0.08, 0.1, 1.8 * wide + 0.08), (0, height * t, 0), top)
        else:
            b.cylinder(wide + 0.04, 0.1, (0, height * t, 0), top)
    roof = _tower_top(b, d, slim, height, (stone, top))
    door = (0, 0.16, radius * (0.86 if sides != 4 else 0.9))
    b.box((0.2, 0.32, 0.16), door, d.paint("brown", "black"))
    parts = [roof] + ([counted(bands, "band")] if bands else [])
    words = ("square",) if sides == 4 else ("round",) if not sides else ()
    accents = (("roof", top),) if roof != "battlements" else ()
    return Facts(("tower", "watchtower"), stone, words, tuple(parts), accents)


def _tower_top(
    b: Builder, d: Draw, radius: float, height: float, paints: tuple[Paint, Paint]
) -> str:
    """A gallery and what stands on it, in the colours of stone and roof."""
    stone, roof = paints
    style = d.pick("pointed", "pointed", "battlements", "domed")
    b.cylinder(radius * 1.35, 0.12, (0, height, 0), stone)
    if style == "battlements":
        num = d.whole(6, 9)
        out = radius * 1.35 - 0.07
        for i in range(num):
            turn = 2 * pi * i / num
            at = (out * cos(turn), height + 0.12, out * sin(turn))
            b.box((0.13, 0.2, 0.13), at, stone, turn=(0, -360 * i / num, 0))
        return "battlements"
    rise = d.real(0.4, 0.8)
    b.cylinder(radius * 0.95, 0.3, (0, height + 0.15, 0), stone)
    if style == "pointed":
        b.cone(radius * 1.3, 0.02, rise, (0, height + 0.28 + rise / 2, 0), roof)
        return "a pointed roof"
    b.dome((radius * 1.15, rise * 0.7, radius * 1.15), 0.0, (0, height + 0.28, 0), roof)
    return "a domed roof"


def castle(b: Builder, d: Draw) -> Facts:
    """A castle: walls between corner towers, a gate, a keep, battlements or pointed roofs."""
    stone, roof = d.paint(*_STONE[:5]), d.paint("red", "blue", "green", "purple", "black")
    width, depth, wall = d.real(1.2, 1.6), d.real(1.1, 1.5), d.real(0.4, 0.6)
    thick, radius = 0.14, d.real(0.16, 0.23)
    tall = wall * d.real(1.3, 1.8)
    pointed = d.flag(0.6)
    square = d.flag(0.3)
    for s in (-1, 1):
        b.box((width, wall, thick), (0, wall / 2, s * depth / 2), stone)
        b.box((thick, wall, depth), (s * width / 2, wall / 2, 0), stone)
    b.box((width, 0.08, depth), (0, 0.04, 0), stone)
    num = d.whole(3, 5)
    for i in range(num):
        x = width * ((i + 0.5) / num - 0.5)
        for s in (-1, 1):
            b.box((0.1, 0.14, thick), (x, wall + 0.04, s * depth / 2), stone)
    for sx in (-1, 1):
        for sz in (-1, 1):
            at = (sx * width / 2, tall / 2, sz * depth / 2)
            if square:
                b.box((1.7 * radius, tall, 1.7 * radius), at, stone)
            else:
                b.cylinder(radius, tall, at, stone)
            top = (at[0], tall, at[2])
            if pointed:
                rise = 0.4
                b.cone(radius * 1.25, 0.02, rise, (top[0], tall + rise / 2 - 0.02, top[2]), roof)
            else:
                b.cylinder(radius * 1.2, 0.12, top, stone)
    keep = d.flag(0.7)
    if keep:
        high = tall * d.real(1.0, 1.3)
        b.box((width * 0.38, high, depth * 0.36), (0, high / 2, -0.1), stone)
        b.frustum((width * 0.44, depth * 0.42), (0.06, 0.06), 0.4, (0, high + 0.19, -0.1), roof)
    gate = d.paint("brown", "black")
    b.box((0.3, wall * 0.65, thick + 0.1), (0, wall * 0.32, depth / 2), gate)
    b.cylinder(0.15, thick + 0.1, (0, wall * 0.65, depth / 2), gate, axis="z")
    parts = (
        ["four towers", "a gate"]
        + (["a keep"] if keep else [])
        + (["pointed roofs"] if pointed else [])
    )
    return Facts(
        ("castle", "fortress"),
        stone,
        (),
        tuple(parts),
        (("roofs", roof),) if pointed and keep else (),
    )


def bridge(b: Builder, d: Draw) -> Facts:
    """A bridge along x: arches, or pylons with slanted stays."""
    stone = d.paint(*_STONE)
    width, length = d.real(0.35, 0.6), 2.0
    arched = d.pick("arch", "arch", "stayed") == "arch"
    rail = d.paint("grey", "brown", "red", unlike=stone)
    if arched:
        parts = [counted(_arches(b, d, length, width, stone), "arch", "arches")]
    else:
        parts = [counted(_pylons(b, d, length, width, (stone, rail)), "pylon")]
    if d.flag(0.7):
        for s in (-1, 1):
            b.box((length, 0.14, 0.06), (0, 0.06, s * (width / 2 - 0.03)), rail)
        parts.append("railings")
    words = ("arched",) if arched else ("suspended",)
    return Facts(("bridge",), stone, words, tuple(parts))


def _arches(b: Builder, d: Draw, length: float, width: float, stone: Paint) -> int:
    """A wall with openings that end in half circles, flattened when they are wide."""
    num = d.whole(1, 4)
    height = d.real(0.35, 0.7)
    b.box((length, height, width), (0, -height / 2, 0), stone)
    gap = length / num
    radius = min(gap / 2 - 0.06, height - 0.14)
    flat = gap / 2 - 0.06 - radius
    for i in range(num):
        x = gap * (i + 0.5) - length / 2
        b.cylinder(radius, 2 * width, (x, -height, 0), stone, axis="z", carve=True)
        if flat > 0.02:
            for s in (-1, 1):
                at = (x + s * flat, -height, 0)
                b.cylinder(radius, 2 * width, at, stone, axis="z", carve=True)
            b.box((2 * flat, 2 * radius, 2 * width), (x, -height, 0), stone, carve=True)
    return num


def _pylons(b: Builder, d: Draw, length: float, width: float, paints: tuple[Paint, Paint]) -> int:
    """A deck hung by stays from one or two pairs of pylons."""
    stone, steel = paints
    height = d.real(0.3, 0.5)
    b.box((length, 0.1, width), (0, 0, 0), stone)
    num = d.whole(1, 2)
    tall = d.real(0.5, 0.8)
    reach = 0.44 * length if num == 1 else 0.22 * length
    for i in range(num):
        x = 0.0 if num == 1 else (0.28 * length) * (2 * i - 1)
        for s in (-1, 1):
            z = s * (width / 2 - 0.03)
            b.box((0.12, tall + height, 0.1), (x, (tall - height) / 2, z), steel)
            for t in (0.55, 1.0):
                top = (x, tall * (0.5 + 0.45 * t), z)
                for side in (-1, 1):
                    b.rod(top, (x + side * reach * t, 0, z), 0.025, steel)
        b.box((0.1, 0.1, width), (x, tall - 0.06, 0), steel)
    return num


def windmill(b: Builder, d: Draw) -> Facts:
    """A windmill: tapering body, cap and sails facing +z."""
    body, cap = (
        d.paint("white", "beige", "grey", "red", "brown"),
        d.paint("red", "brown", "black", "blue", "green"),
    )
    if cap.name == body.name:
        cap = d.paint("black", "blue")
    sail = d.paint("white", "beige", "brown", "grey", "yellow", unlike=cap)
    height, radius = d.real(0.9, 1.3), d.real(0.38, 0.5)
    slim = radius * d.real(0.55, 0.75)
    round_body = d.flag(0.6)
    if round_body:
        b.cone(radius, slim, height, (0, height / 2, 0), body)
    else:
        b.frustum(1.7 * radius, 1.7 * slim, height, (0, height / 2, 0), body)
    rise = d.real(0.25, 0.45)
    if d.flag():
        b.cone(slim * 1.2, 0.03, rise, (0, height + rise / 2 - 0.02, 0), cap)
    else:
        b.dome((slim * 1.15, rise, slim * 1.15), 0.0, (0, height - 0.03, 0), cap)
    z = slim + 0.16
    y = height - 0.04
    b.cylinder(0.07, slim + 0.3, (0, y, z / 2 + 0.02), cap, axis="z")
    num, reach = d.whole(3, 6), d.real(0.6, 0.85)
    first = d.real(0, 90)
    for i in range(num):
        turn = first + 360 * i / num
        x, up = cos(turn * pi / 180), sin(turn * pi / 180)
        b.box((reach, 0.06, 0.06), (x * reach / 2, y + up * reach / 2, z), sail, turn=(0, 0, turn))
        b.box(
            (reach * 0.7, 0.18, 0.05),
            (x * reach * 0.63 - up * 0.06, y + up * reach * 0.63 + x * 0.06, z),
            sail,
            turn=(0, 0, turn),
        )
    b.box((0.22, 0.36, 0.14), (0, 0.18, radius * 0.88), d.paint(*BRIGHT, "brown", unlike=body))
    parts = (counted(num, "sail"), "a door")
    return Facts(
        ("windmill", "mill"),
        body,
        ("round",) if round_body else ("square",),
        parts,
        (("cap", cap),),
    )
