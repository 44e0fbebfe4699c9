"""Values of a field at the corners of a fine grid, evaluated once each and kept in small blocks.

Grid corners are named by one integer (12 bits per axis, x highest), counted from a ring of
virtual corners around the query cube [-1, 1]^3 that is always outside: real corners have
coordinates 1..R+1, the ring 0 and R+2. A cell has the name of its lowest corner.
Legend: N corners or points, A cells, L lattice lines per axis, K blocks or their slots.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64
from numpy import ndarray

FieldFunction = Callable[[Float32[ndarray, "N 3"]], Float32[ndarray, " N"]]

_BITS = 12
_MASK = (1 << _BITS) - 1
MAX_RESOLUTION = _MASK - 2
"""Largest number of cells per axis that corner names can express."""
AXES = np.array([1 << 2 * _BITS, 1 << _BITS, 1], dtype=np.int64)
"""Step of a corner's name along x, y and z."""
CUBE = np.array([[i >> 2 & 1, i >> 1 & 1, i & 1] for i in range(8)], dtype=np.int64)
"""Corners of a cell, as coordinates relative to its lowest corner."""
CUBE_NAMES = CUBE @ AXES
"""Corners of a cell, as steps of the corner's name."""

_BLOCK_BITS = 3
_BLOCK = 1 << 3 * _BLOCK_BITS


class SparseGrid:
    """Field values at grid corners and flags of crossed cells, in blocks allocated on first use.

    The values of the base grid, a lattice of far-apart corners, are kept in one separate array, so
    that evaluating it does not allocate every block.
    """

    def __init__(
        self,
        field: FieldFunction,
        resolution: int,
        *,
        chunk: int,
        level: float,
        on_block: Callable[[int], None] | None = None,
    ) -> None:
        self.field = field
        self.resolution = resolution
        self.chunk = chunk
        self.level = level
        self._on_block = on_block
        self.num_queries = 0
        num_blocks = (resolution + 2 >> _BLOCK_BITS) + 1
        self._rows = np.full((num_blocks,) * 3, -1, dtype=np.int32)
        self._lowest = np.empty(0, dtype=np.int64)
        self._values = np.empty((0, _BLOCK), dtype=np.float32)
        self._crossed = np.empty((0, _BLOCK), dtype=np.bool_)
        self._num_rows = 0
        self._place_on_line = np.full(resolution + 3, -1, dtype=np.int64)
        self.lattice_names = np.empty((0, 0, 0), dtype=np.int64)
        self.lattice_values = np.empty((0, 0, 0), dtype=np.float32)

    def tell(self) -> None:
        """Say that a block of work is done; whoever hears it may raise."""
        if self._on_block is not None:
            self._on_block(self.num_queries)

    def lay_lattice(self, line: Int64[ndarray, " L"]) -> None:
        """Set the coordinates of the lattice (the same along each axis); no value is known yet."""
        self._place_on_line[line] = np.arange(len(line))
        self.lattice_names = line[:, None, None] * AXES[0] + line[:, None] * AXES[1] + line
        self.lattice_values = np.full(self.lattice_names.shape, np.nan, dtype=np.float32)

    def fill_lattice(self, wanted: Bool[ndarray, "L L L"]) -> None:
        """Evaluate the wanted corners of the lattice that are not yet known."""
        wanted = wanted & np.isnan(self.lattice_values)
        self.lattice_values[wanted] = self._ask(self.lattice_names[wanted])

    def values(self, corners_N: Int64[ndarray, " N"]) -> Float32[ndarray, " N"]:
        """Field minus level at corners, evaluated where not yet known; negative on the ring."""
        slots_N = self._slots(corners_N)
        unknown_N = np.isnan(self._values.reshape(-1)[slots_N])
        if unknown_N.any():
            new = distinct(corners_N[unknown_N])
            self._values.reshape(-1)[self._slots(new)] = self._evaluate(new)
        return self._values.reshape(-1)[slots_N]

    def inside(self, corners_N: Int64[ndarray, " N"]) -> Bool[ndarray, " N"]:
        """Whether corners are inside; a value exactly at the level is outside."""
        return self.values(corners_N) > 0

    def cell_values(self, cells_A: Int64[ndarray, " A"]) -> Float32[ndarray, "A 8"]:
        """Values at the corners of cells, in the order of `CUBE`."""
        return self.values((cells_A[:, None] + CUBE_NAMES).reshape(-1)).reshape(-1, 8)

    def mark(self, cells_A: Int64[ndarray, " A"]) -> None:
        """Flag cells as crossed by the surface."""
        slots_A = self._slots(cells_A)  # first: it may reallocate the arrays
        self._crossed.reshape(-1)[slots_A] = True

    def is_marked(self, cells_A: Int64[ndarray, " A"]) -> Bool[ndarray, " A"]:
        """Whether cells are flagged as crossed."""
        slots_A = self._slots(cells_A)
        return self._crossed.reshape(-1)[slots_A]

    def crossed_cells(self) -> Int64[ndarray, " A"]:
        """All flagged cells, in increasing order."""
        row, local = np.nonzero(self._crossed[: self._num_rows])
        return np.sort(self._lowest[row] + _block_offsets()[local])

    def positions(self, corners_N: Int64[ndarray, " N"]) -> Float64[ndarray, "N 3"]:
        """Positions of corners in the unit frame."""
        return (unpack(corners_N) - 1) * (2.0 / self.resolution) - 1.0

    def _slots(self, corners_N: Int64[ndarray, " N"]) -> Int64[ndarray, " N"]:
        """Index of corners into the flattened blocks; allocates the blocks they need."""
        x, y, z = corners_N >> 2 * _BITS, corners_N >> _BITS & _MASK, corners_N & _MASK
        size = self._rows.shape[0]
        block = x >> _BLOCK_BITS
        block = (block * size + (y >> _BLOCK_BITS)) * size + (z >> _BLOCK_BITS)
        rows_N = self._rows.reshape(-1)[block]
        if rows_N.size and rows_N.min() < 0:
            self._make_blocks(distinct(block[rows_N < 0]))
            rows_N = self._rows.reshape(-1)[block]
        low = (1 << _BLOCK_BITS) - 1
        local = ((x & low) << 2 * _BLOCK_BITS) | ((y & low) << _BLOCK_BITS) | (z & low)
        return rows_N.astype(np.int64) * _BLOCK + local

    def _make_blocks(self, blocks: Int64[ndarray, " K"]) -> None:
        """Allocate rows for blocks; the arrays grow by doubling."""
        first, last = self._num_rows, self._num_rows + len(blocks)
        if last > len(self._values):
            grow = max(last, 2 * len(self._values)) - len(self._values)
            self._values = np.concatenate([self._values, np.full((grow, _BLOCK), np.nan, "f4")])
            self._crossed = np.concatenate([self._crossed, np.zeros((grow, _BLOCK), np.bool_)])
        self._rows.reshape(-1)[blocks] = np.arange(first, last, dtype=np.int32)
        corner = np.stack(np.unravel_index(blocks, self._rows.shape), axis=-1) << _BLOCK_BITS
        self._lowest = np.concatenate([self._lowest, corner @ AXES])
        self._num_rows = last

    def _evaluate(self, corners_N: Int64[ndarray, " N"]) -> Float32[ndarray, " N"]:
        """Take known values from the lattice and evaluate the field for the rest."""
        if not len(self.lattice_values):
            return self._ask(corners_N)
        x, y, z = self._place_on_line[unpack(corners_N)].T
        values_N = self.lattice_values[x, y, z]
        unknown_N = (np.minimum(np.minimum(x, y), z) < 0) | np.isnan(values_N)
        values_N[unknown_N] = self._ask(corners_N[unknown_N])
        return values_N

    def _ask(self, corners_N: Int64[ndarray, " N"]) -> Float32[ndarray, " N"]:
        """Field minus level at real corners, -1 on the ring."""
        values_N = np.full(len(corners_N), -1.0, dtype=np.float32)
        coordinates_N3 = unpack(corners_N)
        real_N3 = (coordinates_N3 > 0) & (coordinates_N3 < self.resolution + 2)
        real = np.flatnonzero(real_N3.all(axis=1))
        for start in range(0, len(real), self.chunk):
            part = real[start : start + self.chunk]
            answer = np.asarray(self.field(self.positions(corners_N[part]).astype(np.float32)))
            if answer.shape != part.shape or np.isnan(answer).any():
                raise ValueError(
                    f"the field must give one number per point, got shape {answer.shape} for "
                    f"{len(part)} points, {np.isnan(answer).sum()} of them NaN"
                )
            values_N[part] = np.clip(answer - self.level, -1e30, 1e30)
            self.num_queries += len(part)
            self.tell()
        return values_N


def distinct(names_N: Int64[ndarray, " N"]) -> Int64[ndarray, " M"]:
    """Sort and drop duplicates; several times faster on large arrays than `np.unique`."""
    names_N = np.sort(names_N)
    return names_N[np.concatenate([[True], names_N[1:] != names_N[:-1]])[: len(names_N)]]


def unpack(corners_N: Int64[ndarray, " N"]) -> Int64[ndarray, "N 3"]:
    """Coordinates of corners; the ring is 0."""
    return corners_N[:, None] // AXES & _MASK


def _block_offsets() -> Int64[ndarray, " K"]:
    """Names of corners inside a block, relative to its lowest, in the order of its slots."""
    return np.stack(np.unravel_index(np.arange(_BLOCK), (1 << _BLOCK_BITS,) * 3), -1) @ AXES
