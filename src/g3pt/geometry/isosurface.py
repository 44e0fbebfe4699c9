"""From any field function to a closed mesh, asking the field only near its surface.

A coarse base grid finds sign changes; from each of them the surface is tracked at full
resolution, cell by cell through the faces it crosses, so that exactly the corners of crossed
cells are queried. scikit-image's marching cubes then runs on those cells alone. The dense twin
visits every cell and shares everything else, so both give the same arrays for every component
that the base grid hits.

Grid corners are named by one integer (10 bits or more per axis, x highest), counted from a ring
of virtual corners around the query cube [-1, 1]^3 that is always outside: real corners have
coordinates 1..R+1, the ring 0 and R+2. Legend: N corners or points, A cells, P vertices, F faces.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64
from numpy import ndarray
from skimage import measure

from g3pt.geometry.triangles import TriangleMesh

FieldFunction = Callable[[Float32[ndarray, "N 3"]], Float32[ndarray, " N"]]

_measure: Any = measure  # its own annotations are partial

_BITS = 12
_MASK = (1 << _BITS) - 1
_AXES = np.array([1 << 2 * _BITS, 1 << _BITS, 1], dtype=np.int64)
_CUBE = np.array([[i >> 2 & 1, i >> 1 & 1, i & 1] for i in range(8)], dtype=np.int64)
_CUBE_IDS = _CUBE @ _AXES
# Corners of a cell's low and high face along each axis, with the step to the neighbour behind it.
_SIDES = [
    (np.flatnonzero(_CUBE[:, axis] == high), (2 * high - 1) * int(_AXES[axis]))
    for axis in range(3)
    for high in (0, 1)
]
# The twelve edges of a cell as pairs of its corners, low corner first.
_EDGES = np.array(
    [(i, i | bit) for bit in (4, 2, 1) for i in range(8) if not i & bit], dtype=np.int64
)
_BLOCK_BITS = 3
_BLOCK = 1 << 3 * _BLOCK_BITS
_LATTICE = 32


@dataclass(frozen=True)
class Extraction:
    """A surface and what it cost."""

    mesh: TriangleMesh
    """Closed mesh in the frame of the queries, faces outward; empty if nothing is inside."""

    queries: int
    """Points at which the field was evaluated."""

    queries_dense: int
    """Points that the dense grid has: (resolution + 1)^3."""


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
) -> Extraction:
    """Mesh the surface where a field crosses a level inside the query cube [-1, 1]^3.

    Everything outside the cube counts as empty, so the mesh is closed even if the solid is cut by
    the cube. Vertices keep a thousandth of a cell's distance from grid corners: no two of them
    coincide and no face is degenerate, also where the field is exactly at the level.

    Args:
        field: positive inside; called with at most `chunk` float32 points of the unit frame. It
            is asked once per grid corner.
        resolution: cells per axis.
        base_resolution: cells per axis of the grid that is always queried; its corners are
            corners of the full grid. A component that passes between them is found only through
            `seeds` or `band`.
        dense: visit every cell; slow and exact.
        seeds: points on or near the surface, in the unit frame: components within two cells of
            one of them are found too.
        band: base cells with a corner closer than this to the level are split down to single
            cells, so that specks between base corners are found too.
        chunk: largest number of points per call of the field.
        level: value of the field at the surface.

    Returns:
        The mesh (vertices ordered by grid edge, faces by cell) and the number of queries.

    Raises:
        ValueError: if a setting is out of range, or the field gives NaN or a wrong shape.
    """
    if not 1 <= base_resolution or not 2 <= resolution <= _MASK - 2:
        raise ValueError(
            f"expected base_resolution >= 1 and 2 <= resolution <= {_MASK - 2}, "
            f"got {base_resolution} and {resolution}"
        )
    grid = _SparseGrid(field, resolution, chunk=chunk, level=level)
    if dense:
        cells_A = _crossed_cells_dense(grid)
    else:
        starts_A = _starts_of_base_grid(grid, base_resolution, band)
        _track(grid, starts_A)
        if seeds is not None and len(seeds):
            _track(grid, _starts_near_seeds(grid, np.asarray(seeds, dtype=np.float64)))
        cells_A = grid.crossed_cells()
    mesh = _polygonise(grid, cells_A)
    return Extraction(mesh=mesh, queries=grid.num_queries, queries_dense=(resolution + 1) ** 3)


class _SparseGrid:
    """Field values at grid corners and flags of visited cells, in blocks made when touched."""

    def __init__(self, field: FieldFunction, resolution: int, *, chunk: int, level: float) -> None:
        self.field = field
        self.resolution = resolution
        self.chunk = chunk
        self.level = level
        self.num_queries = 0
        num_blocks = (resolution + 2 >> _BLOCK_BITS) + 1
        self._rows = np.full((num_blocks,) * 3, -1, dtype=np.int32)
        self._ids = np.empty(0, dtype=np.int64)
        self._values = np.empty((0, _BLOCK), dtype=np.float32)
        self._crossed = np.empty((0, _BLOCK), dtype=np.bool_)
        self._num_rows = 0

    def values(self, corners_N: Int64[ndarray, " N"]) -> Float32[ndarray, " N"]:
        """Field minus level at corners, evaluated where not yet known; negative on the ring."""
        slots_N = self._slots(corners_N)
        unknown_N = np.isnan(self._values.reshape(-1)[slots_N])
        if unknown_N.any():
            new_slots, first = np.unique(slots_N[unknown_N], return_index=True)
            self._values.reshape(-1)[new_slots] = self._evaluate(corners_N[unknown_N][first])
        return self._values.reshape(-1)[slots_N]

    def inside(self, corners_N: Int64[ndarray, " N"]) -> Bool[ndarray, " N"]:
        """Whether corners are inside; a value exactly at the level is outside."""
        return self.values(corners_N) > 0

    def cell_values(self, cells_A: Int64[ndarray, " A"]) -> Float32[ndarray, "A 8"]:
        """Values at the corners of cells, in the order of `_CUBE`."""
        return self.values((cells_A[:, None] + _CUBE_IDS).reshape(-1)).reshape(-1, 8)

    def mark(self, cells_A: Int64[ndarray, " A"]) -> None:
        """Note cells as crossed by the surface."""
        self._crossed.reshape(-1)[self._slots(cells_A)] = True

    def is_marked(self, cells_A: Int64[ndarray, " A"]) -> Bool[ndarray, " A"]:
        """Whether cells were noted as crossed."""
        return self._crossed.reshape(-1)[self._slots(cells_A)]

    def crossed_cells(self) -> Int64[ndarray, " A"]:
        """All noted cells, in increasing order."""
        row, local = np.nonzero(self._crossed[: self._num_rows])
        return np.sort(self._ids[row] + _block_offsets()[local])

    def positions(self, corners_N: Int64[ndarray, " N"]) -> Float64[ndarray, "N 3"]:
        """Where corners are, in the unit frame."""
        return (_unpack(corners_N) - 1) * (2.0 / self.resolution) - 1.0

    def _slots(self, corners_N: Int64[ndarray, " N"]) -> Int64[ndarray, " N"]:
        """Index of corners into the flattened blocks, after making the blocks they need."""
        x, y, z = corners_N >> 2 * _BITS, corners_N >> _BITS & _MASK, corners_N & _MASK
        size = self._rows.shape[0]
        block = x >> _BLOCK_BITS
        block = (block * size + (y >> _BLOCK_BITS)) * size + (z >> _BLOCK_BITS)
        rows_N = self._rows.reshape(-1)[block]
        if rows_N.size and rows_N.min() < 0:
            self._make_blocks(np.unique(block[rows_N < 0]))
            rows_N = self._rows.reshape(-1)[block]
        low = (1 << _BLOCK_BITS) - 1
        local = ((x & low) << 2 * _BLOCK_BITS) | ((y & low) << _BLOCK_BITS) | (z & low)
        return rows_N.astype(np.int64) * _BLOCK + local

    def _make_blocks(self, blocks: Int64[ndarray, " K"]) -> None:
        first, last = self._num_rows, self._num_rows + len(blocks)
        if last > len(self._values):
            grow = max(last, 2 * len(self._values)) - len(self._values)
            self._values = np.concatenate([self._values, np.full((grow, _BLOCK), np.nan, "f4")])
            self._crossed = np.concatenate([self._crossed, np.zeros((grow, _BLOCK), np.bool_)])
        self._rows.reshape(-1)[blocks] = np.arange(first, last, dtype=np.int32)
        corner = np.stack(np.unravel_index(blocks, self._rows.shape), axis=-1) << _BLOCK_BITS
        self._ids = np.concatenate([self._ids, corner @ _AXES])
        self._num_rows = last

    def _evaluate(self, corners_N: Int64[ndarray, " N"]) -> Float32[ndarray, " N"]:
        values_N = np.full(len(corners_N), -1.0, dtype=np.float32)
        coordinates = _unpack(corners_N)
        real = np.flatnonzero(((coordinates > 0) & (coordinates < self.resolution + 2)).all(axis=1))
        points = self.positions(corners_N[real]).astype(np.float32)
        for start in range(0, len(real), self.chunk):
            part = points[start : start + self.chunk]
            answer = np.asarray(self.field(part), dtype=np.float32)
            if answer.shape != (len(part),) or np.isnan(answer).any():
                raise ValueError(
                    f"the field must give one number per point, got shape {answer.shape} for "
                    f"{len(part)} points with {np.isnan(answer).sum()} NaN"
                )
            values_N[real[start : start + self.chunk]] = np.clip(answer - self.level, -1e30, 1e30)
        self.num_queries += len(real)
        return values_N


def _unpack(corners_N: Int64[ndarray, " N"]) -> Int64[ndarray, "N 3"]:
    return corners_N[:, None] // _AXES & _MASK


def _block_offsets() -> Int64[ndarray, " K"]:
    """Corner numbers inside a block, in the order of its slots."""
    return np.stack(np.unravel_index(np.arange(_BLOCK), (1 << _BLOCK_BITS,) * 3), -1) @ _AXES


def _crossed_cells_dense(grid: _SparseGrid) -> Int64[ndarray, " A"]:
    """Look at every cell, one slab after the other."""
    line = np.arange(grid.resolution + 2, dtype=np.int64)
    slab = (line[:, None] * _AXES[1] + line).reshape(-1)
    found = [np.empty(0, dtype=np.int64)]
    for x in line:
        cells_A = slab + x * _AXES[0]
        num_inside_A = (grid.cell_values(cells_A) > 0).sum(axis=1)
        found.append(cells_A[(num_inside_A > 0) & (num_inside_A < 8)])
    return np.concatenate(found)


def _track(grid: _SparseGrid, cells_A: Int64[ndarray, " A"]) -> None:
    """Mark every crossed cell reachable from some cells through faces with a sign change."""
    while True:
        cells_A = np.unique(cells_A)
        cells_A = cells_A[~grid.is_marked(cells_A)]
        if not len(cells_A):
            return
        inside_A8 = grid.cell_values(cells_A) > 0
        crossed_A = inside_A8.any(axis=1) & ~inside_A8.all(axis=1)
        cells_A, inside_A8 = cells_A[crossed_A], inside_A8[crossed_A]
        grid.mark(cells_A)
        following = [np.empty(0, dtype=np.int64)]
        for corners, step in _SIDES:
            face_A4 = inside_A8[:, corners]
            following.append(cells_A[face_A4.any(axis=1) & ~face_A4.all(axis=1)] + step)
        cells_A = np.concatenate(following)


def _starts_of_base_grid(
    grid: _SparseGrid, base_resolution: int, band: float | None
) -> Int64[ndarray, " A"]:
    """Cells at the sign changes between neighbouring corners of the base grid."""
    # The two ring corners are ends of the base lines, for solids that are cut by the cube.
    real = np.rint(np.linspace(1, grid.resolution + 1, base_resolution + 1)).astype(np.int64)
    line = np.unique(np.concatenate([[0], real, [grid.resolution + 2]]))
    corners_XYZ = line[:, None, None] * _AXES[0] + line[:, None] * _AXES[1] + line
    values_XYZ = grid.values(corners_XYZ.reshape(-1)).reshape(corners_XYZ.shape)
    found = [np.empty(0, dtype=np.int64)]
    for axis in range(3):
        corners = np.moveaxis(corners_XYZ, axis, 0)
        inside = np.moveaxis(values_XYZ > 0, axis, 0)
        change = inside[1:] != inside[:-1]
        found.append(_cells_at_sign_change(grid, corners[:-1][change], corners[1:][change], axis))
    if band is not None:
        low = np.stack(np.meshgrid(line[:-1], line[:-1], line[:-1], indexing="ij"), -1)
        high = np.stack(np.meshgrid(line[1:], line[1:], line[1:], indexing="ij"), -1)
        found.append(_starts_in_band(grid, low.reshape(-1, 3), high.reshape(-1, 3), band))
    return np.concatenate(found)


def _cells_at_sign_change(
    grid: _SparseGrid, low_N: Int64[ndarray, " N"], high_N: Int64[ndarray, " N"], axis: int
) -> Int64[ndarray, " A"]:
    """Halve segments along an axis whose ends differ in sign; the cells around what remains."""
    step = int(_AXES[axis])
    low_inside_N = grid.inside(low_N)
    while (wide := high_N - low_N > step).any():
        middle = low_N + (high_N - low_N) // step // 2 * step
        same = np.zeros(len(low_N), dtype=np.bool_)
        same[wide] = grid.inside(middle[wide]) == low_inside_N[wide]
        low_N, high_N = np.where(same, middle, low_N), np.where(wide & ~same, middle, high_N)
    across = np.delete(_AXES, axis)
    shifts = np.array([0, across[0], across[1], across.sum()])
    return (low_N[:, None] - shifts).reshape(-1)


def _starts_in_band(
    grid: _SparseGrid, low_N3: Int64[ndarray, "N 3"], high_N3: Int64[ndarray, "N 3"], band: float
) -> Int64[ndarray, " A"]:
    """Split boxes of corners near the level in eight until they are single cells."""
    found = [np.empty(0, dtype=np.int64)]
    while len(low_N3):
        box_N83 = np.where(_CUBE, high_N3[:, None], low_N3[:, None])
        values_N8 = grid.values((box_N83 @ _AXES).reshape(-1)).reshape(-1, 8)
        single_N = (high_N3 - low_N3 == 1).all(axis=1)
        found.append(low_N3[single_N] @ _AXES)
        keep_N = ~single_N & (np.abs(values_N8).min(axis=1) < band)
        low, high = low_N3[keep_N], high_N3[keep_N]
        middle = (low + high) // 2
        upper_83 = _CUBE.astype(np.bool_)
        low_N3 = np.where(upper_83, middle[:, None], low[:, None]).reshape(-1, 3)
        high_N3 = np.where(upper_83, high[:, None], middle[:, None]).reshape(-1, 3)
        real_N = (high_N3 > low_N3).all(axis=1)
        low_N3, high_N3 = low_N3[real_N], high_N3[real_N]
    return np.concatenate(found)


def _starts_near_seeds(
    grid: _SparseGrid, seeds_M3: Float64[ndarray, "M 3"]
) -> Int64[ndarray, " A"]:
    """Cells at sign changes within two cells of seed points that tracking has not reached."""
    corners_M3 = np.rint((seeds_M3 + 1) * (grid.resolution / 2)).astype(np.int64) + 1
    centers = np.unique(np.clip(corners_M3, 1, grid.resolution + 1), axis=0)
    around = (_CUBE - 1) @ _AXES
    ids = centers @ _AXES
    centers = centers[~grid.is_marked((ids[:, None] + around).reshape(-1)).reshape(-1, 8).any(1)]
    found = [np.empty(0, dtype=np.int64)]
    for axis in range(3):
        for shift in (-2, 2):
            ends = centers.copy()
            ends[:, axis] = np.clip(ends[:, axis] + shift, 0, grid.resolution + 2)
            low, high = np.minimum(centers, ends) @ _AXES, np.maximum(centers, ends) @ _AXES
            change = grid.inside(low) != grid.inside(high)
            found.append(_cells_at_sign_change(grid, low[change], high[change], axis))
    return np.concatenate(found)


def _polygonise(grid: _SparseGrid, cells_A: Int64[ndarray, " A"]) -> TriangleMesh:
    """Marching cubes on crossed cells, joined by the names of the grid edges they share."""
    step = _LATTICE**3
    parts = [cells_A[start : start + step] for start in range(0, len(cells_A), step)]
    corners_F3 = [_vertex_names(grid, part) for part in parts]
    names_F3 = np.concatenate([np.empty((0, 3), dtype=np.int64), *corners_F3])
    names_P, faces_F3 = np.unique(names_F3, return_inverse=True)
    return TriangleMesh(
        vertices=_vertex_positions(grid, names_P),
        faces=faces_F3.reshape(-1, 3).astype(np.int64),
        colors=None,
    )


def _vertex_names(grid: _SparseGrid, cells_A: Int64[ndarray, " A"]) -> Int64[ndarray, "F 3"]:
    """Faces of cells, each vertex named 4 * corner + axis of its edge (3: inside the cell).

    The cells are laid out apart from each other in one small volume, and the mask keeps
    marching cubes off the gaps.
    """
    origins_A3 = 2 * np.stack(np.unravel_index(np.arange(len(cells_A)), (_LATTICE,) * 3), -1)
    places_A8 = tuple(np.moveaxis(origins_A3[:, None] + _CUBE, -1, 0))
    size = 2 * (1 + (len(cells_A) - 1) // _LATTICE**2), 2 * _LATTICE, 2 * _LATTICE
    volume = np.ones(size, dtype=np.float32)
    volume[places_A8] = _topological_values(grid, cells_A)
    mask = np.zeros(size, dtype=np.bool_)
    mask[tuple((origins_A3 + 1).T)] = True  # scikit-image masks a cell at its last corner
    vertices, faces, _, _ = _measure.marching_cubes(
        volume, 0.0, mask=mask, gradient_direction="ascent"
    )
    lattice_P3 = vertices.astype(np.int64) >> 1
    local_P3 = vertices - 2 * lattice_P3
    on_edge_P3 = (local_P3 > 0) & (local_P3 < 1)
    kind_P = np.where(on_edge_P3.sum(axis=1) == 1, on_edge_P3.argmax(axis=1), 3)
    corner_P3 = np.where(on_edge_P3, 0, local_P3).astype(np.int64)
    cell_P = cells_A[np.ravel_multi_index(tuple(lattice_P3.T), (_LATTICE,) * 3)]
    names_P = 4 * (cell_P + corner_P3 @ _AXES) + kind_P
    return names_P[faces]


def _topological_values(
    grid: _SparseGrid, cells_A: Int64[ndarray, " A"]
) -> Float32[ndarray, "A 8"]:
    """Values that decide how cells are cut: limited in range, with ties broken.

    Vertex positions come from the true values. Here five decades suffice, so that the float32
    positions that come back still tell on which edge a vertex lies; and a jitter by corner
    avoids equal products in the test of ambiguous faces, which would break manifoldness.
    """
    values_A8 = grid.cell_values(cells_A).astype(np.float64)
    corners_A8 = cells_A[:, None] + _CUBE_IDS
    hashed = (corners_A8 * 2654435761 & 0xFFFFFFFF) >> 22
    size_A8 = np.clip(np.abs(values_A8), 3e-4, 30.0) * (1e4 + 0.02 * hashed)
    return np.where(values_A8 > 0, size_A8, -size_A8).astype(np.float32)


def _vertex_positions(grid: _SparseGrid, names_P: Int64[ndarray, " P"]) -> Float64[ndarray, "P 3"]:
    """Linear interpolation along grid edges; the mean of a cell's cuts for inner vertices."""
    kind_P, corners_P = names_P & 3, names_P >> 2
    vertices_P3 = np.empty((len(names_P), 3))
    for axis in range(3):
        low = corners_P[kind_P == axis]
        vertices_P3[kind_P == axis] = _cuts(grid, low, low + _AXES[axis])
    cells = corners_P[kind_P == 3]
    ends = cells[:, None, None] + _CUBE_IDS[_EDGES]
    low, high = ends[:, :, 0].reshape(-1), ends[:, :, 1].reshape(-1)
    crossed = (grid.inside(low) != grid.inside(high)).reshape(-1, 12, 1)
    cuts = np.where(crossed, _cuts(grid, low, high).reshape(-1, 12, 3), 0.0)
    vertices_P3[kind_P == 3] = cuts.sum(axis=1) / crossed.sum(axis=1)
    return np.clip(vertices_P3, -1.0, 1.0)


def _cuts(
    grid: _SparseGrid, low_N: Int64[ndarray, " N"], high_N: Int64[ndarray, " N"]
) -> Float64[ndarray, "N 3"]:
    """Where the field crosses the level between two corners, from linear interpolation."""
    first, second = grid.values(low_N).astype(np.float64), grid.values(high_N).astype(np.float64)
    first_size, total = np.abs(first), np.abs(first) + np.abs(second)
    share = np.clip(first_size / np.maximum(total, 1e-300), 1e-3, 1 - 1e-3)[:, None]
    return (1 - share) * grid.positions(low_N) + share * grid.positions(high_N)
