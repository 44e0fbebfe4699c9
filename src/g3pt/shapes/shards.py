"""A folder of prepared shapes: tar shards in WebDataset layout, and an index with checksums.

    index.json            format version, config, counts, fingerprint; written last
    shard-00000.tar       samples, at most `samples_per_shard` of them
    shard-00000.jsonl     one line per object of this shard: where its sample lies, its SHA-256, and
                          the fields used for selection; or why it was refused
    quarantine.jsonl      one line per refused object: id, path, stage, reason code, message
    report.html, report.json

A sample is one prepared shape, stored as consecutive tar members:

    KEY.json          id, family, licence, split, captions, frame, quality, cameras ...
    KEY.points.npy    int16 (N, 3), KEY.normals.npy int8 (N, 3), KEY.colors.npy uint8 (N, 3)
    KEY.volume.npy    uint8 (V / 8): packed labels of the volume queries, KEY.near.npy likewise
    KEY.view-00.png   the canonical picture, KEY.view-01.png ... the others

KEY is the start of the SHA-256 of the id. The bytes depend only on the content: no times, no
owners, a fixed order. Members are stored as they are and begin at multiples of 512 bytes, so that
arrays can be used where they lie in a mapped file.

Any WebDataset reader can stream the tars. Here they are mapped: a `ShardSet` gives any sample at
any time, and checks its hash when it is first touched.

N surface points, S picture side.
"""

import hashlib
import json
import logging
import mmap
import os
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
from jaxtyping import Int8, Int16, UInt8
from pydantic import Field

from g3pt.config import check_json, from_json, read_versioned, to_json
from g3pt.files import MAX_JSON_BYTES, check_plain, parse_json
from g3pt.shapes.npy import npy_bytes, read_array
from g3pt.shapes.queries import near_queries, volume_queries
from g3pt.shapes.rows import PreparedRow, RefusedRow, Sha256, check_ids, check_place
from g3pt.shapes.shape_set import Selection, selected
from g3pt.shapes.stored import (
    Layout,
    PrepareConfig,
    ShapeRecord,
    ViewsConfig,
    check_surface,
    labels_at,
    read_picture,
)

END_OF_ARCHIVE = bytes(10_240)
"""The bytes that end a tar file."""

_BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True)
class Sample:
    """The bytes of one prepared shape and where its members lie in them."""

    data: bytes
    """A run of whole tar members, without the end of an archive."""
    members: tuple[tuple[str, int, int], ...]
    """Name without the key, first byte and length of every member."""

    @property
    def sha256(self) -> str:
        """Hash of the bytes."""
        return hashlib.sha256(self.data).hexdigest()


def sample_key(shape_id: str) -> str:
    """Name of a shape's members: valid in file systems and tar readers for any id."""
    return hashlib.sha256(shape_id.encode()).hexdigest()[:20]


def pack_sample(record: ShapeRecord, pictures: list[bytes]) -> Sample:
    """Lay out a prepared shape and its PNG files as tar members."""
    arrays = {
        "points": record.points,
        "normals": record.normals,
        "colors": record.colors,
        "volume": record.volume_inside,
        "near": record.near_inside,
    }
    files = {"json": json.dumps(record.description, sort_keys=True, indent=1).encode() + b"\n"}
    files |= {
        f"{name}.npy": npy_bytes(array) for name, array in arrays.items() if array is not None
    }
    files |= {f"view-{number:02d}.png": data for number, data in enumerate(pictures)}
    return pack_members(sample_key(record.description["id"]), files)


def pack_members(key: str, files: Mapping[str, bytes]) -> Sample:
    """Lay out files as tar members named KEY.NAME, with bytes that depend on nothing else."""
    pieces: list[bytes] = []
    members: list[tuple[str, int, int]] = []
    position = 0
    for name, content in files.items():
        header = tarfile.TarInfo(f"{key}.{name}")
        header.size = len(content)
        header.mode = 0o644
        start = header.tobuf(tarfile.USTAR_FORMAT)
        members.append((name, position + len(start), len(content)))
        pieces += [start, content, bytes(-len(content) % _BLOCK)]
        position += len(start) + len(content) + len(pieces[-1])
    return Sample(b"".join(pieces), tuple(members))


FORMAT_VERSION = 2
INDEX_FILE = "index.json"
QUARANTINE_FILE = "quarantine.jsonl"
MAX_OPEN_SHARDS = 512
MAX_SHARDS = 100_000
"""Most shards of a set; the numbers in their names have five digits."""
MAX_LINES_BYTES = 4 * 2**30
"""Largest JSON lines file that is read."""

LabelledQueries = tuple[Int16[np.ndarray, "K 3"], UInt8[np.ndarray, " K"]]
"""Positions on the stored grid, and labels: 1 inside, 0 outside."""

logger = logging.getLogger(__name__)


class DamagedSampleError(OSError):
    """A sample whose bytes do not have the recorded hash."""


@dataclass(frozen=True, eq=False)
class StoredShape:
    """The arrays of one sample, where they lie in the mapped file: read-only."""

    points: Int16[np.ndarray, "N 3"]
    normals: Int8[np.ndarray, "N 3"]
    colors: UInt8[np.ndarray, "N 3"] | None
    volume_inside: UInt8[np.ndarray, " V_8"]
    near_inside: UInt8[np.ndarray, " M_8"]
    query_key: int

    def volume(self, numbers: np.ndarray) -> LabelledQueries:
        """Volume queries by their numbers, from 0."""
        return volume_queries(self.query_key, numbers), labels_at(self.volume_inside, numbers)

    def near(self, numbers: np.ndarray, sigma: float) -> LabelledQueries:
        """Near-surface queries by their numbers, from 0 over all groups, of one `sigma`."""
        queries = near_queries(self.query_key, numbers, self.points, sigma)
        return queries, labels_at(self.near_inside, numbers)


class ShardSet:
    """A complete set of shards, opened for reading: a map from row to sample."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        selection: Selection | None = None,
        *,
        max_damaged: int = 0,
    ) -> None:
        """Open the set.

        Args:
            path: its folder.
            selection: which samples are read; all by default.
            max_damaged: how many damaged samples `readable` may skip.

        Raises:
            FileNotFoundError: if there is no complete set at `path`.
            ValueError: if it has another format version, its files do not fit each other, or the
                selection leaves nothing.
        """
        self.path = Path(path)
        self.selection = selection or Selection()
        self.max_damaged = max_damaged
        index = read_index(self.path)
        config, origin = index["config"], str(self.path / INDEX_FILE)
        self.prepare = from_json(PrepareConfig, config["prepare"], origin=f"{origin}: prepare")
        self.views = from_json(ViewsConfig, config["views"], origin=f"{origin}: views")
        self.source: dict[str, Any] = config["source"]
        """Source config as JSON values; `preparation.sources.stored_source` reads it."""
        num_volume, num_near = self.prepare.num_volume_queries, self.prepare.num_near_queries
        self._layouts: dict[str, Layout] = {
            "points.npy": (np.int16, (self.prepare.num_points, 3)),
            "normals.npy": (np.int8, (self.prepare.num_points, 3)),
            "colors.npy": (np.uint8, (self.prepare.num_points, 3)),
            "volume.npy": (np.uint8, (num_volume // 8,)),
            "near.npy": (np.uint8, (num_near // 8,)),
        }
        rows = prepared_rows(self.path, index)
        self._shard_bytes = _shard_bytes(rows)
        self.shapes = [rows[place] for place in selected(self.path, rows, self.selection)]
        """Index row of each shape."""
        self.fingerprint = fingerprint_of(self.prepare, self.shapes)
        self.damaged: dict[str, str] = {}
        """Damaged samples found so far: id -> reason."""
        self._checked = np.zeros(len(self.shapes), dtype=np.bool_)

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, row: int) -> StoredShape:
        """The arrays of one shape.

        Raises:
            DamagedSampleError: if its bytes have changed since they were written.
            ValueError: if they are not as `prepare` describes them.
        """
        return self._stored(row, self._members(row))

    def _stored(self, row: int, members: Mapping[str, memoryview]) -> StoredShape:
        arrays = {
            name: read_array(members[name], *layout)
            for name, layout in self._layouts.items()
            if name in members
        }
        return StoredShape(
            points=arrays["points.npy"],
            normals=arrays["normals.npy"],
            colors=arrays.get("colors.npy"),
            volume_inside=arrays["volume.npy"],
            near_inside=arrays["near.npy"],
            query_key=self.shapes[row]["query_key"],
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (str(self.path), self.selection, self.max_damaged)

    def readable(self, row: int) -> int:
        """This row or, if it is damaged and `max_damaged` allows, the next undamaged one.

        Raises:
            DamagedSampleError: if more samples are damaged than `max_damaged`.
            ValueError: if a sample is not as `prepare` describes it.
        """
        while True:
            try:
                self._members(row)
                return row
            except DamagedSampleError as error:
                self.damaged[self.shapes[row]["id"]] = str(error)
                if len(self.damaged) > min(self.max_damaged, len(self) - 1):
                    raise
                logger.warning("%s; passed over", error)
                row = (row + 1) % len(self)

    def description(self, row: int) -> dict[str, Any]:
        """The full description of a shape: frame, quality, cameras.

        Raises:
            ValueError: if it is not JSON, or that of another shape.
        """
        origin, shape_id = self._origin(row, "json"), self.shapes[row]["id"]
        found = parse_json(bytes(self._members(row)["json"]), origin)
        if not isinstance(found, dict) or found.get("id") != shape_id:
            raise ValueError(f"{origin}: id: is not that of the shape")
        return found

    def captions(self, row: int) -> tuple[str, ...]:
        """All sentences that describe a shape; may be empty."""
        return tuple(self.shapes[row]["captions"])

    def num_views(self, row: int) -> int:
        """Stored pictures of a shape, the canonical one first."""
        return sum(name.startswith("view-") for name, _, _ in self.shapes[row]["members"])

    def picture(self, row: int, view: int) -> UInt8[np.ndarray, "S S 4"]:
        """One stored picture with straight alpha, as it was drawn.

        Raises:
            ValueError: if it is no picture, or of another size than `views` says.
        """
        origin = self._origin(row, f"view-{view:02d}.png")
        try:
            picture = read_picture(self.picture_file(row, view))
        except ValueError as error:
            raise ValueError(f"{origin}: {error}") from None
        if len(picture) != self.views.size:
            raise ValueError(
                f"{origin}: has {len(picture)} pixels a side, expected {self.views.size}"
            )
        return picture

    def picture_file(self, row: int, view: int) -> bytes:
        """The PNG file of a stored picture."""
        return bytes(self._members(row)[f"view-{view:02d}.png"])

    def surface(self, row: int) -> tuple[Int16[np.ndarray, "N 3"], Int8[np.ndarray, "N 3"]]:
        """All surface points and normals of one shape, as stored integers."""
        stored = self[row]
        return stored.points, stored.normals

    def draw_surface(
        self, row: int, num: int, rng: np.random.Generator
    ) -> tuple[Int16[np.ndarray, "N 3"], Int8[np.ndarray, "N 3"]]:
        """Random surface points and normals of one shape, none twice, as stored integers."""
        stored, chosen = self[row], rng.choice(self.prepare.num_points, num, replace=False)
        return stored.points[chosen], stored.normals[chosen]

    @property
    def families(self) -> tuple[str, ...]:
        """The family names that occur, sorted."""
        return tuple(sorted({shape["family"] for shape in self.shapes}))

    def _origin(self, row: int, member: str) -> str:
        """A member of a sample, for messages."""
        shape = self.shapes[row]
        return f"{self.path / shape['shard']}: {shape['id']}: {member}"

    def _members(self, row: int) -> dict[str, memoryview]:
        """The members of a sample; all of it is checked when it is first touched."""
        shape = self.shapes[row]
        file = self.path / shape["shard"]
        try:
            mapped = _mapped(str(file), self._shard_bytes[shape["shard"]])
        except (OSError, ValueError) as error:
            raise DamagedSampleError(f"{shape['id']}: {file} cannot be read ({error})") from error
        sample = mapped[shape["offset"] : shape["offset"] + shape["size"]]
        members = {name: sample[start : start + size] for name, start, size in shape["members"]}
        if not self._checked[row]:
            if hashlib.sha256(sample).hexdigest() != shape["sha256"]:
                raise DamagedSampleError(
                    f"{shape['id']}: damaged in {file}, bytes {shape['offset']} to "
                    f"{shape['offset'] + shape['size']} do not have the hash of the index"
                )
            try:
                stored = self._stored(row, members)
                check_surface(stored.points, stored.normals)
            except ValueError as error:
                raise ValueError(f"{file}: {shape['id']}: {error}") from None
            self._checked[row] = True
        return members


def _reopen(path: str, selection: Selection, max_damaged: int) -> ShardSet:
    return ShardSet(path, selection, max_damaged=max_damaged)


def _shard_bytes(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Bytes of the shards in which prepared objects lie."""
    ends = {row["shard"]: row["offset"] + row["size"] for row in rows}  # the last one counts
    return {shard: end + len(END_OF_ARCHIVE) for shard, end in ends.items()}


@lru_cache(maxsize=MAX_OPEN_SHARDS)
def _mapped(path: str, most: int) -> memoryview:
    check_plain(path, most, ValueError)
    with open(path, "rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def fingerprint_of(prepare: PrepareConfig, rows: Sequence[dict[str, Any]]) -> str:
    """Fingerprint of a selection of prepared shapes, the same for shards and packs.

    Args:
        prepare: config that the shapes were prepared with.
        rows: rows of the index, with `id` and `sha256`.
    """
    digest = hashlib.sha256(json.dumps(to_json(prepare)).encode())
    for row in rows:
        digest.update(f"{row['id']} {row['sha256']}\n".encode())
    return digest.hexdigest()


def is_complete(path: Path) -> bool:
    """Whether there is a complete set at `path`."""
    return (path / INDEX_FILE).is_file()


@dataclass(frozen=True, kw_only=True)
class SetConfig:
    """The config in the index of a set; its parts are read where they are known."""

    source: dict[str, Any]
    prepare: dict[str, Any]
    views: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class SetIndex:
    """The index of a set."""

    fingerprint: Sha256
    """Hash of the lines of all shards."""
    num_shards: Annotated[int, Field(ge=1, le=MAX_SHARDS)]
    num_shapes: int
    num_refused: int
    config: SetConfig


def read_index(path: Path) -> dict[str, Any]:
    """The index of a complete set.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it has another format version, or lacks something.
    """
    file = path / INDEX_FILE
    if not file.is_file():
        hint = " (a stopped run is there: start it again)" if (path / "plan").is_dir() else ""
        raise FileNotFoundError(f"expected a complete set of prepared shapes at {path}{hint}")
    index = read_versioned(file, FORMAT_VERSION, "prepare the shapes again")
    check_json(SetIndex, index, origin=str(file))
    return index


def shard_name(number: int, suffix: str) -> str:
    """File name of a shard (`.tar`) or of its index (`.jsonl`)."""
    return f"shard-{number:05d}{suffix}"


def read_rows(path: Path, num_shards: int) -> list[dict[str, Any]]:
    """The index rows of all shards: prepared objects and refused ones.

    Raises:
        FileNotFoundError: if the index of a shard is missing.
        ValueError: if a row lacks something, or its sample does not lie where it has to; the
            message names file, line and field.
    """
    return [row for number in range(num_shards) for row in _rows_of_shard(path, number)]


def _rows_of_shard(path: Path, number: int) -> Iterator[dict[str, Any]]:
    file, end = path / shard_name(number, ".jsonl"), 0
    for line, row in enumerate(read_lines(file), start=1):
        origin = f"{file}:{line}"
        if "sha256" in row:
            check_json(PreparedRow, row, origin=origin)
            end = check_place(row, shard_name(number, ".tar"), end, origin)
        else:
            check_json(RefusedRow, row, origin=origin)
        yield row


def prepared_rows(path: Path, index: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The index rows of prepared objects of a complete set.

    Raises:
        FileNotFoundError: if the index of a shard is missing.
        ValueError: if a row is wrong, or the rows are not those of the index.
    """
    rows = read_rows(path, index["num_shards"])
    check_ids(path, rows)
    prepared, file = [row for row in rows if "sha256" in row], path / INDEX_FILE
    for name, num in (("num_shapes", len(prepared)), ("num_refused", len(rows) - len(prepared))):
        if index[name] != num:
            raise ValueError(f"{file}: {name}: is {index[name]}, the shards list {num}")
    if hashlib.sha256(as_lines(rows).encode()).hexdigest() != index["fingerprint"]:
        raise ValueError(
            f"{file}: fingerprint: the lines of the shards have been changed since; prepare the "
            "shapes again"
        )
    return prepared


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON lines file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: naming file and line, if one is no object.
    """
    check_plain(path, MAX_LINES_BYTES, ValueError)
    rows: list[dict[str, Any]] = []
    with path.open("rb") as file:
        while line := file.readline(MAX_JSON_BYTES + 1):
            origin = f"{path}:{len(rows) + 1}"
            if len(line) > MAX_JSON_BYTES:
                raise ValueError(f"{origin}: has more than {MAX_JSON_BYTES} bytes")
            row = parse_json(line, origin)
            if not isinstance(row, dict):
                raise ValueError(f"{origin}: expected an object, got {type(row).__name__}")
            rows.append(cast("dict[str, Any]", row))
    return rows


def as_lines(rows: Sequence[dict[str, Any]]) -> str:
    """Objects as JSON lines."""
    return "".join(json.dumps(row) + "\n" for row in rows)
