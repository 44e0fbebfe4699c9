"""Files are written whole or not at all, and read within limits.

Whatever a user hands over may be a pipe, a folder, or far larger than memory.
"""

import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

TEMPORARY = ".tmp"
"""Suffix of files that are still being written."""
MAX_JSON_BYTES = 64 * 2**20
"""Largest JSON file that is read; in memory its values take some ten times as much."""


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


def read_json(path: str | os.PathLike[str], error: type[Exception] = ValueError) -> Any:
    """Read the values of a JSON file.

    Args:
        path: the file.
        error: raised, with a message that names the file, if it is not JSON of usual size.

    Raises:
        FileNotFoundError: if there is nothing of that name.
    """
    data = read_plain(path, MAX_JSON_BYTES, error)
    try:
        return json.loads(data.decode())
    except UnicodeDecodeError as caught:
        raise error(f"{path}: is not text in UTF-8 ({caught.reason})") from None
    except RecursionError:
        raise error(f"{path}: not JSON: its brackets are nested too deeply") from None
    except ValueError as caught:
        raise error(f"{path}: not JSON: {caught}") from None


def write_whole(path: str | os.PathLike[str], content: bytes | str) -> None:
    """Write a file atomically: first under a hidden name in the same folder, then renamed.

    Args:
        path: the file; an existing one is replaced.
        content: text is written as UTF-8.
    """
    target = Path(path)
    data = content.encode() if isinstance(content, str) else content
    name = f".{target.name}.{os.getpid()}-{threading.get_ident()}{TEMPORARY}"
    temporary = target.with_name(name)
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
