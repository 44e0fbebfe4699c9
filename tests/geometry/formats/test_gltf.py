"""Colours of GLB and glTF, judged by the bytes of the files and by the specification's formulas."""

import base64
import json
import struct
from pathlib import Path

import numpy as np
import pytest

from g3pt.geometry.mesh import TriangleMesh, parse_mesh, read_mesh, write_mesh
from geometry.formats.test_foreign import png

TRIANGLE = np.array([(0, 0, 0), (1, 0, 0), (0, 1, 0)], dtype="<f4")
EVERY_BYTE = np.stack([np.arange(256)] * 3 + [255 - np.arange(256)], axis=1).astype(np.uint8)


def linear_of(display: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1, as glTF 2.0 names it for its textures."""
    return np.where(display <= 0.04045, display / 12.92, ((display + 0.055) / 1.055) ** 2.4)


def strip(colors: np.ndarray) -> TriangleMesh:
    """Triangles side by side, one vertex a colour."""
    num = len(colors)
    vertices = np.stack([np.arange(num), np.arange(num) % 2, np.zeros(num)], axis=1)
    first = np.arange(num - 2)
    return TriangleMesh.from_arrays(vertices, np.stack([first, first + 1, first + 2], 1), colors)


def document_of(path: Path) -> tuple[dict, list[bytes]]:
    """The JSON of a file and its buffers, by the layout that the specification gives."""
    data = path.read_bytes()
    if path.suffix == ".gltf":
        document = json.loads(data)
        return document, [
            base64.b64decode(buffer["uri"].partition(",")[2]) for buffer in document["buffers"]
        ]
    magic, version, length, json_length, kind = struct.unpack_from("<4sIII4s", data)
    assert (magic, version, length, kind) == (b"glTF", 2, len(data), b"JSON")
    document = json.loads(data[20 : 20 + json_length])
    binary_length, kind = struct.unpack_from("<I4s", data, 20 + json_length)
    assert kind == b"BIN\0" and 28 + json_length + binary_length == len(data)
    return document, [data[28 + json_length :]]


@pytest.mark.parametrize("suffix", [".glb", ".gltf"])
def test_colours_are_written_as_linear_light_of_16_bits(tmp_path, suffix):
    path = tmp_path / f"strip{suffix}"
    write_mesh(path, strip(EVERY_BYTE))
    document, buffers = document_of(path)
    (mesh,) = document["meshes"]
    accessor = document["accessors"][mesh["primitives"][0]["attributes"]["COLOR_0"]]
    assert (accessor["componentType"], accessor["type"]) == (5123, "VEC4")  # unsigned short
    assert accessor["normalized"] is True and accessor["count"] == 256
    view = document["bufferViews"][accessor["bufferView"]]
    start = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
    assert start % 4 == 0 and view["byteLength"] == 256 * 8 and "byteStride" not in view
    stored = np.frombuffer(buffers[view["buffer"]], "<u2", 256 * 4, start).reshape(256, 4)
    expected = linear_of(EVERY_BYTE[:, :3] / 255.0) * 65535
    np.testing.assert_array_equal(stored[:, :3], np.rint(expected))
    np.testing.assert_array_equal(stored[:, 3], EVERY_BYTE[:, 3].astype(int) * 257)  # not light
    for name, extreme in (("min", stored.min(axis=0)), ("max", stored.max(axis=0))):
        assert accessor.get(name, extreme.tolist()) == extreme.tolist()
    assert len(buffers[0]) >= document["buffers"][0]["byteLength"]


@pytest.mark.parametrize("suffix", [".glb", ".gltf", ".ply"])
def test_every_display_value_comes_back(tmp_path, suffix):
    path = tmp_path / f"strip{suffix}"
    write_mesh(path, strip(EVERY_BYTE))
    np.testing.assert_array_equal(read_mesh(path).colors, EVERY_BYTE)


def test_ply_and_obj_hold_display_values(tmp_path):
    color = (128, 64, 250, 255)
    write_mesh(tmp_path / "a.ply", strip(np.array([color] * 3, np.uint8)))
    assert bytes(color) in (tmp_path / "a.ply").read_bytes()
    write_mesh(tmp_path / "a.obj", strip(np.array([color] * 3, np.uint8)))
    first = next(line for line in (tmp_path / "a.obj").read_text().splitlines() if line[:2] == "v ")
    np.testing.assert_allclose(
        np.array(first.split()[4:7], float) * 255, color[:3], atol=0.01
    )  # a value of eight decimals


def triangle_file(
    colors: np.ndarray, *, factor: list[float] | None = None, texture: bytes | None = None
) -> bytes:
    """A triangle as JSON glTF with colours of any number format, and a material if asked for."""
    component = {"u1": 5121, "u2": 5123, "f4": 5126}[colors.dtype.str[1:]]
    chunks = [TRIANGLE.tobytes(), colors.tobytes(), np.zeros((3, 2), "<f4").tobytes()]
    accessors = [
        {"bufferView": 0, "componentType": 5126, "type": "VEC3", "count": 3},
        {
            "bufferView": 1,
            "componentType": component,
            "type": f"VEC{colors.shape[1]}",
            "count": 3,
            "normalized": colors.dtype.kind == "u",
        },
        {"bufferView": 2, "componentType": 5126, "type": "VEC2", "count": 3},
    ]
    attributes = {"POSITION": 0, "COLOR_0": 1, "TEXCOORD_0": 2}
    document: dict = {
        "asset": {"version": "2.0"},
        "meshes": [{"primitives": [{"attributes": attributes}]}],
        "nodes": [{"mesh": 0}],
        "scenes": [{"nodes": [0]}],
        "accessors": accessors,
    }
    if factor is not None or texture is not None:
        surface: dict = {} if factor is None else {"baseColorFactor": factor}
        if texture is not None:
            surface["baseColorTexture"] = {"index": 0}
            document["textures"] = [{"source": 0}]
            document["images"] = [{"bufferView": 3, "mimeType": "image/png"}]
            chunks.append(texture)
        document["materials"] = [{"pbrMetallicRoughness": surface}]
        document["meshes"][0]["primitives"][0]["material"] = 0
    views, binary = [], b""
    for chunk in chunks:
        views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": len(chunk)})
        binary += chunk + bytes(-len(chunk) % 4)
    uri = "data:application/octet-stream;base64," + base64.b64encode(binary).decode()
    document["bufferViews"] = views
    document["buffers"] = [{"byteLength": len(binary), "uri": uri}]
    return json.dumps(document).encode()


def colors_of(data: bytes, **options) -> np.ndarray:
    colors = parse_mesh(data, ".gltf", name="test", **options).colors
    assert colors is not None and (colors == colors[0]).all()
    return colors[0]


@pytest.mark.parametrize(
    "colors",
    [
        np.array([[55, 0, 255, 128]] * 3, "u1"),
        np.array([[14135, 0, 65535, 32896]] * 3, "<u2"),
        np.array([[55 / 255, 0.0, 1.0, 128 / 255]] * 3, "<f4"),
    ],
)
def test_vertex_colours_are_read_as_linear_light(colors):
    # sRGB of linear 55/255 is 0.502; alpha is no light.
    assert colors_of(triangle_file(colors)).tolist() == [128, 0, 255, 128]


def test_colours_that_are_no_colours_are_bounded():
    wild = np.array([[-1.0, 2.0, np.nan, 1.0]] * 3, "<f4")
    assert colors_of(triangle_file(wild)).tolist() == [0, 255, 0, 255]


def test_colours_factors_and_textures_are_multiplied_as_light():
    colors = np.array([[128, 255, 64, 255]] * 3, "u1")
    found = colors_of(
        triangle_file(colors, factor=[0.5, 0.25, 1.0, 1.0], texture=png((200, 100, 50)))
    )
    light = colors[0, :3] / 255 * np.array([0.5, 0.25, 1.0])
    light = light * linear_of(np.array([200, 100, 50]) / 255)
    np.testing.assert_array_equal(np.rint(linear_of(found[:3] / 255.0) * 100), np.rint(light * 100))


def test_files_that_hold_display_values_are_read_so_when_asked():
    """As the README of some mesh collections says of their COLOR_0, against the specification."""
    colors = np.array([[55, 128, 250, 77]] * 3, "u1")
    assert colors_of(triangle_file(colors), gltf_colors="srgb").tolist() == colors[0].tolist()
    assert colors_of(triangle_file(colors)).tolist() != colors[0].tolist()


def test_every_byte_of_display_values_is_read_as_it_stands(tmp_path):
    """What shapes were prepared from before linear colours were read, to the byte."""
    num = len(EVERY_BYTE)
    path = tmp_path / "strip.gltf"
    write_mesh(path, strip(EVERY_BYTE))
    document = json.loads(path.read_bytes())
    at = document["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"]
    document["accessors"][at] = {
        "bufferView": len(document["bufferViews"]),
        "componentType": 5121,
        "normalized": True,
        "type": "VEC4",
        "count": num,
    }
    document["bufferViews"].append({"buffer": len(document["buffers"]), "byteLength": 4 * num})
    uri = "data:application/octet-stream;base64," + base64.b64encode(EVERY_BYTE.tobytes()).decode()
    document["buffers"].append({"byteLength": 4 * num, "uri": uri})
    path.write_text(json.dumps(document))
    np.testing.assert_array_equal(read_mesh(path, gltf_colors="srgb").colors, EVERY_BYTE)
