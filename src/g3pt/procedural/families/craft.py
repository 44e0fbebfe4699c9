"""Air and water craft, nose towards +z or up."""

from __future__ import annotations

from math import cos, pi, sin

from g3pt.procedural.builder import BRIGHT, Builder, Draw, Paint, Vector, outwards
from g3pt.procedural.captions import NUMBER_WORDS, Facts, counted


def airplane(b: Builder, d: Draw) -> Facts:
    """An airplane: fuselage, swept or straight wings, tail, jet engines or a propeller."""
    body, wing = d.paint("white", "grey", *BRIGHT), d.paint()
    length, radius = d.real(1.8, 2.3), d.real(0.14, 0.22)
    b.cylinder(radius, length * 0.7, (0, 0, 0.03), body, axis="z")
    b.ellipsoid((radius, radius, 0.3), (0, 0, length * 0.36), body)
    b.cone(radius, 0.06, length * 0.32, (0, 0, -length * 0.46), body, turn=(-90, 0, 0))
    span, sweep = d.real(0.7, 1.1), d.real(0.0, 0.45)
    chord = d.real(0.35, 0.55)
    y = d.pick(-0.4, 0.0, 0.75) * radius
    for sx in (-1, 1):
        tip = (0.05, chord * d.real(0.35, 0.6))
        _wing(b, (0.07, chord), tip, span, (sx * span / 2, y, 0.1), sweep, wing)
    tail = -length / 2
    fin = d.real(0.35, 0.5)
    b.frustum((0.06, 0.36), (0.05, 0.2), fin, (0, fin / 2, tail + 0.1), wing, shift=(0, -0.12))
    high = d.flag(0.3)
    for sx in (-1, 1):
        at = (sx * 0.2, fin - 0.03 if high else 0.02, tail + (0.0 if high else 0.08))
        _wing(b, (0.06, 0.26), (0.05, 0.16), 0.4, at, 0.1, wing)
    jet = d.pick("jet", "jet", "propeller") == "jet"
    metal = d.paint("grey", "black", "white", unlike=wing)
    parts: list[str] = []
    if jet:
        num = d.pick(2, 2, 4)
        for i in range(num):
            t = 0.4 if num == 2 else (0.3, 0.62)[i // 2]
            at = ((1 if i % 2 else -1) * t * span, y - 0.1, 0.22 - sweep * t)
            b.cylinder(0.085, 0.34, at, metal, axis="z", rounding=0.02)
        parts.append(counted(num, "engine"))
    else:
        _propeller(b, d, length * 0.36 + 0.28, metal)
        parts.append("a propeller")
    parts.append("swept wings" if sweep > 0.25 else "straight wings")
    parts += ["a T-shaped tail"] if high else []
    return Facts(("airplane", "plane", "aircraft"), body, (), tuple(parts), (("wings", wing),))


def _wing(
    b: Builder,
    root: tuple[float, float],
    tip: tuple[float, float],
    span: float,
    at: Vector,
    sweep: float,
    paint: Paint,
) -> None:
    """A flat block that grows sideways, away from the middle: its own y axis is the span."""
    side = 1 if at[0] > 0 else -1
    b.frustum(root, tip, span, at, paint, shift=(0, -sweep), turn=(0, 0, -90 * side))


def _propeller(b: Builder, d: Draw, z: float, paint: Paint) -> None:
    blades = d.whole(2, 4)
    b.cone(0.08, 0.03, 0.16, (0, 0, z + 0.03), paint, turn=(90, 0, 0))
    for i in range(blades):
        turn = 2 * pi * i / blades
        at = (-0.2 * sin(turn), 0.2 * cos(turn), z)
        b.box((0.08, 0.36, 0.05), at, paint, turn=(0, 0, 360 * i / blades))


def helicopter(b: Builder, d: Draw) -> Facts:
    """A helicopter: cabin, tail boom, rotors and skids or wheels."""
    body, glass = d.paint(), d.paint("black", "teal", "blue", "grey")
    metal = d.paint("grey", "black")
    length, high = d.real(0.8, 1.1), d.real(0.5, 0.65)
    b.ellipsoid((0.3, high / 2, length / 2), (0, 0, 0), body)
    b.ellipsoid((0.25, high * 0.36, length * 0.26), (0, 0.03, length * 0.27), glass)
    tail = -length / 2 - d.real(0.7, 1.0)
    b.limb((0, 0.08, -length * 0.3), (0, 0.14, tail), 0.12, 0.05, body)
    b.frustum((0.05, 0.22), (0.05, 0.14), 0.36, (0, 0.28, tail), body, shift=(0, -0.08))
    b.box((0.05, 0.4, 0.06), (0.07, 0.16, tail), metal, turn=(35, 0, 0))
    b.box((0.05, 0.06, 0.4), (0.07, 0.16, tail), metal, turn=(35, 0, 0))
    mast = high / 2 + 0.14
    b.cylinder(0.05, 0.3, (0, mast - 0.1, 0), metal)
    b.cylinder(0.09, 0.08, (0, mast, 0), metal)
    blades, reach = d.whole(2, 5), d.real(0.75, 1.1)
    first = d.real(0, 360)
    for i in range(blades):
        turn = first + 360 * i / blades
        x, z = cos(turn * pi / 180) * reach / 2, -sin(turn * pi / 180) * reach / 2
        b.box((reach, 0.05, 0.11), (x, mast + 0.01, z), metal, turn=(0, turn, 0))
    skids = d.flag(0.7)
    for sx in (-1, 1):
        x, y = sx * 0.27, -high / 2 - 0.14
        if skids:
            b.limb((x, y, -length * 0.45), (x, y, length * 0.5), 0.03, 0.03, metal)
            for z in (-0.16, 0.2):
                b.limb((x, y, z), (sx * 0.1, -high * 0.3, z), 0.03, 0.03, metal)
        else:
            b.cylinder(0.1, 0.1, (x, y, 0.12), metal, axis="x")
            b.limb((x, y, 0.12), (sx * 0.1, -high * 0.3, 0.1), 0.03, 0.03, metal)
    rotor = f"a {NUMBER_WORDS[blades]}-blade rotor"
    parts = (rotor, "skids" if skids else "wheels")
    return Facts(("helicopter", "chopper"), body, (), parts, (("cockpit", glass),))


def rocket(b: Builder, d: Draw) -> Facts:
    """A rocket: body, nose, fins, nozzle, maybe boosters."""
    body = d.paint("white", "grey", *BRIGHT)
    trim = d.apart(d.paint(*BRIGHT, "black"), body, *BRIGHT, "black")
    radius, height = d.real(0.2, 0.34), d.real(1.0, 1.6)
    b.cylinder(radius, height, (0, height / 2, 0), body)
    nose = d.real(0.35, 0.65)
    if d.flag():
        b.cone(radius, 0.02, nose, (0, height + nose / 2 - 0.01, 0), trim)
    else:
        b.dome((radius, nose, radius), 0.0, (0, height - 0.01, 0), trim)
    num, reach, tall = d.whole(3, 5), d.real(0.2, 0.4), d.real(0.35, 0.6)
    for i in range(num):
        turn = 2 * pi * i / num + pi / 2
        out = radius + reach / 2 - 0.04
        at = (out * cos(turn), tall * 0.42, -out * sin(turn))
        # Grown outwards: the chord lies along the rocket and the tip is swept down.
        size, tip = (tall, 0.07), (tall * 0.5, 0.06)
        b.frustum(size, tip, reach, at, trim, shift=(-0.15, 0), rotation=outwards(turn))
    b.cone(radius * 0.8, radius * 0.55, 0.2, (0, -0.08, 0), d.paint("grey", "black"))
    boosters = d.pick(0, 0, 2, 4)
    for i in range(boosters):
        turn = 2 * pi * (i + 0.5) / boosters + (pi / 4 if boosters == 2 else 0)
        x, z = (radius + 0.09) * cos(turn), (radius + 0.09) * sin(turn)
        b.cylinder(0.12, height * 0.6, (x, height * 0.3, z), body)
        b.cone(0.12, 0.02, 0.22, (x, height * 0.6 + 0.1, z), trim)
    window = d.flag(0.5)
    if window:
        b.cylinder(0.09, 0.12, (0, height * 0.72, radius - 0.03), trim, axis="z")
    parts = [counted(num, "fin")] + ([counted(boosters, "booster")] if boosters else [])
    parts += ["a window"] if window else []
    return Facts(("rocket", "spaceship"), body, (), tuple(parts), (("nose", trim),))


def sailboat(b: Builder, d: Draw) -> Facts:
    """A sailboat: hull with a pointed bow, one mast with triangles or two with squares."""
    hull = d.paint(*BRIGHT, "white", "brown")
    sail = d.paint("white", "beige", "red", "yellow", "orange", "blue")
    wood = d.paint("brown", "beige", "grey")
    length, width, depth = d.real(1.4, 1.9), d.real(0.45, 0.65), d.real(0.25, 0.4)
    keel = width * 0.6
    b.frustum((keel, length * 0.7), (width, length), depth, (0, 0, 0), hull, shift=(0, 0.04))
    b.frustum((keel, 0.05), (width, 0.05), depth, (0, 0, length * 0.38), hull)
    bow = d.real(0.25, 0.4)
    at = (0, 0, length / 2 + bow / 2 + 0.02)
    _bow(b, (width, depth), (0.05, depth * 0.5), bow, at, -depth * 0.25, hull)
    b.box((width * 0.8, 0.08, length * 0.8), (0, depth / 2, 0), wood)
    masts = d.whole(1, 2)
    for i in range(masts):
        tall = d.real(1.1, 1.6) * (1.0 if i == 0 else 0.8)
        z = 0.15 * length if masts == 1 else (0.25, -0.22)[i] * length
        b.cylinder(0.035, tall, (0, depth / 2 + tall / 2, z), wood)
        if masts == 2:
            at = (0, depth / 2 + tall * 0.58, z + 0.02)
            b.frustum((tall * 0.42, 0.06), (tall * 0.36, 0.06), tall * 0.6, at, sail)
        else:
            _triangles(b, length, tall, depth / 2, z, sail)
            boom = (0, depth / 2 + tall * 0.11, z - 0.225 * length)
            b.cylinder(0.035, 0.45 * length, boom, wood, axis="z")
    cabin = d.flag(0.4)
    if cabin:
        at = (0, depth / 2 + 0.1, -0.3 * length)
        b.box((width * 0.5, 0.24, 0.35), at, d.paint("white", "brown"))
    parts = [counted(masts, "mast")] + (["a small cabin"] if cabin else [])
    nouns = ("sailboat", "sailing ship" if masts == 2 else "sailing boat")
    return Facts(nouns, hull, (), tuple(parts), (("sails", sail),))


def _bow(
    b: Builder,
    root: tuple[float, float],
    tip: tuple[float, float],
    reach: float,
    at: Vector,
    shift: float,
    paint: Paint,
) -> None:
    """The front of a hull, narrowing forwards."""
    b.frustum(root, tip, reach, at, paint, shift=(0, shift), turn=(90, 0, 0))


def _triangles(b: Builder, length: float, tall: float, deck: float, z: float, sail: Paint) -> None:
    """Two sails in the plane of the keel, one behind the mast and one before it."""
    main, jib = 0.45 * length, 0.34 * length
    at = (0, deck + tall * 0.53, z - main / 2)
    b.frustum((0.06, main), (0.06, 0.03), tall * 0.82, at, sail, shift=(0, main / 2))
    at = (0, deck + tall * 0.47, z + jib / 2 + 0.03)
    b.frustum((0.06, jib), (0.06, 0.03), tall * 0.7, at, sail, shift=(0, -jib / 2))


def ship(b: Builder, d: Draw) -> Facts:
    """A steamship: hull, decks of cabins and funnels."""
    hull = d.paint(*BRIGHT, "black", "grey")
    deck = d.apart(d.paint("white", "beige", "grey"), hull, "white")
    funnel = d.paint(*BRIGHT, "black", unlike=deck)
    length, width, depth = d.real(1.6, 2.2), d.real(0.42, 0.6), d.real(0.25, 0.38)
    b.frustum((width * 0.75, length * 0.92), (width, length), depth, (0, 0, 0), hull)
    bow = d.real(0.3, 0.5)
    at = (0, 0, length / 2 + bow / 2 - 0.02)
    _bow(b, (width, depth), (0.05, depth * 0.6), bow, at, -depth * 0.2, hull)
    decks = d.whole(1, 3)
    y = depth / 2
    span = length * d.real(0.55, 0.75)
    for i in range(decks):
        size = (width * (0.84 - 0.12 * i), 0.2, span * (1 - 0.2 * i))
        b.box(size, (0, y + 0.08, -0.05), deck)
        y += 0.17
    num = d.whole(1, 4)
    tall = d.real(0.25, 0.45)
    for i in range(num):
        z = 0.0 if num == 1 else span * 0.26 * (2 * i / (num - 1) - 1)
        b.cylinder(0.075, tall + 0.1, (0, y + tall / 2 - 0.02, z - 0.05), funnel)
    mast = d.flag(0.5)
    if mast:
        b.cylinder(0.035, 0.7, (0, depth / 2 + 0.33, length * 0.44), funnel)
    parts = [counted(num, "funnel"), counted(decks, "deck")] + (["a mast"] if mast else [])
    accent = ("funnels" if num > 1 else "funnel", funnel)
    return Facts(("ship", "steamship"), hull, (), tuple(parts), (accent,))
