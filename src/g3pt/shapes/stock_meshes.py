"""The meshes of a stock: their triangles and labels, and the positions that a key gives.

Legend: P vertices, F faces, V queries in the box around a mesh, N queries near its surface.
Everything lies in the unit frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int16, Int32, Int64, UInt8, UInt16
from numpy import ndarray

from g3pt.geometry.triangles import TriangleMesh
from g3pt.hashes import text_key
from g3pt.shapes.queries import POSITION_STEPS, near_queries, uniform_fields
from g3pt.shapes.sub_triangles import QUARTER_WEIGHTS, chosen_parts, num_chosen

MAX_STOCK_FACES = 20_000
"""Wedges are numbered in 16 bits; a face adds at most three."""

MAX_STOCK_QUERIES = 2**20
"""Labelled points of either kind, of one mesh."""

_FACES, _PLACES, _BOX = 3, 4, 5  # streams of `uniform_fields`


@dataclass(frozen=True, kw_only=True, slots=True)
class StockConfig:
    """How the meshes of a stock are reduced and labelled."""

    max_faces: int = 3000
    """Meshes with more faces are decimated to about this number."""
    num_volume: int = 1024
    """Labelled points uniform in the bounding box of each mesh; everything beyond it is outside."""
    num_near: int = 1024
    """Labelled points near the exposed surface; point i has sigma number i modulo the number of
    sigmas."""
    near_sigmas: tuple[float, ...] = (0.005, 0.02, 0.05)
    """Standard deviations, per axis, of their Gaussian offsets in unit-frame lengths."""
    solid_resolution: int = 96
    """Wall voxels per axis of the inside/outside test."""
    min_near_inside: float = 0.02
    """Meshes with a smaller share of the nearest points inside are refused: they have no
    interior."""

    def __post_init__(self) -> None:
        if not 4 <= self.max_faces <= MAX_STOCK_FACES:
            raise ValueError(
                f"stock.max_faces must lie in 4..{MAX_STOCK_FACES}, got {self.max_faces}"
            )
        if self.num_volume % 8 or self.num_near % 8 or min(self.num_volume, self.num_near) < 8:
            raise ValueError(
                "stock: num_volume and num_near must be positive multiples of 8 (labels are "
                f"packed), got {self.num_volume} and {self.num_near}"
            )
        if max(self.num_volume, self.num_near) > MAX_STOCK_QUERIES:
            raise ValueError(
                f"stock: num_volume and num_near must be at most {MAX_STOCK_QUERIES}, got "
                f"{self.num_volume} and {self.num_near}"
            )
        if not self.near_sigmas or not all(0 < sigma <= 1 for sigma in self.near_sigmas):
            raise ValueError(
                "stock.near_sigmas must name at least one, all positive and at most 1, got "
                f"{self.near_sigmas}"
            )


@dataclass(frozen=True, eq=False)
class StockSurface:
    """The triangles of one mesh of a stock."""

    vertices_P3: Int16[ndarray, "P 3"]
    """Welded positions, x = q / POSITION_STEPS."""
    faces_F3: Int32[ndarray, "F 3"]
    colors_F33: UInt8[ndarray, "F 3 3"]
    """SRGB at the corners of every face."""
    masks_F: UInt16[ndarray, " F"]
    """Bit k is set if part k of the face (see `sub_triangles`) bounds the solid."""
    flipped_F: Bool[ndarray, " F"]
    """True if the solid lies in front of the face, whose normal is then reversed."""

    def mesh(self) -> TriangleMesh:
        """A mesh with separate vertices for every face, which carry its colours."""
        corners = self.vertices_P3[self.faces_F3.reshape(-1)] / POSITION_STEPS
        return TriangleMesh.from_arrays(
            corners, np.arange(len(corners)).reshape(-1, 3), self.colors_F33.reshape(-1, 3)
        )


@dataclass(frozen=True, eq=False)
class StockMesh:
    """One mesh with its labels and description."""

    object: dict[str, Any]
    """JSON values: id, family, captions, licence, split, flagged, and details such as source and
    authors."""
    surface: StockSurface
    volume_V: Bool[ndarray, " V"]
    """Which points of `volume_positions` are inside."""
    near_N: Bool[ndarray, " N"]
    """Which points of `near_positions` are inside."""


@dataclass(frozen=True, eq=False)
class ExposedPoints:
    """Points on those parts of a surface that bound its solid."""

    points_N3: Int16[ndarray, "N 3"]
    faces_N: Int64[ndarray, " N"]


def stock_key(mesh_id: str) -> int:
    """The key that determines the labelled positions of a mesh."""
    return text_key(f"stock {mesh_id}")


def exposed_points(surface: StockSurface, key: int, num: int) -> ExposedPoints:
    """Points by area on the exposed parts, the same on every machine.

    Integer arithmetic except for the areas, which use only operations that IEEE 754 defines
    exactly.

    Raises:
        ValueError: if nothing is exposed.
    """
    corners_F33 = surface.vertices_P3.astype(np.int64)[surface.faces_F3]
    areas_F = np.sqrt((_doubled_areas(corners_F33).astype(np.float64) ** 2).sum(axis=1))
    counts_F = num_chosen()[surface.masks_F]
    ends_F = np.cumsum(np.rint(areas_F * counts_F / 16))
    if len(ends_F) == 0 or not ends_F[-1] > 0:
        raise ValueError("no part of the surface bounds the solid")
    numbers = np.arange(num)
    choice_N3 = uniform_fields(key, _FACES, numbers)
    along_N = (choice_N3[:, 0] * 65536 + choice_N3[:, 1]) * ends_F[-1] / 2.0**32
    faces_N = np.searchsorted(ends_F, along_N, side="right").astype(np.int64)
    masks_N = surface.masks_F[faces_N]
    part_N = chosen_parts()[masks_N, (choice_N3[:, 2] * num_chosen()[masks_N]) >> 16]
    place_N3 = uniform_fields(key, _PLACES, numbers)
    second_N, third_N = place_N3[:, 0], place_N3[:, 1]
    beyond_N = second_N + third_N > 65536
    second_N = np.where(beyond_N, 65536 - second_N, second_N)
    third_N = np.where(beyond_N, 65536 - third_N, third_N)
    inner_N3 = np.stack([65536 - second_N - third_N, second_N, third_N], axis=1)
    weights_N3 = (inner_N3[:, :, None] * QUARTER_WEIGHTS[part_N]).sum(axis=1)  # quarters of 2^16
    points_N3 = ((weights_N3[:, :, None] * corners_F33[faces_N]).sum(axis=1) + (1 << 17)) >> 18
    return ExposedPoints(points_N3.astype(np.int16), faces_N)


def near_positions(
    surface: StockSurface, key: int, num: int, sigmas: Sequence[float]
) -> Int16[ndarray, "N 3"]:
    """Labelled positions near the surface; point i has sigma i modulo the number of sigmas."""
    points = exposed_points(surface, key, num).points_N3
    near_N3 = np.empty((num, 3), dtype=np.int16)
    for first, sigma in enumerate(sigmas):
        numbers = np.arange(first, num, len(sigmas))
        near_N3[numbers] = near_queries(key, numbers, points, sigma)
    return near_N3


def volume_positions(surface: StockSurface, key: int, num: int) -> Int16[ndarray, "V 3"]:
    """Labelled positions uniform in the box around the vertices."""
    low = surface.vertices_P3.min(axis=0).astype(np.int64)
    high = surface.vertices_P3.max(axis=0).astype(np.int64)
    fields_V3 = uniform_fields(key, _BOX, np.arange(num))
    return (low + ((fields_V3 * (high - low + 1)) >> 16)).astype(np.int16)


def _doubled_areas(corners_F33: Int64[ndarray, "F 3 3"]) -> Int64[ndarray, "F 3"]:
    first, second = corners_F33[:, 1] - corners_F33[:, 0], corners_F33[:, 2] - corners_F33[:, 0]
    return np.cross(first, second)
