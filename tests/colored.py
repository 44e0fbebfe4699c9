"""Coloured solids and pictures of them, for tests of colouring."""

import numpy as np
import trimesh

from g3pt.geometry.mesh import TriangleMesh, concatenate, merge_vertices
from g3pt.geometry.texture import Texture, TexturedMesh

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


def textured_box() -> TexturedMesh:
    """A box whose sides lie in a row, each in a colour of its own that brightens upward."""
    side = 256
    box = fine_box((1.9, 1.0, 0.6), edge=0.5)
    side_F = np.abs(box.triangles.mean(axis=1) / [0.95, 0.5, 0.3]).argmax(axis=1)
    sign_F = np.take_along_axis(box.triangles.mean(axis=1), side_F[:, None], 1)[:, 0] > 0
    chart_F = 2 * side_F + sign_F
    others = np.array([[1, 2], [0, 2], [0, 1]])[side_F]
    corners = box.triangles / [1.9, 1.0, 0.6] + 0.5
    uvs = np.take_along_axis(corners, others[:, None, :], axis=2) * [1 / 8, 0.8] + [0.02, 0.1]
    uvs[..., 0] += chart_F[:, None] / 6
    keys = np.concatenate([box.faces.reshape(-1, 1), np.repeat(chart_F, 3)[:, None]], axis=1)
    _, first, index = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    image = np.zeros((side, side, 3), dtype=np.uint8)
    image[..., 0] = 40 * (np.arange(side) * 6 // side)
    image[..., 1] = np.arange(side)[::-1, None]
    texture = Texture(uvs.reshape(-1, 2)[first], index.reshape(-1, 3).astype(np.int64), image)
    return TexturedMesh(box, texture)
