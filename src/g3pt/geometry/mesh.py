"""Triangle meshes: files, the unit frame and, re-exported, the operations of `geometry.triangles`.

Legend: P vertices, F faces, N points. Unit frame: bounding box centred at 0, longest side 1.9
inside the query cube [-1, 1]^3, +Y up, +Z front, right-handed, outward normals.

Foreign files are read from memory by `geometry.formats.foreign`. Files that they refer to (glTF
buffers, OBJ materials, textures) are read only from the file's own folder and below, never from a
network.
"""

import base64
import json
import logging
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Float64

from g3pt.files import write_together, write_whole
from g3pt.geometry.formats.foreign import (
    MESH_SUFFIXES,
    OnNote,
    known_suffix,
    parse_mesh,
    read_mesh_file,
)
from g3pt.geometry.formats.gltf import glb_chunks
from g3pt.geometry.formats.gltf_write import encode_draco, encode_textured, linear_colors
from g3pt.geometry.formats.limits import FolderCompanions
from g3pt.geometry.formats.obj_write import encode_obj, library_name, picture_name
from g3pt.geometry.formats.threemf_write import encode_3mf
from g3pt.geometry.formats.usdz import encode_usdz
from g3pt.geometry.texture import Texture, check_texture
from g3pt.geometry.triangles import (
    NEUTRAL_GREY,
    UNIT_LONGEST_SIDE,
    Compression,
    GltfColors,
    MeshError,
    TriangleMesh,
    area_vectors,
    concatenate,
    face_areas,
    face_components,
    face_normals,
    has_manifold_edges,
    is_closed,
    keep_faces,
    largest_components,
    merge_vertices,
    num_components,
    vertex_normals,
    volume,
)

__all__ = [
    "MAX_FLOAT_STEP",
    "MESH_SUFFIXES",
    "NEUTRAL_GREY",
    "SMALLEST_EXTENT",
    "UNIT_LONGEST_SIDE",
    "WRITE_SUFFIXES",
    "Compression",
    "GltfColors",
    "MeshError",
    "OnNote",
    "TriangleMesh",
    "UnitFrame",
    "area_vectors",
    "check_compression",
    "concatenate",
    "face_areas",
    "face_components",
    "face_normals",
    "float_step",
    "has_manifold_edges",
    "is_closed",
    "keep_faces",
    "largest_components",
    "merge_vertices",
    "num_components",
    "parse_mesh",
    "read_mesh",
    "tell_rounding",
    "to_source",
    "to_unit",
    "unit_frame_of",
    "vertex_normals",
    "volume",
    "write_mesh",
]

_trimesh: Any = trimesh  # its own annotations are partial
_UNSIGNED_SHORT = 5123

WRITE_SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl", ".off", ".3mf", ".usdz")
"""Formats that are written, USDZ with the extra `usd`; `MESH_SUFFIXES` are those that are read."""

FLOAT32_SUFFIXES = (".glb", ".gltf", ".ply", ".stl", ".3mf", ".usdz")
"""Formats among them that store 32-bit floats."""

MAX_FLOAT_STEP = 5e-4
"""Rounding by 32-bit floats, as a share of the longest side, from which on `tell_rounding` warns: a
fifth of the finest noise (0.005 of the unit frame) that a tokenizer is trained with."""

SMALLEST_EXTENT = 1e-30
"""What is smaller has no unit frame."""

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class UnitFrame:
    """Where the unit frame lies in source space: `unit = (source - offset) * scale`."""

    scale: float
    offset: tuple[float, float, float]

    def to_unit(self, points: Float64[np.ndarray, "N 3"]) -> Float64[np.ndarray, "N 3"]:
        """Move points from source space into the unit frame."""
        return (points - np.array(self.offset)) * self.scale

    def to_source(self, points: Float64[np.ndarray, "N 3"]) -> Float64[np.ndarray, "N 3"]:
        """Move points from the unit frame back into source space."""
        return points / self.scale + np.array(self.offset)


def unit_frame_of(mesh: TriangleMesh) -> UnitFrame:
    """Find the unit frame of a mesh: bounding box centred, longest side 1.9.

    Raises:
        MeshError: if the mesh has no faces or no extent.
    """
    lowest, highest = mesh.bounds()
    with np.errstate(over="ignore", invalid="ignore"):  # infinite and NaN values are refused below
        extent = float((highest - lowest).max())
    if not np.isfinite(extent) or extent <= SMALLEST_EXTENT:
        message = f"the mesh has extent {extent:g}, expected a finite, positive size"
        raise MeshError(message, "no_extent")
    x, y, z = ((lowest + highest) / 2).tolist()
    return UnitFrame(scale=UNIT_LONGEST_SIDE / extent, offset=(x, y, z))


def float_step(mesh: TriangleMesh) -> float:
    """How coarsely 32-bit floats represent the vertices of a mesh at its position.

    Returns:
        The largest spacing of floats there, as a share of the mesh's longest side; 0 for a mesh
        without extent.

    Raises:
        MeshError: if the mesh has no faces.
    """
    bounds = mesh.bounds()
    extent = float((bounds[1] - bounds[0]).max())
    _, exponent = math.frexp(float(np.abs(bounds).max()))
    return math.ldexp(1.0, exponent - 24) / extent if extent > 0 else 0.0


def tell_rounding(path: str | os.PathLike[str], mesh: TriangleMesh) -> None:
    """Warn when a mesh lies so far from the origin that a file of 32-bit floats rounds its surface.

    Args:
        path: the file to write; its suffix tells the format.
        mesh: the mesh to write.
    """
    holds_float32 = Path(path).suffix.lower() in FLOAT32_SUFFIXES
    if holds_float32 and (step := float_step(mesh)) > MAX_FLOAT_STEP:
        LOGGER.warning(
            "%s: lies so far from the origin that the file's 32-bit floats round its vertices to "
            "steps of %.2g times its longest side; written near the origin it keeps its shape",
            path,
            step,
        )


def to_unit(mesh: TriangleMesh, frame: UnitFrame) -> TriangleMesh:
    """Move a mesh from source space into the unit frame."""
    return replace(mesh, vertices=frame.to_unit(mesh.vertices))


def to_source(mesh: TriangleMesh, frame: UnitFrame) -> TriangleMesh:
    """Move a mesh from the unit frame back into source space."""
    return replace(mesh, vertices=frame.to_source(mesh.vertices))


def read_mesh(path: str | os.PathLike[str], *, gltf_colors: GltfColors = "linear") -> TriangleMesh:
    """Read a file of `MESH_SUFFIXES` as one mesh in source space (see `parse_mesh`).

    Args:
        path: the file.
        gltf_colors: what COLOR_0 of a GLB or glTF file holds.

    Raises:
        MeshError: if the file is missing, no regular file, too large, cut off, of another kind,
            without faces, with vertices that are not finite, or refers to something outside its
            folder; `code` says which.
    """
    path = Path(path)
    try:
        suffix = known_suffix(path.suffix)
    except MeshError as error:
        raise MeshError(f"{path}: {error}", error.code) from None
    data = read_mesh_file(path, suffix)
    return parse_mesh(
        data,
        suffix,
        name=str(path),
        companions=FolderCompanions(path),
        gltf_colors=gltf_colors,
    )


def write_mesh(
    path: str | os.PathLike[str],
    mesh: TriangleMesh,
    *,
    compress: Compression | None = None,
    texture: Texture | None = None,
) -> None:
    """Write a mesh in the format of the file's suffix; the file appears complete or not at all.

    The numbers of the vertices are written as they are; 3MF takes them as millimetres, and USDZ as
    metres. GLB, glTF and USDZ carry vertex normals; all formats but STL carry the colours. GLB and
    glTF hold them as linear light of 16 bits, as glTF 2.0 asks, USDZ as linear light too; the
    others hold sRGB display values. A warning says when a mesh lies so far from the origin that the
    format rounds its surface.

    Args:
        path: the file.
        mesh: what to write.
        compress: how a GLB file is compressed; positions and normals are rounded.
        texture: of this mesh (`geometry.baking`); it takes the place of vertex colours. An OBJ file
            gets NAME.mtl and NAME-texture.png beside it.

    Raises:
        ValueError: if the format is not compressed in this way, or carries no texture.
        MeshError: if the suffix is unknown, the folder is missing or the mesh is empty.
        ImportError: naming the extra, if what compresses is not installed.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in WRITE_SUFFIXES:
        known = ", ".join(WRITE_SUFFIXES)
        raise MeshError(f"{path}: unknown mesh format, expected one of {known}", "unknown_format")
    if mesh.is_empty:
        raise MeshError(f"{path}: the mesh to write has no faces", "no_triangles")
    if not path.parent.is_dir():
        raise MeshError(f"{path}: folder {path.parent} does not exist", "missing")
    check_compression(suffix, compress)
    check_texture(suffix, None if texture is None else len(texture.image))
    tell_rounding(path, mesh)
    if texture is not None and suffix == ".obj":
        files = encode_obj(mesh, texture, path.stem)
        picture, library = picture_name(path.stem), library_name(path.stem)
        write_together(
            {
                path.with_name(picture): files.picture,
                path.with_name(library): files.library,
                path: files.mesh,
            }
        )
    elif compress:
        write_whole(path, encode_draco(mesh, texture))
    else:
        write_whole(path, _encoded(mesh, suffix[1:], texture))


def check_compression(suffix: str, compress: Compression | None) -> None:
    """Refuse compression of formats that have none.

    Raises:
        ValueError: the message begins with `compress` and says what to do.
    """
    if compress is not None and suffix != ".glb":
        raise ValueError(f"compress is {compress}, which {suffix} files do not have: write .glb")


def _encoded(mesh: TriangleMesh, kind: str, texture: Texture | None) -> bytes:
    if kind == "3mf":
        return encode_3mf(mesh)
    if kind == "usdz":
        return encode_usdz(mesh, texture)
    if texture is not None:
        data = encode_textured(mesh, texture)
        return data if kind == "glb" else _as_gltf(data)
    body: Any = _trimesh.Trimesh(
        mesh.vertices, mesh.faces, vertex_colors=mesh.colors, process=False, validate=False
    )
    if kind in ("glb", "gltf"):
        body.vertex_normals = vertex_normals(mesh)
        data = body.export(
            file_type="glb", include_normals=True, buffer_postprocessor=_store_linear_colors
        )
        return data if kind == "glb" else _as_gltf(data)
    content: Any = body.export(file_type=kind)
    return content if isinstance(content, bytes) else content.encode()


def _store_linear_colors(buffers: dict[Any, bytes], document: dict[str, Any]) -> None:
    """Replace the display values that trimesh writes to COLOR_0 by those that glTF 2.0 asks for."""
    for accessor in document["accessors"].values():
        if accessor["type"] != "VEC4":  # nothing but colours has four columns
            continue
        key = list(buffers)[accessor["bufferView"]]
        bytes_P4 = np.frombuffer(buffers[key], np.uint8, 4 * accessor["count"]).reshape(-1, 4)
        stored_P4 = linear_colors(bytes_P4)
        buffers[key] = stored_P4.tobytes()
        accessor["componentType"] = _UNSIGNED_SHORT
        accessor["min"] = stored_P4.min(axis=0).tolist()
        accessor["max"] = stored_P4.max(axis=0).tolist()


def _as_gltf(data: bytes) -> bytes:
    """Turn a GLB file into glTF JSON with its buffer embedded."""
    text, binary = glb_chunks(data)
    document = json.loads(text)
    packed = base64.b64encode(binary or b"").decode()
    document["buffers"][0]["uri"] = f"data:application/octet-stream;base64,{packed}"
    return json.dumps(document).encode()
