"""Colours from one mesh to another of nearly the same surface."""

from dataclasses import replace

from g3pt.geometry.metrics import closest_faces
from g3pt.geometry.triangles import TriangleMesh


def repainted(mesh: TriangleMesh, source: TriangleMesh) -> TriangleMesh:
    """Give each vertex the colour of the closest point of a source; without colours, it has none.

    Raises:
        MeshError: if the source has colours but no area.
    """
    if source.colors is None or mesh.is_empty:
        return replace(mesh, colors=None)
    near = closest_faces(mesh.vertices, source)
    return replace(mesh, colors=source.colors_at(near.faces, near.points))
