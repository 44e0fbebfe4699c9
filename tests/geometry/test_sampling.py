import numpy as np
import pytest
import trimesh

from g3pt.geometry.mesh import MeshError, TriangleMesh, face_normals
from g3pt.geometry.sampling import (
    NEAR_SIGMAS,
    perturb,
    sample_near_surface,
    sample_surface,
    sample_volume,
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
