from dataclasses import replace

import numpy as np
import pytest
import torch

from g3pt.geometry.sampling import SurfaceSamples, well_spread
from g3pt.procedural import make_shape
from g3pt.stream.chunks import Chunk
from g3pt.stream.fields import QueryCounts
from g3pt.stream.maker import ExampleMaker, MakerConfig
from g3pt.stream.spreading import spread_surfaces


def as_rows(points):
    return {tuple(point) for point in np.asarray(points).tolist()}


def test_many_surfaces_keep_the_points_that_each_alone_keeps():
    rng = np.random.default_rng(0)
    samples = [make_shape(seed, "chair").sample_surface(300, rng) for seed in range(3)]
    points, normals = (
        torch.from_numpy(np.stack([getattr(each, name) for each in samples]))
        for name in ("points", "normals")
    )
    kept, directions = spread_surfaces(points, normals, 64, torch.Generator())
    for row, each in enumerate(samples):
        alone: SurfaceSamples = well_spread(each, 64, rng)
        assert as_rows(kept[row]) == as_rows(alone.points)
        found = dict(zip(map(tuple, kept[row].tolist()), directions[row].tolist(), strict=True))
        for point, normal in zip(alone.points.tolist(), alone.normals.tolist(), strict=True):
            assert found[tuple(point)] == normal


def test_examples_are_tokenized_from_points_that_are_spread():
    made = []

    def tokenize(points, normals):
        made.append(points)
        return points[:, :1, 0].long()

    config = MakerConfig(
        num_points=128,
        image_size=32,
        num_views=1,
        queries=QueryCounts(num_volume=8, num_near=6),
    )
    chunk = Chunk((make_shape(3, "mug"),), ("",))
    for spread in (1, 8):
        changed = replace(config, spread=spread)
        maker = ExampleMaker(changed, torch.device("cpu"), tokenize, None)
        assert len(maker.make(chunk, 0, 0)) == 1
    random, spread = (nearest(points[0]) for points in made)
    assert len(made[1][0]) == 128
    assert spread.median() > 1.2 * random.median()
    with pytest.raises(ValueError, match="spread must be at least 1"):
        MakerConfig(spread=0)


def nearest(points):
    """Distance of every point to the nearest other one."""
    return torch.cdist(points, points).fill_diagonal_(9.0).amin(dim=1)
