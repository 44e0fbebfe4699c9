import logging
from pathlib import Path

import numpy as np
import pytest

from g3pt.evaluation.protocols.meshes import evaluate_meshes, find_pairs
from g3pt.evaluation.run import LIMITS
from g3pt.geometry.mesh import TriangleMesh, write_mesh
from g3pt.work.ray_engine import RayEngine


@pytest.fixture
def folders(tmp_path: Path, chair, box_mesh) -> tuple[Path, Path]:
    prediction, truth = tmp_path / "prediction", tmp_path / "truth"
    prediction.mkdir()
    truth.mkdir()
    write_mesh(truth / "chair.obj", chair)
    write_mesh(truth / "box.glb", box_mesh((2.0, 4.0, 2.0), (10.0, 0.0, 0.0)))
    write_mesh(prediction / "chair.ply", chair)
    write_mesh(prediction / "box.stl", box_mesh((2.0, 2.0, 2.0), (10.0, -1.0, 0.0)))
    return prediction, truth


def test_the_truth_sets_the_frame_of_both(folders, tiny_settings):
    report = evaluate_meshes(*folders, tiny_settings)
    rows = {row["id"]: row for row in report["objects"]}
    assert rows["chair"]["iou"] == 1.0
    assert rows["chair"]["fscore_0005"] == 1.0
    # The lower half of a box of 0.95 x 1.9 x 0.95: 860 of 4,000 points are in it.
    assert rows["box"]["iou"] == pytest.approx(0.5, abs=0.05)
    assert rows["box"]["problem"] is None


def test_missing_and_unreadable_predictions_count_as_empty(folders, tiny_settings):
    prediction, _ = folders
    (prediction / "chair.ply").unlink()
    (prediction / "box.stl").write_bytes(b"no mesh")
    write_mesh(prediction / "box.obj", TriangleMesh.from_arrays(np.zeros((3, 3)), [[0, 1, 2]]))
    (prediction / "box.stl").unlink()
    report = evaluate_meshes(*folders, tiny_settings)
    assert report["counts"]["empty_predictions"] == 2
    assert report["summary"]["iou"]["mean"] == 0.0
    assert {row["id"]: row["problem"] for row in report["objects"]}["chair"] == "no prediction"


def test_folders_without_a_common_name_are_refused(folders, tmp_path: Path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match="no mesh has the same name"):
        find_pairs(empty, folders[1])


def test_a_name_that_is_there_twice_is_refused(folders, box_mesh):
    write_mesh(folders[0] / "box.obj", box_mesh())
    with pytest.raises(ValueError, match="has the same name"):
        find_pairs(*folders)


def test_predictions_without_truth_are_told(folders, box_mesh, caplog: pytest.LogCaptureFixture):
    write_mesh(folders[0] / "lonely.obj", box_mesh())
    with caplog.at_level(logging.WARNING):
        assert [pair.id for pair in find_pairs(*folders)] == ["box", "chair"]
    assert "1 predictions have no truth: lonely" in caplog.text


def test_alignment_has_columns_of_its_own(folders, chair, tiny_settings):
    turned = TriangleMesh(3.0 * chair.vertices[:, [2, 1, 0]] * [1, 1, -1] + 5.0, chair.faces)
    write_mesh(folders[0] / "chair.ply", turned)
    report = evaluate_meshes(*folders, tiny_settings, align=True)
    row = next(row for row in report["objects"] if row["id"] == "chair")
    assert row["iou"] < 0.1
    assert row["aligned_iou"] > 0.9
    assert row["aligned_chamfer_mean"] < 0.02


@pytest.mark.distributed
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Ray leaves sockets to the collector
def test_a_cluster_that_loses_a_node_writes_the_same_files(
    cluster, folders, box_mesh, tiny_settings, tmp_path
):
    prediction, truth = folders
    for number in range(10):
        write_mesh(truth / f"more{number}.glb", box_mesh((1.0, 1.0, 2.0 + number)))
        write_mesh(prediction / f"more{number}.glb", box_mesh((1.0, 1.1, 2.0 + number)))
    lost = []

    def lose_a_node(done: int, total: int) -> None:
        if done >= 3 and not lost:
            lost.append(done)
            cluster.remove_node(cluster.second, allow_graceful=False)

    evaluate_meshes(prediction, truth, tiny_settings, out=tmp_path / "here")
    with RayEngine(cluster.address, LIMITS) as engine:
        evaluate_meshes(
            prediction,
            truth,
            tiny_settings,
            out=tmp_path / "there",
            engine=engine,
            on_progress=lose_a_node,
        )
    assert lost
    here, there = (
        {str(file.relative_to(out)): file.read_bytes() for file in out.rglob("*") if file.is_file()}
        for out in (tmp_path / "here", tmp_path / "there")
    )
    assert here == there
    assert len([name for name in here if name.startswith("arrays/")]) == 12
