"""Tables, storage and lamps."""

from __future__ import annotations

from math import cos, pi, sin

from g3pt.procedural.builder import BRIGHT, METAL, WOOD, Builder, Draw
from g3pt.procedural.captions import Facts, counted


def table(b: Builder, d: Draw) -> Facts:
    """A table: round or square top on legs, a pedestal or two side panels."""
    wood = d.paint(*WOOD)
    top = d.paint(*WOOD, "blue", "green", "red", unlike=wood) if d.flag(0.5) else wood
    round_top = d.flag(0.4)
    width = d.real(1.2, 2.0)
    depth = width if round_top else d.real(0.8, 1.2)
    height, thick = d.real(0.5, 1.2), d.real(0.07, 0.14)
    y = height - thick / 2
    if round_top:
        b.cylinder(width / 2, thick, (0, y, 0), top, rounding=d.real(0, 0.03))
    else:
        b.box((width, thick, depth), (0, y, 0), top, rounding=d.real(0, 0.04))
    style = d.pick("legs", "legs", "pedestal", "panels")
    parts: list[str] = []
    if style == "legs":
        num = d.whole(3, 4) if round_top else 4
        leg, splay = d.real(0.045, 0.08), d.real(0, 0.1)
        square = d.flag()
        for i in range(num):
            if round_top:
                turn = 2 * pi * (i + 0.5) / num
                x, z = 0.36 * width * cos(turn), 0.36 * width * sin(turn)
            else:
                x = (width / 2 - 1.6 * leg) * (1 if i % 2 else -1)
                z = (depth / 2 - 1.6 * leg) * (1 if i // 2 else -1)
            foot = (x * (1 + splay), 0.0, z * (1 + splay))
            if square:
                b.bar(foot, (x, y, z), 1.8 * leg, wood)
            else:
                b.rod(foot, (x, y, z), leg, wood)
        parts = [counted(num, "leg")]
        if not round_top and d.flag(0.3):
            b.box((width * 0.9, 0.06, depth * 0.85), (0, height * d.real(0.25, 0.4), 0), wood)
            parts.append("a lower shelf")
    elif style == "pedestal":
        b.cylinder(d.real(0.08, 0.15), height - thick, (0, y / 2, 0), wood)
        b.cone(d.real(0.3, 0.42) * width, 0.15, d.real(0.08, 0.2), (0, 0.06, 0), wood)
        parts.append("one central leg")
    else:
        for sx in (-1, 1):
            x = sx * width * (0.3 if round_top else 0.42)
            b.box((0.1, y, depth * 0.65), (x, y / 2, 0), wood)
        parts.append("two side panels")
    low = height / width < 0.4
    nouns = ("coffee table", "table") if low else ("table", "dining table")
    words = ("round" if round_top else "rectangular",)
    accents = (("top", top),) if top is not wood else ()
    return Facts(nouns, wood, words, tuple(parts), accents)


def desk(b: Builder, d: Draw) -> Facts:
    """A desk with drawers on one or both sides, open to the front, maybe a screen on it."""
    wood = d.paint(*WOOD)
    front = d.paint(unlike=wood) if d.flag(0.5) else wood
    width, depth, height = d.real(1.5, 2.2), d.real(0.7, 1.0), d.real(0.85, 1.1)
    b.box((width, 0.09, depth), (0, height - 0.045, 0), wood)
    sides = d.whole(1, 2)
    num = d.whole(2, 4)
    unit = d.real(0.38, 0.5)
    first = d.pick(-1, 1)
    for i in range(2):
        sx = first if i == 0 else -first
        if i < sides:
            x = sx * (width / 2 - unit / 2 - 0.03)
            b.box((unit, height - 0.05, depth - 0.1), (x, (height - 0.05) / 2, -0.01), wood)
            rise = (height - 0.2) / num
            for j in range(num):
                at = (x, 0.08 + (j + 0.5) * rise, depth / 2 - 0.05)
                b.box((unit - 0.08, rise - 0.05, 0.06), at, front)
                b.sphere(0.035, (x, at[1], depth / 2), wood)
        else:
            for sz in (-1, 1):
                at = (sx * (width / 2 - 0.08), height / 2 - 0.03, sz * (depth / 2 - 0.08))
                b.box((0.09, height - 0.06, 0.09), at, wood)
    if d.flag(0.6):
        b.box((width - 0.1, height * 0.5, 0.06), (0, height * 0.7, -depth / 2 + 0.06), wood)
    parts = [counted(num * sides, "drawer")]
    if d.flag(0.35):
        dark = d.paint("black", "grey", "white")
        wide = d.real(0.5, 0.75)
        b.box((wide, wide * 0.6, 0.06), (0, height + 0.12 + wide * 0.3, -0.12), dark)
        b.box((0.09, 0.24, 0.06), (0, height + 0.08, -0.16), dark)
        b.box((0.3, 0.06, 0.22), (0, height + 0.02, -0.14), dark)
        parts.append("a screen")
    accents = (("drawers", front),) if front is not wood else ()
    return Facts(("desk", "writing desk"), wood, (), tuple(parts), accents)


def shelf(b: Builder, d: Draw) -> Facts:
    """A bookshelf with boards, maybe a back, dividers and books."""
    wood = d.paint(*WOOD)
    width, height, depth = d.real(0.7, 1.6), d.real(1.0, 2.2), d.real(0.3, 0.5)
    num = d.whole(2, 5)
    board = 0.065 * max(width, height) / 1.6
    for sx in (-1, 1):
        b.box((board, height, depth), (sx * (width - board) / 2, height / 2, 0), wood)
    gap = (height - board) / num
    for i in range(num + 1):
        b.box((width - board, board, depth), (0, board / 2 + i * gap, 0), wood)
    back = d.flag(0.7)
    if back:
        b.box((width, height, board), (0, height / 2, -depth / 2 + board / 2), wood)
    divider = d.flag(0.3)
    if divider:
        b.box((board, height, depth - 0.02), (0, height / 2, 0), wood)
    books = d.flag(0.5) and back
    if books:
        for i in range(num):
            if d.flag(0.7):
                cloth = d.paint(*BRIGHT, unlike=wood)
                tall, wide = gap * d.real(0.5, 0.8), width * d.real(0.2, 0.42)
                x = d.pick(-1, 1) * (width - board - wide) / 2
                b.box(
                    (wide, tall, depth * 0.7), (x, i * gap + board + tall / 2 - 0.01, -0.03), cloth
                )
    parts = [counted(num + 1, "board"), "a back" if back else "an open back"]
    parts += ["a divider"] if divider else []
    return Facts(("shelf", "bookshelf"), wood, (), tuple(parts))


def cabinet(b: Builder, d: Draw) -> Facts:
    """A cabinet or wardrobe: body, doors or drawers, knobs, feet."""
    wood = d.paint(*WOOD, "teal", "green", "red")
    front = d.paint(unlike=wood) if d.flag(0.6) else wood
    metal = d.paint(*METAL, unlike=front)
    width, height, depth = d.real(0.8, 1.7), d.real(0.8, 2.0), d.real(0.5, 0.8)
    feet = d.real(0.1, 0.25) if d.flag(0.6) else 0.0
    b.box((width, height, depth), (0, feet + height / 2, 0), wood)
    drawers = d.flag(0.5)
    num = d.whole(2, 5) if drawers else d.whole(1, 3)
    z = depth / 2 + 0.02
    for i in range(num):
        if drawers:
            rise = (height - 0.08) / num
            at = (0.0, feet + 0.04 + (i + 0.5) * rise, z)
            b.box((width - 0.14, rise - 0.07, 0.1), at, front)
            b.box((width * 0.25, 0.06, 0.1), (0, at[1], z + 0.07), metal)
        else:
            wide = (width - 0.08) / num
            at = (-width / 2 + 0.04 + (i + 0.5) * wide, feet + height / 2, z)
            b.box((wide - 0.07, height - 0.14, 0.1), at, front)
            side = -1 if i >= num / 2 else 1
            b.box((0.06, 0.2, 0.1), (at[0] + side * (wide / 2 - 0.1), at[1], z + 0.07), metal)
    if feet:
        for sx in (-1, 1):
            for sz in (-1, 1):
                at = (sx * (width / 2 - 0.1), feet / 2 + 0.02, sz * (depth / 2 - 0.1))
                b.box((0.1, feet + 0.04, 0.1), at, wood)
    if d.flag(0.4):
        b.box((width + 0.1, 0.08, depth + 0.1), (0, feet + height + 0.02, 0.02), wood)
    parts = [counted(num, "drawer" if drawers else "door")] + (["four feet"] if feet else [])
    nouns = (
        ("chest of drawers",)
        if drawers
        else ("cabinet", "wardrobe" if height > 1.5 else "cupboard")
    )
    accents = (("drawers" if drawers else "door" if num == 1 else "doors", front),)
    return Facts(nouns, wood, (), tuple(parts), accents if front is not wood else ())


def lamp(b: Builder, d: Draw) -> Facts:
    """A table or floor lamp: base, stem straight or bent, shade of one of three forms."""
    metal, shade = (
        d.paint(*METAL, "brown", "blue", "red"),
        d.paint("white", "beige", "yellow", *BRIGHT),
    )
    height = d.real(0.9, 2.2)
    base = d.real(0.25, 0.42)
    square = d.flag(0.25)
    if square:
        b.box((1.7 * base, 0.1, 1.7 * base), (0, 0.05, 0), metal)
    else:
        b.cylinder(base, d.real(0.07, 0.14), (0, 0.05, 0), metal, rounding=0.02)
    radius, tall = d.real(0.35, 0.55), d.real(0.35, 0.6)
    reach = d.real(0.3, 0.6) if d.flag(0.3) else 0.0
    stem = d.real(0.03, 0.06)
    if reach:
        elbow = (0.0, height, -reach / 2)
        b.limb((0, 0.06, 0), elbow, stem, stem, metal)
        b.limb(elbow, (0, height + 0.1, reach / 2 + 0.1), stem, stem, metal)
    else:
        b.cylinder(stem, height, (0, height / 2, 0), metal)
        if d.flag(0.5):
            b.sphere(d.real(0.09, 0.16), (0, height * d.real(0.25, 0.6), 0), metal)
    at = (0.0, height, reach / 2 + (0.1 if reach else 0.0))
    style = d.pick("cone", "drum", "dome", "globe")
    if style == "cone":
        b.cone(radius, radius * d.real(0.35, 0.65), tall, at, shade)
    elif style == "drum":
        b.cylinder(radius * 0.85, tall, at, shade)
    elif style == "dome":
        b.dome((radius, tall * 0.8, radius), 0.0, (at[0], at[1] - 0.1, at[2]), shade)
    else:
        b.sphere(radius * 0.75, at, shade)
    nouns = ("floor lamp", "lamp") if height > 1.5 else ("table lamp", "lamp", "desk lamp")
    parts = [
        {"cone": "a conical", "drum": "a drum", "dome": "a dome", "globe": "a globe"}[style]
        + " shade"
    ]
    parts += ["a square base" if square else "a round base"] + (["a bent arm"] if reach else [])
    return Facts(nouns, metal, (), tuple(parts), (("shade", shade),))
