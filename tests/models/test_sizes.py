import itertools

import pytest

from g3pt.models.sizes import size_of_depth


@pytest.mark.parametrize(
    ("depth", "width", "billions"), [(12, 768, 0.1), (24, 1280, 0.5), (48, 1600, 1.5)]
)
def test_the_sizes_of_the_paper_are_on_the_ladder(depth, width, billions):
    size = size_of_depth(depth)
    assert (size.depth, size.width) == (depth, width)
    # the blocks alone, without embeddings, head and condition encoders
    assert size.num_parameters / 1e9 == pytest.approx(billions, rel=0.2)


def test_the_ladder_starts_below_a_million_parameters():
    assert size_of_depth(2).num_parameters < 1e6


def test_every_step_up_the_ladder_is_larger():
    sizes = [size_of_depth(depth) for depth in range(1, 49)]
    assert all(a.num_parameters < b.num_parameters for a, b in itertools.pairwise(sizes))
    assert all(size.width == 64 * size.num_heads for size in sizes)


@pytest.mark.parametrize("depth", [0, 49])
def test_a_depth_off_the_ladder_is_refused(depth):
    with pytest.raises(ValueError, match="within 1 to 48"):
        size_of_depth(depth)
