import pytest
import torch

from g3pt.generation.consensus import consensus_features


def test_groups_that_follow_each_other_become_their_means() -> None:
    summed_MLC = torch.arange(24, dtype=torch.float32).reshape(6, 2, 2)
    means_BLC = consensus_features(summed_MLC, 3)
    slow_BLC = torch.stack([sum(summed_MLC[first : first + 3]) / 3 for first in (0, 3)])
    assert torch.equal(means_BLC, slow_BLC)


def test_a_consensus_of_one_sample_is_the_sample() -> None:
    summed_MLC = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(consensus_features(summed_MLC, 1), summed_MLC)


@pytest.mark.parametrize("num", [0, 4])
def test_groups_that_are_not_whole_are_refused(num: int) -> None:
    with pytest.raises(ValueError, match=f"6 samples in groups of {num}"):
        consensus_features(torch.zeros(6, 2, 2), num)
