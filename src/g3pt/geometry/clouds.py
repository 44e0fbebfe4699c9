"""Point clouds: files, estimated normals, the unit frame. N points, M neighbours.

Formats: `.npy` (N, 3 or 6), text of 3 or 6 numbers a line (`.xyz`, `.txt`, `.csv`), `.ply` with
vertices only, and any mesh, whose surface is sampled.
"""

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64
from scipy import spatial  # pyright: ignore[reportMissingTypeStubs]

from g3pt.geometry.formats.foreign import MESH_SUFFIXES
from g3pt.geometry.formats.limits import MAX_FILE_BYTES
from g3pt.geometry.mesh import UNIT_LONGEST_SIDE, read_mesh
from g3pt.geometry.sampling import sample_surface

_spatial: Any = spatial  # its own annotations are partial

TEXT_SUFFIXES = (".xyz", ".txt", ".csv")
CLOUD_SUFFIXES = (".npy", *TEXT_SUFFIXES, *MESH_SUFFIXES)
"""Formats that are read."""

MIN_POINTS = 16
"""Clouds with fewer points are refused."""
NEIGHBOURS = 16
"""Number of neighbours that a missing normal is estimated from."""
MESH_POINTS = 16_384
"""Points drawn on the surface of a mesh."""

_PLY_TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}


class CloudError(ValueError):
    """A point cloud that cannot be used; the message names it and the reason."""


@dataclass(frozen=True, eq=False)
class PointCloud:
    """Points on a surface."""

    points: Float64[np.ndarray, "N 3"]
    normals: Float64[np.ndarray, "N 3"] | None = None
    """Outward, unit length; None where the source has none."""


def read_cloud(path: str | os.PathLike[str]) -> PointCloud:
    """Read a file of `CLOUD_SUFFIXES`, in the frame of the file.

    Raises:
        FileNotFoundError: if there is no such file.
        CloudError: if it is of another kind, too large, or no point cloud.
        MeshError: if it is a mesh that cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such point cloud")
    suffix = path.suffix.lower()
    if suffix not in CLOUD_SUFFIXES:
        raise CloudError(f"{path}: {suffix or 'no suffix'}, expected {', '.join(CLOUD_SUFFIXES)}")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise CloudError(f"{path}: larger than {MAX_FILE_BYTES} bytes; give fewer points")
    try:
        if suffix == ".npy":
            return cloud_of(np.load(path, allow_pickle=False), str(path))
        if suffix in TEXT_SUFFIXES:
            text = path.read_text(encoding="utf-8").replace(",", " ")
            return cloud_of(np.loadtxt(io.StringIO(text), ndmin=2), str(path))
        if suffix == ".ply":
            rows = _ply_vertices(path.read_bytes())
            if rows is not None:
                return cloud_of(rows, str(path))
    except CloudError:
        raise
    except (ValueError, KeyError, OSError, EOFError) as error:
        reason = " ".join(str(error).split())[:150]
        raise CloudError(f"{path}: not a readable point cloud ({reason})") from None
    samples = sample_surface(read_mesh(path), MESH_POINTS, np.random.default_rng(0))
    return PointCloud(samples.points, samples.normals)


def cloud_of(rows: np.ndarray, name: str = "points") -> PointCloud:
    """Check an array of positions, or of positions and normals.

    Raises:
        CloudError: if it has another shape, too few points, or numbers that are not finite.
    """
    if rows.ndim != 2 or rows.shape[1] not in (3, 6):
        raise CloudError(
            f"{name}: expected 3 numbers a point, or 6 with the normal, got an array of shape "
            f"{rows.shape}"
        )
    if len(rows) < MIN_POINTS:
        raise CloudError(f"{name}: {len(rows)} points, expected at least {MIN_POINTS}")
    rows = rows.astype(np.float64)
    if not np.isfinite(rows).all():
        raise CloudError(f"{name}: contains numbers that are not finite")
    if rows.shape[1] == 3:
        return PointCloud(rows)
    lengths = np.linalg.norm(rows[:, 3:], axis=1, keepdims=True)
    if not (lengths > 0).all():
        raise CloudError(
            f"{name}: contains normals of length zero; leave normals out to have them estimated"
        )
    return PointCloud(rows[:, :3], rows[:, 3:] / lengths)


def estimate_normals(points: Float64[np.ndarray, "N 3"]) -> Float64[np.ndarray, "N 3"]:
    """Normals of the planes fitted to the neighbours of each point, pointing away from the centre.

    A partial surface does not tell which side is outside. Away from the centre of its bounding box
    is right for most parts of most shapes.
    """
    num_near = min(NEIGHBOURS, len(points))
    near: Int64[np.ndarray, "N M"] = _spatial.cKDTree(points).query(points, k=num_near)[1]
    offsets = points[near] - points[near].mean(axis=1, keepdims=True)
    _, axes = np.linalg.eigh(np.einsum("nki,nkj->nij", offsets, offsets))
    normals = axes[:, :, 0]
    centre = (points.min(axis=0) + points.max(axis=0)) / 2
    inward = ((points - centre) * normals).sum(axis=1) < 0
    return np.where(inward[:, None], -normals, normals)


def to_own_frame(points: Float64[np.ndarray, "N 3"]) -> Float64[np.ndarray, "N 3"]:
    """Move a cloud so that its own bounding box is that of the unit frame.

    Raises:
        CloudError: if all points are in one place.
    """
    lowest, highest = points.min(axis=0), points.max(axis=0)
    extent = float((highest - lowest).max())
    if not extent > 0:
        raise CloudError("all points are in one place")
    return (points - (lowest + highest) / 2) * (UNIT_LONGEST_SIDE / extent)


def _ply_vertices(data: bytes) -> np.ndarray | None:
    """Positions, and normals if present, of a PLY without faces; None if it has faces."""
    head, mark, body = data.partition(b"end_header")
    body = body.partition(b"\n")[2]
    lines = [line.split() for line in head.decode("ascii", errors="replace").splitlines()]
    if not mark or not lines or lines[0] != ["ply"]:
        raise CloudError("no PLY header")
    counts = {words[1]: int(words[2]) for words in lines if words[:1] == ["element"]}
    if any(counts[name] for name in counts if name != "vertex"):
        return None
    names = [words[2] for words in lines if words[:1] == ["property"] and words[1] != "list"]
    types = [
        _PLY_TYPES[words[1]] for words in lines if words[:1] == ["property"] and len(words) == 3
    ]
    wanted = ["x", "y", "z", *(["nx", "ny", "nz"] if "nx" in names else [])]
    (kind,) = (words[1] for words in lines if words[:1] == ["format"])
    if kind == "ascii":
        rows = np.loadtxt(io.StringIO(body.decode("ascii")), ndmin=2, max_rows=counts["vertex"])
        return rows[:, [names.index(name) for name in wanted]]
    order = {"binary_little_endian": "<", "binary_big_endian": ">"}[kind]
    layout = np.dtype([(name, order + code) for name, code in zip(names, types, strict=True)])
    rows = np.frombuffer(body, layout, count=counts["vertex"])
    return np.stack([rows[name].astype(np.float64) for name in wanted], axis=1)
