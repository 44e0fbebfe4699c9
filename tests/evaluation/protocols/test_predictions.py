import json
import logging
from pathlib import Path

import numpy as np
import pytest

from g3pt.evaluation.objects import list_objects
from g3pt.evaluation.protocols.predictions import evaluate_predictions, find_predictions
from g3pt.geometry.mesh import TriangleMesh, read_mesh, write_mesh
from g3pt.procedural import make_shape


@pytest.fixture(autouse=True)
def few_families(monkeypatch):
    monkeypatch.setattr("g3pt.evaluation.protocols.generation.PER_FAMILY", 1)


@pytest.fixture(scope="module")
def objects():
    return list_objects("procedural", limit=3)


@pytest.fixture
def folder(objects, tmp_path: Path) -> Path:
    """The first two objects themselves; the third is missing."""
    for ref in objects.refs[:2]:
        write_mesh(tmp_path / f"{ref.id}.ply", make_shape(ref.seed, ref.family).mesh(32))
    return tmp_path


def rows_of(report: dict) -> list[dict]:
    return [row for row in report["objects"] if row["method"] == "prediction"]


def test_the_shapes_themselves_score_high_and_the_missing_one_as_empty(
    objects, folder, tiny_settings
):
    report = evaluate_predictions(folder, objects, tiny_settings)
    first, second, missing = rows_of(report)
    # Meshes of 32 cells per axis against exact fields.
    assert min(first["iou"], second["iou"]) > 0.85
    assert (missing["iou"], missing["empty"], missing["problem"]) == (0.0, True, "no prediction")
    assert report["predictions"]["missing"] == [objects.refs[2].id]
    assert report["counts"] | {"objects": 3} == {
        "objects": 3,
        "empty_predictions": 1,
        "problems": 1,
    }
    sets = report["sets"]["methods"]["prediction"]["one_minus_iou"]
    assert sets["coverage"]["mean"] == pytest.approx(2 / 3)


def test_frames_are_taken_as_they_are_unless_asked(
    objects, folder, tiny_settings, caplog: pytest.LogCaptureFixture
):
    upright = evaluate_predictions(folder, objects, tiny_settings, frame="box")
    for path in folder.iterdir():
        mesh = read_mesh(path)
        write_mesh(path, TriangleMesh(0.4 * mesh.vertices + 0.1, mesh.faces))
    with caplog.at_level(logging.WARNING):
        moved = evaluate_predictions(folder, objects, tiny_settings)
    assert "ask for frame 'box'" in caplog.text
    boxed = evaluate_predictions(folder, objects, tiny_settings, frame="box")
    for there, away, back in zip(*map(rows_of, (upright, moved, boxed)), strict=True):
        assert back["iou"] == pytest.approx(there["iou"], abs=0.02)  # PLY stores float32
        if not there["empty"]:
            assert away["iou"] < 0.3


def test_alignment_finds_turned_meshes_in_columns_of_its_own(folder, tiny_settings):
    (ref,) = list_objects("procedural", limit=1).refs
    mesh = read_mesh(folder / f"{ref.id}.ply")
    turned = TriangleMesh(0.5 * mesh.vertices[:, [1, 2, 0]], mesh.faces)
    write_mesh(folder / f"{ref.id}.ply", turned)
    report = evaluate_predictions(
        folder, list_objects("procedural", limit=1), tiny_settings, align=True
    )
    (row,) = rows_of(report)
    # ICP between some hundred samples: good, but not to the last cell.
    assert row["aligned_iou"] > 0.6 > row["iou"]


def test_a_manifest_names_files_by_object(objects, folder, box_mesh):
    write_mesh(folder / "odd.off", box_mesh())
    wanted = objects.refs[2].id
    (folder / "manifest.jsonl").write_text(json.dumps({"id": wanted, "path": "odd.off"}) + "\n")
    assert find_predictions(folder, [ref.id for ref in objects.refs]) == {
        wanted: folder / "odd.off"
    }


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ("[]\n", "line 1: expected a JSON object with 'id' and 'path'"),
        ('{"id": "a"}\n', "line 1: expected a JSON object with 'id' and 'path'"),
        ("no json\n", "line 1: expected a JSON object"),
        ("[" * 100_000, "line 1: expected a JSON object"),
        ('{"id": "a", "path": "a.off"}\n' * 2, "line 2: a is there twice"),
    ],
)
def test_broken_manifests_name_their_line(lines, sentence, tmp_path: Path, box_mesh):
    write_mesh(tmp_path / "a.off", box_mesh())
    (tmp_path / "manifest.jsonl").write_text(lines)
    with pytest.raises(ValueError, match=sentence):
        find_predictions(tmp_path, ["a"])


def test_a_file_that_the_manifest_names_must_be_there(tmp_path: Path):
    (tmp_path / "manifest.jsonl").write_text('{"id": "a", "path": "a.off"}\n')
    with pytest.raises(FileNotFoundError, match="no such mesh"):
        find_predictions(tmp_path, ["a"])


def test_a_folder_for_other_objects_is_refused(folder):
    with pytest.raises(ValueError, match="no mesh belongs to any of the 1 objects"):
        find_predictions(folder, ["something-else"])
    with pytest.raises(FileNotFoundError, match="no such folder"):
        find_predictions(folder / "nowhere", ["a"])


def test_ids_that_are_files_may_lose_their_suffix(folder, box_mesh):
    for name in ("chairs/a.off", "b.glb.ply"):
        (folder / name).parent.mkdir(exist_ok=True)
        write_mesh(folder / name, box_mesh())
    assert find_predictions(folder, ["chairs/a.obj", "b.glb"]) == {
        "chairs/a.obj": folder / "chairs/a.off",
        "b.glb": folder / "b.glb.ply",
    }


def test_meshes_without_an_object_are_told(objects, folder, box_mesh, caplog):
    write_mesh(folder / "lonely.off", box_mesh())
    with caplog.at_level(logging.WARNING):
        find_predictions(folder, [ref.id for ref in objects.refs])
    assert "1 meshes belong to no object: lonely" in caplog.text


def test_meshes_without_area_are_named(objects, folder, tiny_settings):
    point = TriangleMesh.from_arrays(np.zeros((3, 3)), [[0, 1, 2]])
    write_mesh(folder / f"{objects.refs[2].id}.off", point)
    row = rows_of(evaluate_predictions(folder, objects, tiny_settings))[2]
    assert row["empty"]
    assert row["problem"] != "no prediction"


def test_meshes_at_the_place_of_the_true_file_are_moved_as_it_was(
    mesh_set: Path, tmp_path: Path, tiny_settings
):
    """The slab lies off the middle; by its own box, half of it would be a whole one."""
    slab = read_mesh(mesh_set / "slab.glb")
    half = slab.vertices * [0.5, 1.0, 1.0] + [1.5, 0.0, 0.0]  # from 3 to 5 of 3 to 7
    write_mesh(tmp_path / "slab.ply", TriangleMesh(half, slab.faces))
    objects = list_objects(str(mesh_set))
    found = {
        frame: rows_of(evaluate_predictions(tmp_path, objects, tiny_settings, frame=frame))
        for frame in ("source", "box")
    }
    ious = {frame: {row["id"]: row["iou"] for row in rows} for frame, rows in found.items()}
    assert ious["source"]["slab"] == pytest.approx(0.5, abs=0.05)
    assert ious["box"]["slab"] != pytest.approx(0.5, abs=0.05)


def test_procedural_objects_have_no_source(objects, folder, tiny_settings):
    with pytest.raises(ValueError, match="comes from no file: choose unit or box"):
        evaluate_predictions(folder, objects, tiny_settings, frame="source")
