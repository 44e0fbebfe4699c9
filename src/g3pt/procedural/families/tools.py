"""Hand tools, handle down and head up."""

from __future__ import annotations

from math import cos, pi, sin

from g3pt.procedural.builder import METAL, Builder, Draw
from g3pt.procedural.captions import Facts, counted


def hammer(b: Builder, d: Draw) -> Facts:
    """A hammer: handle and a head with a claw, a peen, or two faces (mallet)."""
    grip, steel = d.paint("brown", "beige", "red", "yellow", "blue", "black"), d.paint(*METAL[:3])
    length, style = d.real(1.2, 1.9), d.pick("claw", "peen", "mallet")
    head = d.real(0.5, 0.8)
    if d.flag():
        b.cylinder(d.real(0.05, 0.08), length, (0, length / 2, 0), grip, rounding=0.02)
    else:
        b.box(
            (d.real(0.1, 0.15), length, d.real(0.1, 0.15)), (0, length / 2, 0), grip, rounding=0.03
        )
    if d.flag(0.5):
        b.cylinder(0.1, length * 0.35, (0, length * 0.18, 0), grip, rounding=0.03)
    y = length
    thick = d.real(0.1, 0.15)
    if style == "mallet":
        thick = d.real(0.16, 0.26)
        if d.flag():
            b.cylinder(thick, head, (0, y, 0), steel, axis="x", rounding=0.03)
        else:
            b.box((head, 2 * thick, 1.8 * thick), (0, y, 0), steel, rounding=0.02)
    else:
        b.box((0.45 * head, 1.7 * thick, 1.6 * thick), (0, y, 0), steel)
        b.cylinder(thick * 1.1, 0.32 * head, (0.36 * head, y, 0), steel, axis="x")
        if style == "claw":
            for sz in (-1, 1):
                b.limb(
                    (-0.15 * head, y, sz * 0.04),
                    (-0.62 * head, y - 0.14, sz * 0.11),
                    0.07,
                    0.04,
                    steel,
                )
        else:
            b.cone(0.04, thick, 0.4 * head, (-0.4 * head, y, 0), steel, turn=(0, 0, -90))
    nouns = (
        ("mallet", "hammer")
        if style == "mallet"
        else ("hammer", "claw hammer" if style == "claw" else "hammer")
    )
    parts = {"claw": ("a claw",), "peen": ("a pointed peen",), "mallet": ("a thick head",)}[style]
    return Facts(
        nouns, grip, (), (*parts, "a long handle") if length > 1.6 else parts, (("head", steel),)
    )


def axe(b: Builder, d: Draw) -> Facts:
    """An axe with one or two blades."""
    grip, steel = d.paint("brown", "beige", "red", "black", "orange"), d.paint(*METAL[:3])
    length, reach, edge = d.real(1.3, 1.9), d.real(0.35, 0.55), d.real(0.45, 0.8)
    b.box((0.13, length, 0.1), (0, length / 2, 0), grip, rounding=0.04)
    y = length - edge * 0.4
    b.box((0.22, edge * 0.5, 0.18), (0, y, 0), steel)
    double = d.flag(0.4)
    for side in (1, -1) if double else (1,):
        b.frustum(
            (edge * 0.4, 0.16),
            (edge, 0.05),
            reach,
            (side * (0.05 + reach / 2), y, 0),
            steel,
            turn=(0, 0, -90 * side),
        )
    if not double and d.flag(0.6):
        b.box((0.3, edge * 0.35, 0.16), (-0.14, y, 0), steel)
    return Facts(
        ("axe", "hatchet"),
        grip,
        ("double-bladed",) if double else (),
        ("two blades" if double else "one blade",),
        (("head", steel),),
    )


def wrench(b: Builder, d: Draw) -> Facts:
    """A spanner: open jaw at one or both ends, or a ring."""
    steel = d.paint(*METAL, "red", "blue", "orange")
    length, width, thick = d.real(1.2, 1.8), d.real(0.16, 0.26), d.real(0.1, 0.15)
    ends = (d.pick("open", "open", "ring"), d.pick("open", "ring", "plain"))
    b.box((width, length, thick), (0, 0, 0), steel, rounding=0.03)
    tilt = d.real(-20, 20)
    for end, sy in zip(ends, (1, -1), strict=True):
        size = width * d.real(1.05, 1.35) * (1.0 if sy > 0 else 0.9)
        y = sy * length / 2
        if end == "plain":
            b.cylinder(width * 0.55, thick, (0, y, 0), steel, axis="z")
            b.cylinder(width * 0.24, 2 * thick, (0, y, 0), steel, axis="z", carve=True)
            continue
        b.cylinder(size, thick * 1.3, (0, y, 0), steel, axis="z")
        if end == "ring":
            b.prism(size * 0.58, 6, 4 * thick, (0, y, 0), steel, axis="z", carve=True)
        else:
            slot = size * 0.85
            b.box(
                (slot, 1.7 * size, 4 * thick),
                (0, y + sy * 0.85 * size, 0),
                steel,
                carve=True,
                turn=(0, 0, tilt),
            )
    num = ends.count("open")
    parts = [counted(num, "open jaw")] if num else []
    parts += [counted(ends.count("ring"), "ring")] if "ring" in ends else []
    return Facts(("wrench", "spanner"), steel, (), tuple(parts))


def screwdriver(b: Builder, d: Draw) -> Facts:
    """A screwdriver: thick round or faceted grip, shaft, flat or pointed tip."""
    grip, steel = d.paint("red", "yellow", "blue", "green", "orange", "black"), d.paint(*METAL[:3])
    length, radius, shaft = d.real(0.6, 0.9), d.real(0.16, 0.24), d.real(0.6, 1.2)
    sides = d.pick(0, 6, 8)
    if sides:
        b.prism(radius, sides, length, (0, length / 2, 0), grip)
    else:
        b.cylinder(radius, length, (0, length / 2, 0), grip, rounding=0.08)
    b.cylinder(radius * 1.1, 0.08, (0, length * d.real(0.85, 0.95), 0), grip, rounding=0.03)
    b.sphere(radius * 0.85, (0, 0.05, 0), grip)
    thin = d.real(0.045, 0.07)
    b.cylinder(thin, shaft, (0, length + shaft / 2 - 0.02, 0), steel)
    flat = d.flag()
    y = length + shaft
    if flat:
        b.frustum((2 * thin, 2 * thin), (0.2, 0.05), 0.22, (0, y + 0.06, 0), steel)
    else:
        b.cone(thin, 0.015, 0.2, (0, y + 0.06, 0), steel)
    parts = (
        "a flat tip" if flat else "a pointed tip",
        "a faceted grip" if sides else "a round grip",
    )
    return Facts(("screwdriver",), grip, (), parts, (("shaft", steel),))


def bolt(b: Builder, d: Draw) -> Facts:
    """A bolt: hexagonal, square, round or cylindrical head, threaded shaft, maybe a nut."""
    steel = d.paint(*METAL, "brown")
    radius, length = d.real(0.18, 0.3), d.real(0.8, 1.6)
    head, tall = radius * d.real(1.7, 2.2), d.real(0.2, 0.4)
    style = d.pick("hexagonal", "square", "domed", "cylindrical")
    y = length + tall / 2 - 0.02
    if style == "domed":
        b.dome((head, tall * 1.3, head), 0.0, (0, length - 0.03, 0), steel)
    elif style == "cylindrical":
        b.cylinder(head * 0.9, tall, (0, y, 0), steel, rounding=0.03)
        b.prism(head * 0.5, 6, tall, (0, y + tall * 0.55, 0), steel, carve=True)
    else:
        b.prism(head, 6 if style == "hexagonal" else 4, tall, (0, y, 0), steel, turn=(0, 45, 0))
    b.cylinder(radius * 0.88, length, (0, length / 2, 0), steel, rounding=0.03)
    num = d.whole(4, 8)
    span = length * d.real(0.45, 0.8)
    for i in range(num):
        b.torus(radius * 0.85, 0.3 * span / num, (0, 0.06 + span * (i + 0.5) / num, 0), steel)
    nut = d.flag(0.3)
    other = d.paint(*METAL, unlike=steel)
    if nut:
        b.prism(head, 6, 0.25, (0, length * d.real(0.25, 0.6), 0), other)
    parts = [f"a {style} head", "a threaded shaft"] + (["a nut"] if nut else [])
    return Facts(("bolt", "screw"), steel, (), tuple(parts), (("nut", other),) if nut else ())


def nut(b: Builder, d: Draw) -> Facts:
    """A nut: four, six or eight sides, with a hole and maybe a flange."""
    steel = d.paint(*METAL, "brown", "orange")
    sides, radius, height = d.pick(4, 6, 6, 8), d.real(0.6, 0.9), d.real(0.35, 0.9)
    b.prism(radius, sides, height, (0, 0, 0), steel, turn=(0, 180 / sides, 0))
    flange = d.flag(0.4)
    if flange:
        b.cylinder(
            radius * d.real(1.1, 1.25), 0.12, (0, -height / 2 + 0.03, 0), steel, rounding=0.03
        )
    dome = d.flag(0.2)
    hole = radius * d.real(0.42, 0.58)
    if dome:
        cap = 0.75 * radius
        b.dome((cap, cap, cap), 0.0, (0, height / 2 - 0.05, 0), steel)
        b.cylinder(hole, height, (0, -0.15, 0), steel, carve=True)
    else:
        b.cylinder(hole, 2 * height + 0.4, (0, 0, 0), steel, carve=True)
    words = ({4: "square", 6: "hexagonal", 8: "octagonal"}[sides],)
    parts = (["a flange"] if flange else []) + (["a domed cap"] if dome else ["a round hole"])
    return Facts(("nut", "cap nut" if dome else "nut"), steel, words, tuple(parts))


def gear(b: Builder, d: Draw) -> Facts:
    """A gear wheel standing upright: teeth, hub, bore, spokes or a plain web."""
    steel = d.paint(*METAL, "brown", "orange", "red")
    teeth, radius, thick = d.whole(6, 16), d.real(0.6, 0.85), d.real(0.18, 0.4)
    b.cylinder(radius, thick, (0, 0, 0), steel, axis="z")
    depth, wide = d.real(0.16, 0.26), 2 * pi * radius / teeth * d.real(0.42, 0.55)
    for i in range(teeth):
        turn = 2 * pi * (i + 0.5) / teeth
        out = radius + depth / 2 - 0.03
        at = (out * cos(turn), out * sin(turn), 0.0)
        b.frustum(
            (wide, thick),
            (wide * 0.7, thick),
            depth + 0.06,
            at,
            steel,
            turn=(0, 0, 360 * (i + 0.5) / teeth - 90),
        )
    hub = radius * d.real(0.35, 0.45)
    spokes = d.whole(3, 6) if d.flag(0.5) else 0
    if spokes:
        out = radius * 0.64
        for i in range(spokes):
            turn = 2 * pi * (i + 0.25) / spokes
            hole = min(radius * 0.17, out * sin(pi / spokes) - 0.04)
            b.cylinder(
                hole, 2 * thick, (out * cos(turn), out * sin(turn), 0), steel, axis="z", carve=True
            )
    b.cylinder(hub, thick * d.real(1.0, 1.6) + 0.05, (0, 0, 0), steel, axis="z")
    b.cylinder(hub * d.real(0.45, 0.65), 3 * thick, (0, 0, 0), steel, axis="z", carve=True)
    parts = [counted(teeth, "tooth", "teeth")] + ([counted(spokes, "hole")] if spokes else [])
    return Facts(("gear", "cogwheel"), steel, ("thick",) if thick > 0.32 else (), tuple(parts))
