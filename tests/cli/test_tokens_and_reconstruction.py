import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from g3pt.geometry.mesh import read_mesh
from g3pt.models.g3t import read_g3t

FAST = ("--resolution", 16)
MESH_ERRORS = [
    ("missing.obj", "no such mesh"),
    ("empty.obj", "empty.obj"),
    ("points-only.obj", "no triangles"),
    ("nan.obj", "nan.obj"),
    ("truncated.glb", "truncated.glb"),
    ("words.glb", "words.glb"),
    ("notes.txt", "notes.txt"),
]


def test_tokens_go_to_a_file_and_come_back_where_the_mesh_was(
    g3pt, cube: Path, tmp_path: Path
) -> None:
    tokens, mesh = tmp_path / "cube.g3t", tmp_path / "back.ply"
    code, stdout, _ = g3pt("tokenize", cube, "-o", tokens, "--json")
    (entry,) = json.loads(stdout)["outputs"]
    assert code == 0
    assert entry["bytes"] == tokens.stat().st_size
    assert entry["tokens"] == read_g3t(tokens).tokens.num_tokens == 21
    code, stdout, _ = g3pt("detokenize", tokens, "-o", mesh, "--json", *FAST)
    (entry,) = json.loads(stdout)["outputs"]
    assert code == 0
    assert (entry["tokens"], entry["bytes"]) == (21, mesh.stat().st_size)
    # The cube is [0, 1]^3, so the query cube around it reaches 1 / 0.95 from its centre.
    assert np.abs(read_mesh(mesh).vertices - 0.5).max() <= 0.5 / 0.95 + 1e-6


def test_a_truncated_token_file_is_a_coarser_shape(g3pt, cube: Path, tmp_path: Path) -> None:
    whole, coarse = tmp_path / "whole.g3t", tmp_path / "coarse.g3t"
    g3pt("tokenize", cube, "-o", whole)
    g3pt("tokenize", cube, "-o", coarse, "--scales", 2)
    assert whole.read_bytes().startswith(coarse.read_bytes())
    meshes = [tmp_path / name for name in ("a.glb", "b.glb")]
    assert g3pt("detokenize", whole, "--scales", 2, "-o", meshes[0], *FAST)[0] == 0
    assert g3pt("detokenize", coarse, "-o", meshes[1], *FAST)[0] == 0
    assert meshes[0].read_bytes() == meshes[1].read_bytes()


def test_well_spread_points_are_for_mesh_files(g3pt, cube: Path, tmp_path: Path) -> None:
    paths = {spread: tmp_path / f"{spread}.g3t" for spread in (0, 1, 4)}
    codes = {
        spread: g3pt("tokenize", cube, "-o", path, "--spread", spread)[0]
        for spread, path in paths.items()
    }
    assert codes == {0: 2, 1: 0, 4: 0}
    assert paths[1].read_bytes() != paths[4].read_bytes()
    code, _, stderr = g3pt("tokenize", "--shards", tmp_path, "--spread", 4)
    assert code == 2
    assert "--spread is for mesh files" in stderr


def test_a_run_folder_does_what_its_weights_do(
    g3pt, cube: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    from g3pt.config import save_json
    from g3pt.models.weights.load import load_weights
    from g3pt.training.checkpoint import Checkpoint, module_tensors, save_checkpoint
    from g3pt.training.kinds.tokenizer import TokenizerRun
    from g3pt.training.runs import CONFIG_FILE

    weights = load_weights(tiny_weights, "cpu")
    config = TokenizerRun(model=weights.tokenizer.config)
    points = weights.config.num_points
    run = tmp_path / "run"
    run.mkdir()
    save_json(run / CONFIG_FILE, replace(config, data=replace(config.data, num_points=points)))
    tensors = {"model": module_tensors(weights.tokenizer), "ema": {}}
    save_checkpoint(run / "checkpoints", Checkpoint(1, tensors, {}), keep=1)

    tokens = {name: tmp_path / f"{name}.g3t" for name in ("run", "weights")}
    assert g3pt("tokenize", cube, "-o", tokens["run"], weights=run)[0] == 0
    assert g3pt("tokenize", cube, "-o", tokens["weights"])[0] == 0
    ours, theirs = (read_g3t(tokens[name]).tokens for name in ("run", "weights"))
    assert ours.indices.tolist() == theirs.indices.tolist()
    for command, source in (("detokenize", tokens["run"]), ("reconstruct", cube)):
        mesh = tmp_path / f"{command}.glb"
        assert g3pt(command, source, "-o", mesh, *FAST, weights=run)[0] == 0
        assert mesh.is_file()


def test_reconstruct_reports_scores_and_costs(g3pt, cube: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.glb"
    code, stdout, _ = g3pt("reconstruct", cube, "-o", out, "--json", *FAST)
    (entry,) = json.loads(stdout)["outputs"]
    assert code == 0
    expected = {"path", "source", "tokens", "bits", "iou", "chamfer_mean", "fscore_001", "closed"}
    assert expected | {"queries", "queries_dense"} <= set(entry)
    assert entry["bits"] == 5 * entry["tokens"]
    assert entry["queries_dense"] == 17**3
    assert 0 <= entry["iou"] <= 1
    assert entry["source"] == str(cube)


def test_the_unit_frame_is_kept_on_request(g3pt, cube: Path, tmp_path: Path) -> None:
    from g3pt.geometry.mesh import to_source, unit_frame_of

    unit, source = tmp_path / "unit.obj", tmp_path / "source.obj"
    tokens = tmp_path / "cube.g3t"
    g3pt("tokenize", cube, "-o", tokens)
    g3pt("detokenize", tokens, "-o", unit, "--unit-frame", *FAST)
    g3pt("detokenize", tokens, "-o", source, *FAST)
    moved = to_source(read_mesh(unit), unit_frame_of(read_mesh(cube)))
    np.testing.assert_allclose(moved.vertices, read_mesh(source).vertices, atol=1e-5)


def test_several_files_go_into_a_folder(g3pt, cube: Path, tmp_path: Path) -> None:
    other = tmp_path / "box.obj"
    other.write_text(cube.read_text().replace("v 1 ", "v 2 "))
    assert g3pt("tokenize", cube, other, "-o", tmp_path / "tokens")[0] == 0
    files = sorted((tmp_path / "tokens").iterdir())
    assert [path.name for path in files] == ["box.g3t", "cube.g3t"]
    assert g3pt("detokenize", *files, "-o", tmp_path / "meshes", *FAST)[0] == 0
    assert len(list((tmp_path / "meshes").glob("*.glb"))) == 2


@pytest.mark.parametrize("command", ["tokenize", "reconstruct", "render"])
@pytest.mark.parametrize(("name", "sentence"), MESH_ERRORS)
def test_a_bad_mesh_exits_2_with_one_sentence(
    command: str, name: str, sentence: str, g3pt, bad, tmp_path: Path
) -> None:
    suffix = {"tokenize": "g3t", "reconstruct": "glb", "render": "png"}[command]
    out = tmp_path / "out" / f"x.{suffix}"
    code, stdout, stderr = g3pt(command, bad(name), "-o", out, "--json")
    assert (code, stdout) == (2, "")
    assert stderr.count("\n") == 1
    assert name in stderr and sentence in stderr
    assert not out.exists()


@pytest.mark.parametrize("name", ["missing.g3t", "empty.g3t", "words.g3t"])
def test_a_bad_token_file_exits_2_with_one_sentence(name: str, g3pt, bad, tmp_path: Path) -> None:
    code, stdout, stderr = g3pt("detokenize", bad(name), "-o", tmp_path / "x.glb")
    assert (code, stdout) == (2, "")
    assert stderr.count("\n") == 1
    assert name in stderr


def test_tokens_of_other_weights_are_refused(g3pt, cube: Path, tmp_path: Path) -> None:
    path = tmp_path / "cube.g3t"
    g3pt("tokenize", cube, "-o", path)
    from g3pt.models.g3t import write_g3t

    file = read_g3t(path)
    write_g3t(path, file.tokens, file.frame, "11" * 32)
    code, _, stderr = g3pt("detokenize", path, "-o", tmp_path / "x.glb")
    assert code == 2
    assert "was made by a tokenizer with fingerprint 1111" in stderr


@pytest.mark.parametrize("command", ["reconstruct", "detokenize"])
def test_a_resolution_out_of_range_exits_2(command: str, g3pt, cube: Path, tmp_path: Path) -> None:
    source = cube
    if command == "detokenize":
        source = tmp_path / "cube.g3t"
        g3pt("tokenize", cube, "-o", source)
    code, _, stderr = g3pt(command, source, "-o", tmp_path / "x.glb", "--resolution", 10**6)
    assert code == 2
    assert "between 16 and 1024" in stderr


def test_scales_out_of_range_exit_2(g3pt, cube: Path, tmp_path: Path) -> None:
    code, _, stderr = g3pt("tokenize", cube, "-o", tmp_path / "x.g3t", "--scales", 4)
    assert code == 2
    assert "scales must lie in 1..3" in stderr


def test_no_mesh_at_all_is_wrong_usage(g3pt, tmp_path: Path) -> None:
    assert g3pt("tokenize", "-o", tmp_path / "x.g3t")[0] == 2
