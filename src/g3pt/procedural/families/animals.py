"""Animals, heads towards +z."""

from __future__ import annotations

from dataclasses import dataclass

from g3pt.procedural.builder import BRIGHT, Builder, Draw, Paint
from g3pt.procedural.captions import Facts

Point = tuple[float, float, float]


@dataclass(frozen=True)
class _Species:
    """Proportions of a four-legged animal, before each is varied by some tenths."""

    name: str
    furs: tuple[str, ...] = ("brown", "black", "white", "grey", "orange", "beige")
    length: float = 0.85
    girth: float = 0.23
    leg: float = 0.42
    thickness: float = 0.065
    neck: float = 0.28
    reach: float = 0.225
    """Distance of the head in front of the chest."""
    skull: float = 0.15
    nose: float = 0.22
    ear: float = 0.12
    tail: float | None = None
    """Length of the hanging tail; by default that of the legs."""
    flops: bool = False
    """Whether the ears may hang."""


_SPECIES = (
    _Species("dog", girth=0.19, thickness=0.055, ear=0.16, flops=True),
    _Species("cat", length=0.8, girth=0.17, thickness=0.05, skull=0.16, nose=0.14, ear=0.16),
    _Species("horse", length=0.95, leg=0.62, neck=0.5, reach=0.25, nose=0.34, ear=0.18),
    _Species("cow", girth=0.29, nose=0.24, flops=True),
    _Species(
        "sheep",
        furs=("white", "beige", "black", "grey"),
        girth=0.33,
        leg=0.34,
        neck=0.18,
        reach=0.125,
        tail=0.05,
        flops=True,
    ),
    _Species(
        "elephant",
        furs=("grey",),
        length=1.0,
        girth=0.36,
        leg=0.4,
        thickness=0.12,
        neck=0.2,
        reach=0.15,
        skull=0.25,
    ),
    _Species(
        "giraffe",
        furs=("yellow", "orange"),
        length=0.8,
        leg=0.85,
        neck=1.0,
        reach=0.21,
        skull=0.12,
        nose=0.27,
    ),
    _Species(
        "pig",
        furs=("pink", "beige"),
        length=0.9,
        girth=0.31,
        leg=0.24,
        neck=0.12,
        reach=0.15,
        tail=0.02,
        flops=True,
    ),
)


def animal(b: Builder, d: Draw) -> Facts:
    """A dog, cat, horse, cow, sheep, elephant, giraffe or pig, by its proportions."""
    kind = d.pick(*_SPECIES)
    fur = d.paint(*kind.furs)
    dark = d.paint("black", "brown", "white", unlike=fur)
    half, fat = kind.length * d.real(0.9, 1.15) / 2, kind.girth * d.real(0.9, 1.1)
    leg = kind.leg * d.real(0.85, 1.15)
    thick, y = kind.thickness, leg + fat * 0.8
    b.ellipsoid((fat, fat, half), (0, y, 0), fur)
    for sx in (-1, 1):
        for sz in (-1, 1):
            x, z = sx * fat * 0.55, sz * half * 0.62
            foot = (x, thick, z + d.real(-0.06, 0.06))
            b.limb(
                foot, (x, y - 0.05, z), thick, thick * 1.2, dark if kind.name == "sheep" else fur
            )
    neck = kind.neck * d.real(0.9, 1.1)
    chest = (0, y + fat * 0.3, half * 0.75)
    head = (0, chest[1] + neck, chest[2] + kind.reach)
    b.limb(chest, head, max(0.1, fat * 0.5), kind.skull * 0.75, fur)
    face = dark if kind.name == "sheep" else fur
    b.sphere(kind.skull, head, face)
    if kind.name == "elephant":
        _elephant_face(b, d, head, fur)
    else:
        _face(b, d, kind, head, (face, fur, dark))
    rump = (0, y + fat * 0.3, -half * 0.88)
    raised = kind.name == "cat" or (kind.name == "dog" and d.flag())
    drop = leg * 0.6 if kind.tail is None else kind.tail
    b.limb(rump, (0, rump[1] + (0.4 if raised else -drop), rump[2] - 0.14), 0.045, 0.035, fur)
    parts = ["four legs"] + (["a raised tail"] if raised else [])
    if (kind.name == "cow" and d.flag(0.6)) or kind.name == "giraffe":
        out = 0.2 if kind.name == "cow" else 0.08
        for sx in (-1, 1):
            root = (sx * 0.07, head[1] + kind.skull * 0.7, head[2] - 0.02)
            b.limb(root, (sx * out, head[1] + kind.skull + 0.16, head[2]), 0.035, 0.03, dark)
        parts.append("two horns")
    parts += {"elephant": ["a trunk", "two tusks"], "giraffe": ["a long neck"]}.get(kind.name, [])
    return Facts((kind.name, "four-legged animal"), fur, (), tuple(parts))


def _face(
    b: Builder, d: Draw, kind: _Species, head: Point, paints: tuple[Paint, Paint, Paint]
) -> None:
    """A snout with a dark tip, and two ears that stand or hang."""
    face, fur, dark = paints
    skull = kind.skull
    tip = (0, head[1] - kind.nose * 0.35, head[2] + kind.nose)
    b.limb(head, tip, skull * 0.7, skull * 0.5, face)
    b.sphere(0.05, (0, tip[1] + 0.02, tip[2] + skull * 0.42), dark)
    for sx in (-1, 1):
        hangs = kind.flops and d.flag(0.7)
        rise = 0.0 if hangs else skull * 0.7 + kind.ear * 0.6
        end = (sx * skull * (1.2 if hangs else 0.6), head[1] + rise, head[2] - 0.04)
        b.limb((sx * skull * 0.5, head[1] + skull * 0.55, head[2] - 0.04), end, 0.055, 0.03, fur)


def _elephant_face(b: Builder, d: Draw, head: Point, fur: Paint) -> None:
    """A trunk in two pieces, tusks and large ears."""
    middle = (0, head[1] - 0.25, head[2] + 0.26)
    b.limb(head, middle, 0.12, 0.09, fur)
    b.limb(middle, (0, 0.15, middle[2] + d.real(0.0, 0.15)), 0.08, 0.05, fur)
    for sx in (-1, 1):
        root = (sx * 0.12, head[1] - 0.1, head[2] + 0.14)
        tip = (sx * 0.16, head[1] - 0.25, head[2] + 0.45)
        b.limb(root, tip, 0.045, 0.025, d.paint("white"))
        ear = (sx * 0.28, head[1], head[2] - 0.06)
        b.ellipsoid((0.05, 0.24, 0.2), ear, fur, turn=(0, sx * 30, 0))


def bird(b: Builder, d: Draw) -> Facts:
    """A bird: standing with folded wings or flying with spread ones, duck-like or long-legged."""
    plume = d.paint()
    beak, wing = d.paint("orange", "yellow", "black", unlike=plume), d.paint()
    flying = d.flag(0.4)
    long, fat = d.real(0.7, 1.0), d.real(0.22, 0.32)
    b.ellipsoid((fat, fat, long / 2), (0, 0, 0), plume, turn=(0 if flying else -18, 0, 0))
    neck = d.real(0.1, 0.55)
    lift, stretch = (0.4, 0.6) if flying else (1.0, 0.15)
    head = (0, 0.15 + neck * lift, long * 0.46 + neck * stretch)
    b.limb((0, 0.08, long * 0.36), head, 0.12, 0.1, plume)
    skull = d.real(0.13, 0.18)
    b.sphere(skull, head, plume)
    reach = d.real(0.16, 0.38)
    tip = (0, head[1] - 0.02, head[2] + skull * 0.8 + reach / 2 - 0.03)
    b.cone(0.08, 0.015, reach, tip, beak, turn=(90, 0, 0))
    for sx in (-1, 1):
        if flying:
            span = d.real(0.6, 0.65)
            at, turn = (sx * (span / 2 + 0.1), 0.14, 0), (0, 0, sx * -75)
            size, end = (0.07, 0.42), (0.05, 0.2)
            b.frustum(size, end, span + 0.1, at, wing, shift=(0, -0.15), turn=turn)
        else:
            at = (sx * fat * 0.9, 0.02, -0.06)
            b.ellipsoid((0.06, fat * 0.6, long * 0.38), at, wing, turn=(-15, 0, 0))
    tail = d.real(0.25, 0.5)
    at = (0, 0.0 if flying else -0.1, -long / 2 - tail / 2 + 0.1)
    turn = (-90 if flying else -100, 0, 0)
    b.frustum((0.14, 0.06), (0.32, 0.05), tail, at, wing, turn=turn)
    if not flying:
        legs = d.real(0.15, 0.6)
        for x in (-0.12, 0.12):
            b.rod((x, -fat * 0.6, 0), (x, -fat - legs, 0.02), 0.03, beak)
            b.box((0.14, 0.05, 0.24), (x, -fat - legs, 0.07), beak, rounding=0.02)
    parts = ["spread wings"] if flying else ["two legs", "folded wings"]
    parts += ["a long neck"] if neck > 0.38 else []
    parts += ["a long beak"] if reach > 0.28 else []
    accents = (("wings", wing),) if wing.name != plume.name else ()
    nouns = ("bird", "flying bird" if flying else "standing bird")
    return Facts(nouns, plume, (), tuple(parts), accents)


def fish(b: Builder, d: Draw) -> Facts:
    """A fish swimming towards +z: body, tail, fins and eyes."""
    scale = d.paint(*BRIGHT, "grey", "white")
    fin = d.paint(*BRIGHT, "black", unlike=scale)
    long, tall, wide = d.real(1.1, 1.5), d.real(0.22, 0.42), d.real(0.14, 0.24)
    b.ellipsoid((wide, tall, long / 2), (0, 0, 0), scale)
    fork, spread = d.real(0.3, 0.45), d.real(0.5, 0.8)
    at = (0, 0, -long / 2 - fork / 2 + 0.08)
    b.frustum((0.07, 0.1), (0.06, spread), fork, at, fin, turn=(-90, 0, 0))
    forked = d.flag(0.6)
    if forked:
        b.cylinder(0.16, 0.4, (0, 0, -long / 2 - fork + 0.02), fin, axis="x", carve=True)
    top = d.real(0.18, 0.35)
    at, size, end = (0, tall + top / 2 - 0.08, 0), (0.06, long * 0.5), (0.05, long * 0.22)
    b.frustum(size, end, top + 0.1, at, fin, shift=(0, -0.12))
    if d.flag(0.6):
        at, turn = (0, -tall - 0.04, -0.12), (180, 0, 0)
        b.frustum((0.06, 0.25), (0.05, 0.12), 0.25, at, fin, shift=(0, 0.08), turn=turn)
    for sx in (-1, 1):
        at, turn = (sx * (wide + 0.08), -0.06, 0.12), (0, sx * 25, -sx * 30)
        b.ellipsoid((0.2, 0.04, 0.1), at, fin, turn=turn)
        b.sphere(0.06, (sx * wide * 0.72, tall * 0.25, long * 0.33), d.paint("black"))
    parts = ["a forked tail" if forked else "a fan tail"]
    parts += ["a tall top fin"] if top > 0.28 else []
    words = ("slim",) if tall < 0.28 else ("round",) if tall > 0.36 else ()
    return Facts(("fish",), scale, words, tuple(parts), (("fins", fin),))
