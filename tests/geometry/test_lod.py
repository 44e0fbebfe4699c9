import json
import struct

import numpy as np
import pytest
import trimesh

from g3pt.geometry import lod
from g3pt.geometry.lod import (
    coverage_of,
    decimate,
    decimate_in_order,
    encode_levels,
    face_budgets,
    make_levels,
    reduce_faces,
)
from g3pt.geometry.mesh import (
    TriangleMesh,
    concatenate,
    is_closed,
    keep_faces,
    num_components,
    read_mesh,
)


def ball(radius: float, subdivisions: int = 3) -> TriangleMesh:
    body = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    return TriangleMesh.from_arrays(body.vertices, body.faces)


NOTHING = TriangleMesh.from_arrays([], [])


@pytest.fixture(scope="module")
def levels():
    return make_levels([ball(0.95), ball(0.9), ball(0.8)], [1280, 200, 80])


def test_errors_of_concentric_balls_are_the_differences_of_their_radii() -> None:
    made = make_levels([ball(0.95, 4), ball(0.9, 4), ball(0.8, 4)], [10**6] * 3)
    # triangles of an icosphere with 5120 faces lie up to .001 inside their ball
    for level, gap in zip(made, (0.0, 0.05, 0.15), strict=True):
        assert level.error_mean == pytest.approx(gap, abs=2e-3)
        assert level.error_max == pytest.approx(gap, abs=2e-3)


def test_a_part_that_only_the_finest_level_has_counts_in_its_error() -> None:
    both = trimesh.util.concatenate(
        [trimesh.creation.icosphere(radius=0.2), trimesh.creation.box((0.1, 0.1, 0.1))]
    )
    both.vertices[-8:] += [0.9, 0, 0]
    finest = TriangleMesh.from_arrays(both.vertices, both.faces)
    level = make_levels([finest, ball(0.2)], [10**6] * 2)[1]
    assert level.error_max == pytest.approx(0.75, abs=0.02)  # far corner of the box to the ball


def test_levels_keep_to_their_budgets_and_stay_closed(levels) -> None:
    assert [
        len(level.mesh.faces) <= budget
        for level, budget in zip(levels, (1280, 200, 80), strict=True)
    ] == [True] * 3
    assert all(is_closed(level.mesh) for level in levels)
    assert len(levels[1].mesh.faces) > 150


def test_a_mesh_within_its_budget_is_not_touched() -> None:
    mesh = ball(0.5, 1)
    assert decimate(mesh, len(mesh.faces)) is mesh


def test_decimation_of_a_finer_ball_keeps_it_round() -> None:
    small = decimate_in_order(ball(0.9, 4), 500)
    radii = np.linalg.norm(small.vertices, axis=1)
    assert abs(radii - 0.9).max() < 0.02


def test_meshes_that_are_not_manifold_go_to_the_other_decimator() -> None:
    pytest.importorskip("fast_simplification")
    fin = TriangleMesh.from_arrays([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]])
    sphere = ball(0.9)
    faces = np.concatenate([sphere.faces, sphere.faces[:1][:, [0, 1, 2]], fin.faces])
    broken = TriangleMesh(sphere.vertices, faces)
    assert decimate_in_order(broken, 200).is_empty
    assert 0 < len(decimate(broken, 200).faces) < len(faces)


def test_coverage_falls_as_the_error_of_the_next_level_grows(levels) -> None:
    coverages = [level.coverage for level in levels]
    assert coverages == sorted(coverages, reverse=True)
    assert coverages[-1] == 0
    assert coverages[0] == coverage_of(levels[1].error_mean)


def test_at_the_coverage_of_an_error_that_error_is_one_pixel() -> None:
    side_in_pixels = np.sqrt(coverage_of(0.01)) * lod.SCREEN_HEIGHT
    assert 0.01 / 1.9 * side_in_pixels == pytest.approx(1)
    assert coverage_of(0.0) == coverage_of(1e-9) == 1


def test_a_level_closer_than_the_one_before_does_not_turn_the_order_round() -> None:
    made = make_levels([ball(0.95), ball(0.8), ball(0.9)], [10**6] * 3)
    assert made[2].error_mean < made[1].error_mean
    assert made[0].coverage >= made[1].coverage >= made[2].coverage


def test_empty_coarse_meshes_are_left_out_and_an_empty_finest_one_is_refused() -> None:
    assert len(make_levels([ball(0.9), NOTHING, ball(0.5)], [100] * 3)) == 2
    with pytest.raises(ValueError, match="a finest mesh with faces"):
        make_levels([NOTHING, ball(0.9)], [100] * 2)
    with pytest.raises(ValueError, match="2 meshes and 1 budgets"):
        make_levels([ball(0.9), ball(0.5)], [100])


def test_budgets_are_quarters_down_to_a_floor() -> None:
    assert face_budgets(4000, 4) == [4000, 1000, 250, 64]


# --- the file ------------------------------------------------------------------------------


def parts(data: bytes) -> tuple[dict, bytes]:
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data))
    size, kind = struct.unpack_from("<I4s", data, 12)
    assert kind == b"JSON" and size % 4 == 0
    binary_size, kind = struct.unpack_from("<I4s", data, 20 + size)
    assert kind == b"BIN\0" and binary_size % 4 == 0
    assert 28 + size + binary_size == len(data)
    return json.loads(data[20 : 20 + size]), data[28 + size :]


def test_the_finest_node_names_all_others_and_their_coverages(levels) -> None:
    document, _ = parts(encode_levels(levels))
    assert document["extensionsUsed"] == ["MSFT_lod"]
    assert document["scenes"][document["scene"]]["nodes"] == [0]
    root = document["nodes"][0]
    assert root["extensions"]["MSFT_lod"]["ids"] == [1, 2]
    assert root["extras"]["MSFT_screencoverage"] == [level.coverage for level in levels]
    for node, level in zip(document["nodes"], levels, strict=True):
        assert node["extras"]["error_mean"] == level.error_mean
        assert node["extras"]["error_max"] == level.error_max
        assert node["extras"]["faces"] == len(level.mesh.faces)
        assert "children" not in node


def test_every_accessor_lies_in_its_view_and_every_index_in_its_mesh(levels) -> None:
    document, binary = parts(encode_levels(levels))
    (buffer,) = document["buffers"]
    assert len(binary) - buffer["byteLength"] in range(4)
    views, accessors = document["bufferViews"], document["accessors"]
    for view in views:
        assert view["byteOffset"] % 4 == 0
        assert view["byteOffset"] + view["byteLength"] <= buffer["byteLength"]
    for node, level in zip(document["nodes"], levels, strict=True):
        (primitive,) = document["meshes"][node["mesh"]]["primitives"]
        position = accessors[primitive["attributes"]["POSITION"]]
        normal = accessors[primitive["attributes"]["NORMAL"]]
        corners = accessors[primitive["indices"]]
        assert position["count"] == normal["count"] == len(level.mesh.vertices)
        assert views[position["bufferView"]]["byteLength"] == 12 * position["count"]
        assert views[corners["bufferView"]]["byteLength"] == 4 * corners["count"]
        start = views[corners["bufferView"]]["byteOffset"]
        indices = np.frombuffer(binary, "<u4", corners["count"], start)
        assert indices.max() < position["count"]
        np.testing.assert_array_equal(indices.reshape(-1, 3), level.mesh.faces)
        start = views[position["bufferView"]]["byteOffset"]
        places = np.frombuffer(binary, "<f4", 3 * position["count"], start).reshape(-1, 3)
        np.testing.assert_allclose(places, level.mesh.vertices, atol=1e-7)
        np.testing.assert_allclose(position["min"], places.min(axis=0))
        np.testing.assert_allclose(position["max"], places.max(axis=0))
        start = views[normal["bufferView"]]["byteOffset"]
        normals = np.frombuffer(binary, "<f4", 3 * normal["count"], start).reshape(-1, 3)
        np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)


def test_other_software_and_ours_open_the_file_and_see_the_finest_level(levels, tmp_path) -> None:
    path = tmp_path / "ball.glb"
    path.write_bytes(encode_levels(levels))
    ours = read_mesh(path)
    assert len(ours.faces) == len(levels[0].mesh.faces)
    scene = trimesh.load_scene(path)
    (shown,) = [scene.graph[name][1] for name in scene.graph.nodes_geometry]
    body = scene.geometry[shown]
    assert body.is_watertight
    assert len(body.faces) == len(levels[0].mesh.faces)


def test_a_single_level_needs_no_extension() -> None:
    document, _ = parts(encode_levels(make_levels([ball(0.9)], [100])))
    assert "extensionsUsed" not in document
    assert "extensions" not in document["nodes"][0]


def test_levels_keep_the_colours_of_the_finest_in_linear_light(tmp_path) -> None:
    body = ball(0.95)
    halves = np.where(body.vertices[:, :1] > 0, (200, 40, 40, 255), (40, 70, 200, 255))
    colored = TriangleMesh.from_arrays(body.vertices, body.faces, halves)
    made = make_levels([colored, colored], [1280, 200])
    coarse = made[1].mesh
    assert coarse.colors is not None
    right = coarse.vertices[:, 0] > 0.15
    assert right.any() and (coarse.colors[right] == (200, 40, 40, 255)).all()
    path = tmp_path / "levels.glb"
    path.write_bytes(encode_levels(made))
    again = read_mesh(path)
    assert again.colors is not None
    assert (np.unique(again.colors, axis=0) == np.unique(halves, axis=0)).all()
    document, _ = parts(path.read_bytes())
    for mesh in document["meshes"]:
        accessor = document["accessors"][mesh["primitives"][0]["attributes"]["COLOR_0"]]
        assert (accessor["type"], accessor["componentType"]) == ("VEC4", 5123)
        assert accessor["normalized"] is True


# One mesh within a budget


def two_balls() -> TriangleMesh:
    other = ball(0.3)
    return concatenate(
        [ball(0.3), TriangleMesh(other.vertices + np.array([1.0, 0, 0]), other.faces)]
    )


@pytest.mark.parametrize("budget", [1000, 100, 40])
def test_a_budget_is_kept_and_the_mesh_stays_whole(budget: int) -> None:
    made = reduce_faces(two_balls(), budget)

    assert made.note is None
    assert budget * 0.8 <= len(made.mesh.faces) <= budget
    body = trimesh.Trimesh(made.mesh.vertices, made.mesh.faces)  # an independent judge
    assert body.is_volume and body.body_count == 2 and body.volume > 0


def test_a_budget_that_would_lose_parts_is_not_kept_and_said() -> None:
    made = reduce_faces(two_balls(), 6)

    assert (
        made.note is not None and f"{len(made.mesh.faces)} faces instead of at most 6" in made.note
    )
    assert is_closed(made.mesh)
    assert num_components(made.mesh) == 2


def test_a_mesh_with_few_faces_stays_and_no_budget_is_below_a_tetrahedron() -> None:
    mesh = ball(0.5, 1)
    assert reduce_faces(mesh, 80).mesh is mesh
    with pytest.raises(ValueError, match="faces must be at least 4, got 3"):
        reduce_faces(mesh, 3)


def test_an_open_mesh_within_its_budget_is_only_open_where_it_was() -> None:
    pytest.importorskip("fast_simplification")
    half = ball(0.5)
    half = keep_faces(half, np.flatnonzero(half.triangles.mean(axis=1)[:, 1] > 0))
    made = reduce_faces(half, 150)

    assert made.note is None and len(made.mesh.faces) <= 150
    assert num_components(made.mesh) == 1


def test_colours_follow_the_reduced_surface() -> None:
    mesh = ball(0.5)
    red_above = np.where(mesh.vertices[:, 1:2] > 0, [[255, 0, 0, 255]], [[0, 0, 255, 255]])
    made = reduce_faces(TriangleMesh.from_arrays(mesh.vertices, mesh.faces, red_above), 200).mesh

    assert made.colors is not None
    assert (made.colors[made.vertices[:, 1] > 0.1, 0] > 200).all()
    assert (made.colors[made.vertices[:, 1] < -0.1, 2] > 200).all()
