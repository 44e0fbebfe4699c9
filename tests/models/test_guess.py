import pytest
import torch

from conditions import draw_pictures
from g3pt.models.car import Car, CarConfig
from g3pt.models.conditioning import ConditionBatch, ImageConditionConfig
from g3pt.models.conditioning.pixels import shrink_pictures
from g3pt.models.conditioning.pretrained import frozen_features
from g3pt.models.cqt import CqtConfig
from g3pt.models.cvq import CvqConfig, CvqTokenizer
from g3pt.models.guess import GuessConfig, metric_root
from g3pt.models.quantizers import LfqConfig, unpack_bits
from g3pt.models.teacher import ScaleInputs, teacher_inputs

SCALES = (1, 4, 16)


@pytest.fixture(scope="module")
def tokenizer():
    torch.manual_seed(0)
    config = CvqConfig(
        num_latents=16,
        dim=32,
        num_heads=2,
        encoder_layers=1,
        decoder_layers=1,
        cqt=CqtConfig(scale_lengths=SCALES),
        quantizer=LfqConfig(num_bits=6),
    )
    tokenizer = CvqTokenizer(config).eval()
    tokenizer.cqt.mean_LC.copy_(torch.randn(16, 32) * 0.3)
    return tokenizer


@torch.no_grad()
def test_signs_of_tokens_decode_to_what_tokens_do(tokenizer):
    indices = torch.randint(64, (3, 5), generator=torch.Generator().manual_seed(0))
    signs = unpack_bits(indices, 6).float() * 2 - 1
    torch.testing.assert_close(tokenizer.decode_signs(signs), tokenizer.decode_indices(indices))


@torch.no_grad()
def test_the_metric_of_signs_is_that_of_features(tokenizer):
    root = metric_root(tokenizer, 2)
    some, other = torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(0)) * 0.1
    features = tokenizer.decode_signs(some) - tokenizer.decode_signs(other)
    expected = features.flatten(1).square().sum(dim=1)
    found = ((some - other).flatten(1) @ root).square().sum(dim=1)
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.0)  # linear about zero


def test_the_metric_of_signs_is_exact_inside_a_step_of_half_precision(tokenizer):
    with torch.autocast("cpu", torch.bfloat16):
        inside = metric_root(tokenizer, 2)
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, metric_root(tokenizer, 2), rtol=0.0, atol=0.0)


@pytest.fixture(scope="module")
def car():
    image = ImageConditionConfig(image_size=64, patch_size=16, depth=1, width=16, num_heads=2)
    guess = GuessConfig(image_size=32, num_scales=2, place_width=4, width=16, shown=False)
    config = CarConfig(
        scale_lengths=SCALES,
        num_bits=6,
        input_dim=32,
        depth=1,
        width=16,
        num_heads=2,
        conditions=(image,),
        guess=guess,
    )
    torch.manual_seed(0)
    car = Car(config).eval()
    assert car.guess is not None
    torch.nn.init.normal_(car.guess.to_signs.weight)
    return car


@torch.no_grad()
def test_a_guess_covers_the_tokens_of_its_scales(car):
    pictures = draw_pictures(2, 64)
    signs = car.guess_signs(ConditionBatch(batch_size=2, pictures_BSS4=pictures))
    assert signs.shape == (2, 5, 6)
    assert signs.abs().max() > 0.1


@torch.no_grad()
def test_without_a_picture_nothing_is_known(car):
    pictures = draw_pictures(2, 64)
    dropped = torch.tensor([False, True])
    batch = ConditionBatch(batch_size=2, pictures_BSS4=pictures, images_dropped_B=dropped)
    signs = car.guess_signs(batch)
    assert signs[0].any()
    assert not signs[1].any()
    assert not car.guess_signs(batch.without_conditions()).any()


@torch.no_grad()
def test_pictures_of_the_right_side_come_before_larger_ones(car):
    large, right = draw_pictures(1, 64, generator=1), draw_pictures(1, 32, generator=2)
    shrunk = ConditionBatch(batch_size=1, pictures_BSS4=large)
    both = ConditionBatch(batch_size=1, pictures_BSS4=large, guess_pictures_BZZ4=right)
    small = shrink_pictures(large, 32)
    assert torch.equal(car.guess_signs(shrunk), car.guess(small))
    assert torch.equal(car.guess_signs(both), car.guess(right))
    with pytest.raises(ValueError, match="32"):
        car.guess_signs(ConditionBatch(batch_size=1, pictures_BSS4=draw_pictures(1, 16)))


@torch.no_grad()
def test_features_kept_from_earlier_give_the_same_guess(car):
    pictures = draw_pictures(2, 32)
    features = frozen_features(pictures, 32, car.config.guess.sha256)
    assert torch.equal(car.guess(pictures, features), car.guess(pictures))
    beside = ConditionBatch(
        batch_size=2,
        pictures_BSS4=draw_pictures(2, 64, generator=3),
        guess_pictures_BZZ4=pictures,
        guess_features_BGGP=features.flip(0),
    )
    assert torch.equal(car.guess_signs(beside), car.guess(pictures.flip(0)))
    with pytest.raises(ValueError, match="2 x 2 places"):
        car.guess(pictures, features[:, :1, :1])


def test_a_guess_of_more_scales_than_there_are_is_refused():
    with pytest.raises(ValueError, match=r"guess\.num_scales must be at most 2"):
        CarConfig(scale_lengths=(1, 4), guess=GuessConfig(num_scales=3))


@torch.no_grad()
def test_quantising_what_a_perfect_guess_leaves_open_gives_the_tokens(tokenizer):
    """The second half of the inputs is, scale by scale, what the residual loop quantises."""
    torch.manual_seed(1)
    latents = torch.randn(3, 16, 32)
    indices = tokenizer.quantize(latents).indices_BT
    inputs = teacher_inputs(tokenizer, indices, guess_BLC=latents).inputs_BTC
    for scale, part in enumerate(inputs.split(SCALES, dim=1)):
        found = tokenizer.quantizer(part[..., 32:], scale).indices_BT
        assert torch.equal(found, indices.split(SCALES, dim=1)[scale])


@torch.no_grad()
def test_rows_of_guided_sampling_share_what_is_known_and_keep_their_own_guess(tokenizer):
    torch.manual_seed(1)
    indices = torch.randint(64, (2, 1))
    guesses = torch.randn(4, 16, 32)
    together = ScaleInputs(tokenizer, "cumulative", 4, guesses)
    together.add(indices)
    for rows in (slice(0, 2), slice(2, 4)):
        alone = ScaleInputs(tokenizer, "cumulative", 2, guesses[rows])
        alone.add(indices)
        torch.testing.assert_close(together.next()[rows], alone.next())
