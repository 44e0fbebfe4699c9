"""Atomic writing of files: a file appears complete or not at all, even if the program is killed."""

import os
import threading
from pathlib import Path

TEMPORARY = ".tmp"
"""Suffix of files that are still being written."""


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
