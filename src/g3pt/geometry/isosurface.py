"""From any field function to a closed mesh, evaluating the field only near its surface.

A coarse base grid finds sign changes; from each of them the surface is tracked at full
resolution, cell by cell through the faces it crosses, so that exactly the corners of crossed
cells are queried. Marching cubes then runs on those cells alone; vertices are named by the grid
edges they lie on, which joins the cells to a closed, oriented mesh. The dense twin visits every
cell and shares everything else, so both give the same arrays for every component that the base
grid hits.

Corners and cells are named as in `geometry.sparse_grid`. Legend: N corners or points, A cells,
L base grid lines per axis, M seeds, P vertices, F faces.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, Shaped
from numpy import ndarray
from skimage import measure

from g3pt.geometry.sparse_grid import (
    AXES,
    CUBE,
    CUBE_NAMES,
    MAX_RESOLUTION,
    FieldFunction,
    SparseGrid,
    distinct,
    unpack,
)
from g3pt.geometry.triangles import TriangleMesh

_SMALLEST_HALVED_BASE = 64
_NO_CELLS = np.empty(0, dtype=np.int64)
# Corners of a cell's low and high face along each axis, with the step to the neighbour behind it.
_SIDES = [
    (np.flatnonzero(CUBE[:, axis] == high), (2 * high - 1) * int(AXES[axis]))
    for axis in range(3)
    for high in (0, 1)
]


@dataclass(frozen=True)
class Extraction:
    """A surface and what it cost."""

    mesh: TriangleMesh
    """Closed mesh in the frame of the queries, faces outward; empty if nothing is inside."""

    queries: int
    """Points at which the field was evaluated."""

    queries_dense: int
    """Points of the dense grid: (resolution + 1)^3."""


def extract_surface(
    field: FieldFunction,
    *,
    resolution: int = 256,
    base_resolution: int = 64,
    dense: bool = False,
    seeds: Float64[ndarray, "M 3"] | Float32[ndarray, "M 3"] | None = None,
    band: float | None = None,
    chunk: int = 65536,
    level: float = 0.0,
    on_block: Callable[[int], None] | None = None,
) -> Extraction:
    """Mesh the surface where a field crosses a level inside the query cube [-1, 1]^3.

    Everything outside the cube counts as empty, so the mesh is closed even if the solid is cut by
    the cube. Vertices keep a thousandth of a cell's distance from grid corners: no two of them
    coincide and no face is degenerate, also where the field is exactly at the level.

    Args:
        field: positive inside; called with at most `chunk` float32 points of the unit frame. It
            is evaluated once per grid corner.
        resolution: cells per axis.
        base_resolution: cells per axis of the base grid, whose corners are corners of the full
            grid. A component that passes between them is found only through `seeds` or `band`.
            From 64 on, every second line is evaluated first, and the others only in cells that the
            surface may cross, judged by the slopes around them.
        dense: visit every cell; slow and exact.
        seeds: points on or near the surface, in the unit frame: components within two cells of
            one of them are found too.
        band: base cells with a corner closer than this to the level are split, down to single
            cells as long as that holds, so that specks between base corners are found too.
        chunk: largest number of points per call of the field.
        level: value of the field at the surface.
        on_block: called with the number of queries so far after each call of the field, and while
            the mesh is put together; what it raises ends the extraction.

    Returns:
        The mesh (vertices ordered by grid edge, faces by cell) and the number of queries.

    Raises:
        ValueError: if a setting is out of range, or the field gives NaN or a wrong shape.
    """
    if base_resolution < 1 or not 2 <= resolution <= MAX_RESOLUTION:
        raise ValueError(
            f"expected base_resolution >= 1 and 2 <= resolution <= {MAX_RESOLUTION}, "
            f"got {base_resolution} and {resolution}"
        )
    grid = SparseGrid(field, resolution, chunk=chunk, level=level, on_block=on_block)
    if dense:
        cells_A = _crossed_cells_dense(grid)
    else:
        _look_at_base_grid(grid, min(base_resolution, resolution))
        _track(grid, _starts_of_base_grid(grid))
        if band is not None:
            _track(grid, _starts_in_band(grid, band))
        if seeds is not None and len(seeds):
            _track(grid, _starts_near_seeds(grid, np.asarray(seeds, dtype=np.float64)))
        cells_A = grid.crossed_cells()
    mesh = polygonise(grid, cells_A)
    return Extraction(mesh=mesh, queries=grid.num_queries, queries_dense=(resolution + 1) ** 3)


def _crossed_cells_dense(grid: SparseGrid) -> Int64[ndarray, " A"]:
    """All crossed cells, found by visiting every cell, slab by slab."""
    line = np.arange(grid.resolution + 2, dtype=np.int64)
    slab = (line[:, None] * AXES[1] + line).reshape(-1)
    found = [_NO_CELLS]
    for x in line:
        cells_A = slab + x * AXES[0]
        num_inside_A = (grid.cell_values(cells_A) > 0).sum(axis=1)
        found.append(cells_A[(num_inside_A > 0) & (num_inside_A < 8)])
    return np.concatenate(found)


def _track(grid: SparseGrid, cells_A: Int64[ndarray, " A"]) -> None:
    """Mark every crossed cell reachable from some cells through faces with a sign change."""
    while True:
        cells_A = distinct(cells_A)
        cells_A = cells_A[~grid.is_marked(cells_A)]
        if not len(cells_A):
            return
        inside_A8 = grid.cell_values(cells_A) > 0
        crossed_A = inside_A8.any(axis=1) & ~inside_A8.all(axis=1)
        cells_A, inside_A8 = cells_A[crossed_A], inside_A8[crossed_A]
        grid.mark(cells_A)
        following = [_NO_CELLS]
        for corners, step in _SIDES:
            face_A4 = inside_A8[:, corners]
            following.append(cells_A[face_A4.any(axis=1) & ~face_A4.all(axis=1)] + step)
        cells_A = np.concatenate(following)


def _look_at_base_grid(grid: SparseGrid, base_resolution: int) -> None:
    """Evaluate the base grid: fully, or its even lines and then cells that may be crossed."""
    real = np.rint(np.linspace(1, grid.resolution + 1, base_resolution + 1)).astype(np.int64)
    # The two ring corners are ends of the base lines, for solids that are cut by the cube.
    grid.lay_lattice(np.concatenate([[0], real, [grid.resolution + 2]]))
    shape = grid.lattice_values.shape
    wanted = np.ones(shape, dtype=np.bool_)
    if base_resolution >= _SMALLEST_HALVED_BASE and base_resolution % 2 == 0:
        wanted[1:-1, 1:-1, 1:-1] = False
        wanted[1:-1:2, 1:-1:2, 1:-1:2] = True
        grid.fill_lattice(wanted)
        cells = _may_be_crossed(grid.lattice_values[1:-1:2, 1:-1:2, 1:-1:2])
        cells = cells.repeat(2, axis=0).repeat(2, axis=1).repeat(2, axis=2)
        wanted[1:-1, 1:-1, 1:-1] = _over_neighbours(np.pad(cells, 1), np.logical_or)
    grid.fill_lattice(wanted)


def _may_be_crossed(values: Float32[ndarray, "L L L"]) -> Bool[ndarray, "L-1 L-1 L-1"]:
    """Cells with a sign change, or that would reach the level at the steepest slope around."""
    slope = np.zeros(np.subtract(values.shape, 1), dtype=np.float32)
    for axis in range(3):
        difference = np.abs(np.diff(values, axis=axis))
        for other in {0, 1, 2} - {axis}:
            difference = _along(difference, other, np.maximum)
        slope = np.maximum(slope, difference)
    slope = _over_neighbours(_over_neighbours(np.pad(slope, 1), np.maximum), np.maximum)
    inside = values > 0
    mixed = _over_neighbours(inside, np.logical_or) & ~_over_neighbours(inside, np.logical_and)
    return mixed | (_over_neighbours(np.abs(values), np.minimum) <= slope)


def _along(
    array: Shaped[ndarray, "_ _ _"], axis: int, combine: Callable[..., Shaped[ndarray, "_ _ _"]]
) -> Shaped[ndarray, "_ _ _"]:
    """Combine each entry with the next one along an axis."""
    array = np.moveaxis(array, axis, 0)
    return np.moveaxis(combine(array[1:], array[:-1]), 0, axis)


def _over_neighbours(
    array: Shaped[ndarray, "_ _ _"], combine: Callable[..., Shaped[ndarray, "_ _ _"]]
) -> Shaped[ndarray, "_ _ _"]:
    """Combine the eight entries at the corners of each cell of an array."""
    for axis in range(3):
        array = _along(array, axis, combine)
    return array


def _starts_of_base_grid(grid: SparseGrid) -> Int64[ndarray, " A"]:
    """Cells at the sign changes between neighbouring corners of the base grid."""
    found = [_NO_CELLS]
    for axis in range(3):
        names = np.moveaxis(grid.lattice_names, axis, 0)
        values = np.moveaxis(grid.lattice_values, axis, 0)
        known = ~np.isnan(values[1:]) & ~np.isnan(values[:-1])
        change = known & ((values[1:] > 0) != (values[:-1] > 0))
        found.append(_cells_at_sign_change(grid, names[:-1][change], names[1:][change], axis))
    return np.concatenate(found)


def _cells_at_sign_change(
    grid: SparseGrid, low_N: Int64[ndarray, " N"], high_N: Int64[ndarray, " N"], axis: int
) -> Int64[ndarray, " A"]:
    """Bisect segments whose ends differ in sign; return the cells around the result."""
    step = int(AXES[axis])
    low_inside_N = grid.inside(low_N)
    while (wide := high_N - low_N > step).any():
        middle = low_N + (high_N - low_N) // step // 2 * step
        same = np.zeros(len(low_N), dtype=np.bool_)
        same[wide] = grid.inside(middle[wide]) == low_inside_N[wide]
        low_N, high_N = np.where(same, middle, low_N), np.where(wide & ~same, middle, high_N)
    across = np.delete(AXES, axis)
    shifts = np.array([0, across[0], across[1], across.sum()])
    return (low_N[:, None] - shifts).reshape(-1)


def _starts_in_band(grid: SparseGrid, band: float) -> Int64[ndarray, " A"]:
    """Split boxes with corners near the level in eight until they are single cells."""
    known = np.flatnonzero(~np.isnan(grid.lattice_values).any(axis=(1, 2)))
    take = np.ix_(known, known, known)
    distance = np.abs(grid.lattice_values[take])
    names = grid.lattice_names[take]
    near = _over_neighbours(distance, np.minimum) < band
    low_N3, high_N3 = unpack(names[:-1, :-1, :-1][near]), unpack(names[1:, 1:, 1:][near])
    found = [_NO_CELLS]
    while len(low_N3):
        single_N = (high_N3 - low_N3 == 1).all(axis=1)
        found.append(low_N3[single_N] @ AXES)
        low, high = low_N3[~single_N, None], high_N3[~single_N, None]
        middle = (low + high) // 2
        low_N3 = np.where(CUBE == 1, middle, low).reshape(-1, 3)
        high_N3 = np.where(CUBE == 1, high, middle).reshape(-1, 3)
        real_N = (high_N3 > low_N3).all(axis=1)
        low_N3, high_N3 = low_N3[real_N], high_N3[real_N]
        corners = np.where(CUBE == 1, high_N3[:, None], low_N3[:, None]) @ AXES
        distance_N8 = np.abs(grid.values(corners.reshape(-1)).reshape(-1, 8))
        near_N = distance_N8.min(axis=1) < band
        low_N3, high_N3 = low_N3[near_N], high_N3[near_N]
    return np.concatenate(found)


def _starts_near_seeds(grid: SparseGrid, seeds_M3: Float64[ndarray, "M 3"]) -> Int64[ndarray, " A"]:
    """Cells at sign changes within two cells of seed points that tracking has not reached."""
    corners_M3 = np.rint((seeds_M3 + 1) * (grid.resolution / 2)).astype(np.int64) + 1
    centers = np.unique(np.clip(corners_M3, 1, grid.resolution + 1), axis=0)
    around = (CUBE - 1) @ AXES
    ids = centers @ AXES
    centers = centers[~grid.is_marked((ids[:, None] + around).reshape(-1)).reshape(-1, 8).any(1)]
    found = [_NO_CELLS]
    for axis in range(3):
        for shift in (-2, 2):
            ends = centers.copy()
            ends[:, axis] = np.clip(ends[:, axis] + shift, 0, grid.resolution + 2)
            low, high = np.minimum(centers, ends) @ AXES, np.maximum(centers, ends) @ AXES
            change = grid.inside(low) != grid.inside(high)
            found.append(_cells_at_sign_change(grid, low[change], high[change], axis))
    return np.concatenate(found)


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

    Vertex positions are computed from the true values. Five decades suffice here, so that the
    float32 positions returned still tell on which edge a vertex lies. A jitter by corner avoids
    equal products in the test of ambiguous faces, which would break manifoldness.
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
