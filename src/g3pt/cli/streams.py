"""The standard streams of a command, which may be closed, full, or without the letters it needs."""

import io
import os
import sys
from typing import TextIO

OUTPUT = "standard output"
"""Name of stdout in messages, and in the `filename` of its errors."""


class _Output(io.FileIO):
    """stdout, whose errors say what they are about."""

    def write(self, data: bytes, /) -> int | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Write bytes.

        Raises:
            OSError: with `OUTPUT` as the name of the file.
        """
        try:
            return super().write(data)
        except OSError as error:
            raise OSError(error.errno, error.strerror, OUTPUT) from None


class _Notes(io.FileIO):
    """stderr: progress and notes that nobody can read any more do not end the work."""

    def write(self, data: bytes, /) -> int | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Write bytes, or drop them if that fails."""
        try:
            return super().write(data)
        except OSError:
            return len(data)


def settle_streams() -> None:
    """Prepare the streams of this process, which was started as a command.

    A stream that was closed leads to the null device: the next file to be opened would take its
    place, and get what is printed. Letters that the encoding of a stream lacks are escaped.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
    sys.stdout = _opened(_Output(1, "w", closefd=False), sys.stdout)
    sys.stderr = _opened(_Notes(2, "w", closefd=False), sys.stderr)


def drop_output() -> None:
    """Let nothing more be printed: what still waits would fail again when the process ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _opened(file: io.FileIO, former: TextIO | None) -> TextIO:
    """A text stream like a former one, if there was one."""
    return io.TextIOWrapper(
        io.BufferedWriter(file),
        encoding=getattr(former, "encoding", None) or "utf-8",
        errors="backslashreplace",
        line_buffering=file.fileno() == 2 or file.isatty(),
    )
