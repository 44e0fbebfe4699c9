"""Files appear whole or not at all."""

import os
import stat
from pathlib import Path

import pytest

from g3pt.files import write_whole


def test_a_file_is_replaced_and_nothing_stays_beside_it(tmp_path: Path):
    file = tmp_path / "a.txt"
    write_whole(file, b"one")
    write_whole(file, "zwölf")
    assert file.read_text(encoding="utf-8") == "zwölf"
    assert list(tmp_path.iterdir()) == [file]


def test_what_was_there_stays_when_writing_fails(tmp_path: Path, monkeypatch):
    file = tmp_path / "a.txt"
    write_whole(file, b"one")

    def fail(_: int) -> None:
        raise OSError("disk is full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk is full"):
        write_whole(file, b"two")
    assert file.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [file]


def test_files_are_as_readable_as_others(tmp_path: Path):
    write_whole(tmp_path / "a.txt", b"one")
    (tmp_path / "b.txt").write_bytes(b"one")
    first, second = (stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a.txt", "b.txt"))
    assert first == second
