"""A set of prepared shapes, whatever it is stored as: what trainings and caches ask of one."""

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int8, Int16, UInt8

from g3pt.shapes.selection import Selection
from g3pt.shapes.stored import PrepareConfig


@runtime_checkable
class ShapeSet(Protocol):
    """Shapes in a fixed order, opened for reading. N surface points, S picture side."""

    path: Path
    """Its folder."""
    selection: Selection
    """Which of the stored shapes it shows."""
    prepare: PrepareConfig
    """What was kept of each shape."""
    fingerprint: str
    """Hash of all that it shows: equal sets give equal numbers."""
    shapes: list[dict[str, Any]]
    """What the index says of each shape."""

    def __len__(self) -> int: ...

    def readable(self, row: int) -> int:
        """This row or, where it is damaged and that is allowed, the next sound one."""
        ...

    def captions(self, row: int) -> tuple[str, ...]:
        """All sentences that describe a shape; may be empty."""
        ...

    def num_views(self, row: int) -> int:
        """Pictures of a shape, the canonical one first."""
        ...

    def picture(self, row: int, view: int) -> UInt8[np.ndarray, "S S 4"]:
        """One picture with straight alpha, as it was drawn."""
        ...

    def surface(self, row: int) -> tuple[Int16[np.ndarray, "N 3"], Int8[np.ndarray, "N 3"]]:
        """All surface points and normals that are kept of a shape, as stored integers."""
        ...

    def draw_surface(
        self, row: int, num: int, rng: np.random.Generator
    ) -> tuple[Int16[np.ndarray, "N 3"], Int8[np.ndarray, "N 3"]]:
        """Random surface points and normals of one shape, none twice, as stored integers."""
        ...
