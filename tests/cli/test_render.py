import json
from pathlib import Path

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
        (("-o", "x.png", "--turntable"), ".png cannot be written; choose .gif"),
    ],
)
def test_bad_arguments_exit_2(arguments: tuple, sentence: str, g3pt, cube: Path) -> None:
    code, _, stderr = g3pt("render", cube, *arguments)
    assert code == 2
    assert sentence in stderr
