"""What a foreign mesh file may ask for: how much memory, and which other files.

Sizes and counts are checked before memory is taken. Companions (files that a mesh file refers to)
are read from its own folder and below, and from nowhere else. A reader of companions is any
function from a relative name (`textures/a.png`) to bytes that raises `FileNotFoundError` for what
is not there: `FolderCompanions`, or a part of an archive.
"""

import base64
import os
import posixpath
import re
import stat
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import unquote

from g3pt.geometry.triangles import MeshError

MAX_FILE_BYTES = 2**30
"""Largest mesh file, or everything unpacked from one 3MF file."""

MAX_FACES = 20_000_000
"""Most triangles of one object, all instances counted; see also `check_mesh_memory`."""

MAX_VERTICES = 3 * MAX_FACES
"""Most vertices of one object: triangles that share none."""

MAX_INSTANCES = 1_000_000
"""Most instances of meshes in one object."""

FREE_MESH_BYTES = 2**29
"""Memory that the triangles of any file may take: 14 million faces with shared vertices."""

MESH_RATIO = 8
"""Beyond that, the largest accepted ratio of the memory of the triangles to the bytes of the file.
Without instances it is 2 to 4 in usual files of 32-bit numbers."""

VERTEX_BYTES, FACE_BYTES = 28, 24
"""Memory of a vertex with its colour, and of a face."""

MAX_TEXTURE_PIXELS = 2**26
"""Largest texture, 8192 x 8192 pixels."""

FREE_TEXTURE_PIXELS = 2 * MAX_TEXTURE_PIXELS
"""Pixels that the textures of any object may have in all."""

TEXTURE_PIXELS_PER_BYTE = 64
"""Beyond that, the most for each byte of the files: pictures of one colour have some 200, photos 1
to 10."""

UNPACK_RATIO = 200
"""Largest accepted ratio of unpacked to packed size: more is taken for a decompression bomb."""

FREE_UNPACKED_BYTES = 2**24
"""Below this unpacked size the ratio is not checked, since small text files compress well."""


def check_counts(num_vertices: int, num_faces: int) -> None:
    """Refuse an object with too many vertices or faces.

    Raises:
        MeshError: with code `too_large`.
    """
    if num_faces > MAX_FACES or num_vertices > MAX_VERTICES:
        raise MeshError(
            f"asks for {num_vertices} vertices and {num_faces} faces, expected at most "
            f"{MAX_VERTICES} and {MAX_FACES}",
            "too_large",
        )


def check_instances(num_instances: int) -> None:
    """Refuse an object of too many instances.

    Raises:
        MeshError: with code `too_large`.
    """
    if num_instances > MAX_INSTANCES:
        message = f"places {num_instances} objects, expected at most {MAX_INSTANCES}"
        raise MeshError(message, "too_large")


def check_mesh_memory(num_vertices: int, num_faces: int, num_bytes: int) -> None:
    """Refuse an object that takes far more memory than its file has, as copies of instances do.

    Args:
        num_vertices: of the whole object, all instances counted.
        num_faces: likewise.
        num_bytes: that the file has, unpacked.

    Raises:
        MeshError: with code `too_large`.
    """
    needed = VERTEX_BYTES * num_vertices + FACE_BYTES * num_faces
    most = max(FREE_MESH_BYTES, MESH_RATIO * num_bytes)
    if needed > most:
        raise MeshError(
            f"asks for {num_vertices} vertices and {num_faces} faces, which take {needed} bytes of "
            f"memory, expected at most {most} for a file of this size; place fewer copies",
            "too_large",
        )


def most_unpacked(packed: int, ratio: int = UNPACK_RATIO) -> int:
    """Bytes that so many may unpack to: a small file must not take much memory."""
    return max(FREE_UNPACKED_BYTES, ratio * packed)


def check_unpacking(packed: int, unpacked: int, *, limit: int = MAX_FILE_BYTES) -> None:
    """Refuse compressed data that unpacks beyond a limit, or beyond `UNPACK_RATIO`.

    Raises:
        MeshError: with code `too_large`.
    """
    if unpacked > limit:
        raise MeshError(f"unpacks to {unpacked} bytes, expected at most {limit}", "too_large")
    if unpacked > most_unpacked(packed):
        raise MeshError(
            f"unpacks {packed} bytes to {unpacked}, more than {UNPACK_RATIO} times as many",
            "too_large",
        )


Companions = Callable[[str], bytes]
"""Reads a companion file by its relative name; raises `FileNotFoundError` if there is none."""

_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+:")  # two letters at least: C: is a drive
_DATA = re.compile(r"^data:[^,]{0,200};base64,")


class References:
    """Reads the files that one file refers to, and keeps the first refusal.

    Some parsers swallow the errors of their resolvers; `refusal` keeps the first of them. `lost`
    lists, in words for people, what is missing or unreadable and not essential.
    """

    def __init__(self, companions: Companions | None) -> None:
        self._companions = companions
        self.refusal: MeshError | None = None
        self._lost: dict[str, None] = {}

    @property
    def lost(self) -> list[str]:
        """What is missing, each once, in the order of the file."""
        return list(self._lost)

    def lose(self, kind: str, uri: str, what: str) -> None:
        """Add something to `lost`, once.

        Args:
            kind: what it is, such as "texture".
            uri: the reference in the file; `data:` stands for an embedded one.
            what: what is wrong with it.
        """
        words = f"an embedded {kind}" if uri.startswith("data:") else f"{kind} {uri[:80]!r}"
        self._lost[f"{words} {what}"] = None

    def read(self, uri: str) -> bytes:
        """Read a companion file, or the bytes of a base64 `data:` URI.

        Raises:
            FileNotFoundError: if nothing has this name.
            MeshError: if the reference leads out of the file's folder.
        """
        if uri.startswith("data:"):
            return self._embedded(uri)
        name = self.checked(uri)
        if self._companions is None:
            raise FileNotFoundError(name)
        try:
            return self._companions(name)
        except MeshError as error:
            self.refusal = self.refusal or error
            raise

    def checked(self, uri: str) -> str:
        """Turn a reference into a relative name, without reading it.

        Raises:
            MeshError: with code `external_reference` if it leads out of the folder.
        """
        name = unquote(uri).replace("\\", "/")
        if _SCHEME.match(name):
            raise self._refused(f"refers to {uri[:80]!r}, only files in its own folder are read")
        normal = posixpath.normpath(name)
        if normal.startswith(("/", "..")) or "\0" in normal:
            raise self._refused(f"refers to {uri[:80]!r}, which is outside its folder")
        return normal

    def _embedded(self, uri: str) -> bytes:
        header = _DATA.match(uri)
        if header is None:
            raise self._refused(f"refers to {uri[:80]!r}, expected base64 in a data URI")
        return base64.b64decode(uri[header.end() :].encode("ascii"), validate=True)

    def _refused(self, message: str) -> MeshError:
        error = MeshError(message, "external_reference")
        self.refusal = self.refusal or error
        return error


class FolderCompanions:
    """Companions of a file on disk; symbolic links are followed only inside its folder."""

    def __init__(self, path: Path) -> None:
        self._folder = path.parent.resolve()

    def __call__(self, name: str) -> bytes:
        """Read `name` from the folder.

        Raises:
            FileNotFoundError: if there is no such file.
            MeshError: if it is no regular file, too large, or leads outside.
        """
        target = self._folder / PurePosixPath(name)
        try:
            target = target.resolve(strict=True)
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError(name) from None
        except (OSError, RuntimeError):
            raise MeshError(
                f"refers to {name[:80]!r}, which cannot be reached", "not_a_file"
            ) from None
        if not target.is_relative_to(self._folder):
            message = f"refers to {name[:80]!r}, which is outside its folder"
            raise MeshError(message, "external_reference")
        return read_regular_file(target)


def read_regular_file(
    path: str | os.PathLike[str], look: Callable[[BinaryIO, int], None] | None = None
) -> bytes:
    """Read a whole regular file of at most `MAX_FILE_BYTES`.

    Args:
        path: the file.
        look: given the open file and its number of bytes before it is read into memory; refuses it
            by a `MeshError`.

    Raises:
        MeshError: with code `missing`, `not_a_file`, `too_large` or `unreadable`, or that of
            `look`.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise MeshError(f"{path}: not a regular file", "not_a_file")
        if status.st_size > MAX_FILE_BYTES:
            message = f"{path}: {status.st_size} bytes, expected at most {MAX_FILE_BYTES}"
            raise MeshError(message, "too_large")
        if look is not None:
            _look_at(path, status.st_size, look)
        return Path(path).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        if os.path.islink(path):
            raise MeshError(f"{path}: a link to no file", "missing") from None
        raise MeshError(f"{path}: no such file", "missing") from None
    except OSError as error:
        code = "not_a_file" if os.path.islink(path) else "unreadable"  # ELOOP
        raise MeshError(f"{path}: {error.strerror or error}", code) from None


def _look_at(
    path: str | os.PathLike[str], size: int, look: Callable[[BinaryIO, int], None]
) -> None:
    with open(path, "rb") as file:
        try:
            look(file, size)
        except MeshError as error:
            raise MeshError(f"{path}: {error}", error.code) from None
