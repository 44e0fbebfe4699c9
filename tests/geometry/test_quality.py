"""Numbers by which prepared meshes are sorted, on meshes whose worth is known."""

import numpy as np
import pytest
import trimesh

from g3pt.geometry.boundary import sample_boundary
from g3pt.geometry.mesh import TriangleMesh, concatenate, keep_faces
from g3pt.geometry.quality import SolidQuality, measure_quality
from g3pt.geometry.solid import Solid

HALF = np.array([0.6, 0.5, 0.7])


def box(half=HALF, centre=(0.0, 0.0, 0.0)):
    body = trimesh.creation.box(extents=2 * np.array(half))
    return TriangleMesh.from_arrays(body.vertices + np.array(centre), body.faces)


def open_box():
    closed = box()
    lid = closed.triangles[:, :, 1].min(axis=1) > 0.49
    return keep_faces(closed, np.flatnonzero(~lid))


def sheet():
    return TriangleMesh.from_arrays(
        [[-0.9, 0, -0.9], [0.9, 0, -0.9], [0.9, 0, 0.9], [-0.9, 0, 0.9]], [[0, 1, 2], [0, 2, 3]]
    )


def measured(mesh, resolution=64):
    solid, rng = Solid.from_mesh(mesh, resolution), np.random.default_rng(0)
    return measure_quality(mesh, solid, sample_boundary(mesh, solid, 2000, rng), rng)


@pytest.fixture(scope="module")
def clean():
    return measured(box())


def test_a_clean_box_is_the_solid_that_it_bounds(clean):
    assert clean.label_error == clean.disagreement == 0
    assert clean.num_components == 1
    # Cells of the boundary mesh are 1/32 wide; it cuts off what is sharper at edges.
    assert clean.chamfer < 0.004
    assert clean.volume_ratio == pytest.approx(1, abs=0.02)


def test_half_of_the_labels_beside_a_sheet_are_wrong():
    quality = measured(sheet())
    assert quality.label_error == pytest.approx(0.5, abs=0.03)
    assert quality.source_to_solid == 2.0  # it encloses nothing to be near to
    assert quality.volume_ratio == 0


def test_a_bridged_hole_is_boundary_far_from_the_mesh(clean):
    quality = measured(open_box())
    # The lid is a sixth of the surface; its middle is half a unit from the walls.
    assert quality.solid_to_source > 10 * clean.solid_to_source
    assert quality.solid_to_source > 0.02
    assert quality.source_to_solid < 0.01


def test_faces_turned_at_random_make_the_methods_disagree(clean):
    mesh = trimesh.creation.icosphere(subdivisions=3, radius=0.7)
    faces = np.array(mesh.faces)
    turned = np.random.default_rng(0).random(len(faces)) < 0.3
    faces[turned] = faces[turned, ::-1]
    quality = measured(TriangleMesh.from_arrays(mesh.vertices, faces))
    assert quality.disagreement > 0.1
    assert quality.volume_ratio > 1.5  # the mesh's own volume cancels out


def test_a_part_that_encloses_nothing_is_far_from_the_solid(clean):
    small = sheet()
    beside = TriangleMesh(small.vertices * 0.3 + np.array([0.0, 0.9, 0.0]), small.faces)
    quality = measured(concatenate([box(), beside]))
    assert quality.num_components == 2
    assert quality.source_to_solid > 3 * clean.source_to_solid
    assert 0 < quality.label_error < 0.2


def test_the_volume_counts_what_is_joined_once():
    halves = concatenate([box(HALF, (0.1, 0, 0)), box(HALF, (-0.1, 0, 0))])
    # Sides of 1.4 instead of twice 1.2.
    assert measured(halves).volume_ratio == pytest.approx(1.4 / 2.4, abs=0.02)


def test_measuring_is_a_function_of_the_generator(clean):
    assert measured(box()) == clean


def test_chamfer_is_the_mean_of_both_directions():
    quality = SolidQuality(
        disagreement=0.0,
        label_error=0.0,
        source_to_solid=0.1,
        solid_to_source=0.3,
        volume_ratio=1.0,
        num_components=1,
    )
    assert quality.chamfer == pytest.approx(0.2)
