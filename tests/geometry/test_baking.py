"""Textures that are baked from pictures, compared with the paint of the object in the picture."""

import sys
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from colored import BLUE, RED, WHITE, car, fine_box, painted
from g3pt.geometry.baking import bake, texels_of, unwrap
from g3pt.geometry.cameras import canonical_camera, frame_object
from g3pt.geometry.coloring import color_from_picture
from g3pt.geometry.lod import reduce_faces
from g3pt.geometry.mesh import TriangleMesh, concatenate
from g3pt.geometry.render import Scene, render
from g3pt.geometry.silhouettes import Candidate, Orbit, find_view
from g3pt.geometry.texture import TexturedMesh

pytest.importorskip("xatlas", reason="xatlas is missing: pip install g3pt[export]")

SIDE = 256
CAR = car()


def barred(period: float):
    """Bars across the depth, red and white."""

    def paint(x, y, z):
        return RED if int(np.floor(z / period)) % 2 else WHITE

    return paint


def photographed(mesh: TriangleMesh):
    """What the picture of a painted mesh gives to the bare mesh."""
    picture = render(mesh, canonical_camera(), size=768)
    bare = replace(mesh, colors=None)

    def silhouette(side: int) -> np.ndarray:
        return frame_object(picture, side)[..., 3] >= 128

    view = find_view(bare, Scene(bare), silhouette, [Candidate(Orbit(30.0, 20.0))]).view
    given = color_from_picture(bare, picture, view)
    assert given is not None
    return given


@lru_cache(maxsize=1)
def textured_car() -> tuple[TexturedMesh, TriangleMesh]:
    given = photographed(painted(CAR, lambda x, y, z: RED if y > 0.19 else BLUE))
    return bake(replace(CAR, colors=None), given.mesh, given.paint, SIDE), given.mesh


def colors_at(textured: TexturedMesh, faces: np.ndarray) -> np.ndarray:
    """Colours of the texels at the middles of faces."""
    texture = textured.texture
    places = texture.uvs_U2[texture.corners_F3[faces]].mean(axis=1) * len(texture.image)
    column, row = places[:, 0].astype(int), (len(texture.image) - places[:, 1]).astype(int)
    return texture.image[row, column].astype(int)


def test_every_face_has_its_own_place_in_the_square() -> None:
    uvs, corners = unwrap(CAR, SIDE)
    assert corners.shape == CAR.faces.shape
    assert 0 <= uvs.min() and uvs.max() <= 1
    corner_uvs = uvs[corners]
    first, second = (corner_uvs[:, k] - corner_uvs[:, 0] for k in (1, 2))
    areas = np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]) / 2
    # Charts that lie over each other would cover less of the square than their areas add up to.
    found = texels_of(uvs, corners, 1024)
    assert len(found.places_N) / 1024**2 == pytest.approx(areas.sum(), rel=0.01)
    assert 0.4 < areas.sum() < 1


def test_texels_know_their_point_of_the_surface() -> None:
    uvs, corners = unwrap(CAR, SIDE)
    found = texels_of(uvs, corners, SIDE)
    assert len(np.unique(found.places_N)) == len(found.places_N)
    row, column = np.divmod(found.places_N, SIDE)
    back = np.einsum("nk,nkc->nc", found.weights_N3, uvs[corners[found.faces_N]]) * SIDE
    np.testing.assert_allclose(back, np.stack([column + 0.5, SIDE - row - 0.5], 1), atol=2e-3)


def test_a_vertex_on_a_seam_has_several_places_and_each_place_one_vertex() -> None:
    textured, _ = textured_car()
    vertex_U = textured.texture.vertices_of(textured.mesh)
    np.testing.assert_array_equal(vertex_U[textured.texture.corners_F3], textured.mesh.faces)
    assert len(vertex_U) > len(np.unique(vertex_U)) == len(np.unique(CAR.faces))


def test_the_texture_shows_the_paint_on_all_sides() -> None:
    textured, _ = textured_car()
    assert textured.mesh.colors is None
    middles = CAR.triangles.mean(axis=1)
    shown = colors_at(textured, np.arange(len(CAR.faces)))
    leads = shown[:, 0] - shown[:, 2]
    cabin, flank = middles[:, 1] > 0.3, np.abs(middles[:, 1]) < 0.1
    flank &= np.abs(middles[:, 0]) > 0.39
    assert (leads[cabin] > 60).mean() > 0.97
    assert (leads[flank] < -60).mean() > 0.95


@pytest.mark.parametrize("side_of", [1, -1], ids=["seen", "mirrored"])
def test_it_is_sharper_than_the_vertices(side_of: int) -> None:
    """Bars half as wide as the edges of the mesh: its vertices cannot show them."""
    mesh = fine_box((1.9, 1.9, 1.9), edge=0.3)
    fine = fine_box((1.9, 1.9, 1.9), edge=0.02)
    given = photographed(painted(fine, barred(0.12)))
    paint = replace(given.paint, mirrored=(True, False, False))  # its bars have no other symmetry
    coarse = color_from_picture(mesh, paint.picture, paint.view)
    assert coarse is not None
    textured = bake(mesh, coarse.mesh, paint, 512)
    found = texels_of(textured.texture.uvs_U2, textured.texture.corners_F3, 512)
    points = np.einsum("nk,nkc->nc", found.weights_N3, mesh.triangles[found.faces_N])
    inner = (points[:, 0] * side_of > 0.94) & (np.abs(points[:, 1:]) < 0.8).all(axis=1)
    inner &= np.abs((points[:, 2] / 0.12) % 1 - 0.5) < 0.25  # away from the borders
    green = textured.texture.image.reshape(-1, 3)[found.places_N, 1].astype(int)[inner]
    white = np.floor(points[inner, 2] / 0.12).astype(int) % 2 == 0
    assert ((green > 140) == white).mean() > 0.95
    near = color_of_vertices(coarse.mesh, points[inner])
    assert ((near > 140) == white).mean() < 0.8


def color_of_vertices(mesh: TriangleMesh, points: np.ndarray) -> np.ndarray:
    from g3pt.geometry.metrics import closest_faces

    near = closest_faces(points, mesh)
    return mesh.colors_at(near.faces, near.points)[:, 1].astype(int)


def test_a_hidden_part_does_not_take_the_colour_of_what_hides_it() -> None:
    wall = fine_box((1.9, 1.9, 0.1), (0.0, 0.0, -0.6))
    post = fine_box((0.3, 1.0, 0.1), (0.0, 0.0, 0.6))
    both = concatenate([painted(wall, lambda *_: BLUE), painted(post, lambda *_: RED)])
    given = photographed(both)
    textured = bake(replace(both, colors=None), given.mesh, given.paint, SIDE)
    shown = colors_at(textured, np.arange(len(both.faces)))
    of_wall = np.arange(len(both.faces)) < len(wall.faces)
    assert (shown[of_wall, 0] < shown[of_wall, 2]).mean() > 0.995
    assert (shown[~of_wall, 0] > shown[~of_wall, 2]).mean() > 0.95


def test_between_charts_lie_the_colours_of_their_borders() -> None:
    textured, _ = textured_car()
    texture = textured.texture
    found = texels_of(texture.uvs_U2, texture.corners_F3, SIDE)
    inside = np.zeros(SIDE * SIDE, dtype=bool)
    inside[found.places_N] = True
    pixels = texture.image.reshape(-1, 3)
    assert not inside.all()
    # Nothing is black or of a colour of its own: a filter that reaches outside finds no border.
    known = {tuple(color) for color in pixels[inside]}
    assert {tuple(color) for color in pixels[~inside]} <= known


def test_fewer_faces_show_the_same_colours() -> None:
    _, colored = textured_car()
    given = photographed(painted(CAR, lambda x, y, z: RED if y > 0.19 else BLUE))
    few = reduce_faces(replace(CAR, colors=None), 600).mesh
    assert len(few.faces) <= 600
    textured = bake(few, colored, given.paint, SIDE)
    middles = few.triangles.mean(axis=1)
    shown = colors_at(textured, np.arange(len(few.faces)))
    cabin = middles[:, 1] > 0.3
    assert (shown[cabin, 0] - shown[cabin, 2] > 60).mean() > 0.95


def test_colours_of_words_become_a_texture_too() -> None:
    flat = painted(CAR, lambda x, y, z: RED if y > 0.19 else BLUE)
    textured = bake(replace(CAR, colors=None), flat, None, SIDE)
    middles = CAR.triangles.mean(axis=1)
    shown = colors_at(textured, np.arange(len(CAR.faces)))
    assert np.abs(shown[middles[:, 1] > 0.3] - RED).max() <= 1
    assert np.abs(shown[middles[:, 1] < 0.1] - BLUE).max() <= 1


def test_without_the_package_the_extra_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "xatlas", None)
    with pytest.raises(ImportError, match=r"textures need xatlas: pip install g3pt\[export\]"):
        unwrap(CAR, SIDE)
