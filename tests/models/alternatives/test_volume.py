"""A volume of features."""

import math

import torch
from torch import nn

from g3pt.models.alternatives.volume import VolumeConfig, VolumeTokenizer, voxelize


def test_points_are_counted_with_mean_offset_and_normal():
    points = torch.tensor([[[-0.75, -0.75, -0.25], [-0.55, -0.75, -0.25], [0.75, 0.25, 0.75]]])
    normals = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])
    grid = voxelize(points, normals, (4, 4, 4))
    voxel = grid[0, :, 0, 0, 1]
    assert float(voxel[0]) == float(torch.tensor(3.0).log())
    # offsets of 0 and .4 voxels along x, none along y and z
    torch.testing.assert_close(voxel[1:4], torch.tensor([0.2, 0.0, 0.0]), atol=1e-6, rtol=0)
    torch.testing.assert_close(voxel[4:], torch.tensor([0.5, 0.5, 0.0]))
    torch.testing.assert_close(grid[0, 4:, 3, 2, 3], torch.tensor([0.0, 0.0, 1.0]))
    assert int((grid[0, 0] > 0).sum()) == 2


def test_points_on_the_border_fall_into_the_last_voxel():
    grid = voxelize(torch.ones(1, 1, 3), torch.ones(1, 1, 3), (4, 4, 4))
    assert float(grid[0, 0, 3, 3, 3]) > 0


def test_the_grid_may_differ_along_the_axes():
    config = VolumeConfig(grid=(2, 3, 4), dim=8, num_heads=1, channels=(4, 4), hidden=4)
    assert config.voxels == (8, 12, 16)
    model = VolumeTokenizer(config)
    assert model.scale_lengths == (math.prod(config.grid),)
    assert model.encode(torch.rand(1, 9, 3), torch.rand(1, 9, 3)).shape == (1, 24, 8)


def test_a_query_sees_the_voxel_it_is_in():
    config = VolumeConfig(
        grid=(2, 3, 4), dim=8, num_heads=1, channels=(4,), hidden=4, query_hidden=8
    )
    decoder = VolumeTokenizer(config).decoder
    decoder.layers, decoder.attention = nn.Identity(), nn.Identity()  # cells as they are
    memory = torch.zeros(1, 24, 4)
    marked = memory.clone()
    cell = (1 * 3 + 0) * 4 + 2  # x 1, y 0, z 2
    marked[0, cell] = 5.0
    one_scale = torch.ones(1, dtype=torch.int64)
    queries = torch.tensor([[[0.5, -2 / 3, 0.25], [-0.5, 2 / 3, 0.25], [0.5, -2 / 3, -0.75]]])
    before = decoder(decoder.memory(memory, one_scale), queries)
    after = decoder(decoder.memory(marked, one_scale), queries)
    assert ((after - before).abs() > 1e-4)[0].tolist() == [True, False, False]
