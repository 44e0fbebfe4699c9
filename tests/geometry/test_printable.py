import numpy as np
import pytest
import trimesh

from g3pt.geometry.mesh import (
    MeshError,
    TriangleMesh,
    concatenate,
    is_closed,
    keep_faces,
    num_components,
    volume,
)
from g3pt.geometry.placement import Placement
from g3pt.geometry.printable import make_printable
from g3pt.geometry.walls import measure_walls

WALL = 0.8


def box(size, shift=(0.0, 0.0, 0.0)):
    body = trimesh.creation.box(extents=size)
    return TriangleMesh.from_arrays(body.vertices + np.array(shift), body.faces)


def inverted(mesh):
    return TriangleMesh(mesh.vertices, mesh.faces[:, ::-1].copy(), mesh.colors)


def printable(mesh, size=None, **settings):
    size = size or float(np.ptp(mesh.vertices, axis=0).max())
    place = Placement(size_mm=size, up="z", origin="base")
    return make_printable(mesh, place, min_wall_mm=WALL, **settings)


def assert_one_solid(mesh):
    """Judged by trimesh, and by the volume of its tetrahedra."""
    body = trimesh.Trimesh(mesh.vertices, mesh.faces, process=True)
    assert body.is_volume
    assert body.body_count == 1
    assert body.volume > 0
    assert body.bounds[0, 2] == pytest.approx(0, abs=1e-9)


def test_one_closed_solid_keeps_its_vertices_and_is_measured():
    made = printable(box((20, 30, 10)), size=60)

    assert (made.repair.dropped, made.repair.joined, made.repair.filled) == (0, 0, 0)
    assert not made.repair.remeshed
    assert len(made.mesh.vertices) == 8
    assert made.volume_cm3 == pytest.approx(4 * 6 * 2)
    assert made.area_cm2 == pytest.approx(2 * (4 * 6 + 6 * 2 + 2 * 4))
    assert made.walls.thin_share == 0
    assert made.walls.thinnest == pytest.approx(20, rel=1e-3)
    assert_one_solid(made.mesh)


def test_a_part_that_floats_is_dropped_and_the_rest_gets_the_size():
    made = printable(concatenate([box((20, 20, 20)), box((2, 2, 2), (15, 0, 0))]), size=40)

    assert (made.repair.dropped, made.repair.joined) == (1, 0)
    np.testing.assert_allclose(np.ptp(made.mesh.vertices, axis=0), 40)
    assert_one_solid(made.mesh)


def test_parts_within_a_wall_of_each_other_are_joined_by_a_post():
    gap = 0.6
    chain = [box((10, 10, 10), (k * (10 + gap), 0, 0)) for k in range(3)]
    made = printable(concatenate(chain))

    assert (made.repair.dropped, made.repair.joined) == (0, 2)
    assert made.repair.remeshed
    between = np.abs(np.abs(made.mesh.vertices[:, 0]) - 5.3) < 0.1  # the posts are in the middle
    assert np.abs(made.mesh.vertices[between][:, 1:] - [0, 5]).max() < 1.5
    assert made.volume_cm3 == pytest.approx(3.0, rel=0.005)  # new edges are slightly cut
    assert_one_solid(made.mesh)


def test_cavities_are_filled_and_what_floats_in_them_goes():
    hollow = [box((20, 20, 20)), inverted(box((14, 14, 14))), box((4, 4, 4))]
    made = printable(concatenate(hollow))

    assert (made.repair.filled, made.repair.dropped) == (2, 0)
    assert made.volume_cm3 == pytest.approx(8)
    assert_one_solid(made.mesh)


def test_a_mesh_inside_out_is_turned_with_its_cavity():
    hollow = concatenate([box((20, 20, 20)), inverted(box((14, 14, 14)))])
    for mesh in (box((20, 20, 20)), hollow):
        made = printable(inverted(mesh))

        assert made.volume_cm3 == pytest.approx(8)
        assert_one_solid(made.mesh)


def test_walls_are_thickened_at_the_size_that_is_left_after_dropping():
    far = concatenate([fin(0.3), box((2, 2, 2), (100, 0, 0))])
    made, alone = printable(far, size=30, thicken=True), printable(fin(0.3), thicken=True)

    assert made.repair.dropped == 1
    assert made.volume_cm3 == pytest.approx(alone.volume_cm3, rel=1e-3)


def test_thin_walls_that_a_joint_loses_are_said():
    thin = concatenate([box((30, 30, 0.1)), box((5, 5, 5), (17.9, 0, 1.13))])
    made = printable(thin)

    assert made.repair.joined == 1
    assert made.note is not None and "of the volume was lost" in made.note


def test_an_open_mesh_is_closed():
    body = box((20, 30, 20))
    made = printable(keep_faces(body, np.arange(1, len(body.faces))))

    assert made.repair.remeshed
    assert made.volume_cm3 == pytest.approx(12, rel=0.02)
    assert_one_solid(made.mesh)


def test_a_lone_sheet_is_refused():
    with pytest.raises(MeshError, match="no volume"):
        printable(TriangleMesh.from_arrays([[0, 0, 0], [9, 0, 0], [0, 9, 0]], [[0, 1, 2]]))


def test_faces_that_collapse_when_vertices_are_merged_are_left_out():
    body = box((20, 20, 20))
    faces = np.concatenate([body.faces, [[8, 9, 10], [10, 9, 8]]])  # a pair without area
    made = printable(TriangleMesh(np.concatenate([body.vertices, body.vertices[[0] * 3]]), faces))

    assert len(made.mesh.faces) == 12
    assert made.manifold and not made.repair.remeshed


def test_edges_of_four_faces_are_meshed_anew():
    touching = concatenate([box((10, 10, 10)), box((10, 10, 10), (10, 10, 0))])
    made = printable(touching)

    assert is_closed(touching) and made.repair.remeshed
    assert made.manifold
    assert made.volume_cm3 == pytest.approx(2, rel=0.02)


# Walls


def fin(thickness):
    """A block of 20 x 20 x 15 mm with a fin of 10 x 15 mm on its top: a profile, extruded."""
    half = thickness / 2
    profile = [(-10, -10), (10, -10), (10, 10), (half, 10), (half, 20), (-half, 20), (-half, 10)]
    profile = np.array([*profile, (-10, 10)], dtype=float)
    num = len(profile)
    vertices = np.array([(x, y, z) for z in (-7.5, 7.5) for x, y in profile])
    caps = [(0, 1, 2), (0, 2, 3), (0, 3, 6), (0, 6, 7), (3, 4, 5), (3, 5, 6)]
    faces = [corner[::-1] for corner in caps] + [tuple(c + num for c in corner) for corner in caps]
    for k in range(num):
        after = (k + 1) % num
        faces += [(k, after, after + num), (k, after + num, k + num)]
    mesh = TriangleMesh.from_arrays(vertices, faces)
    assert is_closed(mesh) and volume(mesh) == pytest.approx(15 * (400 + 10 * thickness))
    return mesh


def test_a_thin_fin_is_found_with_its_share_and_place():
    mesh = fin(0.5)
    walls = measure_walls(mesh, WALL)

    area = trimesh.Trimesh(mesh.vertices, mesh.faces).area
    assert walls.thin_share == pytest.approx(2 * 15 * 10 / area, rel=0.05)
    assert walls.thinnest == pytest.approx(0.5, rel=1e-3)
    (place,) = walls.places
    np.testing.assert_allclose(place.center, (0, 15, 0), atol=0.3)
    assert place.share == walls.thin_share
    assert measure_walls(mesh, 0.45).places == ()


def test_places_come_largest_first_and_apart():
    both = concatenate([fin(0.5), box((6, 6, 0.3), (40, 0, 0))])
    walls = measure_walls(both, WALL)

    assert [round(place.center[0] / 40) for place in walls.places] == [0, 1]
    assert walls.places[0].share > walls.places[1].share
    assert walls.places[1].thinnest == pytest.approx(0.3, rel=1e-3)


def test_thin_walls_are_thickened_and_thick_ones_stay():
    made = printable(fin(0.3), thicken=True)

    assert made.walls_before is not None and made.walls_before.thinnest == pytest.approx(0.3, 1e-3)
    assert made.walls.thin_share < 0.02 and made.walls.thinnest > 0.7  # rims are round
    assert made.repair.remeshed
    assert_one_solid(made.mesh)
    # The fin has grown to .84 mm of thickness and by .62 at its rims; the block has not. Then all
    # shrinks, so that the longest side is as long as was asked for.
    grown = 6 + (15 + 1.24) * (10 + 0.62) * 0.84 / 1000
    assert made.volume_cm3 == pytest.approx(grown * (30 / 30.62) ** 3, rel=0.005)
    block = made.mesh.vertices[made.mesh.vertices[:, 2] < 15]
    np.testing.assert_allclose(np.ptp(block, axis=0)[:2] * 30.62 / 30, (20, 15), rtol=0.005)


def test_walls_stay_as_they_are_unless_thickening_is_asked_for():
    made = printable(fin(0.3))

    assert made.walls_before is None and made.walls.thin_share > 0.1
    assert not made.repair.remeshed


def test_sharp_edges_alone_are_no_reason_to_mesh_again():
    cone = trimesh.creation.cone(radius=10, height=10)
    made = printable(TriangleMesh.from_arrays(cone.vertices, cone.faces), size=3000, thicken=True)

    assert made.walls_before is not None and 0 < made.walls_before.thin_share <= 0.002
    assert not made.repair.remeshed


def test_colours_follow_the_surface_through_a_new_mesh():
    mesh = fin(0.3)
    colors = np.where(mesh.vertices[:, 1:2] > 15, [[255, 0, 0, 255]], [[0, 0, 255, 255]])
    made = printable(TriangleMesh.from_arrays(mesh.vertices, mesh.faces, colors), thicken=True)

    assert made.mesh.colors is not None
    top = made.mesh.vertices[:, 2] > 29.5
    assert (made.mesh.colors[top, 0] > 200).all()
    assert (made.mesh.colors[made.mesh.vertices[:, 2] < 1, 2] == 255).all()


# Refusals


def test_a_size_is_needed_and_the_wall_must_fit_it():
    with pytest.raises(ValueError, match="size_mm is needed"):
        make_printable(box((1, 1, 1)), Placement(), min_wall_mm=WALL)
    for wall in (0, -1, 20, float("nan")):
        with pytest.raises(ValueError, match="min_wall_mm must be above 0"):
            make_printable(box((1, 1, 1)), Placement(size_mm=20), min_wall_mm=wall)


def test_walls_too_fine_for_the_size_are_refused_where_the_grid_cannot_hold_them():
    with pytest.raises(ValueError, match=r"min_wall_mm of 0.8 is too fine .* at least 1,"):
        printable(fin(0.02), size=500, thicken=True)


def test_the_result_is_checked(monkeypatch):
    from g3pt.geometry import printable as module

    monkeypatch.setattr(module, "largest_components", lambda mesh: keep_faces(mesh, np.arange(9)))
    with pytest.raises(MeshError, match="could not be made one closed solid"):
        printable(fin(0.3), thicken=True)


def test_parts_are_counted_whatever_their_number():
    crumbs = [box((0.2, 0.2, 0.2), (15 + 2 * k, 0, 0)) for k in range(60)]
    made = printable(concatenate([box((20, 20, 20)), *crumbs]), size=200)

    assert made.repair.dropped == 60
    assert num_components(made.mesh) == 1
