"""Fourier embedding."""

import pytest
import torch

from g3pt.nn.embeddings import FourierEmbedding, sinusoids


def test_embedding_holds_the_raw_position_then_sines_and_cosines():
    embedding = FourierEmbedding(num_octaves=2)
    point = torch.tensor([[[0.1, -0.2, 0.3]]])
    out = embedding(point)[0, 0]
    assert out.shape == (embedding.dim,) == (15,)
    torch.testing.assert_close(out[:3], point[0, 0])
    torch.testing.assert_close(out[3:5], torch.tensor([0.1, 0.2]).sin())
    torch.testing.assert_close(out[9:11], torch.tensor([0.1, 0.2]).cos())


def test_embedding_stays_float32_for_bfloat16_positions():
    assert FourierEmbedding()(torch.zeros(1, 1, 3, dtype=torch.bfloat16)).dtype == torch.float32


def test_no_octaves_is_refused():
    with pytest.raises(ValueError, match="num_octaves"):
        FourierEmbedding(0)


def test_sinusoids_tell_every_place_apart_and_need_pairs():
    places_TD = sinusoids(64, 16)
    assert places_TD[0].tolist() == [0.0] * 8 + [1.0] * 8
    apart_TT = torch.cdist(places_TD, places_TD) + torch.eye(64)
    assert apart_TT.min() > 0.1
    with pytest.raises(ValueError, match="in pairs, got a width of 7"):
        sinusoids(4, 7)
