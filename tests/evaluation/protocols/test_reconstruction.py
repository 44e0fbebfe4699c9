import json
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from g3pt.evaluation.judging import score
from g3pt.evaluation.objects import EvaluationSettings, Truth, list_objects
from g3pt.evaluation.protocols.reconstruction import evaluate_reconstruction, token_report
from g3pt.geometry.mesh import TriangleMesh
from g3pt.geometry.metrics import EMPTY_CHAMFER
from g3pt.geometry.sampling import sample_surface

SETTINGS = EvaluationSettings(num_volume=60_000, num_surface=4000, num_near=200)


def ball(radius: float) -> TriangleMesh:
    body = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    return TriangleMesh.from_arrays(body.vertices, body.faces)


def truth_of(mesh: TriangleMesh, contains) -> Truth:
    samples = sample_surface(mesh, SETTINGS.num_surface, np.random.default_rng(0))
    return Truth("it", "", "", mesh, samples, contains)


@pytest.fixture(scope="module")
def ball_truth() -> Truth:
    return truth_of(ball(0.8), lambda points: np.linalg.norm(points, axis=1) < 0.8)


def test_the_truth_itself_scores_full_marks(ball_truth: Truth):
    scores = score(ball_truth.mesh, ball_truth, SETTINGS)
    assert scores.iou > 0.99  # the mesh of the ball has flat faces
    assert scores.fscores[0.005].fscore == 1.0
    assert scores.chamfer_mean < 1e-3
    assert scores.closed
    assert scores.components == 1


def test_a_smaller_ball_scores_what_geometry_says(ball_truth: Truth):
    scores = score(ball(0.77), ball_truth, SETTINGS)
    # 60,000 points, 16,000 of them in the union: 0.003 of sampling noise; flat faces: 0.002.
    assert scores.iou == pytest.approx((0.77 / 0.8) ** 3, abs=0.01)
    assert scores.chamfer_mean == pytest.approx(0.03, abs=1e-3)
    assert scores.fscores[0.02].fscore == 0.0
    assert scores.fscores[0.05].fscore == 1.0
    assert scores.normal_consistency > 0.99


def test_a_box_half_as_high_scores_half(box_mesh):
    truth = truth_of(box_mesh(), lambda points: (np.abs(points) < 0.5).all(axis=1))
    scores = score(box_mesh((1.0, 0.5, 1.0), (0.0, -0.25, 0.0)), truth, SETTINGS)
    assert scores.iou == pytest.approx(0.5, abs=0.02)
    # Its bottom and the lower halves of its sides are on the truth: 3 of its 4 units of area.
    assert scores.fscores[0.005].precision == pytest.approx(0.75, abs=0.03)


def test_an_empty_prediction_has_the_worst_scores(ball_truth: Truth):
    for nothing in (None, TriangleMesh.from_arrays([], [])):
        scores = score(nothing, ball_truth, SETTINGS)
        assert (scores.iou, scores.fscore_001, scores.closed) == (0.0, 0.0, False)
        assert scores.chamfer_mean == EMPTY_CHAMFER


def test_tokens_that_never_change_have_no_entropy():
    tokens = np.tile([3, 1, 2, 2, 2], (6, 1))
    report = token_report(tokens, (1, 4), num_bits=2)
    assert report["num_shapes"] == 6
    assert [scale["bit_entropy"] for scale in report["scales"]] == [0.0, 0.0]
    assert report["scales"][0]["usage"] == 0.25
    assert report["all"]["usage"] == 0.75
    assert report["scales"][0]["perplexity"] == pytest.approx(1.0)


@pytest.fixture(scope="module")
def reconstruction(tiny_weights: Path, tiny_settings, tmp_path_factory):
    out = tmp_path_factory.mktemp("reconstruction")
    objects = list_objects("procedural", limit=3)
    return evaluate_reconstruction(tiny_weights, objects, tiny_settings, out=out), out


def test_the_report_holds_what_the_protocol_asks_for(reconstruction, tiny_settings):
    report, out = reconstruction
    assert report["protocol"] == "g3pt-eval-v1-custom"
    assert report["counts"] == {"objects": 3, "empty_predictions": 0, "problems": 0}
    assert {"iou", "chamfer_mean", "fscore_001", "near_accuracy", "prefix_iou_3"} <= set(
        report["summary"]
    )
    assert all(
        entry["low"] <= entry["mean"] <= entry["high"] for entry in report["summary"].values()
    )
    assert len(report["tokens"]["scales"]) == 3
    assert set(report["differences"]) == {
        "prefix_iou_2-prefix_iou_1",
        "prefix_iou_3-prefix_iou_2",
    }
    assert set(report["hashes"]) == {"config", "data", "weights", "code"}
    assert json.loads((out / "evaluation.json").read_text()) == json.loads(json.dumps(report))
    assert "| 3 | 16 |" in (out / "report.md").read_text()


def test_a_rerun_gives_the_same_report_without_work(
    reconstruction, tiny_weights, tiny_settings, monkeypatch
):
    report, out = reconstruction
    monkeypatch.setattr("g3pt.evaluation.protocols.reconstruction.reconstruct", None)
    objects = list_objects("procedural", limit=3)
    again = evaluate_reconstruction(tiny_weights, objects, tiny_settings, out=out)
    assert again["summary"] == report["summary"]
    assert again["tokens"] == report["tokens"]


def test_other_data_do_not_go_into_the_same_folder(reconstruction, tiny_weights, tiny_settings):
    _, out = reconstruction
    with pytest.raises(ValueError, match="differs in data"):
        evaluate_reconstruction(
            tiny_weights, list_objects("procedural", limit=2), tiny_settings, out=out
        )


@pytest.mark.distributed
def test_numbers_do_not_depend_on_the_number_of_workers(
    reconstruction, tiny_weights, tiny_settings
):
    report, _ = reconstruction
    objects = list_objects("procedural", limit=3)
    shared = evaluate_reconstruction(tiny_weights, objects, tiny_settings, workers=2)
    assert shared["objects"] == report["objects"]


def test_a_field_without_inside_is_counted_as_empty(
    tiny_weights: Path, tiny_settings, mesh_set, monkeypatch
):
    from g3pt.models.cvq import CvqTokenizer

    monkeypatch.setattr(
        CvqTokenizer, "occupancy", lambda self, memory, queries: torch.full(queries.shape[:2], -1.0)
    )
    objects = list_objects(str(mesh_set))
    report = evaluate_reconstruction(tiny_weights, objects, tiny_settings)
    assert report["counts"]["empty_predictions"] == 2
    assert report["summary"]["iou"]["mean"] == 0.0
    assert report["summary"]["chamfer_mean"]["mean"] == EMPTY_CHAMFER
    assert report["summary"]["prefix_iou_1"]["mean"] == 0.0


def test_objects_without_a_usable_truth_are_named_and_not_averaged(
    tiny_weights, tiny_settings, mesh_set
):
    objects = list_objects(str(mesh_set), split="broken")
    report = evaluate_reconstruction(tiny_weights, objects, tiny_settings)
    assert report["counts"] == {"objects": 0, "empty_predictions": 0, "problems": 1}
    assert report["problems"][0]["id"] == "point"
    assert report["summary"] == {}
