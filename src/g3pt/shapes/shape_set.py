"""The interface of a set of prepared shapes, shards or pack, as trainings and caches use it.

Also here: the selection of shapes by split, licence and measured quality, and stored views framed
for picture encoders. N surface points, S picture side.
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
    """Limits of the measured numbers beyond which an object is flagged.

    They are applied when a set is read, not when it is made. The defaults were chosen by comparing
    36 solids with their sources, from low to high numbers (docs/data.md).
    """

    label_error: float = 0.07
    """Estimated share of wrong labels near the surface. From about here on parts are lost."""
    disagreement: float = 1.0
    """Share of near points on which the two label methods differ. The default flags nothing: one
    method is enough, and solids were correct up to .98."""
    solid_to_source: float = 0.1
    """Mean distance from the solid's boundary to the source's surface. Open undersides that were
    closed stay below the default."""

    def flags(self, row: dict[str, Any]) -> list[str]:
        """Names of the numbers of an index row that exceed their limits."""
        measured = row["quality"]  # empty where labels are exact
        names = [each.name for each in fields(self)]
        return [name for name in names if measured.get(name, 0.0) > getattr(self, name)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Which shapes of a set are read."""

    split: str = ""
    """Read only this split; empty reads all."""
    licences: tuple[str, ...] = ()
    """Read only objects under these licences; empty reads all."""
    flagged: bool = True
    """Whether objects flagged for their quality are read."""
    limits: QualityLimits = QualityLimits()
    """Limits beyond which an object is flagged."""

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
    """Prepared shapes in a fixed order, opened for reading. N surface points, S picture side."""

    path: Path
    """Folder of the set."""
    selection: Selection
    """Which of the stored shapes are read."""
    prepare: PrepareConfig
    """Config that the shapes were prepared with."""
    fingerprint: str
    """Hash of the selected shapes: equal sets have equal fingerprints."""
    shapes: list[dict[str, Any]]
    """Index row of each shape."""

    def __len__(self) -> int: ...

    def readable(self, row: int) -> int:
        """This row or, if it is damaged and that is allowed, the next undamaged one."""
        ...

    def captions(self, row: int) -> tuple[str, ...]:
        """All captions of a shape; may be empty."""
        ...

    def num_views(self, row: int) -> int:
        """Number of pictures of a shape; number 0 is the canonical one."""
        ...

    def picture(self, row: int, view: int) -> UInt8[np.ndarray, "S S 4"]:
        """One picture with straight alpha, as stored."""
        ...

    def surface(self, row: int) -> tuple[Int16[np.ndarray, "N 3"], Int8[np.ndarray, "N 3"]]:
        """All stored surface points and normals of a shape, as integers (see `stored`)."""
        ...

    def draw_surface(
        self, row: int, num: int, rng: np.random.Generator
    ) -> tuple[Int16[np.ndarray, "N 3"], Int8[np.ndarray, "N 3"]]:
        """Random surface points and normals of a shape without repetition, as stored integers."""
        ...


def framed_view(shards: ShapeSet, row: int, view: int, size: int) -> UInt8[np.ndarray, "S S 4"]:
    """A view of a shape, framed; zeros if `view` is -1 or it shows nothing (a sheet's edge)."""
    picture = shards.picture(row, view) if view >= 0 else None
    if picture is None or silhouette_box(picture) is None:
        return np.zeros((size, size, 4), np.uint8)
    return frame_object(picture, size)
