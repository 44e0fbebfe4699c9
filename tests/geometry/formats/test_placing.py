import numpy as np
import pytest

from g3pt.geometry.formats import placing
from g3pt.geometry.triangles import TriangleMesh, concatenate


def one_by_one(meshes, which, matrices):
    """The obvious twin: every instance by itself, then joined."""
    parts = []
    for index, matrix in zip(which, matrices, strict=True):
        mesh = meshes[index]
        mirrored = np.linalg.det(matrix[:3, :3]) < 0
        faces = mesh.faces[:, ::-1] if mirrored else mesh.faces
        points = mesh.vertices @ matrix[:3, :3].T + matrix[:3, 3]
        parts.append(TriangleMesh(points, faces, mesh.colors))
    return concatenate([part for part in parts if not part.is_empty])


def some_mesh(num_vertices, num_faces, rng, *, colored=False):
    colors = rng.integers(0, 256, (num_vertices, 4), np.uint8) if colored else None
    faces = rng.integers(0, num_vertices, (num_faces, 3))
    return TriangleMesh(rng.normal(size=(num_vertices, 3)), faces, colors)


@pytest.mark.parametrize("block", [1, 40, 10_000])
@pytest.mark.parametrize("colored", [False, True])
def test_instances_placed_together_are_those_placed_one_by_one(block, colored, monkeypatch):
    monkeypatch.setattr(placing, "_BLOCK", block)
    rng = np.random.default_rng(0)
    meshes = [
        some_mesh(9, 5, rng),
        some_mesh(4, 0, rng),
        some_mesh(3, 8, rng, colored=colored),
        some_mesh(7, 2, rng, colored=True),  # never placed
    ]
    which = rng.integers(0, 3, 50)
    matrices = rng.normal(size=(50, 4, 4))  # half of them mirror
    placed = placing.placed_together(meshes, which, matrices, num_bytes=0)
    expected = one_by_one(meshes, which, matrices)
    np.testing.assert_array_equal(placed.faces, expected.faces)
    np.testing.assert_allclose(placed.vertices, expected.vertices, rtol=1e-12, atol=1e-14)
    assert (placed.colors is not None) == colored
    if colored:
        np.testing.assert_array_equal(placed.colors, expected.colors)


def test_no_instances_are_an_empty_mesh():
    placed = placing.placed_together([], np.zeros(0, np.int64), np.zeros((0, 4, 4)), num_bytes=0)
    assert placed.is_empty and len(placed.vertices) == 0
