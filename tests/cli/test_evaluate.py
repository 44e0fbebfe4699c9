import json
from pathlib import Path

import pytest

from adapters import write_adapter


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
        (("--data", "procedural", "--address", "auto"), "give --engine ray as well"),
        (("--data", "procedural", "--engine", "ray", "--workers", 2), "takes those of the cluster"),
    ],
)
@pytest.mark.parametrize("mode", ["reconstruction", "generation", "rate"])
def test_wrong_data_exits_2(mode: str, arguments: tuple, sentence: str, g3pt) -> None:
    code, stdout, stderr = g3pt("evaluate", mode, *arguments)
    assert (code, stdout) == (2, "")
    assert sentence in stderr


@pytest.mark.parametrize("mode", ["reconstruction", "generation", "rate", "anomalies", "stability"])
def test_a_split_that_is_not_there_is_refused_with_those_that_are(
    mode: str, g3pt, cube: Path
) -> None:
    line = json.dumps({"id": "cube", "path": cube.name, "split": "train"})
    (cube.parent / "manifest.jsonl").write_text(line)
    code, _, stderr = g3pt("evaluate", mode, "--data", cube.parent)
    assert code == 2
    assert "none of its 1 shapes is of split val; there are train (1); choose with" in stderr
    assert "or take all with --split all" in stderr


def test_wrong_weights_are_wrong_input(g3pt, tmp_path: Path) -> None:
    arguments = ("evaluate", "reconstruction", "--data", "procedural", "--limit", 1)
    code, stdout, stderr = g3pt(*arguments, weights=tmp_path)
    assert (code, stdout) == (2, "")
    assert "is not a weights folder" in stderr


def test_a_folder_of_meshes_compared_with_itself_is_perfect(
    g3pt, cube: Path, tmp_path: Path
) -> None:
    pytest.importorskip("g3pt.evaluation.protocols.meshes")
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


def test_yardsticks_are_made_and_measured(g3pt, tmp_path: Path) -> None:
    folder, first, second = tmp_path / "yardsticks", tmp_path / "a.json", tmp_path / "b.json"
    code, stdout, _ = g3pt("evaluate", "yardsticks", "--make", folder, "--limit", 3, "--json")
    assert code == 0
    outputs = json.loads(stdout)["outputs"]
    assert [Path(entry["path"]).stem for entry in outputs] == ["known", "unseen"]
    assert [entry["objects"] for entry in outputs] == [3, 3]
    measure = ("evaluate", "yardsticks", "--data", folder, "--consensus", 2, "--limit", 2)
    code, stdout, _ = g3pt(*measure, "-o", first, "--json")
    assert code == 0
    result = json.loads(stdout)
    assert result == json.loads(first.read_text())
    assert [(row["set"], row["num"]) for row in result["rows"]] == [("known", 2), ("unseen", 2)]
    for row in result["rows"]:
        assert set(row["iou"]) == {"tokens", "sample", "consensus_of_2"}
    assert set(result["weights"]) == {"name", "sha256"}
    code, stdout, _ = g3pt(*measure, "-o", second, "--against", first)
    assert code == 0
    assert "memory (known - unseen), sample" in stdout
    differences = json.loads(second.read_text())["differences"]
    assert {row["mean"] for row in differences} == {0.0}  # the same weights and seeds


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "give exactly one of --data and --make"),
        (("--data", "here", "--make", "there"), "give exactly one of --data and --make"),
        (("--data", "nowhere"), "holds no yardstick"),
        (("--data", "here", "--consensus", 0), "--consensus must be at least 1, got 0"),
        (("--data", "here", "-o", "report.txt"), "write to a file named .json"),
        (("--data", "here", "--against", "no.json"), "no such report"),
    ],
)
def test_yardsticks_that_cannot_be_measured_are_refused(
    arguments: tuple, sentence: str, g3pt
) -> None:
    code, stdout, stderr = g3pt("evaluate", "yardsticks", *arguments)
    assert (code, stdout) == (2, "")
    assert sentence in stderr


@pytest.fixture(scope="module")
def adapter(tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter") / "mine"
    write_adapter(tiny_weights, folder)
    return folder


def test_generation_is_measured_with_an_adapter(g3pt, adapter: Path) -> None:
    arguments = ("evaluate", "generation", "--data", "procedural", "--limit", 1, "--quick")
    arguments += ("--condition", "text", "--json")
    _, plain, _ = g3pt(*arguments)
    code, stdout, _ = g3pt(*arguments, "--adapter", adapter)
    assert code == 0
    before, after = json.loads(plain), json.loads(stdout)
    assert (before["weights"]["name"], after["weights"]["name"]) == ("untrained", "mine")
    name = "text/true_nll"
    assert before["summary"][name]["mean"] != after["summary"][name]["mean"]


def test_anomalies_are_measured_with_an_adapter(g3pt, adapter: Path) -> None:
    arguments = ("evaluate", "anomalies", "--limit", 2, "--json")
    _, plain, _ = g3pt(*arguments)
    code, stdout, _ = g3pt(*arguments, "--adapter", adapter)
    assert code == 0
    before, after = json.loads(plain), json.loads(stdout)
    assert after["weights"]["name"] == "mine"
    assert before["objects"][0]["shape"] != after["objects"][0]["shape"]


def test_stability_of_tokens_is_told_by_scale(g3pt, tmp_path: Path) -> None:
    out = tmp_path / "found" / "stability.json"
    arguments = ("evaluate", "stability", "--limit", 2, "--num-points", 64, "--spread", 2)
    code, stdout, _ = g3pt(*arguments, "-o", out)
    assert code == 0
    found = json.loads(out.read_text())
    assert found["num_points"] == 64
    lines = stdout.splitlines()
    for scale, row in enumerate(found["scales"]):
        line = next(each for each in lines if each.startswith(f"scale {scale}, "))
        assert f"{row['differ']['mean']:.1%} of bits differ" in line
    code, _, stderr = g3pt(*arguments, "-o", tmp_path / "found.csv")
    assert code == 2
    assert ".json" in stderr


def test_meshes_of_another_system_take_no_adapter(g3pt, adapter: Path, cube: Path) -> None:
    arguments = ("evaluate", "generation", "--data", cube.parent, "--prediction", cube.parent)
    code, _, stderr = g3pt(*arguments, "--adapter", adapter)
    assert code == 2
    assert "leave out --adapter" in stderr
