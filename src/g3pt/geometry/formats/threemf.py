"""3MF: a zip of XML models, parsed as a stream, so that memory holds only what is kept.

Colours are read from colour groups of the materials extension (sRGB display values); other kinds of
materials are not. Legend: P vertices, F faces, K colours.
"""

import re
import zipfile
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from xml.parsers import expat

import numpy as np
from jaxtyping import Float64, Int64

from g3pt.geometry.formats.limits import (
    check_counts,
    check_instances,
    check_mesh_memory,
    check_unpacking,
)
from g3pt.geometry.formats.placing import placed_together
from g3pt.geometry.triangles import NEUTRAL_GREY, MeshError, TriangleMesh

MAX_NESTING = 64
"""Largest depth of objects inside objects."""

MAX_TAG_BYTES = 2**20
"""Longest tag or comment of a model: the parser reads one from its start again for each block."""

_BLOCK = 2**18

Key = tuple[str, str]
"""Name of the model part, and object id."""


@dataclass
class _Use:
    """An object placed inside another, or on the build plate."""

    key: Key
    matrix: Float64[np.ndarray, "4 4"]


class _Object:
    """Its own triangles, and the objects that it is composed of."""

    def __init__(self) -> None:
        self.points, self.corners = array("d"), array("q")
        self.paints = array("q")
        """Index into the palette for every corner; -1 without colour."""
        self.uses: list[_Use] = []
        self.paint: tuple[str | None, str | None] = (None, None)
        """Group and index of the colour of triangles that name none."""


def parse_3mf(data: bytes) -> TriangleMesh:
    """Read all triangles of the build, transformed and joined, in the file's own unit.

    Raises:
        MeshError, ValueError, LookupError: if it cannot be read.
    """
    try:
        archive = zipfile.ZipFile(BytesIO(data))
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise MeshError(f"not a whole zip archive ({error})", "cut_off") from None
    with archive:
        infos = archive.infolist()
        unpacked = sum(info.file_size for info in infos)
        check_unpacking(len(data), unpacked)
        if any(info.flag_bits & 1 for info in infos):
            raise MeshError("an encrypted archive, expected a plain one")
        return _Package(archive, unpacked).build()


class _Package:
    """The models of one archive, read when first used."""

    def __init__(self, archive: zipfile.ZipFile, num_bytes: int) -> None:
        self._archive, self._num_bytes = archive, num_bytes
        self._names = {name.lower().lstrip("/"): name for name in archive.namelist()}
        self._objects: dict[Key, _Object] = {}
        self._read_parts: set[str] = set()
        self._palette = bytearray()

    def build(self) -> TriangleMesh:
        """Every object on the build plate, transformed."""
        root = self._root_name()
        items = self._read(root)
        sizes: dict[Key, tuple[int, int, int]] = {}
        totals = [self._size(item.key, sizes, 0) for item in items]
        num_uses, num_vertices, num_faces = (sum(t[i] for t in totals) for i in range(3))
        check_counts(num_vertices, num_faces)
        check_instances(num_uses)
        check_mesh_memory(num_vertices, num_faces, self._num_bytes)
        where = {key: index for index, key in enumerate(sizes)}
        which, matrices = array("q"), np.empty((num_uses, 4, 4))
        for item in items:
            self._place(item, np.eye(4), where, which, matrices)
        meshes = [self._mesh(key) for key in sizes]
        return placed_together(
            meshes, np.array(which, np.int64), matrices, num_bytes=self._num_bytes
        )

    def _root_name(self) -> str:
        """Name of the root model: the usual one, else the one named by the relationships."""
        if "3d/3dmodel.model" in self._names:
            return "3d/3dmodel.model"
        if "_rels/.rels" in self._names:
            relations = self._archive.read(self._names["_rels/.rels"]).decode("utf-8", "replace")
            found = re.search(r'Target\s*=\s*"/?([^"]+\.model)"', relations)
            if found and found[1].lower() in self._names:
                return found[1].lower()
        raise MeshError("a zip archive without a 3D model in it")

    def _read(self, part: str) -> list[_Use]:
        """Read one model part: its objects are kept, its build items returned."""
        if part not in self._names:
            raise MeshError(f"names the model {part[:80]!r}, which is not in it", "missing")
        self._read_parts.add(part)
        model = _ModelReader(part, self._objects, self._palette)
        with self._archive.open(self._names[part]) as stream:
            while block := stream.read(_BLOCK):
                model.feed(block)
        model.close()
        return model.items

    def _object(self, key: Key) -> _Object:
        if key[0] not in self._read_parts:
            self._read(key[0])
        if key not in self._objects:
            raise MeshError(f"places object {key[1][:20]!r}, which is not in it", "bad_indices")
        return self._objects[key]

    def _size(
        self, key: Key, sizes: dict[Key, tuple[int, int, int]], depth: int
    ) -> tuple[int, int, int]:
        """Instances, vertices and faces of an object with all that it contains."""
        if depth > MAX_NESTING:
            raise MeshError(f"objects inside objects, in a cycle or more than {MAX_NESTING} deep")
        if key not in sizes:
            item = self._object(key)
            inner = [self._size(use.key, sizes, depth + 1) for use in item.uses]
            own = (1, len(item.points) // 3, len(item.corners) // 3)
            uses, vertices, faces = (own[i] + sum(row[i] for row in inner) for i in range(3))
            sizes[key] = uses, vertices, faces
        return sizes[key]

    def _place(
        self,
        use: _Use,
        above: Float64[np.ndarray, "4 4"],
        where: dict[Key, int],
        which: "array[int]",
        matrices: Float64[np.ndarray, "N 4 4"],
    ) -> None:
        """Append an object and all that it contains: the numbers of keys, and their matrices."""
        matrix = matrices[len(which)]
        np.matmul(above, use.matrix, out=matrix)
        which.append(where[use.key])
        for inner in self._object(use.key).uses:
            self._place(inner, matrix, where, which, matrices)

    def _mesh(self, key: Key) -> TriangleMesh:
        """The triangles of an object itself, in its own frame."""
        item = self._object(key)
        faces = np.array(item.corners, dtype=np.int64).reshape(-1, 3)
        num = len(item.points) // 3
        if len(faces) and (faces.min() < 0 or faces.max() >= num):
            raise MeshError(f"a face names a vertex beyond the {num} there are", "bad_indices")
        mesh = TriangleMesh(np.array(item.points, dtype=np.float64).reshape(-1, 3), faces)
        paints = np.array(item.paints, dtype=np.int64).reshape(-1, 3)
        return _painted(mesh, paints, self._palette) if (paints >= 0).any() else mesh


class _ModelReader:
    """Parser of one XML model part, element by element; namespace prefixes are ignored."""

    def __init__(self, part: str, objects: dict[Key, _Object], palette: bytearray) -> None:
        self._part, self._objects, self._palette = part, objects, palette
        self.items: list[_Use] = []
        self._groups: dict[str, tuple[int, int]] = {}  # id -> first colour, number of colours
        self._group: str | None = None
        self._current: _Object | None = None
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._start
        self._parser.StartDoctypeDeclHandler = self._refuse_doctype
        self._num_bytes = 0

    def feed(self, block: bytes) -> None:
        """Parse a block of bytes.

        Raises:
            MeshError: with code `too_large` if it ends within a tag that is too long.
        """
        self._parser.Parse(block, False)
        self._num_bytes += len(block)
        start = max(self._parser.CurrentByteIndex, 0)
        if self._num_bytes - start > MAX_TAG_BYTES:
            raise MeshError(
                f"a tag or comment from byte {start} of {self._part[:80]!r} on has more than "
                f"{MAX_TAG_BYTES} bytes",
                "too_large",
            )

    def close(self) -> None:
        """End the document.

        Raises:
            ExpatError: if it is not complete.
        """
        self._parser.Parse(b"", True)

    def _refuse_doctype(self, *_: object) -> None:
        raise MeshError("its XML declares a document type, which 3MF forbids")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        handlers: dict[str, Callable[[dict[str, str]], None]] = {
            "vertex": self._vertex,
            "triangle": self._triangle,
            "object": self._object,
            "component": self._component,
            "item": self._item,
            "colorgroup": self._colorgroup,
            "color": self._color,
        }
        handler = handlers.get(name.rpartition(":")[2])
        if handler is not None:
            handler(attributes)

    def _object(self, attributes: dict[str, str]) -> None:
        self._current = self._objects.setdefault((self._part, attributes["id"]), _Object())
        self._current.paint = attributes.get("pid"), attributes.get("pindex")

    def _colorgroup(self, attributes: dict[str, str]) -> None:
        self._group = attributes["id"]
        self._groups[self._group] = len(self._palette) // 4, 0

    def _color(self, attributes: dict[str, str]) -> None:
        if self._group is None:
            raise MeshError("has a colour outside any colour group")
        text = attributes["color"]
        if not re.fullmatch(r"#[0-9A-Fa-f]{6}([0-9A-Fa-f]{2})?", text):
            raise MeshError(f"has the colour {text[:20]!r}, expected #RRGGBB or #RRGGBBAA")
        self._palette.extend(bytes.fromhex(f"{text[1:]}FF"[:8]))
        first, num = self._groups[self._group]
        self._groups[self._group] = first, num + 1

    def _open_object(self) -> _Object:
        if self._current is None:
            raise MeshError("has a mesh outside any object")
        return self._current

    def _vertex(self, attributes: dict[str, str]) -> None:
        item = self._open_object()
        item.points.extend(float(attributes[axis]) for axis in "xyz")

    def _triangle(self, attributes: dict[str, str]) -> None:
        item = self._open_object()
        item.corners.extend(int(attributes[corner]) for corner in ("v1", "v2", "v3"))
        check_counts(0, len(item.corners) // 3)
        group, index = item.paint
        group = self._groups.get(attributes.get("pid", group or ""))
        first = attributes.get("p1", index)
        if group is None or first is None:
            item.paints.extend((-1, -1, -1))
            return
        for name in ("p1", "p2", "p3"):
            chosen = int(attributes.get(name, first))
            if not 0 <= chosen < group[1]:
                message = f"a triangle names colour {chosen} of the {group[1]} there are"
                raise MeshError(message, "bad_indices")
            item.paints.append(group[0] + chosen)

    def _component(self, attributes: dict[str, str]) -> None:
        self._open_object().uses.append(self._use(attributes))

    def _item(self, attributes: dict[str, str]) -> None:
        self.items.append(self._use(attributes))

    def _use(self, attributes: dict[str, str]) -> _Use:
        paths = [value for key, value in attributes.items() if key.rpartition(":")[2] == "path"]
        part = paths[0].lower().lstrip("/") if paths else self._part
        return _Use((part, attributes["objectid"]), _matrix(attributes.get("transform")))


def _painted(
    mesh: TriangleMesh, paints: Int64[np.ndarray, "F 3"], palette: bytearray
) -> TriangleMesh:
    """Give vertices the colours of their corners; a vertex of several colours becomes several."""
    corners = np.stack([mesh.faces.reshape(-1), paints.reshape(-1)], axis=1)
    distinct, faces = np.unique(corners, axis=0, return_inverse=True)
    colors_K4 = np.frombuffer(bytes(palette) + bytes(NEUTRAL_GREY), np.uint8).reshape(-1, 4)
    return TriangleMesh(
        mesh.vertices[distinct[:, 0]],
        faces.reshape(-1, 3).astype(np.int64),
        colors_K4[distinct[:, 1]],  # without a colour -1, the last, which is grey
    )


def _matrix(text: str | None) -> Float64[np.ndarray, "4 4"]:
    """Read twelve numbers, which 3MF gives for row vectors, as a matrix for column vectors."""
    matrix = np.eye(4)
    if text is not None:
        matrix[:3] = np.array(text.split(), dtype=np.float64).reshape(4, 3).T
    return matrix
