"""What must hold of CAR under every kind of condition, alone and together."""

from dataclasses import replace

import pytest
import torch

from conditions import COMBINATIONS, KINDS, draw_conditions, dropped_field
from g3pt.models.car import Car, CarConfig
from g3pt.models.conditioning import ConditionBatch

SCALES = (1, 3, 6, 10)
CONFIG = CarConfig(
    scale_lengths=SCALES, num_bits=5, input_dim=12, depth=2, width=32, num_heads=2, conditions=()
)
every_combination = pytest.mark.parametrize("configs", COMBINATIONS.values(), ids=COMBINATIONS)


def build(configs):
    """A model whose zero-initialised parts have been moved, so that everything matters."""
    torch.manual_seed(0)
    car = Car(replace(CONFIG, conditions=configs)).eval()
    with torch.no_grad():
        for parameter in car.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return car


def draw_inputs():
    return torch.randn(3, sum(SCALES), 12, generator=torch.Generator().manual_seed(1))


def whole(car, condition):
    return torch.cat(car(draw_inputs(), condition), dim=1)


@torch.no_grad()
@every_combination
def test_finer_inputs_leave_coarser_logits_untouched(configs):
    car, condition = build(configs), draw_conditions(configs)
    before = car(draw_inputs(), condition)
    for changed in range(1, len(SCALES)):
        inputs = draw_inputs()
        inputs[:, sum(SCALES[:changed]) :] = inputs[:, sum(SCALES[:changed]) :].flip(-1)
        after = car(inputs, condition)
        for scale in range(changed):
            assert torch.equal(before[scale], after[scale])
        assert not torch.equal(before[changed], after[changed])


@torch.no_grad()
@every_combination
def test_cached_scales_equal_the_full_forward(configs):
    car, condition = build(configs), draw_conditions(configs)
    full = car(draw_inputs(), condition)
    encoded, cache = car.encode_condition(condition), car.start_cache()
    for scale, inputs in enumerate(draw_inputs().split(SCALES, dim=1)):
        logits = car.forward_scale(inputs, scale, encoded, cache)
        # float32 sums in another order
        torch.testing.assert_close(logits, full[scale], atol=1e-5, rtol=1e-5)


@torch.no_grad()
@every_combination
def test_the_condition_matters(configs):
    car, condition = build(configs), draw_conditions(configs)
    shifted = condition.rows(torch.tensor([1, 2, 0]))
    assert not torch.allclose(whole(car, condition), whole(car, shifted), atol=1e-4)
    absent = condition.without_conditions()
    assert not torch.allclose(whole(car, condition), whole(car, absent), atol=1e-4)


@torch.no_grad()
@every_combination
def test_a_dropped_row_is_a_row_without_the_condition(configs):
    car, condition = build(configs), draw_conditions(configs)
    masks = {dropped_field(config): torch.tensor([False, True, False]) for config in configs}
    dropped = whole(car, replace(condition, **masks))
    expected = torch.stack(
        [whole(car, given)[1] for given in (condition.without_conditions(), condition)]
    )
    # float32 products of prefixes of different length
    torch.testing.assert_close(dropped[1], expected[0], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(dropped[1], expected[1], atol=1e-4)
    for row in (0, 2):
        torch.testing.assert_close(dropped[row], whole(car, condition)[row], atol=1e-5, rtol=1e-5)


@torch.no_grad()
@every_combination
def test_what_stands_in_a_dropped_row_does_not_matter(configs):
    car, condition = build(configs), draw_conditions(configs)
    masks = {dropped_field(config): torch.tensor([False, True, False]) for config in configs}
    other = condition.rows(torch.tensor([0, 2, 2]))
    before = whole(car, replace(condition, **masks))
    assert torch.equal(before, whole(car, replace(other, **masks)))


@torch.no_grad()
@every_combination
def test_a_batch_that_lost_everything_is_one_without_conditions(configs):
    car, condition = build(configs), draw_conditions(configs)
    everybody = {dropped_field(config): torch.ones(3, dtype=torch.bool) for config in configs}
    lost = whole(car, replace(condition, **everybody))
    assert torch.equal(lost, whole(car, ConditionBatch(batch_size=3)))


@every_combination
def test_every_parameter_of_every_condition_learns(configs):
    car = build(configs)
    masks = {dropped_field(config): torch.tensor([True, False, False]) for config in configs}
    logits = car(draw_inputs(), replace(draw_conditions(configs), **masks))
    car.token_losses(logits, torch.randint(32, (3, sum(SCALES)))).mean().backward()
    # Encoders that are stood in for by their features have no parameters at all.
    idle = [name for name, p in car.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


def test_two_conditions_may_not_tell_the_same_thing():
    with pytest.raises(ValueError, match=r"twice: \['image', 'image'\]"):
        replace(CONFIG, conditions=(KINDS["image"], KINDS["dinov2"]))
