"""3MF: a zip of XML models, parsed as a stream, so that memory holds only what is kept.

Legend: P vertices, F faces.
"""

import re
import zipfile
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from xml.parsers import expat

import numpy as np
from jaxtyping import Float64

from g3pt.geometry.formats.gltf_scene import Placement
from g3pt.geometry.formats.limits import check_counts, check_unpacking
from g3pt.geometry.triangles import MeshError, TriangleMesh, concatenate

MAX_NESTING = 64
"""Largest depth of objects inside objects."""

MAX_INSTANCES = 1_000_000
"""Most object instances in one file."""

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
        self.uses: list[_Use] = []


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
        check_unpacking(len(data), sum(info.file_size for info in infos))
        if any(info.flag_bits & 1 for info in infos):
            raise MeshError("an encrypted archive, expected a plain one")
        return _Package(archive).build()


class _Package:
    """The models of one archive, read when first used."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._names = {name.lower().lstrip("/"): name for name in archive.namelist()}
        self._objects: dict[Key, _Object] = {}
        self._read_parts: set[str] = set()

    def build(self) -> TriangleMesh:
        """Every object on the build plate, transformed."""
        root = self._root_name()
        items = self._read(root)
        sizes: dict[Key, tuple[int, int, int]] = {}
        totals = [self._size(item.key, sizes, 0) for item in items]
        num_uses, num_vertices, num_faces = (sum(t[i] for t in totals) for i in range(3))
        check_counts(num_vertices, num_faces)
        if num_uses > MAX_INSTANCES:
            message = f"places {num_uses} objects, expected at most {MAX_INSTANCES}"
            raise MeshError(message, "too_large")
        parts: list[TriangleMesh] = []
        for item in items:
            self._place(item, np.eye(4), parts)
        return concatenate([part for part in parts if not part.is_empty])

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
        model = _ModelReader(part, self._objects)
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
        self, use: _Use, above: Float64[np.ndarray, "4 4"], parts: list[TriangleMesh]
    ) -> None:
        item = self._object(use.key)
        matrix = above @ use.matrix
        if item.corners:
            faces = np.array(item.corners, dtype=np.int64).reshape(-1, 3)
            num = len(item.points) // 3
            if faces.min() < 0 or faces.max() >= num:
                message = f"a face names a vertex beyond the {num} there are"
                raise MeshError(message, "bad_indices")
            points = np.array(item.points, dtype=np.float64).reshape(-1, 3)
            parts.append(Placement(0, matrix).put(TriangleMesh(points, faces)))
        for inner in item.uses:
            self._place(inner, matrix, parts)


class _ModelReader:
    """Parser of one XML model part, element by element; namespace prefixes are ignored."""

    def __init__(self, part: str, objects: dict[Key, _Object]) -> None:
        self._part, self._objects = part, objects
        self.items: list[_Use] = []
        self._current: _Object | None = None
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._start
        self._parser.StartDoctypeDeclHandler = self._refuse_doctype

    def feed(self, block: bytes) -> None:
        """Parse a block of bytes."""
        self._parser.Parse(block, False)

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
        }
        handler = handlers.get(name.rpartition(":")[2])
        if handler is not None:
            handler(attributes)

    def _object(self, attributes: dict[str, str]) -> None:
        self._current = self._objects.setdefault((self._part, attributes["id"]), _Object())

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

    def _component(self, attributes: dict[str, str]) -> None:
        self._open_object().uses.append(self._use(attributes))

    def _item(self, attributes: dict[str, str]) -> None:
        self.items.append(self._use(attributes))

    def _use(self, attributes: dict[str, str]) -> _Use:
        paths = [value for key, value in attributes.items() if key.rpartition(":")[2] == "path"]
        part = paths[0].lower().lstrip("/") if paths else self._part
        return _Use((part, attributes["objectid"]), _matrix(attributes.get("transform")))


def _matrix(text: str | None) -> Float64[np.ndarray, "4 4"]:
    """Read twelve numbers, which 3MF gives for row vectors, as a matrix for column vectors."""
    matrix = np.eye(4)
    if text is not None:
        matrix[:3] = np.array(text.split(), dtype=np.float64).reshape(4, 3).T
    return matrix
