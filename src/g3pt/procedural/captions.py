"""Captions from a grammar, each sentence true of the shape that it describes.

A family states facts: what the thing is called, which words describe its form, which parts it has
and in what colours. The grammar picks some of the facts and an order of words. Size words come from
the finished shape's own proportions.
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
        words: adjectives that hold, such as "round" or "rounded".
        parts: phrases that follow "with", such as "four legs".
        accents: further colours with the part that wears them, as (part, paint).
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
