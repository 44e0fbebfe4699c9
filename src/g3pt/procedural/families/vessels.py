"""Things that hold something: their insides are carved out."""

from __future__ import annotations

from math import atan2, cos, pi, sin

from g3pt.procedural.builder import METAL, Builder, Draw
from g3pt.procedural.captions import Facts, counted


def mug(b: Builder, d: Draw) -> Facts:
    """A mug: straight or tapered wall, ring or square handle."""
    clay = d.paint()
    inside = d.paint("white", "beige", "black", unlike=clay) if d.flag(0.5) else clay
    height, radius = d.real(0.8, 1.4), d.real(0.38, 0.6)
    top = radius * (d.real(1.05, 1.3) if d.flag(0.4) else 1.0)
    wall = d.real(0.06, 0.1)
    reach = d.real(0.2, 0.32)
    square = d.flag(0.35)
    middle = (radius + top) / 2
    thick = d.real(0.05, 0.08)
    if square:
        low, high = 0.25 * height, 0.75 * height
        for y in (low, high):
            size = (reach + 0.1, 2 * thick, 2 * thick)
            b.box(size, (middle + reach / 2, y, 0), clay, rounding=0.02)
        size = (2 * thick, high - low + 2 * thick, 2 * thick)
        b.box(size, (middle + reach, height / 2, 0), clay, rounding=0.02)
    else:
        b.torus(0.28 * height, thick, (middle - 0.04, height / 2, 0), clay, axis="z")
    if top == radius:
        b.cylinder(radius, height, (0, height / 2, 0), clay, rounding=0.03)
        b.cylinder(radius - wall, height, (0, height / 2 + wall, 0), inside, carve=True)
    else:
        b.cone(radius, top, height, (0, height / 2, 0), clay)
        b.cone(radius - wall, top - wall, height, (0, height / 2 + wall, 0), inside, carve=True)
    words = ("tapered" if top != radius else "straight",)
    parts = ("a square handle" if square else "a round handle",)
    accents = (("inside", inside),) if inside is not clay else ()
    return Facts(("mug", "cup", "coffee mug"), clay, words, parts, accents)


def bottle(b: Builder, d: Draw) -> Facts:
    """A bottle: round or square body, shoulder, neck, cap and maybe a label."""
    glass = d.paint("green", "brown", "blue", "white", "red", "purple", "teal", "black")
    cap = d.paint(unlike=glass)
    radius, body = d.real(0.25, 0.45), d.real(0.7, 1.2)
    square = d.flag(0.25)
    shoulder, neck = d.real(0.15, 0.4), d.real(0.2, 0.5)
    thin = radius * d.real(0.25, 0.45)
    if square:
        b.box((1.7 * radius, body, 1.7 * radius), (0, body / 2, 0), glass, rounding=0.06)
        b.frustum(
            1.6 * radius,
            2 * thin,
            shoulder,
            (0, body - 0.03 + shoulder / 2, 0),
            glass,
        )
    else:
        b.cylinder(radius, body, (0, body / 2, 0), glass, rounding=0.04)
        if d.flag(0.5):
            b.dome((radius * 0.98, shoulder + 0.05, radius * 0.98), 0.0, (0, body - 0.05, 0), glass)
        else:
            b.cone(radius * 0.96, thin, shoulder, (0, body - 0.03 + shoulder / 2, 0), glass)
    y = body + shoulder
    b.cylinder(thin, neck + 0.1, (0, y + neck / 2 - 0.08, 0), glass)
    b.cylinder(thin * 1.25, d.real(0.1, 0.2), (0, y + neck, 0), cap, rounding=0.02)
    label = d.flag(0.5)
    parts = ["a long neck"] if neck > 0.38 else []
    accents = [("cap", cap)]
    if label:
        paper = d.paint("white", "beige", "yellow", "red", "blue", unlike=glass)
        high = body * d.real(0.3, 0.55)
        if square:
            b.box(
                (1.7 * radius + 0.05, high, 1.7 * radius + 0.05),
                (0, body / 2, 0),
                paper,
                rounding=0.05,
            )
        else:
            b.cylinder(radius + 0.025, high, (0, body / 2, 0), paper)
        accents.append(("label", paper))
    return Facts(
        ("bottle", "flask"), glass, ("square" if square else "round",), tuple(parts), tuple(accents)
    )


def vase(b: Builder, d: Draw) -> Facts:
    """A vase: belly, neck and flared lip, hollow, with none to two handles."""
    clay = d.paint()
    belly, height = d.real(0.35, 0.55), d.real(0.7, 1.1)
    neck, lip = belly * d.real(0.4, 0.6), belly * d.real(0.65, 1.0)
    rise = d.real(0.25, 0.6)
    b.cylinder(belly * d.real(0.55, 0.75), 0.12, (0, 0.05, 0), clay)
    b.ellipsoid((belly, height / 2, belly), (0, height / 2, 0), clay)
    y = height * 0.88
    handles = d.pick(0, 0, 2, 2, 1)
    for i in range(handles):
        side = 1 if i else -1
        b.torus(0.24, 0.045, (side * (neck + 0.1), y + 0.08, 0), clay, axis="z")
    wall = 0.06
    b.cone(neck, lip, rise, (0, y + rise / 2, 0), clay)
    b.cylinder(neck, 0.2, (0, y - 0.05, 0), clay)
    b.cone(neck - wall, lip - wall, rise, (0, y + rise / 2 + 0.004, 0), clay, carve=True)
    b.cylinder(neck - wall, 0.5, (0, y - 0.2, 0), clay, carve=True)
    b.ellipsoid(
        (belly - 0.07, height / 2 - 0.09, belly - 0.07), (0, height / 2, 0), clay, carve=True
    )
    band = d.paint(unlike=clay)
    striped = d.flag(0.5)
    if striped:
        b.torus(belly - 0.01, 0.05, (0, height / 2, 0), band)
    parts = ([counted(handles, "handle")] if handles else ["no handles"]) + (
        ["a wide mouth"] if lip > 0.42 else []
    )
    return Facts(("vase", "urn"), clay, (), tuple(parts), (("band", band),) if striped else ())


def bowl(b: Builder, d: Draw) -> Facts:
    """A bowl: hollow half ellipsoid on a foot, maybe with fruit."""
    clay = d.paint()
    inside = d.paint(unlike=clay) if d.flag(0.4) else clay
    radius, depth, wall = d.real(0.7, 1.0), d.real(0.35, 0.8), d.real(0.07, 0.1)
    foot = d.real(0.05, 0.18)
    b.dome((radius, depth, radius), 0.0, (0, depth, 0), clay, turn=(180, 0, 0))
    b.cylinder(radius * d.real(0.3, 0.5), foot + 0.2, (0, -foot / 2 + 0.1, 0), clay)
    b.ellipsoid((radius - wall, depth - wall, radius - wall), (0, depth, 0), inside, carve=True)
    num = d.whole(1, 5) if d.flag(0.35) else 0
    fruit = d.paint("red", "orange", "yellow", "green", unlike=inside)
    size = d.real(0.15, 0.2)
    for i in range(num):
        turn = 2 * pi * i / max(num, 1)
        out = 0.0 if num == 1 else 0.27
        b.sphere(size, (out * cos(turn), depth * 0.3 + wall, out * sin(turn)), fruit)
    if num:
        b.cylinder(radius * 0.7, depth * 0.35, (0, depth * 0.2, 0), clay)
    accents = [("inside", inside)] if inside is not clay and not num else []
    parts = [counted(num, "fruit", "fruits")] if num else []
    words = (
        ("shallow",) if depth < 0.5 * radius else ("deep",) if depth > 0.75 * radius else ("round",)
    )
    accents += [("fruits" if num > 1 else "fruit", fruit)] if num else []
    return Facts(("bowl", "dish"), clay, words, tuple(parts), tuple(accents))


def pot(b: Builder, d: Draw) -> Facts:
    """A cooking pot or pan: open or with a lid, one long or two short handles."""
    steel, grip = (
        d.paint(*METAL, "red", "blue", "orange"),
        d.paint("black", "brown", "grey", "beige"),
    )
    radius, height = d.real(0.5, 0.75), d.real(0.25, 0.9)
    lid = d.flag(0.45)
    pan = d.flag(0.45)
    b_y = height * 0.78
    length = d.real(0.7, 1.1)
    if pan:
        b.limb(
            (radius - 0.03, b_y, 0), (radius + length, b_y + d.real(0, 0.15), 0), 0.05, 0.07, grip
        )
    else:
        for sx in (-1, 1):
            b.torus(0.17, 0.05, (sx * (radius + 0.02), b_y, 0), grip)
    b.cylinder(radius, height, (0, height / 2, 0), steel, rounding=0.04)
    if lid:
        b.dome((radius, d.real(0.15, 0.3), radius), 0.0, (0, height - 0.02, 0), steel)
        b.cylinder(radius + 0.03, 0.06, (0, height - 0.02, 0), steel)
        b.sphere(0.09, (0, height + 0.26, 0), grip)
        b.cylinder(0.05, 0.3, (0, height + 0.12, 0), grip)
    else:
        b.cylinder(radius - 0.08, height, (0, height / 2 + 0.08, 0), steel, carve=True)
    parts = ["a long handle" if pan else "two handles", "a lid" if lid else "no lid"]
    nouns = ("saucepan", "pan") if pan else ("pot", "cooking pot")
    words = ("deep",) if height > 0.65 else ("shallow",) if height < 0.4 else ()
    return Facts(nouns, steel, words, tuple(parts), (("handles" if not pan else "handle", grip),))


def teapot(b: Builder, d: Draw) -> Facts:
    """A teapot: belly, spout, ring handle, lid with a knob."""
    clay = d.paint()
    knob = d.paint(unlike=clay) if d.flag(0.5) else clay
    radius, height = d.real(0.5, 0.65), d.real(0.7, 1.1)
    b.ellipsoid((radius, height / 2, radius), (0, height / 2, 0), clay)
    b.cylinder(radius * 0.6, 0.1, (0, 0.05, 0), clay)
    b.torus(height * 0.27, d.real(0.05, 0.07), (-radius - 0.03, height * 0.52, 0), clay, axis="z")
    tip = (radius + d.real(0.3, 0.45), height * d.real(0.75, 1.0), 0.0)
    b.limb((radius * 0.7, height * 0.35, 0), tip, 0.14, 0.06, clay)
    b.dome((radius * 0.6, 0.15, radius * 0.6), 0.0, (0, height - 0.08, 0), knob)
    b.sphere(d.real(0.07, 0.1), (0, height + 0.12, 0), knob)
    accents = (("lid", knob),) if knob is not clay else ()
    return Facts(("teapot",), clay, ("round",), ("a spout", "a round handle", "a lid"), accents)


def barrel(b: Builder, d: Draw) -> Facts:
    """A barrel with hoops."""
    wood, hoop = (
        d.paint("brown", "beige", "orange", "red", "blue"),
        d.paint("grey", "black", "yellow"),
    )
    radius, height = d.real(0.35, 0.55), d.real(0.9, 1.5)
    bulge = radius * d.real(1.1, 1.3)
    for sy in (-1, 1):
        b.cone(
            bulge,
            radius,
            height / 2,
            (0, sy * height / 4, 0),
            wood,
            turn=(0 if sy > 0 else 180, 0, 0),
        )
    num = d.whole(2, 4)
    for i in range(num):
        y = (0.84 * (2 * i / (num - 1) - 1)) * height / 2
        wide = bulge + (radius - bulge) * abs(y) / (height / 2)
        b.cylinder(wide + 0.035, 0.09, (0, y, 0), hoop, rounding=0.01)
    b.cylinder(radius - 0.08, 0.1, (0, height / 2, 0), wood, carve=True)
    tap = d.flag(0.4)
    if tap:
        b.cylinder(0.05, 0.3, (0, -0.2 * height, bulge), hoop, axis="z")
        b.sphere(0.07, (0, -0.2 * height, bulge + 0.15), hoop)
    parts = [counted(num, "hoop")] + (["a tap"] if tap else [])
    return Facts(("barrel", "cask"), wood, (), tuple(parts), (("hoops", hoop),))


def crate(b: Builder, d: Draw) -> Facts:
    """A crate or box: frame beams around panels, open with slats or closed."""
    wood = d.paint("brown", "beige", "orange", "green", "grey", "blue")
    panel = d.paint("brown", "beige", "orange", "green", "grey", "white", unlike=wood)
    w, h, deep = d.real(0.7, 1.2), d.real(0.6, 1.2), d.real(0.7, 1.2)
    beam = d.real(0.1, 0.16)
    inset = 0.05
    b.box((w - 2 * inset, h - 2 * inset, deep - 2 * inset), (0, 0, 0), panel)
    closed = d.flag(0.6)
    for sy in (-1, 1):
        for s in (-1, 1):
            b.box((w, beam, beam), (0, sy * (h - beam) / 2, s * (deep - beam) / 2), wood)
            b.box((beam, beam, deep), (s * (w - beam) / 2, sy * (h - beam) / 2, 0), wood)
            b.box((beam, h, beam), (s * (w - beam) / 2, 0, sy * (deep - beam) / 2), wood)
    cross = d.flag(0.5)
    if cross:
        up = 57.3 * atan2(h, w) * d.pick(-1, 1)
        long = (w * w + h * h) ** 0.5 - 1.6 * beam
        for s in (-1, 1):
            at = (0, 0, s * (deep / 2 - inset / 2 - 0.005))
            b.box((long, beam, inset), at, wood, turn=(0, 0, up))
    if not closed:
        b.box((w - 2 * beam, h, deep - 2 * beam), (0, beam, 0), panel, carve=True)
    parts = ["a lid"] if closed else ["an open top"]
    parts += ["a diagonal brace"] if cross else []
    return Facts(("crate", "wooden box"), wood, (), tuple(parts), (("panels", panel),))
