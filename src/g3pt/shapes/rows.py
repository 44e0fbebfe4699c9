"""Index rows of prepared shapes: what each must hold, checked when a set is opened.

The rows themselves stay JSON values; they may hold more than is told here.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tarfile import BLOCKSIZE
from typing import Annotated, Any

from pydantic import Field

from g3pt.shapes.stored import MAX_PICTURE_BYTES

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Number = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]

ARRAYS = ("points.npy", "normals.npy", "colors.npy", "volume.npy", "near.npy")
"""Members of a sample that are arrays, in their order; not every shape has colours."""


@dataclass(frozen=True, kw_only=True)
class ShapeRow:
    """What a row tells of any prepared shape."""

    id: str
    sha256: Sha256
    """Hash of the bytes of its sample."""
    family: str
    licence: str
    split: str
    captions: list[str]
    quality: dict[str, Number]
    """Measured numbers by name; empty where labels are exact."""
    query_key: Annotated[int, Field(ge=0, lt=2**64)]


@dataclass(frozen=True, kw_only=True)
class PackedRow(ShapeRow):
    """A row of a pack."""

    views: list[Annotated[int, Field(ge=1, le=MAX_PICTURE_BYTES)]]
    """Bytes of each of its pictures."""


@dataclass(frozen=True, kw_only=True)
class PreparedRow(ShapeRow):
    """A row of a shard whose object was prepared."""

    shard: str
    offset: Count
    """First byte of its sample in the shard."""
    size: Count
    """Bytes of its sample."""
    members: list[tuple[str, Count, Count]]
    """Name without the key, first byte in the sample, and length of every member."""
    volume_share: Annotated[float, Field(ge=0, le=1)]
    """Share of the volume queries that are inside."""
    num_faces: Count = 0
    extents: list[Annotated[float, Field(gt=0, allow_inf_nan=False)]] = field(
        default_factory=list[float]
    )


@dataclass(frozen=True, kw_only=True)
class StockRow:
    """The description of a mesh in a stock."""

    id: str
    family: str
    licence: str
    split: str
    captions: list[str]
    flagged: list[str]
    """Quality limits that it exceeds."""
    quality: dict[str, Number]


@dataclass(frozen=True, kw_only=True)
class RefusedRow:
    """A row of a shard whose object could not be prepared."""

    id: str
    path: str
    stage: str
    code: str
    message: str


def check_ids(origin: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Check that no two rows have the same id.

    Raises:
        ValueError: naming the id.
    """
    ((name, count),) = Counter(row["id"] for row in rows).most_common(1) or [("", 0)]
    if count > 1:
        raise ValueError(f"{origin}: id: {name!r} is there {count} times, expected once")


def check_place(row: Mapping[str, Any], shard: str, offset: int, origin: str) -> int:
    """Check that a sample lies where the one before it ends, and that its members fill it.

    Args:
        row: fits `PreparedRow`.
        shard: file name of its shard.
        offset: where it has to begin.
        origin: file and line of the row, for messages.

    Returns:
        Where the sample ends.

    Raises:
        ValueError: naming the field.
    """
    for name, wanted in (("shard", shard), ("offset", offset)):
        if row[name] != wanted:
            raise ValueError(f"{origin}: {name}: is {row[name]!r}, expected {wanted!r}")
    names = [name for name, _, _ in row["members"]]
    arrays = [name for name in ARRAYS if name != "colors.npy" or name in names]
    views = [f"view-{number:02d}.png" for number in range(len(names) - len(arrays) - 1)]
    if names != (expected := ["json", *arrays, *views]):
        raise ValueError(f"{origin}: members: are {names}, expected {expected}")
    end = 0
    for name, start, size in row["members"]:
        if start != end + BLOCKSIZE:
            raise ValueError(
                f"{origin}: members: {name} begins at {start}, expected {end + BLOCKSIZE}"
            )
        end = start + size + -size % BLOCKSIZE
    if row["size"] != end:
        raise ValueError(f"{origin}: size: is {row['size']}, its members take {end}")
    return offset + end
