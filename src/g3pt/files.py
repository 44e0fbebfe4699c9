"""Files are written whole or not at all, and read within limits.

Whatever a user hands over may be a pipe, a folder, or far larger than memory.
"""

import errno
import fcntl
import io
import json
import os
import re
import shutil
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TEMPORARY = ".tmp"
"""Suffix of files that are still being written."""
NAME_BYTES = 100
"""So much of a file's name begins the name of its temporary file; 255 is the usual limit of both.
"""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.ENOENT)
"""Errors of a folder that is full, read-only or gone."""
MAX_JSON_BYTES = 64 * 2**20
"""Largest JSON file that is read; in memory its values take some ten times as much."""
MAX_CONFIG_BYTES = 2**20
"""Largest JSON file of settings; ours have a few kilobytes."""
MAX_JSON_BRACKETS = 2**21
"""Most objects and arrays of a JSON file: three bytes of an empty one take a hundred in memory."""


class BusyError(ValueError):
    """A folder that another process is at work on."""


def read_plain(
    path: str | os.PathLike[str], most: int, error: type[Exception] = ValueError
) -> bytes:
    """Read a whole plain file of limited size.

    Args:
        path: the file.
        most: bytes that it may have.
        error: raised, with a message that names the file, if it is no such file.

    Raises:
        FileNotFoundError: if there is nothing of that name.
    """
    check_plain(path, most, error)
    try:
        return Path(path).read_bytes()
    except OSError as caught:
        raise error(f"{path}: cannot be read ({caught.strerror})") from None


def read_text(
    path: str | os.PathLike[str],
    error: type[Exception] = ValueError,
    *,
    most: int = MAX_JSON_BYTES,
) -> str:
    """Read a text file that others may have written: UTF-8, with or without a byte order mark.

    Args:
        path: the file.
        error: raised, with a message that names the file, if it is no text of usual size.
        most: bytes that it may have.

    Raises:
        FileNotFoundError: if there is nothing of that name.
    """
    try:
        return read_plain(path, most, error).decode("utf-8-sig")
    except UnicodeDecodeError as caught:
        raise error(f"{path}: is not text in UTF-8 ({caught.reason})") from None


def check_plain(path: str | os.PathLike[str], most: int, error: type[Exception]) -> None:
    """Refuse what is no plain file of at most `most` bytes, before anything is read of it.

    Raises:
        FileNotFoundError: if there is nothing of that name.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except (OSError, ValueError) as caught:  # a link to itself, a name with a zero byte
        raise error(f"{path}: cannot be read ({caught})") from None
    if not stat.S_ISREG(status.st_mode):
        raise error(f"{path}: is no plain file")
    if status.st_size > most:
        raise error(f"{path}: has {status.st_size} bytes, expected at most {most}")


def read_json(
    path: str | os.PathLike[str],
    error: type[Exception] = ValueError,
    *,
    most: int = MAX_JSON_BYTES,
) -> Any:
    """Read the values of a JSON file.

    Args:
        path: the file.
        error: raised, with a message that names the file, if it is not JSON of usual size.
        most: bytes that it may have.

    Raises:
        FileNotFoundError: if there is nothing of that name.
    """
    return parse_json(read_plain(path, most, error), str(path), error)


def parse_json(data: bytes, origin: str, error: type[Exception] = ValueError) -> Any:
    """The values of JSON text in UTF-8.

    Args:
        data: the text.
        origin: where it comes from, for messages.
        error: raised, with a message that begins with `origin`, if it is not JSON, or has more than
            `MAX_JSON_BRACKETS` objects and arrays.
    """
    if (brackets := data.count(b"{") + data.count(b"[")) > MAX_JSON_BRACKETS:
        raise error(
            f"{origin}: has {brackets} objects and arrays, expected at most {MAX_JSON_BRACKETS}; "
            "split the file"
        )
    try:
        return json.loads(data.decode())
    except UnicodeDecodeError as caught:
        raise error(f"{origin}: is not text in UTF-8 ({caught.reason})") from None
    except RecursionError:
        raise error(f"{origin}: not JSON: its brackets are nested too deeply") from None
    except ValueError as caught:
        raise error(f"{origin}: not JSON: {caught}") from None


def write_whole(path: str | os.PathLike[str], content: bytes | memoryview | str) -> None:
    """Write a file atomically: first under a hidden name in the same folder, then renamed.

    Args:
        path: the file; an existing one is replaced.
        content: text is written as UTF-8; bytes of names that are none are escaped.

    Raises:
        OSError: naming the file, if it cannot be written, or is a folder, a device or a pipe.
    """
    write_together({Path(path): content})


def write_array_whole(path: str | os.PathLike[str], array: Any) -> None:
    """Write an array as an `.npy` file, atomically as `write_whole` does.

    Args:
        path: the file; an existing one is replaced.
        array: an array of numpy without Python objects; it is copied in memory.

    Raises:
        OSError: naming the file, if it cannot be written.
    """
    import numpy as np  # callers with arrays have loaded it

    content = io.BytesIO()  # numpy's own writing to a file says neither its name nor the reason
    np.save(content, array, allow_pickle=False)
    write_whole(path, content.getbuffer())


def map_array(path: str | os.PathLike[str]) -> Any:
    """Open the array of an `.npy` file; its numbers stay on disk until they are used.

    Args:
        path: a plain file, as of `check_plain`.

    Returns:
        An array of numpy, of any type but Python objects.

    Raises:
        ValueError: with the reason, without the file, if it is no such array or not whole.
    """
    import numpy as np  # callers with arrays have loaded it

    try:
        # It reads .npy and nothing else: `np.load` would also open archives and pickles.
        with np.errstate(over="raise"):  # sizes beyond all memory
            return np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # its parser of headers has errors of many kinds
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise ValueError(reason) from None


@contextmanager
def whole_folder(path: Path, *, parents: bool = False) -> Iterator[Path]:
    """The place for the files of a folder, which appears whole if it is new.

    A new one is filled under a hidden name beside it, and renamed when the block ends. If the
    block fails, nothing stays of it, and of the folders above it that were made for it. What a
    process left that was killed in the block is removed by the next one. In a folder that is there
    already the block replaces files one by one.

    Args:
        path: the folder.
        parents: whether to make the folders above it.

    Raises:
        OSError: naming the folder, if it cannot be made, or a file of it, if the block fails so.
    """
    if path.exists():
        yield path
        return
    above = [folder for folder in path.parents if not folder.exists()]
    place = hidden_name(path)
    _remove_abandoned(path)
    try:
        with naming(path):
            place.mkdir(parents=parents)
        with alone_in(place):  # so that others see that it is not abandoned
            yield place
            with naming(path):
                place.rename(path)
    except BaseException as error:
        shutil.rmtree(place, ignore_errors=True)
        for folder in above:
            _remove_empty(folder)
        if isinstance(error, OSError) and isinstance(error.filename, str | os.PathLike):
            inside = Path(error.filename)
            if inside.is_relative_to(place):
                name = path / inside.relative_to(place)
                raise OSError(error.errno, error.strerror, os.fspath(name)) from error
        raise


def write_together(contents: Mapping[Path, bytes | memoryview | str]) -> None:
    """Write files that belong together, each as `write_whole` does: all of them, or none.

    Only a machine that stops in the moment of the renaming can leave some of them; the last one is
    then missing.

    Args:
        contents: what each file is to hold.

    Raises:
        OSError: naming the file, if one cannot be written; then none is changed.
    """
    hidden = {path: hidden_name(path) for path in contents}
    try:
        for path, content in contents.items():
            _check_replaceable(path)
            with naming(path), hidden[path].open("wb") as file:
                file.write(
                    content.encode(errors="backslashreplace")
                    if isinstance(content, str)
                    else content
                )
                file.flush()
                os.fsync(file.fileno())
        for path, temporary in hidden.items():
            with naming(path):
                temporary.replace(path)
    finally:
        for temporary in hidden.values():
            _remove(temporary)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a folder for this process; the hold ends with the process, also when it is killed.

    Where the file system has no locks, nothing is held.

    Raises:
        BusyError: if another process holds it.
    """
    opened = os.open(folder, os.O_RDONLY)
    try:
        if _locked(opened) is False:
            raise BusyError(f"{folder}: another process is working on it")
        yield
    finally:
        os.close(opened)


def _locked(opened: int) -> bool | None:
    """Lock what is opened; False if another process holds it, None if there are no locks."""
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


@contextmanager
def staying(folder: Path) -> Iterator[None]:
    """Say of files that cannot be found that the whole folder is gone, if it is.

    Raises:
        RuntimeError: if someone has removed the folder.
    """
    try:
        yield
    except FileNotFoundError as error:
        if folder.is_dir():
            raise
        raise RuntimeError(f"{folder}: has been removed during the work") from error


def write_tensors_whole(
    path: Path,
    tensors: Mapping[str, Any],
    *,
    before_replacing: Callable[[], None] = lambda: None,
) -> None:
    """Write tensors as a safetensors file, atomically as `write_whole` does.

    Args:
        path: the file; an existing one is replaced.
        tensors: contiguous tensors of torch that share no memory.
        before_replacing: called when the tensors are on disk under another name.

    Raises:
        OSError: naming the file, if it cannot be written.
    """
    from safetensors import SafetensorError  # callers with tensors have loaded torch
    from safetensors.torch import save_file

    _check_replaceable(path)
    temporary = hidden_name(path)
    try:
        with naming(path):
            temporary.touch()  # as readable as others: safetensors makes files private
            mode = stat.S_IMODE(temporary.stat().st_mode)
            try:
                save_file(dict(tensors), temporary)
            except SafetensorError as error:  # tells of errors of the system in words only
                number = re.search(r"os error (\d+)", str(error))
                if number is None:
                    raise
                raise OSError(int(number[1]), os.strerror(int(number[1]))) from error
            temporary.chmod(mode)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            before_replacing()
            temporary.replace(path)
    finally:
        _remove(temporary)


def _check_replaceable(path: Path) -> None:
    """Refuse to put a file in the place of a device, a pipe or a folder."""
    with naming(path):
        if path.exists() and not path.is_file():
            raise OSError(errno.EEXIST, "Is no plain file, and is not replaced")


def hidden_name(path: Path) -> Path:
    """The name of a file while it is written: in the same folder, and not too long for it."""
    writer = f"{os.getpid()}-{threading.get_ident()}"
    return path.with_name(f"{_hidden_start(path)}{writer}{TEMPORARY}")


def _hidden_start(path: Path) -> str:
    """What hidden names of a file begin with, before the number of the process."""
    return f".{os.fsdecode(os.fsencode(path.name)[:NAME_BYTES])}."


def _remove_abandoned(path: Path) -> None:
    """Remove hidden folders of processes that were killed before they had filled `path`.

    They are those that nobody holds any more. Where the file system has no locks, all stay.
    """
    hidden = re.compile(re.escape(_hidden_start(path)) + r"\d+-\d+" + re.escape(TEMPORARY))
    for place in path.parent.glob(f".*{TEMPORARY}"):
        if hidden.fullmatch(place.name) is None:
            continue
        try:
            opened = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:  # a file, or no longer there, or not ours to open
            continue
        try:
            if _locked(opened):
                shutil.rmtree(place, ignore_errors=True)
        finally:
            os.close(opened)


def _remove(temporary: Path) -> None:
    """Remove what is left of a file; there may be nothing, or no folder any more."""
    try:
        temporary.unlink()
    except OSError:
        pass


def _remove_empty(folder: Path) -> None:
    """Remove a folder unless there is something in it, or no folder any more."""
    try:
        folder.rmdir()
    except OSError:
        pass


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Let errors of the system name the file that was to be written, which most of them do not.

    Raises:
        OSError: of the same kind and number, with the name of the file.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error
