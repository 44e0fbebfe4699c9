import numpy as np
import pytest
import trimesh

from g3pt.geometry.mesh import MeshError, TriangleMesh, face_normals
from g3pt.geometry.sampling import (
    NEAR_SIGMAS,
    num_candidates,
    perturb,
    sample_near_surface,
    sample_surface,
    sample_volume,
    well_spread,
)


def cube():
    body = trimesh.creation.box(extents=[1.0, 1.0, 1.0])
    return TriangleMesh.from_arrays(body.vertices, body.faces)


def generator():
    return np.random.default_rng(11)


def test_surface_points_lie_on_the_face_they_name():
    mesh = cube()
    samples = sample_surface(mesh, 5000, generator())
    corner = mesh.triangles[samples.faces, 0]
    heights = np.einsum("ni,ni->n", samples.points - corner, samples.normals)
    np.testing.assert_allclose(heights, 0, atol=1e-12)
    np.testing.assert_allclose(np.abs(samples.points).max(axis=1), 0.5, atol=1e-12)
    np.testing.assert_allclose(samples.normals, face_normals(mesh)[samples.faces], atol=1e-12)


def test_faces_are_hit_in_proportion_to_their_area():
    small_and_large = TriangleMesh.from_arrays(
        [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [3, 0, 1], [0, 3, 1]], [[0, 1, 2], [3, 4, 5]]
    )
    hits = np.bincount(sample_surface(small_and_large, 20_000, generator()).faces)
    assert hits[0] / hits.sum() == pytest.approx(0.1, abs=0.01)  # areas 1 : 9


def test_points_are_uniform_within_a_triangle():
    triangle = TriangleMesh.from_arrays([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]])
    points = sample_surface(triangle, 20_000, generator()).points
    np.testing.assert_allclose(points.mean(axis=0), [1 / 3, 1 / 3, 0], atol=0.01)
    # Variance of one coordinate of a uniform right triangle is 1/18.
    np.testing.assert_allclose(points[:, :2].var(axis=0), 1 / 18, rtol=0.05)


def test_faces_without_area_are_never_hit():
    mesh = TriangleMesh(cube().vertices, np.concatenate([[[0, 0, 1]], cube().faces, [[2, 2, 2]]]))
    samples = sample_surface(mesh, 5000, generator())
    assert set(samples.faces.tolist()) == set(range(1, 13))
    assert np.isfinite(samples.normals).all()


def test_a_surface_without_area_is_refused():
    with pytest.raises(MeshError, match="without area"):
        sample_surface(TriangleMesh.from_arrays([], []), 10, generator())


def test_volume_points_fill_the_query_cube():
    points = sample_volume(20_000, generator())
    assert np.abs(points).max() <= 1.0
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=0.02)
    np.testing.assert_allclose(points.var(axis=0), 1 / 3, rtol=0.05)


def test_near_surface_noise_alternates_between_the_two_sigmas():
    offsets = sample_near_surface(np.zeros((20_000, 3)), generator())
    for first, sigma in enumerate(NEAR_SIGMAS):
        np.testing.assert_allclose(offsets[first::2].std(axis=0), sigma, rtol=0.05)


def test_noise_without_spread_changes_nothing():
    points = sample_volume(5, generator())
    np.testing.assert_array_equal(perturb(points, (0.0,), generator()), points)


def test_equal_seeds_give_equal_samples():
    first, second = (sample_surface(cube(), 50, generator()) for _ in range(2))
    np.testing.assert_array_equal(first.points, second.points)


def sheet(thickness=0.002):
    return sample_surface(
        TriangleMesh.from_arrays(*_box(1.0, 1.0, thickness)), 8 * 256, generator()
    )


def _box(*extents):
    body = trimesh.creation.box(extents=extents)
    return body.vertices, body.faces


def test_well_spread_points_are_candidates_with_their_normals_and_faces():
    samples = sheet()
    kept = well_spread(samples, 200, generator())
    rows = [np.flatnonzero((samples.points == point).all(axis=1)) for point in kept.points]
    assert all(len(row) == 1 for row in rows)
    chosen = np.concatenate(rows)
    assert len(np.unique(chosen)) == 200
    assert np.array_equal(samples.normals[chosen], kept.normals)
    assert np.array_equal(samples.faces[chosen], kept.faces)


def test_well_spread_points_cover_both_sides_of_a_sheet_evenly():
    kept = well_spread(sheet(), 256, generator())
    top, bottom = (kept.points[sign * kept.normals[:, 2] > 0.5] for sign in (1, -1))
    for side in (top, bottom):
        squares = np.floor((side[:, :2] + 0.5) * 4).clip(0, 3).astype(int)
        counts = np.bincount(squares[:, 0] * 4 + squares[:, 1], minlength=16)
        # 8 a square; random points have a standard deviation of 2.8
        assert counts.std() < 1.6
        assert counts.sum() == pytest.approx(128, abs=8)


def test_spreading_needs_candidates_to_choose_from():
    samples = sheet()
    with pytest.raises(ValueError, match="spreading 1025 points takes at least 4096 candidates"):
        well_spread(samples, 1025, generator())
    assert num_candidates(1000, 4) == 4096
    assert num_candidates(1000, 1) == 1000
