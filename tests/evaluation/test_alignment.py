import numpy as np
import pytest
import trimesh

from g3pt.evaluation.alignment import align, cube_rotations, fit_similarity
from g3pt.geometry.mesh import TriangleMesh
from g3pt.geometry.sampling import sample_surface


def test_there_are_24_rotations_of_the_cube():
    rotations = np.stack(cube_rotations())
    assert len(np.unique(rotations.reshape(24, 9), axis=0)) == 24
    np.testing.assert_allclose(np.linalg.det(rotations), 1.0)


def test_a_similarity_is_recovered_from_pairs():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(50, 3))
    rotation = trimesh.transformations.rotation_matrix(1.1, [1, 2, 3])[:3, :3]
    found = fit_similarity(points, 0.7 * points @ rotation.T + [1, 2, 3])
    np.testing.assert_allclose(found.rotation, rotation, atol=1e-12)
    assert found.scale == pytest.approx(0.7)
    np.testing.assert_allclose(found.shift, [1, 2, 3], atol=1e-12)


def test_a_tilted_and_scaled_mesh_is_brought_back(chair):
    rng = np.random.default_rng(1)
    tilt = trimesh.transformations.rotation_matrix(0.2, [1, 1, 0])[:3, :3]
    moved = TriangleMesh(2.5 * chair.vertices @ (cube_rotations()[7] @ tilt).T + 4.0, chair.faces)
    target = sample_surface(chair, 3000, rng).points
    back = align(moved, target, rng).move(moved)
    # Samples of a surface of area 5 are 0.04 apart: the fit averages over thousands of them.
    np.testing.assert_allclose(back.vertices, chair.vertices, atol=0.02)
