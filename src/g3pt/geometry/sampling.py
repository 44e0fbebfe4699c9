"""Random points on, around and away from a surface. Unit frame; N points."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from g3pt.geometry.triangles import MeshError, TriangleMesh, area_vectors

NEAR_SIGMAS = (0.005, 0.05)
"""Standard deviations of near-surface noise in unit-frame lengths; each applies to an equal share
of the points."""


@dataclass(frozen=True, eq=False)
class SurfaceSamples:
    """Points on a surface, with their normals and faces."""

    points: Float64[np.ndarray, "N 3"]
    """Positions, in the frame of the surface."""
    normals: Float64[np.ndarray, "N 3"]
    """Outward unit normals (of the faces, not smoothed)."""
    faces: Int64[np.ndarray, " N"]
    """The face each point lies on; for a surface without faces, the part it lies on."""


def sample_surface(mesh: TriangleMesh, num: int, rng: np.random.Generator) -> SurfaceSamples:
    """Draw points uniformly by area.

    Raises:
        MeshError: if the mesh has no area.
    """
    vectors = area_vectors(mesh)
    areas = np.linalg.norm(vectors, axis=1)
    ends = np.cumsum(areas)
    if len(ends) == 0 or not ends[-1] > 0:
        raise MeshError(f"cannot sample a surface without area ({len(mesh.faces)} faces)")
    # `side="right"` never picks a face without area, except at the very end: hence the minimum.
    picks = np.asarray(np.searchsorted(ends, rng.random(num) * ends[-1], side="right"), np.int64)
    faces = np.minimum(picks, np.flatnonzero(areas)[-1])
    root, along = np.sqrt(rng.random((num, 1))), rng.random((num, 1))
    corner_a, corner_b, corner_c = np.moveaxis(mesh.vertices[mesh.faces[faces]], 1, 0)
    points = (1 - root) * corner_a + root * ((1 - along) * corner_b + along * corner_c)
    return SurfaceSamples(points, vectors[faces] / areas[faces, None], faces)


def sample_volume(num: int, rng: np.random.Generator) -> Float64[np.ndarray, "N 3"]:
    """Draw points uniformly in the query cube [-1, 1]^3."""
    return rng.uniform(-1.0, 1.0, size=(num, 3))


def perturb(
    points: Float64[np.ndarray, "N 3"], sigmas: tuple[float, ...], rng: np.random.Generator
) -> Float64[np.ndarray, "N 3"]:
    """Add Gaussian noise; point i gets sigma number i modulo the number of sigmas.

    The result may leave the query cube, outside of which everything is empty.
    """
    spread = np.resize(np.array(sigmas), len(points))
    return points + rng.standard_normal(points.shape) * spread[:, None]


def sample_near_surface(
    surface_points: Float64[np.ndarray, "N 3"],
    rng: np.random.Generator,
    sigmas: tuple[float, ...] = NEAR_SIGMAS,
) -> Float64[np.ndarray, "N 3"]:
    """Turn surface points into near-surface queries, half with each default sigma (paper 4.2)."""
    return perturb(surface_points, sigmas, rng)
