"""Compressed triangle meshes, the baselines of `rate_distortion`: Draco, and a code of our own.

Both store vertices on the same lattice of 2**bits places along the box of the unit frame, so a mesh
comes back from either as the same triangles. P vertices, F faces, N numbers, B bits of a stream.
"""

import lzma
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64

from g3pt.geometry.mesh import UNIT_LONGEST_SIDE, TriangleMesh

MAX_BITS = 20
"""Three coordinates of so many bits fit one int64."""

DRACO_LEVELS = (0, 1, 10)
"""Compression levels tried; which is the smallest depends on the mesh."""

_LZMA = [{"id": lzma.FILTER_LZMA2, "preset": 9}]
_LOWEST = -UNIT_LONGEST_SIDE / 2
_RICE_BITS = 6
"""Bits that tell the parameter of a Rice code."""


def lattice_step(bits: int) -> float:
    """Distance of neighbouring lattice places, in unit-frame lengths."""
    if not 1 <= bits <= MAX_BITS:
        raise ValueError(f"bits per coordinate must lie in 1..{MAX_BITS}, got {bits}")
    return UNIT_LONGEST_SIDE / (2**bits - 1)


@dataclass(frozen=True, eq=False)
class LatticeMesh:
    """A mesh on the lattice in canonical order: equal triangles are equal arrays.

    Vertices ascend by (x, y, z); each face begins with its lowest vertex, and faces ascend.
    """

    bits: int
    """Per coordinate."""
    nodes: Int64[np.ndarray, "P 3"]
    """Lattice places of the vertices, in [0, 2**bits)."""
    faces: Int64[np.ndarray, "F 3"]

    def mesh(self) -> TriangleMesh:
        """The mesh in the unit frame."""
        return TriangleMesh(self.nodes * lattice_step(self.bits) + _LOWEST, self.faces)

    def key(self) -> bytes:
        """The same for two meshes exactly if they are the same triangles of the same lattice."""
        return bytes([self.bits]) + self.nodes.tobytes() + self.faces.tobytes()


def snap(mesh: TriangleMesh, bits: int) -> LatticeMesh:
    """Move vertices to their closest lattice places; what lies outside of the box goes onto it.

    Vertices that meet become one; faces that collapse, or are there twice, are left out.
    """
    step = lattice_step(bits)
    places = np.rint((mesh.vertices[mesh.faces.reshape(-1)] - _LOWEST) / step)
    corners = np.clip(places, 0, 2**bits - 1).astype(np.int64)
    codes, faces = np.unique(_codes(corners, bits), return_inverse=True)
    faces = faces.reshape(-1, 3).astype(np.int64)
    faces = faces[(faces != np.roll(faces, 1, axis=1)).all(axis=1)]
    used, faces = np.unique(faces, return_inverse=True)
    faces = faces.reshape(-1, 3).astype(np.int64)
    turns = (faces.argmin(axis=1)[:, None] + np.arange(3)) % 3 if len(faces) else faces
    faces = np.unique(np.take_along_axis(faces, turns, axis=1), axis=0)
    return LatticeMesh(bits, _nodes(codes[used], bits), faces)


def _codes(nodes: Int64[np.ndarray, "P 3"], bits: int) -> Int64[np.ndarray, " P"]:
    return (nodes[:, 0] << (2 * bits)) | (nodes[:, 1] << bits) | nodes[:, 2]


def _nodes(codes: Int64[np.ndarray, " P"], bits: int) -> Int64[np.ndarray, "P 3"]:
    shifts = np.array([2 * bits, bits, 0])
    return (codes[:, None] >> shifts) & (2**bits - 1)


# --- Draco -----------------------------------------------------------------------------------


def draco() -> Any:
    """The module of Draco.

    Raises:
        ImportError: naming the extra, if it is not installed.
    """
    try:
        return import_module("DracoPy")
    except ImportError:
        raise ImportError("Draco needs its package: pip install g3pt[export]") from None


def encode_draco(lattice: LatticeMesh) -> bytes:
    """The smallest Draco file of `DRACO_LEVELS`; positions and faces only."""
    mesh = lattice.mesh()
    codec = draco()
    return min(
        (
            codec.encode(
                mesh.vertices.astype(np.float32),
                mesh.faces.astype(np.uint32),
                quantization_bits=lattice.bits,
                compression_level=level,
                quantization_range=UNIT_LONGEST_SIDE,
                quantization_origin=[_LOWEST] * 3,
            )
            for level in DRACO_LEVELS
        ),
        key=len,
    )


def decode_draco(data: bytes) -> TriangleMesh:
    """The mesh in a Draco file."""
    decoded = draco().decode(data)
    return TriangleMesh.from_arrays(decoded.points, decoded.faces)


# --- our own ---------------------------------------------------------------------------------


def encode_quantised(lattice: LatticeMesh) -> bytes:
    """Vertices and indices as short as gaps between sorted numbers and a standard code make them.

    A byte of method and bits, the counts, then four streams of numbers: gaps between the vertices'
    places, gaps between the faces' lowest vertices, and the faces' other two vertices counted from
    these. Written by Rice codes, zlib or lzma, whichever is shortest.
    """
    head = _varint(len(lattice.nodes)) + _varint(len(lattice.faces))
    lowest = lattice.faces[:, 0]
    streams = [
        np.diff(_codes(lattice.nodes, lattice.bits), prepend=0),
        np.diff(lowest, prepend=0),
        lattice.faces[:, 1] - lowest,
        lattice.faces[:, 2] - lowest,
    ]
    bodies = [write(streams) for write, _ in _WRITERS]
    method = min(range(len(bodies)), key=lambda number: len(bodies[number]))
    return bytes([method * 32 + lattice.bits]) + head + bodies[method]


def decode_quantised(data: bytes) -> LatticeMesh:
    """Inverse of `encode_quantised`.

    Raises:
        ValueError: if the first byte names no method.
    """
    method, bits = divmod(data[0], 32)
    if method >= len(_WRITERS) or not 1 <= bits <= MAX_BITS:
        raise ValueError(f"not a quantised mesh: it begins with byte {data[0]}")
    num_vertices, start = _read_varint(data, 1)
    num_faces, start = _read_varint(data, start)
    _, read = _WRITERS[method]
    gaps, lowest_gaps, second, third = read(data[start:], [num_vertices] + [num_faces] * 3)
    lowest = np.cumsum(lowest_gaps)
    faces = np.stack([lowest, lowest + second, lowest + third], axis=1)
    return LatticeMesh(bits, _nodes(np.cumsum(gaps), bits), faces)


Streams = list[Int64[np.ndarray, " _"]]


def _write_rice(streams: Streams) -> bytes:
    bits = np.concatenate([_rice(values) for values in streams])
    return np.packbits(bits, bitorder="little").tobytes()


def _rice(values: Int64[np.ndarray, " N"]) -> Bool[np.ndarray, " B"]:
    """Numbers as quotients by 2**k in unary, then remainders; k is the one that takes least."""
    costs = [int((values >> k).sum()) + len(values) * k for k in range(3 * MAX_BITS)]
    k = int(np.argmin(costs))
    ends = np.cumsum((values >> k) + 1)
    unary = np.zeros(int(ends[-1]) if len(ends) else 0, dtype=bool)
    unary[ends - 1] = True
    return np.concatenate([_binary(np.array([k]), _RICE_BITS), unary, _binary(values, k)])


def _binary(values: Int64[np.ndarray, " N"], width: int) -> Bool[np.ndarray, " B"]:
    """The lowest bits of each number."""
    return ((values[:, None] >> np.arange(width)) & 1).astype(bool).reshape(-1)


def _read_rice(data: bytes, counts: list[int]) -> Streams:
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little").astype(np.int64)
    at, streams = 0, []
    for count in counts:
        k = int(bits[at : at + _RICE_BITS] @ (1 << np.arange(_RICE_BITS)))
        at += _RICE_BITS
        ends = np.flatnonzero(bits[at:])[:count]
        quotients = np.diff(ends, prepend=-1) - 1
        at += int(ends[-1]) + 1 if count else 0
        remainders = bits[at : at + count * k].reshape(count, k) @ (1 << np.arange(k))
        at += count * k
        streams.append((quotients << k) + remainders)
    return streams


def _compressor(
    compress: Callable[[bytes], bytes], expand: Callable[[bytes], bytes]
) -> tuple[Callable[[Streams], bytes], Callable[[bytes, list[int]], Streams]]:
    """A pair for `_WRITERS` from a general compressor, which gets the numbers byte by byte.

    Of each stream: how many bytes a number takes, all lowest bytes, all second bytes ...
    """

    def write(streams: Streams) -> bytes:
        parts: list[bytes] = []
        for values in streams:
            width = -(-int(values.max(initial=0)).bit_length() // 8)
            planes = values.astype("<i8").view(np.uint8).reshape(-1, 8)[:, :width].T
            parts.append(bytes([width]) + planes.tobytes())
        return compress(b"".join(parts))

    def read(data: bytes, counts: list[int]) -> Streams:
        raw, at, streams = np.frombuffer(expand(data), np.uint8), 0, []
        for count in counts:
            width = int(raw[at])
            planes = raw[at + 1 : at + 1 + width * count].reshape(width, count).astype(np.int64)
            streams.append((planes << (8 * np.arange(width))[:, None]).sum(axis=0))
            at += 1 + width * count
        return streams

    return write, read


_WRITERS = (
    (_write_rice, _read_rice),
    _compressor(
        lambda raw: zlib.compress(raw, 9, wbits=-15), lambda data: zlib.decompress(data, -15)
    ),
    _compressor(
        lambda raw: lzma.compress(raw, lzma.FORMAT_RAW, filters=_LZMA),
        lambda data: lzma.decompress(data, lzma.FORMAT_RAW, filters=_LZMA),
    ),
)
"""By number in the first byte: streams to bytes, and bytes with the counts to streams."""


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at a place, and the place after it."""
    value = shift = 0
    while data[at] > 127:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
    return value | data[at] << shift, at + 1
