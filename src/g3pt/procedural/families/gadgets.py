"""Cameras, clocks and screens."""

from __future__ import annotations

from math import cos, pi, radians, sin

from g3pt.procedural.builder import METAL, WOOD, Builder, Draw, Paint, Vector
from g3pt.procedural.captions import Facts, counted


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
    case = d.paint()
    dial = d.paint("white", "beige", "yellow")
    dial = d.apart(dial, case, *(name for name in ("white", "beige") if name != case.name))
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
        _hand(b, 360 * i / marks, face * 0.82, (0.06, 0.13, 0.06), z - 0.05, dark)
    for reach in (0.45, 0.7):
        turn, long = d.real(0, 360), face * reach
        _hand(b, turn, long / 2, (0.07, long, 0.07), z - 0.04, dark)
    b.cylinder(0.07, 0.16, (0, 0, z - 0.03), dark, axis="z")
    style = d.pick("alarm", "wall", "stand")
    parts = [counted(marks, "mark"), "two hands"]
    if style == "alarm":
        _bells(b, radius, case, d.paint(*METAL))
        parts.append("two bells")
    elif style == "stand":
        at = (0, -radius - 0.04, 0)
        b.box((1.5 * radius, 0.14, thick + 0.2), at, case, rounding=0.03)
        parts.append("a base")
    nouns = {"alarm": ("alarm clock", "clock"), "wall": ("clock", "wall clock")}
    words = ("square" if square else "round",)
    names = nouns.get(style, ("clock", "table clock"))
    return Facts(names, case, words, tuple(parts), (("dial", dial),))


def _hand(b: Builder, turn: float, out: float, size: Vector, z: float, paint: Paint) -> None:
    """A bar on the dial, `turn` degrees from twelve, its middle `out` from the centre."""
    at = (-out * sin(radians(turn)), out * cos(radians(turn)), z)
    b.box(size, at, paint, turn=(0, 0, turn))


def _bells(b: Builder, radius: float, case: Paint, metal: Paint) -> None:
    for sx in (-1, 1):
        start, end = (sx * radius * 0.55, -radius * 0.75, 0), (sx * radius * 0.75, -radius * 1.2, 0)
        b.limb(start, end, 0.06, 0.05, case)
        at = (sx * radius * 0.5, radius * 0.97, 0)
        b.dome((0.26, 0.24, 0.22), 0.0, at, metal, turn=(0, 0, -sx * 28))
        start, end = (sx * radius * 0.45, radius * 0.8, 0), (sx * radius * 0.5, radius * 1.05, 0)
        b.limb(start, end, 0.04, 0.04, metal)


def television(b: Builder, d: Draw) -> Facts:
    """A television: a deep old box with knobs and legs, or a flat screen on a stand."""
    case = d.paint(*WOOD, "red", "teal")
    screen = d.paint("black", "blue", "grey", "teal")
    screen = d.apart(screen, case, *(name for name in ("black", "blue") if name != case.name))
    width, ratio = d.real(1.2, 1.8), d.real(0.55, 0.8)
    old = d.flag(0.5)
    height, depth = width * ratio, d.real(0.4, 0.8) if old else d.real(0.09, 0.16)
    rounding = 0.06 if old else d.real(0.01, 0.04)
    b.box((width, height, depth), (0, 0, 0), case, rounding=rounding)
    inset, x = (0.24, -0.1) if old else (0.12, 0.0)
    wide, tall = width - inset + 2 * x, height - inset
    b.box((wide, tall, 0.1), (x, 0, depth / 2), screen, carve=True)
    b.box((wide, tall, 0.06), (x, 0, depth / 2 - 0.06), screen)
    if old:
        parts = _old_television(b, d, (width, height, depth), case)
    else:
        b.box((0.14, 0.3, 0.08), (0, -height / 2 - 0.08, -0.01), case)
        foot = (width * d.real(0.3, 0.6), 0.07, 0.4)
        b.box(foot, (0, -height / 2 - 0.24, 0), case, rounding=0.02)
        parts = ("a stand",)
    words = ("old-fashioned",) if old else ("flat",)
    nouns = ("television", "TV" if old else "monitor")
    return Facts(nouns, case, words, parts, (("screen", screen),))


def _old_television(
    b: Builder, d: Draw, size: tuple[float, float, float], case: Paint
) -> tuple[str, ...]:
    """Knobs beside the screen, four splayed legs and maybe antennas."""
    width, height, depth = size
    antenna = d.flag(0.6)
    for i in range(2):
        at = (width / 2 - 0.12, height * (0.25 - 0.2 * i), depth / 2)
        b.cylinder(0.07, 0.1, at, d.paint("white", "black", "red", unlike=case), axis="z")
    for sx in (-1, 1):
        for sz in (-1, 1):
            x, z = sx * (width / 2 - 0.15), sz * (depth / 2 - 0.1)
            b.rod((x, -height / 2 + 0.05, z), (x * 1.1, -height / 2 - 0.28, z), 0.045, case)
    if not antenna:
        return ("two knobs", "four legs")
    for sx in (-1, 1):
        tip = (sx * d.real(0.3, 0.5), height / 2 + d.real(0.35, 0.6), 0)
        b.limb((sx * 0.03, height / 2 - 0.02, 0), tip, 0.03, 0.03, d.paint("grey"))
    return ("two knobs", "four legs", "two antennas")
