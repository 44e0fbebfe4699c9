"""Writing files that appear whole or not at all, whatever stops the program."""

import os
import threading
from pathlib import Path

TEMPORARY = ".tmp"
"""How the names of files end that are being written."""


def write_whole(path: str | os.PathLike[str], content: bytes | str) -> None:
    """Write a file, text as UTF-8: under a hidden name beside it first, then renamed."""
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
