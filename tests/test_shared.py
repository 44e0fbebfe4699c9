"""Processes of one test run share a folder; a run alone has its own."""

from pathlib import Path

import pytest

from shared import made_once


class Factory:
    """The temporary folders of one process of pytest-xdist."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()

    def getbasetemp(self) -> Path:
        return self.path


def test_the_second_process_finds_what_the_first_one_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    made: list[Path] = []

    folders = [made_once(Factory(tmp_path / name), "thing", made.append) for name in ("gw0", "gw1")]

    assert folders == [tmp_path / "shared" / "thing"] * 2
    assert made == folders[:1]


def test_what_failed_half_way_is_not_taken_for_finished(tmp_path: Path) -> None:
    def fail(_: Path) -> None:
        raise RuntimeError("no room")

    factory = Factory(tmp_path / "alone")
    with pytest.raises(RuntimeError, match="no room"):
        made_once(factory, "thing", fail)
    with pytest.raises(FileExistsError):
        made_once(factory, "thing", lambda folder: None)
