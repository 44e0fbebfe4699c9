"""Things to sit and lie on."""

from __future__ import annotations

from math import cos, degrees, pi, sin

from g3pt.procedural.builder import BRIGHT, WOOD, Builder, Draw, Paint
from g3pt.procedural.captions import Facts, counted


def _corner_legs(
    b: Builder, d: Draw, size: tuple[float, float], height: float, paint: Paint
) -> tuple[str, ...]:
    """Four legs under the corners of a (width, depth) top whose middle is at `height`."""
    thick = d.real(0.03, 0.06)
    round_legs = d.flag()
    splay = d.real(0.0, 0.08) if d.flag(0.4) else 0.0
    x, z = size[0] / 2 - thick, size[1] / 2 - thick
    for sx in (-1, 1):
        for sz in (-1, 1):
            foot = (sx * (x + splay), 0.0, sz * (z + splay))
            if round_legs:
                b.rod(foot, (sx * x, height, sz * z), thick * 0.9, paint)
            else:
                b.bar(foot, (sx * x, height, sz * z), 1.7 * thick, paint)
    return ("round legs" if round_legs else "square legs", "four legs")


def chair(b: Builder, d: Draw) -> Facts:
    """A dining chair: seat, back of one of four styles, legs or pedestal, arms or none."""
    wood = d.paint(*WOOD, "red", "blue", "green", "yellow")
    cloth = d.paint(unlike=wood) if d.flag(0.5) else wood
    width, depth = d.real(0.75, 1.1), d.real(0.75, 1.0)
    seat, back = d.real(0.75, 1.05), d.real(0.65, 1.3)
    parts: list[str] = []
    if d.flag(0.8):
        parts += _corner_legs(b, d, (width, depth), seat, wood)
    else:
        b.cylinder(d.real(0.05, 0.09), seat, (0, seat / 2, 0), wood)
        b.cylinder(d.real(0.35, 0.45), 0.08, (0, 0.04, 0), wood)
        parts.append("a round base")
    thick = d.real(0.07, 0.14)
    if d.flag(0.25):
        b.cylinder(max(width, depth) / 2, thick, (0, seat, 0), cloth, rounding=0.02)
        parts.append("a round seat")
    else:
        b.box((width, thick, depth), (0, seat, 0), cloth, rounding=d.real(0, 0.04))
    lean = d.real(0, 0.14)
    z = -depth / 2 + 0.05
    parts.append(_chair_back(b, d, width, (seat - 0.02, z), (seat + back, z - lean), (wood, cloth)))
    if d.flag(0.35):
        rise = d.real(0.25, 0.4)
        for sx in (-1, 1):
            x = sx * (width / 2 - 0.03)
            b.box((0.08, 0.06, depth * 0.95), (x, seat + rise, -0.02), wood)
            b.box((0.07, rise, 0.07), (x, seat + rise / 2, depth / 2 - 0.1), wood)
        parts.append("armrests")
    if back > 1.05:
        parts.append("a high back")
    accents = (("seat", cloth),) if cloth is not wood else ()
    return Facts(("chair", "dining chair"), wood, (), tuple(parts), accents)


def _chair_back(
    b: Builder,
    d: Draw,
    width: float,
    low: tuple[float, float],
    high: tuple[float, float],
    paints: tuple[Paint, Paint],
) -> str:
    """A panel, or a frame with rungs and bars, between two heights (y, z)."""
    wood, cloth = paints
    style = d.pick("panel", "slats", "bars", "ladder")
    x, rise = width / 2 - 0.06, high[0] - low[0]
    if style == "panel":
        middle = (0, (low[0] + high[0]) / 2, (low[1] + high[1]) / 2)
        tilt = degrees(high[1] - low[1]) / (rise - 0.02)
        b.box((width, rise - 0.02, 0.08), middle, cloth, rounding=0.03, turn=(tilt, 0, 0))
        return "a solid back"
    for sx in (-1, 1):
        b.bar((sx * x, *low), (sx * x, *high), 0.09, wood)
    for t in {"bars": (0.92,), "ladder": (0.92, 0.6, 0.32), "slats": (0.9, 0.25)}[style]:
        at = (0, low[0] + t * rise, low[1] + t * (high[1] - low[1]))
        b.box((width - 0.1, d.real(0.09, 0.16), 0.07), at, wood)
    num = d.whole(2, 5)
    if style == "ladder":
        return "a ladder back"
    for i in range(num):
        sx = x * (2 * (i + 1) / (num + 1) - 1)
        b.bar((sx, *low), (sx, high[0] - 0.06, high[1]), 0.055, wood)
    return "a barred back"


def stool(b: Builder, d: Draw) -> Facts:
    """A stool with three or four legs, with or without a ring."""
    wood = d.paint(*WOOD)
    top = d.paint(unlike=wood) if d.flag(0.6) else wood
    height, radius = d.real(0.7, 1.7), d.real(0.35, 0.55)
    num = d.whole(3, 4)
    splay = d.real(0.0, 0.2)
    square = num == 4 and d.flag()
    thick = d.real(0.08, 0.2)
    y = height - thick / 2
    if square:
        b.box((1.7 * radius, thick, 1.7 * radius), (0, y, 0), top, rounding=d.real(0, 0.06))
    else:
        b.cylinder(radius, thick, (0, y, 0), top, rounding=d.real(0, 0.06))
    leg = d.real(0.035, 0.06)
    inner = (1.0 if square else 0.75) * radius
    for i in range(num):
        turn = (i + 0.5) / num
        x, z = inner * cos(2 * pi * turn), inner * sin(2 * pi * turn)
        wider = 1 + splay / inner
        foot = (wider * x, leg, wider * z)
        b.limb(foot, (x, y, z), leg, leg, wood)
    parts = [counted(num, "leg")]
    if d.flag(0.5):
        t = d.real(0.25, 0.45)
        b.torus(inner + splay * (1 - t), 0.035, (0, t * height, 0), wood)
        parts.append("a foot ring")
    words = ("square" if square else "round",)
    accents = (("seat", top),) if top is not wood else ()
    return Facts(
        ("stool", "bar stool" if height > 1.3 else "stool"), wood, words, tuple(parts), accents
    )


def sofa(b: Builder, d: Draw) -> Facts:
    """An upholstered sofa or armchair with one to four cushions."""
    cloth = d.paint()
    num = d.whole(1, 4)
    accent = d.paint(unlike=cloth) if d.flag(0.4) else cloth
    each, arm, depth = d.real(0.6, 0.8), d.real(0.16, 0.28), d.real(0.8, 1.0)
    inner = num * each
    base, soft = d.real(0.25, 0.4), d.real(0.03, 0.08)
    leg = d.real(0.08, 0.2) if d.flag(0.6) else 0.0
    width = inner + 2 * arm
    b.box((width, base, depth), (0, leg + base / 2, 0), cloth, rounding=soft)
    back = d.real(0.5, 0.8)
    b.box(
        (width, back + base, 0.24),
        (0, leg + (back + base) / 2, -depth / 2 + 0.12),
        cloth,
        rounding=soft,
    )
    rise = d.real(0.2, 0.4)
    for sx in (-1, 1):
        at = (sx * (inner + arm) / 2, leg + (base + rise) / 2, 0.0)
        b.box((arm, base + rise, depth), at, cloth, rounding=soft)
    thick = d.real(0.12, 0.2)
    for i in range(num):
        x = (i + 0.5) * each - inner / 2
        at = (x, leg + base + thick / 2 - 0.03, 0.08)
        b.box((each - 0.02, thick, depth - 0.14), at, accent, rounding=0.05)
    if leg:
        dark = d.paint("brown", "black", "grey")
        for sx in (-1, 1):
            for sz in (-1, 1):
                at = (sx * (width / 2 - 0.12), leg / 2 + 0.02, sz * (depth / 2 - 0.12))
                b.cylinder(0.05, leg + 0.04, at, dark)
    parts = [counted(num, "cushion")] + (["short legs"] if leg else [])
    nouns = ("armchair",) if num == 1 else ("sofa", "couch")
    accents = (("cushions" if num > 1 else "cushion", accent),) if accent is not cloth else ()
    return Facts(nouns, cloth, ("soft",) if soft > 0.06 else (), tuple(parts), accents)


def bench(b: Builder, d: Draw) -> Facts:
    """A park bench: slatted seat, side frames or legs, a back or none."""
    wood = d.paint(*WOOD, "green")
    frame = d.paint("grey", "black", "brown", unlike=wood)
    length, depth, seat = d.real(1.4, 2.4), d.real(0.4, 0.6), d.real(0.45, 0.6)
    num = d.whole(2, 4)
    slat = depth / num
    for i in range(num):
        z = (i + 0.5) * slat - depth / 2
        b.box((length, 0.08, slat - 0.03), (0, seat, z), wood)
    supports = d.whole(2, 3)
    back = d.flag(0.65)
    high = d.real(0.4, 0.65)
    for i in range(supports):
        x = (length / 2 - 0.2) * (2 * i / (supports - 1) - 1)
        b.box((0.09, 0.09, depth), (x, seat - 0.06, 0), frame)
        for sz in (-1, 1):
            b.box((0.09, seat, 0.09), (x, seat / 2, sz * (depth / 2 - 0.06)), frame)
        if back:
            b.box((0.08, high + 0.1, 0.08), (x, seat + high / 2, -depth / 2 + 0.03), frame)
    rows = d.whole(1, 3)
    if back:
        for i in range(rows):
            y = seat + high * (i + 1) / rows - 0.06
            b.box((length, min(0.16, high / rows - 0.05), 0.07), (0, y, -depth / 2 + 0.06), wood)
    if back and d.flag(0.5):
        for sx in (-1, 1):
            x = sx * (length / 2 - 0.06)
            b.box((0.08, 0.07, depth + 0.04), (x, seat + 0.25, 0), frame)
            b.box((0.08, 0.28, 0.08), (x, seat + 0.12, depth / 2 - 0.06), frame)
            b.box((0.08, 0.28, 0.08), (x, seat + 0.12, -depth / 2 + 0.06), frame)
    parts = (counted(num, "slat"), "a back" if back else "no back")
    return Facts(("bench", "park bench"), wood, (), parts, (("frame", frame),))


def bed(b: Builder, d: Draw) -> Facts:
    """A bed with a headboard, a blanket, one or two pillows and maybe posts."""
    wood, cloth = d.paint(*WOOD), d.paint(*BRIGHT, "white", "grey")
    pillow = d.paint("white", "beige", "yellow", "pink", "blue", unlike=cloth)
    double = d.flag()
    width, length = (d.real(1.3, 1.7) if double else d.real(0.8, 1.05)), d.real(1.9, 2.2)
    under = d.real(0.08, 0.3)
    frame = d.real(0.14, 0.22)
    b.box((width, frame, length), (0, under + frame / 2, 0), wood)
    thick = d.real(0.18, 0.3)
    top = under + frame + thick - 0.02
    b.box((width - 0.06, thick, length - 0.08), (0, top - thick / 2, 0), pillow, rounding=0.06)
    cover = d.real(0.5, 0.75) * length
    at = (0.0, top - thick / 2 + 0.04, length / 2 - cover / 2 - 0.02)
    b.box((width - 0.01, thick, cover), at, cloth, rounding=0.06)
    num = 2 if double else 1
    for i in range(num):
        x = (i - (num - 1) / 2) * width * 0.46
        side = min(0.6, width / num - 0.14)
        b.box((side, 0.18, 0.36), (x, top + 0.05, -length / 2 + 0.3), pillow, rounding=0.08)
    high = d.real(0.3, 0.9)
    b.box(
        (width, top + high, 0.09),
        (0, (top + high) / 2, -length / 2),
        wood,
        rounding=d.real(0, 0.04),
    )
    foot = d.flag(0.5)
    if foot:
        b.box((width, top + 0.08, 0.09), (0, (top + 0.08) / 2, length / 2), wood)
    posts = d.flag(0.25)
    tall = d.real(1.3, 1.8)
    for sx in (-1, 1):
        for sz in (-1, 1):
            high_post = tall if posts else under + 0.1
            at = (sx * (width / 2 - 0.05), high_post / 2, sz * (length / 2 - 0.05))
            b.box((0.1, high_post, 0.1), at, wood)
    if posts:
        for sx in (-1, 1):
            b.box((0.08, 0.08, length), (sx * (width / 2 - 0.05), tall - 0.04, 0), wood)
        for sz in (-1, 1):
            b.box((width, 0.08, 0.08), (0, tall - 0.04, sz * (length / 2 - 0.05)), wood)
    parts = [counted(num, "pillow"), "a headboard"] + (["a footboard"] if foot else [])
    parts += ["four posts"] if posts else []
    words = ("double",) if double else ("single",)
    return Facts(("bed",), wood, words, tuple(parts), (("blanket", cloth),))
