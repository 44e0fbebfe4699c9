import json
import os
import pickle
import socket

import numpy as np
import pytest
import trimesh

from g3pt.geometry.mesh import (
    MESH_SUFFIXES,
    WRITE_SUFFIXES,
    MeshError,
    TriangleMesh,
    concatenate,
    face_normals,
    float_step,
    is_closed,
    keep_faces,
    largest_components,
    merge_vertices,
    num_components,
    read_mesh,
    to_source,
    to_unit,
    unit_frame_of,
    vertex_normals,
    volume,
    write_mesh,
)


def box(size=(1.0, 2.0, 3.0), shift=(0.0, 0.0, 0.0)):
    body = trimesh.creation.box(extents=size)
    return TriangleMesh.from_arrays(body.vertices + np.array(shift), body.faces)


def sphere(radius=1.0):
    body = trimesh.creation.icosphere(subdivisions=3, radius=radius)
    return TriangleMesh.from_arrays(body.vertices, body.faces)


def painted(mesh, seed=0):
    colors = np.random.default_rng(seed).integers(0, 256, (len(mesh.vertices), 4))
    colors[:, 3] = 255
    return TriangleMesh.from_arrays(mesh.vertices, mesh.faces, colors)


def without_faces(mesh, num=1):
    return keep_faces(mesh, np.arange(num, len(mesh.faces)))


def message_of(path):
    with pytest.raises(MeshError) as caught:
        read_mesh(path)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 300
    return message


# Values


def test_volume_of_a_box_is_the_product_of_its_sides():
    assert volume(box(shift=(50.0, 0.0, 0.0))) == pytest.approx(6.0, rel=1e-12)
    inverted = TriangleMesh(box().vertices, box().faces[:, ::-1].copy())
    assert volume(inverted) == pytest.approx(-6.0)


def test_normals_of_a_sphere_look_outward():
    ball = sphere()
    centres = ball.triangles.mean(axis=1)
    assert (np.einsum("fi,fi->f", face_normals(ball), centres) > 0.99).all()
    np.testing.assert_allclose(vertex_normals(ball), ball.vertices, atol=0.02)


def test_normals_without_area_are_zero_not_nan():
    collapsed = TriangleMesh.from_arrays(np.ones((3, 3)), [[0, 1, 2]])
    assert not face_normals(collapsed).any() and not vertex_normals(collapsed).any()


# Unit frame


def test_unit_frame_centres_the_box_and_makes_its_longest_side_1_9():
    mesh = box(shift=(10.0, -4.0, 0.3))
    unit = to_unit(mesh, unit_frame_of(mesh))
    lowest, highest = unit.bounds()
    np.testing.assert_allclose(lowest, -highest, atol=1e-12)
    np.testing.assert_allclose(highest - lowest, np.array([1.0, 2.0, 3.0]) * 1.9 / 3, atol=1e-12)


def test_the_step_of_floats_is_that_of_the_farthest_place():
    for offset in (0.0, 1000.0, -4_200_000.0, 1e12):
        far = box(shift=(offset, 0.0, 1.0))
        longest = np.ptp(far.vertices, axis=0).max()
        expected = np.spacing(np.float32(np.abs(far.vertices).max())) / longest
        assert float_step(far) == pytest.approx(float(expected))


def test_a_mesh_without_extent_has_no_shape_to_lose():
    assert float_step(TriangleMesh.from_arrays([[5.0, 5, 5]] * 3, [[0, 1, 2]])) == 0


def test_to_source_undoes_to_unit():
    mesh = box(shift=(10.0, -4.0, 0.3))
    frame = unit_frame_of(mesh)
    np.testing.assert_allclose(to_source(to_unit(mesh, frame), frame).vertices, mesh.vertices)


def test_unused_vertices_do_not_move_the_unit_frame():
    stray = TriangleMesh(np.concatenate([box().vertices, [[99.0, 0.0, 0.0]]]), box().faces)
    assert unit_frame_of(stray) == unit_frame_of(box())


@pytest.mark.parametrize("vertices", [np.zeros((0, 3)), np.ones((3, 3))])
def test_meshes_without_extent_have_no_unit_frame(vertices):
    faces = [[0, 1, 2]] if len(vertices) else []
    with pytest.raises(MeshError) as caught:
        unit_frame_of(TriangleMesh.from_arrays(vertices, faces))
    assert caught.value.code == ("no_extent" if len(vertices) else "no_triangles")


# Topology


def test_merging_a_soup_restores_the_vertices():
    ball = sphere()
    soup = TriangleMesh(ball.triangles.reshape(-1, 3), np.arange(ball.faces.size).reshape(-1, 3))
    merged = merge_vertices(soup)
    assert len(merged.vertices) == len(ball.vertices)
    np.testing.assert_array_equal(merged.triangles, ball.triangles)


def test_merging_drops_collapsed_faces_and_unused_vertices():
    mesh = box()
    extra = TriangleMesh(
        np.concatenate([[[9.0, 9.0, 9.0]], mesh.vertices]),
        np.concatenate([mesh.faces + 1, [[1, 1, 2]]]),
    )
    merged = merge_vertices(extra)
    assert len(merged.vertices) == 8 and len(merged.faces) == 12


def test_closedness_needs_every_face_and_one_winding():
    assert is_closed(sphere())
    assert not is_closed(without_faces(sphere()))
    flipped = sphere()
    flipped.faces[0] = flipped.faces[0, ::-1].copy()
    assert not is_closed(flipped)
    assert not is_closed(TriangleMesh.from_arrays([], []))


def test_boxes_that_share_an_edge_are_closed():
    assert is_closed(concatenate([box((1, 1, 1)), box((1, 1, 1), (1.0, 1.0, 0.0))]))


def test_parts_are_counted_by_touching_positions():
    apart = concatenate([box(), box(shift=(5.0, 0.0, 0.0)), box((9.0, 9.0, 9.0))])
    assert num_components(apart) == 3
    soup = TriangleMesh(apart.triangles.reshape(-1, 3), np.arange(36 * 3).reshape(-1, 3))
    assert num_components(soup) == 3
    assert num_components(TriangleMesh.from_arrays([], [])) == 0


def test_largest_components_go_by_area():
    parts = concatenate(
        [box((0.1, 0.1, 0.1)), box((3.0, 3.0, 3.0), (5, 0, 0)), box(shift=(9, 0, 0))]
    )
    assert volume(largest_components(parts)) == pytest.approx(27.0)
    assert volume(largest_components(parts, keep=2)) == pytest.approx(33.0)
    assert volume(largest_components(parts, keep=None, min_share=0.01)) == pytest.approx(33.0)


def test_concatenation_paints_uncoloured_parts_grey():
    both = concatenate([painted(box()), box()])
    assert both.colors is not None
    assert (both.colors[8:] == (178, 178, 178, 255)).all()
    assert concatenate([box(), box()]).colors is None
    assert concatenate([]).is_empty


# Files


@pytest.mark.parametrize("suffix", [one for one in WRITE_SUFFIXES if one in MESH_SUFFIXES])
def test_files_round_trip(tmp_path, suffix):
    ball = painted(sphere(3.0))
    write_mesh(tmp_path / f"ball{suffix}", ball)
    back = read_mesh(tmp_path / f"ball{suffix}")
    assert is_closed(back)
    assert volume(back) == pytest.approx(volume(ball), rel=1e-6)
    np.testing.assert_allclose(back.triangles, ball.triangles, atol=1e-5)  # float32 in files
    if suffix not in (".stl", ".off"):
        assert back.colors is not None
        np.testing.assert_array_equal(back.colors[:, :3], ball.colors[:, :3])


def test_glb_files_carry_vertex_normals(tmp_path):
    write_mesh(tmp_path / "ball.glb", sphere())
    data = (tmp_path / "ball.glb").read_bytes()
    header = json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])
    assert "NORMAL" in header["meshes"][0]["primitives"][0]["attributes"]


def test_equal_meshes_make_equal_files(tmp_path):
    for name in ("a.glb", "b.glb"):
        write_mesh(tmp_path / name, painted(sphere()))
    assert (tmp_path / "a.glb").read_bytes() == (tmp_path / "b.glb").read_bytes()


def test_writing_leaves_no_temporary_file_behind(tmp_path):
    write_mesh(tmp_path / "a.ply", box())
    assert [path.name for path in tmp_path.iterdir()] == ["a.ply"]


def test_scenes_are_joined_with_their_transforms(tmp_path):
    scene = trimesh.Scene()
    body = trimesh.creation.box(extents=[1, 1, 1])
    scene.add_geometry(body, transform=trimesh.transformations.translation_matrix([5, 0, 0]))
    scene.add_geometry(body, transform=np.diag([2.0, 2.0, 2.0, 1.0]))
    (tmp_path / "scene.glb").write_bytes(scene.export(file_type="glb"))
    mesh = read_mesh(tmp_path / "scene.glb")
    assert volume(mesh) == pytest.approx(9.0)
    np.testing.assert_allclose(mesh.bounds(), [[-1, -1, -1], [5.5, 1, 1]])


def test_mirrored_parts_still_look_outward(tmp_path):
    scene = trimesh.Scene()
    body = trimesh.creation.box(extents=[1, 1, 1])
    scene.add_geometry(body, transform=np.diag([-1.0, 1.0, 1.0, 1.0]))
    (tmp_path / "mirrored.glb").write_bytes(scene.export(file_type="glb"))
    assert volume(read_mesh(tmp_path / "mirrored.glb")) == pytest.approx(1.0)


def test_base_colour_of_a_material_is_turned_from_linear_to_display(tmp_path):
    body = trimesh.creation.box(extents=[1, 1, 1])
    material = trimesh.visual.material.PBRMaterial(baseColorFactor=[255, 0, 55, 255])
    body.visual = trimesh.visual.TextureVisuals(material=material)
    (tmp_path / "red.glb").write_bytes(trimesh.Scene(body).export(file_type="glb"))
    colors = read_mesh(tmp_path / "red.glb").colors
    # sRGB of linear 55/255 is 0.502.
    assert colors is not None and (colors == (255, 0, 128, 255)).all()


def test_obj_material_colours_are_read_from_the_folder(tmp_path):
    (tmp_path / "red.mtl").write_text("newmtl red\nKd 1 0 0\n")
    (tmp_path / "a.obj").write_text(
        "mtllib red.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nusemtl red\nf 1 2 3\n"
    )
    colors = read_mesh(tmp_path / "a.obj").colors
    assert colors is not None and (colors[:, :3] == (255, 0, 0)).all()


def code_of(path):
    with pytest.raises(MeshError) as caught:
        read_mesh(path)
    return caught.value.code


def test_a_missing_file_is_named(tmp_path):
    assert "no such file" in message_of(tmp_path / "nothing.glb")
    assert code_of(tmp_path / "nothing.glb") == "missing"
    (tmp_path / "nowhere.glb").symlink_to("gone.glb")
    assert code_of(tmp_path / "nowhere.glb") == "missing"


def test_an_unknown_format_lists_the_known_ones(tmp_path):
    (tmp_path / "a.fbx").write_bytes(b"x")
    assert ".glb" in message_of(tmp_path / "a.fbx")
    assert code_of(tmp_path / "a.fbx") == "unknown_format"


def test_what_is_no_regular_file_is_never_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.glb")  # opening it would wait for a writer
    (tmp_path / "folder.glb").mkdir()
    (tmp_path / "loop.glb").symlink_to("loop.glb")
    for name in ("pipe.glb", "folder.glb", "loop.glb"):
        assert code_of(tmp_path / name) == "not_a_file"


def test_a_file_beyond_the_limit_is_not_read(tmp_path, monkeypatch):
    with (tmp_path / "sparse.stl").open("wb") as file:
        file.truncate(2**30 + 1)
    monkeypatch.setattr("pathlib.Path.read_bytes", lambda path: pytest.fail("was read"))
    assert code_of(tmp_path / "sparse.stl") == "too_large"


def test_errors_keep_their_code_from_one_process_to_another():
    error = pickle.loads(pickle.dumps(MeshError("a.glb: cut off", "cut_off")))
    assert (str(error), error.code) == ("a.glb: cut off", "cut_off")
    assert MeshError("anything").code == "unreadable"


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.99])
def test_a_truncated_glb_is_said_to_be_cut_off(tmp_path, share):
    write_mesh(tmp_path / "whole.glb", sphere())
    data = (tmp_path / "whole.glb").read_bytes()
    (tmp_path / "cut.glb").write_bytes(data[: int(len(data) * share)])
    assert "cut off" in message_of(tmp_path / "cut.glb")


@pytest.mark.parametrize(
    ("extension", "hint"),
    [("KHR_draco_mesh_compression", "DracoPy"), ("EXT_meshopt_compression", "unpack it")],
)
def test_packed_vertices_are_refused_with_a_way_out(tmp_path, monkeypatch, extension, hint):
    monkeypatch.setattr("g3pt.geometry.formats.gltf.find_spec", lambda name: None)
    write_mesh(tmp_path / "a.gltf", box())
    document = json.loads((tmp_path / "a.gltf").read_text())
    document["extensionsRequired"] = [extension]
    (tmp_path / "a.gltf").write_text(json.dumps(document))
    assert hint in message_of(tmp_path / "a.gltf")
    assert code_of(tmp_path / "a.gltf") == "compressed"


@pytest.mark.parametrize("suffix", MESH_SUFFIXES)
def test_files_of_nonsense_are_refused_in_one_sentence(tmp_path, suffix):
    for name, content in (("zero", b""), ("noise", bytes(range(256)) * 9), ("words", b"hello\n")):
        (tmp_path / f"{name}{suffix}").write_bytes(content)
        assert name in message_of(tmp_path / f"{name}{suffix}")


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_a_mesh_that_is_not_finite_has_no_unit_frame(number):
    vertices = np.array([(0, 0, number), (1, 0, 0), (0, 1, 0)])
    with pytest.raises(MeshError, match=r"has extent (nan|inf), expected a finite") as caught:
        unit_frame_of(TriangleMesh.from_arrays(vertices, [(0, 1, 2)]))
    assert caught.value.code == "no_extent"


def test_a_file_of_an_unknown_format_is_named(tmp_path):
    (tmp_path / "a.fbx").write_bytes(b"")
    assert message_of(tmp_path / "a.fbx").startswith(f"{tmp_path / 'a.fbx'}: ")


def test_files_without_faces_are_called_empty(tmp_path):
    (tmp_path / "points.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\n")
    assert "empty" in message_of(tmp_path / "points.obj")


def test_nan_vertices_are_counted(tmp_path):
    (tmp_path / "nan.obj").write_text("v 0 0 nan\nv 1 0 0\nv 0 inf 0\nf 1 2 3\n")
    assert "2 of 3 vertices have NaN" in message_of(tmp_path / "nan.obj")
    broken = box()
    broken.vertices[3, 1] = np.nan
    write_mesh(tmp_path / "nan.ply", broken)
    assert "1 of 8 vertices have NaN" in message_of(tmp_path / "nan.ply")


def test_faces_beyond_the_vertices_are_refused(tmp_path):
    (tmp_path / "far.off").write_text("OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 7\n")
    assert "far.off" in message_of(tmp_path / "far.off")


def gltf_with_buffer(folder, uri):
    write_mesh(folder / "a.gltf", box())
    document = json.loads((folder / "a.gltf").read_text())
    document["buffers"][0]["uri"] = uri
    (folder / "a.gltf").write_text(json.dumps(document))
    return folder / "a.gltf"


@pytest.mark.parametrize("uri", ["../secret.bin", "/etc/hostname", "x/%2e%2e/../../secret.bin"])
def test_references_outside_the_folder_are_refused(tmp_path, uri):
    (tmp_path / "secret.bin").write_bytes(b"0" * 4096)
    (tmp_path / "inner").mkdir()
    assert "outside its folder" in message_of(gltf_with_buffer(tmp_path / "inner", uri))


def test_links_out_of_the_folder_are_refused(tmp_path):
    (tmp_path / "secret.bin").write_bytes(b"0" * 4096)
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "link.bin").symlink_to(tmp_path / "secret.bin")
    assert "outside its folder" in message_of(gltf_with_buffer(tmp_path / "inner", "link.bin"))


def test_references_to_the_network_are_refused_without_a_connection(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    path = gltf_with_buffer(tmp_path, "https://example.org/a.bin")
    assert "only files in its own folder are read" in message_of(path)


def test_obj_material_libraries_outside_the_folder_are_refused(tmp_path):
    (tmp_path / "inner").mkdir()
    path = tmp_path / "inner" / "a.obj"
    path.write_text("mtllib ../x.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    assert "outside its folder" in message_of(path)


def test_unknown_formats_are_not_written(tmp_path):
    with pytest.raises(MeshError, match="expected one of"):
        write_mesh(tmp_path / "a.fbx", box())


def test_the_command_line_offers_the_formats_that_are_written():
    from g3pt.cli.options import MESH_FORMATS

    assert MESH_FORMATS == WRITE_SUFFIXES


def test_writing_an_empty_mesh_or_into_no_folder_is_refused(tmp_path):
    for suffix in WRITE_SUFFIXES:  # not every format minds by itself
        with pytest.raises(MeshError, match=rf"a{suffix}: the mesh to write has no faces"):
            write_mesh(tmp_path / f"a{suffix}", TriangleMesh.from_arrays([], []))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(MeshError, match="does not exist"):
        write_mesh(tmp_path / "none" / "a.glb", box())
