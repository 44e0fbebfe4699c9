"""Point clouds from files: positions, and normals given or guessed. N points, any frame."""

import os
from dataclasses import dataclass
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Float64, Int64
from scipy.spatial import KDTree  # pyright: ignore[reportMissingTypeStubs]

from g3pt.geometry.companions import read_regular_file
from g3pt.geometry.mesh import MeshError

_trimesh: Any = trimesh  # its own annotations are partial
_KDTree: Any = KDTree

CLOUD_SUFFIXES = (".xyz", ".npy", ".ply")
"""Text with 3 or 6 numbers a line, an array (N, 3 or 6), or PLY vertices; the last three numbers
are normals."""

NUM_NEIGHBOURS = 16
"""Points that a normal is guessed from."""

MIN_POINTS = 32


@dataclass(frozen=True, eq=False)
class PointCloud:
    """Points on a surface."""

    points: Float64[np.ndarray, "N 3"]
    normals: Float64[np.ndarray, "N 3"]
    """Outward, of length 1; guessed where the file had none."""


def read_points(path: str | os.PathLike[str]) -> PointCloud:
    """Read a file of `CLOUD_SUFFIXES`; faces of a PLY file do not count.

    Raises:
        MeshError: if the file is missing, of another kind, has too few points, or numbers that
            are not finite.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in CLOUD_SUFFIXES:
        known = ", ".join(CLOUD_SUFFIXES)
        raise MeshError(f"{path}: unknown point cloud format, expected {known}", "unknown_format")
    data = read_regular_file(path)
    try:
        rows = _rows(data, suffix)
    except (ValueError, KeyError, TypeError, IndexError, EOFError) as error:
        raise MeshError(f"{path}: cannot be read as points: {error}") from None
    if rows.ndim != 2 or rows.shape[1] not in (3, 6):
        raise MeshError(f"{path}: expected 3 or 6 numbers a point, got shape {rows.shape}")
    if len(rows) < MIN_POINTS:
        raise MeshError(f"{path}: {len(rows)} points, at least {MIN_POINTS} are needed")
    if not np.isfinite(rows).all():
        raise MeshError(f"{path}: holds numbers that are not finite")
    points = np.ascontiguousarray(rows[:, :3])
    if rows.shape[1] == 3:
        return PointCloud(points, guess_normals(points))
    lengths = np.linalg.norm(rows[:, 3:], axis=1, keepdims=True)
    if not (lengths > 0).all():
        raise MeshError(f"{path}: has normals of length zero")
    return PointCloud(points, rows[:, 3:] / lengths)


def guess_normals(points: Float64[np.ndarray, "N 3"]) -> Float64[np.ndarray, "N 3"]:
    """Normals of the planes through neighbouring points, looking away from the middle.

    Right for convex shapes; on inner sides of hollow ones the sign is a guess.
    """
    neighbours: Int64[np.ndarray, "N K"]
    _, neighbours = _KDTree(points).query(points, k=min(NUM_NEIGHBOURS, len(points)))
    around = points[neighbours]
    around = around - around.mean(axis=1, keepdims=True)
    _, axes = np.linalg.eigh(np.einsum("nki,nkj->nij", around, around))
    normals = axes[:, :, 0]
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    outward = np.einsum("ni,ni->n", normals, points - middle) >= 0
    return np.where(outward[:, None], normals, -normals)


def _rows(data: bytes, suffix: str) -> Float64[np.ndarray, "N C"]:
    match suffix:
        case ".npy":
            return np.asarray(np.load(BytesIO(data), allow_pickle=False), dtype=np.float64)
        case ".xyz":
            return np.loadtxt(StringIO(data.decode()), dtype=np.float64, ndmin=2)
        case _:
            return _ply_rows(data)


def _ply_rows(data: bytes) -> Float64[np.ndarray, "N C"]:
    cloud = _trimesh.load(BytesIO(data), file_type="ply", process=False)
    vertex = cloud.metadata["_ply_raw"]["vertex"]["data"]
    names = ["x", "y", "z"]
    if all(name in _columns(vertex) for name in ("nx", "ny", "nz")):
        names += ["nx", "ny", "nz"]
    return np.stack([np.asarray(vertex[name], dtype=np.float64).reshape(-1) for name in names], 1)


def _columns(vertex: Any) -> tuple[str, ...]:
    """Names of the numbers of a vertex: text files give columns by name, binary ones an array."""
    dtype: Any = getattr(vertex, "dtype", None)
    return tuple(vertex if dtype is None else dtype.names)
