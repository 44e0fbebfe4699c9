"""What is read beside a mesh file, and what is not."""

from pathlib import Path

import pytest

from g3pt.geometry.formats.limits import FolderCompanions, read_regular_file
from g3pt.geometry.triangles import MeshError


def test_companions_are_read_from_the_folder_and_below(tmp_path: Path) -> None:
    (tmp_path / "textures").mkdir()
    (tmp_path / "textures" / "a.png").write_bytes(b"bytes")
    (tmp_path / "link.png").symlink_to("textures/a.png")
    companions = FolderCompanions(tmp_path / "mesh.obj")
    assert companions("textures/a.png") == companions("link.png") == b"bytes"
    with pytest.raises(FileNotFoundError):
        companions("textures/a.png/b.png")


def test_companions_that_lead_in_circles_cannot_be_reached(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(MeshError, match=r"refers to 'loop', which cannot be reached") as caught:
        FolderCompanions(tmp_path / "mesh.obj")("loop")
    assert caught.value.code == "not_a_file"


def test_companions_that_lead_outside_are_refused(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret").write_bytes(b"bytes")
    (inside / "a.png").symlink_to("../secret")
    with pytest.raises(MeshError, match=r"'a\.png', which is outside its folder") as caught:
        FolderCompanions(inside / "mesh.obj")("a.png")
    assert caught.value.code == "external_reference"


def test_a_link_to_nothing_is_told_from_nothing(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("gone")
    (tmp_path / "loop").symlink_to("loop")
    for name, words, code in [
        ("link", "a link to no file", "missing"),
        ("gone", "no such file", "missing"),
        ("loop", "Too many levels of symbolic links", "not_a_file"),
        (".", "not a regular file", "not_a_file"),
    ]:
        with pytest.raises(MeshError, match=words) as caught:
            read_regular_file(tmp_path / name)
        assert caught.value.code == code


def test_a_file_that_is_too_large_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("g3pt.geometry.formats.limits.MAX_FILE_BYTES", 5)
    (tmp_path / "a.png").write_bytes(b"bytes")
    (tmp_path / "b.png").write_bytes(b"bytes.")
    assert read_regular_file(tmp_path / "a.png") == b"bytes"
    with pytest.raises(MeshError, match="6 bytes, expected at most 5") as caught:
        read_regular_file(tmp_path / "b.png")
    assert caught.value.code == "too_large"
