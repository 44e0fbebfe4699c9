"""Formulas against PyTorch's own count of what ran."""

from dataclasses import replace

import pytest
import torch

from g3pt.generation.sampler import generate_tokens
from g3pt.models.car import Car, CarConfig
from g3pt.models.conditioning import (
    ClassConditionConfig,
    ConditionBatch,
    Conditioner,
    ImageConditionConfig,
    PretrainedImageConditionConfig,
    TextConditionConfig,
)
from g3pt.models.cqt import CqtConfig
from g3pt.models.cvq import CvqConfig, CvqTokenizer
from g3pt.models.flops import (
    Operations,
    car_operations,
    condition_operations,
    generation_bytes,
    generation_operations,
    prefix_length,
)
from g3pt.models.quantizers import LfqConfig
from g3pt.models.sampling import UNCHANGED
from g3pt.training.cost import flop_counter

LENGTHS = (1, 4, 16, 64)
STAGE1 = CvqConfig(
    num_latents=64,
    dim=32,
    num_heads=2,
    encoder_layers=0,
    decoder_layers=0,
    cqt=CqtConfig(scale_lengths=LENGTHS),
    quantizer=LfqConfig(num_bits=6),
)
CONDITIONS = (
    ImageConditionConfig(image_size=32, patch_size=8, depth=2, width=32, num_heads=2),
    TextConditionConfig(max_tokens=8, depth=1, width=32, num_heads=2),
    ClassConditionConfig(width=16),
)
PRETRAINED = PretrainedImageConditionConfig(image_size=64, depth=2, width=32, num_heads=2)
SMALL = CarConfig(
    scale_lengths=LENGTHS,
    num_bits=6,
    input_dim=32,
    depth=3,
    width=64,
    num_heads=2,
    conditions=CONDITIONS,
)


def whole_condition(batch_size):
    return ConditionBatch(
        batch_size=batch_size,
        pictures_BSS4=torch.zeros(batch_size, 32, 32, 4, dtype=torch.uint8),
        text_ids_BN=torch.ones(batch_size, 8, dtype=torch.int64),
        labels_B=torch.zeros(batch_size, dtype=torch.int64),
    )


def counted(run):
    counter = flop_counter()
    with torch.no_grad(), counter:
        run()
    return counter.get_total_flops()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"head": "bitwise"},
        {"bitwise_scales": 2, "mlp_ratio": 2.0},
        {"conditions": CONDITIONS[:1]},
        {"conditions": (replace(CONDITIONS[0], alpha=True),)},
        {"conditions": ()},
    ],
    ids=str,
)
def test_a_forward_pass_costs_what_pytorch_counts(changes):
    config = replace(SMALL, **changes)
    car = Car(config).requires_grad_(False)
    inputs = torch.zeros(2, sum(LENGTHS), 32)
    kinds = {condition.kind for condition in config.conditions}
    whole = whole_condition(2)
    condition = replace(
        whole,
        pictures_BSS4=whole.pictures_BSS4 if "image" in kinds else None,
        text_ids_BN=whole.text_ids_BN if "text" in kinds else None,
        labels_B=whole.labels_B if "class" in kinds else None,
    )

    own = car_operations(config, num_prefix=prefix_length(config.conditions))
    expected = own + condition_operations(config.conditions, config.width)

    assert 2 * expected.forward == pytest.approx(counted(lambda: car(inputs, condition)), rel=0.02)


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_every_scale_of_a_generation_costs_what_pytorch_counts(cached, guidance):
    torch.manual_seed(0)
    car, tokenizer = (model.requires_grad_(False) for model in (Car(SMALL), CvqTokenizer(STAGE1)))
    expected = generation_operations(
        SMALL,
        STAGE1,
        batch_size=2,
        num_prefix=prefix_length(CONDITIONS),
        guided=guidance != 1,
        cached=cached,
    )
    condition = 2 * condition_operations(CONDITIONS, SMALL.width).forward
    totals = [
        counted(
            lambda num=num: generate_tokens(
                tokenizer,
                car,
                whole_condition(2),
                seeds=[0, 1],
                sampling=replace(UNCHANGED, guidance=guidance, num_scales=num),
                cache="static" if cached else "none",
            )
        )
        for num in range(1, len(LENGTHS) + 1)
    ]
    # a generation that ends early does not prepare the inputs of the scale that would follow
    assert totals[-1] == pytest.approx(sum(expected) + condition, rel=0.02)
    assert all(total <= sum(expected[: num + 1]) + condition for num, total in enumerate(totals))


@pytest.mark.parametrize("name", ["0.1B", "0.5B", "1.5B"])
def test_generations_at_the_papers_sizes_cost_what_pytorch_counts(name):
    from g3pt.recipes import car, tokenizer

    config, stage1 = car.of_size(name).model, tokenizer.paper().model
    config = replace(config, depth=config.depth // 12)  # blocks are alike
    with torch.device("meta"):
        model = Car(config).requires_grad_(False)
    resampling = CvqTokenizer(replace(stage1, encoder_layers=0, decoder_layers=0))
    resampling = resampling.to("meta").requires_grad_(False)
    pictures_BSS4 = torch.zeros(1, 224, 224, 4, dtype=torch.uint8, device="meta")
    condition = ConditionBatch(batch_size=1, pictures_BSS4=pictures_BSS4)

    greedy = replace(UNCHANGED, guidance=2.0, temperature=0.0)
    total = counted(
        lambda: generate_tokens(resampling, model, condition, seeds=[0], sampling=greedy)
    )

    prefix = prefix_length(config.conditions)
    expected = generation_operations(config, stage1, batch_size=1, num_prefix=prefix, guided=True)
    encoding = condition_operations(config.conditions, config.width).forward
    assert sum(expected) + encoding == pytest.approx(total, rel=0.02)


@pytest.mark.parametrize("features", ["both", "own", "pretrained"])
@pytest.mark.parametrize("pool", [1, 2])
def test_an_encoder_beside_a_frozen_network_costs_what_pytorch_counts(features, pool):
    config = replace(PRETRAINED, features=features, pool=pool)
    conditioner = Conditioner((config,), SMALL.width).requires_grad_(False)
    kept = {} if features == "own" else {"picture_features_BGGP": torch.zeros(2, 4, 4, 432)}
    pictures = torch.zeros(2, 64, 64, 4, dtype=torch.uint8)
    batch = ConditionBatch(batch_size=2, pictures_BSS4=pictures, **kept)
    expected = 2 * condition_operations((config,), SMALL.width).forward
    assert expected == pytest.approx(counted(lambda: conditioner(batch)), rel=0.02)
    assert prefix_length((config,)) == conditioner(batch).tokens_BID.shape[1]


def test_a_cache_saves_operations_and_a_larger_batch_shares_the_weights():
    options = {"num_prefix": 0, "guided": False}
    cached, again = (
        sum(generation_operations(SMALL, STAGE1, batch_size=1, cached=flag, **options))
        for flag in (True, False)
    )
    assert cached < again
    one, four = (
        generation_bytes(SMALL, batch_size=size, element_bytes=2, **options) for size in (1, 4)
    )
    assert one < four < 4 * one


def test_backward_passes_follow_what_their_inputs_want():
    operations = Operations(products=1.0, attention=10.0, entry=100.0)
    assert operations.forward == 111
    assert operations.forward_and_backward == 3 * 1 + 3.5 * 10 + 2 * 100
