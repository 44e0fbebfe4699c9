"""The triangle mesh value type: normals, volume, merging, closedness and connected parts.

Import these names from `geometry.mesh`, which adds files and the unit frame. Legend: P vertices, F
faces, N points, M merged vertices, K kept faces, C face corners.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float64, Int32, Int64, UInt8
from numpy.typing import ArrayLike
from scipy import sparse  # pyright: ignore[reportMissingTypeStubs]
from scipy.sparse import csgraph  # pyright: ignore[reportMissingTypeStubs]

if TYPE_CHECKING:
    from g3pt.geometry.texture import Texture  # it knows this class

_sparse: Any = sparse  # without type stubs
_csgraph: Any = csgraph

MERGE_GRID = 2.0**-20
"""Spacing, as a share of the largest extent, of the grid on which vertices are merged."""

UNIT_LONGEST_SIDE = 1.9
"""Longest side of an object's bounding box in the unit frame."""

NEUTRAL_GREY = (178, 178, 178, 255)
"""RGBA of parts without colours in a mesh where others have some."""

GltfColors = Literal["linear", "srgb"]
"""What COLOR_0 of a GLB or glTF file holds: linear light, as the specification asks, or sRGB
display values, as some programs write."""


Compression = Literal["draco"]
"""How a GLB file is compressed."""


class MeshError(ValueError):
    """A mesh that cannot be used; the message is one sentence for the user.

    `code` gives the reason to programs: `missing`, `not_a_file`, `unknown_format`, `too_large`,
    `cut_off`, `compressed`, `external_reference`, `no_triangles`, `not_finite`, `bad_indices`,
    `no_extent`, `checksum`, or `unreadable` for everything else.
    """

    def __init__(self, message: str, code: str = "unreadable") -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[type["MeshError"], tuple[str, str]]:
        return MeshError, (str(self), self.code)  # keeps its code when pickled


@dataclass(frozen=True, eq=False)
class TriangleMesh:
    """Triangles with optional vertex colours; may be empty, open or self-intersecting."""

    vertices: Float64[np.ndarray, "P 3"]
    """Positions; the frame is the holder's to say."""
    faces: Int64[np.ndarray, "F 3"]
    """Vertex indices, counter-clockwise seen from outside."""
    colors: UInt8[np.ndarray, "P 4"] | None = None
    """RGBA display values (sRGB, as in PLY files), one per vertex."""

    @classmethod
    def from_arrays(
        cls, vertices: ArrayLike, faces: ArrayLike, colors: ArrayLike | None = None
    ) -> "TriangleMesh":
        """Build a mesh from anything array-like, converting dtypes (RGB gets alpha 255)."""
        rgba = None if colors is None else np.asarray(colors, dtype=np.uint8)
        if rgba is not None and rgba.shape[-1] == 3:
            rgba = np.concatenate([rgba, np.full_like(rgba[:, :1], 255)], axis=1)
        return cls(
            np.asarray(vertices, dtype=np.float64).reshape(-1, 3),
            np.asarray(faces, dtype=np.int64).reshape(-1, 3),
            rgba,
        )

    @property
    def is_empty(self) -> bool:
        """True if there is no face."""
        return len(self.faces) == 0

    @property
    def triangles(self) -> Float64[np.ndarray, "F 3 3"]:
        """Corner positions of every face."""
        return self.vertices[self.faces]

    def colors_at(
        self, faces: Int64[np.ndarray, " N"], points: Float64[np.ndarray, "N 3"]
    ) -> UInt8[np.ndarray, "N 4"]:
        """Colours at points on faces, interpolated from their corners.

        Raises:
            MeshError: if the mesh has no colours.
        """
        if self.colors is None:
            raise MeshError("the mesh has no colours")
        corners = self.vertices[self.faces[faces]]
        first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
        offset = points - corners[:, 0]
        normal = np.cross(first, second)
        square = np.maximum(np.einsum("ni,ni->n", normal, normal), np.finfo(np.float64).tiny)
        along_first = np.einsum("ni,ni->n", np.cross(offset, second), normal) / square
        along_second = np.einsum("ni,ni->n", np.cross(first, offset), normal) / square
        weights = np.stack([1 - along_first - along_second, along_first, along_second], axis=1)
        mixed = np.einsum("nk,nkc->nc", weights, self.colors[self.faces[faces]].astype(np.float64))
        return np.rint(mixed).clip(0, 255).astype(np.uint8)

    def bounds(self) -> Float64[np.ndarray, "2 3"]:
        """Smallest and largest corner of the faces' bounding box; unused vertices are ignored.

        Raises:
            MeshError: if there is no face.
        """
        if self.is_empty:
            raise MeshError("the mesh has no faces, so it has no bounding box", "no_triangles")
        used = self.vertices[np.unique(self.faces)]
        return np.stack([used.min(axis=0), used.max(axis=0)])

    def placed(
        self,
        *,
        size_mm: float | None = None,
        axis: Literal["longest", "width", "height", "depth"] = "longest",
        up: Literal["y", "z"] = "y",
        origin: Literal["center", "base"] = "center",
    ) -> "TriangleMesh":
        """Give the mesh a size in millimetres, an axis that points up, and an origin.

        Args:
            size_mm: length of one side; None keeps the numbers of the mesh.
            axis: the side: the longest one, or that along x (width), y (height) or z (depth).
            up: axis that points up afterwards; the mesh has +Y up. `z` turns the front to -Y.
            origin: what lies at the origin: the bounding box's centre, or the middle of its lowest
                side.

        Raises:
            ValueError: if the size is out of range.
            MeshError: if the mesh has no faces, or no extent along the axis.
        """
        from g3pt.geometry.placement import Placement  # it knows this class

        place = Placement(size_mm=size_mm, axis=axis, up=up, origin=origin)
        return place.move_of(self).apply(self)

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        size_mm: float | None = None,
        axis: Literal["longest", "width", "height", "depth"] | None = None,
        up: Literal["y", "z"] | None = None,
        origin: Literal["center", "base"] | None = None,
        compress: Compression | None = None,
        texture: "Texture | None" = None,
    ) -> None:
        """Write the mesh, placed as its format expects, to a file of `mesh.WRITE_SUFFIXES`.

        STL and 3MF go to printers: without other wishes the longest side becomes 100 mm, +Y turns
        to +Z, and the mesh stands on the plate. Other formats keep the numbers of the mesh unless
        something is told; with a size, glTF and USDZ are in metres, and OBJ, PLY and OFF in
        millimetres. `write_mesh` writes the numbers as they are in every format.

        Args:
            path: the file.
            size_mm: as in `placed`.
            axis: as in `placed`; told only with a size.
            up: as in `placed`; glTF and USDZ cannot be Z up, and 3MF cannot be Y up.
            origin: as in `placed`.
            compress: as in `mesh.write_mesh`.
            texture: as in `mesh.write_mesh`.

        Raises:
            ValueError: if the format cannot carry what was told.
            MeshError: if the suffix is unknown, the folder is missing, or the mesh is empty or
                has no extent.
        """
        from g3pt.geometry.mesh import write_mesh  # it knows the formats, and this class
        from g3pt.geometry.placement import in_unit, placement_in, unit_in

        suffix = os.path.splitext(path)[1].lower()
        place = placement_in(suffix, size_mm=size_mm, axis=axis, up=up, origin=origin)
        mesh = self
        if place is not None:
            mesh = place.move_of(mesh).apply(mesh)
            if place.size_mm is not None:
                mesh = in_unit(mesh, unit_in(suffix))
        write_mesh(path, mesh, compress=compress, texture=texture)


def concatenate(meshes: Sequence[TriangleMesh]) -> TriangleMesh:
    """Join meshes into one; parts without colours become `NEUTRAL_GREY` if others have some."""
    if not meshes:
        return TriangleMesh(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64))
    starts = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes[:-1]])
    colors = None
    if any(mesh.colors is not None for mesh in meshes):
        colors = np.concatenate([_colors_or_grey(mesh) for mesh in meshes])
    return TriangleMesh(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate([mesh.faces + start for mesh, start in zip(meshes, starts, strict=True)]),
        colors,
    )


def _colors_or_grey(mesh: TriangleMesh) -> UInt8[np.ndarray, "P 4"]:
    if mesh.colors is not None:
        return mesh.colors
    return np.tile(np.array(NEUTRAL_GREY, dtype=np.uint8), (len(mesh.vertices), 1))


def merge_vertices(mesh: TriangleMesh) -> TriangleMesh:
    """Merge vertices at the same position, drop collapsed faces and unused vertices.

    Positions are compared on a grid of 2^-20 of the largest extent. The first vertex at each
    position gives position and colour; the order of first appearance is kept.
    """
    if mesh.is_empty:
        return TriangleMesh(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64))
    _, first, inverse = np.unique(_corner_places(mesh), return_index=True, return_inverse=True)
    faces = first[inverse].reshape(-1, 3)  # each corner named by the first corner at its position
    distinct = (faces != np.roll(faces, 1, axis=1)).all(axis=1)
    kept, faces = np.unique(faces[distinct], return_inverse=True)
    source = mesh.faces.reshape(-1)[kept]
    return TriangleMesh(
        mesh.vertices[source],
        faces.reshape(-1, 3).astype(np.int64),
        None if mesh.colors is None else mesh.colors[source],
    )


def without_collapsed_faces(mesh: TriangleMesh) -> TriangleMesh:
    """Merge vertices if faces collapse by that; else the mesh stays as it is."""
    merged = merge_vertices(mesh)
    return merged if len(merged.faces) < len(mesh.faces) else mesh


def _corner_places(mesh: TriangleMesh) -> Int64[np.ndarray, " C"]:
    """Number of the grid node at every corner of every face, three per face."""
    lowest, highest = mesh.bounds()
    step = max(float((highest - lowest).max()) * MERGE_GRID, np.finfo(np.float64).tiny)
    nodes = np.rint((mesh.vertices[mesh.faces.reshape(-1)] - lowest) / step).astype(np.int64)
    return (nodes[:, 0] << 42) | (nodes[:, 1] << 21) | nodes[:, 2]


def has_manifold_edges(mesh: TriangleMesh) -> bool:
    """Tell whether every edge has exactly two faces, wound alike, after merging vertices.

    Such a mesh is closed, and no edge is shared by four faces, which slicers dislike.
    """
    merged = merge_vertices(mesh)
    starts, ends = merged.faces.reshape(-1), np.roll(merged.faces, -1, axis=1).reshape(-1)
    edges = np.sort(starts * len(merged.vertices) + ends)
    return is_closed(mesh) and bool((np.diff(edges) > 0).all())


def is_closed(mesh: TriangleMesh) -> bool:
    """Tell whether the faces bound a volume, after merging vertices by position.

    True when every directed edge is matched by as many opposite ones: no boundary, consistent
        winding. Edges shared by four faces (two boxes touching) are allowed. False when empty.
    """
    merged = merge_vertices(mesh)
    if merged.is_empty:
        return False
    starts = merged.faces.reshape(-1)
    ends = np.roll(merged.faces, -1, axis=1).reshape(-1)
    forward = np.where(starts < ends, 1, -1)
    keys = np.minimum(starts, ends) * len(merged.vertices) + np.maximum(starts, ends)
    _, inverse = np.unique(keys, return_inverse=True)
    return not np.bincount(inverse, weights=forward).any()


def face_components(mesh: TriangleMesh) -> Int64[np.ndarray, " F"]:
    """Number of the connected part of each face; faces that share a position are connected.

    Returns:
        One number per face of `mesh`, counted from 0; collapsed faces count as parts of their
        own only if no other face touches them.
    """
    if mesh.is_empty:
        return np.zeros(0, dtype=np.int64)
    _, inverse = np.unique(_corner_places(mesh), return_inverse=True)
    faces = inverse.reshape(-1, 3)
    links = faces[:, [0, 1, 0, 2]].reshape(-1, 2)
    num = int(faces.max()) + 1
    graph = _sparse.coo_array(
        (np.ones(len(links), dtype=np.int8), (links[:, 0], links[:, 1])), (num, num)
    )
    labels: Int32[np.ndarray, " M"] = _csgraph.connected_components(graph, directed=False)[1]
    return labels[faces[:, 0]].astype(np.int64)


def num_components(mesh: TriangleMesh) -> int:
    """Count connected parts, after merging vertices by position."""
    return len(np.unique(face_components(mesh)))


def largest_components(
    mesh: TriangleMesh, keep: int | None = 1, *, min_share: float = 0.0
) -> TriangleMesh:
    """Keep only the largest connected parts by surface area; unused vertices are dropped.

    Args:
        mesh: any mesh.
        keep: how many parts at most; None for no limit.
        min_share: parts below this share of the whole area are dropped.
    """
    if mesh.is_empty:
        return mesh
    parts = face_components(mesh)
    areas = np.bincount(parts, weights=face_areas(mesh))
    order = np.argsort(-areas, kind="stable")[:keep]
    chosen = order[areas[order] >= min_share * areas.sum()]
    return keep_faces(mesh, np.flatnonzero(np.isin(parts, chosen)))


def keep_faces(mesh: TriangleMesh, indices: Int64[np.ndarray, " K"]) -> TriangleMesh:
    """A mesh of some of the faces, with the vertices they use."""
    used, faces = np.unique(mesh.faces[indices], return_inverse=True)
    return TriangleMesh(
        mesh.vertices[used],
        faces.reshape(-1, 3).astype(np.int64),
        None if mesh.colors is None else mesh.colors[used],
    )


def area_vectors(mesh: TriangleMesh) -> Float64[np.ndarray, "F 3"]:
    """Outward normal of every face times its area."""
    corners = mesh.triangles
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) / 2


def face_areas(mesh: TriangleMesh) -> Float64[np.ndarray, " F"]:
    """Area of every face."""
    return np.linalg.norm(area_vectors(mesh), axis=1)


def face_normals(mesh: TriangleMesh) -> Float64[np.ndarray, "F 3"]:
    """Unit normal of every face; zero for a face without area."""
    return _normalised(area_vectors(mesh))


def vertex_normals(mesh: TriangleMesh) -> Float64[np.ndarray, "P 3"]:
    """Area-weighted mean normal at every vertex; zero where no face with area touches it."""
    weights = np.repeat(area_vectors(mesh), 3, axis=0)
    corners = mesh.faces.reshape(-1)
    num = len(mesh.vertices)
    columns = [np.bincount(corners, weights=weights[:, axis], minlength=num) for axis in range(3)]
    return _normalised(np.stack(columns, axis=1))


def _normalised(vectors: Float64[np.ndarray, "N 3"]) -> Float64[np.ndarray, "N 3"]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)


def volume(mesh: TriangleMesh) -> float:
    """Signed volume of a closed mesh: positive when its faces look outward."""
    if mesh.is_empty:
        return 0.0
    corners = mesh.triangles - mesh.bounds().mean(axis=0)  # centred, to lose less precision
    products = np.einsum("fi,fi->f", corners[:, 0], np.cross(corners[:, 1], corners[:, 2]))
    return float(products.sum() / 6)
