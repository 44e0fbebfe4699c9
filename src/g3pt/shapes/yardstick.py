"""A yardstick: held-out objects in one small file, with everything needed to measure a generator.

    NAME.safetensors   points, normals, labels, pictures of all objects; the rest in its header

There are three of them (`YARDSTICKS`): the gap between the first and the second tells how much a
generator memorises. Reading the file needs no mesh reader or renderer, so that a training on
another machine can be evaluated with it. Each tokenizer makes its own tokens from the points.

The labelled queries are the same points of the cube for every object of every yardstick, computed
from one key: one bit of each is stored, and a shape that is compared with many objects is queried
once. Points are stored along a space-filling curve, in which order they compress; when read they
are in random order, so that the first of them are a uniform sample. The first objects are a fair
sample too: families alternate, models are in random order.

B objects, N surface points, Q queries, S picture side; everything in the unit frame.
"""

import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int8, Int16, Int64, UInt8
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from g3pt.files import write_whole
from g3pt.shapes.queries import volume_queries
from g3pt.shapes.stored import compress_planes, expand_planes, normals, positions

YARDSTICKS = ("known", "unseen", "real")
"""New seeds of families that were trained on; families that were not; real models of families and
packs that were not."""

FORMAT_VERSION = 1
QUERY_KEY = 0x59A2D571C
"""Key of the positions of the labelled queries."""
WEBP_QUALITY = 90
_HEADER = "yardstick"


@dataclass(frozen=True, eq=False, kw_only=True)
class Yardstick:
    """Held-out objects as arrays with one row per object."""

    name: str
    ids: tuple[str, ...]
    families: tuple[str, ...]
    captions: tuple[str, ...]
    """One caption for each object; may be empty."""
    flagged_B: Bool[np.ndarray, " B"]
    """True for objects whose labels exceed the quality limits of preparation; they are reported
    separately."""
    pictures_BSS4: UInt8[np.ndarray, "B S S 4"]
    """The canonical view with straight alpha, framed as users' pictures are."""
    points_BN3: Int16[np.ndarray, "B N 3"]
    normals_BN3: Int8[np.ndarray, "B N 3"]
    inside_BQ: Bool[np.ndarray, "B Q"]
    """Labels of the first Q queries of `query_positions`."""

    def __post_init__(self) -> None:
        counts = {name: len(value) for name, value in vars(self).items() if name != "name"}
        if len(set(counts.values())) != 1:
            raise ValueError(f"yardstick {self.name}: rows differ in number: {counts}")
        if self.inside_BQ.shape[1] % 8:
            raise ValueError(
                f"yardstick {self.name}: labels are packed in eights, got "
                f"{self.inside_BQ.shape[1]} queries"
            )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def queries(self) -> Float32[np.ndarray, "Q 3"]:
        """Positions of the labelled queries."""
        return query_positions(self.inside_BQ.shape[1])

    @property
    def surface(self) -> tuple[Float32[np.ndarray, "B N 3"], Float32[np.ndarray, "B N 3"]]:
        """Points and normals as floats."""
        return positions(self.points_BN3), normals(self.normals_BN3)

    def take(self, rows: Sequence[int] | Int64[np.ndarray, " K"]) -> "Yardstick":
        """The objects with these numbers."""
        chosen = np.asarray(rows, dtype=np.int64)
        return Yardstick(
            name=self.name,
            ids=tuple(self.ids[row] for row in chosen),
            families=tuple(self.families[row] for row in chosen),
            captions=tuple(self.captions[row] for row in chosen),
            flagged_B=self.flagged_B[chosen],
            pictures_BSS4=self.pictures_BSS4[chosen],
            points_BN3=self.points_BN3[chosen],
            normals_BN3=self.normals_BN3[chosen],
            inside_BQ=self.inside_BQ[chosen],
        )

    def first(self, num: int) -> "Yardstick":
        """The first `num` objects, a fair sample; all if there are fewer."""
        return self if num >= len(self) else self.take(range(num))


def query_positions(num: int) -> Float32[np.ndarray, "Q 3"]:
    """The first `num` query positions of every yardstick, uniform in the query cube."""
    return positions(volume_queries(QUERY_KEY, np.arange(num)))


# --- files ---------------------------------------------------------------------------------


def save_yardstick(path: str | os.PathLike[str], yardstick: Yardstick) -> None:
    """Write a yardstick; the file appears complete or not at all."""
    files = [_picture_file(picture) for picture in yardstick.pictures_BSS4]
    points_BN3, normals_BN3 = _along_curve(yardstick.points_BN3, yardstick.normals_BN3)
    arrays = {
        "flagged": yardstick.flagged_B.astype(np.uint8),
        "inside": np.packbits(yardstick.inside_BQ, axis=1, bitorder="little"),
        "normals": compress_planes(normals_BN3.transpose(2, 0, 1)),
        "picture_lengths": np.array([len(file) for file in files], np.int64),
        "pictures": np.frombuffer(b"".join(files), np.uint8),
        "points": compress_planes(points_BN3.transpose(2, 0, 1)),
    }
    header = {
        "format_version": FORMAT_VERSION,
        "name": yardstick.name,
        "query_key": QUERY_KEY,
        "num_points": points_BN3.shape[1],
        "ids": yardstick.ids,
        "families": yardstick.families,
        "captions": yardstick.captions,
    }
    write_whole(path, save(arrays, metadata={_HEADER: json.dumps(header)}))


def load_yardstick(path: str | os.PathLike[str]) -> Yardstick:
    """Read what `save_yardstick` wrote.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a yardstick, or of another version.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such yardstick")
    try:
        with safe_open(path, framework="numpy") as file:
            header = _header_of(path, file.metadata() or {})
            data = {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise ValueError(f"{path}: not a yardstick: {error}") from error
    shape = (3, len(header["ids"]), header["num_points"])
    points_BN3 = expand_planes(data["points"], np.int16, shape).transpose(1, 2, 0)
    normals_BN3 = expand_planes(data["normals"], np.int8, shape).transpose(1, 2, 0)
    order_N = np.random.default_rng(0).permutation(header["num_points"])
    return Yardstick(
        name=header["name"],
        ids=tuple(header["ids"]),
        families=tuple(header["families"]),
        captions=tuple(header["captions"]),
        flagged_B=data["flagged"] != 0,
        pictures_BSS4=_read_pictures(data["pictures"], data["picture_lengths"]),
        points_BN3=points_BN3[:, order_N],
        normals_BN3=normals_BN3[:, order_N],
        inside_BQ=np.unpackbits(data["inside"], axis=1, bitorder="little") != 0,
    )


def load_yardsticks(folder: str | os.PathLike[str]) -> tuple[Yardstick, ...]:
    """Read those of the three yardsticks that are in a folder, in the order of `YARDSTICKS`.

    Raises:
        FileNotFoundError: if there is none.
    """
    paths = [path for name in YARDSTICKS if (path := yardstick_path(folder, name)).is_file()]
    if not paths:
        raise FileNotFoundError(
            f"{folder}: holds no yardstick; `g3pt evaluate yardsticks --make` writes "
            f"{', '.join(YARDSTICKS)}.safetensors"
        )
    return tuple(load_yardstick(path) for path in paths)


def yardstick_path(folder: str | os.PathLike[str], name: str) -> Path:
    """Path of a yardstick in a folder."""
    return Path(folder) / f"{name}.safetensors"


def _header_of(path: str | os.PathLike[str], metadata: dict[str, str]) -> dict[str, Any]:
    if _HEADER not in metadata:
        raise ValueError(f"{path}: not a yardstick")
    header = json.loads(metadata[_HEADER])
    found = (header["format_version"], header["query_key"])
    if found != (FORMAT_VERSION, QUERY_KEY):
        raise ValueError(
            f"{path}: has format version and query key {found}, this program reads "
            f"{(FORMAT_VERSION, QUERY_KEY)}; make the yardsticks again"
        )
    return header


def _picture_file(picture: UInt8[np.ndarray, "S S 4"]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(picture).save(content, format="WEBP", quality=WEBP_QUALITY)
    return content.getvalue()


def _read_pictures(
    files: UInt8[np.ndarray, " _"], lengths_B: Int64[np.ndarray, " B"]
) -> UInt8[np.ndarray, "B S S 4"]:
    ends = lengths_B.cumsum()
    rows = [files[end - length : end] for end, length in zip(ends, lengths_B, strict=True)]
    opened = (Image.open(io.BytesIO(row.tobytes())) for row in rows)
    return np.stack([np.asarray(picture.convert("RGBA")) for picture in opened])


def _along_curve(
    points_BN3: Int16[np.ndarray, "B N 3"], normals_BN3: Int8[np.ndarray, "B N 3"]
) -> tuple[Int16[np.ndarray, "B N 3"], Int8[np.ndarray, "B N 3"]]:
    """Sort the points of each object along the Z-order curve of a grid of 1,024 cells per axis."""
    cells_BN3 = (points_BN3.astype(np.int64) + 32768) >> 6
    codes_BN = np.zeros(points_BN3.shape[:2], np.int64)
    for bit in range(10):
        for axis in range(3):
            codes_BN |= ((cells_BN3[..., axis] >> bit) & 1) << (3 * bit + axis)
    order_BN1 = np.argsort(codes_BN, axis=1, kind="stable")[..., None]
    return (
        np.take_along_axis(points_BN3, order_BN1, axis=1),
        np.take_along_axis(normals_BN3, order_BN1, axis=1),
    )
