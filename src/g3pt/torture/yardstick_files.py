"""Hostile yardsticks: their header, their arrays and their pictures."""

import io
import tempfile
import zlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import load

from g3pt.config import ConfigError
from g3pt.shapes.array_files import array_file
from g3pt.shapes.stored import compress_planes
from g3pt.shapes.yardstick import Yardstick, load_yardstick, save_yardstick
from g3pt.torture.array_files import (
    BOMB_BYTES,
    ArrayFileDoor,
    misfit,
    texts_of,
    with_array,
    with_damaged_text,
    zlib_bomb,
)
from g3pt.torture.damage import FOREIGN, Rng, pick
from g3pt.torture.doors import Must
from g3pt.torture.pictures import bomb
from g3pt.torture.shards import picture_file

OBJECTS, POINTS, QUERIES, SIDE = 3, 16, 64, 16
NAME = "known.safetensors"


class Yardsticks(ArrayFileDoor):
    """Files of held-out objects to measure generators with."""

    name = "yardsticks"
    promise = "arrays and pictures of a yardstick have the size and range that its header says"
    errors = (ValueError, ConfigError, FileNotFoundError)
    file = NAME

    def sound(self) -> bytes:
        """A yardstick of noise."""
        return sound_yardstick()

    def misfitting(self, number: int, data: bytes, rng: Rng) -> tuple[str, bytes, Must]:
        """A damaged text, wrong pictures, or arrays that do not fit each other."""
        match number:
            case 0 | 1:
                return *with_damaged_text(data, "yardstick", rng), "either"
            case 2 | 3:
                return *_with_wrong_pictures(data, rng), "refuse"
            case _:
                return *_with_misfit(data, rng), "refuse"

    def enter(self, path: Path) -> None:
        """Read the yardstick and use all of it."""
        read = load_yardstick(path)
        points, normals = read.surface
        assert points.shape == normals.shape and points.shape[0] == len(read)
        assert np.abs(points).max() <= 1 and np.abs(normals).max() <= 1
        assert read.queries.shape == (read.inside_BQ.shape[1], 3)
        assert read.pictures_BSS4.shape[1] == read.pictures_BSS4.shape[2]
        for texts in (read.ids, read.families, read.captions):
            assert all(isinstance(each, str) for each in texts)


@lru_cache(maxsize=1)
def sound_yardstick() -> bytes:
    """A yardstick of noise."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / NAME
        made = Yardstick(
            name="known",
            ids=tuple(f"object {number} é" for number in range(OBJECTS)),
            families=("box",) * OBJECTS,
            captions=("a box", "", "another box"),
            flagged_B=np.array([False, True, False]),
            pictures_BSS4=rng.integers(0, 256, (OBJECTS, SIDE, SIDE, 4), np.uint8),
            points_BN3=rng.integers(-32767, 32768, (OBJECTS, POINTS, 3), np.int16),
            normals_BN3=rng.integers(-127, 128, (OBJECTS, POINTS, 3), np.int8),
            inside_BQ=rng.integers(0, 2, (OBJECTS, QUERIES)) > 0,
        )
        save_yardstick(path, made)
        return path.read_bytes()


def with_pictures(change: Callable[[list[bytes]], list[bytes]]) -> bytes:
    """A signed yardstick of which the picture files were changed, with the right lengths.

    Args:
        change: from the files to others.
    """
    data = sound_yardstick()
    arrays: dict[str, np.ndarray] = load(data)
    ends = arrays["picture_lengths"].cumsum()
    files = np.split(arrays["pictures"], ends[:-1])
    changed = change([file.tobytes() for file in files])
    arrays["picture_lengths"] = np.array([len(file) for file in changed], np.int64)
    arrays["pictures"] = np.frombuffer(b"".join(changed), np.uint8)
    return array_file(arrays, texts_of(data))


@lru_cache(maxsize=1)
def large_picture() -> bytes:
    """Sixteen megabytes of pixels in two hundred bytes."""
    content = io.BytesIO()
    Image.new("RGBA", (2048, 2048)).save(content, "webp", lossless=True)
    return content.getvalue()


def _with_wrong_pictures(data: bytes, rng: Rng) -> tuple[str, bytes]:
    """A whole yardstick with a picture that does not fit."""
    number = int(rng.integers(OBJECTS))

    def replaced(file: bytes) -> bytes:
        return with_pictures(lambda old: [*old[:number], file, *old[number + 1 :]])

    match int(rng.integers(6)):
        case 0:
            what, file = bomb(rng)
            return f"picture {number}: {what}", replaced(file)
        case 1:
            what = pick(tuple(FOREIGN), rng)
            return f"picture {number}: {what}", replaced(FOREIGN[what])
        case 2:
            side = pick((1, SIDE + 1), rng)
            file = picture_file(np.zeros((side, SIDE, 4), np.uint8))
            return f"picture {number}: {side} x {SIDE}", replaced(file)
        case 3:
            side = pick((1, SIDE + 1), rng)
            file = picture_file(np.zeros((side, side, 4), np.uint8))
            return f"picture {number}: {side} x {side}", replaced(file)
        case 4:
            large = with_pictures(lambda old: [large_picture()] * len(old))
            return "pictures have thousands of times their bytes", large
        case _:
            value = int(pick((0, -1, 2**62, -(2**63), 1), rng))
            what = f"length of picture {number} is {value}"

            def change(old: np.ndarray) -> np.ndarray:
                lengths = old.copy()
                lengths[number] = value
                return lengths

            return what, with_array(data, "picture_lengths", change, signed=True)


def _with_misfit(data: bytes, rng: Rng) -> tuple[str, bytes]:
    """A yardstick with an array that does not fit."""
    name, signed = pick(("points", "normals"), rng), bool(rng.integers(2))
    match int(rng.integers(8)):
        case 0:
            what, change = "unpacks to a gibibyte", lambda _: zlib_bomb(BOMB_BYTES)
        case 1:
            cut = zlib_bomb(2**20)[: int(rng.integers(2, 100))]
            what, change = "unpacks to more, and is cut", lambda _: cut
        case 2:
            name, dtype, least = pick(
                (("points", np.int16, -32768), ("normals", np.int8, -128)), rng
            )
            worst = compress_planes(np.full((3, OBJECTS, POINTS), least, dtype))
            what, change = f"hold {least}", lambda _: worst
        case 3:
            short = np.frombuffer(zlib.compress(bytes(int(rng.integers(40)))), np.uint8)
            what, change = "unpacks to less", lambda _: short
        case 4:
            name, what, change = "flagged", "holds 2", lambda old: old + np.uint8(2)
        case 5:
            name, what, change = "inside", "has no labels", lambda old: old[:, :0].copy()
        case 6:
            name = pick(("inside", "flagged", "picture_lengths"), rng)
            what, change = "has a row more", lambda old: np.concatenate([old, old[:1]])
        case _:
            name = pick(("points", "normals", "pictures"), rng)
            what, change = misfit(rng)
    return f"{name} {what}", with_array(data, name, change, signed=signed)
