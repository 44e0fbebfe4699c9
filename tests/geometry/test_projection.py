import numpy as np
import pytest

from colored import BLUE, GREEN, RED, WHITE, car, fine_box, painted
from g3pt.geometry.cameras import frame_object
from g3pt.geometry.mesh import TriangleMesh, concatenate, vertex_normals
from g3pt.geometry.projection import UNCERTAIN, Projector, Sighting
from g3pt.geometry.render import Scene, render
from g3pt.geometry.silhouettes import Candidate, Orbit, PictureView, find_view

FRONT = Orbit(0.0, 0.0)
BOX = fine_box((1.2, 1.9, 0.8))
SIDE = 256


def plain(scene: Scene, view: PictureView, color) -> np.ndarray:
    """The silhouette in one colour."""
    picture = np.zeros((SIDE, SIDE, 4), dtype=np.uint8)
    hit = np.isfinite(scene.reach(view.position(), view.rays(SIDE))).reshape(SIDE, SIDE)
    picture[hit] = (*color, 255)
    return picture


def look(mesh: TriangleMesh, orbit: Orbit) -> tuple[Scene, PictureView]:
    scene = Scene(mesh)
    picture = render(mesh, orbit.camera(), size=SIDE)
    mask = frame_object(picture, SIDE)[..., 3] >= 128

    def silhouette(side):
        return frame_object(picture, side)[..., 3] >= 128

    assert mask.any()
    return scene, find_view(mesh, scene, silhouette, [Candidate(orbit)]).view


def project_picture(mesh, scene, view, picture) -> Sighting:
    projector = Projector(scene, view, picture, tolerance=0.012)
    return projector.sight(mesh.vertices, vertex_normals(mesh))


def test_the_front_is_seen_and_what_it_hides_is_not() -> None:
    scene, view = look(BOX, FRONT)
    seen = project_picture(BOX, scene, view, plain(scene, view, RED))
    z, normals = BOX.vertices[:, 2], vertex_normals(BOX)
    inner = (np.abs(BOX.vertices[:, :2]) < [0.5, 0.85]).all(axis=1)
    assert (seen.weights_P[inner & (z > 0.39)] == 1).all()
    assert (seen.weights_P[z < 0.3] == 0).all()
    assert seen.colors_P3[seen.is_seen] == pytest.approx(
        np.tile(RED, (seen.is_seen.sum(), 1)) / 255
    )
    assert (seen.weights_P[normals[:, 2] < 0.1] == 0).all()


def test_a_surface_counts_less_the_more_it_turns_away() -> None:
    means = []
    for azimuth in (0.0, 45.0, 62.0, 84.0):
        scene, view = look(BOX, Orbit(azimuth, 0.0))
        seen = project_picture(BOX, scene, view, plain(scene, view, RED))
        front = (BOX.vertices[:, 2] > 0.39) & (np.abs(BOX.vertices[:, :2]) < 0.4).all(axis=1)
        means.append(float(seen.weights_P[front].mean()))
    assert means[0] == means[1] == 1
    assert 0.05 < means[2] < 0.95
    assert means[3] < 0.03


def test_the_mixed_pixels_of_a_soft_edge_give_no_colour() -> None:
    scene, view = look(BOX, Orbit(30.0, 20.0))
    picture = plain(scene, view, WHITE)
    from scipy import ndimage

    alpha = ndimage.gaussian_filter(picture[..., 3].astype(float), 1.5)
    picture[alpha < 249] = (*GREEN, 0)  # the background shines through where it is soft
    picture[..., 3] = alpha.round()
    seen = project_picture(BOX, scene, view, picture)
    spread = seen.colors_P3[seen.is_seen]
    assert np.abs(spread - np.array(WHITE) / 255).max() < 1e-6


def test_a_faint_picture_has_colours_too() -> None:
    scene, view = look(BOX, FRONT)
    picture = plain(scene, view, RED)
    picture[..., 3] //= 2
    seen = project_picture(BOX, scene, view, picture)
    assert seen.is_seen.any()
    assert seen.colors_P3[seen.is_seen][:, 0] == pytest.approx(RED[0] / 255)


def test_far_outside_the_silhouette_nothing_is_seen() -> None:
    scene, view = look(BOX, FRONT)
    picture = plain(scene, view, RED)
    picture[:, SIDE // 2 :] = 0
    seen = project_picture(BOX, scene, view, picture)
    front = (BOX.vertices[:, 2] > 0.39) & (np.abs(BOX.vertices[:, :2]) < [0.55, 0.9]).all(axis=1)
    assert (seen.weights_P[front & (BOX.vertices[:, 0] > 0.15)] == 0).all()
    assert (seen.weights_P[front & (BOX.vertices[:, 0] < -0.1)] > 0).all()


def test_beside_an_occluder_its_colour_is_not_trusted() -> None:
    wall = fine_box((1.9, 1.9, 0.1), (0.0, 0.0, -0.6))
    post = fine_box((0.3, 1.0, 0.1), (0.0, 0.0, 0.6))
    both = concatenate([painted(wall, lambda *_: BLUE), painted(post, lambda *_: RED)])
    scene, view = look(both, Orbit(20.0, 0.0))
    picture = frame_object(render(both, view.orbit.camera(), size=SIDE), SIDE)
    moved = np.roll(picture, 2, axis=1)  # an error of the camera
    seen = project_picture(both, scene, view, moved)
    reddish = seen.colors_P3[:, 0] > seen.colors_P3[:, 2]
    of_wall = np.arange(len(both.vertices)) < len(wall.vertices)
    assert (reddish & of_wall & seen.is_seen).sum() > 20  # what the guard is there for
    assert seen.weights_P[reddish & of_wall].max() <= UNCERTAIN
    assert seen.weights_P[~reddish & ~of_wall].max() <= UNCERTAIN
    assert (seen.weights_P[of_wall] > 0.9).mean() > 0.2  # half of the wall looks away


def test_a_sloping_surface_is_no_edge() -> None:
    scene, view = look(BOX, Orbit(45.0, 0.0))
    seen = project_picture(BOX, scene, view, plain(scene, view, RED))
    front = (BOX.vertices[:, 2] > 0.39) & (np.abs(BOX.vertices[:, :2]) < [0.4, 0.8]).all(axis=1)
    assert seen.weights_P[front].min() > 0.9


def test_a_real_picture_gives_parts_their_colours() -> None:
    mesh = painted(car(), lambda x, y, z: RED if y > 0.19 else BLUE if z > 0.7 else WHITE)
    scene, view = look(mesh, Orbit(30.0, 20.0))
    picture = frame_object(render(mesh, view.orbit.camera(), size=SIDE), SIDE)
    seen: Sighting = project_picture(mesh, scene, view, picture)
    sure = seen.weights_P > 0.9
    # Light changes how bright they are, not which channel leads.
    assert set(np.argmax(seen.colors_P3[sure & (mesh.vertices[:, 1] > 0.25)], axis=1)) == {0}


def test_a_picture_without_an_object_is_refused() -> None:
    scene, view = look(BOX, FRONT)
    with pytest.raises(ValueError, match="fully transparent"):
        nothing = np.zeros((64, 64, 4), dtype=np.uint8)
        project_picture(BOX, scene, view, nothing)


def test_a_point_that_hangs_before_the_surface_is_seen_unless_told() -> None:
    scene, view = look(BOX, FRONT)
    projector = Projector(scene, view, plain(scene, view, RED), tolerance=0.012)
    points = np.array([[0.1, 0.2, z] for z in (0.4, 0.42, 0.5, 0.38)])
    normals = np.tile([0.0, 0.0, 1.0], (4, 1))
    assert projector.sight(points, normals).is_seen.tolist() == [True, True, True, False]
    near = projector.sight(points, normals, overhang=0.05)
    assert near.is_seen.tolist() == [True, True, False, False]
