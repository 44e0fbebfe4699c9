"""Point clouds: files, estimated normals, the unit frame. N points, M neighbours.

Formats: `.npy` (N, 3 or 6), text of 3 or 6 numbers a line (`.xyz`, `.txt`, `.csv`), `.ply` with
vertices only, and any mesh, whose surface is sampled.
"""

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64
from scipy import spatial  # pyright: ignore[reportMissingTypeStubs]

from g3pt.files import check_plain, map_array
from g3pt.geometry.formats.foreign import LARGEST_COORDINATE, MESH_SUFFIXES
from g3pt.geometry.formats.limits import MAX_FILE_BYTES
from g3pt.geometry.mesh import SMALLEST_EXTENT, UNIT_LONGEST_SIDE, read_mesh
from g3pt.geometry.sampling import sample_surface

_spatial: Any = spatial  # its own annotations are partial

TEXT_SUFFIXES = (".xyz", ".txt", ".csv")
CLOUD_SUFFIXES = (".npy", *TEXT_SUFFIXES, *MESH_SUFFIXES)
"""Formats that are read."""

MIN_POINTS = 16
"""Clouds with fewer points are refused."""
MAX_POINTS = 20_000_000
"""Clouds with more points are refused."""
NEIGHBOURS = 16
"""Number of neighbours that a missing normal is estimated from."""
MESH_POINTS = 16_384
"""Points drawn on the surface of a mesh."""

MAX_LINE = 10_000
"""Longest line of a text file, in characters."""
MAX_HEADER_BYTES = 2**16
"""Longest header of a PLY file."""
SAME_PLACE = 2.0**-40
"""Points so near to each other, as a share of the cloud's extent, have one place."""
_BLOCK_LINES, _BLOCK_POINTS = 10_000, 2**15
"""What is worked on at once: between two blocks a signal is heard, and memory is given back."""

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
_PLY_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">"}


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
    suffix = path.suffix.lower()
    if suffix not in CLOUD_SUFFIXES:
        raise CloudError(f"{path}: {suffix or 'no suffix'}, expected {', '.join(CLOUD_SUFFIXES)}")
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such point cloud")
    check_plain(path, MAX_FILE_BYTES, CloudError)
    rows = None
    try:
        if suffix == ".npy":
            rows = _array(path)
        elif suffix in TEXT_SUFFIXES:
            with path.open(encoding="utf-8") as file:
                rows = _text_rows(file, (3, 6), MAX_POINTS + 1)
        elif suffix == ".ply":
            rows = _ply_vertices(path)
    except CloudError as error:
        raise CloudError(f"{path}: {error}") from None
    except (ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:150]
        raise CloudError(f"{path}: not a readable point cloud ({reason})") from None
    if rows is not None:
        return cloud_of(rows, str(path))
    samples = sample_surface(read_mesh(path), MESH_POINTS, np.random.default_rng(0))
    return PointCloud(samples.points, samples.normals)


def cloud_of(rows: np.ndarray, name: str = "points") -> PointCloud:
    """Check an array of positions, or of positions and normals.

    Raises:
        CloudError: if it holds no numbers, has another shape, too few or too many points, numbers
            that are not finite or beyond `LARGEST_COORDINATE`, or all points in one place.
    """
    if rows.dtype.kind not in "fiu":
        raise CloudError(f"{name}: an array of {rows.dtype}, expected floats or integers")
    if rows.ndim != 2 or rows.shape[1] not in (3, 6):
        raise CloudError(
            f"{name}: expected 3 numbers a point, or 6 with the normal, got an array of shape "
            f"{rows.shape}"
        )
    _check_count(len(rows), f"{name}: ")
    rows = rows.astype(np.float64)
    lowest, highest = rows.min(axis=0), rows.max(axis=0)
    if not (np.isfinite(lowest).all() and np.isfinite(highest).all()):
        raise CloudError(f"{name}: contains numbers that are not finite")
    if max(-lowest.min(), highest.max()) > LARGEST_COORDINATE:
        raise CloudError(f"{name}: contains numbers beyond {LARGEST_COORDINATE:g}")
    if not (highest - lowest)[:3].max() > SMALLEST_EXTENT:
        raise CloudError(f"{name}: all points are in one place")
    if rows.shape[1] == 3:
        return PointCloud(rows)
    lengths = np.linalg.norm(rows[:, 3:], axis=1, keepdims=True)
    if not (lengths > 0).all():
        raise CloudError(
            f"{name}: contains normals of length zero; leave normals out to have them estimated"
        )
    return PointCloud(rows[:, :3], rows[:, 3:] / lengths)


def _check_count(num: int, before: str = "") -> None:
    if not MIN_POINTS <= num <= MAX_POINTS:
        raise CloudError(
            f"{before}{num} points, expected at least {MIN_POINTS} and at most {MAX_POINTS}"
        )


def estimate_normals(
    points: Float64[np.ndarray, "N 3"], name: str = "points"
) -> Float64[np.ndarray, "N 3"]:
    """Normals of the planes fitted to the neighbours of each point, pointing away from the centre.

    A partial surface does not tell which side is outside. Away from the centre of its bounding box
    is right for most parts of most shapes. Points in one place count as one.

    Args:
        points: positions in any frame.
        name: what errors call them.

    Raises:
        CloudError: if they have fewer than three places.
    """
    firsts, place_of = _places(points)
    if len(firsts) < 3:
        raise CloudError(
            f"{name}: {len(points)} points have {len(firsts)} places, expected at least 3: normals "
            "are those of planes through neighbours"
        )
    places = points[firsts]
    num_near = min(NEIGHBOURS, len(places))
    tree = _spatial.cKDTree(places)
    normals = np.empty_like(places)
    for start in range(0, len(places), _BLOCK_POINTS):
        block = slice(start, start + _BLOCK_POINTS)
        near: Int64[np.ndarray, "B M"] = tree.query(places[block], k=num_near)[1]
        offsets = places[near] - places[near].mean(axis=1, keepdims=True)
        _, axes = np.linalg.eigh(np.einsum("nki,nkj->nij", offsets, offsets))
        normals[block] = axes[:, :, 0]
    normals = normals[place_of]
    centre = (points.min(axis=0) + points.max(axis=0)) / 2
    inward = ((points - centre) * normals).sum(axis=1) < 0
    return np.where(inward[:, None], -normals, normals)


def _places(
    points: Float64[np.ndarray, "N 3"],
) -> tuple[Int64[np.ndarray, " P"], Int64[np.ndarray, " N"]]:
    """The first point of each place, and the place of each point; in order if all differ.

    A search tree cannot part points in one place: each of them would be compared with all.
    """
    lowest = points.min(axis=0)
    extent = float((points.max(axis=0) - lowest).max())
    cells = np.rint((points - lowest) / (SAME_PLACE * extent if extent > 0 else 1.0))
    order = np.lexsort((cells[:, 0], cells[:, 1], cells[:, 2]))
    cells = cells[order]
    begins = np.append(True, (cells[1:] != cells[:-1]).any(axis=1))
    if begins.all():
        return np.arange(len(points)), np.arange(len(points))
    place_of = np.empty(len(points), np.int64)
    place_of[order] = np.cumsum(begins) - 1
    return order[begins], place_of


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


# --- files ---------------------------------------------------------------------------------


def _array(path: Path) -> np.ndarray:
    try:
        return map_array(path)
    except ValueError as error:
        expected = "expected a whole array as numpy.save writes it"
        raise CloudError(f"not a readable point cloud, {expected} ({error})") from None


def _text_rows(
    file: io.TextIOWrapper,
    widths: tuple[int, ...],
    most: int,
    columns: list[int] | None = None,
) -> Float64[np.ndarray, "N C"]:
    """Numbers of a text file, block by block; behind `#` is a comment.

    Args:
        file: at its first line of numbers.
        widths: the possible counts of numbers in a line; all lines have the same.
        most: lines of numbers that are read.
        columns: which numbers of a line are kept; None keeps all.

    Raises:
        CloudError: if a line is too long or holds something else.
    """
    blocks: list[Float64[np.ndarray, "B C"]] = []
    lines = islice(_number_lines(file, widths), most)
    while block := list(islice(lines, _BLOCK_LINES)):
        (first, _), (last, _) = block[0], block[-1]
        try:
            rows = np.loadtxt([line for _, line in block], comments=None, usecols=columns, ndmin=2)
        except ValueError as error:
            raise CloudError(f"not a readable point cloud: lines {first}-{last}: {error}") from None
        blocks.append(rows)
    return np.concatenate(blocks) if blocks else np.empty((0, 3))


def _number_lines(file: io.TextIOWrapper, widths: tuple[int, ...]) -> Iterator[tuple[int, str]]:
    """Number and text of each line that holds something, commas as spaces."""
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            raise CloudError(f"line {number}: more than {MAX_LINE} characters")
        line = line.partition("#")[0].replace(",", " ")
        found = len(line.split())
        if found and found not in widths:
            expected = " or ".join(map(str, widths))
            raise CloudError(f"line {number}: expected {expected} numbers, got {found}")
        if found:
            widths = (found,)
            yield number, line


def _ply_vertices(path: Path) -> np.ndarray | None:
    """Positions, and normals if present, of a PLY without faces; None if it has faces."""
    with path.open("rb") as file:
        data = file.read(MAX_HEADER_BYTES)
    head, mark, rest = data.partition(b"end_header")
    start = len(head) + len(mark) + len(rest.partition(b"\n")[0]) + 1
    lines = [line.split() for line in head.decode("ascii", errors="replace").splitlines()]
    if not mark or not lines or lines[0] != ["ply"]:
        raise CloudError("no PLY header, expected `ply` at its start and `end_header` at its end")
    count, properties = 0, dict[str, str]()
    encoding = element = ""
    for words in lines[1:]:
        match words:
            case ["format", encoding, *_]:
                pass
            case ["element", element, number, *_]:
                if element != "vertex" and int(number):
                    return None
                if element == "vertex":
                    count = int(number)
            case ["property", kind, name] if element == "vertex" and name not in properties:
                properties[name] = kind
            case ["property", *_] if element != "vertex":
                pass
            case ["element" | "property" | "format", *_]:
                raise CloudError(f"the PLY header has {' '.join(words)[:80]!r}")
            case _:
                pass
    for name, kind in properties.items():
        if kind not in _PLY_TYPES:
            raise CloudError(
                f"the PLY header gives {name} the type {kind!r}, expected one of "
                f"{', '.join(_PLY_TYPES)}"
            )
    wanted = ["x", "y", "z", *(["nx", "ny", "nz"] if "nx" in properties else [])]
    if missing := [name for name in wanted if name not in properties]:
        raise CloudError(f"the PLY header has no property {', '.join(missing)} of vertex")
    _check_count(count)
    if encoding == "ascii":
        columns = [list(properties).index(name) for name in wanted]
        with path.open("rb") as file:
            file.seek(start)
            text = io.TextIOWrapper(file, "ascii")
            rows = _text_rows(text, (len(properties),), count, columns)
        if len(rows) < count:
            raise CloudError(f"cut off, {count} points are declared, {len(rows)} are there")
        return rows
    order = _PLY_ORDERS.get(encoding)
    if order is None:
        expected = ", ".join(("ascii", *_PLY_ORDERS))
        raise CloudError(f"the PLY header has the format {encoding!r}, expected one of {expected}")
    layout = np.dtype([(name, order + _PLY_TYPES[kind]) for name, kind in properties.items()])
    needed, there = count * layout.itemsize, path.stat().st_size - start
    if there < needed:
        raise CloudError(f"cut off, {count} points need {needed} bytes, {there} are there")
    table = np.memmap(path, layout, "r", start, (count,))
    rows = np.empty((count, len(wanted)))
    for column, name in enumerate(wanted):
        rows[:, column] = table[name]
    return rows
