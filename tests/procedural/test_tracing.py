"""Pictures from the field, against pictures of the mesh."""

import numpy as np
import pytest

from g3pt.geometry.cameras import canonical_camera, orbit_camera
from g3pt.geometry.render import Scene, over_white
from g3pt.procedural.shape import TRAIN_FAMILIES, make_shape
from g3pt.procedural.tracing import TracedScene


def draw_both(family, camera, size):
    shape = make_shape(3, family)
    traced = TracedScene(shape).render(camera, size=size, supersample=1)
    meshed = Scene(shape.mesh(128)).render(camera, size=size, supersample=1)
    return traced, meshed


@pytest.mark.parametrize("family", TRAIN_FAMILIES[::9])
def test_tracing_draws_what_the_mesh_shows(family):
    traced, meshed = draw_both(family, canonical_camera(), 96)
    ours, theirs = traced[..., 3] > 0, meshed[..., 3] > 0
    # The mesh cuts off corners by up to half a cell, a third of a pixel here.
    assert (ours & theirs).sum() > 0.93 * (ours | theirs).sum()
    both = ours & theirs
    difference = np.abs(traced[both].astype(int) - meshed[both].astype(int)).mean()
    assert difference < 8


@pytest.mark.parametrize("size", [50, 64, 101])
def test_blocks_of_rays_miss_nothing_that_single_rays_hit(size, monkeypatch):
    camera = orbit_camera(-70, 35, fov_degrees=60)
    shape = make_shape(5, "chair")
    together = TracedScene(shape).render(camera, size=size, supersample=1)
    monkeypatch.setattr("g3pt.procedural.tracing.BLOCK", 1)
    alone = TracedScene(shape).render(camera, size=size, supersample=1)
    ours, theirs = together[..., 3] > 0, alone[..., 3] > 0
    # Rays that graze an edge may end on either side of it.
    assert (ours != theirs).sum() <= 0.01 * theirs.sum()


def test_supersampling_gives_soft_edges():
    picture = TracedScene(make_shape(1)).render(canonical_camera(), size=32, supersample=2)
    assert picture.shape == (32, 32, 4)
    assert ((picture[..., 3] > 0) & (picture[..., 3] < 255)).any()


def test_looking_past_the_shape_shows_nothing():
    camera = orbit_camera(0, 0, fov_degrees=1)
    away = type(camera)(position=camera.position, target=(50.0, 0.0, 0.0), fov_degrees=1)
    picture = TracedScene(make_shape(1)).render(away, size=16, supersample=1)
    assert not over_white(picture)[picture[..., 3] > 0].size
