"""A stock: thousands of labelled meshes in one small file, which a training warps into new shapes.

The file is a safetensors file. Its tensors are byte streams compressed by LZMA, one for each kind
of number, all meshes end to end. They are small because positions are 16-bit integers on the grid
of `shapes.queries`; vertices are numbered by first use in the faces and stored as the distance from
the next new number, so that a new vertex is a zero; colours come from a palette of at most 256 per
mesh; the positions of labelled queries follow from a key.

Reading needs neither Embree nor libigl. `preparation.stock_builder` makes stocks.

Legend: M meshes, P welded vertices, W wedges (a vertex with a colour), F faces, V queries in the
box around a mesh, N queries near its surface. Everything lies in the unit frame.
"""

import json
import lzma
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int16, Int32, Int64, Integer, UInt8, UInt16
from numpy import ndarray

from g3pt.config import check_json, from_json, require_object, to_json
from g3pt.files import MAX_JSON_BYTES, parse_json, write_whole
from g3pt.geometry.formats.limits import UNPACK_RATIO, most_unpacked
from g3pt.geometry.triangles import TriangleMesh
from g3pt.hashes import text_key
from g3pt.shapes.array_files import ArrayFile, array_file, opened_arrays
from g3pt.shapes.queries import POSITION_STEPS, near_queries, uniform_fields
from g3pt.shapes.rows import StockRow
from g3pt.shapes.stored import most_compressed
from g3pt.shapes.sub_triangles import QUARTER_WEIGHTS, chosen_parts, num_chosen

FORMAT = "g3pt-mesh-stock"
FORMAT_VERSION = 1
MAX_COLORS = 256
MAX_STOCK_FACES = 20_000
"""Wedges are numbered in 16 bits; a face adds at most three."""
MAX_STOCK_MESHES = 2**18
MAX_STOCK_QUERIES = 2**20
"""Labelled points of either kind, of one mesh."""
MAX_FILE_BYTES = 2**32
_UNPACKER_BYTES = 2**25
"""Memory that a stream may ask for to be unpacked; those of `compressed` need 9 MiB."""

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


# --- labelled positions --------------------------------------------------------------------


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


# --- the file ------------------------------------------------------------------------------

STREAMS: dict[str, type[np.generic]] = {
    "names": np.uint16,
    "places": np.uint16,
    "positions": np.int16,
    "palettes": np.uint8,
    "colors": np.uint8,
    "masks": np.uint16,
    "flipped": np.uint8,
    "labels": np.uint8,
    "counts": np.int32,
    "objects": np.uint8,
}
"""The streams of the file and the types of their numbers."""
_COUNTS = 4
"""Numbers of faces, wedges, vertices and colours of a mesh."""


def write_stock(
    path: str | os.PathLike[str], meshes: Iterable[StockMesh], config: StockConfig
) -> int:
    """Write a stock; the file appears complete or not at all.

    Args:
        path: the file.
        meshes: at least one.
        config: the config they were made with.

    Returns:
        Size of the file in bytes.

    Raises:
        ValueError: if there is no mesh, there are too many or too many alike to be read again, or
            one has too many colours or faces.
    """
    parts: dict[str, list[ndarray]] = {name: [] for name in STREAMS}
    objects: list[dict[str, Any]] = []
    for mesh in meshes:
        objects.append(mesh.object)
        _append(parts, mesh)
    if not objects:
        raise ValueError(f"{path}: a stock needs at least one mesh, there is none")
    text = json.dumps(objects, ensure_ascii=False).encode()
    if len(objects) > MAX_STOCK_MESHES or len(text) > MAX_JSON_BYTES:
        raise ValueError(
            f"{path}: {len(objects)} meshes with {len(text)} bytes of descriptions, a stock may "
            f"have {MAX_STOCK_MESHES} and {MAX_JSON_BYTES}; make several"
        )
    parts["objects"] = [np.frombuffer(text, np.uint8)]
    whole = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    streams = {name: compressed(numbers) for name, numbers in whole.items()}
    total = sum(numbers.nbytes for name, numbers in whole.items() if name != "objects")
    stored = sum(len(stream) for stream in streams.values())
    if total > most_unpacked(stored) or len(text) > most_unpacked(len(streams["objects"])):
        raise ValueError(
            f"{path}: {total + len(text)} bytes of meshes so much alike that {stored} hold them; "
            f"no more than {UNPACK_RATIO} times as many are read again: leave out copies"
        )
    metadata = {
        "format": FORMAT,
        "version": str(FORMAT_VERSION),
        "num_meshes": str(len(objects)),
        "config": json.dumps(to_json(config)),
    }
    data = array_file(streams, metadata)
    write_whole(path, data)
    return len(data)


def _append(parts: dict[str, list[ndarray]], mesh: StockMesh) -> None:
    surface = mesh.surface
    name = mesh.object["id"]
    if len(surface.faces_F3) > MAX_STOCK_FACES:
        raise ValueError(f"{name}: {len(surface.faces_F3)} faces, expected <= {MAX_STOCK_FACES}")
    colors, color_C = np.unique(surface.colors_F33.reshape(-1, 3), axis=0, return_inverse=True)
    if len(colors) > MAX_COLORS:
        raise ValueError(f"{name}: {len(colors)} colours, expected at most {MAX_COLORS}")
    wedge_C, wedges_W = _by_first_use(
        surface.faces_F3.reshape(-1).astype(np.int64) * MAX_COLORS + color_C.reshape(-1)
    )
    place_W, used_P = _by_first_use(wedges_W // MAX_COLORS)
    parts["names"].append(_distances(wedge_C))
    parts["places"].append(_distances(place_W))
    parts["positions"].append(surface.vertices_P3[used_P].T.reshape(-1))
    parts["palettes"].append(colors.astype(np.uint8).reshape(-1))
    parts["colors"].append((wedges_W % MAX_COLORS).astype(np.uint8))
    parts["masks"].append(surface.masks_F)
    parts["flipped"].append(surface.flipped_F.astype(np.uint8))
    parts["labels"].append(np.packbits(np.concatenate([mesh.volume_V, mesh.near_N])))
    parts["counts"].append(
        np.array([len(surface.faces_F3), len(wedges_W), len(used_P), len(colors)], np.int32)
    )


def _by_first_use(
    names: Int64[ndarray, " C"],
) -> tuple[Int64[ndarray, " C"], Int64[ndarray, " K"]]:
    """Renumber values in the order of first use; also return the value of each number."""
    known, first, inverse = np.unique(names, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(known), dtype=np.int64)
    rank[order] = np.arange(len(known))
    return rank[inverse.reshape(-1)], known[order]


def _distances(numbers: Int64[ndarray, " C"]) -> UInt16[ndarray, " C"]:
    """Distance of each number below the next new one, for numbers in order of first use."""
    next_new = np.concatenate([[0], np.maximum.accumulate(numbers)[:-1] + 1])
    return (next_new - numbers).astype(np.uint16)


def _numbers(
    origin: str,
    distances_C: UInt16[ndarray, " C"],
    uses_M: Int64[ndarray, " M"],
    known_M: Int64[ndarray, " M"],
) -> Int64[ndarray, " C"]:
    """Inverse of `_distances` for many meshes end to end; each starts from zero.

    Args:
        origin: file and stream, for messages.
        distances_C: as they are stored; zero for a new number.
        uses_M: how many of them each mesh has, at least one.
        known_M: how many different numbers each mesh has.

    Raises:
        ValueError: if a mesh has more or fewer numbers, or one below zero.
    """
    new_C = distances_C == 0
    numbers_C = np.cumsum(new_C)
    new_M = np.diff(numbers_C[_starts(uses_M)[1:] - 1], prepend=0)
    if (new_M != known_M).any():
        row = int((new_M != known_M).argmax())
        raise ValueError(
            f"{origin}: mesh {row} has {new_M[row]} different ones, counts tell {known_M[row]}"
        )
    numbers_C -= new_C
    numbers_C -= np.repeat(_starts(known_M)[:-1], uses_M)
    numbers_C -= distances_C
    if numbers_C.min() < 0:
        raise ValueError(f"{origin}: one is {numbers_C.min()}, expected at least 0")
    return numbers_C


def compressed(array: ndarray) -> UInt8[ndarray, " _"]:
    """The bytes of a stream, as they lie in the file."""
    return np.frombuffer(lzma.compress(array.tobytes(), preset=6), np.uint8)


@dataclass(frozen=True, eq=False)
class MeshStock:
    """A stock in memory: arrays of all meshes end to end."""

    origin: str
    """The file it was read from, for messages."""
    config: StockConfig
    objects: tuple[dict[str, Any], ...]
    """Description of every mesh (see `StockMesh.object`)."""
    face_starts: Int64[ndarray, " M_1"]
    """Faces of mesh m are those from entry m up to entry m + 1."""
    vertex_starts: Int64[ndarray, " M_1"]
    vertices_P3: Int16[ndarray, "P 3"]
    faces_F3: Int32[ndarray, "F 3"]
    """Vertices of every face, counted within its mesh."""
    colors_F33: UInt8[ndarray, "F 3 3"]
    masks_F: UInt16[ndarray, " F"]
    flipped_F: Bool[ndarray, " F"]
    labels_MQ: Bool[ndarray, "M Q"] = field(repr=False)
    """True for queries inside; those in the box come first, then those near the surface."""

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "MeshStock":
        """Read a whole file.

        Raises:
            FileNotFoundError: if there is none.
            ValueError: if it is no stock, of another version, or damaged; the message names file
                and field.
        """
        if not Path(path).exists():
            raise FileNotFoundError(f"{path}: no such stock of meshes")
        with opened_arrays(path, MAX_FILE_BYTES) as file:
            num, config = _read_texts(file)
            streams = _read_streams(file, num, config)
        return _assembled(str(path), config, streams)

    def __len__(self) -> int:
        return len(self.objects)

    def select(self, rows: Sequence[int]) -> "MeshStock":
        """The stock of some of the meshes."""
        faces = _ranges(self.face_starts, rows)
        vertices = _ranges(self.vertex_starts, rows)
        return MeshStock(
            origin=self.origin,
            config=self.config,
            objects=tuple(self.objects[row] for row in rows),
            face_starts=_starts(np.diff(self.face_starts)[list(rows)]),
            vertex_starts=_starts(np.diff(self.vertex_starts)[list(rows)]),
            vertices_P3=self.vertices_P3[vertices],
            faces_F3=self.faces_F3[faces],
            colors_F33=self.colors_F33[faces],
            masks_F=self.masks_F[faces],
            flipped_F=self.flipped_F[faces],
            labels_MQ=self.labels_MQ[list(rows)],
        )

    def surface(self, row: int) -> StockSurface:
        """The triangles of one mesh."""
        faces = slice(self.face_starts[row], self.face_starts[row + 1])
        vertices = slice(self.vertex_starts[row], self.vertex_starts[row + 1])
        return StockSurface(
            vertices_P3=self.vertices_P3[vertices],
            faces_F3=self.faces_F3[faces],
            colors_F33=self.colors_F33[faces],
            masks_F=self.masks_F[faces],
            flipped_F=self.flipped_F[faces],
        )

    def query_positions(self, row: int) -> Int16[ndarray, "Q 3"]:
        """Positions of the labelled queries of one mesh: in its box, then near its surface.

        Raises:
            ValueError: if no part with an area bounds its solid.
        """
        name, config = self.objects[row]["id"], self.config
        surface, key = self.surface(row), stock_key(name)
        try:
            near_N3 = near_positions(surface, key, config.num_near, config.near_sigmas)
        except ValueError as error:
            raise ValueError(f"{self.origin}: {name}: {error}") from None
        return np.concatenate([volume_positions(surface, key, config.num_volume), near_N3])


def _read_texts(file: ArrayFile) -> tuple[int, StockConfig]:
    """Number of meshes and config.

    Raises:
        ValueError: naming the field.
    """
    if file.texts.get("format") != FORMAT:
        raise ValueError(
            f"{file.path}: not a stock of meshes; make one with `g3pt prepare --stock`"
        )
    if file.texts.get("version") != str(FORMAT_VERSION):
        raise ValueError(
            f"{file.path}: version {file.texts.get('version')} of the format, this program "
            f"reads {FORMAT_VERSION}; prepare the stock again"
        )
    file.check_texts(["format", "version", "num_meshes", "config"])
    text = file.texts["num_meshes"]
    num = int(text) if text.isdecimal() and len(text) < 10 else 0
    if not 1 <= num <= MAX_STOCK_MESHES:
        raise ValueError(
            f"{file.path}: num_meshes: is {text[:20]!r}, expected 1 to {MAX_STOCK_MESHES}"
        )
    origin = f"{file.path}: config"
    values = require_object(parse_json(file.texts["config"].encode(), origin), origin)
    return num, from_json(StockConfig, values, origin=origin)


def _read_streams(file: ArrayFile, num: int, config: StockConfig) -> dict[str, ndarray]:
    """The unpacked streams, each of the length that the counts of all meshes give it.

    Args:
        file: an opened stock.
        num: of meshes.
        config: its config.

    Raises:
        ValueError: naming the stream.
    """
    file.check_names(STREAMS)
    size = num * _COUNTS * np.dtype(np.int32).itemsize
    file.check_bytes("counts", most_compressed(size), by="num_meshes")
    packed = {"counts": file.read("counts")}
    counts_M4 = _unpacked(file, "counts", packed["counts"], size).reshape(-1, _COUNTS)
    sizes = _stream_bytes(file, counts_M4, config)
    sizes["counts"] = size
    for name, size in (sizes | {"objects": MAX_JSON_BYTES}).items():
        file.check_bytes(name, most_compressed(size), by="counts")
    packed |= {name: file.read(name) for name in STREAMS if name != "counts"}
    file.check_sha256(packed)
    total, stored = sum(sizes.values()), sum(len(stream) for stream in packed.values())
    if total > most_unpacked(stored):
        raise ValueError(
            f"{file.path}: counts: ask for {total} bytes, which the {stored} that are there are "
            "too few to hold"
        )
    return {"counts": counts_M4} | {
        name: _unpacked(file, name, packed[name], sizes.get(name))
        for name in STREAMS
        if name != "counts"
    }


def _stream_bytes(
    file: ArrayFile, counts_M4: Int32[ndarray, "M 4"], config: StockConfig
) -> dict[str, int]:
    """Bytes of every unpacked stream but counts and objects.

    Raises:
        ValueError: if the counts of a mesh are impossible.
    """
    faces_M, wedges_M, vertices_M, colors_M = counts_M4.T
    for name, counts_M, most_M in (
        ("faces", faces_M, MAX_STOCK_FACES),
        ("wedges", wedges_M, 3 * faces_M),
        ("vertices", vertices_M, wedges_M),
        ("colours", colors_M, np.minimum(MAX_COLORS, wedges_M)),
    ):
        wrong_M = (counts_M < 1) | (counts_M > most_M)
        if wrong_M.any():
            row = int(wrong_M.argmax())
            raise ValueError(
                f"{file.path}: counts: mesh {row} has {counts_M[row]} {name}, expected 1 to "
                f"{np.broadcast_to(most_M, counts_M.shape)[row]}"
            )
    faces, wedges, vertices, colors = (int(total) for total in counts_M4.sum(axis=0, dtype="i8"))
    numbers = {
        "names": 3 * faces,
        "places": wedges,
        "positions": 3 * vertices,
        "palettes": 3 * colors,
        "colors": wedges,
        "masks": faces,
        "flipped": faces,
        "labels": len(counts_M4) * ((config.num_volume + config.num_near) // 8),
    }
    return {name: number * np.dtype(STREAMS[name]).itemsize for name, number in numbers.items()}


def _unpacked(
    file: ArrayFile, name: str, packed: UInt8[ndarray, " _"], size: int | None
) -> ndarray:
    """The numbers of a stream.

    Args:
        file: for messages.
        name: of the stream.
        packed: its bytes.
        size: bytes that it unpacks to; None for text, which may have any usual size.

    Raises:
        ValueError: if it unpacks to another size, or not at all.
    """
    most = size
    if most is None:
        most = min(MAX_JSON_BYTES, most_unpacked(len(packed)))
    stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_UNPACKER_BYTES)
    try:
        data = stream.decompress(packed.tobytes(), most + 1)
    except (lzma.LZMAError, EOFError) as error:
        raise ValueError(f"{file.path}: {name}: cannot be unpacked ({error})") from None
    if not stream.eof or stream.unused_data or size not in (None, len(data)):
        raise ValueError(f"{file.path}: {name}: does not unpack to its {most} bytes")
    return np.frombuffer(data, STREAMS[name])


def _assembled(origin: str, config: StockConfig, streams: Mapping[str, ndarray]) -> MeshStock:
    """Put the streams together.

    Raises:
        ValueError: if one of them names what is not there; the message names it.
    """
    faces_M, wedges_M, vertices_M, colors_M = streams["counts"].astype(np.int64).T
    objects = _read_objects(origin, streams["objects"], len(faces_M))
    wedge_C = _numbers(f"{origin}: names", streams["names"], 3 * faces_M, wedges_M)
    place_W = _numbers(f"{origin}: places", streams["places"], wedges_M, vertices_M)
    for name, least, most in (("positions", -POSITION_STEPS, POSITION_STEPS), ("flipped", 0, 1)):
        low, high = streams[name].min(), streams[name].max()
        if low < least or high > most:
            raise ValueError(f"{origin}: {name}: lie in {low}..{high}, expected {least}..{most}")
    last_M = (colors_M - 1).astype(np.uint8)
    if (streams["colors"] > np.repeat(last_M, wedges_M)).any():
        raise ValueError(f"{origin}: colors: name colours that no palette has")
    exposed_M = np.maximum.reduceat(streams["masks"], _starts(faces_M)[:-1]) > 0
    if not exposed_M.all():
        name = objects[int(exposed_M.argmin())]["id"]
        raise ValueError(f"{origin}: masks: no part of {name!r} bounds its solid")
    palette_W = streams["colors"] + np.repeat(_starts(colors_M)[:-1], wedges_M)
    # Corners name wedges of their own mesh: shifted, they name wedges of all meshes.
    wedge_C += np.repeat(_starts(wedges_M)[:-1], 3 * faces_M)
    labels_MQ = np.unpackbits(streams["labels"].reshape(len(objects), -1), axis=1)
    return MeshStock(
        origin=origin,
        config=config,
        objects=tuple(objects),
        face_starts=_starts(faces_M),
        vertex_starts=_starts(vertices_M),
        vertices_P3=_rows_of_three(streams["positions"], vertices_M),
        faces_F3=place_W[wedge_C].astype(np.int32).reshape(-1, 3),
        colors_F33=streams["palettes"].reshape(-1, 3)[palette_W][wedge_C].reshape(-1, 3, 3),
        masks_F=streams["masks"],
        flipped_F=streams["flipped"].astype(np.bool_),
        labels_MQ=labels_MQ.astype(np.bool_),
    )


@dataclass(frozen=True, kw_only=True)
class _Objects:
    objects: list[StockRow]


def _read_objects(origin: str, text: UInt8[ndarray, " _"], num: int) -> list[dict[str, Any]]:
    """The descriptions of all meshes.

    Raises:
        ValueError: naming the field.
    """
    objects = parse_json(text.tobytes(), f"{origin}: objects")
    if not isinstance(objects, list) or len(objects) != num:
        found = len(objects) if isinstance(objects, list) else type(objects).__name__
        raise ValueError(f"{origin}: objects: expected a list of {num} meshes, got {found}")
    check_json(_Objects, {"objects": objects}, origin=origin)
    return objects


def _rows_of_three(
    stored: Int16[ndarray, " _"], vertices_M: Int64[ndarray, " M"]
) -> Int16[ndarray, "P 3"]:
    """One row per vertex, from streams with all x of a mesh, then all y, then all z."""
    starts_P = np.repeat(_starts(vertices_M)[:-1], vertices_M)
    own_P = np.arange(len(starts_P)) - starts_P
    size_P = np.repeat(vertices_M, vertices_M)
    first_P = 3 * starts_P + own_P
    return stored[first_P[:, None] + size_P[:, None] * np.arange(3)]


def _starts(counts: Integer[ndarray, " M"]) -> Int64[ndarray, " M_1"]:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


def _ranges(starts: Int64[ndarray, " M_1"], rows: Sequence[int]) -> Int64[ndarray, " K"]:
    return np.concatenate(
        [np.zeros(0, np.int64), *(np.arange(starts[row], starts[row + 1]) for row in rows)]
    )
