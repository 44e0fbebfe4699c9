import json
from pathlib import Path

import numpy as np
import pytest

from g3pt.geometry.mesh import is_closed, read_mesh
from g3pt.models.g3t import read_g3t

FAST = ("--resolution", 16)


@pytest.fixture
def mug(g3pt, tmp_path: Path) -> Path:
    """Token file of a generated mug."""
    out = tmp_path / "mug.glb"
    assert g3pt("generate", "--text", "a mug", "--seed", 3, "--tokens", "-o", out, *FAST)[0] == 0
    return tmp_path / "mug.g3t"


def test_generate_writes_its_tokens_on_request(g3pt, mug: Path, tmp_path: Path) -> None:
    back = tmp_path / "back.glb"
    assert g3pt("detokenize", mug, "-o", back, *FAST)[0] == 0
    # --min-share drops loose parts of the first only
    assert len(read_mesh(back).faces) >= len(read_mesh(mug.with_suffix(".glb")).faces)


def test_vary_writes_relatives_that_share_the_kept_scales(g3pt, mug: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, stdout, stderr = g3pt(
        "vary", mug, "--keep", 2, "--num", 2, "--seed", 7, "--tokens", "-o", out, "--json", *FAST
    )
    result = json.loads(stdout)
    assert code == 0
    assert "scales" in stderr
    assert (result["source"], result["keep"]) == (str(mug), 2)
    assert [Path(entry["path"]).name for entry in result["outputs"]] == ["mug-7.glb", "mug-8.glb"]
    for entry in result["outputs"]:
        tokens = read_g3t(entry["tokens_path"]).tokens
        assert tokens.truncate(2).equals(read_g3t(mug).tokens.truncate(2))
        assert entry["changed_tokens"] == tokens.num_different(read_g3t(mug).tokens) > 0
        assert is_closed(read_mesh(entry["path"]))


def test_vary_with_its_own_seed_and_prompt_changes_nothing(g3pt, mug: Path, tmp_path: Path) -> None:
    arguments = ("--keep", 1, "--text", "a mug", "--seed", 3, "-o", tmp_path / "again.glb")
    code, stdout, _ = g3pt("vary", mug, *arguments, "--json", *FAST)
    assert code == 0
    assert json.loads(stdout)["outputs"][0]["changed_tokens"] == 0
    assert (tmp_path / "again.glb").read_bytes() == mug.with_suffix(".glb").read_bytes()


def test_a_mesh_is_varied_at_its_own_place(g3pt, cube: Path, tmp_path: Path) -> None:
    from g3pt.geometry.mesh import to_source, unit_frame_of

    unit, source = tmp_path / "unit.obj", tmp_path / "source.obj"
    g3pt("vary", cube, "--keep", 2, "-o", source, *FAST)
    g3pt("vary", cube, "--keep", 2, "-o", unit, "--unit-frame", *FAST)
    moved = to_source(read_mesh(unit), unit_frame_of(read_mesh(cube)))
    np.testing.assert_allclose(moved.vertices, read_mesh(source).vertices, atol=1e-5)


@pytest.mark.parametrize("method", ["resample", "tokens"])
def test_mix_joins_the_scales_of_two_shapes(
    method: str, g3pt, mug: Path, cube: Path, tmp_path: Path
) -> None:
    out = tmp_path / "mixed.glb"
    arguments = ("--keep", 2, "--method", method, "--tokens", "-o", out, "--json", *FAST)
    code, stdout, _ = g3pt("mix", mug, cube, *arguments)
    result = json.loads(stdout)
    assert code == 0
    assert (result["coarse"], result["fine"], result["method"]) == (str(mug), str(cube), method)
    tokens = read_g3t(result["outputs"][0]["tokens_path"]).tokens
    assert tokens.truncate(2).equals(read_g3t(mug).tokens.truncate(2))
    assert is_closed(read_mesh(out))


@pytest.mark.parametrize(
    ("command", "extra", "sentence"),
    [
        ("vary", ("--keep", 3), "keep must lie in 1..2"),
        ("vary", ("--keep", 1, "--num", 2), "2 results do not fit one file"),
        ("vary", ("--keep", 1, "--num", 0), "--num must be at least 1"),
        ("vary", ("--keep", 1, "--top-p", 2), "--top-p must be within (0, 1]"),
        ("vary", ("--keep", 1, "--text", " "), "text is empty"),
        ("vary", ("--keep", 1, "--image", "nowhere.png"), "no such picture"),
        ("mix", ("--keep", 0), "keep must lie in 1..2"),
        ("mix", ("--keep", 1, "--method", "tokens", "--num", 2), "leaves nothing to chance"),
    ],
)
def test_bad_arguments_exit_2_with_one_sentence(
    command: str, extra: tuple, sentence: str, g3pt, mug: Path, tmp_path: Path
) -> None:
    sources = (mug,) if command == "vary" else (mug, mug)
    out = tmp_path / "x.glb"
    code, stdout, stderr = g3pt(command, *sources, *extra, "-o", out, "--json")
    assert (code, stdout) == (2, "")
    assert stderr.count("\n") == 1
    assert sentence in stderr
    assert not out.exists()


@pytest.mark.parametrize("name", ["missing.g3t", "empty.g3t", "words.g3t", "nan.obj", "notes.txt"])
@pytest.mark.parametrize("command", ["vary", "mix"])
def test_a_bad_source_exits_2_with_one_sentence(
    command: str, name: str, g3pt, cube: Path, bad, tmp_path: Path
) -> None:
    sources = (bad(name),) if command == "vary" else (cube, bad(name))
    code, stdout, stderr = g3pt(command, *sources, "--keep", 1, "-o", tmp_path / "x.glb")
    assert (code, stdout) == (2, "")
    assert stderr.count("\n") == 1
    assert name in stderr


def test_score_says_how_likely_files_are(g3pt, mug: Path, cube: Path) -> None:
    code, stdout, _ = g3pt("score", mug, cube, "--text", "a mug", "--json")
    result = json.loads(stdout)
    assert code == 0
    assert [entry["source"] for entry in result["outputs"]] == [str(mug), str(cube)]
    for entry in result["outputs"]:
        assert [scale["tokens"] for scale in entry["scales"]] == [1, 4, 16]
        assert entry["nats"] == pytest.approx(sum(scale["nats"] for scale in entry["scales"]))
        assert entry["nats_per_token"] == pytest.approx(entry["nats"] / 21)
        assert entry["bits"] == pytest.approx(entry["nats"] / np.log(2))


def test_the_score_of_a_generated_shape_is_the_nll_of_its_making(
    g3pt, mug: Path, tmp_path: Path
) -> None:
    made = ("--text", "a mug", "--seed", 3, "-o", tmp_path / "again.glb", "--json")
    _, stdout, _ = g3pt("generate", *made, *FAST)
    nll = json.loads(stdout)["outputs"][0]["nll"]
    _, stdout, _ = g3pt("score", mug, "--text", "a mug", "--json")
    # sums of 21 float32 terms
    assert json.loads(stdout)["outputs"][0]["nats"] == pytest.approx(nll, rel=1e-5)
    _, stdout, _ = g3pt("score", mug, "--text", "a red table", "--json")
    assert json.loads(stdout)["outputs"][0]["nats"] != pytest.approx(nll, rel=1e-5)


def test_the_first_scales_are_scored_on_request(g3pt, mug: Path) -> None:
    whole, part = (
        json.loads(g3pt("score", mug, *extra, "--json")[1])["outputs"][0]
        for extra in ((), ("--scales", 2))
    )
    assert part["tokens"] == 5
    assert [s["nats"] for s in part["scales"]] == pytest.approx(
        [s["nats"] for s in whole["scales"][:2]], rel=1e-5
    )


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [
        (("--scales", 4), "scales must lie in 1..3"),
        (("--text", " "), "text is empty"),
        (("--image", "nowhere.png"), "no such picture"),
        (("nowhere.obj",), "nowhere.obj: no such token file or mesh"),
    ],
)
def test_score_refuses_bad_arguments_with_one_sentence(
    extra: tuple, sentence: str, g3pt, mug: Path
) -> None:
    code, stdout, stderr = g3pt("score", mug, *extra, "--json")
    assert (code, stdout) == (2, "")
    assert stderr.count("\n") == 1
    assert sentence in stderr


QUICK = ("--width", 3, "--survivors", 2, *FAST)


def test_complete_reports_how_the_given_points_are_met(g3pt, cube: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, stdout, _ = g3pt("complete", cube, "--num", 2, "--tokens", "-o", out, "--json", *QUICK)
    result = json.loads(stdout)
    assert code == 0
    assert result["source"] == str(cube)
    means = [entry["distance_mean"] for entry in result["outputs"]]
    assert means == sorted(means)
    for entry in result["outputs"]:
        assert {"path", "seed", "nll", "distance_max", "met", "tokens_path"} <= set(entry)
        assert entry["distance_mean"] <= entry["distance_max"]
        assert is_closed(read_mesh(entry["path"]))


def test_the_box_of_the_whole_sets_place_and_scale(g3pt, cube: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.glb"
    whole = ("--whole", 0, 0, 0, 4, 4, 4)
    assert g3pt("complete", cube, *whole, "--tokens", "-o", out, *QUICK)[0] == 0
    frame = read_g3t(tmp_path / "x.g3t").frame
    assert (frame.scale, frame.offset) == (1.9 / 4, (2.0, 2.0, 2.0))


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [
        (("--keep", 3), "keep must lie in 0..2"),
        (("--num", 9), "num must lie in 1..4"),
        (("--survivors", 99), "survivors must lie in 1..16"),
        (("--whole", 0, 0, 0), "--whole needs X0 Y0 Z0 X1 Y1 Z1"),
        (("--whole", 1, 0, 0, 0, 1, 1), "each X0 below X1"),
        (("--temperature", -1), "--temperature must not be negative"),
        (("--min-share", 2), "--min-share must lie between"),
        (("--resolution", 2), "between 16 and 1024"),
    ],
)
def test_complete_refuses_bad_arguments_with_one_sentence(
    extra: tuple, sentence: str, g3pt, cube: Path, tmp_path: Path
) -> None:
    code, stdout, stderr = g3pt("complete", cube, *extra, "-o", tmp_path / "out", "--json")
    assert (code, stdout) == (2, "")
    assert stderr.count("\n") == 1
    assert sentence in stderr


@pytest.mark.parametrize("name", ["missing.obj", "nan.obj", "notes.txt", "empty.obj"])
def test_a_bad_part_exits_2_with_one_sentence(name: str, g3pt, bad, tmp_path: Path) -> None:
    code, _, stderr = g3pt("complete", bad(name), "-o", tmp_path / "x.glb", *QUICK)
    assert code == 2
    assert stderr.count("\n") == 1
    assert name in stderr
