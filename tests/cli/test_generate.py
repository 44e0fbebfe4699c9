import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from g3pt.geometry.mesh import is_closed, num_components, read_mesh

FAST = ("--resolution", 16)


def test_a_picture_gives_a_closed_mesh_file(g3pt, picture: Path, tmp_path: Path) -> None:
    out = tmp_path / "new folder" / "mug.glb"
    code, stdout, _ = g3pt("generate", "--image", picture, "-o", out, *FAST)
    assert code == 0
    assert stdout.startswith(f"{out}: ")
    assert is_closed(read_mesh(out)) or "open" in stdout


def test_json_is_one_object_with_the_promised_keys(g3pt, tmp_path: Path) -> None:
    out = tmp_path / "mug.obj"
    code, stdout, stderr = g3pt("generate", "--text", "a red mug", "-o", out, "--json", *FAST)
    result = json.loads(stdout)
    assert code == 0
    assert "scales" in stderr  # progress is there, and not on stdout
    assert set(result) == {"outputs", "seconds", "weights"}
    assert {"load", "condition", "tokens", "extract", "write"} <= set(result["seconds"])
    assert set(result["weights"]) == {"name", "sha256"}
    (entry,) = result["outputs"]
    keys = {"path", "seed", "vertices", "faces", "closed", "components", "nll", "scales"}
    assert keys <= set(entry)
    mesh = read_mesh(out)
    assert (len(mesh.vertices), len(mesh.faces)) == (entry["vertices"], entry["faces"])
    assert entry["components"] == num_components(mesh)
    assert entry["closed"] is True


def test_the_generator_runs_in_the_number_format_asked_for(
    g3pt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from g3pt.models.car import Car

    used = []
    whole = Car.forward_scale
    monkeypatch.setattr(
        Car, "forward_scale", lambda self, *rest: used.append(self.dtype) or whole(self, *rest)
    )
    arguments = ("generate", "--text", "a red mug", "-o", tmp_path / "mug.glb", *FAST)
    assert g3pt(*arguments, "--dtype", "bfloat16")[0] == 0
    assert g3pt(*arguments)[0] == 0
    assert used == [torch.bfloat16] * 3 + [torch.float32] * 3


def test_several_prompts_and_samples_go_into_a_folder(g3pt, picture: Path, tmp_path: Path) -> None:
    twin = tmp_path / "other" / "mug.png"
    twin.parent.mkdir()
    shutil.copy(picture, twin)
    out = tmp_path / "out"
    arguments = ("--image", picture, twin, "--num", 2, "--seed", 7)
    code, stdout, _ = g3pt("generate", *arguments, "-o", out, "--json", *FAST)
    assert code == 0
    names = [Path(entry["path"]).name for entry in json.loads(stdout)["outputs"]]
    assert names == ["mug-7.glb", "mug-8.glb", "mug-7-2.glb", "mug-8-2.glb"]
    assert sorted(path.name for path in out.iterdir()) == sorted(names)


def test_the_best_of_several_says_what_it_was_chosen_among(g3pt, tmp_path: Path) -> None:
    arguments = ("--text", "a mug", "--num", 2, "--best-of", 3, "--seed", 4, "--json", *FAST)
    code, stdout, _ = g3pt("generate", *arguments, "-o", tmp_path / "out")
    assert code == 0
    outputs = json.loads(stdout)["outputs"]
    for first, entry in zip((4, 7), outputs, strict=True):
        assert Path(entry["path"]).name == f"a-mug-{first}.glb"
        seeds = [one["seed"] for one in entry["candidates"]]
        scores = [one["score"] for one in entry["candidates"] if one["score"] is not None]
        assert seeds == [first, first + 1, first + 2]
        assert entry["selected_by"] == "likelihood"
        assert max(scores) == -entry["nll"]
        assert entry["seed"] in seeds


def test_a_consensus_says_which_seeds_took_part(g3pt, tmp_path: Path) -> None:
    arguments = ("--text", "a mug", "--num", 2, "--consensus", 3, "--seed", 4, "--tokens")
    code, stdout, _ = g3pt("generate", *arguments, "-o", tmp_path / "out", "--json", *FAST)
    assert code == 0
    for first, entry in zip((4, 7), json.loads(stdout)["outputs"], strict=True):
        assert Path(entry["path"]).name == f"a-mug-{first}.glb"
        seeds = [first, first + 1, first + 2]
        assert entry["consensus"] == {"samples": 3, "seeds": seeds}
        assert Path(entry["tokens_path"]).is_file()


def test_sentences_name_their_files(g3pt, tmp_path: Path) -> None:
    sentences = ("--text", "A red mug!", "--text", "two tables")
    assert g3pt("generate", *sentences, "-o", tmp_path / "out", *FAST)[0] == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["a-red-mug.glb", "two-tables.glb"]


def test_a_seed_gives_the_same_file_twice(g3pt, tmp_path: Path) -> None:
    for name in ("first.glb", "second.glb"):
        g3pt("generate", "--text", "a mug", "--seed", 3, "-o", tmp_path / name, *FAST)
    assert (tmp_path / "first.glb").read_bytes() == (tmp_path / "second.glb").read_bytes()


def test_every_scale_and_a_preview_are_written(g3pt, picture: Path, tmp_path: Path) -> None:
    out, sheet = tmp_path / "out" / "mug.glb", tmp_path / "steps" / "mug.png"
    wanted = ("--every-scale", "--preview", sheet, "--json")
    code, stdout, _ = g3pt("generate", "--image", picture, "-o", out, *wanted, *FAST)
    assert code == 0
    scales = json.loads(stdout)["outputs"][0]["scales"]
    assert [entry["scale"] for entry in scales] == [1, 2, 3]
    names = [Path(entry["path"]).name for entry in scales]
    assert names == ["mug-scale1.glb", "mug-scale2.glb", "mug.glb"]
    assert all(Path(entry["path"]).is_file() for entry in scales)
    with Image.open(sheet) as image:  # the input, two coarser scales, the mesh
        assert image.width > 3.5 * image.height


def test_the_preview_shows_the_sentence(g3pt, tmp_path: Path) -> None:
    sheet = tmp_path / "steps.png"
    arguments = ("generate", "--text", "a mug", "-o", tmp_path / "mug.glb", "--preview", sheet)
    assert g3pt(*arguments, *FAST)[0] == 0
    pixels = np.asarray(Image.open(sheet))
    assert (pixels[:224, 4:228] < 128).any()


def test_nothing_half_written_is_left_behind(g3pt, picture: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    g3pt("generate", "--image", picture, "-o", out / "mug.glb", "--preview", out / "p.png", *FAST)
    assert sorted(path.name for path in out.iterdir()) == ["mug.glb", "p.png"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("missing.png", "no such picture"),
        ("one-pixel.png", "1 x 1 pixels are too few"),
        ("huge.png", "20000 x 20000 pixels are more than"),
        ("words.png", "is not a readable picture"),
    ],
)
def test_a_bad_picture_exits_2_with_one_sentence(
    name: str, sentence: str, g3pt, bad, tmp_path: Path
) -> None:
    out = tmp_path / "out" / "mug.glb"
    code, stdout, stderr = g3pt("generate", "--image", bad(name), "-o", out, "--json")
    assert code == 2
    assert stdout == ""
    assert stderr.count("\n") == 1
    assert name in stderr and sentence in stderr
    assert not out.parent.exists()


def test_a_picture_and_a_sentence_describe_one_shape(g3pt, picture: Path, tmp_path: Path) -> None:
    asked = ("generate", "--image", picture, "--text", "a red mug", "--json", *FAST)
    code, stdout, stderr = g3pt(*asked, "-o", tmp_path / "both.glb")
    assert code == 0, stderr
    (both,) = json.loads(stdout)["outputs"]
    alone = g3pt("generate", "--image", picture, "--json", *FAST, "-o", tmp_path / "one.glb")[1]
    assert json.loads(alone)["outputs"][0]["nll"] != both["nll"]
    pairs = ("--image", picture, picture, "--text", "a mug", "--text", "a table")
    code, stdout, _ = g3pt("generate", *pairs, "--json", *FAST, "-o", tmp_path / "pairs")
    assert code == 0
    names = [Path(one["path"]).name for one in json.loads(stdout)["outputs"]]
    assert names == ["mug.glb", "mug-2.glb"]
    odd = ("--image", picture, picture, "--text", "a mug")
    code, _, stderr = g3pt("generate", *odd, *FAST, "-o", tmp_path / "no")
    assert code == 2
    assert "got pictures of 2 and 1 sentences" in stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--text", "a mug", "--resolution", 10**6), "between 16 and 1024"),
        (("--text", "a mug", "--resolution", 0), "between 16 and 1024"),
        (("--text", "a mug", "--num", 0), "--num must be at least 1"),
        (("--text", "a mug", "--best-of", 0), "--best-of must be at least 1"),
        (("--text", "a mug", "--consensus", 0), "--consensus must be at least 1"),
        (("--text", "a mug", "--consensus", 2, "--best-of", 2), "give one of the two"),
        (("--text", "a mug", "--num", 2), "2 results do not fit one file"),
        (("--text", " "), "text is empty"),
        (("--text", "a mug", "--top-p", 1.5), "--top-p must be within (0, 1]"),
        (("--text", "a mug", "--temperature", -1), "--temperature must not be negative"),
        (("--text", "a mug", "--scales", 9), "scales must lie in 1..3"),
        (("--text", "a mug", "--seed", -1), "--seed must lie in 0.."),
        (("--text", "a mug", "--preview", "p.jpg"), "--preview p.jpg"),
        ((), "give --image, --text or --points"),
    ],
)
def test_bad_arguments_exit_2_with_one_sentence(
    arguments: tuple, sentence: str, g3pt, tmp_path: Path
) -> None:
    code, stdout, stderr = g3pt("generate", *arguments, "-o", tmp_path / "x.glb", "--json")
    assert (code, stdout) == (2, "")
    assert stderr.count("\n") == 1
    assert sentence in stderr
    assert not (tmp_path / "x.glb").exists()


def test_a_format_that_cannot_be_written_is_refused(g3pt, tmp_path: Path) -> None:
    code, _, stderr = g3pt("generate", "--text", "a mug", "-o", tmp_path / "mug.step")
    assert code == 2
    assert ".step cannot be written; choose .glb" in stderr


@pytest.mark.parametrize("kind", ["missing", "empty folder", "file", "other config"])
def test_wrong_weights_exit_2_with_one_sentence(
    kind: str, g3pt, tiny_weights: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "weights"
    if kind != "missing":
        weights.mkdir()
    if kind == "file":
        weights = tiny_weights / "model.safetensors"
    if kind == "other config":
        shutil.copy(tiny_weights / "model.safetensors", weights)
        (weights / "config.json").write_text('{"model_type": "clip"}')
    code, stdout, stderr = g3pt(
        "generate", "--text", "a mug", "-o", tmp_path / "x.glb", weights=weights
    )
    assert (code, stdout) == (2, "")
    assert stderr.count("\n") == 1
    assert weights.name in stderr


def test_a_failure_while_working_exits_1(
    g3pt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("matrix is singular")

    monkeypatch.setattr("g3pt.generation.meshing.extract_surface", fail)
    code, stdout, stderr = g3pt("generate", "--text", "a mug", "-o", tmp_path / "x.glb", *FAST)
    assert (code, stdout) == (1, "")
    assert stderr.splitlines()[-1] == "g3pt: generating: ValueError: matrix is singular"


def test_an_empty_shape_is_reported_and_exits_1(
    g3pt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from g3pt.generation.field import ShapeField

    monkeypatch.setattr(
        ShapeField, "__call__", lambda self, points: np.full(len(points), -1, dtype=np.float32)
    )
    wanted = ("-o", tmp_path / "x.glb", "--preview", tmp_path / "p.png", "--json")
    code, stdout, stderr = g3pt("generate", "--text", "a mug", *wanted, *FAST)
    assert code == 1
    assert json.loads(stdout)["outputs"][0]["path"] is None
    assert "seed 0 has no inside" in stderr
    assert not (tmp_path / "x.glb").exists()


@pytest.fixture(scope="module")
def points_weights(tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained weights that read up to two views of a shape, and points."""
    from dataclasses import replace

    import torch

    from g3pt.models.car import Car
    from g3pt.models.conditioning import PointsConditionConfig
    from g3pt.models.weights.load import load_weights, save_weights

    loaded = load_weights(tiny_weights, "cpu")
    assert loaded.car is not None
    image, _ = loaded.car.config.conditions
    conditions = (replace(image, max_views=2), PointsConditionConfig(width=32, num_points=64))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        car = Car(replace(loaded.car.config, conditions=conditions))
    folder = tmp_path_factory.mktemp("points") / "untrained"
    save_weights(folder, loaded.tokenizer, car, config=loaded.config)
    return folder


def test_point_clouds_give_a_file_each(g3pt, points_weights: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("left.xyz", "right.xyz"):
        np.savetxt(tmp_path / name, rng.uniform(-0.5, 0.5, (60, 3)))
    clouds = ("--points", tmp_path / "left.xyz", tmp_path / "right.xyz")
    out = ("-o", tmp_path / "out", "--json")
    code, stdout, _ = g3pt("generate", *clouds, *out, *FAST, weights=points_weights)
    assert code == 0
    names = [Path(entry["path"]).name for entry in json.loads(stdout)["outputs"]]
    assert names == ["left.glb", "right.glb"]


def test_views_join_pictures_into_one_shape(
    g3pt, points_weights: Path, picture: Path, tmp_path: Path
) -> None:
    given = ("--image", picture, picture, "--json", *FAST)
    for flags, num in (((), 2), (("--views",), 1)):
        folder = tmp_path / f"out{num}"
        code, stdout, _ = g3pt("generate", *given, *flags, "-o", folder, weights=points_weights)
        assert code == 0
        assert len(json.loads(stdout)["outputs"]) == num


def test_what_the_weights_do_not_know_exits_2(g3pt, picture: Path, tmp_path: Path) -> None:
    cloud = tmp_path / "scan.xyz"
    np.savetxt(cloud, np.random.default_rng(0).uniform(-0.5, 0.5, (60, 3)))
    wrong = {
        ("--points", cloud): "these weights take no points; they know: image, text",
        ("--points", tmp_path / "none.xyz"): "no such point cloud",
        ("--image", picture, picture, "--views"): "trained with at most 1 of each",
        ("--text", "a mug", "--views"): "--views joins the pictures of --image",
    }
    for arguments, sentence in wrong.items():
        code, _, stderr = g3pt("generate", *arguments, "-o", tmp_path / "x.glb", *FAST)
        assert code == 2 and sentence in stderr, stderr
