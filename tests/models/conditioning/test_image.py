from dataclasses import replace

import pytest
import torch

from conditions import draw_pictures
from g3pt.models.conditioning.image import ImageConditionConfig, ImageEncoder

CONFIG = ImageConditionConfig(image_size=32, patch_size=8, depth=1, width=32, num_heads=2)


def test_one_token_per_patch_and_their_mean_as_vector():
    torch.manual_seed(0)
    out = ImageEncoder(CONFIG)(draw_pictures(2, 32))
    assert out.tokens_BID.shape == (2, 16, 32)
    assert out.valid_BI is None
    torch.testing.assert_close(out.vector_BD, out.tokens_BID.mean(dim=1))


def test_different_pictures_give_different_tokens():
    torch.manual_seed(0)
    encoder = ImageEncoder(CONFIG)
    images = draw_pictures(2, 32)
    tokens = encoder(images).tokens_BID
    assert not torch.allclose(tokens[0], tokens[1], atol=1e-3)


def test_a_white_object_on_white_is_seen_with_the_alpha_channel_alone():
    empty = torch.zeros(1, 32, 32, 4, dtype=torch.uint8)
    white = torch.full_like(empty, 255)
    for alpha in (False, True):
        torch.manual_seed(0)
        encoder = ImageEncoder(replace(CONFIG, alpha=alpha))
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
