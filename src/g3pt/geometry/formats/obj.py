"""Wavefront OBJ and its material libraries. Legend: P vertices, F faces."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from g3pt.geometry.formats.limits import References, check_counts
from g3pt.geometry.formats.textures import Pictures, texture_colors
from g3pt.geometry.triangles import MeshError, TriangleMesh, concatenate, keep_faces


class _Group:
    """Corners of the triangles under one material, three by three, counted from zero."""

    def __init__(self) -> None:
        self.positions = array("q")
        self.texels = array("q")  # -1 where a corner names no texture coordinate


@dataclass(frozen=True)
class _Material:
    color: tuple[float, float, float] | None
    texture: str
    """Reference to a picture; empty without."""


class _Content:
    """The content of the file that is used; smoothing, names and normals are not."""

    def __init__(self) -> None:
        self.points, self.tints, self.uvs = array("d"), array("d"), array("d")
        self.groups: dict[str, _Group] = {}
        self.libraries: list[str] = []
        self.num_faces = 0

    def add_point(self, words: list[bytes]) -> None:
        self.points.extend(map(float, words[1:4]))
        if len(words) >= 7:
            self.tints.extend(map(float, words[4:7]))

    def add_face(self, words: list[bytes], group: _Group) -> None:
        corners = [self._corner(word) for word in words[1:]]
        self.num_faces += max(len(corners) - 2, 0)
        check_counts(0, self.num_faces)
        for pair in pairwise(corners[1:]):
            for position, texel in (corners[0], *pair):
                group.positions.append(position)
                group.texels.append(texel)

    def _corner(self, word: bytes) -> tuple[int, int]:
        position, _, rest = word.partition(b"/")
        texel = rest.partition(b"/")[0]
        return (
            _from_zero(int(position), len(self.points) // 3),
            _from_zero(int(texel), len(self.uvs) // 2) if texel else -1,
        )


def parse_obj(data: bytes, references: References) -> TriangleMesh:
    """Read an OBJ file: polygons become fans, colours come from materials or the vertices.

    Without its material libraries and textures an object is read without their colours.

    Raises:
        MeshError, ValueError: if it cannot be read.
    """
    content = _read_lines(data)
    vertices = np.array(content.points, dtype=np.float64).reshape(-1, 3)
    if not content.groups:
        return TriangleMesh(vertices, np.zeros((0, 3), np.int64))
    materials: dict[str, _Material] = {}
    for library in reversed(dict.fromkeys(reversed(content.libraries))):  # the last one counts
        materials |= _read_library(library, references)
    pictures = Pictures(references, len(data))
    for texture in dict.fromkeys(material.texture for material in materials.values()):
        if texture:
            pictures.check(texture)
    tints = _vertex_tints(content, len(vertices))
    uvs = np.array(content.uvs, dtype=np.float64).reshape(-1, 2)
    parts: dict[str, TriangleMesh] = {}
    for name in sorted(content.groups, key=lambda name: _texture_of(materials.get(name))):
        group = content.groups[name]
        faces = np.array(group.positions, dtype=np.int64).reshape(-1, 3)
        if len(faces) and faces.max() >= len(vertices):
            raise MeshError(
                f"a face names vertex {faces.max() + 1} of the {len(vertices)} there are",
                "bad_indices",
            )
        texels = np.array(group.texels, dtype=np.int64).reshape(-1, 3)
        part = TriangleMesh(vertices, faces, tints)
        if len(content.groups) > 1:
            part = keep_faces(part, np.arange(len(faces)))
        parts[name] = _painted(part, texels, uvs, materials.get(name), pictures)
    ordered = [parts[name] for name in content.groups]
    return ordered[0] if len(ordered) == 1 else concatenate(ordered)


def _read_lines(data: bytes) -> _Content:
    content = _Content()
    group: _Group | None = None
    material = ""
    for line in _logical_lines(data):
        words = line.split()
        keyword = words[0] if words else b""
        if keyword == b"v":
            content.add_point(words)
        elif keyword == b"vt":
            content.uvs.extend(map(float, [*words[1:3], b"0"][:2]))
        elif keyword == b"f":
            if group is None:
                group = content.groups.setdefault(material, _Group())
            content.add_face(words, group)
        elif keyword == b"usemtl":
            material, group = _text_after(line, keyword), None
        elif keyword == b"mtllib":
            content.libraries.append(_text_after(line, keyword))
    return content


def _logical_lines(data: bytes) -> Iterator[bytes]:
    """Lines without comments; a backslash at the end joins a line with the next."""
    if b"\n" not in data:
        data = data.replace(b"\r", b"\n")
    parts: list[bytes] = []
    for line in BytesIO(data):
        part = line.partition(b"#")[0].rstrip()
        if part.endswith(b"\\"):
            parts.append(part[:-1])
        else:
            yield b" ".join([*parts, part]) if parts else part
            parts.clear()


def _text_after(line: bytes, keyword: bytes) -> str:
    return line.strip()[len(keyword) :].strip().decode("utf-8", "replace")


def _from_zero(index: int, num: int) -> int:
    """Turn an OBJ index, from 1 or negative from the latest entry, into one from zero."""
    resolved = index - 1 if index > 0 else num + index
    if index == 0 or resolved < 0 or resolved >= 2**62:
        raise MeshError(f"a face names number {str(index)[:20]} of {num} so far", "bad_indices")
    return resolved


def _vertex_tints(content: _Content, num: int) -> UInt8[np.ndarray, "P 4"] | None:
    tints = np.array(content.tints, dtype=np.float64).reshape(-1, 3)
    if num == 0 or len(tints) != num or not np.isfinite(tints).all():
        return None
    return _rgba(tints * 255.0 if tints.max() <= 1.0 else tints)


def _rgba(rgb: Float64[np.ndarray, "P 3"]) -> UInt8[np.ndarray, "P 4"]:
    opaque = np.full((len(rgb), 1), 255.0)
    return np.concatenate([np.rint(rgb).clip(0, 255), opaque], axis=1).astype(np.uint8)


def _painted(
    part: TriangleMesh,
    texels: Int64[np.ndarray, "F 3"],
    uvs: Float64[np.ndarray, "N 2"],
    material: _Material | None,
    pictures: Pictures,
) -> TriangleMesh:
    """Colour a part by its material; vertices split where texture coordinates differ."""
    if material is None:
        return part
    textured = len(texels) > 0 and texels.min() >= 0 and texels.max() < len(uvs)
    image = pictures.read(material.texture) if material.texture and textured else None
    if image is not None:
        pairs = np.stack([part.faces.reshape(-1), texels.reshape(-1)], axis=1)
        kept, faces = np.unique(pairs, axis=0, return_inverse=True)
        colors = texture_colors(image, uvs[kept[:, 1]])
        return TriangleMesh.from_arrays(part.vertices[kept[:, 0]], faces.reshape(-1, 3), colors)
    if material.color is None:
        return part
    row = 255.0 * np.array([material.color])
    return TriangleMesh(part.vertices, part.faces, _rgba(row.repeat(len(part.vertices), axis=0)))


def _read_library(name: str, references: References) -> dict[str, _Material]:
    try:
        text = references.read(name).decode("utf-8", "replace")
    except FileNotFoundError:
        references.lose("material library", name, "is missing")
        return {}
    fields: dict[str, dict[str, str]] = {}
    current: dict[str, str] = {}
    for line in text.splitlines():
        keyword, _, rest = line.strip().partition(" ")
        if keyword.lower() == "newmtl":
            current = fields.setdefault(rest.strip(), {})
        else:
            current[keyword.lower()] = rest.strip()
    return {name: _material(values) for name, values in fields.items()}


def _material(values: dict[str, str]) -> _Material:
    color = None
    try:
        red, green, blue = map(float, values.get("kd", "").split())
        color = (red, green, blue)
    except ValueError:
        pass  # `Kd spectral ...` and other rarities: no colour
    return _Material(color, values.get("map_kd", ""))


def _texture_of(material: _Material | None) -> str:
    return "" if material is None else material.texture
