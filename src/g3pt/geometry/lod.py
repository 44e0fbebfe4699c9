"""Levels of detail: one object at several face counts, each with its distance to the finest.

Unit frame (longest side 1.9); F faces.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from g3pt.geometry.decimation import decimate_in_order, decimate_quickly
from g3pt.geometry.mesh import UNIT_LONGEST_SIDE, TriangleMesh
from g3pt.geometry.metrics import distance_to_mesh
from g3pt.geometry.sampling import sample_surface

NUM_SAMPLES = 10_000
"""Points of each surface by which a level is compared with the finest."""

REDUCTION = 4
"""Faces of a level over those of the next, where no budgets are given."""

MIN_FACES = 64
"""No level is given fewer faces than this by itself."""

SCREEN_HEIGHT = 1080
"""Pixels of the screen that coverages are worked out for."""


@dataclass(frozen=True, eq=False)
class Level:
    """One level of detail."""

    mesh: TriangleMesh
    error_mean: float
    """Mean distance to the finest level, over points of both surfaces; 0 for the finest."""
    error_max: float
    """Largest of these distances, either way (Hausdorff, as far as the points tell)."""
    coverage: float
    """Share of the screen above which this level is wanted: where its successor's mean error
    would be as large as a pixel. 0 for the last, which is never dropped."""


def face_budgets(num_faces: int, num_levels: int) -> list[int]:
    """Budgets of levels: all faces, then a quarter of the level before."""
    return [max(num_faces // REDUCTION**level, MIN_FACES) for level in range(num_levels)]


def make_levels(
    meshes: Sequence[TriangleMesh], budgets: Sequence[int], *, seed: int = 0
) -> tuple[Level, ...]:
    """Bring meshes of one object to their face budgets and measure what that costs.

    Args:
        meshes: finest first, one per level; the same mesh may stand for several. Empty ones are
            left out.
        budgets: most faces of each; meshes with fewer stay as they are.
        seed: of the points that errors are measured with.

    Raises:
        ValueError: if the finest mesh is empty or the numbers do not fit.
        ImportError: if a mesh is not manifold and the extra for such meshes is missing.
    """
    if len(budgets) != len(meshes) or not meshes or meshes[0].is_empty:
        raise ValueError(
            f"levels need a finest mesh with faces and a budget each, got {len(meshes)} meshes "
            f"and {len(budgets)} budgets"
        )
    pairs = zip(meshes, budgets, strict=True)
    reduced = [decimate(mesh, budget) for mesh, budget in pairs if not mesh.is_empty]
    errors = [(0.0, 0.0), *(_errors(mesh, reduced[0], seed) for mesh in reduced[1:])]
    means = np.maximum.accumulate([mean for mean, _ in errors]).tolist()
    coverages = [coverage_of(error) for error in means[1:]] + [0.0]
    return tuple(
        Level(mesh, mean, largest, coverage)
        for mesh, (mean, largest), coverage in zip(reduced, errors, coverages, strict=True)
    )


def decimate(mesh: TriangleMesh, num_faces: int) -> TriangleMesh:
    """At most about so many faces; a mesh that has no more stays as it is.

    Raises:
        ImportError: if the mesh is not manifold and the extra for such meshes is missing.
    """
    if len(mesh.faces) <= num_faces:
        return mesh
    found = decimate_in_order(mesh, num_faces)
    return decimate_quickly(mesh, num_faces) if found.is_empty else found


def coverage_of(error: float) -> float:
    """Share of the screen that an object covers when `error` is one pixel; at most all of it."""
    if error == 0:
        return 1.0
    return min((UNIT_LONGEST_SIDE / error / SCREEN_HEIGHT) ** 2, 1.0)


def _errors(mesh: TriangleMesh, finest: TriangleMesh, seed: int) -> tuple[float, float]:
    """Mean and largest distance between two surfaces, both ways."""
    rng = np.random.default_rng(seed)
    ours, theirs = (sample_surface(one, NUM_SAMPLES, rng).points for one in (mesh, finest))
    there, back = distance_to_mesh(ours, finest), distance_to_mesh(theirs, mesh)
    return float(there.mean() + back.mean()) / 2, float(max(there.max(), back.max()))
