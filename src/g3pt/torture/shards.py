"""Hostile folders of prepared shapes: shards, their lines and their index."""

import hashlib
import io
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from g3pt.config import ConfigError, to_json
from g3pt.shapes.shape_set import SelectionError
from g3pt.shapes.shards import (
    END_OF_ARCHIVE,
    FORMAT_VERSION,
    INDEX_FILE,
    DamagedSampleError,
    Sample,
    ShardSet,
    as_lines,
    pack_members,
    pack_sample,
    sample_key,
    shard_name,
)
from g3pt.shapes.stored import PrepareConfig, ShapeRecord, ViewsConfig
from g3pt.torture.damage import (
    FOREIGN,
    Rng,
    damaged_bytes,
    damaged_json,
    damaged_json_bytes,
    pick,
)
from g3pt.torture.doors import Must
from g3pt.torture.pictures import bomb
from g3pt.torture.prepared_folders import Files, PreparedFolder

SHAPES, PER_SHARD, SIDE = 3, 2, 16
PREPARE = PrepareConfig(num_points=32, num_volume_queries=64, num_near_queries=48)
VIEWS = ViewsConfig(num_views=1, size=SIDE)


class Shards(PreparedFolder):
    """Folders of prepared shapes."""

    name = "shards"
    promise = "prepared shapes are read as their index and config describe them, or refused"
    errors = (ValueError, ConfigError, SelectionError, DamagedSampleError, FileNotFoundError)

    def sound(self) -> Files:
        """A set of shards."""
        return sound_shards()

    def misfitting(self, number: int, files: Files, rng: Rng) -> tuple[str, Files, Must]:
        """Damaged bytes, index or rows, or parts that do not fit each other."""
        match number:
            case 0:
                name = pick([each for each in files if each != INDEX_FILE], rng)
                how, changed = damaged_bytes(files[name], rng)
                must = "refuse" if name.endswith(".jsonl") and changed != files[name] else "either"
                return f"{name}: {how}", files | {name: changed}, must
            case 1:
                what, changed = damaged_json_bytes(json.loads(files[INDEX_FILE]), rng)
                return f"{INDEX_FILE}: {what}", files | {INDEX_FILE: changed}, "either"
            case 2 | 3:
                return *_with_damaged_row(files, rng), "either"
            case _:
                return *_with_misfit(rng), "refuse"

    def enter(self, path: Path) -> None:
        """Open the set and read all of every shape."""
        shards = ShardSet(path)
        for row in range(len(shards)):
            stored = shards[shards.readable(row)]
            assert stored.points.shape == (shards.prepare.num_points, 3)
            assert stored.points.min() >= -32767 and stored.normals.min() >= -127
            stored.volume(np.arange(min(64, shards.prepare.num_volume_queries)))
            stored.near(np.arange(8), shards.prepare.near_sigmas[0])
            assert shards.description(row)["id"] == shards.shapes[row]["id"]
            assert all(isinstance(each, str) for each in shards.captions(row))
            for view in range(shards.num_views(row)):
                assert shards.picture(row, view).shape == (shards.views.size,) * 2 + (4,)


def _record(number: int, rng: Rng) -> ShapeRecord:
    shape_id = f"shape {number} é"
    return ShapeRecord(
        points=rng.integers(-32767, 32768, (PREPARE.num_points, 3), np.int16),
        normals=rng.integers(-127, 128, (PREPARE.num_points, 3), np.int8),
        colors=rng.integers(0, 256, (PREPARE.num_points, 3), np.uint8) if number else None,
        volume_inside=rng.integers(0, 256, PREPARE.num_volume_queries // 8, np.uint8),
        near_inside=rng.integers(0, 256, PREPARE.num_near_queries // 8, np.uint8),
        description={"id": shape_id, "query_key": int(rng.integers(2**63))},
    )


def _row(record: ShapeRecord, sample: Sample) -> dict[str, Any]:
    return {
        **record.description,
        "family": "box",
        "licence": "CC0-1.0",
        "captions": ["a box"],
        "volume_share": 0.25,
        "quality": {"label_error": 0.01, "solid_to_source": 0.001},
        "num_faces": 12,
        "extents": [1.0, 2.0, 0.5],
        "split": "train",
        "size": len(sample.data),
        "sha256": sample.sha256,
        "members": [list(member) for member in sample.members],
        "key": sample_key(record.description["id"]),
    }


@lru_cache(maxsize=1)
def _sound_shapes() -> tuple[tuple[ShapeRecord, Sample], ...]:
    rng = np.random.default_rng(0)
    shapes: list[tuple[ShapeRecord, Sample]] = []
    for number in range(SHAPES):
        record = _record(number, rng)
        pictures = [picture_file(rng.integers(0, 256, (SIDE, SIDE, 4), np.uint8)) for _ in range(2)]
        shapes.append((record, pack_sample(record, pictures)))
    return tuple(shapes)


def picture_file(pixels: np.ndarray) -> bytes:
    """A PNG."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "png")
    return content.getvalue()


def shards_of(shapes: list[tuple[dict[str, Any], bytes]]) -> Files:
    """The files of a set.

    Args:
        shapes: the row, without its place, and the sample of each shape.
    """
    files, lines = Files(), ""
    refused = {"id": "gone", "path": "gone.glb", "stage": "read", "code": "missing"}
    for number, first in enumerate(range(0, len(shapes), PER_SHARD)):
        rows: list[dict[str, Any]] = [] if number else [{**refused, "message": "no such file"}]
        tar, shard = b"", shard_name(number, ".tar")
        for row, data in shapes[first : first + PER_SHARD]:
            rows.append({**row, "shard": shard, "offset": len(tar)})
            tar += data
        files |= {
            shard: tar + END_OF_ARCHIVE,
            shard_name(number, ".jsonl"): as_lines(rows).encode(),
        }
        lines += as_lines(rows)
    index = {
        "format_version": FORMAT_VERSION,
        "fingerprint": hashlib.sha256(lines.encode()).hexdigest(),
        "num_shards": -(-len(shapes) // PER_SHARD),
        "num_shapes": len(shapes),
        "num_refused": 1,
        "config": {
            "source": {"kind": "folder", "path": "meshes"},
            "prepare": to_json(PREPARE),
            "views": to_json(VIEWS),
            "samples_per_shard": PER_SHARD,
        },
    }
    return files | {INDEX_FILE: json.dumps(index).encode()}


@lru_cache(maxsize=1)
def sound_shards() -> Files:
    """The files of a set of three shapes in two shards."""
    return shards_of([(_row(record, sample), sample.data) for record, sample in _sound_shapes()])


def _with_damaged_row(files: Files, rng: Rng) -> tuple[str, Files]:
    """A row that was changed, and an index that agrees with it."""
    names = [name for name in files if name.endswith(".jsonl")]
    rows = {name: [json.loads(line) for line in files[name].splitlines()] for name in names}
    name = pick(names, rng)
    what, rows[name] = damaged_json(rows[name], rng, changes=int(rng.integers(1, 3)))
    lines = {each: "".join(json.dumps(row) + "\n" for row in rows[each]) for each in names}
    index = json.loads(files[INDEX_FILE])
    index["fingerprint"] = hashlib.sha256("".join(lines.values()).encode()).hexdigest()
    changed = {each: text.encode() for each, text in lines.items()}
    return f"{name}: {what}", files | changed | {INDEX_FILE: json.dumps(index).encode()}


def with_member(name: str, content: bytes | None) -> Files:
    """The files of a set of which one shape has another member, all hashes right.

    Args:
        name: of the member, such as `points.npy`.
        content: its bytes; None leaves it out.
    """
    shapes = [(_row(record, sample), sample.data) for record, sample in _sound_shapes()]
    record, sample = _sound_shapes()[1]
    members = {each: sample.data[at : at + size] for each, at, size in sample.members}
    members = {each: one for each, one in members.items() if each != name or content is not None}
    if content is not None:
        members[name] = content
    changed = pack_members(sample_key(record.description["id"]), members)
    shapes[1] = (_row(record, changed), changed.data)
    return shards_of(shapes)


def npy(array: np.ndarray) -> bytes:
    """An .npy file."""
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    return content.getvalue()


def _with_misfit(rng: Rng) -> tuple[str, Files]:
    """A whole and signed set with a member that does not fit."""
    record, sample = _sound_shapes()[1]
    arrays = {
        "points.npy": record.points,
        "normals.npy": record.normals,
        "volume.npy": record.volume_inside,
        "near.npy": record.near_inside,
    }
    name = pick(tuple(arrays), rng)
    match int(rng.integers(8)):
        case 0:
            name = pick([each for each, _, _ in sample.members if each != "colors.npy"][:-1], rng)
            return f"no {name}", with_member(name, None)
        case 1:
            what = pick(tuple(FOREIGN), rng)
            name = pick(("json", "view-00.png", *arrays), rng)
            return f"{name}: {what}", with_member(name, FOREIGN[what])
        case 2:
            what, data = bomb(rng)
            return f"view-00.png: {what}", with_member("view-00.png", data)
        case 3:
            side = pick((1, SIDE + 1), rng)
            data = picture_file(np.zeros((side, SIDE, 4), np.uint8))
            return f"a picture of {SIDE} x {side}", with_member("view-01.png", data)
        case 4:
            other = json.dumps({"id": "another"}).encode()
            return "the description of another shape", with_member("json", other)
        case 5:
            name, least = pick((("points.npy", -32768), ("normals.npy", -128)), rng)
            changed = arrays[name].copy()
            changed[int(rng.integers(len(changed))), int(rng.integers(3))] = least
            return f"{name}: a number is {least}", with_member(name, npy(changed))
        case 6:
            how, content = damaged_bytes(npy(arrays[name])[:64], rng)
            return f"{name}: a header with {how}", with_member(name, content)
        case _:
            what, changed = pick(_misfits(arrays[name]), rng)
            return f"{name}: {what}", with_member(name, npy(changed))


def _misfits(array: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Whole arrays that do not fit where one is expected."""
    return [
        ("one row less", array[:-1]),
        ("one row more", np.concatenate([array, array[:1]])),
        ("no row", array[:0]),
        ("one more dimension", array[None]),
        ("column by column", np.asfortranarray(np.tile(array.reshape(-1, 1), 3))),
        ("NaN", np.full(array.shape, np.nan, np.float32)),
        ("wide integers", array.astype(np.int64)),
        ("bytes in the other order", array.astype(">i2")),
        ("text", np.full(array.shape, "a")),
    ]
