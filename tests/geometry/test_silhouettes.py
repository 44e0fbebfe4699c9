from functools import partial

import numpy as np
import pytest

from colored import car
from g3pt.geometry.cameras import canonical_camera, frame_object, orbit_camera
from g3pt.geometry.mesh import TriangleMesh
from g3pt.geometry.render import Scene, render
from g3pt.geometry.silhouettes import (
    MAX_CLIMB,
    MAX_STRETCH,
    Candidate,
    Orbit,
    find_view,
    solidity,
)

CAR = car()
START = Candidate(Orbit(30.0, 20.0))
GRID = [Candidate(Orbit(a, e)) for a in (-15.0, 10.0, 30.0, 60.0) for e in (10.0, 30.0)]
AROUND = [Candidate(Orbit(float(azimuth), 20.0)) for azimuth in range(0, 360, 30)]


def silhouette_of(picture, side):
    return frame_object(picture, side)[..., 3] >= 128


def search(mesh, picture, candidates, **limits):
    return find_view(mesh, Scene(mesh), partial(silhouette_of, picture), candidates, **limits)


@pytest.mark.parametrize(
    ("azimuth", "elevation", "fov"), [(30, 20, 30), (5, 12, 30), (47, 33, 30), (-20, 3, 50)]
)
def test_the_camera_of_a_picture_is_found(azimuth, elevation, fov) -> None:
    picture = render(CAR, orbit_camera(azimuth, elevation, fov_degrees=fov), size=256)
    found = search(CAR, picture, GRID)
    assert found.iou > 0.95
    assert abs(found.view.orbit.azimuth - azimuth) < 5
    assert abs(found.view.orbit.elevation - elevation) < 5


def test_places_in_the_picture_are_those_of_the_renderer() -> None:
    camera = canonical_camera()
    found = search(CAR, frame_object(render(CAR, camera, size=512), 256), [START])
    places, depths = found.view.project(CAR.vertices)
    # All around the silhouette, which covers 85 % of the picture and is framed to whole pixels.
    assert places.min() == pytest.approx(0.075, abs=0.02)
    assert places.max() == pytest.approx(0.925, abs=0.02)
    local = (CAR.vertices - camera.position) @ camera.axes().T
    assert depths == pytest.approx(-local[:, 2])


def test_rays_go_through_the_pixels_that_points_are_projected_to() -> None:
    found = search(CAR, render(CAR, canonical_camera(), size=128), [START])
    rays = found.view.rays(16).reshape(16, 16, 3)
    points = found.view.position() + 5.0 * rays
    places, depths = found.view.project(points.reshape(-1, 3).astype(np.float64))
    assert depths == pytest.approx(5.0, abs=1e-4)
    centres = (np.arange(16) + 0.5) / 16
    expected = np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2)
    assert places == pytest.approx(expected, abs=1e-4)


def test_size_and_place_of_the_object_do_not_count() -> None:
    small = TriangleMesh(0.6 * CAR.vertices + [0.1, 0.2, 0.0], CAR.faces)
    found = search(small, render(CAR, canonical_camera(), size=256), [START])
    assert found.iou > 0.93
    assert abs(found.view.orbit.azimuth - 30) < 6


def test_a_silhouette_that_no_camera_shows_agrees_little() -> None:
    ring = np.zeros((64, 64, 4), dtype=np.uint8)
    ring[8:56, 8:56] = 255
    ring[14:50, 14:50] = 0
    assert search(CAR, ring, AROUND).iou < 0.5


def test_a_hopeless_search_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = render(CAR, canonical_camera(), size=64)
    cast, whole = [], Scene.reach
    monkeypatch.setattr(Scene, "reach", lambda self, *rest: cast.append(0) or whole(self, *rest))
    search(CAR, picture, AROUND, hopeless=1.01)
    assert len(cast) == len(AROUND)


def test_stretching_is_limited() -> None:
    picture = render(CAR, canonical_camera(), size=256)
    tall = frame_object(picture, 256)[:, ::2]  # half as wide
    across, down = search(CAR, tall, [START]).view.scale
    assert max(across, down) <= MAX_STRETCH * min(across, down) * (1 + 1e-9)


def test_a_rare_camera_must_agree_better() -> None:
    picture = render(CAR, orbit_camera(60, 20), size=128)
    near, exact = Orbit(65.0, 20.0), Orbit(60.0, 20.0)
    free = search(CAR, picture, [Candidate(near), Candidate(exact)])
    assert abs(free.view.orbit.azimuth - 60) < 2
    # The other end of the search lies at the same place, and has no handicap.
    back = search(CAR, picture, [Candidate(Orbit(250.0, 20.0)), Candidate(exact, 1.0)])
    assert back.view.orbit.azimuth > 150


def test_among_equal_cameras_the_first_is_kept() -> None:
    round_body = np.array(
        [[np.sin(a) * 0.5, y, np.cos(a) * 0.5] for y in (-0.9, 0.9) for a in np.arange(64) / 10.2]
    )
    from scipy.spatial import ConvexHull

    pillar = TriangleMesh.from_arrays(round_body, ConvexHull(round_body).simplices)
    found = search(pillar, render(pillar, orbit_camera(41, 20), size=256), [START, *AROUND])
    assert found.view.orbit.azimuth == 30.0


def test_what_cannot_be_searched_for_is_refused() -> None:
    nothing = np.zeros((96, 96), dtype=bool)
    with pytest.raises(ValueError, match="silhouette is empty"):
        find_view(CAR, Scene(CAR), lambda side: nothing[:side, :side], [START])
    with pytest.raises(ValueError, match="at least one candidate"):
        search(CAR, render(CAR, canonical_camera(), size=64), [])


def test_the_search_does_not_climb_above_the_object() -> None:
    picture = render(CAR, orbit_camera(30, 75), size=128)
    assert search(CAR, picture, [START]).view.orbit.elevation == pytest.approx(20 + MAX_CLIMB)


def test_solidity_is_the_share_of_the_convex_hull() -> None:
    block = np.zeros((40, 40), dtype=bool)
    block[5:25, 10:30] = True
    assert solidity(block) == pytest.approx(1)
    block[10:20, 15:25] = False
    assert solidity(block) == pytest.approx(0.75)
    with pytest.raises(ValueError, match="silhouette is empty"):
        solidity(np.zeros((40, 40), dtype=bool))
