"""Hostile point clouds: arrays, text and PLY without faces."""

import io
import os
from pathlib import Path

import numpy as np

from g3pt.generation.completion import partial_surface
from g3pt.geometry.clouds import CloudError
from g3pt.geometry.mesh import MeshError
from g3pt.torture.damage import (
    FOREIGN,
    NASTY_NUMBERS,
    Rng,
    damaged_bytes,
    damaged_numbers,
    pick,
    replace_by_special,
)
from g3pt.torture.doors import Door, Hostile, Must
from g3pt.torture.mesh_files import FIFTY_MILLION

KINDS = (".npy", ".xyz", ".txt", ".csv", "text.ply", ".ply", "big.ply")
"""Endings of the files, which say how they are written."""
HOLE_BYTES = 2**30
"""Size of the holes: as large as a cloud may be."""
_TYPES = ("complex64", "M8[s]", "m8[s]", "S8", "U8", "bool", "f4,f4,f4")
"""Types of NumPy that are no numbers of a place."""


class Clouds(Door):
    """Point clouds in the formats of `g3pt complete`; meshes have a door of their own."""

    name = "clouds"
    promise = "a point cloud is read and has normals, or is refused with a reason"
    errors = (CloudError, MeshError, FileNotFoundError)

    def write(self, folder: Path, rng: Rng) -> Hostile:
        """A cloud."""
        kind = pick(KINDS, rng)
        path = folder / f"cloud{kind}"
        rows = points_of(rng)
        data = written(kind, rows)
        what, must = "sound", "open"
        match int(rng.integers(12)):
            case 0:
                pass
            case 1:
                what = pick(tuple(FOREIGN), rng)
                data, must = FOREIGN[what], "refuse"
            case 2:
                path.write_bytes(b"")
                return Hostile(path, replace_by_special(path, rng), "refuse")
            case 3:
                path.write_bytes(pick((b"", b"ply\n", data[:10]), rng))
                os.truncate(path, HOLE_BYTES)
                return Hostile(path, "a hole of 1 GiB", "refuse")
            case 4:
                what, must = "many points in few places", "either"
                rows = np.repeat(rows[: int(rng.integers(1, 40))], 4000, axis=0)
                rows[0] += 1
                data = written(kind, rows)
            case 5:
                what, must = "a number that is none", "refuse"
                rows[int(rng.integers(len(rows))), 0] = pick((np.nan, np.inf, -1e308), rng)
                data = written(kind, rows)
            case 6:
                what, must = "other counts than it has", "refuse"
                data = miscounted(kind, rows, rng)
            case 7:
                path = folder / "cloud.npy"
                what, data, must = misfit(rows, rng)
            case 8:
                what, must = "changed numbers", "either"
                data = damaged_numbers(data, rng)
            case _:
                must = "either"
                what, data = damaged_bytes(data, rng)
        path.write_bytes(data)
        return Hostile(path, f"{path.name}: {what}", must)

    def enter(self, path: Path) -> None:
        """Bring it into the unit frame, with its normals, as `g3pt complete` does."""
        surface, _ = partial_surface(path, None, 64, 0)
        assert len(surface.points) == len(surface.normals) >= 1
        assert np.isfinite(surface.points).all() and np.isfinite(surface.normals).all()
        assert np.abs(surface.points).max() <= 1


def points_of(rng: Rng) -> np.ndarray:
    """Points on an ellipsoid, some with their normals, (N, 3 or 6)."""
    points = rng.standard_normal((int(rng.integers(16, 200)), 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    placed = points * rng.uniform(0.5, 2, 3) + rng.uniform(-5, 5, 3)
    return np.concatenate([placed, points], axis=1) if rng.random() < 0.5 else placed


def written(kind: str, rows: np.ndarray, num: int | None = None) -> bytes:
    """A cloud in a format of `KINDS`.

    Args:
        kind: the format.
        rows: positions, and normals if there are six columns.
        num: points that a header tells; None tells how many there are.
    """
    num = len(rows) if num is None else num
    text = "\n".join(("," if kind == ".csv" else " ").join(map(str, row)) for row in rows.tolist())
    match kind:
        case ".npy":
            made = io.BytesIO()
            layout = {"descr": "<f8", "fortran_order": False, "shape": (num, rows.shape[1])}
            np.lib.format.write_array_header_1_0(made, layout)
            return made.getvalue() + rows.astype("<f8").tobytes()
        case "text.ply":
            return _ply_header("ascii", num, rows.shape[1]) + text.encode()
        case ".ply":
            header = _ply_header("binary_little_endian", num, rows.shape[1])
            return header + rows.astype("<f8").tobytes()
        case "big.ply":
            header = _ply_header("binary_big_endian", num, rows.shape[1])
            return header + rows.astype(">f8").tobytes()
        case _:
            return text.encode()


def _ply_header(encoding: str, num: int, width: int) -> bytes:
    names = ("x", "y", "z", "nx", "ny", "nz")[:width]
    lines = ["ply", f"format {encoding} 1.0", f"element vertex {num}"]
    lines += [f"property double {name}" for name in names]
    return "\n".join([*lines, "end_header\n"]).encode()


def miscounted(kind: str, rows: np.ndarray, rng: Rng) -> bytes:
    """A cloud with more or fewer numbers than it says, or than the formats allow."""
    if kind in (".xyz", ".txt", ".csv"):
        wrong = rows[:, :2] if rng.random() < 0.5 else rows[: int(rng.integers(16))]
        longer = written(kind, rows) + b"\n" + b" ".join([b"1"] * int(pick((4, 5, 7, 9000), rng)))
        return pick((written(kind, wrong), longer), rng)
    return written(kind, rows, pick((-1, 0, 3, len(rows) + 1, FIFTY_MILLION, 10**11, 2**62), rng))


def misfit(rows: np.ndarray, rng: Rng) -> tuple[str, bytes, Must]:
    """What is wrong with an array, the array as a file, and what has to become of it."""
    made = io.BytesIO()
    match int(rng.integers(5)):
        case 0:
            np.savez(made, points=rows)
            return "an archive of arrays", made.getvalue(), "refuse"
        case 1:
            dtype = pick(_TYPES, rng)
            np.save(made, rows.astype("f4").astype(dtype), allow_pickle=False)
            return f"an array of {dtype}", made.getvalue(), "refuse"
        case 2:
            other = pick((rows[None], rows[:, 0], rows[:, :2], rows[:0], rows[0, 0]), rng)
            np.save(made, other, allow_pickle=False)
            return f"an array of shape {other.shape}", made.getvalue(), "refuse"
        case 3:
            dtype = pick(("f2", "f4", ">f8", "i4"), rng)
            np.save(made, np.asfortranarray(1000 * rows).astype(dtype), allow_pickle=False)
            return f"an array of {dtype}", made.getvalue(), "open"
        case _:
            header = written(".npy", rows)
            word = pick((*NASTY_NUMBERS, "[" * 60, "'" * 9, "__import__('os')"), rng).encode()
            changed = header[:128].replace(b"False", word[:60], 1) + header[128:]
            return "another word in its header", changed, "either"
