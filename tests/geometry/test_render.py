import numpy as np
import pytest
from PIL import Image

from g3pt.geometry.cameras import (
    Camera,
    canonical_camera,
    orbit_camera,
    random_cameras,
    turntable_cameras,
)
from g3pt.geometry.render import Scene, over_white, render, save_gif, save_png, sheet
from g3pt.geometry.shading import crease_normals
from g3pt.geometry.triangles import TriangleMesh, face_normals


def box(half=(0.95, 0.95, 0.95), center=(0.0, 0.0, 0.0), color=None) -> TriangleMesh:
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
    quads = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    faces = [[q[0], q[i], q[i + 1]] for q in quads for i in (1, 2)]
    colors = None if color is None else np.tile(np.array([*color, 255], "u1"), (8, 1))
    return TriangleMesh(corners * half + center, np.array(faces), colors)


def cylinder(num_sides: int = 24) -> TriangleMesh:
    angles = np.arange(num_sides) * 2 * np.pi / num_sides
    ring = np.stack([np.cos(angles), np.ones(num_sides), np.sin(angles)], axis=1) * 0.5
    vertices = np.concatenate([ring * [1, -1, 1], ring, [[0, -0.5, 0], [0, 0.5, 0]]])
    i, j = np.arange(num_sides), np.roll(np.arange(num_sides), -1)
    low, high, n = np.full_like(i, 2 * num_sides), np.full_like(i, 2 * num_sides + 1), num_sides
    faces = [(i, i + n, j + n), (i, j + n, j), (low, i, j), (high, j + n, i + n)]
    return TriangleMesh(vertices, np.concatenate([np.stack(f, axis=1) for f in faces]))


def test_square_seen_from_the_front_covers_what_perspective_says():
    plate = box((0.5, 0.25, 1e-3))
    camera = Camera(position=(0.0, 0.0, 4.0), fov_degrees=40.0)
    picture = render(plate, camera, size=200, supersample=2)
    pixels = 100 / (np.tan(np.deg2rad(20)) * 4)  # per unit of length at the plate
    coverage = picture[..., 3].sum() / 255
    assert coverage == pytest.approx(1.0 * 0.5 * pixels**2, rel=0.02)
    assert picture[100, 100, 3] == 255
    assert picture[5, 5, 3] == 0


def test_picture_is_upright_and_not_mirrored():
    marks = [box((0.1, 0.1, 0.1), (0.6, 0, 0), (255, 0, 0)), box((0.1, 0.1, 0.1), (0, 0.6, 0))]
    camera = orbit_camera(0.0, 0.0)
    right = render(marks[0], camera, size=64)[..., 3]
    upper = render(marks[1], camera, size=64)[..., 3]
    assert right[:, 33:].sum() > 0 == right[:, :32].sum()
    assert upper[:31].sum() > 0 == upper[32:].sum()


def test_window_of_rays_changes_no_pixel():
    mesh = box((0.3, 0.1, 0.2), (0.2, 0.4, -0.1))
    for camera in random_cameras(6, np.random.default_rng(3)):
        scene = Scene(mesh)
        windowed = scene.render(camera, size=48)
        scene._window = lambda camera, size: (slice(0, size), slice(0, size))
        np.testing.assert_array_equal(windowed, scene.render(camera, size=48))


def test_colour_of_the_mesh_shows_and_transparent_pixels_are_empty():
    picture = render(box(color=(255, 0, 0)), canonical_camera(), size=64)
    visible = picture[picture[..., 3] > 0]
    assert (visible[:, 0] > 2 * visible[:, 1]).all()
    assert not picture[picture[..., 3] == 0].any()


def test_three_visible_sides_of_a_box_differ_clearly():
    camera = canonical_camera()
    picture = render(box(), camera, size=128, supersample=1)
    shades = np.bincount(picture[picture[..., 3] > 0][:, 0])
    sides = np.flatnonzero(shades > 500)
    assert len(sides) == 3
    assert np.diff(sides).min() > 12


def test_inverted_mesh_looks_the_same():
    mesh = box()
    flipped = TriangleMesh(mesh.vertices, mesh.faces[:, ::-1].copy())
    np.testing.assert_array_equal(
        render(mesh, canonical_camera(), size=64), render(flipped, canonical_camera(), size=64)
    )


def test_crease_normals_are_flat_on_a_box():
    mesh = box()
    np.testing.assert_allclose(crease_normals(mesh), np.repeat(face_normals(mesh), 3, axis=0))


def test_crease_normals_are_round_around_a_cylinder_and_flat_on_its_caps():
    mesh = cylinder()
    normals = crease_normals(mesh)
    corners = mesh.vertices[mesh.faces.reshape(-1)]
    side = np.repeat(np.abs(face_normals(mesh)[:, 1]) < 0.5, 3)
    radial = corners[side] * [2, 0, 2]
    assert np.einsum("ij,ij->i", normals[side], radial).min() > np.cos(np.deg2rad(4))
    np.testing.assert_allclose(np.abs(normals[~side]), np.tile([0.0, 1.0, 0.0], (48 * 3, 1)))


def test_crease_normals_do_not_care_whether_vertices_are_shared():
    mesh = cylinder()
    split = TriangleMesh(mesh.triangles.reshape(-1, 3), np.arange(96 * 3).reshape(-1, 3))
    np.testing.assert_allclose(crease_normals(mesh), crease_normals(split), atol=1e-12)


def test_shadow_only_darkens():
    roof, floor = box((0.4, 0.02, 0.4), (0, 0.5, 0)), box((0.9, 0.02, 0.9), (0, -0.5, 0))
    mesh = TriangleMesh(
        np.concatenate([roof.vertices, floor.vertices]),
        np.concatenate([roof.faces, floor.faces + 8]),
    )
    plain = render(mesh, canonical_camera(), size=96).astype(int)
    shaded = render(mesh, canonical_camera(), size=96, shadow=True).astype(int)
    np.testing.assert_array_equal(plain[..., 3], shaded[..., 3])
    assert (shaded <= plain).all()
    assert (shaded < plain - 20).any(axis=-1).sum() > 100


def test_camera_inside_the_mesh_sees_all_around():
    picture = render(box(), Camera(position=(0.0, 0.0, 0.1), fov_degrees=60.0), size=16)
    assert (picture[..., 3] == 255).all()


def test_empty_mesh_gives_an_empty_picture():
    empty = TriangleMesh(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64))
    assert not render(empty, canonical_camera(), size=8).any()


def test_over_white_mixes_by_alpha():
    picture = np.array([[[0, 0, 0, 0], [10, 20, 30, 255], [0, 0, 0, 51]]], dtype=np.uint8)
    np.testing.assert_array_equal(over_white(picture)[0], [[255] * 3, [10, 20, 30], [204] * 3])


def test_sheet_places_pictures_in_rows():
    red = np.full((10, 20, 4), [255, 0, 0, 255], dtype=np.uint8)
    blue = np.full((10, 20, 3), [0, 0, 255], dtype=np.uint8)
    page = sheet([[red, blue], [blue]], gap=2)
    assert page.shape == (2 * 12 + 2, 2 * 22 + 2, 3)
    np.testing.assert_array_equal(page[5, [5, 30]], [[255, 0, 0], [0, 0, 255]])
    np.testing.assert_array_equal(page[17, [5, 30]], [[0, 0, 255], [255] * 3])
    assert sheet([[red, blue], [blue]], [["a", "b" * 99], ["c"]], gap=2).shape[0] > page.shape[0]


def test_files_are_complete_and_leave_nothing_beside_them(tmp_path):
    views = [render(box(), camera, size=24) for camera in turntable_cameras(3)]
    save_png(tmp_path / "view.png", views[0])
    save_gif(tmp_path / "turn.gif", views)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "view.png")), views[0])
    with Image.open(tmp_path / "turn.gif") as animation:
        assert animation.n_frames == 3
    assert {path.name for path in tmp_path.iterdir()} == {"view.png", "turn.gif"}


def test_a_failed_write_leaves_the_old_file(tmp_path):
    target = tmp_path / "view.png"
    target.write_bytes(b"old")
    with pytest.raises(TypeError):
        save_png(target, np.zeros((2, 2, 7), dtype=np.uint8))
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_rays_reach_the_surface_in_their_own_lengths_or_nothing():
    scene = Scene(box((0.5, 0.5, 0.5)))
    rays = np.array([[0, 0, -1], [0, 0, -4], [0, 0, 1]], dtype=np.float32)
    origin = np.array([0.1, 0.2, 2.5], dtype=np.float32)
    assert scene.reach(origin, rays) == pytest.approx([2.0, 0.5, np.inf])
    empty = TriangleMesh(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64))
    assert np.isinf(Scene(empty).reach(origin, rays)).all()
