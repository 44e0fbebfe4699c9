"""Labels of broken meshes against the solids they stand for, where labels are hardest."""

from functools import cache

import numpy as np
import pytest

from g3pt.benchmarks.analytic import (
    REACH_VOXELS,
    RESOLUTION,
    SOLID_NAMES,
    analytic_solid,
    label_error,
    near_points,
)
from g3pt.geometry.mesh import concatenate
from g3pt.geometry.sampling import sample_surface, sample_volume
from g3pt.geometry.solid import INSIDE, Solid

MAX_ERROR = 0.005
"""A quarter of it is spent by triangles that do not quite follow a sphere."""


@cache
def case(name):
    truth = analytic_solid(name)
    return truth, Solid.from_mesh(truth.mesh, RESOLUTION)


@pytest.mark.parametrize("name", SOLID_NAMES)
def test_hardly_any_label_near_the_surface_is_wrong(name):
    truth, solid = case(name)
    assert label_error(truth, solid.contains) <= MAX_ERROR


@pytest.mark.parametrize("name", ["thin plate", "open box", "5% missing"])
def test_the_seal_alone_fails(name):
    truth, solid = case(name)
    assert (
        label_error(truth, lambda points: solid.seal_states(points) == INSIDE, 4000)
        > 10 * MAX_ERROR
    )


@pytest.mark.parametrize("name", ["half flipped", "double-sided"])
def test_the_winding_number_alone_fails(name):
    truth, solid = case(name)
    assert label_error(truth, solid.winding_contains, 4000) > 10 * MAX_ERROR


@pytest.mark.parametrize("name", ["inner shell", "thin walls", "self-intersecting"])
def test_faces_inside_the_solid_leave_it_full(name):
    truth, solid = case(name)
    samples = sample_surface(truth.mesh, 8000, np.random.default_rng(0))
    reach = REACH_VOXELS * solid.voxel
    heights = np.random.default_rng(1).uniform(-reach, reach, (8000, 1))
    points = samples.points + heights * samples.normals
    buried = points[truth.distance(points) < -reach]

    assert len(buried) > 500
    # Within a fraction of a voxel of an edge no way out is found that is surely free of surface.
    assert (~solid.contains(buried)).mean() < 0.001


def test_judged_points_are_close_to_the_surface_and_on_both_sides():
    truth, solid = case("open box")
    points = near_points(truth, 4000, np.random.default_rng(0))

    assert (np.abs(truth.distance(points)) <= REACH_VOXELS * solid.voxel).all()
    assert 0.4 < truth.contains(points).mean() < 0.6


def test_an_open_box_with_every_face_twice_is_full():
    """Doubling closes no boundary: the winding number is still asked."""
    truth = analytic_solid("open box")
    solid = Solid.from_mesh(concatenate([truth.mesh, truth.mesh]), 64)
    points = sample_volume(2000, np.random.default_rng(0))

    assert solid.contains(points[truth.contains(points)]).all()
