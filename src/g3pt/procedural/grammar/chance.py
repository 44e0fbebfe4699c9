"""Random choices of one assembly, from a buffer of numbers: faster than a call per draw."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, exp, log, pi, sin, sqrt
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from g3pt.procedural.builder import PALETTE, Paint

Choice = TypeVar("Choice")
_NUM_BUFFERED = 512


class Chance:
    """Random choices of one assembly."""

    def __init__(self, seed: Sequence[int]) -> None:
        self._rng = np.random.default_rng(seed)
        self._numbers: list[float] = []

    def unit(self) -> float:
        """Return a uniform number in [0, 1)."""
        if not self._numbers:
            self._numbers = self._rng.random(_NUM_BUFFERED).tolist()
        return self._numbers.pop()

    def real(self, low: float, high: float) -> float:
        """Return a uniform number in [low, high)."""
        return low + (high - low) * self.unit()

    def ratio(self, low: float, high: float) -> float:
        """Return a positive number whose logarithm is uniform."""
        return exp(self.real(log(low), log(high)))

    def whole(self, low: int, high: int) -> int:
        """Return a uniform integer in [low, high], both ends included."""
        return low + int(self.unit() * (high + 1 - low))

    def flag(self, share: float = 0.5) -> bool:
        """Return True with the given probability."""
        return self.unit() < share

    def sign(self) -> float:
        """Return 1 or -1."""
        return 1.0 if self.unit() < 0.5 else -1.0

    def pick(self, options: Sequence[Choice]) -> Choice:
        """Return one of the options."""
        return options[int(self.unit() * len(options))]

    def weighted(self, options: dict[Choice, float]) -> Choice:
        """Return one of the keys with probability in proportion to its value."""
        place = self.unit() * sum(options.values())
        for option, weight in options.items():
            place -= weight
            if place < 0:
                return option
        return next(reversed(options))

    def rotation(self) -> NDArray[np.float64]:
        """Return a uniformly random rotation matrix."""
        u, turn, roll = self.unit(), 2 * pi * self.unit(), 2 * pi * self.unit()
        a, b = sqrt(1 - u), sqrt(u)
        w, x, y, z = a * sin(turn), a * cos(turn), b * sin(roll), b * cos(roll)
        return np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
            ]
        )

    def paint(self) -> Paint:
        """Return a shade of one of the named colours."""
        name = self.pick(tuple(PALETTE))
        light = self.real(0.85, 1.08)
        red, green, blue = (
            int(min(255.0, max(0.0, value * light + self.real(-12, 12)))) for value in PALETTE[name]
        )
        return Paint(name, (red, green, blue))

    def tint(self) -> Paint:
        """Return a random colour, mostly muted, with the nearest name."""
        grey = self.real(20, 235)
        spread = self.real(0, 40) if self.flag(0.6) else self.real(40, 120)
        red, green, blue = (
            int(min(250.0, max(5.0, grey + self.real(-spread, spread)))) for _ in range(3)
        )
        apart = {
            name: sum((a - b) ** 2 for a, b in zip(rgb, (red, green, blue), strict=True))
            for name, rgb in PALETTE.items()
        }
        return Paint(min(apart, key=lambda name: apart[name]), (red, green, blue))
