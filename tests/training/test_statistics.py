"""A running mean does not depend on how the batch is cut."""

import torch
from torch import nn

from g3pt.training.distributed import World
from g3pt.training.statistics import RunningStatistics


class Mean(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.ones(3))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("table", torch.ones(2), persistent=False)

    def forward(self, values_B3):
        self.mean.lerp_(values_B3.mean(dim=0), 0.1)
        self.steps += 1


def moved(batch_B3, num_slices):
    module = Mean()
    statistics = RunningStatistics(module, World(), num_slices=num_slices)
    statistics.begin_step()
    for part in batch_B3.chunk(num_slices):
        module(part)
        statistics.end_slice()
    statistics.end_step()
    return module, statistics


def test_slices_move_a_mean_as_the_whole_batch_does():
    batch_B3 = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    whole, cut = moved(batch_B3, 1)[0], moved(batch_B3, 4)[0]
    torch.testing.assert_close(cut.mean, whole.mean)
    assert cut.steps == whole.steps == 1


def test_a_step_that_is_undone_leaves_no_trace():
    for num_slices in (1, 4):
        module, statistics = moved(torch.zeros(8, 3), num_slices)
        assert module.mean[0] < 1
        statistics.undo()
        assert module.mean.tolist() == [1, 1, 1] and module.steps == 0
