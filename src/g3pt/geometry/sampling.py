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


NORMAL_WEIGHT = 0.1
"""Length that a unit of normals counts when points are spread: opposite sides of a sheet are .2
apart, however thin it is."""


def well_spread(samples: SurfaceSamples, num: int, rng: np.random.Generator) -> SurfaceSamples:
    """Keep points that lie more evenly than random ones, at the same mean density.

    Space is halved again and again at medians until every cell holds equally many points, and of
    each cell the point nearest to its mean is kept. Positions and normals count as six coordinates.

    Args:
        samples: candidates, uniform by area and in random order. Those beyond a multiple of the
            number of cells are not used.
        num: number of points to keep; there are as many cells as the next power of two.
        rng: random generator of the order, and of the cells that are left out.

    Raises:
        ValueError: if there are fewer than two candidates a cell.
    """
    num_cells = 1 << (num - 1).bit_length()
    size = len(samples.points) // num_cells
    if size < 2:
        raise ValueError(
            f"spreading {num} points takes at least {2 * num_cells} candidates, got "
            f"{len(samples.points)}"
        )
    values_M6 = np.concatenate([samples.points, NORMAL_WEIGHT * samples.normals], axis=1)
    cells_CM = np.arange(num_cells * size)[None]
    while len(cells_CM) < num_cells:
        values_CM6 = values_M6[cells_CM]
        widest_C = np.ptp(values_CM6, axis=1).argmax(axis=1)
        along_CM = np.take_along_axis(values_CM6, widest_C[:, None, None], axis=2)[..., 0]
        order_CM = along_CM.argsort(axis=1, kind="stable")
        cells_CM = np.take_along_axis(cells_CM, order_CM, axis=1).reshape(2 * len(cells_CM), -1)
    values_CM6 = values_M6[cells_CM]
    off_CM = np.square(values_CM6 - values_CM6.mean(axis=1, keepdims=True)).sum(axis=2)
    kept_C = cells_CM[np.arange(num_cells), off_CM.argmin(axis=1)]
    kept_N = rng.permutation(kept_C)[:num]
    return SurfaceSamples(samples.points[kept_N], samples.normals[kept_N], samples.faces[kept_N])


def num_candidates(num: int, spread: int) -> int:
    """Number of points to draw for `well_spread` to choose `num` from, `spread` in each cell."""
    return num if spread == 1 else spread << (num - 1).bit_length()


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
