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


def _shown(value: Any) -> str:
    kind = type(value).__name__
    return f"the text {value!r:.40}" if isinstance(value, str) else f"{value!r:.40} ({kind})"
