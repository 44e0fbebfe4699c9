"""From the bytes of any mesh file to a mesh, or to a `MeshError` with its reason.

What a header declares is compared with the bytes present before anything is parsed. GLB, glTF, OBJ
and 3MF have readers of their own; PLY, OFF and ASCII STL are then parsed by trimesh.
"""

import logging
import os
import re
import threading
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
import trimesh
from jaxtyping import UInt8
from trimesh.resolvers import Resolver

from g3pt.geometry.formats.gltf import check_glb_header, parse_gltf
from g3pt.geometry.formats.limits import (
    MAX_FILE_BYTES,
    Companions,
    References,
    check_counts,
    read_regular_file,
)
from g3pt.geometry.formats.obj import parse_obj
from g3pt.geometry.formats.textures import Pictures, Pixels, texture_colors
from g3pt.geometry.formats.threemf import parse_3mf
from g3pt.geometry.triangles import GltfColors, MeshError, TriangleMesh, concatenate

_trimesh: Any = trimesh  # its own annotations are partial

logger = logging.getLogger(__name__)
OnNote = Callable[[str], None]
"""Called with one line for each thing that is missing from a mesh, such as a texture."""

MESH_SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl", ".off", ".3mf")
"""Formats that are read."""

LARGEST_COORDINATE = 1e100
"""Largest accepted absolute coordinate; beyond it areas and volumes overflow."""

_NO_TRIANGLES = "empty, no triangles found in it"
_HEAD_BYTES, _LOOK_BYTES = 2**16, 2**20
_ZIP_END_BYTES = 2**16 + 22
_MOST_ZEROS = {".obj": 4096, ".off": 4096, ".gltf": 4096, ".stl": 2**16, ".ply": 2**18}
"""Zero bytes in a row that files of a format cannot have: text has none, in binary STL they would
be a thousand triangles in the origin, in binary PLY some ten thousand points."""

_SIGNATURES = (
    (re.compile(rb"glTF"), (".glb", ".gltf"), "GLB"),
    (re.compile(rb"ply\s"), (".ply",), "PLY"),
    (re.compile(rb"PK\x03\x04"), (".3mf",), "ZIP or 3MF"),
    (re.compile(rb"\s*(ST)?C?N?4?n?OFF[\s\d]"), (".off",), "OFF"),
    (re.compile(rb"\s*<(!doctype html|html)", re.IGNORECASE), (), "HTML"),
    (re.compile(rb"\s*<\?xml"), (), "XML"),
    (re.compile(rb"version https://git-lfs"), (), "Git LFS pointer"),
)


def parse_mesh(
    data: bytes,
    file_type: str,
    *,
    name: str,
    companions: Companions | None = None,
    gltf_colors: GltfColors = "linear",
    on_note: OnNote = logger.warning,
) -> TriangleMesh:
    """Read a mesh from bytes, as one mesh in source space.

    All parts of a scene are placed by their transforms and joined. Vertices stay as the file has
    them. Colours come from the vertices and the materials, and are sRGB display values whatever
    the file holds; None if the file has neither.

    Args:
        data: the whole file.
        file_type: its suffix, with or without the dot.
        name: what errors call it.
        companions: reads the files that this one refers to; None if there are none.
        gltf_colors: what COLOR_0 of a GLB or glTF file holds; other formats hold sRGB.
        on_note: called with one line for each thing that is missing, such as a texture; by default
            it is logged as a warning.

    Raises:
        MeshError: whatever is wrong with it; `code` says what kind of wrong.
    """
    references = References(companions)
    try:
        suffix = known_suffix(file_type)
        if len(data) > MAX_FILE_BYTES:
            raise MeshError(f"{len(data)} bytes, expected at most {MAX_FILE_BYTES}", "too_large")
        if not data:
            raise MeshError("an empty file", "cut_off")
        _check_beginning(data[:_HEAD_BYTES], len(data), suffix)
        if (most := _most_zeros(data[:_HEAD_BYTES], suffix)) is not None:
            _check_zeros(data, most, 0)
        with np.errstate(all="ignore"):  # values that are not finite get their own message
            mesh = _parsed(data, suffix, references, gltf_colors)
        _check_usable(mesh)
    except MeshError as error:
        raise MeshError(f"{name}: {error}", error.code) from None
    except MemoryError:
        raise MeshError(f"{name}: there is not enough memory to read it", "too_large") from None
    except Exception as error:  # a foreign file can make a parser raise anything
        reason = (" ".join(str(error).split()) or type(error).__name__)[:150]
        reason = f"unknown or missing {reason}" if isinstance(error, KeyError) else reason
        kind = file_type.lstrip(".").upper()
        raise MeshError(f"{name}: not a readable {kind} file ({reason})") from error
    if references.lost:
        more = len(references.lost) - 3
        listed = ", ".join(references.lost[:3]) + (f" and {more} others" if more > 0 else "")
        on_note(f"{name}: {listed}; read without")
    return mesh


def read_mesh_file(path: str | os.PathLike[str], suffix: str) -> bytes:
    """Read a mesh file; what cannot be one is refused before it is in memory.

    Args:
        path: the file.
        suffix: one of `MESH_SUFFIXES`.

    Raises:
        MeshError: if it is no regular file, too large, or not as a file of its format must be.
    """

    def look(file: BinaryIO, size: int) -> None:
        head = file.read(_HEAD_BYTES)
        if size:
            _check_beginning(head, size, suffix)
        if suffix == ".3mf":
            file.seek(max(size - _ZIP_END_BYTES, 0))
            if b"PK\x05\x06" not in file.read():
                raise MeshError("not a whole zip archive (its end is missing)", "cut_off")
        if (most := _most_zeros(head, suffix)) is not None:
            file.seek(0)
            for start in range(0, size, _LOOK_BYTES):
                _check_zeros(file.read(_LOOK_BYTES), most, start)

    return read_regular_file(path, look)


def known_suffix(suffix: str) -> str:
    """Give a suffix in lower case and with its dot.

    Raises:
        MeshError: with code `unknown_format`, if no such format is read.
    """
    dotted = "." + suffix.lower().lstrip(".")
    if dotted not in MESH_SUFFIXES:
        raise MeshError(
            f"unknown mesh format, expected one of {', '.join(MESH_SUFFIXES)}", "unknown_format"
        )
    return dotted


def _check_beginning(head: bytes, size: int, suffix: str) -> None:
    """Refuse by the first bytes of a file, and its size, what is not as its format must be."""
    _check_signature(head, suffix)
    match suffix:
        case ".glb":
            check_glb_header(head, size)
        case ".stl" if not _is_text_stl(head):
            _check_stl_header(head, size)
        case ".ply" if b"end_header" not in head:
            raise MeshError("cut off, its header has no end", "cut_off")
        case _:
            pass


def _most_zeros(head: bytes, suffix: str) -> int | None:
    """Zero bytes in a row that a file cannot have; None if it can have any number."""
    is_text = suffix == ".ply" and re.search(rb"^format\s+ascii", head, re.MULTILINE)
    return _MOST_ZEROS.get(".obj" if is_text else suffix)


def _check_zeros(data: bytes, most: int, start: int) -> None:
    """Refuse long runs of zero bytes, which unfinished copies and holes in files have."""
    at = data.find(bytes(most))
    if at >= 0:
        raise MeshError(
            f"cut off, it has {most} zero bytes in a row from byte {start + at} on, as a copy "
            "that did not finish has",
            "cut_off",
        )


def _check_signature(data: bytes, suffix: str) -> None:
    """Refuse files that begin as another format does: some parsers would find triangles in them."""
    for pattern, suffixes, kind in _SIGNATURES:
        if suffix not in suffixes and pattern.match(data[:64]):
            raise MeshError(f"this is {kind}, expected the format of its suffix {suffix}")
    required = {".glb": b"glTF", ".ply": b"ply", ".3mf": b"PK"}.get(suffix, b"")
    if not data.startswith(required):
        letters = required.decode()
        raise MeshError(f"not a {suffix[1:].upper()} file, it does not begin with {letters}")


def _parsed(
    data: bytes, suffix: str, references: References, gltf_colors: GltfColors
) -> TriangleMesh:
    match suffix:
        case ".glb" | ".gltf":
            return parse_gltf(data, references, gltf_colors=gltf_colors)
        case ".obj":
            return parse_obj(data, references)
        case ".3mf":
            return parse_3mf(data)
        case ".stl":
            return _parsed_stl(data)
        case ".ply":
            _check_ply_header(data)
            return _parsed_by_trimesh(data, suffix, references)
        case _:
            _check_off_lines(data)
            return _parsed_by_trimesh(data, suffix, references)


def _check_usable(mesh: TriangleMesh) -> None:
    if mesh.is_empty:
        raise MeshError(_NO_TRIANGLES, "no_triangles")
    check_counts(len(mesh.vertices), len(mesh.faces))
    if mesh.faces.min() < 0 or mesh.faces.max() >= len(mesh.vertices):
        message = f"a face names a vertex beyond the {len(mesh.vertices)} there are"
        raise MeshError(message, "bad_indices")
    most = LARGEST_COORDINATE  # comparisons with NaN are false
    usable = (mesh.vertices >= -most) & (mesh.vertices <= most)
    broken = int((~usable).any(axis=1).sum())
    if broken:
        raise MeshError(
            f"{broken} of {len(mesh.vertices)} vertices have NaN or infinite coordinates, "
            f"or some beyond {LARGEST_COORDINATE:g}",
            "not_finite",
        )


# --- STL -----------------------------------------------------------------------------------


def _is_text_stl(head: bytes) -> bool:
    return head.lstrip()[:5].lower() == b"solid" and b"facet" in head[:4096].lower()


def _check_stl_header(head: bytes, size: int) -> int:
    """The number of faces of a binary STL file, which must have bytes for them."""
    if size < 84:
        raise MeshError(f"cut off, {size} bytes are less than an STL header", "cut_off")
    num = int.from_bytes(head[80:84], "little")
    check_counts(3 * num, num)
    if size < 84 + 50 * num:
        message = f"cut off, {num} faces need {84 + 50 * num} bytes, there are {size}"
        raise MeshError(message, "cut_off")
    if num == 0:
        raise MeshError(_NO_TRIANGLES, "no_triangles")
    return num


def _parsed_stl(data: bytes) -> TriangleMesh:
    if _is_text_stl(data[:_HEAD_BYTES]):
        if b"endsolid" not in data[-4096:].lower():
            raise MeshError("cut off, there is no `endsolid` at its end", "cut_off")
        return _parsed_by_trimesh(data, ".stl", References(None))
    num = _check_stl_header(data[:84], len(data))
    layout = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("extra", "<u2")])
    corners = np.frombuffer(data, layout, num, 84)["corners"]
    return TriangleMesh.from_arrays(corners.reshape(-1, 3), np.arange(3 * num).reshape(-1, 3))


# --- PLY and OFF ---------------------------------------------------------------------------

_PLY_BYTES = {
    **dict.fromkeys(("char", "uchar", "int8", "uint8"), 1),
    **dict.fromkeys(("short", "ushort", "int16", "uint16"), 2),
    **dict.fromkeys(("int", "uint", "float", "int32", "uint32", "float32"), 4),
    **dict.fromkeys(("double", "float64", "int64", "uint64"), 8),
}


def _check_ply_header(data: bytes) -> None:
    """Compare the declared elements with the bytes (or lines) that follow the header."""
    header, found, _ = data[:65536].partition(b"end_header")
    if not found:
        raise MeshError("cut off, its header has no end", "cut_off")
    num_lines = needed = row_bytes = count = 0
    for line in header.decode("latin-1").splitlines():
        words = line.split()
        if words[:1] == ["element"]:
            needed += count * row_bytes
            count, row_bytes = int(words[2]), 0
            check_counts(count, count if words[1] == "face" else 0)
            num_lines += count
        elif words[:2] == ["property", "list"]:
            row_bytes += _PLY_BYTES[words[2]]  # a list may be empty
        elif words[:1] == ["property"]:
            row_bytes += _PLY_BYTES[words[1]]
    needed += count * row_bytes
    num_bytes = len(data) - len(header) - len(found) - 1
    if b"format ascii" in header:
        needed = num_lines
        num_bytes = data.count(b"\n") + data.count(b"\r") - header.count(b"\n")
    if num_bytes < needed:
        raise MeshError(
            f"cut off, its elements need {needed} bytes or lines, there are {num_bytes}", "cut_off"
        )


def _check_off_lines(data: bytes) -> None:
    """Compare the declared counts with the lines there are."""
    text = data.decode("utf-8", "replace")
    lines = [line.partition("#")[0] for line in text.splitlines()]
    lines = [line for line in lines if line.strip()]
    header, _, glued = lines[0].partition("OFF") if lines else ("", "", "")
    body = ([glued] if glued.strip() else []) + lines[1:]
    if not lines or "OFF" not in lines[0] or header.strip() not in ("", "C", "N", "CN", "ST"):
        raise MeshError("not an OFF file, it does not begin with OFF")
    if not body or len(body[0].split()) < 2:
        raise MeshError("an OFF file without its counts", "cut_off")
    num_vertices, num_faces = (int(word) for word in body[0].split()[:2])
    check_counts(num_vertices, num_faces)
    if min(num_vertices, num_faces) < 0 or len(body) < 1 + num_vertices + num_faces:
        message = f"cut off, {num_vertices} vertices and {num_faces} faces in {len(body)} lines"
        raise MeshError(message, "cut_off")
    for line in body[1 + num_vertices : 1 + num_vertices + num_faces]:
        words = line.split()
        if len(words) < 1 + int(words[0]):
            raise MeshError(f"cut off in the face {line.strip()[:40]!r}", "cut_off")


class _Resolver(Resolver):
    """Gives trimesh the textures that PLY files refer to."""

    def __init__(self, references: References, num_bytes: int) -> None:
        self._references, self._pictures = references, Pictures(references, num_bytes)
        self.refusal: MeshError | None = None
        self.image: Pixels | None = None

    def get(self, key: str) -> bytes:
        try:
            self.image = self._pictures.read(str(key))
        except MeshError as error:
            self.refusal = error
            raise
        if self.image is None:
            raise FileNotFoundError(key)  # trimesh goes on without, and says so to its log
        return self._references.read(str(key))

    def keys(self) -> list[str]:
        return []

    def write(self, name: str, data: bytes) -> None:
        raise NotImplementedError("companion files are only read")

    def namespaced(self, namespace: str) -> "_Resolver":
        return self


def _parsed_by_trimesh(data: bytes, suffix: str, references: References) -> TriangleMesh:
    resolver = _Resolver(references, len(data))
    with warnings.catch_warnings(), _silent(_trimesh.util.log):
        warnings.simplefilter("ignore")  # about the library's own code
        scene = _trimesh.load_scene(
            BytesIO(data), file_type=suffix[1:], resolver=resolver, process=False
        )
        refusal = references.refusal or resolver.refusal
        if refusal is not None:
            raise refusal
        parts = [
            TriangleMesh.from_arrays(part.vertices, part.faces, _colors(part, resolver.image))
            for part in scene.geometry.values()
            if isinstance(part, trimesh.Trimesh) and len(part.faces)
        ]
    return concatenate(parts)


@contextmanager
def _silent(log: logging.Logger) -> Generator[None, None, None]:
    """Discard what a library logs in this thread; its errors still arrive as exceptions."""
    thread = threading.get_ident()

    def is_of_another(record: logging.LogRecord) -> bool:
        return record.thread != thread

    log.addFilter(is_of_another)
    try:
        yield
    finally:
        log.removeFilter(is_of_another)


def _colors(part: Any, image: Pixels | None) -> UInt8[np.ndarray, "P 4"] | None:
    """Colours of the file; None where trimesh substitutes grey for a missing texture."""
    visual: Any = part.visual
    if visual.kind in ("vertex", "face"):
        return np.array(visual.vertex_colors, dtype=np.uint8).reshape(len(part.vertices), 4)
    if visual.kind != "texture" or image is None or visual.uv is None:
        return None
    return texture_colors(image, np.array(visual.uv, dtype=np.float64)).astype(np.uint8)
