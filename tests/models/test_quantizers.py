"""Lookup-free quantization (Eq. 1)."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from g3pt.models.quantizers import (
    LfqConfig,
    LfqQuantizer,
    bit_chances,
    pack_bits,
    pack_margins,
    unpack_bits,
)


@given(st.integers(1, 20), st.integers(0, 2**20 - 1))
def test_equation_1_unpack_undoes_pack(num_bits, index):
    index %= 2**num_bits
    assert pack_bits(unpack_bits(torch.tensor([index]), num_bits)).item() == index


def test_equation_1_weights_bit_i_with_two_to_the_i():
    bits = torch.tensor([[True, False, True], [False, True, False]])
    assert pack_bits(bits).tolist() == [5, 2]


def test_more_than_62_bits_are_refused():
    with pytest.raises(ValueError, match="at most 62"):
        pack_bits(torch.ones(1, 63, dtype=torch.bool))


def test_bits_outside_the_range_are_refused():
    with pytest.raises(ValueError, match="num_bits"):
        LfqConfig(num_bits=0)


def test_embedding_the_indices_gives_the_quantised_features():
    torch.manual_seed(0)
    quantizer = LfqQuantizer(LfqConfig(num_bits=5), 8, (1.0, 0.5))
    out = quantizer(torch.randn(2, 3, 8), 1)
    torch.testing.assert_close(quantizer.embed(out.indices_BT, 1), out.features_BTC)


def test_gradient_passes_straight_through_the_sign():
    torch.manual_seed(0)
    quantizer = LfqQuantizer(LfqConfig(num_bits=5), 8)
    x = torch.randn(1, 2, 8)
    hard, soft = x.clone().requires_grad_(), x.clone().requires_grad_()
    quantizer(hard).features_BTC.sum().backward()
    quantizer(soft, bypass=True).features_BTC.sum().backward()
    torch.testing.assert_close(hard.grad, soft.grad)


def test_bypass_passes_values_that_are_not_signs():
    torch.manual_seed(0)
    quantizer = LfqQuantizer(LfqConfig(num_bits=5), 8)
    x = torch.randn(1, 2, 8)
    assert not torch.allclose(quantizer(x).features_BTC, quantizer(x, bypass=True).features_BTC)


def test_projections_of_their_own_code_each_scale_apart():
    torch.manual_seed(0)
    apart = LfqQuantizer(LfqConfig(num_bits=6, share_projection=False), 8, (1.0, 1.0))
    shared = LfqQuantizer(LfqConfig(num_bits=6), 8, (1.0, 1.0))
    features = torch.randn(2, 5, 8)
    assert torch.equal(shared(features, 0).indices_BT, shared(features, 1).indices_BT)
    assert not torch.equal(apart(features, 0).indices_BT, apart(features, 1).indices_BT)
    assert not torch.equal(
        apart.embed(torch.zeros(1, 1, dtype=torch.int64), 0),
        apart.embed(torch.zeros(1, 1, dtype=torch.int64), 1),
    )


def test_bits_that_are_all_equal_need_features_that_keep_their_mean():
    torch.manual_seed(0)
    features = torch.randn(64, 50, 8)
    codes = {
        kind: LfqQuantizer(LfqConfig(num_bits=3, normalization=kind), 8)(features).indices_BT
        for kind in ("layer", "rms")
    }
    assert set(codes["rms"].unique().tolist()) == set(range(8))
    assert not {0, 7} & set(codes["layer"].unique().tolist())


def test_a_bit_at_the_edge_has_even_odds_and_one_far_from_it_is_certain():
    projected = torch.tensor([[0.001, -0.2, 0.2, -3.4, 3.4]])
    indices, margins = pack_bits(projected > 0), pack_margins(projected)
    chances = bit_chances(indices, margins, 0.1)
    expected = torch.sigmoid(torch.tensor([[0.0, -2.0, 2.0, -34.0, 34.0]]))
    # a margin is rounded to 1/64, a chance by at most a quarter of that over the temperature
    torch.testing.assert_close(chances, expected, atol=0.02, rtol=0)
    assert chances[0, 0] == 0.5


def test_margins_beyond_the_range_of_a_byte_are_as_large_as_it_holds():
    assert pack_margins(torch.tensor([[-3.0, 5.0]])).tolist() == [[192, 255]]


def test_a_bit_that_never_flips_is_learnt_as_it_is():
    indices = torch.arange(16)[None]
    margins = torch.full((1, 16, 4), 255, dtype=torch.uint8)
    torch.testing.assert_close(bit_chances(indices, margins, 0.01), unpack_bits(indices, 4).float())
