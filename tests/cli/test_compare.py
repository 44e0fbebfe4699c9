"""`g3pt compare`: two weights or two folders of meshes, and what is refused."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adapters import write_adapter


@pytest.fixture(scope="module")
def adapter(tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter") / "mine"
    write_adapter(tiny_weights, folder)
    return folder


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three boxes of different proportions, off the middle."""
    from g3pt.geometry.mesh import write_mesh
    from stocks import box

    folder = tmp_path_factory.mktemp("shapes")
    for number in range(3):
        write_mesh(folder / f"box-{number}.ply", box((3.0, 0.0, 0.0), (1.0, 1.0 + number, 2.0)))
    return folder


@pytest.fixture
def few_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes of a protocol for tests."""
    from g3pt.evaluation import objects

    few = objects.EvaluationSettings(
        resolution=16,
        num_volume=4000,
        num_prefix=500,
        num_surface=800,
        num_near=200,
        truth_resolution=24,
    )
    monkeypatch.setattr(objects, "quick_settings", lambda seed=0: few)


FEW = ("--quick", "--json")


def rows_by_task(report: dict) -> dict[tuple[str, str], dict]:
    return {(row["task"], row["metric"]): row for row in report["rows"]}


def test_weights_and_an_adapter_are_compared_object_by_object(
    g3pt, few_points: None, adapter: Path, shapes: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = ("compare", tiny_weights, adapter, "--data", shapes, *FEW, "-o", out)
    code, stdout, stderr = g3pt(*arguments)
    assert code == 0, stderr
    report = json.loads(stdout)
    assert report == json.loads((out / "comparison.json").read_text())
    assert [report[side]["name"] for side in "ab"] == ["untrained", "mine"]
    assert report["counts"]["objects"] == 3
    assert report["notes"] == ["both have the same tokenizer, so reconstruction is left out"]
    rows = rows_by_task(report)
    assert {task for task, _ in rows} == {"image", "text"}
    for (task, metric), row in rows.items():
        own = [one for one in report["objects"] if one["task"] == task]
        differences = [one[f"{metric}_b"] - one[f"{metric}_a"] for one in own]
        assert row["difference"]["mean"] == pytest.approx(np.mean(differences))
        mean_b, mean_a = row["b"]["mean"], row["a"]["mean"]
        assert row["difference"]["mean"] == pytest.approx(mean_b - mean_a)
        assert row["difference"]["low"] <= np.mean(differences) <= row["difference"]["high"]
        sign = -1 if metric == "chamfer_mean" else 1
        assert row["better"]["b"] == sum(sign * one > 0 for one in differences)
    table = list(csv.DictReader((out / "objects.csv").read_text().splitlines()))
    assert len(table) == 6
    assert "| image | iou | 3 |" in (out / "report.md").read_text()
    sheet = np.asarray(Image.open(out / "sheet.png"))
    assert sheet.shape[1] > 5 * 224 and sheet.std() > 1  # a picture, and A and B of both tasks

    before = {path: path.stat().st_mtime_ns for path in out.glob("?/objects.csv")}
    assert len(before) == 2
    assert json.loads(g3pt(*arguments)[1])["rows"] == report["rows"]
    assert {path: path.stat().st_mtime_ns for path in before} == before  # nothing asked again


def test_weights_against_themselves_differ_by_nothing_and_by_their_sampling(
    g3pt, few_points: None, shapes: Path, tiny_weights: Path
) -> None:
    arguments = ("compare", tiny_weights, tiny_weights, "--data", shapes, "--task", "image", *FEW)
    code, stdout, _ = g3pt(*arguments, "--limit", 2)
    assert code == 0
    for row in json.loads(stdout)["rows"]:
        assert row["difference"] == {"mean": 0.0, "low": 0.0, "high": 0.0, "num": 2}
        assert row["better"] == {"a": 0, "b": 0}
    other = ("--sampling-b", "temperature=0", "scales=2")
    code, stdout, _ = g3pt(*arguments, "--limit", 2, *other)
    assert code == 0
    report = json.loads(stdout)
    assert report["b"]["label"] == "untrained, temperature 0.0, num_scales 2"
    assert any(one["iou_difference"] for one in report["objects"])


def test_reconstructions_are_compared_where_it_is_asked_for(
    g3pt, few_points: None, shapes: Path, tiny_weights: Path
) -> None:
    arguments = ("--data", shapes, "--task", "reconstruction", *FEW, "--limit", 1)
    code, stdout, _ = g3pt("compare", tiny_weights, tiny_weights, *arguments)
    assert code == 0
    assert {row["task"] for row in json.loads(stdout)["rows"]} == {"reconstruction"}


@pytest.fixture
def two_folders(shapes: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The shapes themselves without the last one, and halves of them."""
    from g3pt.geometry.mesh import TriangleMesh, read_mesh, write_mesh

    whole, half = tmp_path / "whole", tmp_path / "half"
    shutil.copytree(shapes, whole)
    half.mkdir()
    for path in sorted(shapes.iterdir())[:2]:
        mesh = read_mesh(path)
        middle = mesh.bounds().mean(axis=0)
        smaller = (mesh.vertices - middle) * [0.5, 1.0, 1.0] + middle
        write_mesh(half / path.name, TriangleMesh(smaller, mesh.faces))
    return whole, half


def test_folders_of_meshes_are_compared_on_what_both_have(
    g3pt, few_points: None, two_folders: tuple[Path, Path], shapes: Path, tmp_path: Path
) -> None:
    whole, half = two_folders
    arguments = ("--data", shapes, "--frame", "source", "--quick", "-o", tmp_path / "out")
    code, stdout, _ = g3pt("compare", whole, half, *arguments, "--json", weights=None)
    assert code == 0
    report = json.loads(stdout)
    assert report["counts"] == {"objects": 2, "left_out": 1, "problems": 0}
    assert report["left_out"] == ["box-2.ply"]
    row = rows_by_task(report)["meshes", "iou"]
    assert row["a"]["mean"] == pytest.approx(1.0, abs=0.01)
    assert row["b"]["mean"] == pytest.approx(0.5, abs=0.1)
    assert row["better"] == {"a": 2, "b": 0}
    code, stdout, _ = g3pt("compare", whole, half, *arguments, weights=None)
    assert "1 objects are left out: a folder has no mesh of them" in stdout
    assert "A 2, B 0" in stdout


def test_weights_are_compared_with_a_folder_of_meshes(
    g3pt, few_points: None, two_folders: tuple[Path, Path], shapes: Path, tiny_weights: Path
) -> None:
    sides = ("compare", two_folders[0], tiny_weights, "--data", shapes, "--frame", "source", *FEW)
    code, _, stderr = g3pt(*sides)
    assert code == 2
    assert "say what the meshes were made from with --task (image, text, reconstruction)" in stderr
    code, stdout, _ = g3pt(*sides, "--task", "text", "--limit", 1)
    assert code == 0
    row = rows_by_task(json.loads(stdout))["text", "iou"]
    assert row["a"]["mean"] == pytest.approx(1.0, abs=0.01)
    assert row["b"]["mean"] < 0.9


def test_weights_are_compared_on_yardsticks(
    g3pt, adapter: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    from g3pt.evaluation.objects import ObjectList, list_objects
    from g3pt.evaluation.sets.yardsticks import YardstickConfig, build_yardstick
    from g3pt.shapes.yardstick import save_yardstick

    objects: ObjectList = list_objects("procedural", limit=3)
    small = YardstickConfig(num_points=512, num_queries=512, picture_size=64, render_size=64)
    save_yardstick(
        tmp_path / "known.safetensors", build_yardstick("known", objects, small).yardstick
    )
    out = tmp_path / "out"
    for data in (tmp_path, tmp_path / "known.safetensors"):
        sides = ("compare", tiny_weights, adapter, "--data", data, "--limit", 2)
        code, stdout, stderr = g3pt(*sides, "-o", out, "--json")
        assert code == 0, stderr
        report = json.loads(stdout)
        (row,) = report["rows"]  # both have the same tokens of the objects themselves
        assert (row["task"], row["metric"], row["objects"]) == ("known, default", "iou", 2)
        differences = [one["iou_b"] - one["iou_a"] for one in report["objects"]]
        assert row["difference"]["mean"] == pytest.approx(np.mean(differences))
        assert (out / "sheet.png").is_file()
    code, _, stderr = g3pt("compare", tiny_weights, tmp_path, "--data", tmp_path)
    assert code == 2  # a folder that holds no meshes
    assert "holds neither weights, nor an adapter, nor meshes" in stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nowhere", "WEIGHTS"), "there is no such weights folder"),
        (("WEIGHTS", "EMPTY"), "holds neither weights, nor an adapter, nor meshes"),
        (("WEIGHTS", "WEIGHTS", "--task", "points"), "untrained cannot do points; it can"),
        (("WEIGHTS", "WEIGHTS", "--limit", 0), "--limit must be at least 1, got 0"),
        (("WEIGHTS", "WEIGHTS", "--sampling-a", "heat=3"), "--sampling-a heat=3: expected NAME="),
        (("WEIGHTS", "WEIGHTS", "--sampling-b", "top_p=3"), "top_p must be within (0, 1], got 3"),
        (("ADAPTER", "WEIGHTS", "--adapter-a", "ADAPTER"), "leave out --adapter-a"),
        (("SHAPES", "SHAPES", "--sampling-a", "top_p=.5"), "--sampling-a are for weights"),
        (("SHAPES", "SHAPES", "--task", "image"), "folders of meshes are there already"),
        (("SHAPES", "SHAPES", "--split", "x", "--data", "TABLE"), "is of split x; there are"),
        (("SHAPES", "SHAPES", "--data", "procedural", "--limit", 2), "no mesh belongs to any"),
        (
            ("SHAPES", "SHAPES", "--data", "procedural", "--frame", "source", "--limit", 1),
            "comes from no file",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_with_one_sentence(
    arguments: tuple,
    sentence: str,
    g3pt,
    adapter: Path,
    shapes: Path,
    tiny_weights: Path,
    mesh_table: Path,
    tmp_path: Path,
) -> None:
    names = {
        "WEIGHTS": tiny_weights,
        "ADAPTER": adapter,
        "SHAPES": shapes,
        "EMPTY": tmp_path,
        "TABLE": mesh_table,
    }
    given = [names.get(one, one) for one in arguments]
    given += [] if "--data" in given else ["--data", shapes]
    code, stdout, stderr = g3pt("compare", *given)
    assert (code, stdout) == (2, "")
    assert sentence in stderr
    assert stderr.count("\n") == 1


@pytest.fixture
def mesh_table(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shapes with a manifest, all of one split."""
    folder = tmp_path_factory.mktemp("table")
    for path in shapes.iterdir():
        shutil.copy(path, folder)
    lines = [
        json.dumps({"id": path.name, "path": path.name, "split": "train"})
        for path in sorted(shapes.iterdir())
    ]
    (folder / "manifest.jsonl").write_text("\n".join(lines))
    return folder


def test_folders_without_a_common_object_are_refused(g3pt, shapes: Path, tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    for folder, number in ((a, 0), (b, 1)):
        folder.mkdir()
        shutil.copy(shapes / f"box-{number}.ply", folder)
    code, _, stderr = g3pt("compare", a, b, "--data", shapes, weights=None)
    assert code == 2
    assert "has a mesh on both sides: of 3, 1 in a and 1 in b" in stderr


def test_a_run_is_no_side_of_a_comparison(g3pt, shapes: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "checkpoints").mkdir()
    code, _, stderr = g3pt("compare", tmp_path, tmp_path, "--data", shapes, weights=None)
    assert code == 2
    assert "g3pt export" in stderr
