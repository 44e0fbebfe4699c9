"""Files of named arrays and texts (safetensors), of which nothing is read before it is checked.

A file may claim arrays of any size. What is expected is told first: the size of the file, the names
of its arrays, and their number formats and shapes, or how many bytes they may have at most.
"""

import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from g3pt.files import check_plain
from g3pt.hashes import arrays_sha256

MAX_HEADER_BYTES = 2**16
"""Bytes of a file beside those of its arrays, where its texts are short."""
SHA256 = "sha256"
"""Name of the text that is the hash of everything else in the file."""
TEXTS = "__metadata__"
"""Where the header of a safetensors file has its texts."""
_ALIGNMENT = 8


def array_file(arrays: Mapping[str, np.ndarray], texts: Mapping[str, str]) -> bytes:
    """The bytes of a file of arrays and texts, with the hash of both.

    The same contents give the same bytes; safetensors itself writes texts in random order.
    """
    header, rest = split_header(save(dict(arrays)))
    told = {**texts, SHA256: arrays_sha256(arrays, texts)}
    return joined_header({TEXTS: dict(sorted(told.items())), **header}, rest)


def split_header(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The JSON header of a safetensors file, and the bytes of its arrays."""
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]), data[end:]


def joined_header(header: Mapping[str, Any], rest: bytes) -> bytes:
    """Inverse of `split_header`."""
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text + rest


@dataclass(frozen=True, eq=False)
class ArrayFile:
    """An opened file of arrays. All errors are `ValueError` and name file and array."""

    path: str | os.PathLike[str]
    texts: dict[str, str]
    """What the file tells beside its arrays."""
    _opened: Any

    def check_texts(self, expected: Collection[str]) -> None:
        """Refuse other texts than these; the hash may be there or not."""
        if (names := set(self.texts) - {SHA256}) != set(expected):
            raise ValueError(
                f"{self.path}: metadata: holds {sorted(names)}, expected {sorted(expected)}"
            )

    def check_names(self, expected: Collection[str]) -> None:
        """Refuse a file that holds other arrays than these."""
        if (names := set(self._opened.keys())) != set(expected):
            raise ValueError(f"{self.path}: holds {sorted(names)}, expected {sorted(expected)}")

    def check_bytes(self, name: str, most: int, *, least: int = 0, by: str = "the file") -> None:
        """Refuse an array that is no row of at most so many bytes.

        Args:
            name: of the array.
            most: bytes that it may have.
            least: bytes that it must have.
            by: what follows from, for messages.
        """
        dtype, shape = self.kind(name)
        if dtype != "U8" or len(shape) != 1:
            raise ValueError(f"{self.path}: {name}: holds {dtype} of {shape}, expected bytes")
        if not least <= shape[0] <= most:
            raise ValueError(f"{self.path}: {name}: has {shape[0]} bytes, {by} leaves it {most}")

    def check_shape(self, name: str, dtype: str, shape: list[int]) -> None:
        """Refuse an array of another number format or shape than this.

        Args:
            name: of the array.
            dtype: as safetensors calls it, such as `I64`.
            shape: as it must be.
        """
        if (found := self.kind(name)) != (dtype, shape):
            raise ValueError(
                f"{self.path}: {name}: holds {found[0]} of {found[1]}, expected {dtype} of {shape}"
            )

    def kind(self, name: str) -> tuple[str, list[int]]:
        """Number format, as safetensors calls it, and shape of an array that is not yet read."""
        part = self._opened.get_slice(name)
        return part.get_dtype(), part.get_shape()

    def read(self, name: str) -> np.ndarray:
        """Read a whole array."""
        return self._opened.get_tensor(name)

    def check_sha256(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Refuse contents that are not those of the hash; older files have none.

        Args:
            arrays: all that the file holds.
        """
        texts = {name: text for name, text in self.texts.items() if name != SHA256}
        if SHA256 in self.texts and self.texts[SHA256] != arrays_sha256(arrays, texts):
            raise ValueError(f"{self.path}: is damaged: it does not have the sha256 that it tells")


@contextmanager
def opened_arrays(path: str | os.PathLike[str], most: int) -> Iterator[ArrayFile]:
    """Open a file of arrays.

    Args:
        path: the file.
        most: bytes that it may have.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is no plain file of that size, or not of this format.
    """
    check_plain(path, most, ValueError)
    try:
        with safe_open(path, framework="numpy") as opened:
            yield ArrayFile(path, opened.metadata() or {}, opened)
    except SafetensorError as error:
        raise ValueError(f"{path}: is not a safetensors file ({error})") from None
