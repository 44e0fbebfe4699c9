"""Draco data is read by Google's own decoder; `test_exports` has the validator of Khronos."""

import json
import struct
from dataclasses import replace

import numpy as np
import pytest
import trimesh

from g3pt.geometry.formats.gltf import glb_chunks
from g3pt.geometry.formats.gltf_write import encode_draco
from g3pt.geometry.mesh import (
    TriangleMesh,
    is_closed,
    num_components,
    read_mesh,
    volume,
    write_mesh,
)
from g3pt.geometry.texture import Texture
from g3pt.geometry.triangles import MeshError
from node_tools import run_node


def ball(*, painted: bool) -> TriangleMesh:
    body = trimesh.creation.icosphere(subdivisions=3, radius=0.9)
    colors = np.random.default_rng(0).integers(0, 256, (len(body.vertices), 4))
    colors[:, 3] = 255
    return TriangleMesh.from_arrays(body.vertices, body.faces, colors if painted else None)


def test_the_validator_would_find_a_fault(tmp_path) -> None:
    write_mesh(tmp_path / "a.glb", ball(painted=False))
    data = bytearray((tmp_path / "a.glb").read_bytes())
    size = struct.unpack_from("<I", data, 12)[0]
    data[20 : 20 + size] = data[20 : 20 + size].replace(b'"VEC3"', b'"VEC2"')
    (tmp_path / "a.glb").write_bytes(data)

    (report,) = run_node("validate.js", tmp_path / "a.glb")
    assert report["issues"]["numErrors"] > 0


@pytest.mark.parametrize("painted", [False, True])
def test_googles_decoder_finds_the_mesh_and_its_colours(tmp_path, painted) -> None:
    pytest.importorskip("DracoPy")
    mesh = ball(painted=painted)
    write_mesh(tmp_path / "a.glb", mesh, compress="draco")
    text, binary = glb_chunks((tmp_path / "a.glb").read_bytes())
    document = json.loads(text)
    (tmp_path / "a.drc").write_bytes(binary[: document["bufferViews"][0]["byteLength"]])

    (found,) = run_node("draco.js", tmp_path / "a.drc")

    (primitive,) = document["meshes"][0]["primitives"]
    packed = primitive["extensions"]["KHR_draco_mesh_compression"]["attributes"]
    rows = {
        name: np.reshape(found["attributes"][str(key)]["rows"], (-1, 4 if "COLOR" in name else 3))
        for name, key in packed.items()
    }
    assert set(rows) == {"POSITION", "NORMAL", *(["COLOR_0"] if painted else [])}
    assert all(
        len(row) == entry["count"]
        for row, entry in zip(
            rows.values(),
            (document["accessors"][primitive["attributes"][n]] for n in rows),
            strict=True,
        )
    )
    body = trimesh.Trimesh(rows["POSITION"], found["faces"])
    assert body.is_volume
    assert body.volume == pytest.approx(volume(mesh), rel=1e-3)
    normals = rows["POSITION"] / np.linalg.norm(rows["POSITION"], axis=1, keepdims=True)
    assert np.einsum("ij,ij->i", normals, rows["NORMAL"]).min() > 0.99


def test_a_textured_face_that_draco_would_drop_is_not_lost_without_a_word(tmp_path) -> None:
    pytest.importorskip("DracoPy")
    corners = np.array([(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 1)], float)
    faces = np.array([(0, 2, 1), (0, 1, 3), (1, 2, 3), (2, 0, 3), (3, 4, 1)])
    texture = Texture(corners[:, :2].copy(), faces, np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(MeshError, match=r"Draco kept 4 of 5 faces.*without compression"):
        encode_draco(TriangleMesh(corners, faces), texture)
    assert encode_draco(TriangleMesh(corners, faces[:4]), replace(texture, corners_F3=faces[:4]))


def test_draco_keeps_closedness_colours_and_size_and_is_small(tmp_path) -> None:
    pytest.importorskip("DracoPy")
    mesh = ball(painted=True)
    write_mesh(tmp_path / "plain.glb", mesh)
    write_mesh(tmp_path / "packed.glb", mesh, compress="draco")

    back = read_mesh(tmp_path / "packed.glb")
    assert is_closed(back) and num_components(back) == 1
    near = np.linalg.norm(mesh.vertices[:, None] - back.vertices, axis=2)
    assert near.min(axis=1).max() < 1.8 / 2**14
    np.testing.assert_array_equal(mesh.colors, back.colors[near.argmin(axis=1)])
    sizes = [(tmp_path / f"{name}.glb").stat().st_size for name in ("plain", "packed")]
    assert sizes[1] < sizes[0] / 3


@pytest.mark.parametrize("suffix", [".gltf", ".stl", ".3mf", ".obj"])
def test_other_formats_are_not_compressed(tmp_path, suffix) -> None:
    with pytest.raises(ValueError, match=r"compress is draco, which .* write .glb"):
        write_mesh(tmp_path / f"a{suffix}", ball(painted=False), compress="draco")
    assert not list(tmp_path.iterdir())


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "DracoPy", None)
    with pytest.raises(ImportError, match=r"g3pt\[export\]"):
        write_mesh(tmp_path / "a.glb", ball(painted=False), compress="draco")
