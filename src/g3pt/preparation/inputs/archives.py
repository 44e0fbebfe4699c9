"""Members of zip and tar archives, read one by one without unpacking the rest."""

import io
import lzma
import os
import posixpath
import tarfile
import weakref
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from g3pt.geometry.formats.limits import check_unpacking
from g3pt.geometry.mesh import MeshError

_BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError)

_NAME_HEADERS = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)

MAX_NAME_BYTES = 2**20
"""Largest name, or list of properties, of a member of a tar archive."""


MAX_LIST_BYTES = 2**26
"""Largest list of members of a zip archive: half a million of usual names."""


@dataclass(frozen=True)
class Member:
    """A file of an archive."""

    name: str
    size: int
    """Unpacked size in bytes, as declared by the archive."""


class Archive(ABC):
    """An open archive."""

    path: str

    @abstractmethod
    def members(self) -> Iterator[Member]:
        """All entries except folders, in the archive's order.

        Raises:
            ValueError: if the archive is damaged, or unpacks beyond the limits.
        """

    @abstractmethod
    def _read(self, name: str) -> bytes:
        """Read a member whose name was checked."""

    def read(self, name: str) -> bytes:
        """Read one member.

        Raises:
            MeshError: if its name leads out of the archive, or it is missing, not a regular file,
                encrypted, too large or damaged.
        """
        if normal_name(name).startswith(("/", "..")) or "\0" in name:
            message = f"{self.path}: member {name[:80]!r} leads out of the archive"
            raise MeshError(message, "external_reference")
        try:
            return self._read(name)
        except MeshError as error:
            raise MeshError(f"{self.path}:{name}: {error}", error.code) from None
        except KeyError:
            raise MeshError(f"{self.path}:{name}: no such member", "missing") from None
        except (*_BROKEN, NotImplementedError, RuntimeError) as error:
            message = f"{self.path}:{name}: a damaged member ({str(error)[:80]})"
            raise MeshError(message, "cut_off") from None


class _ZipFile(io.BufferedReader):
    """The file of a zip archive, whose list of members is read whole while it is opened."""

    opening = True

    def read(self, size: int | None = -1, /) -> bytes:
        if self.opening and size is not None and size > MAX_LIST_BYTES:
            raise zipfile.BadZipFile(
                f"its list of members has {size} bytes, expected at most {MAX_LIST_BYTES}"
            )
        return super().read(size)


class ZipArchive(Archive):
    """A zip archive, with direct access to members."""

    def __init__(self, path: str) -> None:
        self.path = path
        file = _ZipFile(io.FileIO(path))
        weakref.finalize(self, file.close)
        self._zip = zipfile.ZipFile(file)
        file.opening = False

    def members(self) -> Iterator[Member]:
        """All entries but folders."""
        for info in self._zip.infolist():
            if not info.is_dir():
                yield Member(info.filename, info.file_size)

    def _read(self, name: str) -> bytes:
        info = self._zip.getinfo(name)
        if info.flag_bits & 1:
            raise MeshError("encrypted, expected a plain member")
        check_unpacking(info.compress_size, info.file_size)
        return self._zip.read(info)


class _LimitedInfo(tarfile.TarInfo):
    """A header of a tar archive; names and totals are checked before anything is unpacked."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:  # the documented way in
        is_name = self.type in _NAME_HEADERS
        if is_name and self.size > MAX_NAME_BYTES:
            raise MeshError(
                f"a name or description in it has {self.size} bytes, expected at most "
                f"{MAX_NAME_BYTES}",
                "too_large",
            )
        has_content = self.isreg() or self.type not in tarfile.SUPPORTED_TYPES
        unpacked = self.offset + (self.size if has_content else 0)
        check_unpacking(os.path.getsize(os.fspath(tar.name or "")), unpacked, limit=2**62)
        return super()._proc_member(tar)  # pyright: ignore


class _TarFile(io.BufferedReader):
    """The file of a tar archive; the padding and names of gzip are read byte by byte."""

    single_bytes = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.single_bytes = self.single_bytes + 1 if size == 1 else 0
        if self.single_bytes > MAX_NAME_BYTES:
            raise tarfile.ReadError(f"more than {MAX_NAME_BYTES} bytes of padding, or of a name")
        return super().read(size)


class TarArchive(Archive):
    """A tar archive, plain or of gzip."""

    def __init__(self, path: str) -> None:
        self.path = path
        file = _TarFile(io.FileIO(path))
        weakref.finalize(self, file.close)
        # Any other compression that tarfile tries may read a file of zeros to its end.
        mode = "r:gz" if file.peek(2)[:2] == b"\x1f\x8b" else "r:"
        self._tar = tarfile.open(path, mode, fileobj=file, tarinfo=_LimitedInfo)
        self._packed = os.path.getsize(path)

    def members(self) -> Iterator[Member]:
        """All entries except folders; a compressed archive is decompressed on the way."""
        try:
            for info in self._tar:
                if not info.isdir():
                    yield Member(info.name, info.size)
        except MeshError as error:
            raise ValueError(f"{self.path}: {error}") from None
        except _BROKEN as error:
            raise ValueError(f"{self.path}: a damaged archive ({str(error)[:80]})") from None

    def _read(self, name: str) -> bytes:
        info = self._tar.getmember(name)
        if not info.isreg() or info.issparse():
            raise MeshError("not a regular file", "not_a_file")
        check_unpacking(self._packed, info.size)
        stream = self._tar.extractfile(info)
        assert stream is not None  # it is a regular file
        return stream.read(info.size)  # raises if there is less


class ArchiveCompanions:
    """Companions of a member: members in its folder of the archive and below."""

    def __init__(self, archive: Archive, member: str) -> None:
        self._archive = archive
        self._folder = posixpath.dirname(member)

    def __call__(self, name: str) -> bytes:
        """Read the companion `name`.

        Raises:
            FileNotFoundError: if there is none.
            MeshError: if it cannot be read.
        """
        try:
            return self._archive.read(posixpath.join(self._folder, name))
        except MeshError as error:
            if error.code == "missing":
                raise FileNotFoundError(name) from None
            raise


def normal_name(name: str) -> str:
    """A member's normalised name; names that lead out of the archive begin with `/` or `..`."""
    return posixpath.normpath(name.replace("\\", "/"))


def open_archive(path: str) -> Archive:
    """Open an archive by its ending.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is damaged or not an archive.
    """
    try:
        return ZipArchive(path) if path.lower().endswith(".zip") else TarArchive(path)
    except MeshError as error:
        raise ValueError(f"{path}: {error}") from None
    except FileNotFoundError:
        raise FileNotFoundError(f"source.path: no archive at {path}") from None
    except _BROKEN as error:
        raise ValueError(f"{path}: not a readable archive ({error})") from None


def opened_archive(path: str) -> Archive:
    """An archive from a small per-process cache of open archives.

    Raises:
        MeshError: if it cannot be opened.
    """
    try:
        status = os.stat(path)
        return _cached_archive(path, status.st_mtime_ns, status.st_size, os.getpid())
    except FileNotFoundError:
        raise MeshError(f"{path}: no such archive", "missing") from None
    except (OSError, ValueError) as error:
        raise MeshError(str(error)) from None


@lru_cache(maxsize=4)
def _cached_archive(path: str, changed: int, size: int, process: int) -> Archive:
    return open_archive(path)  # per process, since forked ones would share the read position
