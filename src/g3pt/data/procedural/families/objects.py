"""Instruments and household things."""

from __future__ import annotations

from math import cos, pi, sin

from g3pt.data.procedural.builder import BRIGHT, METAL, WOOD, Builder, Draw
from g3pt.data.procedural.captions import Facts, counted


def guitar(b: Builder, d: Draw) -> Facts:
    """A guitar upright, face towards +z: two bouts, waist, hole or pickups, neck and head."""
    body, neck = (
        d.paint("brown", "orange", *BRIGHT, "black", "white"),
        d.paint("brown", "beige", "black"),
    )
    thick, low, high = d.real(0.14, 0.26), d.real(0.38, 0.48), d.real(0.26, 0.34)
    gap = d.real(0.42, 0.52)
    b.cylinder(low, thick, (0, 0, 0), body, axis="z", rounding=0.03)
    b.cylinder(high, thick, (0, gap, 0), body, axis="z", rounding=0.03)
    b.box((1.4 * high, gap, thick), (0, gap / 2, 0), body, rounding=0.03)
    electric = d.flag(0.4)
    dark = d.paint("black", "white", "brown", unlike=body)
    z = thick / 2
    if electric:
        for i in range(d.whole(1, 3)):
            b.box((0.3, 0.08, 0.08), (0, 0.02 + 0.15 * i, z), dark)
        if d.flag(0.6):
            for sx in (-1, 1):
                b.limb(
                    (sx * high * 0.8, gap, 0),
                    (sx * high * 1.1, gap + high * 0.95, 0),
                    0.09,
                    0.07,
                    body,
                )
    else:
        b.cylinder(0.15, 0.1, (0, gap * 0.62, z + 0.02), dark, axis="z", carve=True)
    b.box((0.3, 0.07, 0.1), (0, -low * 0.4, z), dark)
    long = d.real(0.8, 1.05)
    top = gap + high + long
    b.box((0.11, long + high * 0.8, 0.08), (0, (gap + high * 0.3 + top) / 2, z + 0.01), neck)
    b.frustum((0.13, 0.08), (0.2, 0.07), 0.3, (0, top + 0.1, z), dark)
    for sx in (-1, 1):
        for i in range(3):
            b.box((0.1, 0.05, 0.05), (sx * 0.12, top + 0.03 + 0.08 * i, z), neck)
    parts = ("pickups",) if electric else ("a sound hole",)
    nouns = ("electric guitar", "guitar") if electric else ("guitar", "acoustic guitar")
    return Facts(nouns, body, (), parts, (("neck", neck),))


def drum(b: Builder, d: Draw) -> Facts:
    """A drum: shell, rims, skins, lugs, legs or sticks."""
    shell, rim = d.paint(), d.paint("grey", "white", "black", "yellow", "brown")
    skin = d.paint("white", "beige", unlike=shell)
    radius, height = d.real(0.5, 0.8), d.real(0.35, 1.3)
    waist = radius * (d.real(0.6, 0.8) if d.flag(0.3) else 1.0)
    b.cone(waist, radius, height, (0, 0, 0), shell)
    b.cylinder(radius - 0.02, 0.08, (0, height / 2 + 0.01, 0), skin)
    for sy in (-1, 1):
        b.torus(radius if sy > 0 else waist, 0.05, (0, sy * height / 2, 0), rim)
    num = d.whole(4, 8)
    for i in range(num):
        turn = 2 * pi * i / num
        foot = (waist * cos(turn), -height / 2, waist * sin(turn))
        b.rod(foot, (radius * cos(turn), height / 2, radius * sin(turn)), 0.045, rim)
    legs = d.whole(3, 4) if d.flag(0.35) else 0
    drop = d.real(0.3, 0.6)
    for i in range(legs):
        turn = 2 * pi * (i + 0.25) / legs
        x, z = cos(turn), sin(turn)
        b.limb(
            (waist * 0.95 * x, -height / 2 + 0.1, waist * 0.95 * z),
            (waist * 1.15 * x, -height / 2 - drop, waist * 1.15 * z),
            0.05,
            0.04,
            rim,
        )
    sticks = d.flag(0.35)
    if sticks:
        wood, y = d.paint("brown", "beige"), height / 2 + 0.09
        for sx in (-1, 1):
            b.limb(
                (sx * 0.12, y, -radius * 0.5), (sx * 0.3, y + 0.1, radius * 1.1), 0.045, 0.03, wood
            )
    parts = (
        [counted(num, "rod")]
        + ([counted(legs, "leg")] if legs else [])
        + (["two sticks"] if sticks else [])
    )
    return Facts(
        ("drum",),
        shell,
        ("tapered",) if waist < radius else ("straight",),
        tuple(parts),
        (("rim", rim),),
    )


def camera(b: Builder, d: Draw) -> Facts:
    """A camera: body, lens of rings, viewfinder hump, grip, buttons, maybe a tripod."""
    body, lens = (
        d.paint("black", "grey", "white", "brown", "red", "blue", "teal"),
        d.paint("black", "grey", "white"),
    )
    if lens.name == body.name:
        lens = d.paint("black", "grey", unlike=body)
    width, height, depth = d.real(1.0, 1.5), d.real(0.65, 0.9), d.real(0.3, 0.5)
    b.box((width, height, depth), (0, 0, 0), body, rounding=d.real(0.02, 0.08))
    x = d.pick(0.0, 0.0, 0.15)
    radius, reach, z = d.real(0.24, 0.33), d.real(0.2, 0.6), depth / 2
    b.cylinder(radius, reach, (x, -0.03, z + reach / 2 - 0.02), lens, axis="z")
    b.cylinder(
        radius * 1.12, 0.1, (x, -0.03, z + reach * d.real(0.6, 0.9)), lens, axis="z", rounding=0.02
    )
    b.cylinder(
        radius * 0.72,
        0.14,
        (x, -0.03, z + reach),
        d.paint("blue", "teal", "purple"),
        axis="z",
        carve=True,
    )
    hump = d.flag(0.6)
    if hump:
        b.frustum((0.5, depth), (0.3, depth * 0.7), 0.2, (x, height / 2 + 0.08, 0), body)
    b.cylinder(0.07, 0.12, (-width * 0.36, height / 2 + 0.03, 0), d.paint("red", "grey", "yellow"))
    b.cylinder(0.1, 0.1, (width * 0.34, height / 2 + 0.03, 0), lens)
    if d.flag(0.5):
        b.box((0.2, height * 0.9, depth + 0.2), (-width * 0.4, -0.02, 0.06), lens, rounding=0.05)
    flash = d.flag(0.4)
    if flash:
        b.box((0.26, 0.14, 0.08), (width * 0.3, height * 0.3, z), d.paint("white", "yellow"))
    tripod = d.flag(0.2)
    if tripod:
        for i in range(3):
            turn = 2 * pi * (i + 0.25) / 3
            b.limb(
                (0, -height / 2 + 0.05, 0),
                (0.55 * cos(turn), -height / 2 - 1.0, 0.55 * sin(turn)),
                0.05,
                0.04,
                lens,
            )
    parts = [
        "a long lens" if reach > 0.4 else "a short lens",
        *(["a flash"] if flash else []),
        *(["a tripod"] if tripod else []),
    ]
    return Facts(("camera", "photo camera"), body, (), tuple(parts), (("lens", lens),))


def clock(b: Builder, d: Draw) -> Facts:
    """A clock facing +z: round or square case, marks, two hands, feet and bells or a stand."""
    case, dial = d.paint(), d.paint("white", "beige", "yellow")
    if dial.name == case.name:
        dial = d.paint("white", "beige", unlike=case)
    dark = d.paint("black", "red", "blue", unlike=case)
    radius, thick = d.real(0.6, 0.8), d.real(0.2, 0.4)
    square = d.flag(0.35)
    z = thick / 2
    if square:
        b.box((2 * radius, 2 * radius, thick), (0, 0, 0), case, rounding=0.06)
    else:
        b.cylinder(radius, thick, (0, 0, 0), case, axis="z", rounding=0.04)
    face = radius * 0.84
    b.cylinder(face, 0.14, (0, 0, z + 0.01), dial, axis="z", carve=True)
    marks = d.pick(4, 12)
    for i in range(marks):
        turn = 360 * i / marks
        out = face * 0.82
        b.box(
            (0.06, 0.13, 0.06),
            (-out * sin(turn * pi / 180), out * cos(turn * pi / 180), z - 0.05),
            dark,
            turn=(0, 0, turn),
        )
    for reach in (0.45, 0.7):
        turn = d.real(0, 360)
        long = face * reach
        at = (-long / 2 * sin(turn * pi / 180), long / 2 * cos(turn * pi / 180), z - 0.04)
        b.box((0.07, long, 0.07), at, dark, turn=(0, 0, turn))
    b.cylinder(0.07, 0.16, (0, 0, z - 0.03), dark, axis="z")
    style = d.pick("alarm", "wall", "stand")
    parts = [counted(marks, "mark"), "two hands"]
    if style == "alarm":
        metal = d.paint(*METAL)
        for sx in (-1, 1):
            b.limb(
                (sx * radius * 0.55, -radius * 0.75, 0),
                (sx * radius * 0.75, -radius * 1.2, 0),
                0.06,
                0.05,
                case,
            )
            b.dome(
                (0.26, 0.24, 0.22),
                0.0,
                (sx * radius * 0.5, radius * 0.97, 0),
                metal,
                turn=(0, 0, -sx * 28),
            )
            b.limb(
                (sx * radius * 0.45, radius * 0.8, 0),
                (sx * radius * 0.5, radius * 1.05, 0),
                0.04,
                0.04,
                metal,
            )
        parts.append("two bells")
    elif style == "stand":
        b.box((1.5 * radius, 0.14, thick + 0.2), (0, -radius - 0.04, 0), case, rounding=0.03)
        parts.append("a base")
    nouns = (
        ("alarm clock", "clock")
        if style == "alarm"
        else ("clock", "wall clock" if style == "wall" else "table clock")
    )
    return Facts(nouns, case, ("square" if square else "round",), tuple(parts), (("dial", dial),))


def television(b: Builder, d: Draw) -> Facts:
    """A television or monitor: screen in a frame, stand or legs, maybe antennas."""
    case, screen = d.paint(*WOOD, "red", "teal"), d.paint("black", "blue", "grey", "teal")
    if screen.name == case.name:
        screen = d.paint("black", "blue", unlike=case)
    width, ratio = d.real(1.2, 1.8), d.real(0.55, 0.8)
    old = d.flag(0.5)
    height, depth = width * ratio, d.real(0.4, 0.8) if old else d.real(0.09, 0.16)
    b.box((width, height, depth), (0, 0, 0), case, rounding=d.real(0.01, 0.04) if not old else 0.06)
    inset = 0.24 if old else 0.12
    shift = -0.1 if old else 0.0
    b.box(
        (width - inset + 2 * shift, height - inset, 0.1), (shift, 0, depth / 2), screen, carve=True
    )
    b.box((width - inset + 2 * shift, height - inset, 0.06), (shift, 0, depth / 2 - 0.06), screen)
    parts: list[str] = []
    antenna = old and d.flag(0.6)
    if old:
        for i in range(2):
            b.cylinder(
                0.07,
                0.1,
                (width / 2 - 0.12, height * (0.25 - 0.2 * i), depth / 2),
                d.paint("white", "black", "red", unlike=case),
                axis="z",
            )
        parts.append("two knobs")
        for sx in (-1, 1):
            for sz in (-1, 1):
                x, z = sx * (width / 2 - 0.15), sz * (depth / 2 - 0.1)
                b.rod((x, -height / 2 + 0.05, z), (x * 1.1, -height / 2 - 0.28, z), 0.045, case)
        parts.append("four legs")
    else:
        b.box((0.14, 0.3, 0.08), (0, -height / 2 - 0.08, -0.01), case)
        b.box(
            (width * d.real(0.3, 0.6), 0.07, 0.4), (0, -height / 2 - 0.24, 0), case, rounding=0.02
        )
        parts.append("a stand")
    if antenna:
        for sx in (-1, 1):
            b.limb(
                (sx * 0.03, height / 2 - 0.02, 0),
                (sx * d.real(0.3, 0.5), height / 2 + d.real(0.35, 0.6), 0),
                0.03,
                0.03,
                d.paint("grey"),
            )
        parts.append("two antennas")
    words = ("old-fashioned",) if old else ("flat",)
    return Facts(
        ("television", "TV" if old else "monitor"), case, words, tuple(parts), (("screen", screen),)
    )


def umbrella(b: Builder, d: Draw) -> Facts:
    """An open umbrella or parasol: canopy, pole, hooked handle or a foot."""
    cloth, pole = d.paint(*BRIGHT, "black", "white"), d.paint("brown", "black", "grey", "white")
    radius, rise, height = d.real(0.7, 0.95), d.real(0.3, 0.55), d.real(1.2, 1.6)
    style = d.pick("dome", "cone", "faceted")
    if style == "dome":
        b.dome((radius, rise, radius), 0.0, (0, height, 0), cloth)
        b.ellipsoid(
            (radius - 0.07, rise - 0.08, radius - 0.07), (0, height - 0.005, 0), cloth, carve=True
        )
    elif style == "cone":
        b.cone(radius, 0.03, rise, (0, height + rise / 2, 0), cloth)
        b.cone(radius - 0.1, 0.0, rise - 0.08, (0, height + rise / 2 - 0.045, 0), cloth, carve=True)
    else:
        b.frustum((1.7 * radius,) * 2, (0.06, 0.06), rise, (0, height + rise / 2, 0), cloth)
        b.frustum(
            (1.7 * radius - 0.2,) * 2,
            (0.01, 0.01),
            rise - 0.08,
            (0, height + rise / 2 - 0.045, 0),
            cloth,
            carve=True,
        )
    b.cylinder(0.04, height + rise, (0, (height + rise) / 2, 0), pole)
    b.sphere(0.05, (0, height + rise + 0.02, 0), pole)
    foot = d.flag(0.4)
    if foot:
        b.cylinder(d.real(0.28, 0.42), 0.12, (0, 0.03, 0), pole, rounding=0.02)
    else:
        b.torus(0.13, 0.045, (0.13, 0.02, 0), pole, axis="z")
        b.box((0.5, 0.3, 0.3), (0.13, 0.22, 0), pole, carve=True)
        b.cylinder(0.04, 0.5, (0, 0.25, 0), pole)
    parts = ["a round foot" if foot else "a hooked handle"]
    words = {"dome": ("domed",), "cone": ("conical",), "faceted": ("square",)}[style]
    return Facts(
        ("parasol", "umbrella") if foot else ("umbrella",),
        cloth,
        words,
        tuple(parts),
        (("pole", pole),),
    )


def dumbbell(b: Builder, d: Draw) -> Facts:
    """A dumbbell: bar and weights, round or hexagonal."""
    weight, bar = d.paint("black", "grey", *BRIGHT), d.paint("grey", "black", "white")
    if bar.name == weight.name:
        bar = d.paint("grey", "black", "white", unlike=weight)
    length, num = d.real(0.5, 0.8), d.whole(1, 3)
    style = d.pick("round", "hexagonal", "ball")
    radius = d.real(0.26, 0.42)
    x = length / 2
    outer = x
    for i in range(1 if style == "ball" else num):
        wide, r = d.real(0.14, 0.24), radius * (1 - 0.2 * i)
        for sx in (-1, 1):
            at = (sx * (outer + wide / 2), 0.0, 0.0)
            if style == "round":
                b.cylinder(r, wide + 0.02, at, weight, axis="x", rounding=0.03)
            elif style == "hexagonal":
                b.prism(r, 6, wide + 0.02, at, weight, axis="x")
            else:
                b.sphere(r, (sx * (x + r * 0.8), 0, 0), weight)
        outer += wide
    reach = 2 * outer + (0.16 if style != "ball" else 0.0)
    b.cylinder(0.06, reach, (0, 0, 0), bar, axis="x")
    b.cylinder(0.085, length * 0.7, (0, 0, 0), bar, axis="x", rounding=0.03)
    parts = ["ball weights"] if style == "ball" else [counted(2 * num, "plate")]
    return Facts(
        ("dumbbell",),
        weight,
        (style,) if style != "ball" else ("round",),
        tuple(parts),
        (("bar", bar),),
    )


def snowman(b: Builder, d: Draw) -> Facts:
    """A snowman: two or three balls, carrot nose, hat, arms, buttons, scarf."""
    snow, hat = d.paint("white"), d.paint("black", *BRIGHT, "brown")
    num = d.whole(2, 3)
    y, radius = 0.0, d.real(0.45, 0.6)
    first = radius
    for i in range(num):
        y += 0.0 if i == 0 else radius * 0.62
        b.sphere(radius, (0, y, 0), snow)
        if i == num - 2:
            for sx in (-1, 1):
                b.limb(
                    (sx * radius * 0.8, y + 0.05, 0),
                    (sx * (radius + 0.4), y + d.real(0.1, 0.4), 0.05),
                    0.04,
                    0.03,
                    d.paint("brown"),
                )
            for j in range(d.whole(2, 3)):
                up = 0.3 * radius - 0.28 * radius * j
                b.sphere(0.06, (0, y + up, (radius * radius - up * up) ** 0.5), d.paint("black"))
        if i < num - 1:
            y += radius * 0.4
            radius *= d.real(0.68, 0.8)
    carrot = d.real(0.2, 0.4)
    b.cone(
        0.07, 0.015, carrot, (0, y, radius + carrot / 2 - 0.04), d.paint("orange"), turn=(90, 0, 0)
    )
    for sx in (-1, 1):
        b.sphere(0.05, (sx * radius * 0.36, y + radius * 0.4, radius * 0.82), d.paint("black"))
    parts = [counted(num, "ball"), "two arms", "a carrot nose"]
    top = y + radius * 0.85
    style = d.pick("top", "cone", "none")
    if style == "top":
        b.cylinder(radius * 1.0, 0.07, (0, top, 0), hat)
        b.cylinder(radius * 0.65, d.real(0.25, 0.4), (0, top + 0.14, 0), hat)
        parts.append("a top hat")
    elif style == "cone":
        b.cone(radius * 0.85, 0.03, 0.5, (0, top + 0.15, 0), hat)
        parts.append("a pointed hat")
    scarf = d.flag(0.5)
    cloth = d.paint(*BRIGHT, unlike=hat)
    if scarf:
        b.torus(radius * 0.8, 0.09, (0, y - radius * 0.72, 0), cloth)
    b.cylinder(first * 0.6, 0.1, (0, -first + 0.04, 0), snow)
    accents = ((("hat", hat),) if style != "none" else ()) + ((("scarf", cloth),) if scarf else ())
    return Facts(("snowman",), snow, (), tuple(parts), accents)
