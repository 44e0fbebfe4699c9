"""Feature planes."""

import torch
from torch import nn

from g3pt.models.alternatives.triplane import (
    PLANES,
    TriplaneConfig,
    TriplaneTokenizer,
    plane_centres,
)


def tokenizer() -> TriplaneTokenizer:
    torch.manual_seed(0)
    config = TriplaneConfig(
        resolution=4,
        dim=8,
        num_heads=1,
        encoder_layers=1,
        decoder_channels=(8,),
        decoder_blocks=1,
        hidden=8,
        query_hidden=8,
    )
    return TriplaneTokenizer(config)


def test_every_cell_of_three_planes_is_a_token():
    assert tokenizer().scale_lengths == (48,)
    assert plane_centres(4).shape == (48, 3)


def test_a_query_sees_the_cells_that_it_projects_to():
    """Mark one cell of a plane: only queries in front of that cell notice."""
    decoder = tokenizer().decoder
    decoder.upsample = nn.Identity()  # planes as they are
    centres = plane_centres(4)
    zero = torch.zeros(1, 48, 8)
    one_scale = torch.ones(1, dtype=torch.int64)
    for plane, axes in enumerate(PLANES):
        cell = plane * 16 + 4 * 1 + 2  # second along the first axis, third along the second
        marked = zero.clone()
        marked[0, cell] = 5.0
        queries = torch.zeros(1, 4, 3)
        queries[0, 0, list(axes)] = centres[cell, list(axes)]  # its middle
        queries[0, 1, list(axes)] = centres[cell, list(axes)].flip(0)  # axes exchanged
        queries[0, 2] = 0.9
        third = ({0, 1, 2} - set(axes)).pop()
        queries[0, 3, list(axes)] = centres[cell, list(axes)]
        queries[0, 3, third] = 0.7  # as far along the third axis as one likes
        before = decoder(decoder.memory(zero, one_scale), queries)
        after = decoder(decoder.memory(marked, one_scale), queries)
        noticed = ((after - before).abs() > 1e-4)[0].tolist()
        assert noticed == [True, False, False, True]


def test_convolutions_see_all_planes_at_once():
    """Rolled out one above the other, the edge of one plane reaches into the next."""
    decoder = tokenizer().decoder
    one_scale = torch.ones(1, dtype=torch.int64)
    zero = torch.zeros(1, 48, 8)
    marked = zero.clone()
    marked[0, 15] = 1.0  # last row of the first plane
    difference = decoder.memory(marked, one_scale) - decoder.memory(zero, one_scale)
    assert difference[0, 1].abs().max() > 0
