"""A set of prepared shapes, whatever it is stored as: what trainings and caches ask of one.

With it: which shapes of a set are read (by split, licence and measured quality), and stored views
as picture encoders see them. N surface points, S picture side.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int8, Int16, UInt8

from g3pt.geometry.cameras import frame_object, silhouette_box
from g3pt.shapes.stored import PrepareConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class QualityLimits:
    """Beyond which measured numbers an object is flagged.

    Not part of what is stored: another limit only changes what readers take. The defaults were
    chosen by looking at 36 solids beside their sources, from low to high numbers (docs/data.md).
    """

    label_error: float = 0.07
    """Estimated share of wrong labels near the surface. Parts begin to be lost at about here."""
    disagreement: float = 1.0
    """Share of near points on which the two label methods differ. By default nothing is flagged
    for it: one method is enough, and solids were right up to .98."""
    solid_to_source: float = 0.1
    """Mean distance from the solid's boundary to the source's surface; what is below that are
    open undersides that were closed."""

    def flags(self, row: dict[str, Any]) -> list[str]:
        """Names of the numbers of an index row that are beyond their limits."""
        measured = row["quality"]  # empty where labels are exact
        names = [each.name for each in fields(self)]
        return [name for name in names if measured.get(name, 0.0) > getattr(self, name)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Which samples of a set are read."""

    split: str = ""
    """Only this one; empty reads all."""
    licences: tuple[str, ...] = ()
    """Only objects under these; empty reads all."""
    flagged: bool = True
    """Whether objects flagged for their quality are read too."""
    limits: QualityLimits = QualityLimits()
    """What is flagged."""

    def takes(self, row: dict[str, Any]) -> bool:
        """Whether a row of the index is read."""
        return (
            (not self.split or row["split"] == self.split)
            and (not self.licences or row["licence"] in self.licences)
            and (self.flagged or not self.limits.flags(row))
        )


TRAINING = Selection(split="train")
VALIDATION = Selection(split="val")


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


def framed_view(shards: ShapeSet, row: int, view: int, size: int) -> UInt8[np.ndarray, "S S 4"]:
    """A view of a shape; zeros if there is none (-1) or it shows nothing (a sheet's edge)."""
    picture = shards.picture(row, view) if view >= 0 else None
    if picture is None or silhouette_box(picture) is None:
        return np.zeros((size, size, 4), np.uint8)
    return frame_object(picture, size)
