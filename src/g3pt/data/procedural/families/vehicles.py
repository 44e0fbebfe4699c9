"""Road, rail, air and water vehicles, nose towards +z."""

from __future__ import annotations

from math import cos, pi, sin

from g3pt.data.procedural.builder import BRIGHT, Builder, Draw, Paint
from g3pt.data.procedural.captions import Facts, counted


def _wheels(b: Builder, d: Draw, axles: list[float], half: float, radius: float) -> Paint:
    """A pair of wheels on each axle, with hubs."""
    rubber, hub = d.paint("black", "grey"), d.paint("white", "grey", "yellow", "red")
    wide = d.real(0.12, 0.2)
    for z in axles:
        for sx in (-1, 1):
            b.cylinder(radius, wide, (sx * half, radius, z), rubber, axis="x", rounding=0.02)
            b.cylinder(radius * 0.5, wide + 0.06, (sx * half, radius, z), hub, axis="x")
    return rubber


def car(b: Builder, d: Draw) -> Facts:
    """A car: body, cabin of one of four styles, wheels, lights, maybe a spoiler or a roof rack."""
    body, glass = d.paint(), d.paint("black", "blue", "grey", "teal")
    width, length, radius = d.real(0.75, 0.95), d.real(1.7, 2.2), d.real(0.17, 0.25)
    low, tall = radius * 0.7, d.real(0.28, 0.42)
    y = low + tall / 2
    b.box((width, tall, length), (0, y, 0), body, rounding=d.real(0.03, 0.12))
    style = d.pick("sedan", "hatchback", "van", "sports")
    rise = {"sedan": 0.36, "hatchback": 0.38, "van": 0.5, "sports": 0.26}[style] * d.real(0.9, 1.15)
    start, end = {
        "sedan": (-0.33, 0.2),
        "hatchback": (-0.48, 0.2),
        "van": (-0.48, 0.36),
        "sports": (-0.3, 0.12),
    }[style]
    span, z = (end - start) * length, (start + end) / 2 * length
    top = span * {"sedan": 0.6, "hatchback": 0.75, "van": 0.85, "sports": 0.5}[style]
    roof_y = low + tall + rise / 2 - 0.03
    back = 0.04 if style in ("hatchback", "van") else 0.0
    b.frustum(
        (width * 0.92, span),
        (width * 0.76, top),
        rise,
        (0, roof_y, z),
        glass,
        shift=(0, -back * length),
    )
    at = (0.0, low + tall + rise - 0.04, z - back * length)
    b.box((width * 0.77, 0.07, top + 0.03), at, body, rounding=0.02)
    _wheels(b, d, [-0.31 * length, 0.31 * length], width / 2, radius)
    light = d.paint("yellow", "white", unlike=body)
    for sx in (-1, 1):
        b.cylinder(0.07, 0.1, (sx * width * 0.36, y + 0.05, length / 2), light, axis="z")
    b.box(
        (width * 0.95, 0.1, 0.12),
        (0, low + 0.06, length / 2),
        d.paint("grey", "black"),
        rounding=0.02,
    )
    parts = ["four wheels"]
    if style == "sports" and d.flag(0.7):
        b.box((width * 0.9, 0.06, 0.2), (0, low + tall + 0.17, -length / 2 + 0.12), body)
        for sx in (-1, 1):
            b.box((0.07, 0.2, 0.1), (sx * width * 0.3, low + tall + 0.08, -length / 2 + 0.12), body)
        parts.append("a rear wing")
    if style in ("van", "hatchback") and d.flag(0.4):
        for sx in (-1, 1):
            b.box((0.06, 0.12, top * 0.8), (sx * width * 0.3, at[1] + 0.06, at[2]), glass)
        parts.append("roof rails")
    nouns = {
        "sedan": ("car", "sedan"),
        "hatchback": ("car", "hatchback"),
        "van": ("van", "minivan"),
        "sports": ("sports car", "car"),
    }
    return Facts(nouns[style], body, (), tuple(parts), (("windows", glass),))


def truck(b: Builder, d: Draw) -> Facts:
    """A truck: cab in front, and a closed box, an open bed or a tank behind."""
    cab, cargo = d.paint(*BRIGHT, "white"), d.paint()
    glass = d.paint("black", "grey", "blue", unlike=cab)
    width, length, radius = d.real(0.7, 0.85), d.real(1.9, 2.5), d.real(0.16, 0.22)
    nose = d.real(0.42, 0.55)
    base = radius * 1.1
    b.box((width * 0.8, 0.14, length), (0, base + 0.05, 0), d.paint("black", "grey"))
    high = d.real(0.6, 0.85)
    z = length / 2 - nose / 2
    b.box((width, high, nose), (0, base + high / 2, z), cab, rounding=0.05)
    b.box((width * 0.86, high * 0.32, 0.1), (0, base + high * 0.68, z + nose / 2 - 0.02), glass)
    for sx in (-1, 1):
        b.box(
            (0.1, high * 0.3, nose * 0.5), (sx * (width / 2 - 0.02), base + high * 0.68, z), glass
        )
    hood = d.flag(0.35)
    reach = 0.0
    if hood:
        reach = 0.35
        b.box(
            (width * 0.9, high * 0.5, reach + 0.1),
            (0, base + high * 0.25, length / 2 + reach / 2),
            cab,
            rounding=0.05,
        )
    rear = length - nose - 0.06
    back_z = -length / 2 + rear / 2
    style = d.pick("box", "bed", "tank")
    if style == "box":
        tall = d.real(0.7, 1.1)
        b.box((width * 1.04, tall, rear), (0, base + 0.08 + tall / 2, back_z), cargo)
    elif style == "tank":
        round_ = width / 2
        b.cylinder(round_, rear, (0, base + 0.06 + round_, back_z), cargo, axis="z", rounding=0.1)
    else:
        tall = d.real(0.3, 0.5)
        b.box((width, tall, rear), (0, base + 0.08 + tall / 2, back_z), cargo)
        b.box(
            (width - 0.16, tall, rear - 0.16), (0, base + 0.2 + tall / 2, back_z), cargo, carve=True
        )
    num = d.whole(2, 4)
    axles = [z + reach * 0.8] + [-length / 2 + 0.25 + i * (2.3 * radius) for i in range(num - 1)]
    _wheels(b, d, axles, width / 2 - 0.02, radius)
    parts = [
        counted(2 * num, "wheel"),
        {"box": "a cargo box", "tank": "a tank", "bed": "an open bed"}[style],
    ]
    nouns = ("tanker", "truck") if style == "tank" else ("truck", "lorry")
    part = {"box": "box", "tank": "tank", "bed": "bed"}[style]
    return Facts(nouns, cab, (), tuple(parts), ((part, cargo),))


def train(b: Builder, d: Draw) -> Facts:
    """A steam locomotive: boiler, cab, chimney, domes, wheels and buffer."""
    body, trim = d.paint(*BRIGHT, "black", "grey"), d.paint()
    if trim.name == body.name:
        trim = d.paint(unlike=body)
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


def airplane(b: Builder, d: Draw) -> Facts:
    """An airplane: fuselage, swept or straight wings, tail, jet engines or propellers."""
    body, wing = d.paint("white", "grey", *BRIGHT), d.paint()
    length, radius = d.real(1.8, 2.3), d.real(0.14, 0.22)
    b.cylinder(radius, length * 0.7, (0, 0, 0.03), body, axis="z")
    b.ellipsoid((radius, radius, 0.3), (0, 0, length * 0.36), body)
    b.cone(radius, 0.06, length * 0.32, (0, 0, -length * 0.46), body, turn=(-90, 0, 0))
    span, sweep = d.real(0.7, 1.1), d.real(0.0, 0.45)
    chord = d.real(0.35, 0.55)
    y = d.pick(-0.4, 0.0, 0.75) * radius
    for sx in (-1, 1):
        # A flat block grown sideways: its own y axis points along the wing.
        b.frustum(
            (0.07, chord),
            (0.05, chord * d.real(0.35, 0.6)),
            span,
            (sx * span / 2, y, 0.1),
            wing,
            shift=(0, -sweep),
            turn=(0, 0, -90 * sx),
        )
    tail = length * -0.5
    fin = d.real(0.35, 0.5)
    b.frustum((0.06, 0.36), (0.05, 0.2), fin, (0, fin / 2, tail + 0.1), wing, shift=(0, -0.12))
    t_tail = d.flag(0.3)
    for sx in (-1, 1):
        at = (sx * 0.2, fin - 0.03 if t_tail else 0.02, tail + (0.0 if t_tail else 0.08))
        b.frustum((0.06, 0.26), (0.05, 0.16), 0.4, at, wing, shift=(0, -0.1), turn=(0, 0, -90 * sx))
    style = d.pick("jet", "jet", "propeller")
    metal = d.paint("grey", "black", "white", unlike=wing)
    parts: list[str] = []
    if style == "jet":
        num = d.pick(2, 2, 4)
        for i in range(num):
            t = 0.4 if num == 2 else (0.3, 0.62)[i // 2]
            x = (1 if i % 2 else -1) * t * span
            b.cylinder(0.085, 0.34, (x, y - 0.1, 0.22 - sweep * t), metal, axis="z", rounding=0.02)
        parts.append(counted(num, "engine"))
    else:
        z = length * 0.36 + 0.28
        blades = d.whole(2, 4)
        b.cone(0.08, 0.03, 0.16, (0, 0, z + 0.03), metal, turn=(90, 0, 0))
        for i in range(blades):
            b.box(
                (0.08, 0.36, 0.05),
                (-0.2 * sin(2 * pi * i / blades), 0.2 * cos(2 * pi * i / blades), z),
                metal,
                turn=(0, 0, 360 * i / blades),
            )
        parts.append("a propeller")
    parts.append("swept wings" if sweep > 0.25 else "straight wings")
    parts += ["a T-shaped tail"] if t_tail else []
    return Facts(("airplane", "plane", "aircraft"), body, (), tuple(parts), (("wings", wing),))


def helicopter(b: Builder, d: Draw) -> Facts:
    """A helicopter: cabin, tail boom, rotors and skids or wheels."""
    body, glass = d.paint(), d.paint("black", "teal", "blue", "grey")
    metal = d.paint("grey", "black")
    length = d.real(0.8, 1.1)
    high = d.real(0.5, 0.65)
    b.ellipsoid((0.3, high / 2, length / 2), (0, 0, 0), body)
    b.ellipsoid((0.25, high * 0.36, length * 0.26), (0, 0.03, length * 0.27), glass)
    boom = d.real(0.7, 1.0)
    b.limb((0, 0.08, -length * 0.3), (0, 0.14, -length / 2 - boom), 0.12, 0.05, body)
    tail = -length / 2 - boom
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
    parts = (
        f"a {('two', 'three', 'four', 'five')[blades - 2]}-blade rotor",
        "skids" if skids else "wheels",
    )
    return Facts(("helicopter", "chopper"), body, (), parts, (("cockpit", glass),))


def rocket(b: Builder, d: Draw) -> Facts:
    """A rocket: staged body, nose, fins, nozzle, maybe boosters."""
    body, trim = d.paint("white", "grey", *BRIGHT), d.paint(*BRIGHT, "black")
    if trim.name == body.name:
        trim = d.paint(*BRIGHT, "black", unlike=body)
    radius, height = d.real(0.2, 0.34), d.real(1.0, 1.6)
    b.cylinder(radius, height, (0, height / 2, 0), body)
    nose = d.real(0.35, 0.65)
    if d.flag():
        b.cone(radius, 0.02, nose, (0, height + nose / 2 - 0.01, 0), trim)
    else:
        b.dome((radius, nose, radius), 0.0, (0, height - 0.01, 0), trim)
    num, reach, tall = d.whole(3, 5), d.real(0.2, 0.4), d.real(0.35, 0.6)
    for i in range(num):
        turn = 360 * i / num + 90
        x, z = cos(turn * pi / 180), -sin(turn * pi / 180)
        at = ((radius + reach / 2 - 0.04) * x, tall * 0.42, (radius + reach / 2 - 0.04) * z)
        # Grown outwards from the body: chord along the axis of the rocket, tip shifted down.
        b.frustum(
            (tall, 0.07), (tall * 0.5, 0.06), reach, at, trim, shift=(-0.15, 0), rotation=_fin(turn)
        )
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


def _fin(turn: float):
    """Rotation whose y axis points outwards at an angle about the upright axis and whose x axis points up."""
    import numpy as np

    angle = np.deg2rad(turn)
    out = np.array([np.cos(angle), 0.0, -np.sin(angle)])
    up = np.array([0.0, 1.0, 0.0])
    return np.stack([up, out, np.cross(up, out)], axis=1)


def sailboat(b: Builder, d: Draw) -> Facts:
    """A sailboat: hull with a pointed bow, one or two masts, sails."""
    hull, sail = (
        d.paint(*BRIGHT, "white", "brown"),
        d.paint("white", "beige", "red", "yellow", "orange", "blue"),
    )
    wood = d.paint("brown", "beige", "grey")
    length, width, depth = d.real(1.4, 1.9), d.real(0.45, 0.65), d.real(0.25, 0.4)
    b.frustum((width * 0.6, length * 0.7), (width, length), depth, (0, 0, 0), hull, shift=(0, 0.04))
    b.frustum((width * 0.6, 0.05), (width, 0.05), depth, (0, 0, length * 0.38), hull)
    bow = d.real(0.25, 0.4)
    b.frustum(
        (width, depth),
        (0.05, depth * 0.5),
        bow,
        (0, 0.0, length / 2 + bow / 2 + 0.02),
        hull,
        shift=(0, -depth * 0.25),
        turn=(90, 0, 0),
    )
    b.box((width * 0.8, 0.08, length * 0.8), (0, depth / 2, 0), wood)
    masts = d.whole(1, 2)
    for i in range(masts):
        tall = d.real(1.1, 1.6) * (1.0 if i == 0 else 0.8)
        z = 0.15 * length if masts == 1 else (0.25, -0.22)[i] * length
        b.cylinder(0.035, tall, (0, depth / 2 + tall / 2, z), wood)
        reach = 0.45 * length if masts == 1 else 0.34 * length
        square = masts == 2
        if square:
            b.frustum(
                (tall * 0.42, 0.06),
                (tall * 0.36, 0.06),
                tall * 0.6,
                (0, depth / 2 + tall * 0.58, z + 0.02),
                sail,
            )
        else:
            # Triangles in the plane of the keel, one behind the mast and one before it.
            b.frustum(
                (0.06, reach),
                (0.06, 0.03),
                tall * 0.82,
                (0, depth / 2 + tall * 0.53, z - reach / 2),
                sail,
                shift=(0, reach / 2),
            )
            jib = 0.34 * length
            b.frustum(
                (0.06, jib),
                (0.06, 0.03),
                tall * 0.7,
                (0, depth / 2 + tall * 0.47, z + jib / 2 + 0.03),
                sail,
                shift=(0, -jib / 2),
            )
            b.cylinder(0.035, reach, (0, depth / 2 + tall * 0.11, z - reach / 2), wood, axis="z")
    cabin = d.flag(0.4)
    if cabin:
        b.box(
            (width * 0.5, 0.24, 0.35),
            (0, depth / 2 + 0.1, -0.3 * length),
            d.paint("white", "brown"),
        )
    parts = [counted(masts, "mast")] + (["a small cabin"] if cabin else [])
    return Facts(
        ("sailboat", "sailing ship" if masts == 2 else "sailing boat"),
        hull,
        (),
        tuple(parts),
        (("sails", sail),),
    )


def ship(b: Builder, d: Draw) -> Facts:
    """A steamship: hull, decks of cabins and funnels."""
    hull, deck = d.paint(*BRIGHT, "black", "grey"), d.paint("white", "beige", "grey")
    if deck.name == hull.name:
        deck = d.paint("white", unlike=hull)
    funnel = d.paint(*BRIGHT, "black", unlike=deck)
    length, width, depth = d.real(1.6, 2.2), d.real(0.42, 0.6), d.real(0.25, 0.38)
    b.frustum((width * 0.75, length * 0.92), (width, length), depth, (0, 0, 0), hull)
    bow = d.real(0.3, 0.5)
    b.frustum(
        (width, depth),
        (0.05, depth * 0.6),
        bow,
        (0, 0, length / 2 + bow / 2 - 0.02),
        hull,
        shift=(0, -depth * 0.2),
        turn=(90, 0, 0),
    )
    decks = d.whole(1, 3)
    y = depth / 2
    span = length * d.real(0.55, 0.75)
    for i in range(decks):
        b.box((width * (0.84 - 0.12 * i), 0.2, span * (1 - 0.2 * i)), (0, y + 0.08, -0.05), deck)
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
    return Facts(
        ("ship", "steamship"),
        hull,
        (),
        tuple(parts),
        (("funnels" if num > 1 else "funnel", funnel),),
    )
