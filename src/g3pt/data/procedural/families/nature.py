"""Plants and animals."""

from __future__ import annotations

from math import cos, pi, sin

from g3pt.data.procedural.builder import BRIGHT, Builder, Draw
from g3pt.data.procedural.captions import Facts, counted


def tree(b: Builder, d: Draw) -> Facts:
    """A tree: fir in tiers, round crown, clustered crown, or palm."""
    bark, leaf = (
        d.paint("brown", "beige", "grey", "black"),
        d.paint("green", "green", "green", "orange", "yellow", "pink", "red", "teal"),
    )
    style = d.pick("fir", "round", "cluster", "palm")
    trunk, radius = d.real(0.5, 1.0), d.real(0.06, 0.12)
    parts: list[str] = []
    if style == "fir":
        trunk *= 0.6
        tiers, wide = d.whole(2, 5), d.real(0.45, 0.7)
        rise = d.real(1.2, 1.7) / tiers
        for i in range(tiers):
            r = wide * (1 - 0.75 * i / tiers)
            b.cone(
                r,
                r * 0.25 if i < tiers - 1 else 0.01,
                rise * 1.25,
                (0, trunk + rise * (i + 0.55), 0),
                leaf,
            )
        parts.append(counted(tiers, "tier"))
        height = trunk + rise
    elif style == "round":
        r = d.real(0.45, 0.65)
        b.ellipsoid((r, r * d.real(0.8, 1.5), r), (0, trunk + r * 0.8, 0), leaf)
        height = trunk + r
    elif style == "cluster":
        num = d.whole(4, 8)
        for i in range(num):
            turn, r = 2 * pi * i / num, d.real(0.22, 0.36)
            out = d.real(0.2, 0.34)
            at = (out * cos(turn), trunk + d.real(0.1, 0.6), out * sin(turn))
            b.sphere(r, at, leaf)
        b.sphere(0.36, (0, trunk + 0.35, 0), leaf)
        height = trunk + 0.3
    else:
        trunk = d.real(1.1, 1.6)
        num = d.whole(5, 8)
        for i in range(num):
            turn = 2 * pi * i / num
            x, z = cos(turn), sin(turn)
            reach, droop = d.real(0.5, 0.7), d.real(0.0, 0.3)
            knee = (0.55 * reach * x, trunk + 0.12, 0.55 * reach * z)
            b.limb((0, trunk, 0), knee, 0.06, 0.06, leaf)
            b.limb(knee, (reach * x, trunk - droop, reach * z), 0.06, 0.03, leaf)
        parts.append(counted(num, "leaf", "leaves"))
        height = trunk + 0.05
    b.cone(radius * 1.4, radius, height, (0, height / 2, 0), bark)
    if style != "palm" and d.flag(0.4):
        b.cone(radius * 2.4, radius, 0.2, (0, 0.1, 0), bark)
        parts.append("spreading roots")
    nouns = {"fir": ("fir tree", "tree", "pine tree"), "palm": ("palm tree", "tree")}.get(
        style, ("tree",)
    )
    words = {"round": ("round",), "cluster": ("bushy",)}.get(style, ())
    return Facts(nouns, leaf, words, tuple(parts), (("trunk", bark),))


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


def animal(b: Builder, d: Draw) -> Facts:
    """A four-legged animal: dog, cat, horse, cow, sheep, elephant or giraffe by its proportions."""
    style = d.pick("dog", "cat", "horse", "cow", "sheep", "elephant", "giraffe", "pig")
    fur = {
        "pig": d.paint("pink", "beige"),
        "elephant": d.paint("grey"),
        "giraffe": d.paint("yellow", "orange"),
        "sheep": d.paint("white", "beige", "black", "grey"),
    }.get(style) or d.paint("brown", "black", "white", "grey", "orange", "beige")
    dark = d.paint("black", "brown", "white", unlike=fur)
    long = {"horse": 0.95, "giraffe": 0.8, "elephant": 1.0, "cat": 0.8, "pig": 0.9}.get(
        style, 0.85
    ) * d.real(0.9, 1.15)
    fat = {"elephant": 0.36, "sheep": 0.33, "pig": 0.31, "cow": 0.29, "cat": 0.17, "dog": 0.19}.get(
        style, 0.23
    ) * d.real(0.9, 1.1)
    leg = {"horse": 0.62, "giraffe": 0.85, "elephant": 0.4, "pig": 0.24, "sheep": 0.34}.get(
        style, 0.42
    ) * d.real(0.85, 1.15)
    thick = {"elephant": 0.12, "cat": 0.05, "dog": 0.055}.get(style, 0.065)
    y = leg + fat * 0.8
    half = long / 2
    b.ellipsoid((fat, fat, half), (0, y, 0), fur)
    for sx in (-1, 1):
        for sz in (-1, 1):
            x, z = sx * fat * 0.55, sz * half * 0.62
            paint = dark if style in ("sheep",) else fur
            b.limb((x, thick, z + d.real(-0.06, 0.06)), (x, y - 0.05, z), thick, thick * 1.2, paint)
    neck, lift = {
        "horse": (0.5, 0.5),
        "giraffe": (1.0, 0.35),
        "elephant": (0.2, 0.3),
        "sheep": (0.18, 0.25),
        "pig": (0.12, 0.3),
    }.get(style, (0.28, 0.45))
    neck *= d.real(0.9, 1.1)
    base = (0.0, y + fat * 0.3, half * 0.75)
    head = (0.0, base[1] + neck, base[2] + lift * (0.6 if style == "giraffe" else 0.5))
    skull = {"elephant": 0.25, "cat": 0.16, "giraffe": 0.12}.get(style, 0.15)
    b.limb(base, head, max(0.1, fat * 0.5), skull * 0.75, fur)
    face = dark if style == "sheep" else fur
    b.sphere(skull, head, face)
    nose = {"elephant": 0.1, "cat": 0.14, "horse": 0.34, "giraffe": 0.27, "cow": 0.24}.get(
        style, 0.22
    )
    tip = (0.0, head[1] - nose * 0.35, head[2] + nose)
    if style == "elephant":
        mid = (0.0, head[1] - 0.25, head[2] + 0.26)
        b.limb(head, mid, 0.12, 0.09, fur)
        b.limb(mid, (0, 0.15, mid[2] + d.real(0.0, 0.15)), 0.08, 0.05, fur)
        for sx in (-1, 1):
            b.limb(
                (sx * 0.12, head[1] - 0.1, head[2] + 0.14),
                (sx * 0.16, head[1] - 0.25, head[2] + 0.45),
                0.045,
                0.025,
                d.paint("white"),
            )
            b.ellipsoid(
                (0.05, 0.24, 0.2), (sx * 0.28, head[1], head[2] - 0.06), fur, turn=(0, sx * 30, 0)
            )
    else:
        b.limb(head, tip, skull * 0.7, skull * 0.5, face)
        b.sphere(0.05, (0, tip[1] + 0.02, tip[2] + skull * 0.42), dark)
        for sx in (-1, 1):
            ear = {"cat": 0.16, "horse": 0.18, "dog": 0.16}.get(style, 0.12)
            flop = style in ("dog", "sheep", "cow", "pig") and d.flag(0.7)
            top = (
                sx * skull * (1.2 if flop else 0.6),
                head[1] + (0.0 if flop else skull * 0.7 + ear * 0.6),
                head[2] - 0.04,
            )
            b.limb(
                (sx * skull * 0.5, head[1] + skull * 0.55, head[2] - 0.04), top, 0.055, 0.03, fur
            )
    rear = (0.0, y + fat * 0.3, -half * 0.88)
    up = style == "cat" or (style == "dog" and d.flag())
    drop = {"sheep": 0.05, "pig": 0.02}.get(style, leg * 0.6)
    end = (0.0, rear[1] + (0.4 if up else -drop), rear[2] - 0.14)
    b.limb(rear, end, 0.045, 0.035, fur)
    horns = style == "cow" and d.flag(0.6) or style == "giraffe"
    if horns:
        for sx in (-1, 1):
            b.limb(
                (sx * 0.07, head[1] + skull * 0.7, head[2] - 0.02),
                (sx * (0.2 if style == "cow" else 0.08), head[1] + skull + 0.16, head[2]),
                0.035,
                0.03,
                dark,
            )
    parts = ["four legs"] + (["two horns"] if horns else []) + (["a raised tail"] if up else [])
    parts += {"elephant": ["a trunk", "two tusks"], "giraffe": ["a long neck"]}.get(style, [])
    return Facts((style, "four-legged animal"), fur, (), tuple(parts))


def bird(b: Builder, d: Draw) -> Facts:
    """A bird: standing with folded wings or flying with spread ones, duck-like or long-legged."""
    plume = d.paint()
    beak, wing = d.paint("orange", "yellow", "black", unlike=plume), d.paint()
    flying = d.flag(0.4)
    long, fat = d.real(0.7, 1.0), d.real(0.22, 0.32)
    b.ellipsoid((fat, fat, long / 2), (0, 0, 0), plume, turn=(0 if flying else -18, 0, 0))
    neck = d.real(0.1, 0.55)
    base = (0.0, 0.08, long * 0.36)
    head = (
        0.0,
        0.15 + neck * (0.4 if flying else 1.0),
        long * 0.46 + neck * (0.6 if flying else 0.15),
    )
    b.limb(base, head, 0.12, 0.1, plume)
    skull = d.real(0.13, 0.18)
    b.sphere(skull, head, plume)
    reach = d.real(0.16, 0.38)
    b.cone(
        0.08,
        0.015,
        reach,
        (0, head[1] - 0.02, head[2] + skull * 0.8 + reach / 2 - 0.03),
        beak,
        turn=(90, 0, 0),
    )
    for sx in (-1, 1):
        if flying:
            span = d.real(0.6, 0.65)
            b.frustum(
                (0.07, 0.42),
                (0.05, 0.2),
                span + 0.1,
                (sx * (span / 2 + 0.1), 0.14, 0),
                wing,
                shift=(0, -0.15),
                turn=(0, 0, sx * -75),
            )
        else:
            b.ellipsoid(
                (0.06, fat * 0.6, long * 0.38),
                (sx * fat * 0.9, 0.02, -0.06),
                wing,
                turn=(-15, 0, 0),
            )
    tail = d.real(0.25, 0.5)
    b.frustum(
        (0.14, 0.06),
        (0.32, 0.05),
        tail,
        (0, -0.1 if not flying else 0.0, -long / 2 - tail / 2 + 0.1),
        wing,
        turn=(-90 if flying else -100, 0, 0),
    )
    legs = 0.0 if flying else d.real(0.15, 0.6)
    if legs:
        for sx in (-1, 1):
            foot = (sx * 0.12, -fat - legs, 0.02)
            b.rod((sx * 0.12, -fat * 0.6, 0.0), foot, 0.03, beak)
            b.box((0.14, 0.05, 0.24), (foot[0], foot[1], 0.07), beak, rounding=0.02)
    parts = ["spread wings"] if flying else ["two legs", "folded wings"]
    parts += ["a long neck"] if neck > 0.38 else []
    parts += ["a long beak"] if reach > 0.28 else []
    return Facts(
        ("bird", "flying bird" if flying else "standing bird"),
        plume,
        (),
        tuple(parts),
        (("wings", wing),) if wing.name != plume.name else (),
    )


def fish(b: Builder, d: Draw) -> Facts:
    """A fish swimming towards +z: body, tail, fins and eyes."""
    scale = d.paint(*BRIGHT, "grey", "white")
    fin = d.paint(*BRIGHT, "black", unlike=scale)
    long, tall, wide = d.real(1.1, 1.5), d.real(0.22, 0.42), d.real(0.14, 0.24)
    b.ellipsoid((wide, tall, long / 2), (0, 0, 0), scale)
    fork, spread = d.real(0.3, 0.45), d.real(0.5, 0.8)
    b.frustum(
        (0.07, 0.1),
        (0.06, spread),
        fork,
        (0, 0, -long / 2 - fork / 2 + 0.08),
        fin,
        turn=(-90, 0, 0),
    )
    notch = d.flag(0.6)
    if notch:
        b.cylinder(0.16, 0.4, (0, 0, -long / 2 - fork + 0.02), fin, axis="x", carve=True)
    top = d.real(0.18, 0.35)
    b.frustum(
        (0.06, long * 0.5),
        (0.05, long * 0.22),
        top + 0.1,
        (0, tall + top / 2 - 0.08, 0),
        fin,
        shift=(0, -0.12),
    )
    if d.flag(0.6):
        b.frustum(
            (0.06, 0.25),
            (0.05, 0.12),
            0.25,
            (0, -tall - 0.04, -0.12),
            fin,
            shift=(0, 0.08),
            turn=(180, 0, 0),
        )
    for sx in (-1, 1):
        b.ellipsoid(
            (0.2, 0.04, 0.1), (sx * (wide + 0.08), -0.06, 0.12), fin, turn=(0, sx * 25, -sx * 30)
        )
        b.sphere(0.06, (sx * wide * 0.72, tall * 0.25, long * 0.33), d.paint("black"))
    parts = ["a forked tail" if notch else "a fan tail"] + (
        ["a tall top fin"] if top > 0.28 else []
    )
    return Facts(
        ("fish",),
        scale,
        ("slim",) if tall < 0.28 else ("round",) if tall > 0.36 else (),
        tuple(parts),
        (("fins", fin),),
    )
