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
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from jaxtyping import Bool, Float32, Int8, Int16, Int64, UInt8
from PIL import Image
from pydantic import Field

from g3pt.config import from_json, require_object
from g3pt.files import parse_json, write_whole
from g3pt.geometry.formats.limits import most_unpacked
from g3pt.shapes.array_files import ArrayFile, array_file, opened_arrays
from g3pt.shapes.queries import volume_queries
from g3pt.shapes.stored import (
    MAX_PICTURE_BYTES,
    MAX_STORED,
    Layout,
    check_surface,
    compress_planes,
    expand_planes,
    most_compressed,
    normals,
    picture_side,
    positions,
    read_picture,
)

YARDSTICKS = ("known", "unseen", "real")
"""New seeds of families that were trained on; families that were not; real models of families and
packs that were not."""

FORMAT_VERSION = 1
QUERY_KEY = 0x59A2D571C
"""Key of the positions of the labelled queries."""
WEBP_QUALITY = 90
MAX_FILE_BYTES = 2**28
MAX_OBJECTS = 2**14
MAX_PICTURES_RATIO = 3000
"""Largest ratio of the pixels' bytes to those of the picture files; empty pictures in WebP have
1,000 (a side of 224) to 2,200 (of 2,048)."""
_HEADER = "yardstick"
_SMALL = ("flagged", "inside", "picture_lengths")
_PLANES = ("points", "normals")


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
    """Write a yardstick; the file appears complete or not at all.

    Raises:
        ValueError: if it is too large to be read again.
    """
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
    data = array_file(arrays, {_HEADER: json.dumps(header)})
    if len(yardstick) > MAX_OBJECTS or max(len(data), yardstick.inside_BQ.size) > MAX_FILE_BYTES:
        raise ValueError(
            f"{path}: {len(yardstick)} objects with {yardstick.inside_BQ.size} labels have "
            f"{len(data)} bytes, a yardstick may have {MAX_OBJECTS}, and {MAX_FILE_BYTES} labels "
            "and bytes"
        )
    write_whole(path, data)


def load_yardstick(path: str | os.PathLike[str]) -> Yardstick:
    """Read what `save_yardstick` wrote.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a yardstick, of another version, or damaged; the message names file
            and field.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"{path}: no such yardstick")
    with opened_arrays(path, MAX_FILE_BYTES) as file:
        header = _header_of(file)
        data = _read_data(file, header)
    size, num = len(header.ids), header.num_points
    layouts: dict[str, Layout] = {
        "points": (np.int16, (3, size, num)),
        "normals": (np.int8, (3, size, num)),
    }
    planes = dict[str, np.ndarray]()
    for name, layout in layouts.items():
        try:
            planes[name] = expand_planes(data[name], *layout).transpose(1, 2, 0)
        except ValueError as error:
            raise ValueError(f"{path}: {name}: {error}") from None
    try:
        check_surface(planes["points"], planes["normals"])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    order_N = np.random.default_rng(0).permutation(num)
    return Yardstick(
        name=header.name,
        ids=tuple(header.ids),
        families=tuple(header.families),
        captions=tuple(header.captions),
        flagged_B=data["flagged"] != 0,
        pictures_BSS4=_read_pictures(path, data["pictures"], data["picture_lengths"]),
        points_BN3=planes["points"][:, order_N],
        normals_BN3=planes["normals"][:, order_N],
        inside_BQ=np.unpackbits(data["inside"], axis=1, bitorder="little") != 0,
    )


def load_yardsticks(folder: str | os.PathLike[str]) -> tuple[Yardstick, ...]:
    """Read those of the three yardsticks that are in a folder, in the order of `YARDSTICKS`.

    Raises:
        FileNotFoundError: if there is none.
    """
    paths = [path for name in YARDSTICKS if (path := yardstick_path(folder, name)).exists()]
    if not paths:
        raise FileNotFoundError(
            f"{folder}: holds no yardstick; `g3pt evaluate yardsticks --make` writes "
            f"{', '.join(YARDSTICKS)}.safetensors"
        )
    return tuple(load_yardstick(path) for path in paths)


def yardstick_path(folder: str | os.PathLike[str], name: str) -> Path:
    """Path of a yardstick in a folder."""
    return Path(folder) / f"{name}.safetensors"


@dataclass(frozen=True, kw_only=True)
class _Header:
    """What a yardstick tells beside its arrays."""

    format_version: int
    name: str
    query_key: int
    num_points: Annotated[int, Field(ge=1, le=MAX_STORED)]
    ids: Annotated[list[str], Field(min_length=1, max_length=MAX_OBJECTS)]
    families: list[str]
    captions: list[str]


def _header_of(file: ArrayFile) -> _Header:
    """The header of a yardstick.

    Raises:
        ValueError: if it is none, or of another version; the message names the field.
    """
    if _HEADER not in file.texts:
        raise ValueError(f"{file.path}: not a yardstick")
    file.check_texts([_HEADER])
    origin = f"{file.path}: {_HEADER}"
    values = require_object(parse_json(file.texts[_HEADER].encode(), origin), origin)
    found = tuple(values.get(name) for name in ("format_version", "query_key"))
    if found != (FORMAT_VERSION, QUERY_KEY):
        raise ValueError(
            f"{file.path}: has format version and query key {found}, this program reads "
            f"{(FORMAT_VERSION, QUERY_KEY)}; make the yardsticks again"
        )
    header = from_json(_Header, values, origin=origin)
    for name in ("families", "captions"):
        if len(getattr(header, name)) != len(header.ids):
            raise ValueError(
                f"{origin}: {name}: has {len(getattr(header, name))} entries, expected "
                f"{len(header.ids)} as of ids"
            )
    return header


def _read_data(file: ArrayFile, header: _Header) -> dict[str, np.ndarray]:
    """The arrays as they lie in the file, each of the size that the header says.

    Raises:
        ValueError: naming the array.
    """
    size = len(header.ids)
    file.check_names([*_SMALL, *_PLANES, "pictures"])
    for name, itemsize in (("points", 2), ("normals", 1)):
        num_bytes = size * header.num_points * 3 * itemsize
        file.check_bytes(name, most_compressed(num_bytes), by="num_points")
    file.check_shape("flagged", "U8", [size])
    file.check_shape("picture_lengths", "I64", [size])
    _, shape = file.kind("inside")
    file.check_shape("inside", "U8", [size, shape[-1] if shape else 0])
    if not 8 <= 8 * shape[-1] <= MAX_STORED or 8 * math.prod(shape) > MAX_FILE_BYTES:
        raise ValueError(
            f"{file.path}: inside: has {8 * shape[-1]} labels of each of {size} objects, expected "
            f"8 to {min(MAX_STORED, MAX_FILE_BYTES // size)}"
        )
    small = {name: file.read(name) for name in _SMALL}
    if small["flagged"].max() > 1:
        raise ValueError(f"{file.path}: flagged: holds {small['flagged'].max()}, expected 0 or 1")
    lengths_B = small["picture_lengths"]
    if lengths_B.min() < 1 or lengths_B.max() > MAX_PICTURE_BYTES:
        raise ValueError(
            f"{file.path}: picture_lengths: lie in {lengths_B.min()}..{lengths_B.max()}, expected "
            f"1..{MAX_PICTURE_BYTES}"
        )
    num_bytes = int(lengths_B.sum())
    file.check_bytes("pictures", num_bytes, least=num_bytes, by="picture_lengths")
    data = small | {name: file.read(name) for name in (*_PLANES, "pictures")}
    file.check_sha256(data)
    return data


def _picture_file(picture: UInt8[np.ndarray, "S S 4"]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(picture).save(content, format="WEBP", quality=WEBP_QUALITY)
    return content.getvalue()


def _read_pictures(
    path: str | os.PathLike[str],
    files: UInt8[np.ndarray, " _"],
    lengths_B: Int64[np.ndarray, " B"],
) -> UInt8[np.ndarray, "B S S 4"]:
    """Decode all pictures; no memory is taken for more pixels than files of that size have.

    Raises:
        ValueError: naming file and picture.
    """
    ends = lengths_B.cumsum()
    rows = [files[end - num : end].tobytes() for end, num in zip(ends, lengths_B, strict=True)]
    pictures_BSS4 = np.zeros((0, 0, 0, 4), np.uint8)
    for number, row in enumerate(rows):
        try:
            side = picture_side(row)
            if number == 0:
                _check_pixels(len(rows) * side**2 * 4, len(files))
                pictures_BSS4 = np.empty((len(rows), side, side, 4), np.uint8)
            if side != pictures_BSS4.shape[1]:
                raise ValueError(f"has a side of {side}, the first {pictures_BSS4.shape[1]}")
            pictures_BSS4[number] = read_picture(row)
        except ValueError as error:
            raise ValueError(f"{path}: pictures: number {number}: {error}") from None
    return pictures_BSS4


def _check_pixels(unpacked: int, packed: int) -> None:
    if unpacked > most_unpacked(packed, MAX_PICTURES_RATIO):
        raise ValueError(f"{packed} bytes are too few to hold the {unpacked} of all pictures")


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
