import base64
import importlib.util
import io
import json
import logging
import struct
import threading
import time
import zipfile

import numpy as np
import pytest
import trimesh
from PIL import Image

from g3pt.geometry.formats import limits, textures, threemf
from g3pt.geometry.formats.foreign import _Resolver
from g3pt.geometry.mesh import MeshError, is_closed, parse_mesh, read_mesh, volume

POINTS = np.array([(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)], np.float64)
FACES = np.array([(0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3)], np.int64)
OBJ = b"v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\n"


def read(data, kind, companions=None):
    if isinstance(data, dict):
        data = json.dumps(data).encode()
    return parse_mesh(data, kind, name="thing", companions=companions)


def refusal(data, kind, companions=None):
    with pytest.raises(MeshError) as caught:
        read(data, kind, companions)
    assert str(caught.value).startswith("thing: ") and len(str(caught.value)) < 250
    return caught.value


def code(data, kind, companions=None):
    return refusal(data, kind, companions).code


def is_the_tetrahedron(mesh):
    return is_closed(mesh) and volume(mesh) == pytest.approx(1 / 6, rel=1e-3)


def gltf(arrays, **primitive):
    """A glTF document whose accessor i holds `arrays[i]`; accessor 0 are the positions."""
    document = {
        "asset": {"version": "2.0"},
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1, **primitive}]}],
        "buffers": [],
        "bufferViews": [],
        "accessors": [],
    }
    for index, array in enumerate(arrays):
        data = np.ascontiguousarray(array).tobytes()
        uri = "data:application/octet-stream;base64," + base64.b64encode(data).decode()
        document["buffers"].append({"byteLength": len(data), "uri": uri})
        document["bufferViews"].append({"buffer": index, "byteLength": len(data)})
        kind = {"f4": 5126, "i2": 5122, "u2": 5123, "u1": 5121, "i1": 5120, "u4": 5125}
        entry = {"bufferView": index, "count": len(array)}
        entry["componentType"] = kind[array.dtype.str[1:]]
        entry["type"] = "SCALAR" if array.ndim == 1 else f"VEC{array.shape[1]}"
        document["accessors"].append(entry)
    return document


def tetrahedron_gltf():
    return gltf([POINTS.astype("<f4"), FACES.reshape(-1).astype("<u2")])


# glTF


def test_normalized_integers_are_fractions():
    positions = np.rint(POINTS * 32767).astype("<i2")
    document = gltf([positions, FACES.reshape(-1).astype("<u1")])
    assert volume(read(document, "gltf")) == pytest.approx(32767**3 / 6, rel=1e-3)
    document["accessors"][0]["normalized"] = True
    assert is_the_tetrahedron(read(document, "gltf"))


def test_the_lowest_signed_byte_is_minus_one():
    document = gltf(
        [np.array([(-128, 0, 0), (127, 0, 0), (0, 127, 0)], "i1"), np.arange(3, dtype="<u2")]
    )
    document["accessors"][0]["normalized"] = True
    assert read(document, "gltf").vertices[0, 0] == -1.0


def test_sparse_values_replace_rows_and_fill_missing_ones():
    document = gltf(
        [
            POINTS.astype("<f4") * 0,
            FACES.reshape(-1).astype("<u2"),
            np.array([1, 2, 3], "<u2"),
            POINTS[1:].astype("<f4"),
        ]
    )
    document["accessors"][0]["sparse"] = {
        "count": 3,
        "indices": {"bufferView": 2, "componentType": 5123},
        "values": {"bufferView": 3},
    }
    assert is_the_tetrahedron(read(document, "gltf"))
    del document["accessors"][0]["bufferView"]
    assert is_the_tetrahedron(read(document, "gltf"))


def test_interleaved_rows_are_found_by_their_stride():
    rows = np.concatenate([POINTS, POINTS * 9], axis=1).astype("<f4")
    document = gltf([rows[:, :3], FACES.reshape(-1).astype("<u2"), rows.reshape(-1)])
    document["accessors"][0] |= {"bufferView": 2, "type": "VEC3", "count": 4}
    document["bufferViews"][2]["byteStride"] = 24
    assert is_the_tetrahedron(read(document, "gltf"))


def test_strips_and_fans_keep_their_faces_outward():
    strip = gltf([POINTS.astype("<f4"), np.array([0, 2, 1, 3, 0, 2], "<u2")], mode=5)
    assert is_the_tetrahedron(read(strip, "gltf"))
    fan = gltf([POINTS.astype("<f4"), np.array([0, 1, 3, 2, 1], "<u2")], mode=6)
    assert len(read(fan, "gltf").faces) == 3


def test_corners_may_come_without_indices():
    document = gltf([POINTS[FACES.reshape(-1)].astype("<f4"), np.zeros(3, "<u2")])
    del document["meshes"][0]["primitives"][0]["indices"]
    assert is_the_tetrahedron(read(document, "gltf"))


@pytest.mark.skipif(not importlib.util.find_spec("DracoPy"), reason="DracoPy is not installed")
def test_draco_is_unpacked():
    ball = trimesh.creation.icosphere(subdivisions=2)
    data = trimesh.Scene(ball).export(file_type="glb", extension_draco=True)
    assert b"DRACO" in data
    mesh = read(data, "glb")
    assert is_closed(mesh) and volume(mesh) == pytest.approx(ball.volume, rel=1e-3)
    broken = data.replace(b"DRACO", b"drama")
    assert code(broken, "glb") == "unreadable"


def png(color, size=(2, 2)):
    out = io.BytesIO()
    Image.new("RGB", size, color).save(out, "PNG")
    return out.getvalue()


def textured_gltf(image):
    document = gltf(
        [POINTS.astype("<f4"), FACES.reshape(-1).astype("<u2"), np.full((4, 2), 0.5, "<f4")],
        material=0,
    )
    document["meshes"][0]["primitives"][0]["attributes"]["TEXCOORD_0"] = 2
    document["materials"] = [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}]
    document["textures"] = [{"source": 0}]
    document["images"] = [image]
    return document


def test_textures_are_read_from_beside_the_file_and_may_be_missing():
    pictures = {"skins/red.png": png((200, 10, 10))}

    def companions(name):
        if name not in pictures:
            raise FileNotFoundError(name)
        return pictures[name]

    mesh = read(textured_gltf({"uri": "skins/./red.png"}), "gltf", companions)
    assert (mesh.colors == (200, 10, 10, 255)).all()
    lost = read(textured_gltf({"uri": "lost.png"}), "gltf", companions)
    assert (lost.colors == 255).all()


def counted_textures(monkeypatch):
    """The sizes of the pictures that are decoded from now on."""
    decoded = []
    original = textures.open_texture

    def counting(data, *arguments):
        decoded.append(len(data))
        return original(data, *arguments)

    monkeypatch.setattr(textures, "open_texture", counting)
    return decoded


def gltf_of_textures(*images):
    """A document of one primitive for each image."""
    document = textured_gltf({})
    (primitive,) = document["meshes"][0]["primitives"]
    numbers = range(len(images))
    document["meshes"][0]["primitives"] = [primitive | {"material": number} for number in numbers]
    slots = [{"baseColorTexture": {"index": number}} for number in numbers]
    document["materials"] = [{"pbrMetallicRoughness": slot} for slot in slots]
    document["textures"] = [{"source": number} for number in numbers]
    document["images"] = list(images)
    return document


def test_each_picture_of_a_document_is_decoded_once(monkeypatch):
    pictures = {"a.png": png((200, 10, 10)), "b.png": png((10, 200, 10), (3, 3))}
    decoded = counted_textures(monkeypatch)
    names = ["b.png", "a.png", "b.png", "a.png"]
    document = gltf_of_textures(*({"uri": name} for name in names))
    mesh = read(document, "gltf", pictures.__getitem__)
    assert mesh.colors[::4, 0].tolist() == [10, 200, 10, 200] and len(decoded) == 2
    uri = "data:image/png;base64," + base64.b64encode(pictures["a.png"]).decode()
    document = gltf_of_textures(*[{"bufferView": 3}] * 12)
    document["buffers"].append({"byteLength": len(pictures["a.png"]), "uri": uri})
    document["bufferViews"].append({"buffer": 3, "byteLength": len(pictures["a.png"])})
    assert (read(document, "gltf").colors[:, 0] == 200).all() and len(decoded) == 3


def test_the_pictures_of_an_object_have_a_limit_in_all(monkeypatch):
    pictures = {f"{k}.png": png((k, 10, 10), (4, 4)) for k in range(3)}
    document = gltf_of_textures(*({"uri": name} for name in pictures))
    library = "".join(f"newmtl {k}\nmap_Kd {k}.png\n" for k in range(3)).encode()
    faces = "".join(f"usemtl {k}\nf 1/1 2/1 3/1\n" for k in range(3)).encode()
    scene = b"mtllib a.mtl\n" + OBJ + b"vt 0 0\n" + faces
    files = {**pictures, "a.mtl": library}.__getitem__
    monkeypatch.setattr(textures, "TEXTURE_PIXELS_PER_BYTE", 0)
    monkeypatch.setattr(textures, "FREE_TEXTURE_PIXELS", 48)
    assert len(read(document, "gltf", files).faces) == 12
    assert read(scene, "obj", files).colors[::3, 0].tolist() == [0, 1, 2]
    monkeypatch.setattr(textures, "FREE_TEXTURE_PIXELS", 47)
    for data, kind in ((document, "gltf"), (scene, "obj")):
        error = refusal(data, kind, files)
        assert error.code == "too_large" and "textures of 48 pixels in all" in str(error)
    monkeypatch.setattr(textures, "TEXTURE_PIXELS_PER_BYTE", 64)  # enough for honest files
    assert len(read(document, "gltf", files).faces) == 12


def test_each_picture_of_materials_is_decoded_once_and_only_if_it_is_used(monkeypatch):
    pictures = {f"{k}.png": png((k, 10, 10)) for k in range(2)}
    materials = "".join(f"newmtl {k}\nmap_Kd {k % 2}.png\n" for k in range(6))
    files = {**pictures, "2.png": png((9, 9, 9))}
    files["a.mtl"] = f"{materials}newmtl unused\nmap_Kd 2.png\n".encode()
    faces = "".join(f"usemtl {k}\nf 1/1 2/1 3/1\n" for k in range(6)).encode()
    decoded = counted_textures(monkeypatch)
    mesh = read(b"mtllib a.mtl\n" + OBJ + b"vt 0 0\n" + faces, "obj", files.__getitem__)
    assert mesh.colors[::3, 0].tolist() == [0, 1] * 3 and len(decoded) == 2


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA"])
def test_colours_of_textures_are_those_of_trimesh(mode, monkeypatch):
    monkeypatch.setattr(textures, "_BAND", 3)
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (7, 5, 4), np.uint8), "RGBA").convert(mode)
    out = io.BytesIO()
    image.save(out, "PNG")
    pixels = textures.open_texture(out.getvalue())
    uv = rng.uniform(-3, 3, (200, 2))
    expected = trimesh.visual.color.uv_to_color(uv, image)
    np.testing.assert_array_equal(textures.texture_colors(pixels, uv), expected)


PLY_OF_A_TEXTURE = (
    "ply\nformat ascii 1.0\ncomment TextureFile {}\nelement vertex 3\nproperty float x\n"
    "property float y\nproperty float z\nproperty float s\nproperty float t\n"
    "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
    "0 0 0 0 0\n1 0 0 1 0\n0 1 0 0 1\n3 0 1 2\n"
)


@pytest.mark.parametrize(
    ("suffix", "data", "note"),
    [
        ("ply", PLY_OF_A_TEXTURE.format("a.png").encode(), "texture 'a.png' is missing"),
        ("ply", PLY_OF_A_TEXTURE.format("x").encode(), "texture 'x' is no readable picture"),
        ("gltf", json.dumps(textured_gltf({"uri": "a"})).encode(), "texture 'a' is missing"),
        (
            "gltf",
            json.dumps(textured_gltf({"uri": "data:image/png;base64,AAAA"})).encode(),
            "an embedded texture is no readable picture",
        ),
        (
            "gltf",
            json.dumps(textured_gltf({"bufferView": 0})).encode(),
            "an embedded texture is no readable picture",
        ),
        ("obj", b"mtllib a.mtl\n" + OBJ + b"f 1 2 3\n", "material library 'a.mtl' is missing"),
        ("obj", b"mtllib m.mtl\n" + OBJ + b"f 1 2 3\n", "texture 'a.png' is missing"),
        (
            "obj",
            b"mtllib many.mtl\n" + OBJ + b"f 1 2 3\n",
            "texture '0.png' is missing, texture '1.png' is missing, texture '2.png' is missing "
            "and 4 others",
        ),
    ],
)
def test_one_line_says_what_a_mesh_is_read_without(suffix, data, note, capfd, caplog):
    numbers = [*range(7), *range(7)]
    many = "".join(f"newmtl {k}\nmap_Kd {number}.png\n" for k, number in enumerate(numbers))
    files = {
        "x": b"no picture",
        "m.mtl": b"newmtl a\nmap_Kd a.png\n",
        "many.mtl": many.encode(),
    }

    def companions(name):
        if name not in files:
            raise FileNotFoundError(name)
        return files[name]

    mesh = parse_mesh(data, suffix, name="thing", companions=companions)
    assert len(mesh.faces) > 0 and capfd.readouterr() == ("", "")
    assert [record.getMessage() for record in caplog.records] == [f"thing: {note}; read without"]
    notes = []
    parse_mesh(data, suffix, name="thing", companions=companions, on_note=notes.append)
    assert notes == [f"thing: {note}; read without"] and len(caplog.records) == 1


def test_what_others_log_meanwhile_is_not_lost(caplog):
    """The library is silent in the thread that reads, and only there."""
    library = logging.getLogger("trimesh.util")
    said = threading.Thread(target=library.warning, args=("of another thread",))

    def companions(name):
        library.warning("of this thread")
        said.start()
        said.join()
        return png((9, 200, 9))

    parse_mesh(
        PLY_OF_A_TEXTURE.format("a.png").encode(), "ply", name="thing", companions=companions
    )
    library.warning("afterwards")
    assert [record.getMessage() for record in caplog.records] == ["of another thread", "afterwards"]


def test_a_ply_without_colours_has_none():
    """Texture coordinates alone are no colours; a library would make grey of them."""
    for text in (PLY_OF_A_TEXTURE.format("a.png"), PLY_OF_A_TEXTURE.replace("TextureFile {}", "x")):
        assert read(text.encode(), "ply").colors is None


def test_a_picture_with_too_many_pixels_is_not_unpacked(monkeypatch):
    embedded = "data:image/png;base64," + base64.b64encode(png((1, 2, 3), (40, 40))).decode()
    document = textured_gltf({"uri": embedded})
    assert read(document, "gltf").colors is not None
    monkeypatch.setattr("g3pt.geometry.formats.textures.MAX_TEXTURE_PIXELS", 1000)
    assert code(document, "gltf") == "too_large"


def test_only_pictures_are_opened_as_textures():
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"  # Pillow would run gs
    mesh = read(textured_gltf({"uri": "a.eps"}), "gltf", lambda name: postscript)
    assert (mesh.colors == 255).all()


@pytest.mark.parametrize(
    ("nodes", "hint"),
    [
        ([{"children": [1, 2]}, {"children": [3]}, {"children": [3]}, {"mesh": 0}], "two parents"),
        ([{"mesh": 0}, {"children": [2]}, {"children": [1]}], "cycle"),
        ([{"mesh": 0, "children": [0]}], "cycle"),
    ],
)
def test_nodes_that_are_no_tree_are_refused(nodes, hint):
    error = refusal({**tetrahedron_gltf(), "nodes": nodes}, "gltf")
    assert error.code == "unreadable" and hint in str(error)


def test_a_long_chain_of_nodes_is_no_trouble():
    nodes = [{"children": [i + 1]} for i in range(3000)] + [{"mesh": 0}]
    assert is_the_tetrahedron(read({**tetrahedron_gltf(), "nodes": nodes}, "gltf"))


def test_all_instances_together_stay_below_the_limit(monkeypatch):
    nodes = [{"mesh": 0}] * 5
    document = {**tetrahedron_gltf(), "nodes": nodes, "scenes": [{"nodes": [0, 1, 2, 3, 4]}]}
    assert len(read(document, "gltf").faces) == 20
    monkeypatch.setattr("g3pt.geometry.formats.limits.MAX_FACES", 19)
    assert code(document, "gltf") == "too_large"


@pytest.mark.parametrize("repeated", ["nodes", "primitives"])
def test_copies_may_not_take_far_more_memory_than_the_file(repeated, monkeypatch):
    document = tetrahedron_gltf()
    if repeated == "nodes":
        document |= {"nodes": [{"mesh": 0}] * 20, "scenes": [{"nodes": list(range(20))}]}
    else:
        document["meshes"][0]["primitives"] *= 20
    assert len(read(document, "gltf").faces) == 80
    monkeypatch.setattr("g3pt.geometry.formats.limits.FREE_MESH_BYTES", 1000)
    error = refusal(document, "gltf")
    assert error.code == "too_large" and "place fewer copies" in str(error)
    assert is_the_tetrahedron(read(tetrahedron_gltf(), "gltf"))


def test_a_scene_has_so_many_nodes_with_meshes_at_most(monkeypatch):
    document = tetrahedron_gltf()
    document |= {"nodes": [{"mesh": 0}] * 3, "scenes": [{"nodes": [0, 1, 2]}]}
    monkeypatch.setattr("g3pt.geometry.formats.limits.MAX_INSTANCES", 2)
    assert "places 3 objects, expected at most 2" in str(refusal(document, "gltf"))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"count": 50_000_000}, "cut_off"),
        ({"count": 2**40}, "too_large"),
        ({"byteOffset": 20}, "cut_off"),
        ({"bufferView": -1}, "bad_indices"),
        ({"count": -1}, "unreadable"),
        ({"type": "VEC2"}, "unreadable"),
    ],
)
def test_accessors_are_held_against_their_bytes(change, expected):
    document = tetrahedron_gltf()
    document["accessors"][0] |= change
    assert code(document, "gltf") == expected


def test_an_accessor_without_data_cannot_ask_for_much():
    document = tetrahedron_gltf()
    document["accessors"][0]["count"] = 50_000_000
    del document["accessors"][0]["bufferView"]
    error = refusal(document, "gltf")
    assert error.code == "too_large" and "no data" in str(error)


def test_buffers_shorter_than_declared_are_cut_off():
    document = tetrahedron_gltf()
    document["buffers"][0]["byteLength"] = 4096
    assert code(document, "gltf") == "cut_off"
    document = tetrahedron_gltf()
    document["bufferViews"][0]["byteLength"] = 4096
    assert code(document, "gltf") == "cut_off"


def test_faces_beyond_the_vertices_have_their_own_code():
    document = gltf([POINTS.astype("<f4"), np.array([0, 1, 7], "<u2")])
    assert code(document, "gltf") == "bad_indices"
    assert code(gltf([POINTS.astype("<f4"), np.array([0, 1], "<u2")]), "gltf") == "bad_indices"


def test_a_face_beyond_the_vertices_of_its_part_does_not_land_in_the_next_one():
    document = gltf([POINTS.astype("<f4"), np.array([0, 1, 7], "<u2")])
    document["meshes"][0]["primitives"] *= 2
    error = refusal(document, "gltf")
    assert error.code == "bad_indices" and "names vertex 7 of the 4" in str(error)


def test_instancing_by_extension_is_refused_rather_than_read_once():
    document = tetrahedron_gltf()
    document["nodes"][0]["extensions"] = {"EXT_mesh_gpu_instancing": {"attributes": {}}}
    assert "instances" in str(refusal(document, "gltf"))


def test_json_is_bounded_in_depth_and_size(monkeypatch):
    assert "nested" in str(refusal(b"[" * 100_000, "gltf"))
    assert "NaN" in str(refusal(b'{"a": NaN}', "gltf"))
    monkeypatch.setattr("g3pt.geometry.formats.gltf.MAX_JSON_VALUES", 10)
    assert code(tetrahedron_gltf(), "gltf") == "too_large"


def changed(*path, value):
    """The tetrahedron with one value of its document replaced."""
    document = tetrahedron_gltf()
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return document


@pytest.mark.parametrize(
    ("document", "expected", "hint"),
    [
        (changed("asset", "version", value="1.0"), "unreadable", "version 1.0, expected 2.0"),
        (changed("accessors", value={"a": 1}), "unreadable", "expected a list at accessors"),
        (changed("accessors", 0, "count", value="4"), "unreadable", "expected a count at count"),
        (changed("accessors", 0, "count", value=-4), "unreadable", "expected a count at count"),
        (changed("accessors", 0, "bufferView", value="0"), "bad_indices", "names bufferViews[0]"),
        (changed("bufferViews", 0, "buffer", value="0"), "bad_indices", "names a buffer"),
        (changed("bufferViews", 0, "buffer", value=-1), "bad_indices", "names a buffer"),
        (changed("buffers", 0, value={"byteLength": 48}), "unreadable", "buffer without data"),
        (changed("scene", value=1), "bad_indices", "names scene 1"),
        (changed("scene", value=-1), "bad_indices", "names scene -1"),
        (changed("scene", value="0"), "bad_indices", "names scene 0"),
        (changed("scene", value=False), "bad_indices", "names scene False"),
        (changed("scenes", 0, "nodes", value=["0"]), "bad_indices", "names node 0 of the 1"),
        (changed("scenes", 0, "nodes", value=[False]), "bad_indices", "names node False"),
        (changed("scenes", 0, "nodes", value=[-1]), "bad_indices", "names node -1"),
        (changed("scenes", 0, "nodes", value=[0, 0]), "unreadable", "already part of another"),
        (changed("nodes", value=[{"children": [1]}, {"mesh": 0}]) | {"scenes": [{"nodes": [1]}]},
         "unreadable", "already part of another"),
        (changed("nodes", 0, "rotation", value=[0, 0, 0, 0]), "unreadable", "length zero"),
        ([], "unreadable", "not an object"),
    ],
)  # fmt: skip
def test_a_document_is_held_against_its_own_words(document, expected, hint):
    error = refusal(json.dumps(document).encode(), "gltf")
    assert (error.code, hint in str(error)) == (expected, True), str(error)


def test_positions_need_three_coordinates():
    plane = gltf([POINTS[:, :2].astype("<f4"), FACES.reshape(-1).astype("<u2")])
    assert "2 coordinates, expected 3" in str(refusal(plane, "gltf"))


def test_json_that_is_no_text_is_called_so():
    assert "not UTF-8 text" in str(refusal(b'{"a": "\xff"}', "gltf"))


@pytest.mark.parametrize(
    ("at", "hint"), [([0, 1, 2, 3, 3], "5 sparse values for 4 rows"), ([4], "beyond its accessor")]
)
def test_sparse_values_must_lie_in_their_accessor(at, hint):
    new = np.zeros((len(at), 3), "<f4")
    document = gltf(
        [POINTS.astype("<f4"), FACES.reshape(-1).astype("<u2"), np.array(at, "<u2"), new]
    )
    document["accessors"][0]["sparse"] = {
        "count": len(at),
        "indices": {"bufferView": 2, "componentType": 5123},
        "values": {"bufferView": 3},
    }
    error = refusal(document, "gltf")
    assert (error.code, hint in str(error)) == ("bad_indices", True), str(error)


def glb(*chunks, version=2, length=None):
    """A GLB file of chunks (kind, content)."""
    body = b"".join(struct.pack("<I4s", len(data), kind) + data for kind, data in chunks)
    return struct.pack("<4sII", b"glTF", version, length or 12 + len(body)) + body


def test_a_glb_is_held_against_its_header():
    text = json.dumps(tetrahedron_gltf()).encode()
    assert is_the_tetrahedron(read(glb((b"JSON", text)), "glb"))
    for data, expected, hint in (
        (b"glTF" + bytes(8), "cut_off", "12 bytes are less than a GLB header"),
        (glb((b"JSON", text), version=1), "unreadable", "GLB version 1, expected 2"),
        (glb((b"JSON", text), length=10**6), "cut_off", "bytes that its header declares"),
        (glb((b"JSON", text), (b"BIN\0", b""))[:-8] + b"\1\0\0\0BIN\0", "cut_off", "a chunk"),
        (glb((b"BIN\0", text)), "unreadable", "without JSON"),
        (glb((b"JSON", text)) + bytes(8 * 1000), "too_large", "more than 1000 chunks"),
    ):
        error = refusal(data, "glb")
        assert (error.code, hint in str(error)) == (expected, True), str(error)


def draco_document(encoded, num_rows):
    """A glTF document whose positions and corners are in Draco data."""
    document = gltf([np.frombuffer(encoded, "u1")])
    document["accessors"] = [
        {"componentType": 5126, "type": "VEC3", "count": num_rows},
        {"componentType": 5125, "type": "SCALAR", "count": FACES.size},
    ]
    extension = {"bufferView": 0, "attributes": {"POSITION": 0}}
    document["meshes"][0]["primitives"][0]["extensions"] = {"KHR_draco_mesh_compression": extension}
    document["extensionsUsed"] = ["KHR_draco_mesh_compression"]
    return document, extension


@pytest.mark.skipif(importlib.util.find_spec("DracoPy") is None, reason="needs DracoPy")
def test_draco_data_is_held_against_the_document():
    import DracoPy

    encoded = DracoPy.encode(POINTS.astype(np.float32), FACES.astype(np.uint32))
    document, extension = draco_document(encoded, 4)
    assert is_the_tetrahedron(read(document, "gltf"))
    assert "Draco gave 4 rows, 5 were" in str(refusal(draco_document(encoded, 5)[0], "gltf"))
    extension["attributes"] = {"POSITION": 7}
    assert "Draco data without positions" in str(refusal(document, "gltf"))


# References

REFUSED = [
    "../a.bin",
    "x/../../a.bin",
    "%2e%2e/a.bin",
    "..\\a.bin",
    "/etc/hostname",
    "//host/a.bin",
    "http://host/a.bin",
    "file:///etc/hostname",
    "ftp:a.bin",
    "data:,hello",
    "a\0b",
]


@pytest.mark.parametrize("uri", REFUSED)
def test_references_elsewhere_are_refused_without_asking(uri):
    document = tetrahedron_gltf()
    document["buffers"][0]["uri"] = uri
    asked = []
    assert code(document, "gltf", asked.append) == "external_reference"
    document = {**tetrahedron_gltf(), "images": [{"uri": uri}]}
    if not uri.startswith("data:"):
        assert code(document, "gltf", asked.append) == "external_reference"
        obj = b"mtllib " + uri.encode() + b"\n" + OBJ + b"f 1 2 3\n"
        assert code(obj, "obj", asked.append) == "external_reference"
    assert asked == []


def test_a_missing_buffer_is_named():
    document = tetrahedron_gltf()
    document["buffers"][0]["uri"] = "gone.bin"
    error = refusal(document, "gltf")
    assert error.code == "missing" and "gone.bin" in str(error)


def test_textures_of_ply_files_are_read_with_the_same_care():
    text = PLY_OF_A_TEXTURE.format("a.png").encode()
    mesh = read(text, "ply", lambda name: png((9, 200, 9)))
    assert mesh.colors is not None and (mesh.colors == (9, 200, 9, 255)).all()
    assert code(PLY_OF_A_TEXTURE.format("../a.png").encode(), "ply") == "external_reference"
    asked = []
    read(text, "ply", lambda name: asked.append(name) or b"%!PS-Adobe-3.0 EPSF-3.0\n")
    assert asked == ["a.png"]  # what is no picture is not handed on to trimesh


def test_files_beside_a_mesh_are_only_read():
    with pytest.raises(NotImplementedError, match="only read"):
        _Resolver(limits.References(None), 0).write("a.png", b"")


# OBJ


def test_obj_polygons_become_fans():
    pentagon = b"v 0 0 0\nv 2 0 0\nv 3 1 0\nv 1 2 0\nv 0 1 0\nf 1 2 3 4 5\n"
    assert read(pentagon, "obj").faces.tolist() == [[0, 1, 2], [0, 2, 3], [0, 3, 4]]


@pytest.mark.parametrize("index", [0, -4, 2**62 + 1])
def test_obj_faces_cannot_name_what_no_index_stands_for(index):
    # A fourth vertex follows, which 0 would be if it counted from the latest as others below 1 do.
    data = f"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 {index}\nv 0 0 1\nf 1 2 4\n".encode()
    error = refusal(data, "obj")
    assert error.code == "bad_indices" and f"names number {index} of 3 so far" in str(error)


def test_obj_faces_of_any_material_name_vertices_that_there_are():
    data = b"v 0 0 0\nv 1 0 0\nv 0 1 0\nusemtl a\nf 1 2 3\nusemtl b\nf 1 2 9\n"
    error = refusal(data, "obj")
    assert error.code == "bad_indices" and "names vertex 9 of the 3 there are" in str(error)


def test_obj_relative_indices_count_back_from_where_they_stand():
    data = b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf -3 -2 -1\nv 9 0 0\nv 9 1 0\nv 9 0 1\nf -3 -2 -1\n"
    assert read(data, "obj").faces.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("face", [b"f 1 2 9", b"f 0 1 2", b"f -1 -2 -9", b"f 1 2 " + b"9" * 99])
def test_obj_faces_must_name_vertices(face):
    assert code(OBJ + face + b"\n", "obj") == "bad_indices"


def test_obj_lines_may_be_joined_commented_and_of_any_system():
    data = OBJ + b"f 1 \\\n 2 3 # a face\n"
    for ending in (b"\n", b"\r\n", b"\r"):
        assert len(read(data.replace(b"\n", ending), "obj").faces) == 1


def test_obj_colours_come_from_materials_textures_and_vertices():
    library = b"newmtl red\nKd 1 0 0\nnewmtl skin\nmap_Kd skin.png\n"
    files = {"a.mtl": library, "skin.png": png((0, 0, 250))}
    data = b"mtllib a.mtl\n" + OBJ + b"vt 0.5 0.5\nusemtl red\nf 1 2 3\n"
    data += b"usemtl skin\nf 1/1 2/1 4/1\nusemtl gone\nf 1 3 4\n"
    mesh = read(data, "obj", files.__getitem__)
    colors = mesh.colors[mesh.faces[:, 0]]
    assert colors.tolist() == [[255, 0, 0, 255], [0, 0, 250, 255], [178, 178, 178, 255]]
    tinted = b"v 0 0 0 1 0 0\nv 1 0 0 0 1 0\nv 0 1 0 0 0 1\nf 1 2 3\n"
    assert read(tinted, "obj").colors[1].tolist() == [0, 255, 0, 255]


def test_obj_without_its_material_library_is_still_a_shape():
    mesh = read(b"mtllib gone.mtl\n" + OBJ + b"usemtl a\nf 1 2 3\n", "obj")
    assert len(mesh.faces) == 1 and mesh.colors is None


def test_obj_lines_are_joined_in_a_time_that_grows_as_they_do():
    mesh = read(OBJ + b"f 1 2 \\\n\\ # a comment\n 3 \\\n\nf 1 2 4\n", "obj")
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 1, 3]]
    start = time.process_time()
    assert len(read(OBJ + b"f 1 2 3\n" + b"\\\n" * 300_000, "obj").faces) == 1
    assert time.process_time() - start < 6  # it was a minute of copies


def test_thousands_of_missing_files_are_noted_in_a_time_that_grows_as_they_do():
    references = limits.References(None)
    start = time.process_time()
    for number in range(60_000):
        references.lose("texture", f"{number}.png", "is missing")
    references.lose("texture", "7.png", "is missing")
    assert len(references.lost) == 60_000 and "'0.png'" in references.lost[0]
    assert time.process_time() - start < 5


def test_materials_of_many_groups_colour_their_own_vertices_only():
    faces = "".join(f"usemtl {k}\nf 1 2 {3 + k % 2}\n" for k in range(4)).encode()
    library = "".join(f"newmtl {k}\nKd {k / 5} 0 0\n" for k in range(4)).encode()
    mesh = read(b"mtllib a\n" + OBJ + faces, "obj", lambda name: library)
    assert len(mesh.vertices) == 12 and mesh.colors[::3, 0].tolist() == [0, 51, 102, 153]


# PLY, STL, OFF

TEXT_PLY = (
    b"ply\ncomment ours\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n0\n"
)


@pytest.mark.parametrize(
    ("name", "head", "hint"),
    [
        ("a.obj", OBJ, "zero bytes in a row from byte"),
        ("a.off", b"OFF\n", "zero bytes in a row from byte"),
        ("a.gltf", b"{}", "zero bytes in a row from byte"),
        ("a.stl", b"", "no triangles"),
        ("a.stl", bytes(80) + struct.pack("<I", 10_000), "zero bytes in a row from byte"),
        ("a.stl", bytes(80) + struct.pack("<I", 10_000_000), "cut off, 10000000 faces need"),
        ("a.glb", b"glTF", "GLB version 0"),
        ("a.ply", b"ply\n", "its header has no end"),
        ("a.ply", TEXT_PLY, "it has 4096 zero bytes in a row from byte"),
        ("a.ply", TEXT_PLY.replace(b"ascii", b"binary_big_endian"), "262144 zero bytes in a row"),
        ("a.3mf", b"PK\3\4", "not a whole zip archive"),
    ],
)
def test_holes_in_files_are_refused_before_they_are_in_memory(
    name, head, hint, tmp_path, monkeypatch
):
    path = tmp_path / name
    path.write_bytes(head)
    with path.open("r+b") as file:
        file.truncate(2**22)
    monkeypatch.setattr(limits, "Path", lambda path: pytest.fail(f"{path} was read"))
    with pytest.raises(MeshError) as caught:
        read_mesh(path)
    assert str(caught.value).startswith(f"{path}: ") and hint in str(caught.value)


def test_zero_bytes_in_text_are_refused_in_archives_too():
    assert code(OBJ + b"f 1 2 3\n" + bytes(5000), "obj") == "cut_off"
    assert len(read(OBJ + b"f 1 2 3\n\0", "obj").faces) == 1


def ply(num_vertices, num_faces, body, encoding="binary_little_endian"):
    head = f"ply\nformat {encoding} 1.0\nelement vertex {num_vertices}\n"
    head += "".join(f"property float {axis}\n" for axis in "xyz")
    head += f"element face {num_faces}\nproperty list uchar int vertex_indices\nend_header\n"
    return head.encode() + body


def test_ply_is_read_as_text_and_in_either_byte_order():
    lines = [f"{x} {y} {z}" for x, y, z in POINTS] + [f"3 {a} {b} {c}" for a, b, c in FACES]
    assert is_the_tetrahedron(read(ply(4, 4, "\n".join(lines).encode() + b"\n", "ascii"), "ply"))
    for order, encoding in (("<", "binary_little_endian"), (">", "binary_big_endian")):
        body = POINTS.astype(f"{order}f4").tobytes()
        body += b"".join(b"\3" + face.astype(f"{order}i4").tobytes() for face in FACES)
        assert is_the_tetrahedron(read(ply(4, 4, body, encoding), "ply"))


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (ply(50_000_000, 4, bytes(300)), "ply"),
        (ply(19_000_000, 19_000_000, b"0 0 0\n" * 9, "ascii"), "ply"),
        (b"ply\nformat ascii 1.0\n", "ply"),
        (bytes(80) + struct.pack("<I", 19_000_000) + bytes(100), "stl"),
        (b"solid a\nfacet normal 0 0 0\nouter loop\nvertex 0 0 0\n", "stl"),
        (b"OFF\n19000000 19000000 0\n0 0 0\n", "off"),
        (b"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1\n", "off"),
        (b"OFF", "off"),
        (b"", "obj"),
    ],
)
def test_what_ends_before_what_it_declares_is_cut_off(data, kind):
    assert code(data, kind) == "cut_off"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (ply(4, 50_000_000, bytes(300)), "ply"),
        (bytes(80) + struct.pack("<I", 50_000_000) + bytes(100), "stl"),
        (b"OFF\n4 50000000 0\n", "off"),
    ],
)
def test_declared_counts_have_a_limit(data, kind):
    assert code(data, kind) == "too_large"


def test_stl_is_read_in_both_forms():
    rows = np.zeros(4, [("normal", "<f4", 3), ("at", "<f4", (3, 3)), ("extra", "<u2")])
    rows["at"] = POINTS[FACES]
    binary = b"solid in name only".ljust(80) + struct.pack("<I", 4) + rows.tobytes()
    assert is_the_tetrahedron(read(binary, "stl"))
    text = "solid a\n"
    for face in POINTS[FACES]:
        corners = "".join(f"vertex {x} {y} {z}\n" for x, y, z in face)
        text += f"facet normal 0 0 0\nouter loop\n{corners}endloop\nendfacet\n"
    assert is_the_tetrahedron(read((text + "endsolid a\n").encode(), "stl"))


@pytest.mark.parametrize(
    ("data", "kind", "hint"),
    [
        (b"plyX", "glb", "does not begin with glTF"),
        (b"element", "ply", "does not begin with ply"),
        (b"nothing", "3mf", "does not begin with PK"),
        (b"# nothing\n", "off", "does not begin with OFF"),
        (b"3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n", "off", "does not begin with OFF"),
        (b"4OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n", "off", "does not begin with OFF"),
        (b"C\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n", "off", "does not begin with OFF"),
        (b"OFF\n3\n", "off", "without its counts"),
        (b"OFF\n-3 1 0\n", "off", "cut off, -3 vertices"),
        (bytes(83), "stl", "83 bytes are less than an STL header"),
    ],
)
def test_a_file_that_does_not_begin_as_its_format_is_refused(data, kind, hint):
    assert hint in str(refusal(data, kind))


@pytest.mark.parametrize("corner", [-1, 3])
def test_a_face_of_a_ply_file_names_vertices_that_are_there(corner):
    body = f"0 0 0\n1 0 0\n0 1 0\n3 0 1 {corner}\n".encode()
    assert code(ply(3, 1, body, "ascii"), "ply") == "bad_indices"


def test_data_has_a_largest_size(monkeypatch):
    monkeypatch.setattr("g3pt.geometry.formats.foreign.MAX_FILE_BYTES", len(OBJ))
    assert code(OBJ, "obj") == "no_triangles"
    assert code(OBJ + b"\n", "obj") == "too_large"


def test_unpacked_data_has_a_largest_size_whatever_its_ratio():
    limits.check_unpacking(9, 10, limit=10)
    with pytest.raises(MeshError, match="unpacks to 11 bytes, expected at most 10"):
        limits.check_unpacking(10, 11, limit=10)


@pytest.mark.parametrize("head", ["OFF4 4 0", "OFF\n4 4 6", "OFF 4 4 0", "# a\nOFF\n# b\n4 4 0"])
def test_off_counts_may_stand_anywhere(head):
    lines = [head, *(f"{x} {y} {z}" for x, y, z in POINTS)]
    lines += [f"3 {a} {b} {c}" for a, b, c in FACES]
    assert is_the_tetrahedron(read("\n".join(lines).encode(), "off"))


# 3MF


def model(build='<item objectid="1"/>', more="", mesh=True):
    vertices = "".join(f'<vertex x="{x}" y="{y}" z="{z}"/>' for x, y, z in POINTS)
    faces = "".join(f'<triangle v1="{a}" v2="{b}" v3="{c}"/>' for a, b, c in FACES)
    body = f"<mesh><vertices>{vertices}</vertices><triangles>{faces}</triangles></mesh>"
    first = f'<object id="1">{body}</object>' if mesh else ""
    return f"<model><resources>{first}{more}</resources><build>{build}</build></model>"


def package(text, **more):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("3D/3dmodel.model", text)
        for name, content in more.items():
            archive.writestr(name.replace("__", "/") + ".model", content)
    return out.getvalue()


def test_3mf_builds_are_placed_by_their_transforms():
    more = (
        '<object id="2"><components>'
        '<component objectid="1" transform="2 0 0 0 2 0 0 0 2 0 0 0"/>'
        '<component objectid="1" transform="-1 0 0 0 1 0 0 0 1 5 0 0"/>'
        "</components></object>"
    )
    build = '<item objectid="2" transform="1 0 0 0 1 0 0 0 1 0 7 0"/>'
    mesh = read(package(model(build, more)), "3mf")
    assert is_closed(mesh) and volume(mesh) == pytest.approx(9 / 6)
    np.testing.assert_allclose(mesh.bounds(), [[0, 7, 0], [5, 9, 2]])


def test_3mf_reads_what_trimesh_writes():
    data = trimesh.Scene(trimesh.creation.box(extents=[1, 2, 3])).export(file_type="3mf")
    mesh = read(data, "3mf")
    assert is_closed(mesh) and volume(mesh) == pytest.approx(6)


def test_3mf_components_may_lie_in_another_part():
    use = '<object id="2"><components><component p:path="/3D/b.model" objectid="1"/></components>'
    main = model('<item objectid="2"/>', use + "</object>", mesh=False)
    assert is_the_tetrahedron(read(package(main, **{"3D__b": model()}), "3mf"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (model('<item objectid="7"/>'), "bad_indices"),
        (model().replace('v1="0"', 'v1="9"'), "bad_indices"),
        (model().replace('x="1.0"', 'x="nan"'), "not_finite"),
        (model(build=" "), "no_triangles"),
        (model()[:200], "unreadable"),
        ("<!DOCTYPE a>" + model(), "unreadable"),
        (
            model('<item objectid="2"/>', '<object id="2"><component objectid="2"/></object>'),
            "unreadable",
        ),
    ],
)
def test_3mf_models_are_held_against_their_own_words(text, expected):
    assert code(package(text), "3mf") == expected


@pytest.mark.parametrize(("index", "order"), [("4", "12"), ("-1", "21")])
def test_3mf_faces_of_an_object_cannot_name_vertices_of_the_next(index, order):
    sound = model(mesh=True).partition("<resources>")[2].partition("</resources>")[0]
    bad = model('<item objectid="1"/>').replace('v1="0"', f'v1="{index}"', 1)
    text = bad.replace("</resources>", sound.replace('id="1"', 'id="2"') + "</resources>")
    build = "".join(f'<item objectid="{number}"/>' for number in order)
    text = text.replace('<item objectid="1"/>', build)
    error = refusal(package(text), "3mf")
    assert error.code == "bad_indices" and "beyond the 4 there are" in str(error)


def painted(*colors, p1="0", group=True):
    """A model whose first triangle has a colour of a group."""
    inside = "".join(f'<color color="{color}"/>' for color in colors)
    colored = f'<colorgroup id="5">{inside}</colorgroup>' if group else inside
    text = model().replace("<resources>", f"<resources>{colored}")
    return text.replace("<triangle ", f'<triangle pid="5" p1="{p1}" ', 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (model('<item objectid="7"/>'), "places object '7', which is not in it"),
        (model('<item objectid="1" path="/a.model"/>'), "names the model 'a.model', which is not"),
        (model().replace('v1="0"', 'v1="9"'), "names a vertex beyond the 4 there are"),
        (model().replace('v1="0"', 'v1="-1"'), "names a vertex beyond the 4 there are"),
        ("<!DOCTYPE a>" + model(), "declares a document type"),
        (
            model('<item objectid="2"/>', '<object id="2"><component objectid="2"/></object>'),
            "objects inside objects",
        ),
        (painted("#FF0000", group=False), "a colour outside any colour group"),
        (painted("red"), "has the colour 'red', expected #RRGGBB"),
        (painted("#FF0000", p1="1"), "names colour 1 of the 1 there are"),
        (painted("#FF0000", p1="-1"), "names colour -1 of the 1 there are"),
        ('<model><vertex x="0" y="0" z="0"/></model>', "has a mesh outside any object"),
    ],
)
def test_3mf_models_are_refused_with_the_reason(text, words):
    assert words in str(refusal(package(text), "3mf"))


def test_3mf_colours_are_those_of_their_group():
    assert (read(package(painted("#00FF00")), "3mf").colors == (0, 255, 0, 255)).all(axis=1).any()


def test_3mf_archives_are_whole_plain_and_hold_a_model():
    data = package(model())
    cut = refusal(data[:-40], "3mf")
    assert cut.code == "cut_off" and "not a whole zip archive" in str(cut)
    locked = bytearray(data)
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        locked[data.index(signature) + flags] |= 1
    assert "an encrypted archive" in str(refusal(bytes(locked), "3mf"))
    other = package(model()).replace(b"3D/3dmodel.model", b"3D/3dmodel.mode1")
    assert "without a 3D model in it" in str(refusal(other, "3mf"))


def test_3mf_objects_that_are_placed_too_often_are_not_placed(monkeypatch):
    monkeypatch.setattr("g3pt.geometry.formats.limits.MAX_INSTANCES", 2)
    assert is_the_tetrahedron(read(package(model()), "3mf"))
    error = refusal(package(model('<item objectid="1"/>' * 3)), "3mf")
    assert error.code == "too_large" and "places 3 objects, expected at most 2" in str(error)


def test_3mf_tags_have_a_length(monkeypatch):
    monkeypatch.setattr(threemf, "_BLOCK", 100)
    monkeypatch.setattr(threemf, "MAX_TAG_BYTES", 1000)
    long = model().replace("<model>", '<model a="{}">'.format("a>" * 2000))
    for text in (long, model().replace("<model>", "<model><!--" + "a" * 4000 + "-->")):
        error = refusal(package(text), "3mf")
        assert error.code == "too_large" and "more than 1000 bytes" in str(error)
    text = model().replace("<model>", '<model a="{}">'.format("a" * 700) + "words " * 900)
    assert is_the_tetrahedron(read(package(text), "3mf"))


def test_3mf_copies_may_not_take_far_more_memory_than_the_file(monkeypatch):
    monkeypatch.setattr("g3pt.geometry.formats.limits.FREE_MESH_BYTES", 1000)
    assert is_the_tetrahedron(read(package(model()), "3mf"))
    more = "".join(
        f'<object id="{number}">' + f'<component objectid="{number - 1}"/>' * 20 + "</object>"
        for number in (2, 3)
    )
    error = refusal(package(model('<item objectid="3"/>', more)), "3mf")
    assert error.code == "too_large" and "place fewer copies" in str(error)


def test_3mf_colours_that_split_vertices_count_for_the_memory(monkeypatch):
    text = painted("#00FF00", "#FF0000")
    for corner in (2, 3):
        text = text.replace("<triangle v", f'<triangle pid="5" p1="{corner % 2}" v', 1)
    plain = package(text.replace('pid="5"', "")), "3mf"
    needed = 28 * 4 + 24 * 4
    monkeypatch.setattr("g3pt.geometry.formats.limits.MESH_RATIO", 0)
    monkeypatch.setattr("g3pt.geometry.formats.limits.FREE_MESH_BYTES", needed)
    assert is_the_tetrahedron(read(*plain))
    assert code(package(text), "3mf") == "too_large"


def test_textures_that_claim_billions_of_pixels_are_not_unpacked():
    from g3pt.torture.mesh_files import png_of

    text = PLY_OF_A_TEXTURE.format("a.png").encode()
    for side in (9000, 60_000):  # beyond our limit, and beyond that of Pillow
        error = refusal(text, "ply", lambda name, side=side: png_of(side, side))
        assert error.code == "too_large" and "pixels" in str(error)


def test_3mf_objects_that_double_are_counted_before_they_are_placed():
    more = "".join(
        f'<object id="{i}"><component objectid="{i - 1}"/><component objectid="{i - 1}"/></object>'
        for i in range(2, 60)
    )
    assert code(package(model('<item objectid="59"/>', more)), "3mf") == "too_large"


def test_3mf_archives_that_unpack_to_too_much_are_not_unpacked(monkeypatch):
    bomb = package("<model>" + " " * 30_000_000)
    assert len(bomb) < 100_000
    monkeypatch.setattr("zipfile.ZipFile.open", lambda *_: pytest.fail("was unpacked"))
    assert code(bomb, "3mf") == "too_large"


# Any format


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (ply(0, 0, b""), "obj"),
        (b"OFF\n0 0 0\n", "obj"),
        (b"<!DOCTYPE html><html></html>", "gltf"),
        (b"<html></html>", "obj"),
        (b"PK\x03\x04" + bytes(99), "stl"),
        (b"version https://git-lfs.github.com/spec/v1\n", "off"),
    ],
)
def test_what_is_plainly_something_else_is_called_so(data, kind):
    assert "this is" in str(refusal(data, kind))


def test_coordinates_of_any_size_are_read_or_refused_without_a_warning():
    far = "".join(f"v {x} {y} {z}\n" for x, y, z in POINTS * 1e38) + "f 1 3 2\n"
    assert read(far.encode(), "obj").bounds().max() == 1e38
    assert code(far.replace("e+38", "e+300").encode(), "obj") == "not_finite"


def test_too_little_memory_is_said_to_be_that(monkeypatch):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr("g3pt.geometry.formats.foreign.parse_obj", fail)
    assert code(OBJ, "obj") == "too_large"
