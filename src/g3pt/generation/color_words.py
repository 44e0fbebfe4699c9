"""Colour words of a sentence, and the colours that they stand for.

The table is our own choice of sRGB values. A word that belongs to a part ("with black legs")
colours that part alone, if it is one of those that height can tell.
"""

import re
from dataclasses import dataclass

from g3pt.geometry.sections import End

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

PARTS: dict[str, End] = {
    **dict.fromkeys(("leg", "legs", "foot", "feet", "base", "stand"), "lower"),
    **dict.fromkeys(("pole", "stem", "trunk", "pedestal"), "lower"),
    **dict.fromkeys(("roof", "lid", "cap", "top", "tabletop", "shade", "lampshade"), "upper"),
    **dict.fromkeys(("seat", "crown", "hood"), "upper"),
}
"""Name of a part -> where it is; see `geometry.sections`."""

_PARTS_BEGIN = re.compile(
    r"\b(with|without|having|whose|and (?:an?|its|the|(?:[a-z]+ ){1,2}[a-z]+s))\b"
)
"""What follows tells of parts."""


@dataclass(frozen=True)
class NamedColor:
    """A colour that a sentence names."""

    words: str
    """Such as "dark red"."""
    rgb: tuple[int, int, int]


@dataclass(frozen=True)
class PartColor:
    """A colour that a sentence names for a part."""

    part: str
    color: NamedColor

    @property
    def end(self) -> End:
        """Where the part is."""
        return PARTS[self.part]


@dataclass(frozen=True)
class SentenceColors:
    """All colours that a sentence names and that can be placed."""

    whole: NamedColor | None
    """The first colour word of the whole object."""
    parts: tuple[PartColor, ...]


def colors_of_sentence(text: str) -> SentenceColors:
    """The colours of the whole object and of its parts, as far as the sentence names them.

    Args:
        text: such as "a dark red chair with black legs": dark red, and black legs.
    """
    whole, *rest = _PARTS_BEGIN.split(text.lower(), maxsplit=1)
    named = _named_colors(re.findall(r"[a-z]+", whole))
    words = re.findall(r"[a-z]+", " ".join(rest))
    parts: list[PartColor] = []
    for place, color in _named_colors(words):
        after = next((word for word in words[place + 1 : place + 3] if word in PARTS), None)
        if after is not None:
            parts.append(PartColor(after, color))
    return SentenceColors(named[0][1] if named else None, tuple(parts))


def _named_colors(words: list[str]) -> list[tuple[int, NamedColor]]:
    """Colours and their places among the words; a word for a shade belongs to the next one."""
    found: list[tuple[int, NamedColor]] = []
    for place, word in enumerate(words):
        if word not in COLOR_WORDS:
            continue
        before = words[place - 1] if place else ""
        color = NamedColor(word, COLOR_WORDS[word])
        if before in SHADES:
            color = NamedColor(f"{before} {word}", _shaded(color.rgb, SHADES[before]))
        found.append((place, color))
    return found


def _shaded(rgb: tuple[int, int, int], share: float) -> tuple[int, int, int]:
    end = 255 if share > 0 else 0
    red, green, blue = (round(value + abs(share) * (end - value)) for value in rgb)
    return red, green, blue
