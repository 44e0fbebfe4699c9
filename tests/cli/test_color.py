import json
from pathlib import Path

import numpy as np
import pytest

from g3pt.cli.color import describe_color
from g3pt.generation.results import ShapeColor
from g3pt.generation.writing import color_entry
from g3pt.geometry.mesh import read_mesh

FAST = ("--resolution", 16)


def entry_of(g3pt, *arguments) -> dict:
    code, stdout, _ = g3pt("generate", *arguments, "--json", *FAST)
    assert code == 0
    return json.loads(stdout)["outputs"][0]


def test_a_sentence_gives_its_colour_to_the_file(g3pt, tmp_path: Path) -> None:
    out = tmp_path / "mug.glb"
    entry = entry_of(g3pt, "--text", "a red mug", "-o", out)
    assert entry["color"] == {"method": "text", "words": "red"}
    colors = read_mesh(out).colors
    assert colors is not None and (colors == (200, 40, 36, 255)).all()
    code, stdout, _ = g3pt("generate", "--text", "a red mug", "-o", out, *FAST)
    assert code == 0 and ", red" in stdout


def test_without_colour_the_file_is_that_of_the_plain_mesh(g3pt, tmp_path: Path) -> None:
    named, asked = tmp_path / "named.glb", tmp_path / "asked.glb"
    plain = entry_of(g3pt, "--text", "a mug", "-o", named, "--color", "none")
    entry = entry_of(g3pt, "--text", "a mug", "-o", asked)
    assert plain["color"] == {"method": "none"}
    assert entry["color"]["method"] == "none" and "names no colour" in entry["color"]["reason"]
    assert named.read_bytes() == asked.read_bytes()
    assert read_mesh(named).colors is None


def test_colours_do_not_move_vertices(g3pt, picture: Path, tmp_path: Path) -> None:
    bare, colored = tmp_path / "bare.glb", tmp_path / "colored.glb"
    entry_of(g3pt, "--image", picture, "-o", bare, "--color", "none")
    entry = entry_of(g3pt, "--image", picture, "-o", colored)
    first, second = read_mesh(bare), read_mesh(colored)
    assert (first.vertices == second.vertices).all() and (first.faces == second.faces).all()
    assert first.colors is None
    color = entry["color"]
    assert (second.colors is None) == (color["method"] == "none")
    assert set(color["camera"]) == {"azimuth", "elevation"} and 0 < color["silhouette_iou"] <= 1


def test_levels_and_scales_have_colours_too(g3pt, tmp_path: Path) -> None:
    arguments = ("--text", "a blue mug", "--lod", "--lod-files", "--every-scale")
    entry = entry_of(g3pt, *arguments, "-o", tmp_path / "mug.glb")
    paths = [one["path"] for one in (*entry["lods"], *entry["scales"]) if one["path"]]
    assert len(paths) > 4
    for path in paths:
        colors = read_mesh(Path(path)).colors
        assert colors is not None and len(np.unique(colors, axis=0)) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--text", "a mug", "-o", "m.glb", "--color", "picture"), "takes the colours of --image"),
        (("--image", "PICTURE", "-o", "m.glb", "--color", "text"), "the colour that --text names"),
        (("--text", "a red mug", "-o", "m.stl", "--color", "text"), ".stl holds no colours"),
        (("--text", "a red mug", "-o", "m.glb", "--color", "red"), "--color"),
    ],
)
def test_colours_that_cannot_be_are_refused(
    g3pt, picture: Path, tmp_path: Path, arguments, message
) -> None:
    named = {"PICTURE": picture, "m.glb": tmp_path / "m.glb", "m.stl": tmp_path / "m.stl"}
    try:
        code, _, stderr = g3pt("generate", *(named.get(one, one) for one in arguments), *FAST)
    except SystemExit as error:
        code, stderr = error.code, message
    assert code == 2 and message in stderr


def test_a_format_without_colours_is_written_without_by_default(g3pt, tmp_path: Path) -> None:
    entry = entry_of(g3pt, "--text", "a red mug", "-o", tmp_path / "mug.stl")
    assert entry["color"] == {"method": "none"}


def test_what_was_done_is_said() -> None:
    found = ShapeColor(
        "picture", azimuth=30.004, elevation=20.0, silhouette_iou=0.93334, seen_share=0.4
    )
    assert color_entry(found) == {
        "method": "picture",
        "camera": {"azimuth": 30.0, "elevation": 20.0},
        "silhouette_iou": 0.9333,
        "seen_share": 0.4,
    }
    assert "agree by 0.93" in describe_color(color_entry(found))
    refused = ShapeColor("none", reason="the silhouettes differ", silhouette_iou=0.3)
    assert describe_color(color_entry(refused)) == ", no colours: the silhouettes differ"
    assert describe_color(color_entry(ShapeColor("none"))) == ""
