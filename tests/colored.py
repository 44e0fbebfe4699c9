"""Coloured solids and pictures of them, for tests of colouring."""

import numpy as np
import trimesh

from g3pt.geometry.mesh import TriangleMesh, concatenate, merge_vertices

RED, GREEN, BLUE, WHITE = (200, 40, 40), (40, 160, 60), (40, 70, 200), (245, 245, 245)


def fine_box(extents, at=(0.0, 0.0, 0.0), *, edge: float = 0.03) -> TriangleMesh:
    """A box of small triangles."""
    body = trimesh.creation.box(extents=extents).subdivide_to_size(edge)
    return merge_vertices(TriangleMesh.from_arrays(body.vertices + np.array(at), body.faces))


def painted(mesh: TriangleMesh, paint) -> TriangleMesh:
    """Colour each vertex by a function of its position."""
    return TriangleMesh.from_arrays(
        mesh.vertices, mesh.faces, np.array([paint(*vertex) for vertex in mesh.vertices])
    )


def car() -> TriangleMesh:
    """A body, a cabin at the back, a bumper in front: alike left and right, not otherwise."""
    return concatenate(
        [
            fine_box((0.8, 0.4, 1.9)),
            fine_box((0.7, 0.4, 0.8), (0.0, 0.38, -0.4)),
            fine_box((1.1, 0.15, 0.2), (0.0, -0.1, 0.84)),
        ]
    )
