"""Checks of numbers that users pass: an error names the argument and what was passed.

Without them a string or a fraction fails further down, with a message that does not name the
argument.
"""

import math
import operator
from numbers import Real
from typing import Any


class PromptError(ValueError):
    """A request that cannot be carried out as it is."""


MAX_SEED = 2**62
"""Largest seed. The seeds counted up from it still fit into the 64 bits that torch takes."""


def check_whole(name: str, value: object) -> None:
    """Refuse what is not a whole number.

    Integers of NumPy and torch pass. Strings, fractions and booleans do not.

    Raises:
        ValueError: if it is not; the message names the argument and what was passed.
    """
    try:
        operator.index(value)  # pyright: ignore[reportArgumentType]
    except TypeError:
        raise ValueError(f"{name} must be a whole number, got {_shown(value)}") from None
    if isinstance(value, bool):
        raise ValueError(f"{name} must be a whole number, got {value}")


def seed_of(seed: object) -> int:
    """The seed as a Python int, because torch takes nothing else.

    Raises:
        ValueError: if it is not a whole number in 0..`MAX_SEED`.
    """
    check_whole("seed", seed)
    number = operator.index(seed)  # pyright: ignore[reportArgumentType]
    if not 0 <= number <= MAX_SEED:
        raise ValueError(f"seed must lie in 0..{MAX_SEED}, got {number}")
    return number


def check_number(name: str, value: object) -> None:
    """Refuse what is not a finite number.

    Raises:
        ValueError: if it is not; the message names the argument and what was passed.
    """
    if not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{name} must be a number, got {_shown(value)}")


MAX_POINTS = 2**18
"""Most surface points that a model reads at a time; every one takes a kilobyte or more."""
MAX_WIDTH = 2**16
"""Most channels of a layer that a config may ask for."""
MAX_DEPTH = 2**10
"""Most layers in a row that a config may ask for."""
MLP_RATIOS = (1e-5, 1e4)
"""Widths of MLPs, in widths of their inputs, that a config may ask for."""
MAX_BATCH = 2**20
"""Most shapes of a batch."""
MAX_VIEWS = 2**10
"""Most views of a shape."""
MAX_SIDE = 2**13
"""Longest side of a picture that a model reads, in pixels."""


def check_ranges(config: object, place: str, **ranges: tuple[float, float]) -> None:
    """Refuse a field of a config that lies outside its range.

    Args:
        config: has a number, or a tuple of numbers, in each field.
        place: name of the config in messages; may be empty.
        ranges: smallest and largest value by field, both allowed.

    Raises:
        ValueError: if one does; the message names the field, its range and its value.
    """
    prefix = f"{place}." if place else ""
    for name, (low, high) in ranges.items():
        value = getattr(config, name)
        for one in value if isinstance(value, tuple) else (value,):
            if not low <= one <= high:
                raise ValueError(f"{prefix}{name} must lie in {low}..{high}, got {one}")


def _shown(value: Any) -> str:
    kind = type(value).__name__
    return f"the text {value!r:.40}" if isinstance(value, str) else f"{value!r:.40} ({kind})"
