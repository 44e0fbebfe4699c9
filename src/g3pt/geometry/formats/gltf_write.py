"""GLB files that are assembled here: the container, and meshes compressed with Draco.

Sources: glTF 2.0, 4.4; KHR_draco_mesh_compression. Legend: P vertices, C columns of an attribute.
"""

import json
import struct
from importlib import import_module
from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt8, UInt16

from g3pt.geometry.formats.textures import display_to_linear
from g3pt.geometry.triangles import (
    MeshError,
    TriangleMesh,
    vertex_normals,
    without_collapsed_faces,
)

POSITION_BITS = 14
"""Positions are rounded to 1/16384 of the longest side: .006 mm of 100."""

NORMAL_BITS = 10

_FLOAT, _UNSIGNED, _UNSIGNED_SHORT = 5126, 5125, 5123
_DRACO = "KHR_draco_mesh_compression"


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


def encode_draco(mesh: TriangleMesh) -> bytes:
    """Encode a mesh with normals and colours as a GLB file compressed with Draco.

    Positions and normals are rounded (`POSITION_BITS`, `NORMAL_BITS`), colours are not, and the
    order of vertices and faces changes. Vertices that fall together by the rounding stay apart by
    index, so a closed mesh stays closed. Faces that collapse when vertices at the same position are
    merged are left out, as Draco merges them.

    Raises:
        MeshError: if the encoder dropped other faces.
        ImportError: naming the extra, if DracoPy is not installed.
    """
    draco = _draco()
    mesh = without_collapsed_faces(mesh)
    colors_P4 = None if mesh.colors is None else linear_colors(mesh.colors)
    data: bytes = draco.encode(
        mesh.vertices,
        mesh.faces.astype(np.uint32),
        quantization_bits=POSITION_BITS,
        compression_level=7,
        normals=vertex_normals(mesh),
        normal_quantization_bits=NORMAL_BITS,
        generic_attributes=None if colors_P4 is None else {0: colors_P4},
    )
    decoded: Any = draco.decode(data)  # ids and counts are the encoder's to say
    if len(decoded.faces) != len(mesh.faces):
        raise MeshError(f"Draco kept {len(decoded.faces)} of {len(mesh.faces)} faces")
    names = {0: "POSITION", 1: "NORMAL", 4: "COLOR_0"}  # Draco's kinds: position, normal, generic
    accessors: list[dict[str, Any]] = []
    attributes: dict[str, int] = {}
    unique: dict[str, int] = {}
    for entry in sorted(decoded.attributes, key=lambda entry: entry["attribute_type"]):
        name = names[entry["attribute_type"]]
        attributes[name], unique[name] = len(accessors), entry["unique_id"]
        accessors.append(_accessor(name, np.asarray(entry["data"])))
    indices = {"componentType": _UNSIGNED, "type": "SCALAR", "count": 3 * len(mesh.faces)}
    packed = {"bufferView": 0, "attributes": unique}
    primitive = {
        "attributes": attributes,
        "indices": len(accessors),
        "extensions": {_DRACO: packed},
    }
    document: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "g3pt"},
        "extensionsUsed": [_DRACO],
        "extensionsRequired": [_DRACO],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [primitive]}],
        "accessors": [*accessors, indices],
        "bufferViews": [{"buffer": 0, "byteLength": len(data)}],
        "buffers": [{"byteLength": len(data)}],
    }
    return pack_glb(document, data)


def _accessor(name: str, rows: Shaped[np.ndarray, "P C"]) -> dict[str, Any]:
    """Describe an attribute as it is after unpacking."""
    if name == "COLOR_0":
        return {
            "componentType": _UNSIGNED_SHORT,
            "normalized": True,
            "type": "VEC4",
            "count": len(rows),
        }
    accessor: dict[str, Any] = {"componentType": _FLOAT, "type": "VEC3", "count": len(rows)}
    if name == "POSITION":
        accessor |= {"min": rows.min(axis=0).tolist(), "max": rows.max(axis=0).tolist()}
    return accessor


def _draco() -> Any:
    try:
        return import_module("DracoPy")
    except ImportError:
        raise ImportError("Draco files need DracoPy: pip install g3pt[export]") from None
