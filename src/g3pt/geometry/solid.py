"""Inside or outside of any mesh, clean or not: sealed voxels OR winding number.

Frame: the unit frame, inside the query cube [-1, 1]^3. N points, M voxels.
"""

from dataclasses import dataclass, field
from typing import Any

import igl  # pyright: ignore[reportMissingTypeStubs]
import numpy as np
from jaxtyping import Bool, Float64, Int32, Int64, UInt8
from scipy import ndimage  # pyright: ignore[reportMissingTypeStubs]

from g3pt.geometry.mesh import (
    MeshError,
    TriangleMesh,
    area_vectors,
    face_components,
    keep_faces,
    merge_vertices,
)

_igl: Any = igl  # without type stubs
_ndimage: Any = ndimage

OUTSIDE, WALL, INSIDE = 0, 1, 2
"""States of a voxel: connected to infinity by free voxels, near the surface, enclosed."""

UNDECIDED = 3
"""State of a point that the seal cannot decide: its path out of the wall may cross another
surface."""

WALK_STEPS = 4
"""Half-voxel steps of a walk out of a wall, which is at most two half-diagonals (1.7 voxels)
thick."""

MAX_WALKS = 3
"""Walks before the seal leaves a point undecided: where walls meet, the path out of one may end in
another, which needs a walk of its own."""

COVERING_BALLS = 6
"""Surface-free balls tried to cover a path before the seal leaves a point undecided."""

COARSEST = 16
"""Side, in voxels, of the coarsest cells of the octree refinement."""

MAX_VOXELS = 2**30
"""Refuse state grids beyond this many voxels."""


@dataclass(frozen=True, eq=False)
class Solid:
    """Inside/outside test for meshes with holes or with flipped, doubled or nested faces.

    A point is inside if either of two tests says so; their failures hardly overlap:

    - *seal*: voxels that may touch the surface are walls; voxels without a path of free voxels to
    infinity are enclosed. Independent of orientation; fails on holes wider than about two voxels.
      A point inside a wall voxel walks straight away from its closest surface point until it
      leaves the wall and takes the state found there, but only if that way crosses no other
      surface. If it enters another wall, as in corners, it walks away from that one next. In parts
      thinner than the wall no such path exists and the seal does not decide.
    - *winding*: the absolute generalised winding number exceeds 1/2. Bridges holes of any width;
    fails on flipped, doubled and reversed inner faces.

    Conventions where a mesh is ambiguous: a box without a lid is full, and so is a one-sided bowl;
        cavities within a closed shell are full, whatever the orientation of their walls;
        overlapping parts are joined; a lone sheet encloses nothing; an inverted mesh gives the same
        solid. Points outside the grid are outside.
    """

    voxel: float
    """Side of a voxel in unit-frame lengths."""
    origin: Float64[np.ndarray, " 3"]
    """Lowest corner of voxel (0, 0, 0)."""
    states: UInt8[np.ndarray, "X Y Z"]
    """OUTSIDE, WALL or INSIDE of every voxel around the mesh."""
    mesh: TriangleMesh = field(repr=False)
    """The faces with area, for exact distances."""
    _tree: Any = field(repr=False)
    _winding: Any = field(repr=False)
    _open_winding: Any = field(repr=False)
    """Winding number of the parts that have a boundary edge; None if there are none (see
    `contains`)."""

    @classmethod
    def from_mesh(cls, mesh: TriangleMesh, resolution: int = 256) -> "Solid":
        """Build the solid of a mesh in the unit frame.

        Args:
            mesh: any triangles within the query cube.
            resolution: voxels along the query cube. More resolve finer parts and gaps, fewer seal
                wider holes. The cost of building grows with about its square.

        Raises:
            MeshError: if no face has area, or the mesh leaves the query cube.
        """
        kept = np.flatnonzero((area_vectors(mesh) != 0).any(axis=1))
        if len(kept) == 0:
            raise MeshError("a solid needs at least one face with area, the mesh has none")
        clean = keep_faces(mesh, kept)
        lowest, highest = clean.bounds()
        if not (np.abs(clean.bounds()) <= 1.0 + 1e-9).all():
            raise MeshError(
                f"a solid needs a mesh in the unit frame, inside [-1, 1]^3; this one spans "
                f"{lowest.round(3).tolist()} to {highest.round(3).tolist()}"
            )
        tree = _igl.AABB()
        tree.init(clean.vertices, clean.faces)
        winding = _winding_of(clean)
        merged = merge_vertices(clean)
        loose = _faces_of_open_parts(merged)
        open_winding = winding
        if len(loose) < len(merged.faces):
            open_winding = _winding_of(keep_faces(merged, loose)) if len(loose) else None
        voxel = 2.0 / resolution
        origin, shape = _grid_around(lowest, highest, voxel)
        if int(np.prod(shape)) > MAX_VOXELS:
            raise MeshError(f"resolution {resolution} needs {shape.tolist()} voxels, too many")
        walls = _wall_voxels(clean, tree, origin, shape, voxel)
        return cls(voxel, origin, _flood(walls, shape), clean, tree, winding, open_winding)

    def contains(self, points: Float64[np.ndarray, "N 3"]) -> Bool[np.ndarray, " N"]:
        """Tell which points are inside by the seal or by the winding number.

        Closed parts enclose no point that is connected to infinity, so at such points only the
        winding number of the other parts counts. Closed means without a boundary edge, whatever the
        orientation of the faces: a reversed face makes the winding number wrong far from the
        surface too.
        """
        states = self.seal_states(points)
        inside = states == INSIDE
        unsure = np.flatnonzero(states == UNDECIDED)
        inside[unsure] = self._is_wound(self._winding, points[unsure])
        if self._open_winding is not None:
            outside = np.flatnonzero(states == OUTSIDE)
            inside[outside] = self._is_wound(self._open_winding, points[outside])
        return inside

    def distance(self, points: Float64[np.ndarray, "N 3"]) -> Float64[np.ndarray, " N"]:
        """Exact unsigned distance to the mesh."""
        return self._closest(points)[0]

    def signed_distance(self, points: Float64[np.ndarray, "N 3"]) -> Float64[np.ndarray, " N"]:
        """Exact distance to the mesh, positive where a point is inside, negative elsewhere."""
        return np.where(self.contains(points), 1.0, -1.0) * self.distance(points)

    def winding_contains(self, points: Float64[np.ndarray, "N 3"]) -> Bool[np.ndarray, " N"]:
        """Tell which points have an absolute winding number above 1/2."""
        return self._is_wound(self._winding, points)

    def _is_wound(self, winding: Any, points: Float64[np.ndarray, "N 3"]) -> Bool[np.ndarray, " N"]:
        inside = np.zeros(len(points), dtype=np.bool_)
        boxed = np.flatnonzero(self._voxel_states(points) >= 0)
        if len(boxed):
            numbers = winding.winding_number(np.ascontiguousarray(points[boxed]))
            inside[boxed] = np.abs(numbers) > 0.5
        return inside

    def seal_states(self, points: Float64[np.ndarray, "N 3"]) -> UInt8[np.ndarray, " N"]:
        """Give OUTSIDE, INSIDE or UNDECIDED for every point, by the seal alone."""
        states = self._voxel_states(points)
        result = np.where(states < 0, OUTSIDE, states).astype(np.uint8)
        wall = np.flatnonzero(states == WALL)
        if len(wall):
            result[wall] = self._walk_out(points[wall])
        return result

    def disagreement(self, points: Float64[np.ndarray, "N 3"]) -> float:
        """Share of points on which a decided seal and the winding number differ.

        A quality score, near 0 for a clean mesh. Meant for near-surface points, where errors are
        most likely.
        """
        states = self.seal_states(points)
        decided = states != UNDECIDED
        if not decided.any():
            return 0.0
        differ = (states == INSIDE) != self.winding_contains(points)
        return float(differ[decided].mean())

    def _voxel_states(self, points: Float64[np.ndarray, "N 3"]) -> Int64[np.ndarray, " N"]:
        """State of the voxel around each point; -1 outside the grid."""
        cells = np.floor((points - self.origin) / self.voxel)
        shape = self.states.shape
        within = ((cells >= 0) & (cells < shape)).all(axis=1)
        states = np.full(len(points), -1, dtype=np.int64)
        x, y, z = cells[within].astype(np.int64).T
        states[within] = self.states[x, y, z]
        return states

    def _walk_out(
        self, points: Float64[np.ndarray, "N 3"], walks: int = MAX_WALKS
    ) -> UInt8[np.ndarray, " N"]:
        """State beyond the wall for points inside wall voxels."""
        start, closest = self._closest(points)
        away = (points - closest) / np.maximum(start, 1e-12)[:, None]
        result = np.full(len(points), UNDECIDED, dtype=np.uint8)
        reach = start.copy()
        walking = np.flatnonzero(start > 1e-9)  # a point on the surface has no side
        for _ in range(WALK_STEPS):
            reach[walking] += self.voxel / 2
            ends = closest[walking] + away[walking] * reach[walking, None]
            states = self._voxel_states(ends)
            out = states != WALL
            result[walking[out]] = np.where(states[out] == INSIDE, INSIDE, OUTSIDE)
            walking = walking[~out]
        # The ball around a point that reaches its closest surface point is free of surface. The
        # way is, where such balls cover it, from its end back to the ball of its start.
        arrived = result != UNDECIDED
        arrived[walking] = True
        ends = closest + away * reach[:, None]
        unsure = np.flatnonzero(arrived & (reach > 2 * start))
        for _ in range(COVERING_BALLS):
            free, _ = self._closest(closest[unsure] + away[unsure] * reach[unsure, None])
            reach[unsure] -= free
            unsure = unsure[reach[unsure] > 2 * start[unsure]]
        result[unsure] = UNDECIDED
        arrived[unsure] = False
        in_wall = walking[arrived[walking]]
        if walks > 1 and len(in_wall):
            result[in_wall] = self._walk_out(ends[in_wall], walks - 1)
        return result

    def _closest(
        self, points: Float64[np.ndarray, "N 3"]
    ) -> tuple[Float64[np.ndarray, " N"], Float64[np.ndarray, "N 3"]]:
        """Distance to the surface and the closest point on it."""
        if len(points) == 0:
            return np.zeros(0), points
        squared, _, closest = self._tree.squared_distance(
            self.mesh.vertices, self.mesh.faces, np.ascontiguousarray(points)
        )
        return np.sqrt(squared), closest


def _winding_of(mesh: TriangleMesh) -> Any:
    winding = _igl.FastWindingNumberBVH()
    winding.init(mesh.vertices, mesh.faces)
    return winding


def _faces_of_open_parts(mesh: TriangleMesh) -> Int64[np.ndarray, " K"]:
    """Faces of the connected parts with a boundary, in a mesh whose vertices are merged.

    A boundary is an edge of an odd number of faces. Faces on the same three vertices count as one.
    """
    corners, num = np.sort(mesh.faces, axis=1), len(mesh.vertices)
    edges = corners[:, [0, 1, 0]] * num + corners[:, [1, 2, 2]]
    _, edges = np.unique(edges, return_inverse=True)
    edges = edges.reshape(-1, 3)
    _, first = np.unique(edges[:, 0] * num + corners[:, 2], return_index=True)
    at_boundary = (np.bincount(edges[first].reshape(-1))[edges] % 2 == 1).any(axis=1)
    parts = face_components(mesh)
    return np.flatnonzero(np.isin(parts, parts[at_boundary]))


def _grid_around(
    lowest: Float64[np.ndarray, " 3"], highest: Float64[np.ndarray, " 3"], voxel: float
) -> tuple[Float64[np.ndarray, " 3"], Int64[np.ndarray, " 3"]]:
    """Grid with two free voxels on every side, its corners on the lattice of the query cube."""
    first = np.floor((lowest + 1) / voxel) - 2
    last = np.ceil((highest + 1) / voxel) + 2
    return first * voxel - 1, (last - first).astype(np.int64)


def _wall_voxels(
    mesh: TriangleMesh,
    tree: Any,
    origin: Float64[np.ndarray, " 3"],
    shape: Int64[np.ndarray, " 3"],
    voxel: float,
) -> Int64[np.ndarray, "M 3"]:
    """Find all voxels whose centre is within half a diagonal of the surface, coarse to fine.

    They include every voxel that the surface touches, so no path of face neighbours crosses it.
    """
    counts = -(-shape // COARSEST)
    cells = np.stack(np.meshgrid(*map(np.arange, counts), indexing="ij"), axis=-1).reshape(-1, 3)
    octants = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij"), axis=-1).reshape(-1, 3)
    places = np.full(cells.shape, np.inf)  # of surface near each cell: what its parent found
    size = COARSEST
    while True:
        side = size * voxel
        centres = origin + (cells + 0.5) * side
        reach = 0.75 * side**2 * (1 + 1e-9)
        # A known surface point is close enough: no need to find the closest one.
        near = ((centres - places) ** 2).sum(axis=1) <= reach
        asked = np.flatnonzero(~near)
        if len(asked):
            squared, _, places[asked] = tree.squared_distance(
                mesh.vertices, mesh.faces, centres[asked]
            )
            near[asked] = squared <= reach
        cells, places = cells[near], places[near]
        if size == 1:
            return cells[(cells < shape).all(axis=1)]
        cells = (cells[:, None] * 2 + octants).reshape(-1, 3)
        places = np.repeat(places, 8, axis=0)
        size //= 2


def _flood(
    walls: Int64[np.ndarray, "M 3"], shape: Int64[np.ndarray, " 3"]
) -> UInt8[np.ndarray, "X Y Z"]:
    """Flood fill from the grid's border: free voxels that it does not reach are enclosed."""
    free = np.ones(tuple(shape.tolist()), dtype=np.bool_)
    free[tuple(walls.T)] = False
    labels: Int32[np.ndarray, "X Y Z"] = _ndimage.label(free)[0]
    states = np.where(labels == labels[0, 0, 0], OUTSIDE, INSIDE).astype(np.uint8)
    states[~free] = WALL
    return states
