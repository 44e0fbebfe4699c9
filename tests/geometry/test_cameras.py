import numpy as np
import pytest

from g3pt.geometry.cameras import (
    BOUNDING_RADIUS,
    Camera,
    canonical_camera,
    orbit_camera,
    random_cameras,
    turntable_cameras,
)


def test_camera_distance_lets_the_bounding_sphere_fill_the_view():
    for camera in [canonical_camera(), *random_cameras(20, np.random.default_rng(0))]:
        distance = np.linalg.norm(camera.position)
        assert BOUNDING_RADIUS / distance == pytest.approx(
            np.sin(np.deg2rad(camera.fov_degrees / 2))
        )


def test_canonical_camera_stands_in_front_to_the_right_and_above():
    x, y, z = canonical_camera().position
    assert np.rad2deg(np.arctan2(x, z)) == pytest.approx(30)
    assert np.rad2deg(np.arctan2(y, np.hypot(x, z))) == pytest.approx(20)


def test_camera_axes_are_a_right_handed_frame():
    for camera in [orbit_camera(10.0, 90.0), orbit_camera(0.0, -90.0), *turntable_cameras(5)]:
        axes = camera.axes()
        np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(axes) == pytest.approx(1)


def test_camera_looking_along_its_up_direction_is_refused():
    with pytest.raises(ValueError, match="up direction"):
        Camera(position=(0.0, 3.0, 0.0)).axes()


def test_random_cameras_spread_over_the_sphere_and_repeat_with_the_seed():
    cameras = random_cameras(256, np.random.default_rng(7))
    directions = np.array([camera.position for camera in cameras])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    assert np.linalg.norm(directions.mean(axis=0)) < 0.03
    np.testing.assert_allclose(directions.T @ directions / 256, np.eye(3) / 3, atol=0.03)
    assert all(10 <= camera.fov_degrees <= 70 for camera in cameras)
    assert cameras == random_cameras(256, np.random.default_rng(7))


def test_random_cameras_keep_to_the_elevations_asked_for():
    cameras = random_cameras(50, np.random.default_rng(0), elevations=(-10.0, 45.0))
    heights = [camera.position[1] / np.linalg.norm(camera.position) for camera in cameras]
    assert np.sin(np.deg2rad(-10)) <= min(heights) < max(heights) <= np.sin(np.deg2rad(45))
