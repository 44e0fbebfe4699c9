"""Doors that break one promise each. Worker processes import this."""

import os
import time
from pathlib import Path

import numpy as np

from g3pt.torture.doors import Door, Hostile, Must


class Planted(Door):
    """A door with a file behind it; `enter` says what is wrong with it."""

    name = "planted"
    promise = "nothing"
    errors = (ValueError,)
    must: Must = "either"

    def write(self, folder: Path, rng: np.random.Generator) -> Hostile:
        path = folder / "file"
        path.write_bytes(rng.bytes(8))
        return Hostile(path, "planted", self.must)

    def enter(self, path: Path) -> None:
        path.read_bytes()


class Refusing(Planted):
    def enter(self, path: Path) -> None:
        raise ValueError(f"{path}: refused")


class Crashing(Planted):
    name = "crashing"

    def enter(self, path: Path) -> None:
        os.abort()


class Hanging(Planted):
    name = "hanging"

    def enter(self, path: Path) -> None:
        time.sleep(600)


class Hungry(Planted):
    def enter(self, path: Path) -> None:
        np.empty(2**31, np.uint8)


class Unforeseen(Planted):
    def enter(self, path: Path) -> None:
        raise UnicodeDecodeError("utf-8", b"", 0, 1, str(path))


class Nameless(Planted):
    def enter(self, path: Path) -> None:
        raise ValueError("wrong")


class Untidy(Planted):
    def enter(self, path: Path) -> None:
        path.with_name("half").write_bytes(b"x")
        raise ValueError(f"{path}: refused")


class Starting(Planted):
    def enter(self, path: Path) -> None:
        os.system("true")


class Silent(Planted):
    must = "refuse"


class Strict(Refusing):
    must = "open"


class Wrong(Planted):
    def enter(self, path: Path) -> None:
        raise AssertionError("not what was written")
