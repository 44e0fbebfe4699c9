import copy

import pytest
import torch

from conditions import draw_pictures
from g3pt.models.car import Car, CarConfig
from g3pt.models.conditioning import (
    ClassConditionConfig,
    ConditionBatch,
    ImageConditionConfig,
    TextConditionConfig,
)
from g3pt.models.weights.load import load_weights
from g3pt.models.weights.precision import cast_weights, resolve_dtype

LENGTHS = (1, 4, 16)


@pytest.fixture(scope="module", params=["softmax", "bit_softmax", "bitwise"])
def car(request):
    torch.manual_seed(0)
    config = CarConfig(
        scale_lengths=LENGTHS,
        num_bits=6,
        input_dim=32,
        depth=3,
        width=64,
        num_heads=2,
        head=request.param,
        conditions=(
            ImageConditionConfig(image_size=16, patch_size=4, depth=1, width=32, num_heads=2),
            TextConditionConfig(max_tokens=8, depth=1, width=32, num_heads=2),
            ClassConditionConfig(num_classes=4, width=16),
        ),
    )
    model = Car(config).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


@pytest.fixture(scope="module")
def condition():
    return ConditionBatch(
        batch_size=2,
        pictures_BSS4=draw_pictures(2, 16, generator=1),
        text_ids_BN=torch.tensor([[3, 4, 0], [5, 0, 0]]),
        labels_B=torch.tensor([0, 3]),
    )


@pytest.fixture(scope="module")
def inputs():
    return torch.randn(2, sum(LENGTHS), 32, generator=torch.Generator().manual_seed(2))


def in_bfloat16(car):
    cast = copy.deepcopy(car)
    cast_weights(cast, torch.bfloat16)
    return cast


def relative_error(ours, expected):
    ours, expected = torch.cat(ours, dim=1).float(), torch.cat(expected, dim=1).float()
    return float((ours - expected).norm() / expected.norm())


def test_logits_in_bfloat16_are_close(car, condition, inputs):
    ours = in_bfloat16(car)(inputs, condition)
    assert {logits.dtype for logits in ours} == {torch.bfloat16}
    # eight bits of mantissa, 2^-9 a rounding, through some thirty of them
    assert 0 < relative_error(ours, car(inputs, condition)) < 0.03


@pytest.mark.parametrize("kind", ["static", "growing", "none"])
def test_a_cache_gives_the_full_model_in_bfloat16_too(car, condition, inputs, kind):
    cast = in_bfloat16(car)
    encoded, cache = cast.encode_condition(condition), cast.start_cache(kind)
    parts = inputs.split(LENGTHS, dim=1)
    logits = [cast.forward_scale(part, scale, encoded, cache) for scale, part in enumerate(parts)]
    # products of other shapes may be summed in another order, and rounded to the other side
    assert relative_error(logits, cast(inputs, condition)) < 0.01


def test_temperatures_keep_their_digits(car):
    cast = in_bfloat16(car)
    formats = {name: parameter.dtype for name, parameter in cast.named_parameters()}
    kept = {name for name, dtype in formats.items() if dtype == torch.float32}
    assert kept and all(name.endswith("log_temperature") for name in kept)
    assert cast.dtype == torch.bfloat16


def test_loaded_weights_cast_the_generator_alone(tiny_weights):
    weights = load_weights(tiny_weights, "cpu", dtype="bfloat16")
    assert weights.car is not None and weights.car.dtype == torch.bfloat16
    assert {p.dtype for p in weights.tokenizer.parameters()} == {torch.float32}
    assert {b.dtype for b in weights.tokenizer.buffers()} == {torch.float32}
    assert weights.fingerprint == load_weights(tiny_weights, "cpu").fingerprint


def test_auto_is_bfloat16_on_gpus_that_have_it_alone(monkeypatch):
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    has_it = True
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: has_it)
    assert resolve_dtype("auto", cpu) == torch.float32
    assert resolve_dtype("auto", cuda) == torch.bfloat16
    has_it = False
    assert resolve_dtype("auto", cuda) == torch.float32
    assert resolve_dtype("bfloat16", cpu) == torch.bfloat16
    assert resolve_dtype(torch.float32, cuda) == torch.float32


def test_other_number_formats_are_refused(tiny_weights):
    with pytest.raises(ValueError, match="expected auto, float32 or bfloat16"):
        load_weights(tiny_weights, "cpu", dtype=torch.float16)
