"""Triangle meshes: files, the unit frame and, from `geometry.triangles`, all about their faces.

Legend: P vertices, F faces, N points. Unit frame: bounding box centred at 0, longest side 1.9
inside the query cube [-1, 1]^3, +Y up, +Z front, right-handed, outward normals.

Foreign files are parsed by trimesh from memory. What they refer to (glTF buffers, OBJ materials,
textures) is read only from the file's own folder and below; nothing ever reaches the network.
"""

import json
import os
import tempfile
from dataclasses import dataclass, replace
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

import numpy as np
import trimesh
from jaxtyping import Float64, UInt8
from trimesh.resolvers import Resolver

from g3pt.geometry.triangles import (
    NEUTRAL_GREY,
    MeshError,
    TriangleMesh,
    area_vectors,
    concatenate,
    face_areas,
    face_components,
    face_normals,
    is_closed,
    keep_faces,
    largest_components,
    merge_vertices,
    num_components,
    vertex_normals,
    volume,
)

__all__ = [
    "MESH_SUFFIXES",
    "NEUTRAL_GREY",
    "UNIT_LONGEST_SIDE",
    "MeshError",
    "TriangleMesh",
    "UnitFrame",
    "area_vectors",
    "concatenate",
    "face_areas",
    "face_components",
    "face_normals",
    "is_closed",
    "keep_faces",
    "largest_components",
    "merge_vertices",
    "num_components",
    "read_mesh",
    "to_source",
    "to_unit",
    "unit_frame_of",
    "vertex_normals",
    "volume",
    "write_mesh",
]

_trimesh: Any = trimesh  # its own annotations are partial
_color: Any = _trimesh.visual.color

MESH_SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl", ".off")
"""Formats that are read and written."""

UNIT_LONGEST_SIDE = 1.9
"""Longest side of an object's bounding box in the unit frame."""


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
    extent = float((highest - lowest).max())
    if not np.isfinite(extent) or extent <= 1e-30:
        raise MeshError(f"the mesh has extent {extent:g}, expected a finite, positive size")
    x, y, z = ((lowest + highest) / 2).tolist()
    return UnitFrame(scale=UNIT_LONGEST_SIDE / extent, offset=(x, y, z))


def to_unit(mesh: TriangleMesh, frame: UnitFrame) -> TriangleMesh:
    """Move a mesh from source space into the unit frame."""
    return replace(mesh, vertices=frame.to_unit(mesh.vertices))


def to_source(mesh: TriangleMesh, frame: UnitFrame) -> TriangleMesh:
    """Move a mesh from the unit frame back into source space."""
    return replace(mesh, vertices=frame.to_source(mesh.vertices))


def read_mesh(path: str | os.PathLike[str]) -> TriangleMesh:
    """Read a GLB, glTF, OBJ, PLY, STL or OFF file as one mesh in source space.

    All parts of a scene are placed by their transforms and joined. Vertices stay as the file has
    them (see `merge_vertices`). Colours come from the vertices (the bytes of COLOR_0 as they are),
    else from the material's texture or base colour; None if the file has neither.

    Raises:
        MeshError: if the file is missing, cut off, of another kind, without faces, with vertices
            that are not finite, or refers to something outside its folder.
    """
    path = Path(path)
    suffix = _known_suffix(path)
    if not path.is_file():
        raise MeshError(f"{path}: no such file")
    data = path.read_bytes()
    if suffix == ".glb":
        _check_glb_length(path, data)
    if suffix in (".glb", ".gltf"):
        _check_compression(path, data)
    resolver = _FolderResolver(path)
    mesh = concatenate([])
    try:
        with np.errstate(all="ignore"):  # values that are not finite get their own message
            scene = _trimesh.load_scene(
                BytesIO(data), file_type=suffix[1:], resolver=resolver, process=False
            )
            mesh = concatenate(_placed_parts(scene))
    except Exception as error:  # whatever a foreign file makes the parser do
        if resolver.refusal is None:
            reason = " ".join(str(error).split()) or type(error).__name__
            message = f"{path}: not a readable {suffix[1:].upper()} file ({reason})"
            raise MeshError(message) from error
    if resolver.refusal is not None:
        raise MeshError(resolver.refusal)
    _check_usable(path, mesh)
    return mesh


def write_mesh(path: str | os.PathLike[str], mesh: TriangleMesh) -> None:
    """Write a mesh in the format of the file's suffix; the file appears complete or not at all.

    GLB and glTF carry vertex normals; GLB, glTF, PLY, OBJ and OFF carry the colours.

    Raises:
        MeshError: if the suffix is unknown, the folder is missing or the mesh is empty.
    """
    path = Path(path)
    suffix = _known_suffix(path)
    if mesh.is_empty:
        raise MeshError(f"{path}: the mesh to write has no faces")
    if not path.parent.is_dir():
        raise MeshError(f"{path}: folder {path.parent} does not exist")
    content = _encoded(mesh, suffix[1:])
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=suffix)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes files private
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _known_suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in MESH_SUFFIXES:
        raise MeshError(f"{path}: unknown mesh format, expected one of {', '.join(MESH_SUFFIXES)}")
    return suffix


def _umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value


def _check_glb_length(path: Path, data: bytes) -> None:
    """Refuse a file shorter than its header says, which a parser would meet somewhere odd."""
    if data[:4] != b"glTF":
        raise MeshError(f"{path}: not a GLB file, it does not begin with the letters glTF")
    announced = int.from_bytes(data[8:12], "little")
    if len(data) < max(announced, 20):
        raise MeshError(f"{path}: cut off, {len(data)} bytes of the {announced} its header says")


def _check_compression(path: Path, data: bytes) -> None:
    """Refuse packed vertices that cannot be unpacked here; trimesh would read them as zeros."""
    is_binary = data[:4] == b"glTF"
    header = data[20 : 20 + int.from_bytes(data[12:16], "little")] if is_binary else data
    if b'"EXT_meshopt_compression"' in header:
        raise MeshError(f"{path}: compressed with meshopt, which is not supported; unpack it first")
    if b'"KHR_draco_mesh_compression"' in header and find_spec("DracoPy") is None:
        raise MeshError(f"{path}: compressed with Draco, install DracoPy to read it")


def _check_usable(path: Path, mesh: TriangleMesh) -> None:
    if mesh.is_empty:
        raise MeshError(f"{path}: empty, no triangles found in it")
    if mesh.faces.min() < 0 or mesh.faces.max() >= len(mesh.vertices):
        raise MeshError(f"{path}: a face names a vertex beyond the {len(mesh.vertices)} there are")
    broken = int((~np.isfinite(mesh.vertices)).any(axis=1).sum())
    if broken:
        raise MeshError(
            f"{path}: {broken} of {len(mesh.vertices)} vertices have NaN or infinite coordinates"
        )


class _FolderResolver(Resolver):
    """Reads companion files from one folder and below; remembers the first refusal."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = path.parent.resolve()
        self.refusal: str | None = None

    def get(self, key: str) -> bytes:
        name = unquote(str(key)).replace("\\", "/")
        if "://" in name or name.startswith("data:"):
            self._refuse(f"{self.path}: refers to {name[:80]!r}, only files beside it are read")
        target = (self.folder / PurePosixPath(name)).resolve()
        if not target.is_relative_to(self.folder):
            self._refuse(f"{self.path}: refers to {name[:80]!r}, which is outside its folder")
        return target.read_bytes()

    def _refuse(self, message: str) -> None:
        self.refusal = self.refusal or message
        raise MeshError(message)

    def keys(self) -> list[str]:
        return []

    def write(self, name: str, data: bytes) -> None:
        raise NotImplementedError("companion files are only read")

    def namespaced(self, namespace: str) -> "_FolderResolver":
        return self


def _placed_parts(scene: Any) -> list[TriangleMesh]:
    """Bring every triangle part of a trimesh scene into the scene's frame."""
    parts: list[TriangleMesh] = []
    for node in scene.graph.nodes_geometry:
        transform, name = scene.graph[node]
        geometry = scene.geometry[name]
        if not isinstance(geometry, trimesh.Trimesh) or len(geometry.faces) == 0:
            continue
        vertices = np.array(geometry.vertices, dtype=np.float64)
        placed = vertices @ transform[:3, :3].T + transform[:3, 3]
        faces = np.array(geometry.faces, dtype=np.int64)
        if np.linalg.det(transform[:3, :3]) < 0:  # a mirror turns faces inside out
            faces = faces[:, ::-1].copy()
        parts.append(TriangleMesh(placed, faces, _vertex_colors(geometry)))
    return parts


def _vertex_colors(geometry: Any) -> UInt8[np.ndarray, "P 4"] | None:
    visual: Any = geometry.visual
    num = len(geometry.vertices)
    if visual.kind in ("vertex", "face"):
        return np.array(visual.vertex_colors, dtype=np.uint8).reshape(num, 4)
    if visual.kind != "texture":
        return None
    colors = np.full((num, 4), 255.0)
    given = visual.vertex_attributes.get("color")
    texture = getattr(visual.material, "baseColorTexture", None)
    texture = texture or getattr(visual.material, "image", None)
    factor = getattr(visual.material, "baseColorFactor", None)
    if given is not None:
        colors = _color.to_rgba(given).astype(np.float64)
    elif texture is not None and visual.uv is not None:
        colors = _color.uv_to_color(visual.uv, texture).astype(np.float64)
    elif factor is None:
        colors[:] = visual.material.main_color
    if factor is not None:
        colors *= _linear_to_display(_color.to_rgba(factor) / 255.0)
    return np.rint(colors).clip(0, 255).astype(np.uint8)


def _linear_to_display(rgba: Float64[np.ndarray, " 4"]) -> Float64[np.ndarray, " 4"]:
    """Turn a glTF colour factor, which is linear light, into sRGB display values."""
    curve = np.where(rgba <= 0.0031308, 12.92 * rgba, 1.055 * rgba ** (1 / 2.4) - 0.055)
    return np.append(curve[:3], rgba[3])


def _encoded(mesh: TriangleMesh, kind: str) -> bytes:
    body: Any = _trimesh.Trimesh(
        mesh.vertices, mesh.faces, vertex_colors=mesh.colors, process=False, validate=False
    )
    if kind in ("glb", "gltf"):
        body.vertex_normals = vertex_normals(mesh)
        if kind == "glb":
            return body.export(file_type="glb", include_normals=True)
        files = _trimesh.Scene(body).export(
            file_type="gltf", include_normals=True, embed_buffers=True
        )
        return json.dumps(json.loads(files["model.gltf"])).encode()
    content: Any = body.export(file_type=kind)
    return content if isinstance(content, bytes) else content.encode()
