"""Colour words of a sentence, and the colour that they stand for.

The table is our own choice of sRGB values. A word that belongs to a part ("with a red roof") does
not colour the whole.
"""

import re
from dataclasses import dataclass

COLOR_WORDS: dict[str, tuple[int, int, int]] = {
    "red": (200, 40, 36),
    "crimson": (170, 20, 50),
    "orange": (236, 130, 34),
    "yellow": (242, 204, 56),
    "gold": (212, 166, 56),
    "golden": (212, 166, 56),
    "green": (58, 148, 66),
    "olive": (118, 124, 50),
    "teal": (36, 148, 146),
    "turquoise": (62, 190, 180),
    "cyan": (60, 190, 214),
    "blue": (46, 96, 196),
    "navy": (30, 44, 96),
    "purple": (126, 72, 168),
    "violet": (136, 86, 190),
    "magenta": (204, 52, 150),
    "pink": (236, 142, 174),
    "brown": (132, 82, 46),
    "wooden": (160, 112, 68),
    "tan": (204, 166, 120),
    "beige": (220, 196, 156),
    "cream": (242, 230, 200),
    "white": (240, 240, 236),
    "silver": (188, 192, 198),
    "grey": (138, 140, 144),
    "gray": (138, 140, 144),
    "black": (42, 42, 46),
}
"""Word -> sRGB values."""

SHADES: dict[str, float] = {"dark": -0.45, "deep": -0.3, "light": 0.45, "pale": 0.55}
"""Word before a colour -> share of the way to black (negative) or white (positive)."""

_PARTS_BEGIN = re.compile(r"\b(with|without|having|whose|and (?:an?|its|the|[a-z]+ [a-z]+s))\b")
"""What follows tells of parts."""


@dataclass(frozen=True)
class NamedColor:
    """A colour that a sentence names."""

    words: str
    """Such as "dark red"."""
    rgb: tuple[int, int, int]


def color_of_sentence(text: str) -> NamedColor | None:
    """The colour of the whole object, if the sentence names one; the first of several.

    Args:
        text: such as "a dark red chair with black legs": dark red.
    """
    whole = _PARTS_BEGIN.split(text.lower(), maxsplit=1)[0]
    words = re.findall(r"[a-z]+", whole)
    for number, word in enumerate(words):
        if word in COLOR_WORDS:
            before = words[number - 1] if number else ""
            if before not in SHADES:
                return NamedColor(word, COLOR_WORDS[word])
            return NamedColor(f"{before} {word}", _shaded(COLOR_WORDS[word], SHADES[before]))
    return None


def _shaded(rgb: tuple[int, int, int], share: float) -> tuple[int, int, int]:
    end = 255 if share > 0 else 0
    red, green, blue = (round(value + abs(share) * (end - value)) for value in rgb)
    return red, green, blue
