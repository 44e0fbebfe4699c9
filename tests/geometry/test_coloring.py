from dataclasses import replace

import numpy as np
import pytest

from colored import BLUE, GREEN, RED, WHITE, car, fine_box, painted
from g3pt.geometry.cameras import canonical_camera, frame_object, orbit_camera
from g3pt.geometry.coloring import (
    MIRRORS,
    _find_twins,  # pyright: ignore[reportPrivateUsage]
    color_from_picture,
    fill_colors,
)
from g3pt.geometry.mesh import TriangleMesh, concatenate, vertex_normals
from g3pt.geometry.projection import Sighting
from g3pt.geometry.render import Scene, render
from g3pt.geometry.repaint import repainted
from g3pt.geometry.silhouettes import Candidate, Orbit, PictureView, find_view

START = Candidate(Orbit(30.0, 20.0))
CAR = car()


def view_of(mesh: TriangleMesh, picture: np.ndarray, start=START) -> PictureView:
    def silhouette(side: int) -> np.ndarray:
        return frame_object(picture, side)[..., 3] >= 128

    return find_view(mesh, Scene(mesh), silhouette, [start]).view


def colored(mesh: TriangleMesh, camera=None) -> TriangleMesh:
    """A mesh without colours, coloured by a picture of it with colours."""
    picture = render(mesh, camera or canonical_camera(), size=512)
    bare = replace(mesh, colors=None)
    given = color_from_picture(bare, picture, view_of(bare, picture))
    assert given is not None and given.mesh.colors is not None
    assert (given.mesh.vertices == mesh.vertices).all() and (given.mesh.faces == mesh.faces).all()
    assert (given.mesh.colors[:, 3] == 255).all()
    return given.mesh


def differences(mesh: TriangleMesh, truth: TriangleMesh) -> np.ndarray:
    """Largest difference over red, green and blue at every vertex, in bytes."""
    assert mesh.colors is not None and truth.colors is not None
    return np.abs(mesh.colors[:, :3].astype(int) - truth.colors[:, :3].astype(int)).max(axis=1)


def away_from(values: np.ndarray, *borders: float) -> np.ndarray:
    """Whether values keep a distance to the borders between paints."""
    return np.abs(values[:, None] - np.array(borders)).min(axis=1) > 0.08


def test_a_cube_that_is_painted_by_quarters_gets_its_colours_back() -> None:
    # Quarters of the height: alike on all sides, so every side can be judged.
    def paint(x, y, z):
        return (RED, WHITE, BLUE, GREEN)[min(int((y + 0.95) / 0.475), 3)]

    cube = painted(fine_box((1.9, 1.9, 1.9)), paint)
    wrong = differences(colored(cube), cube)
    clear = away_from(cube.vertices[:, 1], -0.475, 0.0, 0.475)
    front = clear & ((cube.vertices[:, 2] > 0.9) | (cube.vertices[:, 0] > 0.9))
    # The darkest paint that the renderer draws has 39 in display values, and light is an estimate.
    assert np.quantile(wrong[front], 0.95) < 45
    assert np.quantile(wrong[clear & (cube.vertices[:, 1] > -0.9)], 0.9) < 60


def test_the_hidden_side_is_filled_from_its_mirror_image() -> None:
    # The right side (+x) is seen; red and white on it follow the depth, and the left is the same.
    def paint(x, y, z):
        return RED if z > 0.2 else WHITE

    mesh = painted(CAR, paint)
    wrong = differences(colored(mesh), mesh)
    left = (CAR.vertices[:, 0] < -0.38) & away_from(CAR.vertices[:, 2], 0.2)
    left &= (np.abs(CAR.vertices[:, 1]) < 0.15) & (CAR.vertices[:, 2] < 0.7)
    assert left.sum() > 200
    assert np.quantile(wrong[left], 0.9) < 60


def sighting_of(mesh: TriangleMesh, seen, paint) -> Sighting:
    colors = np.array([paint(*vertex) for vertex in mesh.vertices]) / 255.0
    return Sighting(colors, np.where(seen, 1.0, 0.0))


def test_a_mesh_that_is_not_symmetric_is_not_mirrored() -> None:
    lopsided = concatenate([fine_box((0.4, 1.9, 0.4), (-0.7, 0, 0)), fine_box((1.4, 0.4, 0.4))])
    seen = lopsided.vertices[:, 0] > 0.2
    filled = fill_colors(lopsided, sighting_of(lopsided, seen, lambda *_: RED))
    assert filled.mirrored[0] is False
    assert fill_colors(CAR, sighting_of(CAR, CAR.vertices[:, 0] > 0, lambda *_: RED)).mirrored == (
        True,
        False,
        False,
    )
    assert len(MIRRORS) == len(filled.mirrored)


def test_a_mirror_image_comes_before_the_nearest_colour() -> None:
    box = fine_box((1.9, 1.0, 1.0))

    def paint(x, y, z):
        return BLUE if abs(x) > 0.5 else RED

    filled = fill_colors(box, sighting_of(box, box.vertices[:, 0] > 0.02, paint))
    far_left = box.vertices[:, 0] < -0.65
    assert np.abs(filled.colors_P3[far_left] - np.array(BLUE) / 255).max() < 0.12


def test_mirror_images_are_sought_about_the_middle_of_the_mesh() -> None:
    box = fine_box((1.5, 1.0, 1.0), (0.3, 0.0, 0.0))

    def paint(x, y, z):
        return BLUE if abs(x - 0.3) > 0.4 else RED

    filled = fill_colors(box, sighting_of(box, box.vertices[:, 0] > 0.32, paint))
    assert filled.mirrored[0] is True
    far_left = box.vertices[:, 0] < -0.3
    assert np.abs(filled.colors_P3[far_left] - np.array(BLUE) / 255).max() < 0.12


def test_a_mirror_image_faces_the_mirrored_way() -> None:
    # The inner side of the right plate lies where the outer side of the left one is expected.
    plates = [fine_box((0.02, 1.0, 1.0), (x, 0.0, 0.0)) for x in (-0.695, 0.725)]
    both = concatenate([*plates, fine_box((0.02, 0.2, 0.2), (-0.74, 0.8, 0.0))])
    twin_P = _find_twins(both, vertex_normals(both), np.array(MIRRORS[0]))
    found = np.flatnonzero(twin_P >= 0)
    assert 0 < len(found) < len(twin_P)
    normals = vertex_normals(both)
    agreement = np.einsum("ni,ni->n", normals[found] * MIRRORS[0], normals[twin_P[found]])
    assert (agreement > 0.5).all()


def test_what_has_no_mirror_image_takes_the_nearest_colour_and_blends() -> None:
    knob = fine_box((0.4, 0.5, 0.4), (-0.7, 0.4, 0.0))
    beam = fine_box((1.8, 0.4, 0.4))
    seen = np.abs(np.concatenate([knob.vertices, beam.vertices])[:, 0]) > 0.7
    both = concatenate([knob, beam])
    filled = fill_colors(both, sighting_of(both, seen, lambda x, y, z: RED if x > 0 else BLUE))
    assert filled.mirrored[0] is False
    of_beam = filled.colors_P3[len(knob.vertices) :]
    x = beam.vertices[:, 0]
    assert of_beam[x > 0.4, 0].min() > 0.6 and of_beam[x < -0.4, 0].max() < 0.4
    ends = beam.faces[:, :2]
    steps = np.abs(of_beam[ends[:, 0]] - of_beam[ends[:, 1]]).max(axis=1)
    assert steps[(np.abs(x[ends]) < 0.5).all(axis=1)].max() < 0.15  # no hard border in between


def test_colours_stop_at_creases() -> None:
    box = fine_box((1.9, 1.0, 1.0))
    lopsided = concatenate([box, fine_box((0.2, 0.8, 0.2), (0.6, 0.9, 0.1))])
    height = lopsided.vertices[:, 1]
    top = height > 0.499
    front = (lopsided.vertices[:, 2] > 0.499) & ~top
    sighting = sighting_of(
        lopsided, top | (front & (height < 0.3)), lambda x, y, z: RED if y > 0.499 else BLUE
    )
    filled = fill_colors(lopsided, sighting)
    unseen = front & (height > 0.3) & (height < 0.46)
    assert (
        np.abs(filled.colors_P3[unseen] - np.array(BLUE) / 255).max() < 0.2
    )  # .46 without creases


def test_colours_that_are_hardly_trusted_give_way() -> None:
    box = fine_box((1.9, 1.0, 1.0))
    speck = np.linalg.norm(box.vertices - [0.2, 0.1, 0.5], axis=1) < 0.04
    assert speck.any()
    sighting = sighting_of(box, np.ones(len(speck), dtype=bool), lambda *_: WHITE)
    sighting.colors_P3[speck] = np.array(RED) / 255
    sighting.weights_P[speck] = 0.01
    filled = fill_colors(box, sighting)
    assert filled.colors_P3[speck, 1].min() > 0.8
    sighting.weights_P[speck] = 1
    assert fill_colors(box, sighting).colors_P3[speck, 1].min() < 0.3


def test_a_part_hidden_by_another_does_not_take_its_colour() -> None:
    wall = fine_box((1.9, 1.9, 0.1), (0.0, 0.0, -0.6))
    post = fine_box((0.3, 1.0, 0.1), (0.0, 0.0, 0.6))
    both = concatenate([painted(wall, lambda *_: BLUE), painted(post, lambda *_: RED)])
    camera = orbit_camera(20.0, 10.0)
    picture = render(both, camera, size=512)
    view = view_of(both, picture, Candidate(Orbit(20.0, 10.0)))
    given = color_from_picture(replace(both, colors=None), picture, view)
    assert given is not None and given.mesh.colors is not None
    red_leads = given.mesh.colors[:, 0].astype(int) > given.mesh.colors[:, 2]
    of_wall = np.arange(len(both.vertices)) < len(wall.vertices)
    assert not red_leads[of_wall].any()
    assert red_leads[~of_wall].mean() > 0.97


def test_a_white_object_on_nothing_is_white() -> None:
    mesh = painted(CAR, lambda *_: WHITE)
    assert np.quantile(differences(colored(mesh), mesh), 0.95) < 45


def test_the_same_picture_gives_the_same_colours_again() -> None:
    mesh = painted(CAR, lambda x, y, z: RED if y > 0.19 else BLUE)
    first, second = colored(mesh).colors, colored(mesh).colors
    assert first is not None and second is not None and (first == second).all()


def test_a_mesh_of_few_triangles_takes_colours_too() -> None:
    import trimesh

    body = trimesh.creation.box(extents=(1.0, 1.9, 0.6))
    mesh = painted(TriangleMesh.from_arrays(body.vertices, body.faces), lambda *_: RED)
    assert (np.argmax(colored(mesh).colors[:, :3], axis=1) == 0).all()


def test_nothing_seen_is_nothing_to_fill_with() -> None:
    with pytest.raises(ValueError, match="no vertex was seen"):
        fill_colors(CAR, sighting_of(CAR, np.zeros(len(CAR.vertices), dtype=bool), lambda *_: RED))


def test_colours_are_taken_over_from_the_nearest_surface() -> None:
    fine = painted(CAR, lambda x, y, z: RED if y > 0 else BLUE)
    coarse = fine_box((0.8, 0.4, 1.9), edge=0.2)
    borrowed = repainted(coarse, fine)
    assert borrowed.colors is not None
    assert (borrowed.colors[coarse.vertices[:, 1] > 0.05, :3] == RED).all()
    assert (borrowed.colors[coarse.vertices[:, 1] < -0.05, :3] == BLUE).all()
    assert repainted(borrowed, replace(fine, colors=None)).colors is None
    empty = TriangleMesh(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64))
    assert repainted(empty, fine).is_empty
