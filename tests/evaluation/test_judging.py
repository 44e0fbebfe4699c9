import numpy as np
import pytest
import trimesh

from g3pt.evaluation.judging import score
from g3pt.evaluation.objects import EvaluationSettings, Truth
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
