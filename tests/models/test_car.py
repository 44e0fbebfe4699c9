import math
from dataclasses import replace

import pytest
import torch

from conditions import draw_pictures
from g3pt.config import from_json, to_json
from g3pt.models.car import Car, CarConfig
from g3pt.models.conditioning import (
    ClassConditionConfig,
    ConditionBatch,
    ImageConditionConfig,
    TextConditionConfig,
)
from g3pt.models.guess import GuessConfig

SCALES = (1, 3, 6, 10)
IMAGE = ImageConditionConfig(image_size=16, patch_size=4, depth=1, width=16, num_heads=2)
TEXT = TextConditionConfig(vocabulary=("red", "chair"), depth=1, width=16, num_heads=2)
CLASS = ClassConditionConfig(num_classes=4, width=16)
CONFIG = CarConfig(
    scale_lengths=SCALES,
    num_bits=5,
    input_dim=12,
    depth=2,
    width=32,
    num_heads=2,
    conditions=(IMAGE, TEXT, CLASS),
)


def build(config=CONFIG, seed=0):
    """A model whose zero-initialised parts have been moved, so that everything matters."""
    torch.manual_seed(seed)
    car = Car(config).eval()
    with torch.no_grad():
        for parameter in car.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return car


def draw_inputs():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(3, sum(SCALES), 12, generator=generator)


def draw_condition(**changes):
    generator = torch.Generator().manual_seed(2)
    rows = TEXT.build_tokenizer().encode_batch(["red chair", "chair", "☂ red"])
    condition = ConditionBatch(
        batch_size=3,
        pictures_BSS4=draw_pictures(3, 16, generator=generator),
        text_ids_BN=torch.tensor(rows),
        labels_B=torch.tensor([0, 3, 1]),
        images_dropped_B=torch.tensor([False, True, False]),
    )
    return replace(condition, **changes)


HEADS = [("softmax", 0), ("bit_softmax", 0), ("bitwise", 0), ("bit_softmax", 2)]
"""Of the coarse scales, and how many fine ones choose bit by bit."""


def whole(car, *arguments):
    """The logits of all scales end to end."""
    return torch.cat(car(*arguments), dim=1)


@torch.no_grad()
def test_changing_the_input_of_a_scale_leaves_coarser_logits_untouched():
    car, inputs = build(), draw_inputs()
    before = car(inputs, draw_condition())
    inputs[:, sum(SCALES[:2]) :] = inputs[:, sum(SCALES[:2]) :].flip(-1)
    after = car(inputs, draw_condition())
    for scale in (0, 1):
        assert torch.equal(before[scale], after[scale])
    assert not torch.equal(before[2], after[2])


@torch.no_grad()
def test_all_tokens_of_a_scale_see_one_another():
    car, inputs = build(), draw_inputs()
    before = car(inputs, draw_condition())[3]
    inputs[:, -1] = inputs[:, -1].flip(-1)
    after = car(inputs, draw_condition())[3]
    assert ((before - after).abs().amax(dim=-1) > 1e-6).all()


@torch.no_grad()
def test_the_coarsest_scale_reads_no_input():
    car, inputs = build(), draw_inputs()
    before = whole(car, inputs, draw_condition())
    inputs[:, :1] = inputs[:, :1].flip(-1)
    assert torch.equal(before, whole(car, inputs, draw_condition()))


@torch.no_grad()
@pytest.mark.parametrize("num_scales", [1, 2, 3])
def test_fewer_scales_give_the_same_logits(num_scales):
    car = build()
    every = car(draw_inputs(), draw_condition())
    inputs = draw_inputs()[:, : sum(SCALES[:num_scales])]
    part = car(inputs, draw_condition(), num_scales)
    # float32 sums over rows of different number
    torch.testing.assert_close(part, every[:num_scales], atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("positions", ["sinusoidal", "none"])
def test_cached_scales_equal_the_full_forward_whatever_tells_tokens_apart(positions):
    car = build(replace(CONFIG, positions=positions))
    assert "positions" not in car.state_dict()
    full = car(draw_inputs(), draw_condition())
    condition, cache = car.encode_condition(draw_condition()), car.start_cache()
    for scale, inputs in enumerate(draw_inputs().split(SCALES, dim=1)):
        logits = car.forward_scale(inputs, scale, condition, cache)
        # float32 sums in another order
        torch.testing.assert_close(logits, full[scale], atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(("head", "bitwise_scales"), HEADS)
def test_cached_scales_equal_the_full_forward(head, bitwise_scales):
    car = build(replace(CONFIG, head=head, bitwise_scales=bitwise_scales))
    full = car(draw_inputs(), draw_condition())
    condition, cache = car.encode_condition(draw_condition()), car.start_cache()
    for scale, inputs in enumerate(draw_inputs().split(SCALES, dim=1)):
        logits = car.forward_scale(inputs, scale, condition, cache)
        # float32 sums in another order
        torch.testing.assert_close(logits, full[scale], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_cached_scales_equal_the_full_forward_with_a_guess():
    guess = GuessConfig(image_size=32, place_width=4, width=16)
    car = build(replace(CONFIG, guess=guess))
    generator = torch.Generator().manual_seed(1)
    every = torch.randn(3, sum(SCALES), car.config.num_inputs, generator=generator)
    full = car(every, draw_condition())
    condition, cache = car.encode_condition(draw_condition()), car.start_cache()
    for scale, inputs in enumerate(every.split(SCALES, dim=1)):
        logits = car.forward_scale(inputs, scale, condition, cache)
        # float32 sums in another order
        torch.testing.assert_close(logits, full[scale], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_scales_out_of_order_are_refused():
    car = build()
    condition, cache = car.encode_condition(draw_condition()), car.start_cache()
    with pytest.raises(ValueError, match="scale 1 does not follow"):
        car.forward_scale(draw_inputs()[:, :3], 1, condition, cache)


@torch.no_grad()
def test_inputs_of_a_wrong_length_are_refused():
    with pytest.raises(ValueError, match="2 scales have 4 tokens, got 20"):
        build()(draw_inputs(), draw_condition(), 2)


@torch.no_grad()
@pytest.mark.parametrize("field", ["pictures_BSS4", "text_ids_BN", "labels_B"])
def test_every_condition_matters(field):
    car = build()
    kept = draw_condition(images_dropped_B=None)
    changed = getattr(kept, field).flip(0)
    before = whole(car, draw_inputs(), kept)
    after = whole(car, draw_inputs(), replace(kept, **{field: changed}))
    assert not torch.allclose(before[0], after[0], atol=1e-4)


@torch.no_grad()
def test_the_modulation_is_conditioned():
    car = build()
    before = whole(car, draw_inputs(), draw_condition())
    after = whole(car, draw_inputs(), draw_condition(labels_B=torch.tensor([1, 2, 3])))
    assert not torch.allclose(before, after, atol=1e-4)


def test_a_new_model_knows_nothing():
    torch.manual_seed(0)
    car = Car(CONFIG)
    logits = car(draw_inputs(), draw_condition())
    losses = car.token_losses(logits, torch.randint(32, (3, sum(SCALES))))
    assert losses.shape == (4,)
    # the head starts small but not at zero
    assert losses.mean().item() == pytest.approx(5 * math.log(2), abs=0.1)


def test_every_parameter_learns():
    car = build()
    condition = draw_condition(
        text_dropped_B=torch.tensor([True, False, False]),
        labels_dropped_B=torch.tensor([False, False, True]),
    )
    logits = car(draw_inputs(), condition)
    car.token_losses(logits, torch.randint(32, (3, sum(SCALES)))).mean().backward()
    idle = [name for name, p in car.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


@pytest.mark.parametrize(("head", "bitwise_scales"), HEADS)
def test_a_few_shapes_can_be_learned_by_heart(head, bitwise_scales):
    torch.manual_seed(0)
    car = Car(replace(CONFIG, head=head, bitwise_scales=bitwise_scales))
    targets = torch.randint(32, (3, sum(SCALES)))
    optimizer = torch.optim.AdamW(car.parameters(), lr=3e-3)
    for _ in range(80):
        loss = car.token_losses(car(draw_inputs(), draw_condition()), targets).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3


def test_autocast_in_bfloat16_stays_near_float32():
    car = build()
    exact = whole(car, draw_inputs(), draw_condition())
    with torch.autocast("cpu", torch.bfloat16):
        rough = whole(car, draw_inputs(), draw_condition())
    error = (rough.float() - exact).abs().mean() / exact.abs().mean()
    # bfloat16 keeps eight bits; two blocks, one encoder and the head add up
    assert error < 0.03


def test_a_model_without_conditions_runs():
    car = build(replace(CONFIG, conditions=()))
    logits = car(draw_inputs(), ConditionBatch(batch_size=3))
    assert [part.shape for part in logits] == [(3, length, 32) for length in SCALES]


def test_fine_scales_choose_bit_by_bit_where_asked():
    car = build(replace(CONFIG, bitwise_scales=2))
    logits = car(draw_inputs(), draw_condition())
    assert [part.shape[-1] for part in logits] == [32, 32, 5, 5]
    targets = torch.randint(32, (3, sum(SCALES)))
    losses = car.token_losses(logits, targets)
    fine = car.heads["bitwise"].losses(logits[3], targets[:, -SCALES[3] :])
    torch.testing.assert_close(losses[3], fine.mean())


@pytest.mark.parametrize("changes", [{"dropout": 0.3}, {"stochastic_depth": 0.5}])
def test_training_leaves_something_out_and_answers_leave_out_nothing(changes):
    plain, thinned = build(), build(replace(CONFIG, **changes))
    inputs, condition = draw_inputs(), draw_condition()
    assert torch.equal(whole(thinned, inputs, condition), whole(plain, inputs, condition))
    thinned.train()
    first, second = (whole(thinned, inputs, condition) for _ in range(2))
    assert not torch.equal(first, second)


def test_all_that_is_added_cannot_be_left_out():
    with pytest.raises(ValueError, match="stochastic_depth must be in"):
        CarConfig(stochastic_depth=1.0)


def test_more_bitwise_scales_than_there_are_scales_are_refused():
    with pytest.raises(ValueError, match="bitwise_scales must be within 0 to 4, got 5"):
        replace(CONFIG, bitwise_scales=5)


def test_config_survives_json():
    assert from_json(CarConfig, to_json(CONFIG)) == CONFIG


def test_a_kind_of_condition_may_appear_once():
    with pytest.raises(ValueError, match="twice"):
        replace(CONFIG, conditions=(IMAGE, IMAGE))


def test_width_must_hold_the_heads():
    with pytest.raises(ValueError, match="not divisible"):
        replace(CONFIG, num_heads=5)
