"""Plants."""

from __future__ import annotations

from math import cos, pi, sin

from g3pt.procedural.builder import BRIGHT, Builder, Draw, Paint
from g3pt.procedural.captions import Facts, counted


def tree(b: Builder, d: Draw) -> Facts:
    """A tree: fir in tiers, round crown, clustered crown, or palm."""
    bark = d.paint("brown", "beige", "grey", "black")
    leaf = d.paint("green", "green", "green", "orange", "yellow", "pink", "red", "teal")
    crown = d.pick(_fir, _round_crown, _cluster, _palm)
    trunk, radius = d.real(0.5, 1.0), d.real(0.06, 0.12)
    height, nouns, words, parts = crown(b, d, trunk, leaf)
    b.cone(radius * 1.4, radius, height, (0, height / 2, 0), bark)
    if crown is not _palm and d.flag(0.4):
        b.cone(radius * 2.4, radius, 0.2, (0, 0.1, 0), bark)
        parts += ("spreading roots",)
    return Facts(nouns, leaf, words, parts, (("trunk", bark),))


_Crown = tuple[float, tuple[str, ...], tuple[str, ...], tuple[str, ...]]
"""How high the trunk reaches, then nouns, adjectives and parts."""


def _fir(b: Builder, d: Draw, trunk: float, leaf: Paint) -> _Crown:
    trunk *= 0.6
    tiers, wide = d.whole(2, 5), d.real(0.45, 0.7)
    rise = d.real(1.2, 1.7) / tiers
    for i in range(tiers):
        radius = wide * (1 - 0.75 * i / tiers)
        top = radius * 0.25 if i < tiers - 1 else 0.01
        b.cone(radius, top, rise * 1.25, (0, trunk + rise * (i + 0.55), 0), leaf)
    return trunk + rise, ("fir tree", "tree", "pine tree"), (), (counted(tiers, "tier"),)


def _round_crown(b: Builder, d: Draw, trunk: float, leaf: Paint) -> _Crown:
    radius = d.real(0.45, 0.65)
    b.ellipsoid((radius, radius * d.real(0.8, 1.5), radius), (0, trunk + radius * 0.8, 0), leaf)
    return trunk + radius, ("tree",), ("round",), ()


def _cluster(b: Builder, d: Draw, trunk: float, leaf: Paint) -> _Crown:
    num = d.whole(4, 8)
    for i in range(num):
        turn, radius = 2 * pi * i / num, d.real(0.22, 0.36)
        out = d.real(0.2, 0.34)
        b.sphere(radius, (out * cos(turn), trunk + d.real(0.1, 0.6), out * sin(turn)), leaf)
    b.sphere(0.36, (0, trunk + 0.35, 0), leaf)
    return trunk + 0.3, ("tree",), ("bushy",), ()


def _palm(b: Builder, d: Draw, trunk: float, leaf: Paint) -> _Crown:
    trunk = d.real(1.1, 1.6)
    num = d.whole(5, 8)
    for i in range(num):
        x, z = cos(2 * pi * i / num), sin(2 * pi * i / num)
        reach, droop = d.real(0.5, 0.7), d.real(0.0, 0.3)
        knee = (0.55 * reach * x, trunk + 0.12, 0.55 * reach * z)
        b.limb((0, trunk, 0), knee, 0.06, 0.06, leaf)
        b.limb(knee, (reach * x, trunk - droop, reach * z), 0.06, 0.03, leaf)
    return trunk + 0.05, ("palm tree", "tree"), (), (counted(num, "leaf", "leaves"),)


def cactus(b: Builder, d: Draw) -> Facts:
    """A cactus with arms, in a pot or in the ground."""
    skin, clay = (
        d.paint("green", "green", "teal", "yellow"),
        d.paint("orange", "brown", "red", "white", "blue"),
    )
    height, radius = d.real(0.9, 1.5), d.real(0.15, 0.24)
    b.limb((0, 0, 0), (0, height, 0), radius, radius * d.real(0.8, 1.0), skin)
    num = d.whole(0, 4)
    first = d.real(-0.5, 0.5)
    for i in range(num):
        turn = first + pi * i + (pi / 2 if i >= 2 else 0)
        x, z = cos(turn), sin(turn)
        y, out, up, thin = (
            d.real(0.3, 0.6) * height,
            radius + d.real(0.15, 0.3),
            d.real(0.2, 0.5),
            radius * d.real(0.5, 0.7),
        )
        elbow = (out * x, y, out * z)
        b.limb((0, y, 0), elbow, thin, thin, skin)
        b.limb(elbow, (out * x, y + up, out * z), thin, thin, skin)
    potted = d.flag(0.5)
    if potted:
        wide = radius * d.real(1.6, 2.2)
        b.cone(wide * 0.75, wide, 0.4, (0, -0.1, 0), clay)
        b.cylinder(wide * 1.1, 0.1, (0, 0.1, 0), clay)
    else:
        b.dome((radius * 2.5, 0.2, radius * 2.5), 0.0, (0, -0.1, 0), clay)
    flower = d.flag(0.35)
    petal = d.paint("pink", "red", "yellow", "white")
    if flower:
        b.sphere(0.1, (0, height + radius * 0.9, 0), petal)
    parts = [counted(num, "arm") if num else "no arms"] + (["a pot"] if potted else [])
    return Facts(("cactus",), skin, (), tuple(parts), (("flower", petal),) if flower else ())


def mushroom(b: Builder, d: Draw) -> Facts:
    """A mushroom: stem, cap of one of three forms, ring and spots."""
    cap, stem = (
        d.paint("red", "brown", "orange", "purple", "yellow", "blue", "white"),
        d.paint("white", "beige", "yellow"),
    )
    height, wide, thin = d.real(0.5, 1.1), d.real(0.45, 0.75), d.real(0.11, 0.2)
    b.cone(thin * d.real(1.0, 1.5), thin, height + 0.1, (0, height / 2 + 0.05, 0), stem)
    style = d.pick("domed", "pointed", "flat")
    rise = {"domed": wide * 0.75, "pointed": wide * 1.1, "flat": wide * 0.35}[style] * d.real(
        0.85, 1.15
    )
    if style == "pointed":
        b.cone(wide * 0.9, 0.06, rise, (0, height + rise / 2, 0), cap)
    else:
        b.dome((wide, rise, wide), 0.0, (0, height, 0), cap)
    ring = d.flag(0.5)
    if ring:
        b.cone(thin * 1.7, thin * 1.1, 0.08, (0, height * 0.7, 0), stem)
    spots = d.whole(4, 8) if style != "pointed" and d.flag(0.6) else 0
    spot = d.paint("white", "yellow", "beige", "black", unlike=cap)
    for i in range(spots):
        turn, out = 2 * pi * i / spots, 0.62
        up = (1 - out * out) ** 0.5
        b.sphere(0.09, (out * wide * cos(turn), height + rise * up, out * wide * sin(turn)), spot)
    if spots:
        b.sphere(0.1, (0, height + rise - 0.02, 0), spot)
    parts = (
        [f"a {style} cap"]
        + (["a ring"] if ring else [])
        + ([f"{spot.name} spots"] if spots else [])
    )
    return Facts(("mushroom", "toadstool"), cap, (), tuple(parts), (("stem", stem),))


def flower(b: Builder, d: Draw) -> Facts:
    """A flower: stem, leaves, petals around a middle, in a pot or not."""
    petal, middle = d.paint(*BRIGHT, "white"), d.paint("yellow", "orange", "brown", "black")
    if middle.name == petal.name:
        middle = d.paint("brown", "black")
    green = d.paint("green")
    height, num = d.real(0.8, 1.3), d.whole(5, 9)
    size, out = d.real(0.17, 0.26), d.real(0.26, 0.4)
    b.cylinder(0.04, height, (0, height / 2, 0), green)
    for i in range(num):
        turn = 360 * i / num + 90
        x, y = cos(turn * pi / 180), sin(turn * pi / 180)
        b.ellipsoid(
            (out * 0.75, min(size, pi * out / num * 1.1), 0.05),
            (out * x, height + out * y, 0.04),
            petal,
            turn=(0, 0, turn),
        )
    b.ellipsoid((out * 0.5, out * 0.5, 0.1), (0, height, 0.07), middle)
    leaves = d.whole(0, 3)
    for i in range(leaves):
        side = 1 if i % 2 else -1
        b.ellipsoid(
            (0.24, 0.04, 0.1),
            (side * 0.22, height * (0.25 + 0.15 * i), 0),
            green,
            turn=(0, 0, side * d.real(20, 40)),
        )
    potted = d.flag(0.6)
    clay = d.paint("orange", "brown", "blue", "white", "red")
    if potted:
        b.cone(0.2, 0.3, 0.4, (0, -0.1, 0), clay)
        b.cylinder(0.33, 0.09, (0, 0.08, 0), clay)
    else:
        b.dome((0.35, 0.12, 0.35), 0.0, (0, -0.03, 0), green)
    parts = [
        counted(num, "petal"),
        counted(leaves, "leaf", "leaves") if leaves else "no leaves",
    ] + (["a pot"] if potted else [])
    return Facts(
        ("flower", "potted flower" if potted else "flower"),
        petal,
        (),
        tuple(parts),
        (("middle", middle),),
    )
