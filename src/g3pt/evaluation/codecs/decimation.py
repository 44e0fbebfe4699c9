"""The best mesh of so many faces that two decimators find, for the baselines of `rate_distortion`.

Both work on the mesh and on the outer surface of its solid, which has neither seams nor inner walls
and so can do with fewer faces. Q points; unit frame.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import igl
import numpy as np
from jaxtyping import Float32, Float64

from g3pt.evaluation.objects import Truth
from g3pt.geometry.isosurface import extract_surface
from g3pt.geometry.lod import decimate_in_order, decimate_quickly
from g3pt.geometry.mesh import TriangleMesh, area_vectors, keep_faces, merge_vertices
from g3pt.geometry.metrics import chamfer
from g3pt.geometry.sampling import sample_surface

_igl: Any = igl  # without type stubs

SHELL_RESOLUTION = 64
"""Cells per axis of the solid's outer surface."""

NUM_SAMPLES = 2000
"""Points of each surface by which candidates are told apart."""

OVERSHOOT = 1.1
"""More faces than asked for by this factor still count as reached."""

Decimator = Callable[[TriangleMesh, int], TriangleMesh]
Distance = Callable[[Float64[np.ndarray, "Q 3"]], Float64[np.ndarray, " Q"]]


DECIMATORS: tuple[Decimator, ...] = (decimate_in_order, decimate_quickly)


def decimations(
    truth: Truth, budgets: Iterable[int], rng: np.random.Generator
) -> dict[int, TriangleMesh]:
    """The closest mesh of at most so many faces, for every budget.

    Closest by Chamfer distance to the truth among those that reach the budget; if none does, the
    one with the fewest faces. A mesh that is small enough stays as it is.

    Args:
        truth: what to approximate.
        budgets: numbers of faces.
        rng: of the samples.
    """
    mesh = merge_vertices(truth.mesh)
    to_truth = distance_to(mesh)
    true_points = truth.samples.points[:NUM_SAMPLES]

    def error(candidate: TriangleMesh) -> float:
        points = sample_surface(candidate, NUM_SAMPLES, rng).points
        return chamfer(to_truth(points), distance_to(candidate)(true_points))

    sources = [mesh, outer_surface(truth, to_truth)]
    found: dict[int, TriangleMesh] = {}
    begun = False
    for budget in sorted(budgets, reverse=True):
        if budget >= len(mesh.faces):
            found[budget] = mesh
            continue
        chosen = [
            _closest([decimate(source, budget) for decimate in DECIMATORS], budget, error)
            for source in sources
        ]
        found[budget] = _closest(chosen, budget, error)
        if not begun:  # the smaller ones go on from here, which is quicker
            sources = [part for part in chosen if not part.is_empty]
            begun = True
    return found


def distance_to(mesh: TriangleMesh) -> Distance:
    """Exact distance to a mesh, which is looked at once."""
    solid = keep_faces(mesh, np.flatnonzero(area_vectors(mesh).any(axis=1)))
    tree = _igl.AABB()
    tree.init(solid.vertices, solid.faces)
    return lambda points: np.sqrt(tree.squared_distance(solid.vertices, solid.faces, points)[0])


def outer_surface(truth: Truth, to_truth: Distance) -> TriangleMesh:
    """Surface of the true solid on a coarse grid, closed."""

    def field(points: Float32[np.ndarray, "Q 3"]) -> Float32[np.ndarray, " Q"]:
        wide = points.astype(np.float64)
        return (np.where(truth.contains(wide), 1.0, -1.0) * to_truth(wide)).astype(np.float32)

    seeds = truth.samples.points
    return extract_surface(field, resolution=SHELL_RESOLUTION, seeds=seeds).mesh


def _closest(
    candidates: Sequence[TriangleMesh], budget: int, error: Callable[[TriangleMesh], float]
) -> TriangleMesh:
    usable = [mesh for mesh in candidates if area_vectors(mesh).any()]
    if not usable:
        return TriangleMesh.from_arrays([], [])
    reached = [mesh for mesh in usable if len(mesh.faces) <= OVERSHOOT * budget]
    if not reached:
        return min(usable, key=lambda mesh: len(mesh.faces))
    return min(reached, key=error)
