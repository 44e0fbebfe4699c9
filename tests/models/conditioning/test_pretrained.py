from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from conditions import KINDS, draw_pictures
from g3pt.models.car import Car, CarConfig
from g3pt.models.conditioning import ConditionBatch, Conditioner
from g3pt.models.conditioning.pretrained import PretrainedImageConditionConfig
from g3pt.models.weights.config import WeightsConfig
from g3pt.models.weights.folder import read_config, write_config
from g3pt.models.weights.load import load_weights, save_weights

CONFIG = PretrainedImageConditionConfig(image_size=64, depth=1, width=16, num_heads=2)
POOLED = replace(CONFIG, pool=2)


def build(config):
    torch.manual_seed(0)
    return Conditioner((config,), 24).eval()


def encoder_of(conditioner):
    return conditioner.conditions["image"].encoder


def draw_batch(**changes):
    return ConditionBatch(batch_size=2, pictures_BSS4=draw_pictures(2, 64), **changes)


def test_a_picture_of_224_pixels_has_14_by_14_places():
    config = PretrainedImageConditionConfig()
    assert (config.num_places, config.num_tokens) == (196, 196)
    assert replace(config, pool=2).num_tokens == 49


@torch.no_grad()
@pytest.mark.parametrize("features", ["both", "own", "pretrained"])
def test_every_place_is_a_token_and_pooled_ones_are_means(features):
    whole, pooled = (build(replace(one, features=features)) for one in (CONFIG, POOLED))
    batch = draw_batch()
    full, halved = whole(batch), pooled(batch)
    assert full.tokens_BID.shape == (2, 16, 24) and halved.tokens_BID.shape == (2, 4, 24)
    assert torch.equal(full.vector_BD, halved.vector_BD)
    means = full.tokens_BID.unflatten(1, (2, 2, 2, 2)).mean(dim=(2, 4)).flatten(1, 2)
    # the mean before a linear map or after it
    torch.testing.assert_close(halved.tokens_BID, means, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_features_kept_from_earlier_stand_in_for_the_network():
    conditioner, batch = build(CONFIG), draw_batch()
    features = encoder_of(conditioner).pretrained_features(batch.pictures_BSS4)
    assert features.shape == (2, 4, 4, 432)
    kept = replace(batch, picture_features_BGGP=features)
    assert torch.equal(conditioner(kept).tokens_BID, conditioner(batch).tokens_BID)
    rounded = replace(batch, picture_features_BGGP=features.half())
    # float16 keeps eleven bits
    torch.testing.assert_close(
        conditioner(rounded).tokens_BID, conditioner(batch).tokens_BID, rtol=1e-2, atol=1e-2
    )
    swapped = replace(batch, picture_features_BGGP=features.flip(0))
    assert not torch.allclose(conditioner(swapped).tokens_BID, conditioner(batch).tokens_BID)
    turned = kept.rows(torch.tensor([1, 0, 1]))
    torch.testing.assert_close(
        conditioner(turned).tokens_BID,
        conditioner(batch).tokens_BID[[1, 0, 1]],
        rtol=1e-4,
        atol=1e-4,
    )


@torch.no_grad()
def test_coarse_features_lie_where_they_were_seen():
    encoder = encoder_of(build(CONFIG))
    features = encoder.pretrained_features(draw_pictures(1, 64))[0, ..., 112:]
    corners = features.permute(2, 0, 1)[:, ::3, ::3]
    halves = F.avg_pool2d(features.permute(2, 0, 1), 2)
    # Spread linearly: corners keep their value, and nothing is gained or lost on the whole.
    assert (corners - halves).abs().mean() < 0.5 * halves.std()
    torch.testing.assert_close(halves.mean(dim=(1, 2)), corners.mean(dim=(1, 2)))


@torch.no_grad()
@pytest.mark.parametrize("features", ["both", "own"])
def test_our_own_part_sees_white_on_white(features):
    encoder = encoder_of(build(replace(CONFIG, features=features)))
    empty = torch.zeros(1, 64, 64, 4, dtype=torch.uint8)
    white = torch.full_like(empty, 255)
    assert torch.equal(encoder.pretrained_features(empty), encoder.pretrained_features(white))
    assert not torch.allclose(encoder(empty).tokens_BID, encoder(white).tokens_BID)


def test_a_dropped_row_is_an_absent_picture_and_needs_no_mask():
    conditioner = build(POOLED)
    dropped = conditioner(draw_batch(images_dropped_B=torch.tensor([True, False])))
    absent = conditioner(ConditionBatch(batch_size=2))
    assert dropped.valid_BI is None and absent.valid_BI is None
    for name in ("tokens_BID", "vector_BD"):
        assert torch.equal(getattr(dropped, name)[0], getattr(absent, name)[0])


def test_gradients_reach_all_but_the_frozen_network():
    conditioner = build(CONFIG).train()
    output = conditioner(draw_batch())
    (output.tokens_BID.square().sum() + output.vector_BD.square().sum()).backward()
    for name, parameter in conditioner.named_parameters():
        assert name.split(".")[-1] in ("null_token", "null_vector") or parameter.grad.any(), name


def save_generator(folder, tiny_weights):
    tokenizer = load_weights(tiny_weights, "cpu").tokenizer
    torch.manual_seed(0)
    car = Car(
        CarConfig(
            scale_lengths=(1, 4, 16),
            num_bits=5,
            input_dim=32,
            depth=1,
            width=32,
            num_heads=2,
            conditions=(CONFIG,),
        )
    ).eval()
    config = WeightsConfig(name="w", storage="float32", tokenizer=tokenizer.config)
    save_weights(folder, tokenizer, car, config=config)
    return car


@torch.no_grad()
def test_weights_leave_the_network_out_and_name_it(tmp_path, tiny_weights):
    car = save_generator(tmp_path / "w", tiny_weights)
    stored = load_file(tmp_path / "w" / "model.safetensors")
    named = {name.removeprefix("car.") for name in stored if name.startswith("car.")}
    assert named == set(dict(car.named_parameters()))
    loaded = load_weights(tmp_path / "w", "cpu")
    before, after = (model.encode_condition(draw_batch()) for model in (car, loaded.car))
    assert torch.equal(before.tokens_BID, after.tokens_BID)

    config = read_config(tmp_path / "w", WeightsConfig)
    other = replace(CONFIG, sha256="0" * 64)
    config = replace(config, car=replace(config.car, conditions=(other,)))
    write_config(tmp_path / "w", config)
    with pytest.raises(ValueError, match="trained with another picture network"):
        load_weights(tmp_path / "w", "cpu")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 48}, "efficientnet.image_size must be a multiple of 32, got 48"),
        ({"num_heads": 3}, "width 16 is not divisible by num_heads 3"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **changes)


def test_inputs_that_do_not_fit_are_refused():
    pictures, features = draw_pictures(2, 64), torch.zeros(2, 4, 4, 432)
    with pytest.raises(ValueError, match="reads 64 x 64 pictures, got side 32"):
        encoder_of(build(CONFIG))(draw_pictures(2, 32))
    with pytest.raises(ValueError, match=r"sizes \(4, 4, 432\) a picture, got \(2, 2, 432\)"):
        encoder_of(build(CONFIG))(pictures, features[:, :2, :2])
    with pytest.raises(ValueError, match="features is own: this encoder reads no features"):
        encoder_of(build(replace(CONFIG, features="own")))(pictures, features)


@torch.no_grad()
def test_encoders_without_the_network_do_not_mind_its_features():
    pictures, features = draw_pictures(2, 16), torch.zeros(2, 4, 4, 432)
    plain = ConditionBatch(batch_size=2, pictures_BSS4=pictures)
    conditioner = build(KINDS["image"])
    beside = conditioner(replace(plain, picture_features_BGGP=features))
    assert torch.equal(beside.tokens_BID, conditioner(plain).tokens_BID)
