import pytest
import torch

from conditions import KINDS
from g3pt.models.conditioning import ConditionBatch, Conditioner, encode_points
from g3pt.models.cqt import CqtConfig
from g3pt.models.cvq import CvqConfig, CvqTokenizer


@pytest.fixture(scope="module")
def tokenizer():
    torch.manual_seed(0)
    config = CvqConfig(
        num_latents=8,
        dim=16,
        num_heads=2,
        encoder_layers=1,
        decoder_layers=1,
        cqt=CqtConfig(scale_lengths=(1, 4)),
    )
    return CvqTokenizer(config)


def draw_cloud():
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(2, 50, 3, generator=generator) * 1.8 - 0.9
    return points, torch.nn.functional.normalize(points, dim=-1)


def test_the_prefix_is_the_latents_of_the_frozen_encoder(tokenizer):
    points, normals = draw_cloud()
    latents = encode_points(tokenizer, points, normals)
    assert not latents.requires_grad
    conditioner = Conditioner((KINDS["points"],), 24)
    output = conditioner(ConditionBatch(batch_size=2, point_latents_BLC=latents))
    expected = conditioner.conditions["points"].to_tokens(tokenizer.encoder(points, normals))
    torch.testing.assert_close(output.tokens_BID, expected)


def test_the_encoder_of_stage_1_is_not_stored_twice():
    names = Conditioner((KINDS["points"],), 24).state_dict()
    assert not any(".encoder." in name for name in names)


def test_the_order_of_points_does_not_matter(tokenizer):
    points, normals = draw_cloud()
    ours = encode_points(tokenizer, points, normals)
    # float32 sums in another order
    torch.testing.assert_close(
        ours, encode_points(tokenizer, points.flip(1), normals.flip(1)), atol=1e-5, rtol=1e-5
    )


def test_latents_of_another_tokenizer_are_refused():
    with pytest.raises(ValueError, match="latents of 16 channels, got 12"):
        Conditioner((KINDS["points"],), 24)(
            ConditionBatch(batch_size=2, point_latents_BLC=torch.zeros(2, 8, 12))
        )
