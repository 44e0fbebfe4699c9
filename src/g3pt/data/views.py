"""The pictures of a shape cache: one array a view, filled when asked (see `rendering.py`).

View 0 is the canonical three-quarter camera. A shape's done flag is set after its pixels.
S picture side.
"""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from g3pt.data.cache import ShapeCache

VIEW_SIZE = 128
"""Side of stored pictures."""


class Views:
    """The pictures of a cache that are there so far."""

    def __init__(self, cache: ShapeCache) -> None:
        self._pictures: list[np.ndarray] = []
        flags: list[np.ndarray] = []
        while view_files(cache.path, len(flags))[1].is_file():
            pixels, done = view_files(cache.path, len(flags))
            self._pictures.append(np.load(pixels, mmap_mode="r"))
            flags.append(np.load(done)[cache.slots] != 0)
        self._slots = cache.slots
        self.available = np.array(flags, dtype=bool).reshape(len(flags), len(cache)).T
        """(shapes, views): whether each picture exists. Read once, when opened."""

    def rgba(self, row: int, view: int) -> UInt8[np.ndarray, "S S 4"]:
        """One picture with straight alpha; only where `available`."""
        return np.asarray(self._pictures[view][self._slots[row]])


def view_files(folder: Path, view: int) -> tuple[Path, Path]:
    """Where the pixels and the done flags of one view are."""
    return folder / f"views-{view}.npy", folder / f"views-{view}.done.npy"
