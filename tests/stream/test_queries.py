import pytest
import torch

from g3pt.stream.queries import QueryCounts, label_queries


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
