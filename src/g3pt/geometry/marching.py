"""Marching cubes on scattered cells: closed, oriented meshes with vertices named by grid edges.

Legend: A cells, N corners, P vertices, F faces.
"""

from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int64
from numpy import ndarray
from skimage import measure

from g3pt.geometry.sparse_grid import AXES, CUBE, CUBE_NAMES, SparseGrid
from g3pt.geometry.triangles import TriangleMesh

_measure: Any = measure  # its own annotations are partial

# The twelve edges of a cell as pairs of its corners, low corner first.
_EDGES = np.array(
    [(i, i | bit) for bit in (4, 2, 1) for i in range(8) if not i & bit], dtype=np.int64
)
_LATTICE = 32
_POSITIONED = 1 << 17  # vertices between two words to whoever listens


def polygonise(grid: SparseGrid, cells_A: Int64[ndarray, " A"]) -> TriangleMesh:
    """Marching cubes on crossed cells, joined by the names of the grid edges they share."""
    step = _LATTICE**3
    parts = [cells_A[start : start + step] for start in range(0, len(cells_A), step)]
    corners_F3: list[Int64[ndarray, "F 3"]] = []
    for part in parts:
        corners_F3.append(_vertex_names(grid, part))
        grid.tell()
    names_F3 = np.concatenate([np.empty((0, 3), dtype=np.int64), *corners_F3])
    names_P, faces_F3 = np.unique(names_F3, return_inverse=True)
    grid.tell()
    vertices: list[Float64[ndarray, "P 3"]] = []
    for start in range(0, len(names_P), _POSITIONED):
        vertices.append(_vertex_positions(grid, names_P[start : start + _POSITIONED]))
        grid.tell()
    return TriangleMesh(
        vertices=np.concatenate([np.empty((0, 3)), *vertices]),
        faces=faces_F3.reshape(-1, 3).astype(np.int64),
        colors=None,
    )


def _vertex_names(grid: SparseGrid, cells_A: Int64[ndarray, " A"]) -> Int64[ndarray, "F 3"]:
    """Faces of cells, each vertex named 4 * corner + axis of its edge (3: inside the cell).

    The cells are laid out apart from each other in one small volume, and the mask keeps
    marching cubes off the gaps.
    """
    origins_A3 = 2 * np.stack(np.unravel_index(np.arange(len(cells_A)), (_LATTICE,) * 3), -1)
    places_A8 = tuple(np.moveaxis(origins_A3[:, None] + CUBE, -1, 0))
    size = 2 * (1 + (len(cells_A) - 1) // _LATTICE**2), 2 * _LATTICE, 2 * _LATTICE
    volume = np.ones(size, dtype=np.float32)
    volume[places_A8] = _topological_values(grid, cells_A)
    mask = np.zeros(size, dtype=np.bool_)
    mask[tuple((origins_A3 + 1).T)] = (
        True  # a cell is masked at its last corner (scikit-image#8202)
    )
    vertices, faces, _, _ = _measure.marching_cubes(
        volume, 0.0, mask=mask, gradient_direction="ascent"
    )
    lattice_P3 = vertices.astype(np.int64) >> 1
    local_P3 = vertices - 2 * lattice_P3
    on_edge_P3 = (local_P3 > 0) & (local_P3 < 1)
    kind_P = np.where(on_edge_P3.sum(axis=1) == 1, on_edge_P3.argmax(axis=1), 3)
    corner_P3 = np.where(on_edge_P3, 0, local_P3).astype(np.int64)
    cell_P = cells_A[np.ravel_multi_index(tuple(lattice_P3.T), (_LATTICE,) * 3)]
    names_P = 4 * (cell_P + corner_P3 @ AXES) + kind_P
    return names_P[faces]


def _topological_values(grid: SparseGrid, cells_A: Int64[ndarray, " A"]) -> Float32[ndarray, "A 8"]:
    """Values that decide how cells are cut: limited in range, with ties broken.

    Vertex positions come from the true values. Here five decades suffice, so that the float32
    positions that come back still tell on which edge a vertex lies; and a jitter by corner
    avoids equal products in the test of ambiguous faces, which would break manifoldness.
    """
    values_A8 = grid.cell_values(cells_A).astype(np.float64)
    corners_A8 = cells_A[:, None] + CUBE_NAMES
    hashed = (corners_A8 * 2654435761 & 0xFFFFFFFF) >> 22
    size_A8 = np.clip(np.abs(values_A8), 3e-4, 30.0) * (1e4 + 0.02 * hashed)
    return np.where(values_A8 > 0, size_A8, -size_A8).astype(np.float32)


def _vertex_positions(grid: SparseGrid, names_P: Int64[ndarray, " P"]) -> Float64[ndarray, "P 3"]:
    """Linear interpolation along grid edges; the mean of a cell's cuts for inner vertices."""
    kind_P, corners_P = names_P & 3, names_P >> 2
    vertices_P3 = np.empty((len(names_P), 3))
    for axis in range(3):
        low = corners_P[kind_P == axis]
        vertices_P3[kind_P == axis] = _cuts(grid, low, low + AXES[axis])
    cells = corners_P[kind_P == 3]
    ends = cells[:, None, None] + CUBE_NAMES[_EDGES]
    low, high = ends[:, :, 0].reshape(-1), ends[:, :, 1].reshape(-1)
    crossed = (grid.inside(low) != grid.inside(high)).reshape(-1, 12, 1)
    cuts = np.where(crossed, _cuts(grid, low, high).reshape(-1, 12, 3), 0.0)
    vertices_P3[kind_P == 3] = cuts.sum(axis=1) / crossed.sum(axis=1)
    return np.clip(vertices_P3, -1.0, 1.0)


def _cuts(
    grid: SparseGrid, low_N: Int64[ndarray, " N"], high_N: Int64[ndarray, " N"]
) -> Float64[ndarray, "N 3"]:
    """Where the field crosses the level between two corners, from linear interpolation."""
    first, second = grid.values(low_N).astype(np.float64), grid.values(high_N).astype(np.float64)
    first_size, total = np.abs(first), np.abs(first) + np.abs(second)
    share = np.clip(first_size / np.maximum(total, 1e-300), 1e-3, 1 - 1e-3)[:, None]
    return (1 - share) * grid.positions(low_N) + share * grid.positions(high_N)
