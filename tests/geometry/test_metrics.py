import numpy as np
import pytest
import trimesh

from g3pt.geometry.mesh import MeshError, TriangleMesh, concatenate
from g3pt.geometry.metrics import (
    EMPTY_CHAMFER,
    chamfer,
    closest_faces,
    compare_meshes,
    distance_to_mesh,
    fscore,
    label_accuracy,
    occupancy_iou,
    winding_test,
)
from g3pt.geometry.sampling import sample_surface

NO_FACES = TriangleMesh.from_arrays([], [])


def cube(half=0.5, shift=(0.0, 0.0, 0.0)):
    body = trimesh.creation.box(extents=[2 * half] * 3)
    return TriangleMesh.from_arrays(body.vertices + np.array(shift), body.faces)


def sphere(radius):
    body = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    return TriangleMesh.from_arrays(body.vertices, body.faces)


def inside_cube(half=0.5, shift=(0.0, 0.0, 0.0)):
    return lambda points: (np.abs(points - np.array(shift)) < half).all(axis=1)


def inside_ball(radius):
    return lambda points: np.linalg.norm(points, axis=1) < radius


def scores(prediction, truth, contains, **settings):
    sizes = {"num_volume": 40_000, "num_surface": 10_000} | settings
    return compare_meshes(prediction, truth, contains, rng=np.random.default_rng(3), **sizes)


def brute_force_distance(points, mesh):
    """Closest point of every triangle for every point: the slow obvious twin."""
    best = np.full(len(points), np.inf)
    for corners in mesh.triangles:
        tiled = np.broadcast_to(corners, (len(points), 3, 3))
        closest = trimesh.triangles.closest_point(tiled, points)
        best = np.minimum(best, np.linalg.norm(points - closest, axis=1))
    return best


def test_distance_equals_brute_force_over_all_triangles():
    points = np.random.default_rng(0).uniform(-1, 1, (500, 3))
    mesh = trimesh.creation.icosphere(subdivisions=1, radius=0.6)
    mesh = TriangleMesh.from_arrays(mesh.vertices, mesh.faces)
    np.testing.assert_allclose(
        distance_to_mesh(points, mesh), brute_force_distance(points, mesh), atol=1e-12
    )


def test_distance_to_a_cube_is_analytic():
    points = np.array([[0.0, 0.0, 0.0], [0.8, 0.1, 0.0], [0.8, 0.9, 0.0], [1.0, 1.0, 1.0]])
    expected = [0.5, 0.3, 0.5, 0.5 * np.sqrt(3)]
    np.testing.assert_allclose(distance_to_mesh(points, cube()), expected, atol=1e-12)


def test_closest_faces_are_numbered_as_in_the_mesh_given():
    collapsed_first = TriangleMesh(
        cube().vertices, np.concatenate([[[0, 0, 1], [2, 2, 2]], cube().faces])
    )
    found = closest_faces(cube().triangles.mean(axis=1), collapsed_first)
    assert found.faces.tolist() == list(range(2, 14))
    np.testing.assert_allclose(found.distances, 0, atol=1e-12)


def test_distance_to_nothing_is_refused():
    with pytest.raises(MeshError, match="without area"):
        distance_to_mesh(np.zeros((1, 3)), NO_FACES)


def test_a_mesh_against_itself_is_perfect():
    result = scores(cube(), cube(), inside_cube())
    assert result.iou == 1.0
    assert result.chamfer_mean < 1e-12
    assert all(score.fscore == 1.0 for score in result.fscores.values())
    assert result.normal_consistency > 0.999  # samples at an edge may find the face across it
    assert result.closed and result.components == 1


def test_iou_of_shifted_cubes_is_the_ratio_of_volumes():
    shift = (0.25, 0.0, 0.0)
    result = scores(cube(shift=shift), cube(), inside_cube())
    # Overlap 3/4, union 5/4; 40k points put one standard deviation near 0.007.
    assert result.iou == pytest.approx(0.6, abs=0.03)


def test_chamfer_of_concentric_spheres_is_the_difference_of_radii():
    result = scores(sphere(0.7), sphere(0.68), inside_ball(0.68))
    # The facets of subdivision 4 lie up to 0.0008 below their sphere, on both sides alike.
    assert result.chamfer_mean == pytest.approx(0.02, abs=1e-3)
    assert result.chamfer_sum == 2 * result.chamfer_mean
    assert result.iou == pytest.approx((0.68 / 0.7) ** 3, abs=0.02)
    assert result.fscores[0.01].fscore == 0.0
    assert result.fscores[0.05].fscore == 1.0


def test_nearest_sample_chamfer_of_a_mesh_with_itself_is_its_noise_floor():
    result = scores(cube(), cube(), inside_cube())
    # Mean distance to the nearest of n random points on area A is sqrt(A / n) / 2.
    assert result.chamfer_nearest_sample == pytest.approx(np.sqrt(6 / 10_000) / 2, rel=0.05)


def test_precision_falls_with_extra_parts_and_recall_with_missing_ones():
    two = concatenate([cube(0.2, (-0.5, 0, 0)), cube(0.2, (0.5, 0, 0))])
    one = cube(0.2, (-0.5, 0, 0))
    inside_one = inside_cube(0.2, (-0.5, 0, 0))
    extra = scores(two, one, inside_one)
    assert extra.components == 2
    assert extra.fscores[0.01].recall == 1.0
    assert extra.fscores[0.01].precision == pytest.approx(0.5, abs=0.03)
    missing = scores(one, two, lambda points: inside_one(np.abs(points) * (-1, 1, 1)))
    assert missing.fscores[0.01].precision == 1.0
    assert missing.fscores[0.01].recall == pytest.approx(0.5, abs=0.03)
    assert missing.iou == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("nothing", [None, NO_FACES])
def test_an_empty_prediction_gets_the_worst_scores(nothing):
    result = scores(nothing, cube(), inside_cube())
    assert result.iou == 0.0
    assert result.fscore_001 == 0.0
    assert result.chamfer_mean == EMPTY_CHAMFER == pytest.approx(2 * np.sqrt(3))
    assert result.components == 0 and not result.closed


def test_a_prediction_beyond_the_cube_is_scored_within_it():
    result = scores(cube(2.0), cube(), inside_cube())
    assert result.iou == pytest.approx(1 / 8, abs=0.01)


def test_a_given_inside_test_is_used_for_the_prediction():
    result = scores(cube(), cube(), inside_cube(), prediction_contains=inside_cube(0.25))
    assert result.iou == pytest.approx(1 / 8, abs=0.02)


def test_normals_of_perpendicular_sheets_do_not_agree():
    corners = np.array([[-0.5, 0, -0.5], [0.5, 0, -0.5], [0.5, 0, 0.5], [-0.5, 0, 0.5]])
    faces = [[0, 1, 2], [0, 2, 3]]
    flat = TriangleMesh.from_arrays(corners, faces)
    upright = TriangleMesh.from_arrays(corners[:, [1, 0, 2]], faces)
    nowhere = lambda points: np.zeros(len(points), dtype=bool)  # noqa: E731
    assert scores(flat, upright, nowhere).normal_consistency < 1e-9
    assert not scores(flat, flat, nowhere).closed


def test_equal_seeds_give_equal_scores():
    assert scores(sphere(0.5), cube(), inside_cube()) == scores(sphere(0.5), cube(), inside_cube())


def test_rows_name_every_threshold():
    row = scores(cube(), cube(), inside_cube(), num_volume=100, num_surface=100).to_row()
    assert {"fscore_0005", "fscore_001", "fscore_002", "fscore_005"} < set(row)
    assert row["precision_001"] == 1.0


def test_iou_of_two_empty_labellings_is_one():
    nothing, some = np.zeros(3, dtype=bool), np.array([True, False, True])
    assert occupancy_iou(nothing, nothing) == 1.0
    assert occupancy_iou(nothing, some) == 0.0
    assert label_accuracy(nothing, some) == pytest.approx(1 / 3)


def test_fscore_is_the_harmonic_mean_of_precision_and_recall():
    result = fscore(np.array([0.0, 1.0]), np.array([0.0, 0.0, 0.0, 1.0]), 0.5)
    assert (result.precision, result.recall) == (0.5, 0.75)
    assert result.fscore == pytest.approx(0.6)
    assert chamfer(np.array([0.0, 1.0]), np.array([0.0, 0.0, 0.0, 1.0])) == pytest.approx(0.375)


def test_winding_test_knows_a_cavity_from_the_solid_around_it():
    inner = cube(0.2)
    hollow = concatenate([cube(0.5), TriangleMesh(inner.vertices, inner.faces[:, ::-1].copy())])
    points = np.array([[0.0, 0.0, 0.0], [0.3, 0.0, 0.0], [0.7, 0.0, 0.0]])
    np.testing.assert_array_equal(winding_test(hollow)(points), [False, True, False])


def test_samples_of_the_truth_may_come_from_elsewhere():
    # Only the top of the truth is sampled: it alone decides how much of the truth was found.
    top = sample_surface(TriangleMesh.from_arrays(TOP, [[0, 1, 2], [0, 2, 3]]), 2000, rng())
    lowered = cube(0.5, (0.0, -0.1, 0.0))
    given = scores(lowered, cube(), inside_cube(), truth_samples=top)
    assert given.fscores[0.05].recall == 0.0
    assert scores(lowered, cube(), inside_cube()).fscores[0.05].recall > 0.3


def rng():
    return np.random.default_rng(5)


TOP = [[-0.5, 0.5, -0.5], [-0.5, 0.5, 0.5], [0.5, 0.5, 0.5], [0.5, 0.5, -0.5]]
