"""Encoder (Eq. 2), decoder (Eq. 5) and the tokenizer around them."""

from dataclasses import replace

import pytest
import torch

from g3pt.models.cqt import CqtConfig
from g3pt.models.cvq import (
    CvqConfig,
    CvqTokenizer,
    anchor_points,
    morton_codes,
    spread_points,
)
from g3pt.models.quantizers import LfqConfig


@pytest.fixture(scope="module")
def tokenizer():
    torch.manual_seed(0)
    config = CvqConfig(
        num_latents=16,
        dim=32,
        num_heads=2,
        encoder_layers=1,
        decoder_layers=1,
        cqt=CqtConfig(scale_lengths=(1, 4, 16)),
        quantizer=LfqConfig(num_bits=6),
    )
    return CvqTokenizer(config).eval()


@pytest.fixture(scope="module")
def cloud():
    generator = torch.Generator().manual_seed(1)
    points = torch.rand(2, 100, 3, generator=generator) * 1.8 - 0.9
    return points, torch.nn.functional.normalize(points, dim=-1)


def test_equation_2_ignores_point_order(tokenizer, cloud):
    points, normals = cloud
    order = torch.randperm(100)
    torch.testing.assert_close(
        tokenizer.encode(points, normals), tokenizer.encode(points[:, order], normals[:, order])
    )


def test_equation_2_sees_normals(tokenizer, cloud):
    points, normals = cloud
    assert not torch.allclose(
        tokenizer.encode(points, normals), tokenizer.encode(points, -normals), atol=1e-4
    )


def test_decoding_the_tokens_gives_the_quantised_latents_of_every_prefix(tokenizer, cloud):
    with torch.no_grad():
        out = tokenizer.quantize(tokenizer.encode(*cloud))
        for end, prefix in zip((1, 5, 21), out.prefixes, strict=True):
            torch.testing.assert_close(tokenizer.decode_indices(out.indices_BT[:, :end]), prefix)


def test_tokens_are_vocabulary_indices_of_all_scales(tokenizer, cloud):
    indices = tokenizer.tokenize(*cloud)
    assert indices.shape == (2, 21)
    assert indices.dtype == torch.int64
    assert 0 <= indices.min() and indices.max() < 2**6
    assert torch.equal(tokenizer.tokenize(*cloud, num_scales=2), indices[:, :5])


def test_tokens_that_end_inside_a_scale_are_refused(tokenizer):
    with pytest.raises(ValueError, match="do not end with a scale"):
        tokenizer.decode_indices(torch.zeros(1, 3, dtype=torch.int64))


def test_equation_5_answers_each_query_on_its_own(tokenizer):
    memory = tokenizer.shape_memory(torch.randn(1, 16, 32))
    queries = torch.rand(1, 10, 3)
    torch.testing.assert_close(
        tokenizer.occupancy(memory, queries)[:, 3:5], tokenizer.occupancy(memory, queries[:, 3:5])
    )


def test_decoder_is_told_the_number_of_scales(tokenizer):
    summed = torch.randn(1, 16, 32)
    torch.testing.assert_close(
        tokenizer.shape_memory(summed), tokenizer.shape_memory(summed, num_scales=3)
    )
    with torch.no_grad():
        tokenizer.decoder.prefix_embedding[0] = 1.0
    assert not torch.allclose(tokenizer.shape_memory(summed, 1), tokenizer.shape_memory(summed, 3))


def test_anchors_fill_the_unit_frame_and_neighbours_in_order_are_near():
    anchors = anchor_points(64)
    assert anchors.abs().max() <= 0.95
    step = (anchors[1:] - anchors[:-1]).norm(dim=-1).mean()
    shuffled = anchors[torch.randperm(64, generator=torch.Generator().manual_seed(0))]
    assert step < 0.7 * (shuffled[1:] - shuffled[:-1]).norm(dim=-1).mean()


def test_last_scale_cannot_be_longer_than_the_latents():
    with pytest.raises(ValueError, match="above"):
        CvqConfig(num_latents=8, cqt=CqtConfig(scale_lengths=(1, 16)))


def test_farthest_points_do_not_depend_on_the_order_and_come_in_spatial_order():
    points = torch.rand(2, 200, 3) * 2 - 1
    order = torch.randperm(200)
    chosen = points.gather(1, spread_points(points, 16)[..., None].expand(-1, -1, 3))
    shuffled = points[:, order]
    again = shuffled.gather(1, spread_points(shuffled, 16)[..., None].expand(-1, -1, 3))
    assert torch.equal(chosen, again)
    codes = morton_codes(chosen)
    assert bool((codes.diff(dim=1) >= 0).all())


def test_farthest_points_are_farther_apart_than_random_ones():
    points = torch.rand(1, 400, 3) * 2 - 1
    chosen = points[0, spread_points(points, 16)[0]]

    def closest(some):
        return float((torch.cdist(some, some) + 9 * torch.eye(len(some))).min())

    # a slow obvious twin: add, sixteen times, the point farthest from those there
    picked = [int((points[0] - points[0].mean(dim=0)).norm(dim=1).argmax())]
    while len(picked) < 16:
        picked.append(int(torch.cdist(points[0], points[0, picked]).amin(dim=1).argmax()))
    assert sorted(picked) == sorted(spread_points(points, 16)[0].tolist())
    assert closest(chosen) > 3 * closest(points[0, :16])


def test_more_queries_than_points_are_refused():
    with pytest.raises(ValueError, match="cannot choose 8 of 4 points"):
        spread_points(torch.rand(1, 4, 3), 8)


def test_cross_attentions_start_out_looking_at_what_is_near():
    """Before training, latents whose anchors are near a query point weigh more in its answer."""
    config = CvqConfig(
        num_latents=16, dim=64, num_heads=1, cqt=CqtConfig(scale_lengths=(1, 16)), local_gain=1.4
    )
    queries = torch.rand(1, 200, 3) * 1.8 - 0.9
    distances = torch.cdist(queries, anchor_points(16)[None])[0]

    def mean_distance(config):
        torch.manual_seed(0)
        decoder = CvqTokenizer(config).decoder
        block = decoder.answer
        asked = block.attention.queries(
            block.attention_norm(decoder.query_projection(decoder.embedding(queries)))
        )
        keys = block.attention.keys_values(block.context_norm(decoder.slots_LC[None])).keys_BHMD
        weights = (asked @ keys.mT)[0, 0].mul(64**-0.5).softmax(dim=-1)
        return float((weights * distances).sum(dim=-1).mean().detach())

    everywhere = float(distances.mean())
    assert mean_distance(replace(config, local_gain=0.0)) > 0.95 * everywhere
    assert mean_distance(config) < 0.85 * everywhere
