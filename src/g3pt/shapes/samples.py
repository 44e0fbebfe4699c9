"""One prepared shape as a piece of a tar file: the WebDataset layout.

    KEY.json          id, family, licence, split, captions, frame, quality, cameras ...
    KEY.points.npy    int16 (N, 3), KEY.normals.npy int8 (N, 3), KEY.colors.npy uint8 (N, 3)
    KEY.volume.npy    uint8 (V / 8): packed labels of the volume queries, KEY.near.npy likewise
    KEY.view-00.png   the canonical picture, KEY.view-01.png ... the others

KEY is the start of the SHA-256 of the id. The bytes depend on the content alone: no times, no
owners, one order. Members are stored as they are and begin at multiples of 512 bytes, so that
arrays can be used where they lie in a mapped file.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from g3pt.shapes.stored import ShapeRecord

END_OF_ARCHIVE = bytes(10_240)
"""What a tar file ends with."""

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
    """The name of a shape's members: file systems and tar readers take it whatever the id."""
    return hashlib.sha256(shape_id.encode()).hexdigest()[:20]


def pack_sample(record: ShapeRecord, pictures: list[bytes]) -> Sample:
    """Lay out a prepared shape."""
    arrays = {
        "points": record.points,
        "normals": record.normals,
        "colors": record.colors,
        "volume": record.volume_inside,
        "near": record.near_inside,
    }
    files = {"json": json.dumps(record.description, sort_keys=True, indent=1).encode() + b"\n"}
    files |= {f"{name}.npy": _npy(array) for name, array in arrays.items() if array is not None}
    files |= {f"view-{number:02d}.png": data for number, data in enumerate(pictures)}
    return _pack(sample_key(record.description["id"]), files)


def _pack(key: str, files: Mapping[str, bytes]) -> Sample:
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


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), version=(1, 0))
    return buffer.getvalue()


def read_array(data: memoryview) -> np.ndarray:
    """The array of an .npy member, without a copy.

    Raises:
        ValueError: if the bytes are no such file.
    """
    length = 10 + int.from_bytes(data[8:10], "little")
    shape, dtype = _header(bytes(data[:length]))
    return np.frombuffer(data, dtype, count=int(np.prod(shape)), offset=length).reshape(shape)


@lru_cache(maxsize=256)
def _header(start: bytes) -> tuple[tuple[int, ...], np.dtype[Any]]:
    buffer = io.BytesIO(start)
    if np.lib.format.read_magic(buffer) != (1, 0):
        raise ValueError("expected an .npy file of version 1.0")
    shape, by_columns, dtype = np.lib.format.read_array_header_1_0(buffer)
    if by_columns:
        raise ValueError("expected an array stored row by row")
    return shape, dtype
