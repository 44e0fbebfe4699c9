"""The regressor: a condition to a field, each query on its own."""

from dataclasses import replace

import torch

from conditions import draw_pictures
from g3pt.models.conditioning import ConditionBatch, ImageConditionConfig
from g3pt.models.cvq import FieldDecoderConfig
from g3pt.models.rivals.regressor import Regressor, RegressorConfig

CONFIG = RegressorConfig(
    depth=2,
    width=16,
    num_heads=2,
    conditions=(ImageConditionConfig(image_size=16, patch_size=8, depth=1, width=16, num_heads=2),),
    decoder=FieldDecoderConfig(num_latents=6, dim=16, num_heads=2, decoder_layers=1, num_octaves=2),
)


def open_gates() -> Regressor:
    torch.manual_seed(0)
    regressor = Regressor(CONFIG).eval()
    with torch.no_grad():
        regressor.trunk.ada_ln.offsets.normal_(std=0.3)
    return regressor


def pictures(num: int = 2) -> ConditionBatch:
    return ConditionBatch(batch_size=num, pictures_BSS4=draw_pictures(num, 16))


def test_a_logit_depends_on_its_own_picture_and_point_alone() -> None:
    regressor = open_gates()
    queries = torch.rand(2, 5, 3) * 2 - 1
    logits = regressor(pictures(), queries)
    memory = regressor.shape_memory(pictures())
    # Products of other sizes round differently.
    torch.testing.assert_close(
        regressor.occupancy(memory[:1], queries[:1, :2]), logits[:1, :2], rtol=1e-4, atol=1e-5
    )
    other = pictures()
    assert other.pictures_BSS4 is not None
    other.pictures_BSS4[1] = 0
    changed = regressor(other, queries)
    torch.testing.assert_close(changed[0], logits[0])
    assert not torch.allclose(changed[1], logits[1])


def test_a_dropped_picture_equals_an_absent_one() -> None:
    regressor = open_gates()
    dropped = replace(pictures(), images_dropped_B=torch.tensor([True, False]))
    mixed = regressor.shape_memory(dropped)
    absent = regressor.shape_memory(ConditionBatch(batch_size=2))
    # Attention over padded keys sums in another order.
    torch.testing.assert_close(mixed[0], absent[0], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(mixed[1], absent[1])


def test_gradients_reach_every_parameter_once_the_gates_open() -> None:
    regressor = open_gates().train()
    regressor(pictures(), torch.rand(2, 5, 3)).square().sum().backward()
    # Unused: the null, as every row has a picture.
    silent = [name for name, p in regressor.named_parameters() if p.grad is None]
    assert sorted(silent) == [
        "trunk.conditioner.conditions.image.null_token",
        "trunk.conditioner.conditions.image.null_vector",
    ]
