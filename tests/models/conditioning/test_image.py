from dataclasses import replace

import pytest
import torch

from conditions import draw_pictures
from g3pt.models.conditioning.image import ImageConditionConfig, ImageEncoder

CONFIG = ImageConditionConfig(image_size=32, patch_size=8, depth=1, width=32, num_heads=2)


@pytest.mark.parametrize("stem", ["conv", "patch"])
def test_one_token_per_patch_and_their_mean_as_vector(stem):
    torch.manual_seed(0)
    out = ImageEncoder(replace(CONFIG, stem=stem))(draw_pictures(2, 32))
    assert out.tokens_BID.shape == (2, 16, 32)
    assert out.valid_BI is None
    torch.testing.assert_close(out.vector_BD, out.tokens_BID.mean(dim=1))


@pytest.mark.parametrize("stem", ["conv", "patch"])
def test_different_pictures_give_different_tokens(stem):
    torch.manual_seed(0)
    encoder = ImageEncoder(replace(CONFIG, stem=stem))
    images = draw_pictures(2, 32)
    tokens = encoder(images).tokens_BID
    assert not torch.allclose(tokens[0], tokens[1], atol=1e-3)


@pytest.mark.parametrize("stem", ["conv", "patch"])
def test_a_white_object_on_white_is_seen_with_the_alpha_channel_alone(stem):
    empty = torch.zeros(1, 32, 32, 4, dtype=torch.uint8)
    white = torch.full_like(empty, 255)
    for alpha in (False, True):
        torch.manual_seed(0)
        encoder = ImageEncoder(replace(CONFIG, stem=stem, alpha=alpha))
        same = torch.equal(encoder(empty).tokens_BID, encoder(white).tokens_BID)
        assert same is not alpha


def test_pictures_of_another_size_are_refused():
    with pytest.raises(ValueError, match="32 x 32"):
        ImageEncoder(CONFIG)(draw_pictures(1, 64))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch_size": 5}, "multiple of patch_size"),
        ({"image_size": 36, "patch_size": 12}, "power of two"),
        ({"num_heads": 5}, "not divisible"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **change)


def test_the_patch_stem_takes_any_patch_size():
    config = replace(CONFIG, image_size=36, patch_size=12, stem="patch")
    assert ImageEncoder(config)(draw_pictures(1, 36)).tokens_BID.shape[1] == 9
