"""A tree of good, broken and malicious mesh files, and what must become of each of them."""

import base64
import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

FIFTY_MILLION = 50_000_000

_POINTS = np.array([(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)], np.float64)
_FACES = np.array([(0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3)], np.int64)


@dataclass
class HostileTree:
    """Relative posix paths of the files of a tree, by what must become of them."""

    folder: Path
    good: list[str] = field(default_factory=list)
    """Must be read."""
    bad: list[str] = field(default_factory=list)
    """Must be refused with a `MeshError`."""
    either: list[str] = field(default_factory=list)
    """May be read or refused, quickly."""
    unlisted: list[str] = field(default_factory=list)
    """Must not be listed: links out of the folder."""


def make_hostile_tree(folder: Path, *, seed: int, num: int = 1000) -> HostileTree:
    """Write about `num` files under `folder`; the same seed gives the same files."""
    rng = np.random.default_rng(seed)
    tree = HostileTree(folder)
    _add_good(tree, rng, max(num // 10, len(WRITERS) + 1))
    for name, content in malicious_meshes().items():
        _write(tree, "bad", f"malicious/{name}", content)
    for name, content in borderline_meshes().items():
        _write(tree, "either", f"borderline/{name}", content)
    _add_special(tree)
    written = len(tree.good) + len(tree.bad) + len(tree.either)
    for index in range(max(num - written, 0)):
        _add_damaged(tree, rng, index)
    return tree


def _write(tree: HostileTree, kind: str, name: str, content: bytes) -> None:
    path = tree.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    getattr(tree, kind).append(name)


# --- good files ----------------------------------------------------------------------------


def tetrahedron(rng: np.random.Generator) -> np.ndarray:
    """Four points of a tetrahedron, stretched and moved."""
    return _POINTS * rng.uniform(0.5, 2.0, 3) + rng.uniform(-5, 5, 3)


def glb_of(points: np.ndarray, **changes: Any) -> bytes:
    """A GLB file of the tetrahedron; `changes` replace parts of its JSON."""
    document, binary = gltf_of(points)
    return pack_glb({**document, **changes}, binary)


def gltf_of(points: np.ndarray) -> tuple[dict[str, Any], bytes]:
    """JSON and buffer of the tetrahedron."""
    binary = points.astype("<f4").tobytes() + _FACES.astype("<u2").tobytes()
    document = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "buffers": [{"byteLength": len(binary)}],
        "bufferViews": [
            {"buffer": 0, "byteOffset": 0, "byteLength": 48},
            {"buffer": 0, "byteOffset": 48, "byteLength": 24},
        ],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC3"},
            {"bufferView": 1, "componentType": 5123, "count": 12, "type": "SCALAR"},
        ],
    }
    return document, binary


def pack_glb(document: Any, binary: bytes) -> bytes:
    """A GLB file of any JSON and buffer."""
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    binary += b"\0" * (-len(binary) % 4)
    body = struct.pack("<I4s", len(text), b"JSON") + text
    body += struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return b"glTF" + struct.pack("<II", 2, 12 + len(body)) + body


def embedded_gltf_of(points: np.ndarray, **changes: Any) -> bytes:
    """A glTF file with its buffer in a data URI."""
    document, binary = gltf_of(points)
    uri = "data:application/octet-stream;base64," + base64.b64encode(binary).decode()
    document["buffers"] = [{"byteLength": len(binary), "uri": uri}]
    return json.dumps({**document, **changes}).encode()


def obj_of(points: np.ndarray) -> bytes:
    """An OBJ file whose material library is missing."""
    lines = ["mtllib lost.mtl", *(f"v {x} {y} {z}" for x, y, z in points), "usemtl lost"]
    return "\n".join(lines + [f"f {a + 1} {b + 1} {c + 1}" for a, b, c in _FACES]).encode()


def relative_obj_of(points: np.ndarray) -> bytes:
    """An OBJ file whose faces count back from the latest vertex."""
    lines = [f"v {x} {y} {z}" for x, y, z in points]
    return "\n".join(lines + [f"f {a - 4} {b - 4} {c - 4}" for a, b, c in _FACES]).encode()


def ply_of(points: np.ndarray) -> bytes:
    """A binary PLY file."""
    header = ply_header("binary_little_endian", len(points), len(_FACES))
    rows = np.zeros(len(_FACES), [("num", "u1"), ("face", "<i4", 3)])
    rows["num"], rows["face"] = 3, _FACES
    return header + points.astype("<f4").tobytes() + rows.tobytes()


def ascii_ply_of(points: np.ndarray) -> bytes:
    """A text PLY file."""
    lines = [f"{x} {y} {z}" for x, y, z in points] + [f"3 {a} {b} {c}" for a, b, c in _FACES]
    return ply_header("ascii", len(points), len(_FACES)) + "\n".join(lines).encode() + b"\n"


def ply_header(encoding: str, num_vertices: int, num_faces: int) -> bytes:
    """The header of a PLY file."""
    lines = ["ply", f"format {encoding} 1.0", f"element vertex {num_vertices}"]
    lines += [f"property float {axis}" for axis in "xyz"]
    lines += [f"element face {num_faces}", "property list uchar int vertex_indices", "end_header"]
    return "\n".join(lines).encode() + b"\n"


def stl_of(points: np.ndarray) -> bytes:
    """A binary STL file."""
    rows = np.zeros(len(_FACES), [("normal", "<f4", 3), ("at", "<f4", (3, 3)), ("extra", "<u2")])
    rows["at"] = points[_FACES]
    return bytes(80) + struct.pack("<I", len(_FACES)) + rows.tobytes()


def ascii_stl_of(points: np.ndarray) -> bytes:
    """A text STL file."""
    lines = ["solid thing"]
    for face in points[_FACES]:
        lines += ["facet normal 0 0 0", "outer loop"]
        lines += [f"vertex {x} {y} {z}" for x, y, z in face]
        lines += ["endloop", "endfacet"]
    return "\n".join([*lines, "endsolid thing\n"]).encode()


def off_of(points: np.ndarray) -> bytes:
    """An OFF file with its counts glued to the first word, as ModelNet has them."""
    lines = [f"OFF{len(points)} {len(_FACES)} 0", *(f"{x} {y} {z}" for x, y, z in points)]
    return "\n".join(lines + [f"3 {a} {b} {c}" for a, b, c in _FACES]).encode() + b"\n"


def threemf_of(points: np.ndarray) -> bytes:
    """A 3MF file."""
    return pack_3mf(threemf_model(points))


def threemf_model(points: np.ndarray, *, more: str = "", items: str = "") -> bytes:
    """The XML of a 3MF file, with further objects and build items."""
    vertices = "".join(f'<vertex x="{x}" y="{y}" z="{z}"/>' for x, y, z in points)
    faces = "".join(f'<triangle v1="{a}" v2="{b}" v3="{c}"/>' for a, b, c in _FACES)
    mesh = f"<mesh><vertices>{vertices}</vertices><triangles>{faces}</triangles></mesh>"
    space = "http://schemas.microsoft.com/3dmanufacturing/core/2015/02"
    build = items or '<item objectid="1"/>'
    return (
        f'<?xml version="1.0"?><model unit="millimeter" xmlns="{space}"><resources>'
        f'<object id="1" type="model">{mesh}</object>{more}</resources>'
        f"<build>{build}</build></model>"
    ).encode()


def pack_3mf(model: bytes, *, level: int = 6) -> bytes:
    """A 3MF archive of one model."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        archive.writestr(zipfile.ZipInfo("3D/3dmodel.model"), model, zipfile.ZIP_DEFLATED)
    return out.getvalue()


WRITERS: dict[str, Callable[[np.ndarray], bytes]] = {
    "plain.glb": glb_of,
    "embedded.gltf": embedded_gltf_of,
    "lost-material.obj": obj_of,
    "relative.obj": relative_obj_of,
    "binary.ply": ply_of,
    "text.ply": ascii_ply_of,
    "binary.stl": stl_of,
    "text.stl": ascii_stl_of,
    "glued.off": off_of,
    "zipped.3mf": threemf_of,
}


def _add_good(tree: HostileTree, rng: np.random.Generator, num: int) -> None:
    writers = list(WRITERS.items())
    deep = "good/a deep path/ünïcødé 形 😀/" + "/".join("level" for _ in range(12))
    _write(tree, "good", f"{deep}/one more, with spaces.GLB", glb_of(tetrahedron(rng)))
    for index in range(num - 1):
        name, writer = writers[index % len(writers)]
        _write(tree, "good", f"good/{index:04d}-{name}", writer(tetrahedron(rng)))


# --- damaged files -------------------------------------------------------------------------

_BLIND_TO_CUTS = ("lost-material.obj", "relative.obj", "text.ply", "glued.off", "text.stl")
"""Text can end in the middle of a number, or after the last face that anyone counted."""


def _add_damaged(tree: HostileTree, rng: np.random.Generator, index: int) -> None:
    kind, name, content = damaged_mesh(rng, index % 3)
    folder = ("cut", "flipped", "noise")[index % 3]
    joined = name if name.startswith(".") else f"-{name}"
    _write(tree, kind, f"{folder}/{index:04d}{joined}", content)


def damaged_mesh(rng: np.random.Generator, way: int) -> tuple[str, str, bytes]:
    """A mesh that is cut (way 0), has flipped bits (1), or is noise (2).

    Returns:
        What must become of it, as the lists of `HostileTree` are named; a file name, which is the
        suffix alone for noise; and the content.
    """
    name = list(WRITERS)[int(rng.integers(len(WRITERS)))]
    whole = WRITERS[name](tetrahedron(rng))
    match way:
        case 0:
            cut = int(rng.integers(len(whole)))
            return ("either" if name in _BLIND_TO_CUTS else "bad"), name, whole[:cut]
        case 1:
            content = bytearray(whole)
            for position in rng.integers(len(content), size=int(rng.integers(1, 9))):
                content[position] ^= 1 << int(rng.integers(8))
            return "either", name, bytes(content)
        case _:
            return "bad", Path(name).suffix, rng.bytes(int(rng.integers(1, 4000)))


# --- malicious files -----------------------------------------------------------------------


def malicious_meshes() -> dict[str, bytes]:
    """Files that must be refused, each for one reason."""
    return {
        **_malicious_gltf(),
        **_malicious_text(),
        **_malicious_packages(),
        **{f"empty{suffix}": b"" for suffix in _SUFFIXES},
        **{f"page{suffix}": b"<!DOCTYPE html><html><p>404</p></html>" for suffix in _SUFFIXES},
        "ply-inside.obj": ascii_ply_of(_POINTS),
        "ply-inside.stl": ply_of(_POINTS),
        "glb-inside.obj": glb_of(_POINTS),
        "off-inside.obj": off_of(_POINTS),
        "zip-inside.stl": threemf_of(_POINTS),
    }


_SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl", ".off", ".3mf")


def _malicious_gltf() -> dict[str, bytes]:
    files = {
        "circle.glb": glb_of(
            _POINTS, nodes=[{"children": [1]}, {"children": [2]}, {"children": [1], "mesh": 0}]
        ),
        "own-child.glb": glb_of(_POINTS, nodes=[{"mesh": 0, "children": [0]}]),
        "explosion.glb": glb_of(
            _POINTS,
            nodes=[{"children": [i + 1, i + 1]} for i in range(60)] + [{"mesh": 0}],
        ),
        "instances.glb": _many_instances(),
        "copies.glb": _large_copies(),
        "chunks.glb": glb_of(_POINTS) + bytes(80_000),
        "gpu-instances.glb": glb_of(
            _POINTS,
            extensionsUsed=["EXT_mesh_gpu_instancing"],
            nodes=[
                {"mesh": 0, "extensions": {"EXT_mesh_gpu_instancing": {"attributes": {}}}},
            ],
        ),
        "many-primitives.glb": _many_primitives(),
        "deep.gltf": b'{"asset":{"version":"2.0"},"extras":'
        + b"[" * 200_000
        + b"]" * 200_000
        + b"}",
        "list.gltf": b"[1, 2, 3]",
        "nan.gltf": embedded_gltf_of(_POINTS).replace(
            b'"mesh": 0', b'"mesh": 0, "scale": [NaN,1,1]'
        ),
        "huge-scale.glb": glb_of(_POINTS, nodes=[{"mesh": 0, "scale": [1e308] * 3}]),
        "nan.glb": glb_of(np.where(_POINTS == 1, np.nan, _POINTS)),
        "inf.glb": glb_of(np.where(_POINTS == 1, np.inf, _POINTS)),
        "bomb.glb": _texture_bomb(),
        "no-position.glb": glb_of(_POINTS, meshes=[{"primitives": [{"attributes": {}}]}]),
        "negative-mesh.glb": glb_of(_POINTS, nodes=[{"mesh": -1}]),
        "meshopt.glb": glb_of(_POINTS, extensionsRequired=["EXT_meshopt_compression"]),
        "draco-of-nothing.glb": _broken_draco(),
    }
    for name, uri in {
        "parent": "../secret.bin",
        "encoded": "x/%2e%2e/%2e%2e/secret.bin",
        "absolute": "/etc/hostname",
        "file": "file:///etc/hostname",
        "http": "http://127.0.0.1:9/a.bin",
        "https": "https://example.org/a.bin",
        "share": "//server/share/a.bin",
        "backslash": "..\\..\\secret.bin",
        "plain-data": "data:text/plain,hello",
        "broken-data": "data:application/octet-stream;base64,*****",
        "absent": "absent.bin",
        "itself": "uri-itself.gltf/a",
        "null": "a\0b",
    }.items():
        buffers = [{"byteLength": 72, "uri": uri}]
        files[f"uri-{name}.gltf"] = embedded_gltf_of(_POINTS, buffers=buffers)
    files["image-http.gltf"] = embedded_gltf_of(_POINTS, images=[{"uri": "http://127.0.0.1:9/a"}])
    for index, change in enumerate(_ACCESSOR_TRICKS):
        document, binary = gltf_of(_POINTS)
        document["accessors"][0] |= change
        files[f"accessor-{index}.glb"] = pack_glb(document, binary)
    return files


_ACCESSOR_TRICKS: tuple[dict[str, Any], ...] = (
    {"count": FIFTY_MILLION},
    {"count": 2**62},
    {"count": -4},
    {"count": "4"},
    {"count": 4.5},
    {"byteOffset": 2**40},
    {"byteOffset": -48},
    {"bufferView": 7},
    {"bufferView": -1},
    {"componentType": 9999},
    {"type": "VEC99"},
    {"type": "SCALAR"},
    {
        "sparse": {
            "count": 2**40,
            "indices": {"bufferView": 1, "componentType": 5123},
            "values": {"bufferView": 0},
        }
    },
    {
        "sparse": {
            "count": 12,
            "indices": {"bufferView": 1, "componentType": 5123},
            "values": {"bufferView": 0},
        }
    },
)


def _many_instances() -> bytes:
    """A mesh of 30 000 triangles placed 2 000 times, from a few hundred kilobytes."""
    document, binary = gltf_of(_POINTS)
    binary += bytes(180_000)
    document["buffers"] = [{"byteLength": len(binary)}]
    document["bufferViews"][1] = {"buffer": 0, "byteOffset": 72, "byteLength": 180_000}
    document["accessors"][1]["count"] = 90_000
    document["nodes"] = [{"mesh": 0}] * 2_000
    document["scenes"] = [{"nodes": list(range(2_000))}]
    return pack_glb(document, binary)


def _large_copies() -> bytes:
    """A mesh of 10 000 triangles that share no vertex, placed 1 000 times: a gigabyte of memory."""
    document, _ = gltf_of(_POINTS)
    binary = bytes(360_000)
    document["buffers"] = [{"byteLength": len(binary)}]
    document["bufferViews"] = [{"buffer": 0, "byteLength": len(binary)}]
    document["accessors"] = [{**document["accessors"][0], "count": 30_000}]
    document["meshes"] = [{"primitives": [{"attributes": {"POSITION": 0}}]}]
    document["nodes"] = [{"mesh": 0}] * 1_000
    document["scenes"] = [{"nodes": list(range(1_000))}]
    return pack_glb(document, binary)


def _many_primitives() -> bytes:
    """One mesh whose primitives all use the same long list of corners."""
    document, binary = gltf_of(_POINTS)
    binary += bytes(180_000)
    document["buffers"] = [{"byteLength": len(binary)}]
    document["bufferViews"][1] = {"buffer": 0, "byteOffset": 72, "byteLength": 180_000}
    document["accessors"][1]["count"] = 90_000
    primitive = {"attributes": {"POSITION": 0}, "indices": 1}
    document["meshes"] = [{"primitives": [primitive] * 2_000}]
    return pack_glb(document, binary)


def png_of(width: int, height: int) -> bytes:
    """A PNG that says it has this size and holds almost nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(100_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def _texture_bomb() -> bytes:
    document, binary = gltf_of(_POINTS)
    image = png_of(60_000, 60_000)
    document["bufferViews"].append({"buffer": 0, "byteOffset": 72, "byteLength": len(image)})
    document["buffers"] = [{"byteLength": 72 + len(image)}]
    document["images"] = [{"bufferView": 2, "mimeType": "image/png"}]
    document["textures"] = [{"source": 0}]
    document["materials"] = [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}]
    primitive = document["meshes"][0]["primitives"][0]
    primitive["material"] = 0
    primitive["attributes"]["TEXCOORD_0"] = 2
    document["accessors"].append(
        {"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC2"}
    )
    return pack_glb(document, binary + image)


def _broken_draco() -> bytes:
    document, binary = gltf_of(_POINTS)
    draco = {"bufferView": 0, "attributes": {"POSITION": 0}}
    primitive = document["meshes"][0]["primitives"][0]
    primitive["extensions"] = {"KHR_draco_mesh_compression": draco}
    document["extensionsRequired"] = ["KHR_draco_mesh_compression"]
    return pack_glb(document, binary)


def _malicious_text() -> dict[str, bytes]:
    points = b"v 0 0 0\nv 1 0 0\nv 0 1 0\n"
    huge = FIFTY_MILLION
    binary = "binary_little_endian"
    return {
        "beyond.obj": points + b"f 1 2 9\n",
        "zero.obj": points + b"f 0 1 2\n",
        "far-back.obj": points + b"f -1 -2 -999999999999999999\n",
        "huge-index.obj": points + b"f 1 2 " + b"9" * 400 + b"\n",
        "endless-index.obj": points + b"f 1 2 " + b"9" * 100_000 + b"\n",
        "nan.obj": b"v nan 0 0\nv 1 inf 0\nv 0 1 0\nf 1 2 3\n",
        "beyond-double.obj": b"v 1e308 0 0\nv -1e308 0 0\nv 0 1e308 0\nf 1 2 3\n",
        "outside.obj": b"mtllib ../../secret.mtl\n" + points + b"f 1 2 3\n",
        "network.obj": b"mtllib http://127.0.0.1:9/a.mtl\n" + points + b"f 1 2 3\n",
        "words.obj": b"v a b c\nf x y z\n",
        "no-faces.obj": points,
        "huge.ply": ply_header(binary, huge, huge) + bytes(500),
        "huge-text.ply": ply_header("ascii", huge, huge) + b"0 0 0\n" * 10,
        "huge-faces.ply": ply_header(binary, 4, huge) + bytes(500),
        "negative.ply": ply_header(binary, -4, -4) + bytes(500),
        "beyond.ply": ascii_ply_of(_POINTS).replace(b"3 0 2 1", b"3 0 2 77"),
        "below.ply": ascii_ply_of(_POINTS).replace(b"3 0 2 1", b"3 0 2 -7"),
        "long-list.ply": ply_header(binary, 1, 1).replace(b"uchar int", b"uint int")
        + bytes(12)
        + struct.pack("<I", 2**32 - 1)
        + bytes(64),
        "no-end.ply": b"ply\nformat ascii 1.0\n" + b"comment\n" * 50,
        "huge.off": f"OFF\n{huge} {huge} 0\n0 0 0\n".encode(),
        "beyond-count.off": b"OFF\n99999999999999999999 1 0\n0 0 0\n",
        "negative.off": b"OFF\n-4 -4 0\n0 0 0\n",
        "long-face.off": b"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n999999999 0 1 2\n",
        "beyond.off": b"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 7\n",
        "zeros.obj": points + b"f 1 2 3\n" + bytes(5_000),
        "zeros.ply": ascii_ply_of(_POINTS) + bytes(5_000),
        "zeros-binary.ply": ply_of(_POINTS) + bytes(300_000),
        "zeros.stl": bytes(80) + struct.pack("<I", 2_000) + bytes(100_000),
        "huge.stl": bytes(80) + struct.pack("<I", huge) + bytes(500),
        "largest.stl": bytes(80) + b"\xff" * 4 + bytes(500),
        "nan.stl": bytes(80) + struct.pack("<I", 1) + b"\xff" * 50,
        "no-end.stl": ascii_stl_of(_POINTS).replace(b"endsolid", b""),
    }


def _malicious_packages() -> dict[str, bytes]:
    entity = "".join(f'<!ENTITY e{i + 1} "{f"&e{i};" * 10}">' for i in range(9))
    laughs = f'<?xml version="1.0"?><!DOCTYPE m [<!ENTITY e0 "ha">{entity}]><m>&e9;</m>'
    leak = '<?xml version="1.0"?><!DOCTYPE m [<!ENTITY x SYSTEM "file:///etc/hostname">]><m>&x;</m>'
    double = "".join(
        f'<object id="{i}"><components><component objectid="{i - 1}"/>'
        f'<component objectid="{i - 1}"/></components></object>'
        for i in range(2, 50)
    )
    circle = (
        '<object id="2"><components><component objectid="3"/></components></object>'
        '<object id="3"><components><component objectid="2"/></components></object>'
    )
    second = '<item objectid="2"/>'
    return {
        "laughs.3mf": pack_3mf(laughs.encode()),
        "entity.3mf": pack_3mf(leak.encode()),
        "bomb.3mf": pack_3mf(b"<model>" + b" " * 20_000_000, level=9),
        "doubling.3mf": pack_3mf(
            threemf_model(_POINTS, more=double, items='<item objectid="49"/>')
        ),
        "circle.3mf": pack_3mf(threemf_model(_POINTS, more=circle, items=second)),
        "absent.3mf": pack_3mf(threemf_model(_POINTS, items='<item objectid="9"/>')),
        "beyond.3mf": pack_3mf(threemf_model(_POINTS).replace(b'v1="0"', b'v1="77"')),
        "nan.3mf": pack_3mf(threemf_model(_POINTS).replace(b'x="1.0"', b'x="nan"')),
        "long-tag.3mf": pack_3mf(
            threemf_model(_POINTS).replace(b"<resources>", b"<resources><!--%b-->" % (b"a" * 2**22))
        ),
        "deep.3mf": pack_3mf(b"<a>" * 100_000),
        "other.3mf": zip_of({"readme.txt": b"hello"}),
    }


def borderline_meshes() -> dict[str, bytes]:
    """Odd files that may be read or refused, but not slowly."""
    far = _POINTS * 1e38
    return {
        "far.glb": glb_of(far),
        "far.ply": ply_of(far),
        "far.stl": stl_of(far),
        "far.obj": obj_of(far),
        "backslashes.obj": b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n" + b"\\\n" * 400_000,
        "libraries.obj": b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"
        + b"".join(b"mtllib %d.mtl\n" % number for number in range(20_000)),
        "flat.obj": b"v 0 0 0\nv 0 0 0\nv 0 0 0\nf 1 2 3\n",
        "many-corners.obj": b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf " + b"1 2 3 " * 30_000 + b"\n",
        "spaces.stl": b"solid facet\n" + b" " * 300_000 + b"endsolid\n",
        "chain.glb": glb_of(
            _POINTS, nodes=[{"children": [i + 1]} for i in range(5000)] + [{"mesh": 0}]
        ),
        "solids.stl": b"solid facet\nendsolid\n" * 20_000,
        "lines.off": b"OFF\n" + b"0 0 0\n" * 50_000,
    }


def zip_of(members: dict[str, bytes]) -> bytes:
    """A zip archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def zip_bomb() -> bytes:
    """An archive of 20 kilobytes whose one mesh unpacks to 20 megabytes of zeros."""
    return zip_of({"bomb.stl": bytes(20_000_000)})


# --- what is no file -----------------------------------------------------------------------


def _add_special(tree: HostileTree) -> None:
    """A pipe, links in a circle, to nothing and out of the folder; a pipe as a buffer."""
    special = tree.folder / "special"
    special.mkdir(parents=True, exist_ok=True)
    os.mkfifo(special / "pipe.glb")
    (special / "loop.glb").symlink_to("loop.glb")
    (special / "nowhere.obj").symlink_to("gone.obj")
    (special / "out.glb").symlink_to("/etc/hostname")
    (special / "up").symlink_to("..")
    tree.bad += ["special/pipe.glb", "special/loop.glb", "special/nowhere.obj"]
    tree.unlisted.append("special/out.glb")
    os.mkfifo(special / "pipe.bin")
    (special / "loop.bin").symlink_to("loop.bin")
    (special / "out.bin").symlink_to("/etc/hostname")
    for name in ("pipe", "loop", "out"):
        buffers = [{"byteLength": 72, "uri": f"{name}.bin"}]
        content = embedded_gltf_of(_POINTS, buffers=buffers)
        _write(tree, "bad", f"special/buffer-{name}.gltf", content)
