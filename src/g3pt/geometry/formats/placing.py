"""Puts instances of meshes together as one mesh. Legend: P vertices, F faces, N instances."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64, Int64

from g3pt.geometry.formats.limits import check_mesh_memory
from g3pt.geometry.triangles import NEUTRAL_GREY, TriangleMesh

_BLOCK = 2**18
"""Vertices and faces of instances that are placed at once, which bounds the memory for it."""


def placed_together(
    meshes: Sequence[TriangleMesh],
    which: Int64[np.ndarray, " N"],
    matrices: Float64[np.ndarray, "N 4 4"],
    *,
    num_bytes: int,
) -> TriangleMesh:
    """Transform and join instances; reflections reverse faces, which keeps them outward.

    Memory is taken for the result and little else, and all instances of a mesh are placed together,
    so that a million of them take seconds.

    Args:
        meshes: what is placed; empty ones are left out.
        which: the mesh of each instance, in the order of the result.
        matrices: from the mesh's frame to the scene's, for column vectors.
        num_bytes: of the file that they come from, unpacked.

    Returns:
        One mesh in the scene's frame. If a mesh that is placed has colours, those without become
        `NEUTRAL_GREY`.

    Raises:
        MeshError: with code `too_large` if the result takes far more memory than the file has.
    """
    sizes = np.array([(len(m.vertices), len(m.faces)) for m in meshes], np.int64).reshape(-1, 2)
    sizes[sizes[:, 1] == 0] = 0
    ends = sizes[which].cumsum(axis=0)
    starts = ends - sizes[which]
    num_vertices, num_faces = ends[-1].tolist() if len(which) else (0, 0)
    check_mesh_memory(num_vertices, num_faces, num_bytes)
    order = np.argsort(which, kind="stable")  # instances of one mesh side by side
    chosen, firsts = np.unique(which[order], return_index=True)
    shown = [meshes[int(index)] for index in chosen if sizes[index, 1]]
    vertices = np.empty((num_vertices, 3))
    faces = np.empty((num_faces, 3), np.int64)
    colors = None
    if any(mesh.colors is not None for mesh in shown):
        colors = np.empty((num_vertices, 4), np.uint8)
    mirrored = np.linalg.det(matrices[:, :3, :3]) < 0
    for index, places in zip(chosen, np.split(order, firsts)[1:], strict=True):
        mesh = meshes[int(index)]
        if mesh.is_empty:
            continue
        step = max(_BLOCK // int(sizes[index].max()), 1)
        for first in range(0, len(places), step):
            some = places[first : first + step]
            rows = _rows(starts[some, 0], len(mesh.vertices))
            vertices[rows] = _transformed(mesh, matrices[some])
            if colors is not None:
                colors[rows] = NEUTRAL_GREY if mesh.colors is None else mesh.colors
            faces[_rows(starts[some, 1], len(mesh.faces))] = _turned(
                mesh, mirrored[some], starts[some, 0]
            )
    return TriangleMesh(vertices, faces, colors)


def _rows(starts: Int64[np.ndarray, " N"], num: int) -> slice | Int64[np.ndarray, "N P"]:
    """The rows of instances in the result: of one as a slice, which takes no memory."""
    if len(starts) == 1:
        return slice(int(starts[0]), int(starts[0]) + num)
    return starts[:, None] + np.arange(num)


def _transformed(
    mesh: TriangleMesh, matrices: Float64[np.ndarray, "N 4 4"]
) -> Float64[np.ndarray, "N P 3"] | Float64[np.ndarray, "P 3"]:
    if len(matrices) == 1:
        points = mesh.vertices @ matrices[0, :3, :3].T
        points += matrices[0, :3, 3]
        return points
    points = np.matmul(mesh.vertices, matrices[:, :3, :3].transpose(0, 2, 1))
    points += matrices[:, None, :3, 3]
    return points


def _turned(
    mesh: TriangleMesh, mirrored: Bool[np.ndarray, " N"], starts: Int64[np.ndarray, " N"]
) -> Int64[np.ndarray, "N F 3"] | Int64[np.ndarray, "F 3"]:
    if len(starts) == 1:
        return (mesh.faces[:, ::-1] if mirrored[0] else mesh.faces) + starts[0]
    faces = np.where(mirrored[:, None, None], mesh.faces[:, ::-1], mesh.faces)
    return faces + starts[:, None, None]
