"""Tables 2, 3, 4 and the choices: equal sizes, equal training, all of the paper's claims."""

import json
from dataclasses import replace

import pytest

from g3pt.config import from_json, to_json
from g3pt.models.alternatives.vq import VqConfig
from g3pt.models.cvq import CvqConfig
from g3pt.models.tokenizers import build_tokenizer
from g3pt.recipes.matching import TOLERANCE, matched, num_parameters
from g3pt.reproduce.catalogue import EXPERIMENTS, experiment_of, row_recipe
from g3pt.reproduce.choices import choices
from g3pt.reproduce.experiments import Claim
from g3pt.reproduce.tables import table2, table3a, table3b, table4
from g3pt.reproduce.tokenizer_sizes import size
from g3pt.training.runs import Run

LIGHT = ("smoke", "toy")


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        *((name, scale) for name in ("table2", "table4", "choices") for scale in LIGHT),
        ("table4", "small"),
        pytest.param("table4", "paper", marks=pytest.mark.slow),
        pytest.param("table2", "paper", marks=pytest.mark.slow),
    ],
)
def test_rows_have_the_parameters_of_the_cvq_beside_them(name, scale):
    experiment = experiment_of(name, scale)
    plain = [v for v in experiment.variants if v.name.startswith("cvq-")]
    for variant in experiment.variants:
        # of the two token counts of Table 2, the one that this row has
        tokens = [abs(_num_tokens(other) - _num_tokens(variant)) for other in plain]
        wanted = num_parameters(plain[tokens.index(min(tokens))].run.model)
        assert abs(num_parameters(variant.run.model) - wanted) <= TOLERANCE * wanted, variant.name


def _num_tokens(variant):
    lengths = getattr(getattr(variant.run.model, "cqt", variant.run.model), "scale_lengths", ())
    return sum(lengths) or variant.run.model.num_latents


@pytest.mark.parametrize("scale", LIGHT)
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_rows_differ_in_the_model_alone(name, scale):
    """Same data, steps, optimiser and loss; only choices change losses, `budget` steps."""
    experiment = experiment_of(name, scale)
    shown = {tokenizer.name for tokenizer in experiment.before}  # trained to be alike, not equally
    variants = [variant for variant in experiment.variants if variant.name not in shown]
    first = variants[0].run
    for variant in variants:
        if type(variant.run) is not type(first):
            continue  # a rival of Table 1: test_table1.py
        same = replace(variant.run, model=first.model)
        if name == "budget":
            same = replace(same, train=first.train)
        if name in ("choices", "car-choices"):
            same = replace(same, loss=first.loss)
        assert same == first, variant.name


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_row_survives_json_whatever_its_model(name):
    for variant in experiment_of(name, "smoke").variants:
        run = variant.seeded(3)
        assert from_json(type(run), json.loads(json.dumps(to_json(run)))) == run
        assert run.train.seed == run.data.seed == 3


def test_equal_names_in_two_tables_are_the_same_run():
    runs: dict[str, Run] = {}
    for table in EXPERIMENTS.values():
        for variant in table("toy").variants:
            assert runs.setdefault(variant.name, variant.run) == variant.run


@pytest.mark.parametrize("scale", [*LIGHT, "small"])
def test_token_counts_of_table_4_are_near_one_another(scale):
    counts = [sum(build_tokenizer(v.run.model).scale_lengths) for v in table4(scale).variants]
    assert max(counts) <= 1.15 * min(counts)


@pytest.mark.parametrize("scale", LIGHT)
def test_choices_keep_the_token_sum(scale):
    counts = {sum(build_tokenizer(v.run.model).scale_lengths) for v in choices(scale).variants}
    assert len(counts) == 1


def test_the_six_choices_that_matter_most_have_three_seeds_at_toy_size():
    seeds = [len(variant.seeds) for variant in choices("toy").variants]
    assert seeds.count(3) == 7  # the control is one of them
    assert len(seeds) >= 18


def test_the_paper_scale_has_the_papers_numbers():
    of = size("paper")
    assert [sum(lengths) for lengths in of.ladder] == [256, 576, 1024, 2408]
    assert [2**bits for bits in of.num_bits] == [1024, 2048, 4096, 8192]
    assert of.run.data.num_points == 16_384
    model = of.model
    assert (model.num_latents, model.dim) == (2304, 512)
    assert (model.encoder_layers, model.decoder_layers) == (12, 16)


def test_all_comparisons_of_the_paper_are_made():
    texts = [
        claim.text for table in (table2, table3a, table3b, table4) for claim in table("toy").claims
    ]
    for wanted in (
        "CVQ > VQ-VAE at 22 tokens",
        "CVQ > VQ-VAE at 85 tokens",
        "IoU rises from 256 entries to 1024 entries",
        "IoU rises from 45 tokens to 85 tokens",
        "CVQ > pooling in IoU",
        "pooling > triplane in IoU",
        "triplane > volume in IoU",
    ):
        assert wanted in texts


def test_every_claim_of_the_paper_has_the_papers_own_order():
    """The sign of each comparison is the one that the paper prints."""
    for table in (table2, table3a, table3b, table4):
        experiment = table("toy")
        papers = {variant.name: variant.paper for variant in experiment.variants}
        assert experiment.claims, experiment.name
        for claim in experiment.claims:
            key = {"iou": "iou", "near_accuracy": "accuracy", "usage": "usage"}[claim.metric]
            assert papers[claim.better][key] > papers[claim.worse][key], claim.text


def test_a_claim_about_a_missing_row_is_refused():
    experiment = table4("smoke")
    claim = Claim(text="nonsense", better="cvq", worse="nobody")
    with pytest.raises(ValueError, match="table4: nonsense: there is no variant"):
        replace(experiment, claims=(claim,))


def test_a_size_that_no_width_reaches_is_refused():
    of = size("smoke")
    config = VqConfig(num_latents=8, dim=16, num_heads=2, quantizer=of.model.quantizer)
    with pytest.raises(ValueError, match=r"vq: has .* parameters with the thinnest layers"):
        matched(config, 1000)
    found = matched(config, 40_000)
    assert abs(num_parameters(found) - 40_000) < 0.01 * 40_000
    assert isinstance(found, VqConfig)
    assert isinstance(of.model, CvqConfig)


def test_a_row_can_be_trained_by_its_name():
    """As `torchrun ... g3pt train paper/volume-seed0` does; `reproduce` takes it up from there."""
    run = row_recipe("toy/pooling-85-seed1")
    (variant,) = [v for v in table4("toy").variants if v.name == "pooling-85"]
    assert run == variant.seeded(1)
    with pytest.raises(ValueError, match="'huge' is no scale; there are smoke, toy"):
        row_recipe("huge/pooling-85-seed1")
    with pytest.raises(ValueError, match="no table has such a row; there are kl-22-seed0"):
        row_recipe("toy/pooling-86-seed1")


def test_unknown_tables_are_named():
    with pytest.raises(ValueError, match=r"table9.*there are table2, table3a"):
        experiment_of("table9", "toy")
