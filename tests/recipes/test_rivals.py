"""Rivals are as large as the CAR they stand beside and learn from the same."""

from dataclasses import fields, replace

import pytest


@pytest.fixture
def matching():
    from g3pt.recipes import matching

    return matching


@pytest.mark.parametrize("size", ["tiny", "paper", "tiny-smoke", "paper-smoke"])
@pytest.mark.parametrize("rival", ["flow", "regressor"])
def test_a_rival_has_the_parameters_of_its_car(matching, size, rival):
    from g3pt.recipes import recipe

    car, other = recipe(f"car-{size}").model, recipe(f"{rival}-{size}").model
    wanted = matching.num_generator_parameters(car)
    assert matching.num_generator_parameters(other) == pytest.approx(wanted, rel=0.05)
    assert (other.depth, other.width, other.conditions) == (car.depth, car.width, car.conditions)


@pytest.mark.parametrize("rival", ["flow", "regressor"])
def test_counting_without_allocating_is_counting(matching, rival):
    from g3pt.models.car import Car
    from g3pt.models.rivals.flow import Flow
    from g3pt.models.rivals.regressor import Regressor
    from g3pt.recipes import recipe

    def count(module):
        return sum(p.numel() for p in module.parameters())

    config = recipe(f"{rival}-tiny-smoke").model
    model = Flow(config) if rival == "flow" else Regressor(config)
    decoder = count(model.decoder) if rival == "regressor" else 0
    assert matching.num_generator_parameters(config) == count(model) - decoder
    car = recipe("car-tiny-smoke").model
    assert matching.num_generator_parameters(car) == count(Car(car))


def test_sizes_that_cannot_be_matched_are_refused(matching):
    from g3pt.recipes import recipe

    config = recipe("flow-tiny-smoke").model
    with pytest.raises(ValueError, match="take fewer layers"):
        matching.matched_rival(config, 1000)
    # One more channel in 40 layers is more than 5 % of this.
    coarse = replace(config, depth=40, width=64, num_heads=1, conditions=())
    thinnest = matching.num_generator_parameters(replace(coarse, mlp_ratio=1 / 64))
    matching.matched_rival(coarse, thinnest)


@pytest.mark.parametrize("size", ["tiny", "paper"])
def test_a_rival_draws_from_the_same_shapes(size):
    from g3pt.recipes import recipe
    from g3pt.shapes.datasets.tokenizer import ConditionedDataConfig

    car = recipe(f"car-{size}")
    for rival in (recipe(f"flow-{size}"), recipe(f"regressor-{size}")):
        for field in fields(ConditionedDataConfig):
            assert getattr(rival.data, field.name) == getattr(car.data, field.name)
        assert (rival.shapes, rival.held_out) == (car.shapes, car.held_out)
        assert (rival.train, rival.optim) == (car.train, car.optim)


@pytest.mark.parametrize("size", ["tiny", "paper"])
def test_the_kl_tokenizer_is_as_large_as_the_one_of_car(matching, size):
    from g3pt.recipes import recipe

    cvq, kl = recipe(f"tokenizer-{size}").model, recipe(f"tokenizer-kl-{size}").model
    assert matching.num_parameters(kl) == pytest.approx(matching.num_parameters(cvq), rel=0.05)
    assert (kl.num_latents, kl.decoder_layers) == (cvq.num_latents, cvq.decoder_layers)
    assert recipe(f"flow-{size}").model.num_latents == kl.num_latents
