"""`g3pt generate` with photographs: what is said, written and refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

FAST = ("--resolution", 16)


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    path = tmp_path / "noise.png"
    pixels = np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def cut_off(tmp_path: Path) -> Path:
    path = tmp_path / "half.png"
    image = Image.new("RGB", (120, 100), "white")
    ImageDraw.Draw(image).ellipse((-30, 15, 70, 90), fill=(200, 30, 30))
    image.save(path)
    return path


def test_json_says_of_every_picture_how_its_object_was_found(
    g3pt, picture: Path, cut_off: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    code, stdout, stderr = g3pt("generate", "--image", picture, cut_off, "-o", out, "--json", *FAST)
    assert code == 0
    mug, half = json.loads(stdout)["inputs"]
    assert mug["path"] == str(picture)
    assert set(mug["cutout"]) == {"method", "box", "confidence", "warnings"}
    assert (mug["cutout"]["method"], mug["cutout"]["box"]) == ("border", [20, 30, 60, 70])
    assert half["cutout"]["warnings"] == ["cut off at the left edge"]
    assert f"{cut_off}: cut off at the left edge\n" in stderr


def test_nothing_that_stands_out_is_refused_unless_the_whole_picture_is_meant(
    g3pt, noise: Path, tmp_path: Path
) -> None:
    arguments = ("generate", "--image", noise, "-o", tmp_path / "x.glb", "--json", *FAST)
    code, stdout, stderr = g3pt(*arguments)
    assert (code, stdout) == (2, "")
    assert "noise.png: nothing stands out" in stderr and stderr.count("\n") == 1
    assert not (tmp_path / "x.glb").exists()

    code, stdout, _ = g3pt(*arguments, "--whole-picture")
    assert code == 0
    (told,) = json.loads(stdout)["inputs"]
    assert told["cutout"]["method"] == "whole"


def test_one_bad_picture_does_not_end_a_batch(
    g3pt, picture: Path, noise: Path, cut_off: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    pictures = (picture, noise, cut_off)
    texts = ("--text", "a mug", "--text", "noise", "--text", "a shelf")
    code, stdout, stderr = g3pt(
        "generate", "--image", *pictures, *texts, "-o", out, "--cutout", out, "--json", *FAST
    )
    assert code == 1
    assert sorted(path.name for path in out.iterdir()) == [
        "half.glb",
        "half.png",
        "mug.glb",
        "mug.png",
    ]
    result = json.loads(stdout)
    assert [Path(entry["path"]).name for entry in result["outputs"]] == ["mug.glb", "half.glb"]
    assert ["cutout" in told for told in result["inputs"]] == [True, False, True]
    assert "noise.png: nothing stands out" in result["inputs"][1]["error"]
    assert "1 of 3 pictures were left out" in stderr and "noise.png" in stderr


def test_a_bad_view_ends_the_shape(g3pt, picture: Path, noise: Path, tmp_path: Path) -> None:
    arguments = ("--image", picture, noise, "--views", "-o", tmp_path / "x.glb")
    code, _, stderr = g3pt("generate", *arguments, *FAST)
    assert code == 2
    assert "noise.png: nothing stands out" in stderr


def test_a_mask_says_where_the_object_is(g3pt, noise: Path, tmp_path: Path) -> None:
    mask = Image.new("L", (160, 160))
    mask.paste(255, (40, 60, 100, 120))
    mask.save(tmp_path / "mask.png")
    arguments = ("--image", noise, "--mask", tmp_path / "mask.png", "--json")
    code, stdout, _ = g3pt("generate", *arguments, "-o", tmp_path / "x.glb", *FAST)
    assert code == 0
    (told,) = json.loads(stdout)["inputs"]
    assert told["cutout"]["method"] == "mask"
    assert told["cutout"]["box"] == pytest.approx([20, 30, 50, 60], abs=1)


def test_the_cut_out_is_written_at_the_size_of_the_picture(
    g3pt, picture: Path, tmp_path: Path
) -> None:
    file = tmp_path / "new" / "cut.png"
    arguments = ("--image", picture, "--cutout", file, "-o", tmp_path / "x.glb")
    assert g3pt("generate", *arguments, *FAST)[0] == 0
    with Image.open(file) as image:
        assert (image.mode, image.size) == ("RGBA", (80, 80))
        alpha = np.asarray(image)[..., 3] >= 128
    assert alpha[30:70, 20:60].all() and alpha.sum() == 40 * 40


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--mask", "MUG", "--whole-picture"), "give one of the two"),
        (("--mask", "MUG", "MUG"), "give one for each picture, got 2 for 1"),
        (("--mask", "none.png"), "none.png: no such mask"),
        (("--cutout", "cut.jpg"), "cut.jpg: .jpg cannot be written; choose .png"),
    ],
)
def test_flags_that_do_not_fit_exit_2(
    arguments: tuple, sentence: str, g3pt, picture: Path, tmp_path: Path
) -> None:
    given = [str(picture) if one == "MUG" else one for one in arguments]
    code, _, stderr = g3pt("generate", "--image", picture, *given, "-o", tmp_path / "x.glb")
    assert code == 2
    assert sentence in stderr


@pytest.mark.parametrize("flag", [("--whole-picture",), ("--cutout", "c.png")])
def test_flags_of_pictures_need_a_picture(flag: tuple, g3pt, tmp_path: Path) -> None:
    code, _, stderr = g3pt("generate", "--text", "a mug", *flag, "-o", tmp_path / "x.glb")
    assert code == 2
    assert "need --image" in stderr


COMMANDS = {
    "vary": ("CUBE", "--keep", 1, "--resolution", 16),
    "mix": ("CUBE", "CUBE", "--keep", 1, "--resolution", 16),
    "complete": ("CUBE", "--resolution", 16, "--width", 2, "--survivors", 1),
    "score": ("CUBE",),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_that_takes_a_picture_takes_its_mask(
    command: str, g3pt, cube: Path, noise: Path, tmp_path: Path
) -> None:
    mask = Image.new("L", (80, 80))
    mask.paste(255, (20, 30, 50, 60))
    mask.save(tmp_path / "mask.png")
    arguments = [cube if one == "CUBE" else one for one in COMMANDS[command]]
    arguments += ["--image", noise, "--json"]
    arguments += [] if command == "score" else ["-o", tmp_path / "x.glb"]
    code, stdout, stderr = g3pt(command, *arguments)
    assert (code, stdout) == (2, "")
    assert "noise.png: nothing stands out" in stderr
    code, _, stderr = g3pt(command, *arguments, "--mask", tmp_path / "none.png")
    assert code == 2
    assert "none.png: no such mask" in stderr
    flags = ("--mask", tmp_path / "mask.png", "--cutout", tmp_path / "cut.png")
    code, stdout, _ = g3pt(command, *arguments, *flags)
    assert code == 0
    (told,) = json.loads(stdout)["inputs"]
    assert told["path"] == str(noise)
    assert told["cutout"]["method"] == "mask"
    assert np.asarray(Image.open(tmp_path / "cut.png"))[:, :, 3].any()
