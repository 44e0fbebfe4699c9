"""Fewer faces by two quadric error decimators: one careful, one that copes with any mesh."""

from importlib import import_module
from typing import Any

import igl  # pyright: ignore[reportMissingTypeStubs]
import numpy as np

from g3pt.geometry.mesh import TriangleMesh

_igl: Any = igl  # without type stubs


def fast_simplification() -> Any:
    """The module of the quick decimator.

    Raises:
        ImportError: naming the extra, if it is not installed.
    """
    try:
        return import_module("fast_simplification")
    except ImportError:
        raise ImportError(
            "decimation needs fast-simplification: pip install g3pt[export]"
        ) from None


def decimate_quickly(
    mesh: TriangleMesh, num_faces: int, *, aggressiveness: float = 7.0
) -> TriangleMesh:
    """Quadric error metric without a queue; copes with any mesh, may stop early.

    Args:
        mesh: with merged vertices.
        num_faces: how many are wanted.
        aggressiveness: how fast the error that is put up with grows; a low one (3) keeps whole
            parts from being lost, and stops earlier.
    """
    vertices, faces = fast_simplification().simplify(
        mesh.vertices,
        mesh.faces.astype(np.int32),
        target_count=num_faces,
        agg=aggressiveness,
    )
    return TriangleMesh.from_arrays(vertices, faces)


def decimate_in_order(mesh: TriangleMesh, num_faces: int) -> TriangleMesh:
    """Quadric error metric, cheapest edge first; gives nothing for non-manifold meshes."""
    vertices, faces, *_ = _igl.qslim(mesh.vertices, mesh.faces.astype(np.int32), num_faces)
    return TriangleMesh.from_arrays(vertices, faces)
