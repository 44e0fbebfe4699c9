"""Road and rail vehicles, nose towards +z."""

from __future__ import annotations

from dataclasses import dataclass

from g3pt.procedural.builder import BRIGHT, Builder, Draw, Paint
from g3pt.procedural.captions import Facts, counted


def _wheels(b: Builder, d: Draw, axles: list[float], half: float, radius: float) -> Paint:
    """A pair of wheels on each axle, with hubs."""
    rubber, hub = d.paint("black", "grey"), d.paint("white", "grey", "yellow", "red")
    wide = d.real(0.12, 0.2)
    for z in axles:
        for sx in (-1, 1):
            b.cylinder(radius, wide, (sx * half, radius, z), rubber, axis="x", rounding=0.02)
            b.cylinder(radius * 0.5, wide + 0.06, (sx * half, radius, z), hub, axis="x")
    return rubber


@dataclass(frozen=True)
class _Cabin:
    """Proportions of a kind of car; lengths are shares of the car's."""

    nouns: tuple[str, ...]
    rise: float
    start: float
    end: float
    roof: float
    slant: float = 0.0


_CABINS = (
    _Cabin(("car", "sedan"), rise=0.36, start=-0.33, end=0.2, roof=0.6),
    _Cabin(("car", "hatchback"), rise=0.38, start=-0.48, end=0.2, roof=0.75, slant=0.04),
    _Cabin(("van", "minivan"), rise=0.5, start=-0.48, end=0.36, roof=0.85, slant=0.04),
    _Cabin(("sports car", "car"), rise=0.26, start=-0.3, end=0.12, roof=0.5),
)


def car(b: Builder, d: Draw) -> Facts:
    """A car: body, cabin of one of four styles, wheels, lights, maybe a spoiler or roof rails."""
    body, glass = d.paint(), d.paint("black", "blue", "grey", "teal")
    width, length, radius = d.real(0.75, 0.95), d.real(1.7, 2.2), d.real(0.17, 0.25)
    low, tall = radius * 0.7, d.real(0.28, 0.42)
    middle, deck = low + tall / 2, low + tall
    b.box((width, tall, length), (0, middle, 0), body, rounding=d.real(0.03, 0.12))
    cabin = d.pick(*_CABINS)
    rise = cabin.rise * d.real(0.9, 1.15)
    span, z = (cabin.end - cabin.start) * length, (cabin.start + cabin.end) / 2 * length
    roof, back = span * cabin.roof, -cabin.slant * length
    at = (0, deck + rise / 2 - 0.03, z)
    b.frustum((width * 0.92, span), (width * 0.76, roof), rise, at, glass, shift=(0, back))
    top = deck + rise - 0.04
    b.box((width * 0.77, 0.07, roof + 0.03), (0, top, z + back), body, rounding=0.02)
    _wheels(b, d, [-0.31 * length, 0.31 * length], width / 2, radius)
    light = d.paint("yellow", "white", unlike=body)
    for sx in (-1, 1):
        b.cylinder(0.07, 0.1, (sx * width * 0.36, middle + 0.05, length / 2), light, axis="z")
    bumper = d.paint("grey", "black")
    b.box((width * 0.95, 0.1, 0.12), (0, low + 0.06, length / 2), bumper, rounding=0.02)
    parts = ["four wheels"]
    if cabin.nouns[0] == "sports car" and d.flag(0.7):
        rear = -length / 2 + 0.12
        b.box((width * 0.9, 0.06, 0.2), (0, deck + 0.17, rear), body)
        for sx in (-1, 1):
            b.box((0.07, 0.2, 0.1), (sx * width * 0.3, deck + 0.08, rear), body)
        parts.append("a rear wing")
    if cabin.slant and d.flag(0.4):
        for sx in (-1, 1):
            b.box((0.06, 0.12, roof * 0.8), (sx * width * 0.3, top + 0.06, z + back), glass)
        parts.append("roof rails")
    return Facts(cabin.nouns, body, (), tuple(parts), (("windows", glass),))


def truck(b: Builder, d: Draw) -> Facts:
    """A truck: cab in front, and a closed box, an open bed or a tank behind."""
    cab, cargo = d.paint(*BRIGHT, "white"), d.paint()
    glass = d.paint("black", "grey", "blue", unlike=cab)
    width, length, radius = d.real(0.7, 0.85), d.real(1.9, 2.5), d.real(0.16, 0.22)
    nose = d.real(0.42, 0.55)
    base = radius * 1.1
    b.box((width * 0.8, 0.14, length), (0, base + 0.05, 0), d.paint("black", "grey"))
    high = d.real(0.6, 0.85)
    z, window = length / 2 - nose / 2, base + high * 0.68
    b.box((width, high, nose), (0, base + high / 2, z), cab, rounding=0.05)
    b.box((width * 0.86, high * 0.32, 0.1), (0, window, z + nose / 2 - 0.02), glass)
    for sx in (-1, 1):
        b.box((0.1, high * 0.3, nose * 0.5), (sx * (width / 2 - 0.02), window, z), glass)
    reach = 0.35 if d.flag(0.35) else 0.0
    if reach:
        at = (0, base + high * 0.25, length / 2 + reach / 2)
        b.box((width * 0.9, high * 0.5, reach + 0.1), at, cab, rounding=0.05)
    style = _cargo(b, d, (width, length - nose - 0.06), base, -length / 2, cargo)
    num = d.whole(2, 4)
    axles = [z + reach * 0.8] + [-length / 2 + 0.25 + i * (2.3 * radius) for i in range(num - 1)]
    _wheels(b, d, axles, width / 2 - 0.02, radius)
    load = {"box": "a cargo box", "tank": "a tank", "bed": "an open bed"}[style]
    nouns = ("tanker", "truck") if style == "tank" else ("truck", "lorry")
    return Facts(nouns, cab, (), (counted(2 * num, "wheel"), load), ((style, cargo),))


def _cargo(
    b: Builder, d: Draw, size: tuple[float, float], base: float, rear: float, paint: Paint
) -> str:
    """What a truck carries, `size` (width, length) from `rear` on: a box, a bed or a tank."""
    width, length = size
    z = rear + length / 2
    style = d.pick("box", "bed", "tank")
    if style == "tank":
        at = (0, base + 0.06 + width / 2, z)
        b.cylinder(width / 2, length, at, paint, axis="z", rounding=0.1)
        return style
    tall = d.real(0.7, 1.1) if style == "box" else d.real(0.3, 0.5)
    wide = width * 1.04 if style == "box" else width
    b.box((wide, tall, length), (0, base + 0.08 + tall / 2, z), paint)
    if style == "bed":
        at = (0, base + 0.2 + tall / 2, z)
        b.box((width - 0.16, tall, length - 0.16), at, paint, carve=True)
    return style


def train(b: Builder, d: Draw) -> Facts:
    """A steam locomotive: boiler, cab, chimney, domes, wheels and buffer."""
    body = d.paint(*BRIGHT, "black", "grey")
    trim = d.apart(d.paint(), body)
    length, radius = d.real(1.6, 2.2), d.real(0.26, 0.36)
    wheel = d.real(0.14, 0.2)
    base = wheel * 1.5
    width = 2 * radius + 0.1
    b.box((width, 0.14, length), (0, base, 0), trim)
    cab = d.real(0.4, 0.6)
    boiler = length - cab
    y = base + radius + 0.03
    b.cylinder(radius, boiler, (0, y, cab / 2 - 0.02), body, axis="z", rounding=0.03)
    high = d.real(0.75, 1.0)
    z = -length / 2 + cab / 2
    b.box((width, high, cab), (0, base + high / 2, z), body)
    window = d.paint("yellow", "white", "black", unlike=body)
    b.box((width + 0.06, high * 0.3, cab * 0.5), (0, base + high * 0.68, z), window)
    b.box((width + 0.14, 0.08, cab + 0.16), (0, base + high + 0.02, z), trim)
    stack = d.real(0.3, 0.5)
    b.cone(
        0.08, d.real(0.09, 0.18), stack, (0, y + radius + stack / 2 - 0.06, length / 2 - 0.25), trim
    )
    num_domes = d.whole(0, 2)
    for i in range(num_domes):
        b.sphere(0.13, (0, y + radius, length / 2 - 0.6 - 0.35 * i), trim)
    b.frustum(
        (width, 0.3),
        (width * 0.6, 0.06),
        0.2,
        (0, base - 0.1, length / 2 + 0.08),
        trim,
        shift=(0, -0.1),
    )
    b.cylinder(0.09, 0.14, (0, y + 0.05, length / 2), window, axis="z")
    num = d.whole(2, 4)
    axles = [(0.36 * length) * (2 * i / (num - 1) - 1) for i in range(num)]
    wheel = min(wheel, 0.34 * length / (num - 1))
    _wheels(b, d, axles, width / 2, wheel)
    parts = [counted(2 * num, "wheel"), "a chimney"]
    parts += [counted(num_domes, "dome")] if num_domes else []
    return Facts(
        ("locomotive", "train", "steam engine"), body, (), tuple(parts), (("cab roof", trim),)
    )
