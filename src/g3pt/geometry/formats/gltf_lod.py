"""A chain of levels of detail as one GLB file (glTF 2.0 with MSFT_lod and MSFT_screencoverage).

The scene shows the finest level; its node names the others, finest first. Who does not know the
extension sees the finest level alone. Legend: P vertices, F faces.
"""

import json
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Shaped

from g3pt.geometry.lod import Level
from g3pt.geometry.mesh import vertex_normals

_FLOAT, _UNSIGNED = 5126, 5125
_VERTICES, _INDICES = 34962, 34963


def encode_levels(levels: Sequence[Level]) -> bytes:
    """The bytes of a GLB file, finest level first; errors stand in the extras of each node."""
    binary = bytearray()
    views: list[dict[str, Any]] = []
    accessors: list[dict[str, Any]] = []

    def store(rows: Shaped[np.ndarray, "_ C"], target: int, kind: str) -> int:
        data = np.ascontiguousarray(rows).tobytes()
        views.append(
            {"buffer": 0, "byteOffset": len(binary), "byteLength": len(data), "target": target}
        )
        binary.extend(data)  # 4-byte numbers throughout, so every view is aligned
        component = _FLOAT if rows.dtype.kind == "f" else _UNSIGNED
        accessor: dict[str, Any] = {
            "bufferView": len(views) - 1,
            "componentType": component,
            "type": kind,
        }
        accessor |= {"count": len(rows) if kind == "VEC3" else rows.size}
        if kind == "VEC3":
            accessor |= {"min": rows.min(axis=0).tolist(), "max": rows.max(axis=0).tolist()}
        accessors.append(accessor)
        return len(accessors) - 1

    meshes: list[dict[str, Any]] = []
    for level in levels:
        attributes = {
            "POSITION": store(level.mesh.vertices.astype("<f4"), _VERTICES, "VEC3"),
            "NORMAL": store(vertex_normals(level.mesh).astype("<f4"), _VERTICES, "VEC3"),
        }
        indices = store(level.mesh.faces.astype("<u4"), _INDICES, "SCALAR")
        meshes.append({"primitives": [{"attributes": attributes, "indices": indices}]})
    document: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "g3pt"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": _nodes(levels),
        "meshes": meshes,
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": len(binary)}],
    }
    if len(levels) > 1:
        document["extensionsUsed"] = ["MSFT_lod"]
    return _glb(document, bytes(binary))


def _nodes(levels: Sequence[Level]) -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = [
        {
            "name": f"level{number}",
            "mesh": number,
            "extras": {
                "error_mean": level.error_mean,
                "error_max": level.error_max,
                "faces": len(level.mesh.faces),
            },
        }
        for number, level in enumerate(levels)
    ]
    if len(levels) > 1:
        nodes[0]["extensions"] = {"MSFT_lod": {"ids": list(range(1, len(levels)))}}
        nodes[0]["extras"]["MSFT_screencoverage"] = [level.coverage for level in levels]
    return nodes


def _glb(document: dict[str, Any], binary: bytes) -> bytes:
    """Header, JSON chunk padded with spaces, binary chunk padded with zeros."""
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
