"""Hostile packs of prepared shapes: their index and their compressed arrays."""

import hashlib
import json
import tempfile
import zlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
from safetensors.numpy import load, save

from g3pt.config import ConfigError
from g3pt.shapes.packs import DATA_FILE, INDEX_FILE, PackConfig, PackedShapes, write_pack
from g3pt.shapes.shape_set import SelectionError
from g3pt.shapes.shards import ShardSet
from g3pt.torture.array_files import BOMB_BYTES, with_damaged_header, zlib_bomb
from g3pt.torture.damage import (
    Rng,
    damaged_bytes,
    damaged_json_bytes,
    pick,
)
from g3pt.torture.doors import Must
from g3pt.torture.prepared_folders import Files, PreparedFolder, write_files
from g3pt.torture.shards import SHAPES, sound_shards


class Packs(PreparedFolder):
    """Packs of prepared shapes."""

    name = "packs"
    promise = "arrays and pictures of a pack are of the size and range that its index says"
    errors = (ValueError, ConfigError, SelectionError, FileNotFoundError)

    def sound(self) -> Files:
        """A pack."""
        return sound_pack()

    def signed(self, files: Files, changed: str) -> Files:
        """With the hash of the arrays in the index, if they are what was changed."""
        return _signed(files) if changed == DATA_FILE else files

    def misfitting(self, number: int, files: Files, rng: Rng) -> tuple[str, Files, Must]:
        """Damaged bytes, index or header, or parts that do not fit each other."""
        match number:
            case 0:
                how, changed = damaged_bytes(files[DATA_FILE], rng)
                must = "either" if changed == files[DATA_FILE] else "refuse"
                return f"{DATA_FILE}: {how}", files | {DATA_FILE: changed}, must
            case 1 | 2:
                what, changed = damaged_json_bytes(json.loads(files[INDEX_FILE]), rng)
                return what, files | {INDEX_FILE: changed}, "either"
            case 3:
                what, changed = with_damaged_header(files[DATA_FILE], rng)
                return what, _signed(files | {DATA_FILE: changed}), "either"
            case _:
                return *_with_pack_misfit(files, rng), "refuse"

    def enter(self, path: Path) -> None:
        """Open the pack and read all of every shape."""
        pack = PackedShapes(path)
        for row in range(len(pack)):
            points, normals = pack.surface(row)
            assert points.shape == normals.shape == (pack.config.num_points, 3)
            assert points.min() >= -32767 and normals.min() >= -127
            assert all(isinstance(each, str) for each in pack.captions(row))
            for view in range(pack.num_views(row)):
                picture = pack.picture(row, view)
                assert picture.shape == (len(picture), len(picture), 4)


@lru_cache(maxsize=1)
def sound_pack() -> Files:
    """The files of a pack of the shapes of `sound_shards`."""
    with tempfile.TemporaryDirectory() as folder:
        shards, pack = Path(folder) / "shards", Path(folder) / "pack"
        shards.mkdir()
        write_files(shards, sound_shards())
        write_pack(ShardSet(shards), pack, PackConfig(num_points=8, num_volume_queries=32))
        return {path.name: path.read_bytes() for path in sorted(pack.iterdir())}


def _signed(files: Files) -> Files:
    """The files of a pack whose index has the hash of its data."""
    index = json.loads(files[INDEX_FILE])
    index["data_sha256"] = hashlib.sha256(files[DATA_FILE]).hexdigest()
    return files | {INDEX_FILE: json.dumps(index).encode()}


def with_array(name: str, change: Callable[[np.ndarray], np.ndarray | None]) -> Files:
    """The files of a pack of which an array was changed, with the right hash.

    Args:
        name: such as `points`.
        change: from the compressed bytes to others; None leaves the array out.
    """
    files = sound_pack()
    arrays: dict[str, np.ndarray] = load(files[DATA_FILE])
    changed = change(arrays.pop(name))
    return _signed(files | {DATA_FILE: save(arrays | ({} if changed is None else {name: changed}))})


def _with_pack_misfit(files: Files, rng: Rng) -> tuple[str, Files]:
    """A whole and signed pack with an array that does not fit, or an index that asks for more."""
    name = pick(("points", "normals", "volume", "near"), rng)
    match int(rng.integers(9)):
        case 0:
            name = pick((name, "pictures"), rng)
            return f"no {name}", with_array(name, lambda _: None)
        case 1:
            return f"{name} unpacks to a gibibyte", with_array(
                name, lambda _: zlib_bomb(BOMB_BYTES)
            )
        case 2:
            cut = zlib_bomb(2**20)[: int(rng.integers(2, 100))]
            return f"{name} unpacks to more, and is cut", with_array(name, lambda _: cut)
        case 3:
            index = json.loads(files[INDEX_FILE])
            part, field = pick(
                (
                    ("config", "num_points"),
                    ("prepare", "num_near_queries"),
                    ("config", "num_volume_queries"),
                ),
                rng,
            )
            index[part][field] = int(pick((2**20, 2**24, 3 * 2**30, 2**62 - 2**62 % 24), rng))
            if field in index["prepare"]:
                index["prepare"][field] = index[part][field]
            what = f"{part}.{field} = {index[part][field]}"
            return what, files | {INDEX_FILE: json.dumps(index).encode()}
        case 4:
            dtype = pick((np.float32, np.int64, np.bool_, np.float16), rng)
            return f"{name} holds {dtype.__name__}", with_array(name, lambda old: old.astype(dtype))
        case 5:
            return f"{name} has another dimension", with_array(name, lambda old: old[None])
        case 6:
            less = int(rng.integers(1, 60))
            return f"pictures are short of {less}", with_array(
                "pictures", lambda old: old[:-less].copy()
            )
        case 7:
            more = rng.integers(0, 256, int(rng.integers(1, 40)), np.uint8)
            return f"{name} has more behind it", with_array(
                name, lambda old: np.concatenate([old, more])
            )
        case _:
            name, dtype, least = pick((("points", "<i2", -32768), ("normals", "i1", -128)), rng)
            worst = np.full((SHAPES, 8, 3), least, dtype)
            planes = worst.view(np.uint8).reshape(-1, worst.itemsize).T
            packed = np.frombuffer(zlib.compress(planes.tobytes()), np.uint8)
            return f"{name} hold {least}", with_array(name, lambda _: packed)
