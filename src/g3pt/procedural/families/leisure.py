"""Instruments and things to play with."""

from __future__ import annotations

from math import cos, hypot, pi, sin

from g3pt.procedural.builder import BRIGHT, Builder, Draw
from g3pt.procedural.captions import Facts, counted


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


def umbrella(b: Builder, d: Draw) -> Facts:
    """An open umbrella or parasol: canopy, pole, hooked handle or a foot."""
    cloth, pole = d.paint(*BRIGHT, "black", "white"), d.paint("brown", "black", "grey", "white")
    radius, rise, height = d.real(0.7, 0.95), d.real(0.3, 0.55), d.real(1.2, 1.6)
    style = d.pick("dome", "cone", "faceted")
    if style == "dome":
        b.dome((radius, rise, radius), 0.0, (0, height, 0), cloth)
        hollow = (radius - 0.07, rise - 0.08, radius - 0.07)
        b.ellipsoid(hollow, (0, height - 0.005, 0), cloth, carve=True)
    else:
        # The hollow is the canopy itself, lowered until 0.06 of cloth remain across its slope.
        drop = 0.06 * hypot(0.85 * radius, rise) / (0.85 * radius)
        for y, carve in ((height + rise / 2, False), (height + rise / 2 - drop, True)):
            if style == "cone":
                b.cone(radius, 0.03, rise, (0, y, 0), cloth, carve=carve)
            else:
                b.frustum(1.7 * radius, 0.06, rise, (0, y, 0), cloth, carve=carve)
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
