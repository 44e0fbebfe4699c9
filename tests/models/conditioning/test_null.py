"""The null that is repeated over all places of a picture, so that no mask is needed."""

from dataclasses import replace

import pytest
import torch

from conditions import KINDS, draw_pictures
from g3pt.models.car import Car, CarConfig
from g3pt.models.conditioning import ConditionBatch, Conditioner

MASKED = KINDS["image"]
REPEATED = replace(MASKED, null="repeated")
DROPPED = torch.tensor([False, True, False])


def build(config):
    torch.manual_seed(0)
    return Conditioner((config, KINDS["text"]), 24).eval()


def draw_batch(**changes):
    return ConditionBatch(batch_size=3, pictures_BSS4=draw_pictures(3, 16), **changes)


def nothing():
    return ConditionBatch(batch_size=3)


@torch.no_grad()
def test_a_dropped_row_is_an_absent_picture_without_any_mask():
    conditioner = build(REPEATED)
    dropped = conditioner(draw_batch(images_dropped_B=DROPPED))
    absent, whole = conditioner(nothing()), conditioner(draw_batch())
    for output in (dropped, absent, whole):
        assert output.valid_BI is None
        assert output.tokens_BID.shape == (3, REPEATED.num_tokens + 1, 24)
    for name in ("tokens_BID", "vector_BD"):
        found, missing, given = (getattr(one, name) for one in (dropped, absent, whole))
        assert torch.equal(found[1], missing[1])
        assert torch.equal(found[[0, 2]], given[[0, 2]])
        assert not torch.equal(found[1], given[1])


@torch.no_grad()
@pytest.mark.parametrize("image", [MASKED, REPEATED], ids=["masked", "repeated"])
def test_logits_of_a_dropped_row_are_those_of_an_absent_picture(image):
    torch.manual_seed(0)
    car = Car(
        CarConfig(
            scale_lengths=(1, 4),
            num_bits=4,
            input_dim=8,
            depth=2,
            width=32,
            num_heads=2,
            conditions=(image, KINDS["text"]),
        )
    )
    for parameter in car.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.2)
    inputs = torch.randn(3, 5, 8)
    dropped, absent, whole = (
        torch.cat(car(inputs, batch), dim=1)
        for batch in (draw_batch(images_dropped_B=DROPPED), nothing(), draw_batch())
    )
    # Attention over padded keys, and products of other sizes, sum in another order.
    torch.testing.assert_close(dropped[1], absent[1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(dropped[0], whole[0], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(absent[1], whole[1], atol=1e-2)


def test_dropped_rows_teach_the_null_and_kept_ones_the_encoder():
    conditioner = build(REPEATED).train()
    conditioner(draw_batch(images_dropped_B=~torch.zeros(3, dtype=torch.bool))).tokens_BID[
        :, :-1
    ].sum().backward()
    condition = conditioner.conditions["image"]
    assert condition.null_token.grad.any()
    assert not condition.encoder.positions.grad.any()


def test_the_null_of_several_views_cannot_be_repeated():
    with pytest.raises(ValueError, match=r"image.null: repeated is for models of one view"):
        replace(REPEATED, max_views=2)
