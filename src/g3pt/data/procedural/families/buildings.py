"""Houses, towers, castles and bridges, doors towards +z."""

from __future__ import annotations

from math import cos, pi, sin

from g3pt.data.procedural.builder import BRIGHT, Builder, Draw
from g3pt.data.procedural.captions import Facts, counted

_STONE = ("grey", "beige", "brown", "white", "orange", "red")


def house(b: Builder, d: Draw) -> Facts:
    """A house: gabled, hipped or flat roof, door, windows, chimney, maybe a porch."""
    wall, roof = (
        d.paint("white", "beige", "yellow", "red", "blue", "grey", "pink", "green"),
        d.paint("red", "brown", "grey", "black", "orange", "blue", "teal"),
    )
    if roof.name == wall.name:
        roof = d.paint("brown", "black")
    door, glass = (
        d.paint("brown", "red", "blue", "green", unlike=wall),
        d.paint("teal", "blue", "black", "yellow", unlike=wall),
    )
    width, depth = d.real(1.0, 1.8), d.real(0.9, 1.4)
    floors = d.whole(1, 2)
    height = floors * d.real(0.5, 0.65)
    b.box((width, height, depth), (0, height / 2, 0), wall)
    style, rise = d.pick("gabled", "hipped", "flat"), d.real(0.35, 0.75)
    over = d.real(0.08, 0.2)
    if style == "flat":
        rise = 0.12
        b.box((width + over, rise, depth + over), (0, height + 0.04, 0), roof)
    elif style == "hipped":
        b.frustum(
            (width + over, depth + over),
            (max(0.06, width - depth), 0.06),
            rise,
            (0, height + rise / 2 - 0.01, 0),
            roof,
        )
    else:
        b.frustum(
            (width + over, depth + over),
            (width + over, 0.06),
            rise,
            (0, height + rise / 2 - 0.01, 0),
            roof,
        )
    tall = 0.36
    x = d.pick(-0.25, 0.0, 0.25) * width
    b.box((0.22, tall, 0.1), (x, tall / 2, depth / 2), door)
    num = d.whole(1, 3)
    count = 0
    for floor in range(floors):
        for i in range(num):
            wx = width * ((i + 0.5) / num - 0.5)
            wy = height * (floor + 0.6) / floors
            if floor == 0 and abs(wx - x) < 0.24:
                continue
            b.box((0.17, 0.2, 0.1), (wx, wy, depth / 2), glass)
            count += 1
    b.box((width + 0.06, 0.18, 0.2), (0, height * 0.6 if floors == 1 else height * 0.3, 0.0), glass)
    chimney = d.flag(0.6)
    if chimney:
        top = height + rise * 0.6 + 0.25
        b.box(
            (0.16, top - height * 0.5, 0.16),
            (width * d.pick(-0.28, 0.28), (top + height * 0.5) / 2, -0.1),
            d.paint("red", "brown", "grey"),
        )
    porch = d.flag(0.3)
    if porch:
        b.box((0.5, 0.06, 0.35), (x, tall + 0.1, depth / 2 + 0.15), roof)
        for sx in (-1, 1):
            b.box(
                (0.06, tall + 0.1, 0.06), (x + sx * 0.2, (tall + 0.1) / 2, depth / 2 + 0.27), wall
            )
    parts = [
        f"a {style} roof",
        counted(floors, "storey"),
        *(["a chimney"] if chimney else []),
        *(["a porch"] if porch else []),
    ]
    return Facts(
        ("house", "cottage" if floors == 1 else "house", "home"),
        wall,
        (),
        tuple(parts),
        (("roof", roof), ("door", door)),
    )


def tower(b: Builder, d: Draw) -> Facts:
    """A tower or lighthouse: round, square or many-sided shaft, gallery, pointed roof or battlements."""
    stone, top = d.paint(*_STONE), d.paint("red", "blue", "grey", "brown", "green", "black")
    if top.name == stone.name:
        top = d.paint("blue", "brown", unlike=stone)
    height, radius = d.real(1.2, 1.8), d.real(0.26, 0.4)
    sides = d.pick(0, 0, 4, 6, 8)
    slim = radius * d.real(0.7, 1.0)
    if sides == 4:
        b.frustum((1.8 * radius,) * 2, (1.8 * slim,) * 2, height, (0, height / 2, 0), stone)
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
    style = d.pick("pointed", "pointed", "battlements", "domed")
    b.cylinder(slim * 1.35, 0.12, (0, height, 0), stone)
    if style == "battlements":
        num = d.whole(6, 9)
        for i in range(num):
            turn = 2 * pi * i / num
            out = slim * 1.35 - 0.07
            b.box(
                (0.13, 0.2, 0.13),
                (out * cos(turn), height + 0.12, out * sin(turn)),
                stone,
                turn=(0, -360 * i / num, 0),
            )
    else:
        rise = d.real(0.4, 0.8)
        b.cylinder(slim * 0.95, 0.3, (0, height + 0.15, 0), stone)
        if style == "pointed":
            b.cone(slim * 1.3, 0.02, rise, (0, height + 0.28 + rise / 2, 0), top)
        else:
            b.dome((slim * 1.15, rise * 0.7, slim * 1.15), 0.0, (0, height + 0.28, 0), top)
    b.box(
        (0.2, 0.32, 0.16),
        (0, 0.16, radius * (0.86 if sides != 4 else 0.9)),
        d.paint("brown", "black"),
    )
    parts = [
        {"pointed": "a pointed roof", "battlements": "battlements", "domed": "a domed roof"}[style]
    ]
    parts += [counted(bands, "band")] if bands else []
    words = ("square",) if sides == 4 else ("round",) if not sides else ()
    accents = (("roof", top),) if style != "battlements" else ()
    return Facts(("tower", "watchtower"), stone, words, tuple(parts), accents)


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
    style = d.pick("arch", "arch", "stayed")
    rail = d.paint("grey", "brown", "red", unlike=stone)
    parts: list[str] = []
    if style == "arch":
        num = d.whole(1, 4)
        height = d.real(0.35, 0.7)
        b.box((length, height, width), (0, -height / 2, 0), stone)
        gap = length / num
        radius = min(gap / 2 - 0.06, height - 0.14)
        for i in range(num):
            x = gap * (i + 0.5) - length / 2
            low = -height
            b.cylinder(radius, 2 * width, (x, low, 0), stone, axis="z", carve=True)
            if gap / 2 - 0.06 > radius + 0.02:
                for s in (-1, 1):
                    b.cylinder(
                        radius,
                        2 * width,
                        (x + s * (gap / 2 - 0.06 - radius), low, 0),
                        stone,
                        axis="z",
                        carve=True,
                    )
                b.box(
                    (2 * (gap / 2 - 0.06 - radius), 2 * radius, 2 * width),
                    (x, low, 0),
                    stone,
                    carve=True,
                )
        parts.append(counted(num, "arch", "arches"))
    else:
        height = d.real(0.3, 0.5)
        b.box((length, 0.1, width), (0, 0, 0), stone)
        num = d.whole(1, 2)
        tall = d.real(0.5, 0.8)
        for i in range(num):
            x = 0.0 if num == 1 else (0.28 * length) * (2 * i - 1)
            for s in (-1, 1):
                z = s * (width / 2 - 0.03)
                b.box((0.12, tall + height, 0.1), (x, (tall - height) / 2, z), rail)
                reach = 0.44 * length if num == 1 else 0.22 * length
                for t in (0.55, 1.0):
                    for side in (-1, 1):
                        b.rod(
                            (x, tall * (0.5 + 0.45 * t), z),
                            (x + side * reach * t, 0, z),
                            0.025,
                            rail,
                        )
            b.box((0.1, 0.1, width), (x, tall - 0.06, 0), rail)
        parts.append(counted(num, "pylon"))
    if d.flag(0.7):
        for s in (-1, 1):
            b.box((length, 0.14, 0.06), (0, 0.06, s * (width / 2 - 0.03)), rail)
        parts.append("railings")
    words = ("arched",) if style == "arch" else ("suspended",)
    return Facts(("bridge",), stone, words, tuple(parts))


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
        b.frustum((1.7 * radius,) * 2, (1.7 * slim,) * 2, height, (0, height / 2, 0), body)
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
