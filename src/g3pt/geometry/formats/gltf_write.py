"""GLB files that are assembled here: the container, textured meshes, and Draco compression.

Sources: glTF 2.0, 3.6 to 3.9 and 4.4; KHR_draco_mesh_compression.
Legend: P vertices, C columns of an attribute.
"""

import json
import struct
from importlib import import_module
from typing import Any

import numpy as np
from jaxtyping import Float64, Shaped, UInt8, UInt16

from g3pt.geometry.formats.textures import display_to_linear
from g3pt.geometry.texture import Texture
from g3pt.geometry.triangles import (
    MeshError,
    TriangleMesh,
    vertex_normals,
    without_collapsed_faces,
)

POSITION_BITS = 14
"""Positions are rounded to 1/16384 of the longest side: .006 mm of 100."""

NORMAL_BITS = 10

TEXTURE_BITS = 14
"""Texture coordinates are rounded to 1/16384 of the side of the texture."""

ROUGHNESS = 0.6
"""Of textured surfaces, as in USDZ files; metallic they are not."""

VERTICES, INDICES = 34962, 34963
"""What a buffer view is for: ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER."""

_FLOAT, _UNSIGNED, _UNSIGNED_SHORT = 5126, 5125, 5123
_COMPONENTS = {"<f4": _FLOAT, "<u4": _UNSIGNED, "<u2": _UNSIGNED_SHORT}
_DRACO = "KHR_draco_mesh_compression"


class GlbBuffer:
    """The binary part of a GLB file, and what describes it."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.binary = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def add_rows(self, rows: Shaped[np.ndarray, "_ *C"], target: int, kind: str) -> int:
        """Add an accessor of rows of four bytes or more, and return its number.

        Args:
            rows: little-endian 32-bit floats, or integers of 16 bits (shares of 65535) or 32.
            target: `VERTICES` or `INDICES`.
            kind: `SCALAR`, `VEC2` and so on; VEC3 gets its bounds.
        """
        view = self.add_bytes(np.ascontiguousarray(rows).tobytes(), target=target)
        component = _COMPONENTS[rows.dtype.str]
        accessor: dict[str, Any] = {"bufferView": view, "componentType": component, "type": kind}
        accessor |= {"count": rows.size if kind == "SCALAR" else len(rows)}
        if component == _UNSIGNED_SHORT:
            accessor["normalized"] = True
        if kind == "VEC3":
            accessor |= {"min": rows.min(axis=0).tolist(), "max": rows.max(axis=0).tolist()}
        self.accessors.append(accessor)
        return len(self.accessors) - 1

    def add_bytes(self, data: bytes, **described: Any) -> int:
        """Add a buffer view, aligned to four bytes, and return its number."""
        self.binary += bytes(-len(self.binary) % 4)
        view = {"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(data)}
        self.views.append(view | described)
        self.binary += data
        return len(self.views) - 1

    def packed(self, document: dict[str, Any]) -> bytes:
        """The GLB file of a document that refers to what was added."""
        described = {
            "accessors": self.accessors,
            "bufferViews": self.views,
            "buffers": [{"byteLength": len(self.binary)}],
        }
        return pack_glb(document | described, bytes(self.binary))


def pack_glb(document: dict[str, Any], binary: bytes) -> bytes:
    """A GLB file: header, JSON chunk padded with spaces, binary chunk padded with zeros."""
    text = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    binary += b"\0" * (-len(binary) % 4)
    length = 12 + 8 + len(text) + 8 + len(binary)
    parts = [
        struct.pack("<4sII", b"glTF", 2, length),
        struct.pack("<I4s", len(text), b"JSON"),
        text,
        struct.pack("<I4s", len(binary), b"BIN\0"),
        binary,
    ]
    return b"".join(parts)


def linear_colors(display_P4: UInt8[np.ndarray, "P 4"]) -> UInt16[np.ndarray, "P 4"]:
    """Turn display values to linear light, as glTF 2.0 asks for in COLOR_0.

    Sixteen bits are used, since eight would merge dark colours, which lie closer in linear light.
    """
    return np.rint(65535 * display_to_linear(display_P4 / 255.0)).astype("<u2")


def encode_textured(mesh: TriangleMesh, texture: Texture) -> bytes:
    """Encode a mesh with normals and a texture as a GLB file; vertices on seams occur twice."""
    buffer = GlbBuffer()
    split = _split(mesh, texture)
    attributes = {
        "POSITION": buffer.add_rows(split.vertices.astype("<f4"), VERTICES, "VEC3"),
        "NORMAL": buffer.add_rows(_normals(mesh, texture).astype("<f4"), VERTICES, "VEC3"),
        "TEXCOORD_0": buffer.add_rows(_uvs(texture).astype("<f4"), VERTICES, "VEC2"),
    }
    indices = buffer.add_rows(split.faces.astype("<u4"), INDICES, "SCALAR")
    primitive = {"attributes": attributes, "indices": indices, "material": 0}
    shown = _material(buffer.add_bytes(texture.png()))
    return buffer.packed(_document(primitive) | shown)


def _split(mesh: TriangleMesh, texture: Texture) -> TriangleMesh:
    """The mesh with a vertex for each texture coordinate."""
    return TriangleMesh(mesh.vertices[texture.vertices_of(mesh)], texture.corners_F3)


def _normals(mesh: TriangleMesh, texture: Texture) -> Float64[np.ndarray, "P 3"]:
    """Normals of the mesh before it was split: those on both sides of a seam are equal."""
    return vertex_normals(mesh)[texture.vertices_of(mesh)]


def _uvs(texture: Texture) -> Float64[np.ndarray, "P 2"]:
    """Texture coordinates from the upper left corner, as in glTF."""
    return texture.uvs_U2 * [1, -1] + [0, 1]


def _material(view: int) -> dict[str, Any]:
    """A matt material with the picture in a buffer view."""
    surface = {
        "baseColorTexture": {"index": 0},
        "metallicFactor": 0.0,
        "roughnessFactor": ROUGHNESS,
    }
    return {
        "materials": [{"name": "texture", "pbrMetallicRoughness": surface}],
        "textures": [{"sampler": 0, "source": 0}],
        "samplers": [{"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071}],
        "images": [{"bufferView": view, "mimeType": "image/png"}],
    }


def _document(primitive: dict[str, Any]) -> dict[str, Any]:
    """A scene of one mesh."""
    return {
        "asset": {"version": "2.0", "generator": "g3pt"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [primitive]}],
    }


def encode_draco(mesh: TriangleMesh, texture: Texture | None = None) -> bytes:
    """Encode a mesh with normals and colours or a texture as a GLB file compressed with Draco.

    Positions, normals and texture coordinates are rounded (`POSITION_BITS`, `NORMAL_BITS`,
    `TEXTURE_BITS`), colours are not, and the order of vertices and faces changes. Vertices that
    fall together by the rounding stay apart by index, so a closed mesh stays closed. Faces that
    collapse when vertices at the same position are merged are left out, as Draco merges them.

    Raises:
        MeshError: if the encoder dropped other faces, or such faces of a textured mesh.
        ImportError: naming the extra, if DracoPy is not installed.
    """
    draco = _draco()
    if texture is None:
        mesh = without_collapsed_faces(mesh)
        normals_P3 = vertex_normals(mesh)
    else:
        normals_P3 = _normals(mesh, texture)
        mesh = _split(mesh, texture)
    colors_P4 = None if mesh.colors is None else linear_colors(mesh.colors)
    data: bytes = draco.encode(
        mesh.vertices,
        mesh.faces.astype(np.uint32),
        quantization_bits=POSITION_BITS,
        compression_level=7,
        normals=normals_P3,
        normal_quantization_bits=NORMAL_BITS,
        tex_coord=None if texture is None else _uvs(texture),
        tex_coord_quantization_bits=TEXTURE_BITS,
        generic_attributes=None if colors_P4 is None else {0: colors_P4},
    )
    decoded: Any = draco.decode(data)  # ids and counts are the encoder's to say
    if len(decoded.faces) != len(mesh.faces):
        raise MeshError(
            f"Draco kept {len(decoded.faces)} of {len(mesh.faces)} faces, it drops those that have "
            "two corners in one place: write the mesh without compression"
        )
    # Draco's kinds: position, normal, texture coordinate, generic
    names = {0: "POSITION", 1: "NORMAL", 3: "TEXCOORD_0", 4: "COLOR_0"}
    accessors: list[dict[str, Any]] = []
    attributes: dict[str, int] = {}
    unique: dict[str, int] = {}
    for entry in sorted(decoded.attributes, key=lambda entry: entry["attribute_type"]):
        name = names[entry["attribute_type"]]
        attributes[name], unique[name] = len(accessors), entry["unique_id"]
        accessors.append(_accessor(name, np.asarray(entry["data"])))
    indices = {"componentType": _UNSIGNED, "type": "SCALAR", "count": 3 * len(mesh.faces)}
    buffer = GlbBuffer()
    buffer.accessors = [*accessors, indices]
    packed = {"bufferView": buffer.add_bytes(data), "attributes": unique}
    primitive = {
        "attributes": attributes,
        "indices": len(accessors),
        "extensions": {_DRACO: packed},
    }
    document = _document(primitive)
    document |= {"extensionsUsed": [_DRACO], "extensionsRequired": [_DRACO]}
    if texture is not None:
        primitive["material"] = 0
        document |= _material(buffer.add_bytes(texture.png()))
    return buffer.packed(document)


def _accessor(name: str, rows: Shaped[np.ndarray, "P C"]) -> dict[str, Any]:
    """Describe an attribute as it is after unpacking."""
    if name == "COLOR_0":
        return {
            "componentType": _UNSIGNED_SHORT,
            "normalized": True,
            "type": "VEC4",
            "count": len(rows),
        }
    kind = f"VEC{rows.shape[1]}"
    accessor: dict[str, Any] = {"componentType": _FLOAT, "type": kind, "count": len(rows)}
    if name == "POSITION":
        accessor |= {"min": rows.min(axis=0).tolist(), "max": rows.max(axis=0).tolist()}
    return accessor


def _draco() -> Any:
    try:
        return import_module("DracoPy")
    except ImportError:
        raise ImportError("Draco files need DracoPy: pip install g3pt[export]") from None
