"""The interface of a set of prepared shapes, shards or pack, as trainings and caches use it.

Also here: the selection of shapes by split, licence and measured quality, and stored views framed
for picture encoders. N surface points, S picture side.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
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

    def flags(self, row: Mapping[str, Any]) -> list[str]:
        """Names of the numbers of an index row that exceed their limits."""
        measured = row["quality"]  # empty where labels are exact
        names = [each.name for each in fields(self)]
        return [name for name in names if measured.get(name, 0.0) > getattr(self, name)]


UNKNOWN_LICENCE = "unknown"
"""Licence of an object about which nobody has said one."""


class SelectionError(ValueError):
    """A selection that leaves nothing of a set; the message says what there is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Which shapes of a set are read."""

    split: str = ""
    """Read only this split; empty reads all."""
    licences: tuple[str, ...] = ()
    """Read only objects under these licences; empty reads all."""
    own_sets: bool = False
    """Whether a set in which no object names a licence is read whole, as the user's own, whatever
    `licences` says."""
    flagged: bool = True
    """Whether objects flagged for their quality are read."""
    limits: QualityLimits = QualityLimits()
    """Limits beyond which an object is flagged."""

    def takes(self, row: Mapping[str, Any]) -> bool:
        """Whether a row of the index is read."""
        return (
            (not self.split or row["split"] == self.split)
            and (not self.licences or row["licence"] in self.licences)
            and (self.flagged or not self.limits.flags(row))
        )


def selected(
    origin: str | Path, rows: Sequence[Mapping[str, Any]], selection: Selection
) -> list[int]:
    """Places of the rows of a set that are read.

    Args:
        origin: the set, for messages.
        rows: of its index, with `split`, `licence` and `quality`.
        selection: what is asked for.

    Raises:
        SelectionError: if it leaves nothing.
    """
    asked = without_own(rows, selection)
    places = [place for place, row in enumerate(rows) if asked.takes(row)]
    if not places:
        raise SelectionError(nothing_fits(origin, rows, asked))
    return places


def without_own(rows: Sequence[Mapping[str, Any]], selection: Selection) -> Selection:
    """The selection without its licences if it takes own sets and no row names a licence."""
    named = any(row["licence"] != UNKNOWN_LICENCE for row in rows)
    return selection if named or not selection.own_sets else replace(selection, licences=())


def nothing_fits(
    origin: str | Path, rows: Sequence[Mapping[str, Any]], selection: Selection
) -> str:
    """Why a selection leaves nothing of a set, and what could be selected."""
    if not rows:
        return f"{origin}: holds no shapes"
    start = f"{origin}: none of its {len(rows)} shapes"
    of_split = [row for row in rows if not selection.split or row["split"] == selection.split]
    if not of_split:
        found = _counted(row["split"] or "no split" for row in rows)
        return f"{start} is of split {selection.split}; there are {found}"
    licences = ", ".join(selection.licences)
    if selection.licences and not any(row["licence"] in selection.licences for row in of_split):
        found = _counted(row["licence"] for row in of_split)
        return f"{start} is under {licences}; there are {found}"
    what = " and ".join(
        [f"of split {selection.split}"] * bool(selection.split)
        + [f"under {licences}"] * bool(selection.licences)
    )
    asked = f"is {what} and" if what else "is"
    return f"{start} {asked} not flagged for its quality"


def licences_note(
    origin: str | Path, rows: Sequence[Mapping[str, Any]], selection: Selection
) -> str | None:
    """What a reader is to know of the licences of a set; None if all of it is read."""
    if not selection.licences or not rows:
        return None
    if not without_own(rows, selection).licences:
        return f"{origin}: none of its {len(rows)} shapes names a licence, they are taken as yours"
    refused = [row for row in rows if row["licence"] not in selection.licences]
    if not refused:
        return None
    return (
        f"{origin}: {len(refused)} of its {len(rows)} shapes are left out for their licence: "
        f"{_counted(row['licence'] for row in refused)}"
    )


def _counted(values: Iterable[str]) -> str:
    return ", ".join(f"{value} ({num})" for value, num in Counter(values).most_common())


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
