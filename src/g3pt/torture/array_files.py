"""Doors that read a file of named arrays, damage to such files, and bombs of compressed data."""

import json
import lzma
import zlib
from abc import abstractmethod
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np
from safetensors.numpy import load

from g3pt.shapes.array_files import SHA256, TEXTS, array_file, joined_header, split_header
from g3pt.torture.damage import (
    FOREIGN,
    Rng,
    damaged_bytes,
    damaged_json,
    damaged_json_bytes,
    pick,
    replace_by_special,
)
from g3pt.torture.doors import Door, Hostile, Must

BOMB_BYTES = 2**30
"""Zeros that an array unpacks to; packed they are a megabyte."""


class ArrayFileDoor(Door):
    """A file of named arrays and of texts of JSON, with or without a hash."""

    file: ClassVar[str]
    """Its name."""

    @abstractmethod
    def sound(self) -> bytes:
        """A sound file with a hash."""

    @abstractmethod
    def misfitting(self, number: int, data: bytes, rng: Rng) -> tuple[str, bytes, Must]:
        """What was done to a sound file, the changed file, and what has to become of it.

        Args:
            number: 0 to 6, drawn already: chooses between kinds of damage that are no other door's.
            data: the sound file.
            rng: chooses everything else.
        """

    def write(self, folder: Path, rng: Rng) -> Hostile:
        """A file."""
        path = folder / self.file
        data = self.sound()
        must: Must = "refuse"
        match int(rng.integers(12)):
            case 0:
                signed = bool(rng.integers(2))
                what, must = f"sound, {'with' if signed else 'without'} a hash", "open"
                data = data if signed else with_texts(data, texts_of(data), signed=False)
            case 1:
                return Hostile(path, replace_by_special(path, rng), "refuse")
            case 2:
                what = pick(tuple(FOREIGN), rng)
                data = FOREIGN[what]
            case 3:
                what, changed = damaged_bytes(data, rng)
                must = "either" if changed == data else "refuse"
                data = changed
            case 4:
                what, data = with_damaged_header(data, rng)
                must = "either"
            case number:
                what, data, must = self.misfitting(number - 5, data, rng)
        path.write_bytes(data)
        return Hostile(path, what, must)


def with_damaged_header(data: bytes, rng: Rng) -> tuple[str, bytes]:
    """A safetensors file with changed values in its header, and what was done."""
    header, rest = split_header(data)
    what, changed = damaged_json(header, rng)
    return what, joined_header(changed, rest)


def texts_of(data: bytes) -> dict[str, str]:
    """The texts of a file of arrays, without its hash."""
    texts: dict[str, str] = split_header(data)[0][TEXTS]
    return {name: text for name, text in texts.items() if name != SHA256}


def with_texts(data: bytes, texts: dict[str, str], *, signed: bool = True) -> bytes:
    """A file with other texts; without a hash, as older files are, if not `signed`."""
    if signed:
        return array_file(load(data), texts)
    header, rest = split_header(data)
    return joined_header(header | {TEXTS: texts}, rest)


def with_damaged_text(data: bytes, name: str, rng: Rng) -> tuple[str, bytes]:
    """A file with a right hash, or none, and a text of JSON that was damaged, and what was done."""
    texts = texts_of(data)
    what, changed = damaged_json_bytes(json.loads(texts[name]), rng)
    texts[name] = changed.decode("latin-1")
    return f"{name}: {what}", with_texts(data, texts, signed=bool(rng.integers(2)))


def with_array(
    data: bytes, name: str, change: Callable[[np.ndarray], np.ndarray | None], *, signed: bool
) -> bytes:
    """A file of which an array was changed.

    Args:
        data: the file.
        name: of the array.
        change: from the array, as it is stored, to another; None leaves it out.
        signed: whether it has a hash, the right one.
    """
    arrays: dict[str, np.ndarray] = load(data)
    changed = change(arrays.pop(name))
    arrays |= {} if changed is None else {name: changed}
    made, texts = array_file(arrays, texts_of(data)), texts_of(data)
    return made if signed else with_texts(made, texts, signed=False)


def misfit(rng: Rng) -> tuple[str, Callable[[np.ndarray], np.ndarray | None]]:
    """A change of a row of bytes that no reader may accept, and what it does."""
    dtype = pick((np.float32, np.int64, np.bool_, np.float16), rng)
    less, more = int(rng.integers(1, 40)), rng.integers(0, 256, int(rng.integers(1, 40)), np.uint8)
    changes: list[tuple[str, Callable[[np.ndarray], np.ndarray | None]]] = [
        ("is left out", lambda old: None),
        (f"holds {dtype.__name__}", lambda old: old.astype(dtype)),
        ("has another dimension", lambda old: old[None]),
        (f"is short of {less}", lambda old: old[:-less].copy()),
        ("has more behind it", lambda old: np.concatenate([old, more])),
        ("is noise", lambda old: rng.integers(0, 256, len(old), np.uint8)),
        ("is empty", lambda old: old[:0].copy()),
    ]
    return pick(changes, rng)


def zlib_bomb(num_bytes: int) -> np.ndarray:
    """Compressed zeros, about a thousandth of them.

    Args:
        num_bytes: what it unpacks to, a multiple of 2**20.
    """
    stream = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    block = stream.compress(bytes(2**20)) + stream.flush(zlib.Z_FULL_FLUSH)
    end = b"\x03\x00"  # an empty block, the last one
    checksum = (num_bytes % 65_521) << 16 | 1  # Adler-32 of zeros
    packed = b"\x78\x9c" + block * (num_bytes >> 20) + end + checksum.to_bytes(4, "big")
    return np.frombuffer(packed, np.uint8)


@lru_cache(maxsize=1)
def lzma_bomb() -> np.ndarray:
    """Compressed zeros: 256 MiB in some tens of kilobytes."""
    packer = lzma.LZMACompressor(preset=0)
    parts = [packer.compress(bytes(2**20)) for _ in range(256)]
    return np.frombuffer(b"".join([*parts, packer.flush()]), np.uint8)


def greedy_lzma(packed: np.ndarray) -> np.ndarray:
    """The same stream, which asks for 4 GiB of memory to be unpacked; its checksums are right."""
    data = bytearray(packed.tobytes())
    block = slice(12, 20)  # behind the header of the stream: sizes, filter LZMA2, its dictionary
    data[16] = 40  # code of the largest dictionary
    data[20:24] = zlib.crc32(data[block]).to_bytes(4, "little")
    return np.frombuffer(bytes(data), np.uint8)
