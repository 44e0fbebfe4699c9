import numpy as np
import pytest
import trimesh

from g3pt.geometry.mesh import MeshError, TriangleMesh, read_mesh, volume
from g3pt.geometry.placement import Placement, placement_in

SIDES = np.array([0.4, 1.9, 0.8])  # width, height, depth


def wedge():
    """Not symmetric: its top narrows towards the front."""
    body = trimesh.creation.box(extents=SIDES)
    points = np.array(body.vertices)
    points[(points[:, 1] > 0) & (points[:, 2] < 0), 2] += 0.3
    return TriangleMesh.from_arrays(points + np.array([0.3, -0.2, 0.1]), body.faces)


def sides(mesh):
    lowest, highest = mesh.bounds()
    return highest - lowest


@pytest.mark.parametrize(
    ("axis", "side"), [("longest", 1.9), ("height", 1.9), ("width", 0.4), ("depth", 0.8)]
)
def test_the_named_side_gets_the_size_and_the_others_keep_their_ratio(axis, side):
    placed = wedge().placed(size_mm=120, axis=axis)

    np.testing.assert_allclose(sides(placed), SIDES * 120 / side, rtol=1e-12)


def test_z_up_turns_the_top_to_plus_z_and_the_front_to_minus_y():
    top, front = wedge().vertices.argmax(axis=0)[1:]
    placed = wedge().placed(up="z")

    assert placed.vertices[top, 2] == placed.vertices[:, 2].max()
    assert placed.vertices[front, 1] == placed.vertices[:, 1].min()
    np.testing.assert_allclose(sides(placed), SIDES[[0, 2, 1]])
    assert volume(placed) == pytest.approx(volume(wedge()))  # turned, not mirrored


@pytest.mark.parametrize("up", ["y", "z"])
def test_a_move_can_be_undone(up):
    move = Placement(size_mm=120, up=up, origin="base").move_of(wedge())

    back = move.undo(move.apply(wedge()))
    np.testing.assert_allclose(back.vertices, wedge().vertices, atol=1e-12)


def test_the_origin_is_the_centre_or_the_middle_of_the_lowest_side():
    for up, level in (("y", 1), ("z", 2)):
        np.testing.assert_allclose(wedge().placed(up=up).bounds().mean(axis=0), 0, atol=1e-12)
        lowest, highest = wedge().placed(up=up, origin="base").bounds()
        assert lowest[level] == 0
        middle = np.delete(lowest + highest, level)
        np.testing.assert_allclose(middle, 0, atol=1e-12)


def test_colours_and_faces_stay():
    colors = np.arange(32, dtype=np.uint8).reshape(8, 4)
    painted = TriangleMesh(wedge().vertices, wedge().faces, colors)
    placed = painted.placed(size_mm=10, up="z", origin="base")

    np.testing.assert_array_equal(placed.colors, colors)
    np.testing.assert_array_equal(placed.faces, painted.faces)


def test_a_flat_mesh_has_no_height_to_scale():
    flat = TriangleMesh.from_arrays([[0, 0, 0], [1, 0, 0], [0, 0, 1]], [[0, 1, 2]])

    with pytest.raises(MeshError, match="no height"):
        flat.placed(size_mm=10, axis="height")
    assert sides(flat.placed(size_mm=10))[0] == pytest.approx(10)


@pytest.mark.parametrize("size", [0, -1, float("nan"), float("inf"), 2e6])
def test_sizes_that_no_object_has_are_refused(size):
    with pytest.raises(ValueError, match="size_mm must be above 0"):
        Placement(size_mm=size)


# Formats


@pytest.mark.parametrize("suffix", [".stl", ".3mf"])
def test_files_for_printers_are_millimetres_z_up_and_on_the_plate(tmp_path, suffix):
    wedge().save(tmp_path / f"a{suffix}")

    lowest, highest = read_mesh(tmp_path / f"a{suffix}").bounds()
    expected = (SIDES * 100 / 1.9)[[0, 2, 1]]
    np.testing.assert_allclose(highest - lowest, expected, rtol=1e-6)
    np.testing.assert_allclose(lowest, [-expected[0] / 2, -expected[1] / 2, 0], atol=1e-5)


@pytest.mark.parametrize("suffix", [".glb", ".gltf", ".obj", ".ply", ".off"])
def test_other_formats_keep_the_numbers_unless_told(tmp_path, suffix):
    wedge().save(tmp_path / f"a{suffix}")

    found = read_mesh(tmp_path / f"a{suffix}")
    np.testing.assert_allclose(found.bounds(), wedge().bounds(), rtol=1e-6)


@pytest.mark.parametrize("suffix", [".glb", ".gltf"])
def test_gltf_is_in_metres(tmp_path, suffix):
    wedge().save(tmp_path / f"a{suffix}", size_mm=120)

    scene = trimesh.load_scene(tmp_path / f"a{suffix}")
    assert scene.extents.max() == pytest.approx(0.12, rel=1e-6)


@pytest.mark.parametrize("suffix", [".obj", ".ply", ".off"])
def test_formats_without_a_unit_take_millimetres_and_either_axis(tmp_path, suffix):
    wedge().save(tmp_path / f"a{suffix}", size_mm=120, up="z", origin="base")

    lowest, highest = trimesh.load(tmp_path / f"a{suffix}", force="mesh").bounds
    assert (highest - lowest)[2] == pytest.approx(120, rel=1e-6)
    assert lowest[2] == 0


@pytest.mark.parametrize(
    ("suffix", "told", "message"),
    [
        (".glb", {"up": "z"}, "up cannot be z in .glb.*leave it out, or write .3mf"),
        (".gltf", {"up": "z", "size_mm": 10}, "up cannot be z in .gltf"),
        (".usdz", {"up": "z"}, "up cannot be z in .usdz"),
        (".3mf", {"up": "y"}, "up cannot be y in .3mf.*leave it out"),
        (".stl", {"axis": "height"}, "axis names the side .* give size_mm"),
    ],
)
def test_what_a_format_cannot_carry_is_refused_with_what_to_do(tmp_path, suffix, told, message):
    with pytest.raises(ValueError, match=message):
        wedge().save(tmp_path / f"a{suffix}", **told)
    assert not list(tmp_path.iterdir())


def test_a_place_of_its_own_is_kept_until_something_is_told():
    assert placement_in(".stl", has_place=True) is None
    told = placement_in(".stl", up="z", has_place=True)
    assert told == Placement(size_mm=None, up="z", origin="base")
