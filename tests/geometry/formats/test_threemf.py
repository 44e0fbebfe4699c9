"""3MF files are read back by two independent readers: trimesh, and the consortium's lib3mf."""

import zipfile

import numpy as np
import pytest
import trimesh

from foreign_readers import read_by_lib3mf
from g3pt.geometry.mesh import NEUTRAL_GREY, MeshError, TriangleMesh, read_mesh, write_mesh


def painted_box(size=(20.0, 30.0, 40.0)):
    body = trimesh.creation.box(extents=size)
    colors = [[255, 0, 0, 255], [0, 128, 0, 255], [0, 0, 255, 200], [9, 8, 7, 255]] * 2
    return TriangleMesh.from_arrays(body.vertices, body.faces, colors)


def plain_box():
    return TriangleMesh(painted_box().vertices, painted_box().faces)


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


# Colours that are read


MODEL = """<model unit="millimeter" xmlns:m="m"><resources>
<m:colorgroup id="7"><m:color color="#FF0000"/><m:color color="#00ff0080"/></m:colorgroup>
<object id="1" {object}><mesh><vertices>
<vertex x="0" y="0" z="0"/><vertex x="1" y="0" z="0"/><vertex x="0" y="1" z="0"/>
<vertex x="1" y="1" z="0"/></vertices><triangles>
<triangle v1="0" v2="1" v3="2" {triangle}/><triangle v1="1" v2="3" v3="2"/>
</triangles></mesh></object></resources><build><item objectid="1"/></build></model>"""


def read_model(path, **words):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("3D/3dmodel.model", MODEL.format(**words))
    return read_mesh(path)


def test_colours_come_back_as_they_were_written(tmp_path):
    mesh = painted_box()
    write_mesh(tmp_path / "box.3mf", mesh)

    back = read_mesh(tmp_path / "box.3mf")

    np.testing.assert_array_equal(back.colors, mesh.colors)
    np.testing.assert_array_equal(back.faces, mesh.faces)


def test_a_vertex_between_two_colours_becomes_two(tmp_path):
    words = {"object": 'pid="7" pindex="1"', "triangle": 'pid="7" p1="0"'}
    mesh = read_model(tmp_path / "a.3mf", **words)

    red, green = mesh.colors[mesh.faces]
    assert (red == [255, 0, 0, 255]).all() and (green == [0, 255, 0, 128]).all()
    assert len(mesh.vertices) == 6


def test_triangles_without_a_colour_are_grey_among_others(tmp_path):
    mesh = read_model(tmp_path / "a.3mf", object="", triangle='pid="7" p1="0" p2="1" p3="0"')

    first, second = mesh.colors[mesh.faces]
    assert first[1].tolist() == [0, 255, 0, 128]
    assert (second == NEUTRAL_GREY).all()
    assert read_model(tmp_path / "b.3mf", object="", triangle='pid="9" p1="0"').colors is None


def test_colours_that_are_not_there_are_refused(tmp_path):
    for triangle in ('pid="7" p1="2"', 'pid="7" p1="-1"'):
        with pytest.raises(MeshError, match="of the 2 there are") as caught:
            read_model(tmp_path / "a.3mf", object="", triangle=triangle)
        assert caught.value.code == "bad_indices"


def test_a_colour_that_is_none_is_refused(tmp_path):
    broken = MODEL.replace("#00ff0080", "green").format(object="", triangle="")
    with zipfile.ZipFile(tmp_path / "a.3mf", "w") as archive:
        archive.writestr("3D/3dmodel.model", broken)
    with pytest.raises(MeshError, match="expected #RRGGBB"):
        read_mesh(tmp_path / "a.3mf")
