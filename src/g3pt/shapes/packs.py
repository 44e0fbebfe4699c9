"""A pack: a reduced copy of a set of shards for training on another machine.

    pack.json            config, the hash of the other file, and for every shape its hash and the
                         fields used for selection
    pack.safetensors     points, normals, labels, pictures of all shapes, compressed

Half the bytes of a shard are surface points that a small training never draws. A pack keeps the
first of them (they are in random order) and the labels of the queries at those points: a tenth of
the bytes.

S shapes, N points kept of each, V volume queries, M near-surface queries kept.
"""

import io
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int8, Int16, Int64, UInt8
from PIL import Image
from safetensors.numpy import save

from g3pt.config import check_json, from_json, read_versioned, to_json
from g3pt.files import MAX_JSON_BYTES, whole_folder, write_whole
from g3pt.geometry.cameras import frame_object, silhouette_box
from g3pt.hashes import file_sha256
from g3pt.shapes.array_files import MAX_HEADER_BYTES, opened_arrays
from g3pt.shapes.rows import PackedRow, Sha256, check_ids
from g3pt.shapes.shape_set import Selection, ShapeSet, selected
from g3pt.shapes.shards import ShardSet, fingerprint_of, prepared_rows, read_index
from g3pt.shapes.stored import (
    Layout,
    PrepareConfig,
    check_surface,
    compress_planes,
    expand_planes,
    labels_at,
    most_compressed,
    pack_labels,
    read_picture,
)

FORMAT_VERSION = 2
INDEX_FILE = "pack.json"
DATA_FILE = "pack.safetensors"
WEBP_QUALITY = 90

_LISTED = ("id", "sha256", "family", "licence", "split", "captions", "quality", "query_key")
"""Fields kept of the index row of a shape."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PackConfig:
    """How much of each shape is kept."""

    num_points: int = 2048
    """Number of surface points to keep, with the near-surface queries at them."""
    num_volume_queries: int = 16_384
    """Number of volume queries to keep."""
    num_views: int = 3
    """Number of pictures to keep, the canonical one first."""
    picture_size: int = 0
    """Side in pixels to which pictures, framed by their silhouette, are scaled before they are
    stored as lossy WebP; 0 keeps the files as they are."""

    def __post_init__(self) -> None:
        if self.num_views < 0 or self.picture_size < 0:
            raise ValueError(
                "a pack needs num_views >= 0 and picture_size >= 0, got "
                f"{self.num_views} and {self.picture_size}"
            )
        if self.num_points < 1 or self.num_volume_queries < 8 or self.num_volume_queries % 8:
            raise ValueError(
                "a pack needs num_points >= 1 and num_volume_queries in multiples of 8, got "
                f"{self.num_points} and {self.num_volume_queries}"
            )


@dataclass(frozen=True, eq=False)
class ThinnedShapes:
    """The arrays of many shapes, one row each."""

    points_SN3: Int16[np.ndarray, "S N 3"]
    normals_SN3: Int8[np.ndarray, "S N 3"]
    volume_SV: UInt8[np.ndarray, "S V_8"]
    """Packed labels of the first volume queries."""
    near_SM: UInt8[np.ndarray, "S M_8"]
    """Packed labels of the near-surface queries numbered by `kept_near_numbers`."""
    keys_S: Int64[np.ndarray, " S"]
    """Keys of the queries; their 64 bits are read as a signed number."""


def kept_near_numbers(prepare: PrepareConfig, num_points: int) -> Int64[np.ndarray, " M"]:
    """Numbers of the near-surface queries that lie at the first points of a shape."""
    numbers = np.arange(prepare.num_near_queries, dtype=np.int64)
    return numbers[numbers % prepare.num_points < num_points]


def thin_out(shapes: ShardSet, num_points: int, num_volume_queries: int) -> ThinnedShapes:
    """Read the first points and queries of all shapes.

    Raises:
        ValueError: if the shards hold fewer.
    """
    prepare = shapes.prepare
    for name, wanted, stored in (
        ("num_points", num_points, prepare.num_points),
        ("num_volume_queries", num_volume_queries, prepare.num_volume_queries),
    ):
        if wanted > stored:
            raise ValueError(f"{shapes.path}: {name} is {wanted}, only {stored} are stored")
    near_numbers = kept_near_numbers(prepare, num_points)
    size, num_near = len(shapes), len(near_numbers)
    points_SN3 = np.empty((size, num_points, 3), np.int16)
    normals_SN3 = np.empty((size, num_points, 3), np.int8)
    volume_SV = np.empty((size, num_volume_queries // 8), np.uint8)
    near_SM = np.empty((size, -(-num_near // 8)), np.uint8)
    for row in range(size):
        stored = shapes[row]
        points_SN3[row], normals_SN3[row] = stored.points[:num_points], stored.normals[:num_points]
        volume_SV[row] = stored.volume_inside[: num_volume_queries // 8]
        near_SM[row] = pack_labels(labels_at(stored.near_inside, near_numbers) != 0)
    keys_S = np.array([row["query_key"] for row in shapes.shapes], np.uint64).view(np.int64)
    return ThinnedShapes(points_SN3, normals_SN3, volume_SV, near_SM, keys_S)


def write_pack(shapes: ShardSet, out_dir: str | os.PathLike[str], config: PackConfig) -> None:
    """Write the pack of a set of shards; the folder appears when it is complete.

    Raises:
        FileExistsError: if there is something at `out_dir`.
        ValueError: if the shards hold less than asked for.
    """
    out = Path(out_dir)
    if out.exists():
        raise FileExistsError(f"{out}: exists already; remove it or choose another folder")
    with whole_folder(out, parents=True) as work:
        _write_files(work, shapes, config)


def _write_files(work: Path, shapes: ShardSet, config: PackConfig) -> None:
    """Write the files of a pack into a folder."""
    thinned = thin_out(shapes, config.num_points, config.num_volume_queries)
    pictures, views = _pictures(shapes, config)
    arrays = {
        "points": compress_planes(thinned.points_SN3),
        "normals": compress_planes(thinned.normals_SN3),
        "volume": compress_planes(thinned.volume_SV),
        "near": compress_planes(thinned.near_SM),
        "pictures": pictures,
    }
    write_whole(work / DATA_FILE, save(arrays))
    index = {
        "format_version": FORMAT_VERSION,
        "config": to_json(config),
        "prepare": to_json(shapes.prepare),
        "data_sha256": file_sha256(work / DATA_FILE),
        "shapes": [
            {name: row[name] for name in _LISTED} | {"views": lengths}
            for row, lengths in zip(shapes.shapes, views, strict=True)
        ],
    }
    text = json.dumps(index)
    if len(text) > MAX_JSON_BYTES:  # ASCII
        raise ValueError(
            f"{shapes.path}: the index of {len(shapes)} shapes has {len(text)} bytes, a pack may "
            f"have {MAX_JSON_BYTES}; make several packs of fewer shapes"
        )
    write_whole(work / INDEX_FILE, text)


def _pictures(
    shapes: ShardSet, config: PackConfig
) -> tuple[UInt8[np.ndarray, " _"], list[list[int]]]:
    """The picture files end to end, and the length of each, shape by shape."""
    files, lengths = bytearray(), list[list[int]]()
    for row in range(len(shapes)):
        num_views = min(config.num_views, shapes.num_views(row))
        own = [_picture_file(shapes, row, view, config.picture_size) for view in range(num_views)]
        files += b"".join(own)
        lengths.append([len(file) for file in own])
    return np.frombuffer(bytes(files), np.uint8), lengths


def _picture_file(shapes: ShardSet, row: int, view: int, size: int) -> bytes:
    picture = shapes.picture(row, view) if size else None
    if picture is None or silhouette_box(picture) is None:
        return shapes.picture_file(row, view)
    content = io.BytesIO()
    Image.fromarray(frame_object(picture, size)).save(content, format="WEBP", quality=WEBP_QUALITY)
    return content.getvalue()


class PackedShapes:
    """A pack, opened for reading, with the interface `ShapeSet`."""

    def __init__(self, path: str | os.PathLike[str], selection: Selection | None = None) -> None:
        """Read the pack into memory.

        Args:
            path: its folder.
            selection: which of its shapes are read; all by default. It applies to the shapes that
                were selected when the pack was written.

        Raises:
            FileNotFoundError: if there is no complete pack at `path`.
            ValueError: if it has another format version, its files do not fit each other, or the
                selection leaves nothing; the message names file and field.
        """
        self.path = Path(path)
        self.selection = selection or Selection()
        index = read_pack_index(self.path)
        origin = str(self.path / INDEX_FILE)
        self.config = from_json(PackConfig, index["config"], origin=f"{origin}: config")
        self.prepare = from_json(PrepareConfig, index["prepare"], origin=f"{origin}: prepare")
        packed: list[dict[str, Any]] = index["shapes"]
        self._check_counts(packed)
        chosen = selected(self.path, packed, self.selection)
        self.shapes = [packed[place] for place in chosen]
        self.fingerprint = fingerprint_of(self.prepare, self.shapes)
        layouts = _layouts(self.config, self.prepare, len(packed))
        starts = self._locate_pictures(packed)
        self._starts = [starts[place] for place in chosen]
        num_bytes = sum(sum(row["views"]) for row in packed)
        data = _read_data(self.path / DATA_FILE, layouts, num_bytes, index.get("data_sha256"))
        self._files = data["pictures"].tobytes()
        self.thinned = self._read_arrays(data, layouts, chosen)

    def _check_counts(self, packed: list[dict[str, Any]]) -> None:
        """Refuse to keep more of a shape than was prepared, or more pictures than the config says.

        Raises:
            ValueError: naming the field.
        """
        file = self.path / INDEX_FILE
        for name in ("num_points", "num_volume_queries"):
            kept, stored = getattr(self.config, name), getattr(self.prepare, name)
            if kept > stored:
                raise ValueError(f"{file}: config.{name}: is {kept}, only {stored} were prepared")
        for number, row in enumerate(packed):
            if len(row["views"]) > self.config.num_views:
                raise ValueError(
                    f"{file}: shapes.{number}.views: has {len(row['views'])} pictures, expected at "
                    f"most {self.config.num_views}"
                )

    def _read_arrays(
        self, data: dict[str, np.ndarray], layouts: Mapping[str, Layout], chosen: list[int]
    ) -> ThinnedShapes:
        """The rows `chosen` of the packed ones."""
        file, arrays = self.path / DATA_FILE, dict[str, np.ndarray]()
        for name, layout in layouts.items():
            try:
                arrays[name] = expand_planes(data[name], *layout)
            except ValueError as error:
                raise ValueError(f"{file}: {name}: {error}") from None
        try:
            check_surface(arrays["points"], arrays["normals"])
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from None
        keys_S = np.array([row["query_key"] for row in self.shapes], np.uint64).view(np.int64)
        return ThinnedShapes(
            points_SN3=arrays["points"][chosen],
            normals_SN3=arrays["normals"][chosen],
            volume_SV=arrays["volume"][chosen],
            near_SM=arrays["near"][chosen],
            keys_S=keys_S,
        )

    @staticmethod
    def _locate_pictures(packed: list[dict[str, Any]]) -> list[list[int]]:
        starts, position = list[list[int]](), 0
        for row in packed:
            own: list[int] = []
            for length in row["views"]:
                own.append(position)
                position += length
            starts.append(own)
        return starts

    def __len__(self) -> int:
        return len(self.shapes)

    def readable(self, row: int) -> int:
        """The row itself: no shape of an opened pack is damaged."""
        return row

    def captions(self, row: int) -> tuple[str, ...]:
        """All sentences that describe a shape; may be empty."""
        return tuple(self.shapes[row]["captions"])

    def num_views(self, row: int) -> int:
        """Pictures kept of a shape, the canonical one first."""
        return len(self.shapes[row]["views"])

    def picture(self, row: int, view: int) -> UInt8[np.ndarray, "P P 4"]:
        """One picture with straight alpha, as it was drawn.

        Raises:
            ValueError: if it is no picture.
        """
        start = self._starts[row][view]
        try:
            return read_picture(self._files[start : start + self.shapes[row]["views"][view]])
        except ValueError as error:
            raise ValueError(
                f"{self.path / DATA_FILE}: pictures: {self.shapes[row]['id']}, number {view}: "
                f"{error}"
            ) from None

    def surface(self, row: int) -> tuple[Int16[np.ndarray, "N 3"], Int8[np.ndarray, "N 3"]]:
        """All surface points and normals that were kept of one shape, as stored integers."""
        return self.thinned.points_SN3[row], self.thinned.normals_SN3[row]

    def draw_surface(
        self, row: int, num: int, rng: np.random.Generator
    ) -> tuple[Int16[np.ndarray, "N 3"], Int8[np.ndarray, "N 3"]]:
        """Random surface points and normals of one shape, none twice, as stored integers."""
        chosen = rng.choice(self.config.num_points, num, replace=False)
        return self.thinned.points_SN3[row][chosen], self.thinned.normals_SN3[row][chosen]


def is_pack(path: Path) -> bool:
    """Whether there is a complete pack at `path`."""
    return (path / INDEX_FILE).is_file()


@dataclass(frozen=True, kw_only=True)
class PackIndex:
    """The index of a pack."""

    config: dict[str, Any]
    prepare: dict[str, Any]
    shapes: list[PackedRow]
    data_sha256: Sha256 | None = None
    """Hash of the file of the arrays; packs of version 0.1.0 have none."""


def read_pack_index(path: Path) -> dict[str, Any]:
    """The index of a pack.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it has another format version, or lacks something.
    """
    file = path / INDEX_FILE
    if not file.is_file():
        raise FileNotFoundError(f"expected a pack or a complete set of shards at {path}")
    index = read_versioned(file, FORMAT_VERSION, "pack the shards again")
    check_json(PackIndex, index, origin=str(file))
    check_ids(file, index["shapes"])
    return index


def _layouts(config: PackConfig, prepare: PrepareConfig, size: int) -> dict[str, Layout]:
    """The compressed arrays of a pack of `size` shapes."""
    num_near = len(kept_near_numbers(prepare, config.num_points))
    return {
        "points": (np.int16, (size, config.num_points, 3)),
        "normals": (np.int8, (size, config.num_points, 3)),
        "volume": (np.uint8, (size, config.num_volume_queries // 8)),
        "near": (np.uint8, (size, -(-num_near // 8))),
    }


def _read_data(
    file: Path, layouts: Mapping[str, Layout], picture_bytes: int, sha256: str | None
) -> dict[str, np.ndarray]:
    """The bytes of the arrays and pictures, as they lie in the file.

    Nothing is read before the sizes are known to be possible.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds something else, or has another hash.
    """
    most = {
        name: most_compressed(math.prod(shape) * np.dtype(dtype).itemsize)
        for name, (dtype, shape) in layouts.items()
    } | {"pictures": picture_bytes}
    with opened_arrays(file, sum(most.values()) + MAX_HEADER_BYTES) as opened:
        opened.check_names(most)
        for name, num in most.items():
            least = num if name == "pictures" else 0
            opened.check_bytes(name, num, least=least, by=INDEX_FILE)
        if sha256 is not None and file_sha256(file) != sha256:
            raise ValueError(
                f"{file}: is damaged, or not the file of this pack: it does not have the "
                f"data_sha256 of {INDEX_FILE}; pack the shards again"
            )
        return {name: opened.read(name) for name in most}


def open_shapes(
    path: str | os.PathLike[str], selection: Selection | None = None, *, max_damaged: int = 0
) -> ShapeSet:
    """Open what lies at `path`: a set of shards, or a pack of one.

    Raises:
        FileNotFoundError: if it is neither.
    """
    if is_pack(Path(path)):
        return PackedShapes(path, selection)
    return ShardSet(path, selection, max_damaged=max_damaged)


def index_rows(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The index rows of all shapes of a set of shards, or of a pack of one.

    Raises:
        FileNotFoundError: if it is neither.
        ValueError: if a row lacks something; the message names file and field.
    """
    if is_pack(Path(path)):
        return read_pack_index(Path(path))["shapes"]
    return prepared_rows(Path(path), read_index(Path(path)))


def require_shards(shapes: ShapeSet) -> ShardSet:
    """Check that a set consists of shards, for readers that need everything stored.

    Raises:
        ValueError: if it is a pack.
    """
    if not isinstance(shapes, ShardSet):
        raise ValueError(
            f"{shapes.path}: is a pack; this training reads queries that only shards hold"
        )
    return shapes
