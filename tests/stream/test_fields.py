import numpy as np
import pytest
import torch

from g3pt.procedural import make_shape
from g3pt.stream.fields import QueryCounts, label_queries, sample_field_surfaces
from g3pt.stream.primitives import PrimitiveCaster, pad_shapes


def drawn(shapes, num, seed=0):
    batch = pad_shapes([s.arrays for s in shapes], [s.extents for s in shapes])
    generator = torch.Generator().manual_seed(seed)
    field = PrimitiveCaster(batch, "torch").field
    return sample_field_surfaces(field, len(shapes), num, generator)


def box_field(half):
    half_3 = torch.tensor(half)

    def field(points):
        q = points.abs() - half_3
        return q.clamp(min=0).norm(dim=-1) + q.amax(dim=-1).clamp(max=0)

    return field


def test_points_of_a_box_are_shared_by_its_faces_as_their_areas_are():
    half = (0.9, 0.3, 0.02)
    points, normals = sample_field_surfaces(
        box_field(half), 1, 6000, torch.Generator().manual_seed(0)
    )
    areas = np.array([half[1] * half[2], half[2] * half[0], half[0] * half[1]])
    shares = np.bincount(normals[0].abs().argmax(dim=1).numpy(), minlength=3) / 6000
    # two standard deviations of a share of 6000, and what the edges add
    assert np.abs(shares - areas / areas.sum()).max() < 0.02
    assert (points[0].abs() <= torch.tensor(half) + 2e-3).all()


@pytest.mark.parametrize("family", ["chair", "mug", "assembly"])
def test_points_lie_on_the_surface_with_outward_normals(family):
    shape = make_shape(5, family)
    points, normals = drawn([shape], 300)
    positions, outward = points[0].double().numpy(), normals[0].double().numpy()
    assert np.quantile(np.abs(shape.field(positions)), 0.98) < 1.5e-3
    outside = shape.field(positions + 4e-3 * outward) > 0
    inside = shape.field(positions - 4e-3 * outward) < 0
    assert outside.mean() > 0.97
    assert inside.mean() > 0.95  # edges and parts thinner than the step


def test_points_are_as_even_as_those_drawn_on_the_primitives():
    """Mean position and spread of both draws agree, also for a vessel with an inside."""
    shape = make_shape(3, "mug")
    ours = drawn([shape], 2000)[0][0].numpy()
    twin = shape.sample_surface(20_000, np.random.default_rng(0)).points
    # 2000 points: a mean is known to about .01
    assert np.abs(ours.mean(axis=0) - twin.mean(axis=0)).max() < 0.05
    assert np.abs(ours.std(axis=0) - twin.std(axis=0)).max() < 0.05


def test_a_shape_does_not_depend_on_those_beside_it_but_by_the_draw():
    shapes = [make_shape(1, "table"), make_shape(2, "lamp")]
    points, _ = drawn(shapes, 100)
    for row, shape in enumerate(shapes):
        assert np.quantile(np.abs(shape.field(points[row].numpy())), 0.95) < 2e-3


def sphere(points):
    return points.norm(dim=-1) - 0.5


def surface(num):
    directions = torch.randn(2, num, 3, generator=torch.Generator().manual_seed(1))
    return 0.5 * directions / directions.norm(dim=-1, keepdim=True)


def test_labels_are_the_sign_of_the_field():
    counts = QueryCounts(num_volume=400, num_near=300)
    generator = torch.Generator().manual_seed(0)
    queries, inside = label_queries(sphere, surface(300), counts, generator)
    assert torch.equal(inside, queries.norm(dim=-1) < 0.5)
    assert queries.shape == (2, counts.total, 3)
    # a ball of radius 1/2 fills .065 of the cube
    assert inside[:, :400].float().mean().item() == pytest.approx(0.065, abs=0.035)
    assert (queries[:, 400:].norm(dim=-1) - 0.5).abs().mean() < 0.05


def test_few_surface_points_serve_for_many_queries():
    counts = QueryCounts(num_volume=8, num_near=30)
    queries, _ = label_queries(sphere, surface(4), counts, torch.Generator().manual_seed(0))
    assert queries.shape == (2, 38, 3)


def test_counts_that_cannot_be_shared_are_refused():
    with pytest.raises(ValueError, match="multiples of 3, got 8 and 4"):
        QueryCounts(num_volume=8, num_near=4)
