"""Captions from a grammar, each sentence true of the shape that it describes.

A family states facts: what the thing is called, which words describe its form, which parts it has
and in what colours. The grammar picks some of the facts and an order of words. Size words follow
from the finished shape's proportions, compared with those of its family (`TYPICAL_PROPORTIONS`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from g3pt.procedural.builder import Paint

NUMBER_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
NUMBER_WORDS += ("eleven", "twelve")


@dataclass(frozen=True)
class Facts:
    """What is true of one shape.

    Attributes:
        nouns: names for the thing, the plainest first.
        paint: its main colour.
        words: adjectives that are true, such as "round" or "rounded".
        parts: phrases that follow "with", such as "four legs".
        accents: further colours with the part that has them, as (part, paint).
    """

    nouns: tuple[str, ...]
    paint: Paint
    words: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    accents: tuple[tuple[str, Paint], ...] = ()


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """Write a number of things in words: `counted(4, "leg")` is "four legs"."""
    if number == 1:
        return f"{article(singular)} {singular}"
    word = NUMBER_WORDS[number] if number < len(NUMBER_WORDS) else "many"
    return f"{word} {plural or singular + 's'}"


def article(word: str) -> str:
    """Return the indefinite article that goes before a word."""
    return "an" if word[0] in "aeiou" and not word.startswith(("uni", "one")) else "a"


def size_words(extents: tuple[float, float, float], typical: tuple[float, ...]) -> tuple[str, ...]:
    """Words for proportions that are unusual for the family.

    Args:
        extents: sides of the bounding box along x, y and z.
        typical: lower and upper quartile, in the family, of height over the longer ground side,
            then of the longer over the shorter ground side.
    """
    ground = max(extents[0], extents[2])
    steep, slim = extents[1] / ground, ground / min(extents[0], extents[2])
    words: list[str] = []
    if steep > typical[1]:
        words.append("tall")
    elif steep < typical[0]:
        words.append("low")
    if slim > typical[3] > 1.02:
        words.append("narrow" if steep > 1 else "long")
    elif slim < typical[2] and typical[2] > 1.02:
        words.append("wide" if steep > 1 else "compact")
    return tuple(words)


def write_caption(facts: Facts, sizes: tuple[str, ...], rng: np.random.Generator) -> str:
    """Write one sentence fragment, such as "a tall red chair with four legs"."""
    noun = facts.nouns[0] if rng.random() < 0.6 else str(rng.choice(facts.nouns))
    adjectives = [str(rng.choice(sizes))] if sizes and rng.random() < 0.6 else []
    adjectives += [str(rng.choice(facts.words))] if facts.words and rng.random() < 0.6 else []
    if rng.random() < 0.8:
        adjectives.append(facts.paint.name)
    head = " ".join([*adjectives, noun])
    tails = list(facts.parts)
    for part, paint in facts.accents:
        plural = part.endswith("s") and not part.endswith("ss")
        tails.append(
            f"{paint.name} {part}" if plural else f"{article(paint.name)} {paint.name} {part}"
        )
    rng.shuffle(tails)
    chosen: list[str] = []
    for tail in tails[: int(rng.choice(3, p=(0.25, 0.5, 0.25)))]:
        if all(tail.split()[-1] != other.split()[-1] for other in chosen):
            chosen.append(tail)
    style = rng.random()
    text = head if style < 0.2 else f"{article(head)} {head}"
    if chosen:
        text += " with " + " and ".join(chosen)
    return text


TYPICAL_PROPORTIONS: dict[str, tuple[float, float, float, float]] = {
    "chair": (1.708, 2.055, 1.038, 1.146),
    "stool": (0.975, 1.532, 1.000, 1.022),
    "sofa": (0.371, 0.792, 1.452, 3.156),
    "bench": (0.325, 0.627, 3.198, 4.162),
    "bed": (0.518, 0.689, 1.429, 2.245),
    "table": (0.418, 0.635, 1.000, 1.632),
    "desk": (0.518, 0.755, 1.900, 2.340),
    "shelf": (1.090, 1.843, 2.217, 3.463),
    "cabinet": (0.947, 1.493, 1.325, 1.858),
    "lamp": (1.670, 2.446, 1.000, 1.143),
    "mug": (0.716, 0.934, 1.258, 1.358),
    "bottle": (2.044, 2.757, 1.000, 1.000),
    "vase": (1.034, 1.306, 1.000, 1.272),
    "bowl": (0.336, 0.470, 1.000, 1.000),
    "pot": (0.308, 0.498, 1.341, 1.710),
    "teapot": (0.536, 0.615, 1.633, 1.720),
    "barrel": (0.849, 1.154, 1.000, 1.178),
    "crate": (0.736, 1.022, 1.084, 1.291),
    "hammer": (2.037, 2.699, 1.894, 2.806),
    "axe": (1.651, 2.402, 3.911, 5.361),
    "wrench": (3.451, 4.292, 2.702, 3.495),
    "screwdriver": (3.933, 4.831, 1.000, 1.000),
    "bolt": (1.440, 2.102, 1.000, 1.000),
    "nut": (0.360, 0.637, 1.000, 1.155),
    "gear": (1.000, 1.025, 3.696, 5.223),
    "car": (0.401, 0.499, 1.763, 2.033),
    "truck": (0.404, 0.493, 2.332, 2.716),
    "train": (0.542, 0.614, 2.164, 2.488),
    "airplane": (0.263, 0.316, 1.178, 1.481),
    "helicopter": (0.383, 0.445, 1.302, 1.547),
    "rocket": (1.674, 2.224, 1.000, 1.051),
    "sailboat": (0.790, 0.923, 3.119, 3.698),
    "ship": (0.420, 0.526, 4.018, 4.843),
    "house": (0.662, 0.976, 1.087, 1.294),
    "tower": (2.315, 3.204, 1.000, 1.014),
    "castle": (0.561, 0.701, 1.032, 1.121),
    "bridge": (0.296, 0.491, 3.689, 4.796),
    "windmill": (1.198, 1.377, 1.299, 1.560),
    "tree": (1.277, 1.720, 1.000, 1.065),
    "cactus": (1.515, 1.863, 1.000, 1.127),
    "mushroom": (0.928, 1.311, 1.000, 1.000),
    "flower": (1.485, 1.823, 1.479, 1.805),
    "animal": (0.762, 0.952, 2.146, 3.477),
    "bird": (0.422, 0.848, 1.098, 2.532),
    "fish": (0.547, 0.689, 1.704, 1.981),
    "guitar": (2.652, 2.887, 3.100, 3.959),
    "drum": (0.594, 0.968, 1.000, 1.032),
    "camera": (0.675, 0.914, 1.208, 1.716),
    "clock": (1.000, 1.283, 2.881, 3.647),
    "television": (0.836, 1.150, 2.297, 3.683),
    "umbrella": (1.157, 1.436, 1.000, 1.000),
    "dumbbell": (0.356, 0.492, 2.195, 2.900),
    "snowman": (0.848, 1.134, 1.503, 1.650),
    "assembly": (0.533, 1.225, 1.114, 2.000),
    "cut-assembly": (0.483, 1.131, 1.136, 2.129),
}
