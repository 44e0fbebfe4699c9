import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def test_a_sheet_has_a_row_per_mesh_and_a_column_per_view(g3pt, cube: Path, tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    code, stdout, _ = g3pt("render", cube, cube, "-o", out, "--views", 3, "--size", 64, "--json")
    assert code == 0
    assert json.loads(stdout)["outputs"] == [{"path": str(out), "views": 3}]
    with Image.open(out) as image:
        assert image.width >= 3 * 64
        assert 2 * 64 <= image.height < 3 * 64


@pytest.mark.parametrize("views", [(), ("--views", 1)])
def test_a_picture_of_one_mesh_holds_nothing_but_the_mesh(
    g3pt, cube: Path, tmp_path: Path, views: tuple
) -> None:
    """A name in it would become geometry where the picture is a prompt."""
    plain, named = tmp_path / "plain.png", tmp_path / "named.png"
    assert g3pt("render", cube, "-o", plain, "--size", 64, *views)[0] == 0
    assert g3pt("render", cube, "-o", named, "--size", 64, *views, "--labels")[0] == 0
    with Image.open(plain) as image, Image.open(named) as labelled:
        assert image.height == 64 + 2 * 4 and labelled.height > image.height  # gaps of 4 pixels
        top = labelled.crop((0, 0, image.width, 64 + 4))
        assert top.tobytes() == image.crop((0, 0, image.width, 64 + 4)).tobytes()
        below = np.asarray(labelled.crop((0, 64 + 4, image.width, labelled.height)))
        assert below.min() < 100  # letters on white


def test_several_meshes_are_told_apart_by_their_names(g3pt, cube: Path, tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    assert g3pt("render", cube, cube, "-o", out, "--size", 64, "--views", 1)[0] == 0
    with Image.open(out) as image:
        assert image.height > 64 + 2 * 4


def test_many_meshes_with_one_view_fill_a_grid(g3pt, cube: Path, tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    assert g3pt("render", *[cube] * 9, "-o", out, "--size", 32)[0] == 0
    with Image.open(out) as image:
        assert 3 * 32 <= image.width < 4 * 32


def test_a_turntable_is_an_animation(g3pt, cube: Path, tmp_path: Path) -> None:
    out = tmp_path / "turn.gif"
    code, _, _ = g3pt("render", cube, "--turntable", "-o", out, "--views", 5, "--size", 48)
    assert code == 0
    with Image.open(out) as image:
        assert getattr(image, "n_frames", 1) == 5


def test_a_folder_gets_one_file_per_mesh(g3pt, cube: Path, tmp_path: Path) -> None:
    out = tmp_path / "pictures"
    assert g3pt("render", cube, cube, "-o", out, "--views", 1, "--size", 32)[0] == 0
    assert sorted(path.name for path in out.iterdir()) == ["cube-2.png", "cube.png"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("-o", "x.png", "--views", 0), "--views must lie in"),
        (("-o", "x.png", "--size", 5000), "--size must lie in"),
        (("-o", "x.bmp"), ".bmp cannot be written"),
        (("-o", "x.gif", "--turntable", "--labels"), "a turntable holds no names"),
        (("-o", "x.png", "--turntable"), ".png cannot be written; choose .gif"),
    ],
)
def test_bad_arguments_exit_2(arguments: tuple, sentence: str, g3pt, cube: Path) -> None:
    code, _, stderr = g3pt("render", cube, *arguments)
    assert code == 2
    assert sentence in stderr
