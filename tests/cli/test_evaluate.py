import json
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "evaluate what? choose one of meshes, reconstruction, generation"),
        (("everything",), "got 'everything'"),
        (("meshes", "--prediction", "nowhere", "--truth", "nowhere"), "no such folder of meshes"),
    ],
)
def test_wrong_requests_exit_2(arguments: tuple, sentence: str, g3pt) -> None:
    code, stdout, stderr = g3pt("evaluate", *arguments, weights=None)
    assert (code, stdout) == (2, "")
    assert sentence in stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--data", "nowhere"), "nowhere: expected procedural"),
        (("--data", "procedural", "--limit", 0), "--limit must be at least 1"),
        (("--data", "procedural", "--workers", 0), "--workers must be at least 1"),
    ],
)
@pytest.mark.parametrize("mode", ["reconstruction", "generation", "rate"])
def test_wrong_data_exits_2(mode: str, arguments: tuple, sentence: str, g3pt) -> None:
    code, stdout, stderr = g3pt("evaluate", mode, *arguments)
    assert (code, stdout) == (2, "")
    assert sentence in stderr


def test_wrong_weights_are_wrong_input(g3pt, tmp_path: Path) -> None:
    arguments = ("evaluate", "reconstruction", "--data", "procedural", "--limit", 1)
    code, stdout, stderr = g3pt(*arguments, weights=tmp_path)
    assert (code, stdout) == (2, "")
    assert "is not a weights folder" in stderr


def test_a_folder_of_meshes_compared_with_itself_is_perfect(
    g3pt, cube: Path, tmp_path: Path
) -> None:
    pytest.importorskip("g3pt.evaluation.meshes")
    folders = ("--prediction", cube.parent, "--truth", cube.parent)
    code, stdout, _ = g3pt("evaluate", "meshes", *folders, "--quick", "--json")
    result = json.loads(stdout)
    assert code == 0
    assert result["summary"]["iou"]["mean"] == pytest.approx(1.0, abs=1e-3)
    assert len(result["objects"]) == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--samples", 0), "--samples must be at least 1, got 0"),
        (("--best-of", 0), "--best-of must be at least 1, got 0"),
        (("--prediction", "nowhere"), "nowhere: no such folder of meshes"),
    ],
)
def test_wrong_ways_to_generate_exit_2(arguments: tuple, sentence: str, g3pt) -> None:
    code, stdout, stderr = g3pt("evaluate", "generation", "--data", "procedural", *arguments)
    assert (code, stdout) == (2, "")
    assert sentence in stderr


def test_a_folder_of_meshes_is_evaluated_as_a_generator(g3pt, cube: Path) -> None:
    data = ("evaluate", "generation", "--data", cube.parent, "--prediction", cube.parent)
    code, stdout, stderr = g3pt(*data, "--best-of", 2)
    assert code == 2
    assert "one mesh of each object" in stderr
    code, stdout, _ = g3pt(*data, "--frame", "box", "--quick", "--json")
    result = json.loads(stdout)
    assert code == 0
    assert result["frame"] == "box"
    assert result["summary"]["prediction/iou"]["mean"] == pytest.approx(1.0, abs=1e-3)
