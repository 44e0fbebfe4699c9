"""3MF files are read back by two independent readers: trimesh, and the consortium's lib3mf."""

import zipfile

import numpy as np
import pytest
import trimesh

from g3pt.geometry.mesh import TriangleMesh, read_mesh, write_mesh


def painted_box(size=(20.0, 30.0, 40.0)):
    body = trimesh.creation.box(extents=size)
    colors = [[255, 0, 0, 255], [0, 128, 0, 255], [0, 0, 255, 200], [9, 8, 7, 255]] * 2
    return TriangleMesh.from_arrays(body.vertices, body.faces, colors)


def plain_box():
    return TriangleMesh(painted_box().vertices, painted_box().faces)


def read_by_lib3mf(path):
    lib3mf = pytest.importorskip("lib3mf", reason="lib3mf is not installed: pip install lib3mf")
    model = lib3mf.get_wrapper().CreateModel()
    reader = model.QueryReader("3mf")
    reader.SetStrictModeActive(True)
    reader.ReadFromFile(str(path))
    assert reader.GetWarningCount() == 0, reader.GetWarning(0)
    return lib3mf, model


def mesh_object(model):
    objects = model.GetMeshObjects()
    assert objects.MoveNext()
    found = objects.GetCurrentMeshObject()
    assert not objects.MoveNext()
    return found


def test_trimesh_finds_the_triangles_in_millimetres(tmp_path):
    mesh = painted_box()
    write_mesh(tmp_path / "box.3mf", mesh)

    (body,) = trimesh.load_scene(tmp_path / "box.3mf").geometry.values()

    assert body.units == "millimeter"
    assert body.is_volume
    np.testing.assert_allclose(body.extents, (20, 30, 40), rtol=1e-8)
    np.testing.assert_allclose(body.triangles, mesh.triangles, rtol=1e-8)


def test_lib3mf_accepts_the_package_without_a_warning(tmp_path):
    mesh = painted_box()
    write_mesh(tmp_path / "box.3mf", mesh)

    lib3mf, model = read_by_lib3mf(tmp_path / "box.3mf")

    assert model.GetUnit() == lib3mf.ModelUnit.MilliMeter
    body = mesh_object(model)
    assert body.IsManifoldAndOriented()
    points = np.array([tuple(point.Coordinates) for point in body.GetVertices()])
    corners = np.array([tuple(triangle.Indices) for triangle in body.GetTriangleIndices()])
    np.testing.assert_allclose(points[corners], mesh.triangles, rtol=1e-6)
    items = model.GetBuildItems()
    assert items.MoveNext() and not items.MoveNext()


def test_lib3mf_finds_the_colour_of_every_corner(tmp_path):
    mesh = painted_box()
    write_mesh(tmp_path / "box.3mf", mesh)

    _, model = read_by_lib3mf(tmp_path / "box.3mf")

    body = mesh_object(model)
    for number, face in enumerate(mesh.faces):
        held = body.GetTriangleProperties(number)
        group = model.GetColorGroupByID(held.ResourceID)
        found = [group.GetColor(held.PropertyIDs[corner]) for corner in range(3)]
        found = [(color.Red, color.Green, color.Blue, color.Alpha) for color in found]
        assert found == [tuple(color) for color in mesh.colors[face].tolist()]


def test_a_mesh_without_colours_has_no_colour_group(tmp_path):
    write_mesh(tmp_path / "box.3mf", plain_box())

    _, model = read_by_lib3mf(tmp_path / "box.3mf")

    assert not model.GetColorGroups().MoveNext()
    assert b"colorgroup" not in zipfile.ZipFile(tmp_path / "box.3mf").read("3D/3dmodel.model")


def test_vertices_keep_32_bit_precision(tmp_path):
    ball = trimesh.creation.icosphere(subdivisions=3, radius=61.0)
    mesh = TriangleMesh.from_arrays(ball.vertices, ball.faces)
    write_mesh(tmp_path / "ball.3mf", mesh)

    back = read_mesh(tmp_path / "ball.3mf")

    np.testing.assert_array_equal(back.vertices.astype("f4"), mesh.vertices.astype("f4"))


def test_equal_meshes_make_equal_packages_whatever_the_clock(tmp_path):
    write_mesh(tmp_path / "a.3mf", painted_box())
    write_mesh(tmp_path / "b.3mf", painted_box())

    assert (tmp_path / "a.3mf").read_bytes() == (tmp_path / "b.3mf").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.3mf") as archive:
        infos = archive.infolist()
    assert infos[0].filename == "[Content_Types].xml"
    assert {info.date_time for info in infos} == {(1980, 1, 1, 0, 0, 0)}
