"""Numbers that people give: taken where they plainly are numbers, refused by name where not.

Without it a text or a fraction fails somewhere below, in words that do not name the argument.
"""

import math
import operator
from numbers import Real
from typing import Any


class PromptError(ValueError):
    """A request that cannot be served as it was put."""


MAX_SEED = 2**62
"""Largest seed; counting up from it stays within what torch takes."""


def check_whole(name: str, value: object) -> None:
    """Refuse what is no whole number. Those of NumPy and torch are; texts and fractions are not.

    Raises:
        ValueError: naming the argument and what came.
    """
    try:
        operator.index(value)  # pyright: ignore[reportArgumentType]
    except TypeError:
        raise ValueError(f"{name} must be a whole number, got {_shown(value)}") from None
    if isinstance(value, bool):
        raise ValueError(f"{name} must be a whole number, got {value}")


def seed_of(seed: object) -> int:
    """The seed as a plain number, which is all that torch takes.

    Raises:
        ValueError: naming what was expected and what came.
    """
    check_whole("seed", seed)
    number = operator.index(seed)  # pyright: ignore[reportArgumentType]
    if not 0 <= number <= MAX_SEED:
        raise ValueError(f"seed must lie in 0..{MAX_SEED}, got {number}")
    return number


def check_number(name: str, value: object) -> None:
    """Refuse what is no finite number.

    Raises:
        ValueError: naming the argument and what came.
    """
    if not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{name} must be a number, got {_shown(value)}")


def _shown(value: Any) -> str:
    kind = type(value).__name__
    return f"the text {value!r:.40}" if isinstance(value, str) else f"{value!r:.40} ({kind})"
