"""Cached sampling equals the full model under every condition and guidance setting."""

from dataclasses import replace

import pytest
import torch

from conditions import COMBINATIONS, WIDTH, draw_conditions
from g3pt.generation.drawing import draw_entries
from g3pt.generation.sampler import generate_tokens
from g3pt.models.car import Car, CarConfig
from g3pt.models.cqt import CqtConfig
from g3pt.models.cvq import CvqConfig, CvqTokenizer
from g3pt.models.quantizers import LfqConfig
from g3pt.models.sampling import UNCHANGED, Sampling, told_sampling
from g3pt.models.teacher import teacher_inputs

SCALES = (1, 3, 6)
SEEDS = [5, 6, 7]
GUIDANCE = {
    "none": (1.0, (1.0, 1.0, 1.0)),
    "ramp": (3.0, (1.0, 2.0, 3.0)),
    "constant": ((2.5, 2.5, 2.5), (2.5, 2.5, 2.5)),
    "one per scale": ((2.0, 1.0, 0.5), (2.0, 1.0, 0.5)),
    "away": ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
}
"""What the sampler is given, and what that means for every scale."""
every_combination = pytest.mark.parametrize("configs", COMBINATIONS.values(), ids=COMBINATIONS)


@pytest.fixture(scope="module")
def tokenizer():
    torch.manual_seed(0)
    config = CvqConfig(
        num_latents=6,
        dim=WIDTH,
        num_heads=2,
        encoder_layers=1,
        decoder_layers=1,
        cqt=CqtConfig(scale_lengths=SCALES),
        quantizer=LfqConfig(num_bits=5),
    )
    return CvqTokenizer(config).eval()


def build(configs):
    torch.manual_seed(0)
    config = CarConfig(
        scale_lengths=SCALES,
        num_bits=5,
        input_dim=WIDTH,
        depth=2,
        width=32,
        num_heads=2,
        conditions=configs,
    )
    car = Car(config).eval()
    with torch.no_grad():
        for parameter in car.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return car


def guided(number: float) -> Sampling:
    return replace(UNCHANGED, guidance_by_scale=(number,) * len(SCALES))


def sample_uncached(tokenizer, car, condition, guidance):
    """The slow, obvious twin: the whole model again for every scale."""
    generators = [torch.Generator().manual_seed(seed) for seed in SEEDS]
    indices = torch.zeros(len(SEEDS), 0, dtype=torch.int64)
    for scale, length in enumerate(SCALES):
        missing = torch.zeros(len(SEEDS), length, dtype=torch.int64)
        inputs = teacher_inputs(tokenizer, torch.cat([indices, missing], dim=1)).inputs_BTC
        logits = car(inputs, condition, scale + 1)[-1]
        if guidance is not None:
            null = car(inputs, condition.without_conditions(), scale + 1)[-1]
            logits = null + guidance[scale] * (logits - null)
        noise = torch.stack([torch.rand(length, generator=g) for g in generators])
        indices = torch.cat([indices, draw_entries(logits, noise)], dim=1)
    return indices


@torch.no_grad()
@pytest.mark.parametrize(("given", "meant"), GUIDANCE.values(), ids=GUIDANCE)
@every_combination
def test_cached_sampling_gives_the_tokens_of_the_full_model(tokenizer, configs, given, meant):
    car, condition = build(configs), draw_conditions(configs)
    ours = generate_tokens(
        tokenizer,
        car,
        condition,
        seeds=SEEDS,
        sampling=told_sampling(UNCHANGED, {"guidance": given}),
    )
    assert torch.equal(ours.indices_BT, sample_uncached(tokenizer, car, condition, meant))


@torch.no_grad()
@every_combination
def test_guidance_1_is_no_guidance_bit_for_bit(tokenizer, configs):
    car, condition = build(configs), draw_conditions(configs)
    plain = generate_tokens(tokenizer, car, condition, seeds=SEEDS)
    one = generate_tokens(tokenizer, car, condition, seeds=SEEDS, sampling=guided(1.0))
    assert torch.equal(plain.indices_BT, one.indices_BT)
    assert torch.equal(plain.nll_B, one.nll_B)
    assert torch.equal(plain.indices_BT, sample_uncached(tokenizer, car, condition, None))


def test_a_scale_with_guidance_1_takes_the_conditional_logits_as_they_are():
    from g3pt.generation.scale_steps import guide

    logits = torch.randn(6, 3, 32, generator=torch.Generator().manual_seed(0))
    conditional, guided = guide(logits, 1.0, guided=True)
    assert torch.equal(conditional, logits[:3]) and torch.equal(guided, conditional)


@torch.no_grad()
@every_combination
def test_guidance_0_forgets_the_condition(tokenizer, configs):
    car, condition = build(configs), draw_conditions(configs)
    nothing = condition.without_conditions()
    ours = generate_tokens(tokenizer, car, condition, seeds=SEEDS, sampling=guided(0.0))
    plain = generate_tokens(tokenizer, car, nothing, seeds=SEEDS)
    assert torch.equal(ours.indices_BT, plain.indices_BT)
    assert not torch.equal(ours.nll_B, plain.nll_B)
