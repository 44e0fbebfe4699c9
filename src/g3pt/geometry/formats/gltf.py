"""glTF 2.0, as GLB or JSON: every number in the file is checked before it is used.

Trimesh is not used here: it ignores `normalized` and sparse accessors and does not check the file.
Legend: P vertices, F faces, N rows of an accessor, C columns of it.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, cast

import numpy as np
from jaxtyping import Float64, Int64, Shaped

from g3pt.geometry.formats.gltf_scene import Instance, instances
from g3pt.geometry.formats.limits import References, check_counts, check_mesh_memory
from g3pt.geometry.formats.placing import placed_together
from g3pt.geometry.formats.textures import (
    Pictures,
    Pixels,
    display_to_linear,
    linear_to_display,
    texture_colors,
)
from g3pt.geometry.triangles import GltfColors, MeshError, TriangleMesh, concatenate

Json = Mapping[str, Any]

MAX_JSON_VALUES = 5_000_000
"""Most commas and brackets in a document; each costs some 100 bytes once parsed."""

MAX_CHUNKS = 1000
"""Most chunks of a GLB file; two of them are read."""

FREE_ZEROS = 65_536
"""Rows that an accessor without data may have."""

_DTYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_COLUMNS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
_TRIANGLES, _STRIP, _FAN = 4, 5, 6
_DRACO = "KHR_draco_mesh_compression"
_MESHOPT = ("EXT_meshopt_compression", "KHR_meshopt_compression")


def parse_gltf(
    data: bytes, references: References, *, gltf_colors: GltfColors = "linear"
) -> TriangleMesh:
    """Read all triangles of the file's scene, transformed and joined.

    Colours are the product of COLOR_0, the base colour texture and the base colour factor, taken
    in linear light (glTF 2.0, 3.9.2) and given as sRGB display values.

    Args:
        data: the whole file.
        references: reads the files that it refers to.
        gltf_colors: what COLOR_0 holds.

    Raises:
        MeshError, ValueError, LookupError, TypeError: if it cannot be read.
    """
    text, binary = glb_chunks(data) if data[:4] == b"glTF" else (data, None)
    document = _parse_json(text)
    _check_extensions(document)
    buffers = [
        _buffer(entry, binary if index == 0 else None, references)
        for index, entry in enumerate(_list(document, "buffers"))
    ]
    for image in _list(document, "images"):
        if "uri" in image and not image["uri"].startswith("data:"):
            references.checked(image["uri"])
    return _Reader(document, buffers, references, gltf_colors).scene()


def check_glb_header(head: bytes, size: int) -> None:
    """Compare the first bytes of a GLB file with its size.

    Raises:
        MeshError: if it is cut off or of another version.
    """
    if size < 20:
        raise MeshError(f"cut off, {size} bytes are less than a GLB header", "cut_off")
    version, length = struct.unpack_from("<II", head, 4)
    if version != 2:
        raise MeshError(f"GLB version {version}, expected 2")
    if size < length:
        message = f"cut off, {size} of the {length} bytes that its header declares"
        raise MeshError(message, "cut_off")


def glb_chunks(data: bytes) -> tuple[bytes, bytes | None]:
    """Split a GLB file into its JSON and its first binary chunk.

    Raises:
        MeshError: if it is cut off, of another version, without JSON, or has too many chunks.
    """
    check_glb_header(data[:20], len(data))
    chunks: dict[bytes, bytes] = {}
    position = 12
    num_chunks = 0
    while position + 8 <= len(data):
        num_chunks += 1
        if num_chunks > MAX_CHUNKS:
            raise MeshError(f"has more than {MAX_CHUNKS} chunks, expected two", "too_large")
        size, kind = struct.unpack_from("<I4s", data, position)
        if position + 8 + size > len(data):
            raise MeshError("cut off inside a chunk", "cut_off")
        chunks.setdefault(kind, data[position + 8 : position + 8 + size])
        position += 8 + size
    if b"JSON" not in chunks:
        raise MeshError("a GLB file without JSON")
    return chunks[b"JSON"], chunks.get(b"BIN\0")


def _parse_json(text: bytes) -> Json:
    if text.count(b",") + text.count(b"[") + text.count(b"{") > MAX_JSON_VALUES:
        raise MeshError(f"its JSON has more than {MAX_JSON_VALUES} values", "too_large")
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise MeshError("its JSON is nested too deeply") from None
    except UnicodeDecodeError:
        raise MeshError("its JSON is not UTF-8 text") from None
    if not isinstance(document, dict):
        raise MeshError("its JSON is not an object")
    document = cast("Json", document)
    version = str(document.get("asset", {}).get("version", "2.0"))
    if not version.startswith("2."):
        raise MeshError(f"glTF version {version[:20]}, expected 2.0")
    return document


def _refuse_constant(name: str) -> float:
    raise MeshError(f"its JSON holds {name}, which is not a number")


def _check_extensions(document: Json) -> None:
    """Refuse required extensions without which the file would be misread."""
    named = {*_list(document, "extensionsRequired"), *_list(document, "extensionsUsed")}
    if named.intersection(_MESHOPT):
        raise MeshError(
            "compressed with meshopt, which is not supported; unpack it first", "compressed"
        )
    if _DRACO in named and find_spec("DracoPy") is None:
        raise MeshError(
            "compressed with Draco, install DracoPy (`pip install g3pt[export]`) to read it",
            "compressed",
        )
    if any(
        "EXT_mesh_gpu_instancing" in node.get("extensions", {}) for node in _list(document, "nodes")
    ):
        raise MeshError("uses EXT_mesh_gpu_instancing, which is not supported; bake the instances")


def _buffer(entry: Json, binary: bytes | None, references: References) -> bytes:
    declared = _count(entry, "byteLength")
    if "uri" in entry:
        try:
            content = references.read(entry["uri"])
        except FileNotFoundError:
            name = str(entry["uri"])[:80]
            raise MeshError(f"refers to {name!r}, which is not in its folder", "missing") from None
    elif binary is not None:
        content = binary
    else:
        raise MeshError("has a buffer without data")
    if len(content) < declared:
        raise MeshError(
            f"cut off, a buffer has {len(content)} of the {declared} bytes declared", "cut_off"
        )
    return content


def _list(owner: Json, key: str) -> list[Any]:
    value = owner.get(key, [])
    if not isinstance(value, list):
        raise MeshError(f"expected a list at {key}")
    return cast("list[Any]", value)


def _count(owner: Json, key: str, default: int | None = None) -> int:
    value = owner.get(key, default)
    if type(value) is not int or value < 0:
        raise MeshError(f"expected a count at {key}, got {str(value)[:40]}")
    return value


@dataclass(frozen=True)
class _Rows:
    """Layout of the rows of an accessor in a buffer view."""

    dtype: np.dtype[Any]
    columns: int
    num: int


class _Reader:
    """The document with its buffers; primitives are read once, however often they are placed."""

    def __init__(
        self,
        document: Json,
        buffers: list[bytes],
        references: References,
        gltf_colors: GltfColors,
    ) -> None:
        self._document, self._buffers, self._references = document, buffers, references
        self._gltf_colors = gltf_colors
        self._num_bytes = sum(map(len, buffers))
        self._pictures = Pictures(references, self._num_bytes)
        self._num_vertices = self._num_faces = 0  # of the primitives that were read

    def scene(self) -> TriangleMesh:
        """Every triangle of the scene."""
        placed = instances(self._document)
        self._check_size(placed)
        shown = list(dict.fromkeys(place.mesh for place in placed))
        meshes = self._meshes(shown)
        where = {mesh: index for index, mesh in enumerate(shown)}
        which = np.array([where[place.mesh] for place in placed], np.int64)
        matrices = np.array([place.matrix for place in placed]).reshape(-1, 4, 4)
        return placed_together(meshes, which, matrices, num_bytes=self._num_bytes)

    def _item(self, key: str, index: Any) -> Json:
        items = _list(self._document, key)
        if type(index) is not int or not 0 <= index < len(items):
            raise MeshError(
                f"names {key}[{str(index)[:20]}], there are {len(items)}", "bad_indices"
            )
        return items[index]

    def _check_size(self, placed: list[Instance]) -> None:
        """Add up the vertices and faces of all instances, from the declared counts alone."""
        costs: dict[int, tuple[int, int]] = {}
        num_vertices = num_faces = 0
        for place in placed:
            if place.mesh not in costs:
                rows = [
                    self._cost(p) for p in _list(self._item("meshes", place.mesh), "primitives")
                ]
                costs[place.mesh] = (sum(row[0] for row in rows), sum(row[1] for row in rows))
            num_vertices += costs[place.mesh][0]
            num_faces += costs[place.mesh][1]
        check_counts(num_vertices, num_faces)

    def _cost(self, primitive: Json) -> tuple[int, int]:
        position = self._item("accessors", primitive.get("attributes", {}).get("POSITION"))
        num = _count(position, "count")
        if "indices" in primitive:
            corners = _count(self._item("accessors", primitive["indices"]), "count")
        else:
            corners = num
        return num, corners // 3 if primitive.get("mode", _TRIANGLES) == _TRIANGLES else corners

    # --- accessors ---

    def _accessor(
        self, index: Any, *, packed: Shaped[np.ndarray, "N C"] | None = None
    ) -> Shaped[np.ndarray, "N C"]:
        """Read an accessor with its sparse values, as floats where it is normalized.

        Args:
            index: which accessor.
            packed: its rows if they were compressed with Draco.
        """
        entry = self._item("accessors", index)
        dtype = np.dtype(_DTYPES[entry["componentType"]])
        rows = _Rows(dtype, _COLUMNS[entry["type"]], _count(entry, "count"))
        if packed is not None:
            if len(packed) != rows.num:
                raise MeshError(f"Draco gave {len(packed)} rows, {rows.num} were declared")
            values = packed
        elif "bufferView" in entry:
            values = self._rows(entry["bufferView"], _count(entry, "byteOffset", 0), rows)
        else:
            if rows.num > max(FREE_ZEROS, self._num_bytes):
                raise MeshError(f"an accessor of {rows.num} rows has no data", "too_large")
            values = np.zeros((rows.num, rows.columns), dtype)
        if "sparse" in entry:
            values = self._replace_sparse(values, entry["sparse"], rows)
        if entry.get("normalized") and values.dtype.kind in "iu":
            values = np.maximum(values / float(np.iinfo(dtype).max), -1.0)
        return values

    def _view(self, index: Any) -> tuple[bytes, int, int, int]:
        """Find a buffer view: its buffer, start, length and stride (0 if packed)."""
        view = self._item("bufferViews", index)
        buffer_index = view.get("buffer")
        if type(buffer_index) is not int or not 0 <= buffer_index < len(self._buffers):
            raise MeshError(
                f"a view names a buffer that is not among {len(self._buffers)}", "bad_indices"
            )
        content = self._buffers[buffer_index]
        start, length = _count(view, "byteOffset", 0), _count(view, "byteLength")
        if start + length > len(content):
            raise MeshError(
                f"a view ends at byte {start + length} of a buffer of {len(content)}", "cut_off"
            )
        return content, start, length, _count(view, "byteStride", 0)

    def _rows(self, view: Any, offset: int, rows: _Rows) -> Shaped[np.ndarray, "N C"]:
        content, start, length, stride = self._view(view)
        size = rows.dtype.itemsize
        stride = stride or size * rows.columns
        needed = offset + (rows.num - 1) * stride + size * rows.columns if rows.num else 0
        if needed > length:
            raise MeshError(f"{rows.num} rows need {needed} bytes, there are {length}", "cut_off")
        if rows.num == 0:
            return np.zeros((0, rows.columns), rows.dtype)
        return np.ndarray(
            (rows.num, rows.columns),
            rows.dtype,
            buffer=content,
            offset=start + offset,
            strides=(stride, size),
        )

    def _replace_sparse(
        self, values: Shaped[np.ndarray, "N C"], sparse: Json, rows: _Rows
    ) -> Shaped[np.ndarray, "N C"]:
        num = _count(sparse, "count")
        if num > rows.num:
            raise MeshError(f"{num} sparse values for {rows.num} rows", "bad_indices")
        where, what = sparse["indices"], sparse["values"]
        index_rows = _Rows(np.dtype(_DTYPES[where["componentType"]]), 1, num)
        at = self._rows(where["bufferView"], _count(where, "byteOffset", 0), index_rows)[:, 0]
        new = self._rows(
            what["bufferView"], _count(what, "byteOffset", 0), _Rows(rows.dtype, rows.columns, num)
        )
        if num and int(at.max()) >= rows.num:
            raise MeshError("a sparse value lies beyond its accessor", "bad_indices")
        values = values.copy()
        values[at.astype(np.int64)] = new
        return values

    # --- meshes ---

    def _meshes(self, shown: list[int]) -> list[TriangleMesh]:
        """Meshes of the document, read in the order of their textures."""
        modes = (_TRIANGLES, _STRIP, _FAN)
        primitives = [
            [
                p
                for p in _list(self._item("meshes", mesh), "primitives")
                if p.get("mode", _TRIANGLES) in modes
            ]
            for mesh in shown
        ]
        parts: list[list[TriangleMesh | None]] = [[None] * len(group) for group in primitives]
        places = [(i, j) for i, group in enumerate(primitives) for j in range(len(group))]
        places.sort(key=lambda place: self._image_of(primitives[place[0]][place[1]]))
        for i, j in places:
            parts[i][j] = self._primitive(primitives[i][j])
        return [concatenate([part for part in group if part is not None]) for group in parts]

    def _primitive(self, primitive: Json) -> TriangleMesh:
        attributes = primitive["attributes"]
        packed: dict[str, Shaped[np.ndarray, "N C"]] = {}
        if _DRACO in primitive.get("extensions", {}):
            packed = self._unpack_draco(primitive["extensions"][_DRACO])
        position = self._accessor(attributes["POSITION"], packed=packed.get("POSITION"))
        if position.shape[1] != 3:
            raise MeshError(f"positions have {position.shape[1]} coordinates, expected 3")
        if "indices" in primitive:
            corners = self._accessor(primitive["indices"], packed=packed.get("indices"))[:, 0]
        else:
            corners = np.arange(len(position))
        self._num_vertices += len(position)
        self._num_faces += len(corners) // 3
        check_mesh_memory(self._num_vertices, self._num_faces, self._num_bytes)
        faces = _triangles(corners.astype(np.int64), primitive.get("mode", _TRIANGLES))
        if len(faces) and faces.max() >= len(position):
            raise MeshError(
                f"a face names vertex {faces.max()} of the {len(position)} there are", "bad_indices"
            )
        colors = self._colors(primitive, packed, len(position))
        return TriangleMesh.from_arrays(position, faces, colors)

    def _unpack_draco(self, extension: Json) -> dict[str, Shaped[np.ndarray, "N C"]]:
        content, start, length, _ = self._view(extension["bufferView"])
        decoder: Any = import_module("DracoPy")
        decoded = decoder.decode(content[start : start + length])
        names = {number: name for name, number in extension["attributes"].items()}
        unpacked = {
            names[entry["unique_id"]]: np.asarray(entry["data"])
            for entry in decoded.attributes
            if entry["unique_id"] in names
        }
        if "POSITION" not in unpacked:
            raise MeshError("Draco data without positions")
        unpacked["indices"] = np.asarray(decoded.faces).reshape(-1, 1)
        return unpacked

    # --- colours ---

    def _colors(
        self, primitive: Json, packed: Mapping[str, Shaped[np.ndarray, "N C"]], num: int
    ) -> Float64[np.ndarray, "P 4"] | None:
        attributes = primitive["attributes"]
        if "COLOR_0" not in attributes and "material" not in primitive:
            return None
        light = np.ones((num, 4))
        if "COLOR_0" in attributes:
            given = self._accessor(attributes["COLOR_0"], packed=packed.get("COLOR_0"))
            whole = np.iinfo(given.dtype).max if given.dtype.kind in "iu" else 1.0
            light[:, : given.shape[1]] = np.nan_to_num(given / whole).clip(0, 1)
            if self._gltf_colors == "srgb":
                light = display_to_linear(light)
        if "material" in primitive:
            light *= self._material_light(primitive, packed, num)
        return np.rint(255.0 * linear_to_display(light))

    def _material_light(
        self, primitive: Json, packed: Mapping[str, Shaped[np.ndarray, "N C"]], num: int
    ) -> Float64[np.ndarray, "P 4"]:
        """Base colour texture times factor, linear, in [0, 1]; white if there is neither."""
        slot, factor = self._base_color(primitive)
        light = np.tile(np.array(factor, dtype=np.float64).reshape(4).clip(0, 1), (num, 1))
        if slot is not None:
            name = f"TEXCOORD_{_count(slot, 'texCoord', 0)}"
            source = self._source(slot.get("index"))
            image = None if source is None else self._image(self._item("images", source))
            if image is not None and name in primitive["attributes"]:
                uv = self._accessor(primitive["attributes"][name], packed=packed.get(name))
                flipped = np.stack([uv[:, 0], 1.0 - uv[:, 1]], axis=1).astype(np.float64)
                light *= display_to_linear(texture_colors(image, flipped) / 255.0)
        return light

    def _base_color(self, primitive: Json) -> tuple[Json | None, Any]:
        """Slot of the base colour texture, and the factor."""
        material = self._item("materials", primitive["material"])
        gloss = material.get("extensions", {}).get("KHR_materials_pbrSpecularGlossiness", {})
        rough = material.get("pbrMetallicRoughness", {})
        slot = rough.get("baseColorTexture") or gloss.get("diffuseTexture")
        return slot, rough.get("baseColorFactor") or gloss.get("diffuseFactor") or [1.0] * 4

    def _source(self, index: Any) -> Any:
        """Which image a texture has; None if it belongs to an unknown extension."""
        texture = self._item("textures", index)
        webp = texture.get("extensions", {}).get("EXT_texture_webp", {})
        return webp.get("source", texture.get("source"))

    def _image_of(self, primitive: Json) -> tuple[str, int]:
        """What primitives are sorted by, so that each picture is decoded once."""
        slot = self._base_color(primitive)[0] if "material" in primitive else None
        source = None if slot is None else self._source(slot.get("index"))
        if source is None:
            return "", -1
        image = self._item("images", source)
        if "uri" in image:
            return str(image["uri"]), -1
        return "", self._view(image.get("bufferView"))[1]

    def _image(self, image: Json) -> Pixels | None:
        """A decoded picture; None if it is missing or damaged."""
        if "uri" in image:
            return self._pictures.read(image["uri"])
        content, start, length, _ = self._view(image.get("bufferView"))
        return self._pictures.decode(content[start : start + length])


def _triangles(corners: Int64[np.ndarray, " N"], mode: int) -> Int64[np.ndarray, "F 3"]:
    if mode == _TRIANGLES:
        if len(corners) % 3:
            raise MeshError(f"{len(corners)} corners do not make whole triangles", "bad_indices")
        return corners.reshape(-1, 3)
    if len(corners) < 3:
        return np.zeros((0, 3), np.int64)
    first, second, third = corners[:-2], corners[1:-1], corners[2:]
    if mode == _FAN:
        first = np.full_like(second, corners[0])
    else:  # every other triangle of a strip runs the other way round
        odd = np.arange(len(first)) % 2 == 1
        first, second = np.where(odd, second, first), np.where(odd, first, second)
    faces = np.stack([first, second, third], axis=1)
    distinct = (faces != np.roll(faces, 1, axis=1)).all(axis=1)  # strips jump by collapsed ones
    return faces[distinct]
