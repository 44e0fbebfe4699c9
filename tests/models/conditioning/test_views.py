from dataclasses import replace

import pytest
import torch

from conditions import KINDS, SEVERAL_VIEWS, draw_conditions, draw_pictures
from g3pt.models.conditioning import ConditionBatch, Conditioner

both_encoders = pytest.mark.parametrize("config", SEVERAL_VIEWS.values(), ids=SEVERAL_VIEWS)


def build(config):
    torch.manual_seed(0)
    return Conditioner((config,), 24).eval()


def seen(output, row):
    return output.tokens_BID[row][output.valid_or_all[row]]


@torch.no_grad()
@both_encoders
def test_the_prefix_grows_with_the_views_a_shape_has(config):
    output = build(config)(draw_conditions((config,)))
    assert output.tokens_BID.shape == (3, 3 * config.num_tokens, 24)
    assert output.valid_or_all.sum(dim=1).tolist() == [n * config.num_tokens for n in (1, 2, 3)]


@torch.no_grad()
@both_encoders
def test_views_beyond_those_a_shape_has_do_not_matter(config):
    conditioner, batch = build(config), draw_conditions((config,))
    for row, num in enumerate((1, 2, 3)):
        fields = {
            name: getattr(batch, name)[row : row + 1, :num]
            for name in ("pictures_BSS4", "image_features_BIE", "image_summary_BE")
            if getattr(batch, name) is not None
        }
        alone = conditioner(ConditionBatch(batch_size=1, **fields))
        together = conditioner(batch)
        # float32 products of batches of different size
        torch.testing.assert_close(seen(together, row), seen(alone, 0), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(
            together.vector_BD[row], alone.vector_BD[0], atol=1e-5, rtol=1e-5
        )


@torch.no_grad()
def test_the_order_of_views_is_told_to_the_model():
    config = SEVERAL_VIEWS["image of several views"]
    conditioner, batch = build(config), replace(draw_conditions((config,)), num_views_B=None)
    turned = replace(batch, pictures_BSS4=batch.pictures_BSS4.flip(1))
    ours, other = conditioner(batch).tokens_BID, conditioner(turned).tokens_BID
    backwards = ours.unflatten(1, (3, -1)).flip(1).flatten(1, 2)
    assert not torch.allclose(other, backwards, atol=1e-4)
    marks = conditioner.conditions["image"].view_embedding
    change = (marks - marks.flip(0)).repeat_interleave(config.num_tokens, dim=0)
    torch.testing.assert_close(other, backwards + change, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_one_picture_without_an_axis_of_views_is_the_first_view():
    config = SEVERAL_VIEWS["image of several views"]
    conditioner, batch = build(config), replace(draw_conditions((config,)), num_views_B=None)
    plain = conditioner(replace(batch, pictures_BSS4=batch.pictures_BSS4[:, 0]))
    first = conditioner(replace(batch, pictures_BSS4=batch.pictures_BSS4[:, :1]))
    assert torch.equal(plain.tokens_BID, first.tokens_BID)


@pytest.mark.parametrize(("config", "most"), [("image", 1), ("image of several views", 3)])
def test_more_views_than_the_model_knows_are_refused(config, most):
    conditioner = build((KINDS | SEVERAL_VIEWS)[config])
    with pytest.raises(ValueError, match=f"at most {most} pictures of a shape, got 4"):
        conditioner(ConditionBatch(batch_size=2, pictures_BSS4=draw_pictures(2, 4, 16)))


@pytest.mark.parametrize("kind", ["image", "dinov2"])
def test_fewer_views_than_one_are_refused(kind):
    with pytest.raises(ValueError, match=f"{kind}.max_views must lie in 1..1024, got 0"):
        replace(KINDS[kind], max_views=0)


def test_one_view_needs_no_marks():
    assert build(KINDS["image"]).conditions["image"].view_embedding is None
