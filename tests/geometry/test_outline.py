"""A coarse field takes the outline of a picture, and keeps its own depth."""

import numpy as np
import pytest
import trimesh

from g3pt.geometry.cameras import canonical_camera, frame_object, orbit_camera
from g3pt.geometry.isosurface import extract_surface
from g3pt.geometry.mesh import TriangleMesh, concatenate
from g3pt.geometry.metrics import occupancy_iou
from g3pt.geometry.outline import SLOPE, OutlinedField, project
from g3pt.geometry.render import render

BOXES = (
    ((0.0, -0.2, 0.0), (0.25, 1.5, 0.25)),
    ((0.0, 0.7, 0.0), (1.9, 0.25, 0.25)),
)
"""Centres and sides of a T of the unit frame."""


def tee() -> TriangleMesh:
    meshes = []
    for center, sides in BOXES:
        body = trimesh.creation.box(extents=sides)
        meshes.append(TriangleMesh.from_arrays(body.vertices + center, body.faces))
    return concatenate(meshes)


def tee_depth(points: np.ndarray) -> np.ndarray:
    """Depth below the nearest side of the T's boxes; negative outside."""
    depths = [
        (np.array(sides) / 2 - np.abs(points - center)).min(axis=1) for center, sides in BOXES
    ]
    return np.max(depths, axis=0)


def uncertain(points: np.ndarray) -> np.ndarray:
    """What an average over many shapes leaves: certain in the middle alone."""
    return (0.3 - np.linalg.norm(points * (0.5, 0.5, 2.0), axis=1)).astype(np.float32) * 8


def picture(camera=None) -> np.ndarray:
    return frame_object(render(tee(), camera or canonical_camera(), size=256), 96)


def silhouette(field, camera=None) -> np.ndarray:
    mesh = extract_surface(field, resolution=64, dense=True).mesh
    return (
        frame_object(render(mesh, camera or canonical_camera(), size=256), 96)[..., 3].ravel() > 127
    )


@pytest.mark.parametrize("camera", [canonical_camera(), orbit_camera(0.0, 5.0)])
def test_the_silhouette_becomes_the_outline(camera) -> None:
    shown = picture(camera)
    plain = occupancy_iou(silhouette(uncertain, camera), shown[..., 3].ravel() > 127)
    fitted = occupancy_iou(
        silhouette(OutlinedField(uncertain, shown, camera), camera), shown[..., 3].ravel() > 127
    )
    assert plain < 0.6
    assert fitted > 0.85


def test_the_unit_frame_is_filled_again() -> None:
    mesh = extract_surface(OutlinedField(uncertain, picture()), resolution=64, dense=True).mesh
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    plain = extract_surface(uncertain, resolution=64, dense=True).mesh
    assert np.ptp(plain.vertices, axis=0).max() < 1.3
    assert 1.7 < (high - low).max() < 2.0
    assert np.abs((low + high) / 2).max() < 0.12


def test_a_field_that_agrees_with_its_outline_hardly_changes() -> None:
    points = np.random.default_rng(0).uniform(-1, 1, (20_000, 3))
    fitted = OutlinedField(lambda at: (30 * tee_depth(at)).astype(np.float32), picture())
    assert occupancy_iou(fitted(points) > 0, tee_depth(points) > 0) > 0.85


def test_the_depth_is_that_of_the_field() -> None:
    fitted = OutlinedField(uncertain, picture())
    camera = np.array(canonical_camera().position)
    # Along a line of sight through the bar, the same is added everywhere.
    along = camera + np.linspace(0.9, 1.1, 9)[:, None] * (np.array([0.5, 0.7, 0.0]) - camera)
    added = fitted(along) - uncertain(along)
    # The field is interpolated from a grid, smoothly.
    np.testing.assert_allclose(added, added[0], atol=0.2)
    assert added.min() > 0.3


def test_ripples_of_a_few_grid_spacings_are_smoothed() -> None:
    calm = OutlinedField(lambda at: (30 * tee_depth(at)).astype(np.float32), picture())

    def rippled(at: np.ndarray) -> np.ndarray:
        return (30 * tee_depth(at) + 2 * np.sin(at[:, 1] * 2 * np.pi / 0.1)).astype(np.float32)

    points = np.random.default_rng(2).uniform(-0.1, 0.1, (500, 3))
    left = np.abs(OutlinedField(rippled, picture())(points) - calm(points))
    assert left.max() < 1.2  # of 2


def test_no_point_beside_the_outline_is_inside() -> None:
    everywhere = OutlinedField(lambda at: np.full(len(at), 5.0, np.float32), picture())
    points = np.random.default_rng(1).uniform(-1, 1, (20_000, 3))
    logits = everywhere(points)
    assert (logits > 0).any() and (logits < 0).any()
    assert logits.max() <= SLOPE
    far = np.abs(project(points, canonical_camera())).max(axis=1) > 0.9
    assert far.any() and (logits[far] < 0).all()


def test_a_picture_without_an_object_is_refused() -> None:
    with pytest.raises(ValueError, match="fully transparent"):
        OutlinedField(uncertain, np.zeros((32, 32, 4), np.uint8))
