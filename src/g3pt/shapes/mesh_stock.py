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
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int16, Int32, Int64, UInt8, UInt16
from numpy import ndarray

from g3pt.config import check_json, from_json, require_object, to_json
from g3pt.files import MAX_JSON_BYTES, parse_json, write_whole
from g3pt.geometry.formats.limits import UNPACK_RATIO, most_unpacked
from g3pt.shapes.array_files import ArrayFile, array_file, opened_arrays
from g3pt.shapes.queries import POSITION_STEPS
from g3pt.shapes.rows import StockRow
from g3pt.shapes.stock_meshes import (
    StockConfig,
    StockMesh,
    StockSurface,
    near_positions,
    stock_key,
    volume_positions,
)
from g3pt.shapes.stock_streams import (
    MAX_STOCK_MESHES,
    STREAMS,
    append_mesh,
    compressed,
    counted_numbers,
    read_streams,
    starts_of,
)

FORMAT = "g3pt-mesh-stock"

FORMAT_VERSION = 1

MAX_FILE_BYTES = 2**32


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
        append_mesh(parts, mesh)
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
            streams = read_streams(file, num, config)
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
            face_starts=starts_of(np.diff(self.face_starts)[list(rows)]),
            vertex_starts=starts_of(np.diff(self.vertex_starts)[list(rows)]),
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


def _assembled(origin: str, config: StockConfig, streams: Mapping[str, ndarray]) -> MeshStock:
    """Put the streams together.

    Raises:
        ValueError: if one of them names what is not there; the message names it.
    """
    faces_M, wedges_M, vertices_M, colors_M = streams["counts"].astype(np.int64).T
    objects = _read_objects(origin, streams["objects"], len(faces_M))
    wedge_C = counted_numbers(f"{origin}: names", streams["names"], 3 * faces_M, wedges_M)
    place_W = counted_numbers(f"{origin}: places", streams["places"], wedges_M, vertices_M)
    for name, least, most in (("positions", -POSITION_STEPS, POSITION_STEPS), ("flipped", 0, 1)):
        low, high = streams[name].min(), streams[name].max()
        if low < least or high > most:
            raise ValueError(f"{origin}: {name}: lie in {low}..{high}, expected {least}..{most}")
    last_M = (colors_M - 1).astype(np.uint8)
    if (streams["colors"] > np.repeat(last_M, wedges_M)).any():
        raise ValueError(f"{origin}: colors: name colours that no palette has")
    exposed_M = np.maximum.reduceat(streams["masks"], starts_of(faces_M)[:-1]) > 0
    if not exposed_M.all():
        name = objects[int(exposed_M.argmin())]["id"]
        raise ValueError(f"{origin}: masks: no part of {name!r} bounds its solid")
    palette_W = streams["colors"] + np.repeat(starts_of(colors_M)[:-1], wedges_M)
    # Corners name wedges of their own mesh: shifted, they name wedges of all meshes.
    wedge_C += np.repeat(starts_of(wedges_M)[:-1], 3 * faces_M)
    labels_MQ = np.unpackbits(streams["labels"].reshape(len(objects), -1), axis=1)
    return MeshStock(
        origin=origin,
        config=config,
        objects=tuple(objects),
        face_starts=starts_of(faces_M),
        vertex_starts=starts_of(vertices_M),
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
    starts_P = np.repeat(starts_of(vertices_M)[:-1], vertices_M)
    own_P = np.arange(len(starts_P)) - starts_P
    size_P = np.repeat(vertices_M, vertices_M)
    first_P = 3 * starts_P + own_P
    return stored[first_P[:, None] + size_P[:, None] * np.arange(3)]


def _ranges(starts: Int64[ndarray, " M_1"], rows: Sequence[int]) -> Int64[ndarray, " K"]:
    return np.concatenate(
        [np.zeros(0, np.int64), *(np.arange(starts[row], starts[row + 1]) for row in rows)]
    )
