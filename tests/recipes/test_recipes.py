"""Every recipe builds, survives JSON, and has the size that its name says."""

import json
import subprocess
import sys

import pytest

NAMES = (
    "tokenizer-first tokenizer-first-smoke car-first car-first-smoke "
    "tokenizer-tiny-procedural tokenizer-tiny tokenizer-tiny-smoke "
    "tokenizer-small tokenizer-small-smoke car-small car-small-smoke "
    "car-stream-small car-stream-small-smoke guess-small guess-small-smoke "
    "tokenizer-paper tokenizer-paper-smoke "
    "car-tiny car-tiny-smoke car-paper car-paper-smoke "
    "car-paper-text car-paper-text-smoke "
    "car-paper-l car-paper-l-smoke car-paper-xl car-paper-xl-smoke "
    "tokenizer-kl-tiny tokenizer-kl-tiny-smoke tokenizer-kl-paper tokenizer-kl-paper-smoke "
    "flow-tiny flow-tiny-smoke flow-paper flow-paper-smoke "
    "regressor-tiny regressor-tiny-smoke regressor-paper regressor-paper-smoke"
).split()

LADDER = "0.8M 2M 4M 6M 16M 33M 60M 0.1B 0.2B 0.3B 0.5B 0.9B 1.5B".split()


@pytest.fixture
def recipes():
    from g3pt import recipes

    return recipes


@pytest.fixture
def cli():
    from g3pt.cli import train

    return train


def test_the_table_is_complete(recipes):
    assert sorted(recipes.RECIPES) == sorted(NAMES)
    assert list(recipes.SIZES) == [f"car-{size}" for size in LADDER]
    full = [name for name in NAMES if not name.endswith("-smoke")]
    assert all(f"{name.removesuffix('-procedural')}-smoke" in recipes.RECIPES for name in full)


@pytest.mark.parametrize("size", LADDER)
def test_sizes_of_the_ladder_have_as_many_weights_as_they_are_called(recipes, size):
    import torch

    from g3pt.models.car import Car

    run = recipes.recipe(f"car-{size}")
    assert run.name == f"car-{size}"
    with torch.device("meta"):
        car = Car(run.model)
    encoder = sum(p.numel() for p in car.conditioner.parameters())
    wanted = float(size[:-1]) * {"M": 1e6, "B": 1e9}[size[-1]]
    own = sum(p.numel() for p in car.parameters()) - encoder
    assert own == pytest.approx(wanted, rel=0.1)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_carries_its_name_and_survives_json(recipes, name):
    from g3pt.config import from_json, to_json

    run = recipes.recipe(name)
    assert run.name == name
    assert from_json(type(run), json.loads(json.dumps(to_json(run)))) == run


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("tokenizer-tiny", 3e6, 6e6),
        ("tokenizer-paper", 0.9e8, 1.3e8),
        ("car-tiny", 5e6, 10e6),
        ("car-paper", 0.08e9, 0.12e9),
        ("car-paper-l", 0.45e9, 0.55e9),
        ("car-paper-xl", 1.4e9, 1.7e9),
    ],
)
def test_sizes_are_near_their_names(recipes, name, low, high):
    from g3pt.training.cost import estimate_cost, flops_by_formula

    cost = estimate_cost(recipes.recipe(name))
    # The paper counts the transformer, not the (frozen, pretrained) picture encoder.
    own = cost.parameters - (
        cost.parameters_by_part["conditioner"] if name.startswith("car-paper") else 0
    )
    assert low <= own <= high
    if name != "car-tiny":  # its words come from the data
        batch_size = recipes.recipe(name).data.batch_size
        assert flops_by_formula(recipes.recipe(name), batch_size) == pytest.approx(
            cost.flops_per_step, rel=0.02
        )
    assert cost.parameters == sum(cost.parameters_by_part.values())


@pytest.mark.parametrize("name", ["car-stream-small", "guess-small"])
def test_a_recipe_with_a_first_guess_tells_its_cost_at_once(recipes, name):
    from g3pt.models.conditioning.efficientnet_weights import load_efficientnet
    from g3pt.models.flops import guess_operations
    from g3pt.training.cost import _cost_of_one, estimate_cost, flops_by_formula

    for cached in (load_efficientnet, _cost_of_one):  # as in a process that has just begun
        cached.cache_clear()
    run = recipes.recipe(name)
    cost = estimate_cost(run)

    assert cost.parameters == sum(cost.parameters_by_part.values())
    size = run.data.batch_size
    if name == "guess-small":  # its own maps, and both sides of its error times the metric
        num_tokens = sum(run.model.scale_lengths[: run.model.guess.num_scales])
        num_signs = num_tokens * run.model.num_bits
        expected = guess_operations(run.model).forward_and_backward + 6 * num_signs**2
        assert cost.flops_per_step == pytest.approx(size * expected, rel=0.001)
    else:  # its words come from the data
        assert cost.flops_per_step == pytest.approx(flops_by_formula(run, size), rel=0.1)


def test_paper_sizes_are_those_of_section_4_1(recipes):
    model = recipes.recipe("tokenizer-paper").model
    assert (model.num_latents, model.dim, model.quantizer.num_bits) == (2304, 512, 13)
    assert (model.encoder_layers, model.decoder_layers) == (12, 16)
    assert model.cqt.num_tokens == 2408
    sizes = [recipes.recipe(name).model for name in ("car-paper", "car-paper-l", "car-paper-xl")]
    assert [(car.depth, car.width) for car in sizes] == [(12, 768), (24, 1280), (48, 1600)]


def test_operations_of_a_step_agree_with_arithmetic(recipes):
    from dataclasses import replace

    from g3pt.training.cost import estimate_cost

    run = recipes.recipe("car-tiny")
    run = replace(run, model=replace(run.model, conditions=(), bitwise_scales=0))
    cost = estimate_cost(run)
    # Six operations per weight and token; attention and the gain of shared weights come on top.
    own = cost.parameters_by_part["blocks"] + cost.parameters_by_part["heads"]
    expected = 6 * own * run.model.num_tokens * run.data.batch_size
    assert expected < cost.flops_per_step < 1.4 * expected


def test_memory_grows_with_the_slice_of_the_batch_and_not_with_the_batch(recipes):
    from dataclasses import replace

    from g3pt.training.cost import estimate_cost

    run = recipes.recipe("tokenizer-tiny")
    plain = estimate_cost(run)
    halved = estimate_cost(replace(run, train=replace(run.train, accumulation=2)))
    assert halved.memory_bytes < plain.memory_bytes
    assert estimate_cost(replace(run, train=replace(run.train, slices=2))) == halved
    assert halved.flops_per_step == plain.flops_per_step


def test_a_cost_is_the_same_whoever_asks_again(recipes):
    from dataclasses import replace

    from g3pt.training.cost import _cost_of_one, estimate_cost

    run = recipes.recipe("flow-tiny-smoke")
    seen = set()
    for seed in range(4):
        _cost_of_one.cache_clear()
        again = replace(run, name=f"again-{seed}", train=replace(run.train, seed=seed))
        seen.add(estimate_cost(again).memory_bytes)
        assert estimate_cost(run) == estimate_cost(again)
        assert _cost_of_one.cache_info().misses == 1
    assert len(seen) == 1


@pytest.mark.parametrize("name", ["tokenizer-tiny", "car-2M"])
def test_blocks_that_run_again_need_less_memory_and_more_operations(recipes, name):
    from dataclasses import replace

    from g3pt.training.cost import estimate_cost

    run = recipes.recipe(name)
    run = replace(run, data=replace(run.data, batch_size=8))
    plain = estimate_cost(run)
    again = estimate_cost(replace(run, train=replace(run.train, recompute_blocks=True)))
    assert again.parameters == plain.parameters
    assert again.memory_bytes < plain.memory_bytes
    # a forward pass of the blocks on top: a third at most, less where the head is most of all
    assert 1.05 < again.flops_per_step / plain.flops_per_step < 1.36


def test_memory_holds_copies_of_the_weights_in_bfloat16_once(recipes):
    from dataclasses import replace

    from g3pt.training.cost import estimate_cost

    run = recipes.recipe("car-4M")
    run = replace(run, train=replace(run.train, accumulation=1))
    one, two = (
        estimate_cost(replace(run, data=replace(run.data, batch_size=size))).memory_bytes
        for size in (1, 2)
    )
    parameters = estimate_cost(run).parameters
    # weights, average, gradients, two moments; then a shape; then what is there once
    once = one - 20 * parameters - (two - one)
    assert once == pytest.approx(2 * parameters, rel=0.15)


# --- the command line ------------------------------------------------------------------------


def test_dry_run_prints_the_promised_keys(cli, capsys):
    arguments = ["car-tiny-smoke", "--dry-run", "--json", "--optim.lr", "0.1"]
    assert cli.main(arguments) == 0
    answer = json.loads(capsys.readouterr().out)
    assert {"parameters", "flops_per_step", "memory_bytes", "minutes"} <= set(answer)


def test_overrides_change_fields_wherever_they_stand(cli):
    arguments = ["--optim.lr", "3e-4", "tokenizer-tiny", "--model.cqt.scale-lengths", "1", "8"]
    name, others = cli._take_recipe(arguments)
    options, overrides = cli._parser().parse_known_args([*others, "--seed", "7"])
    run, folder = cli._resolve(name, options, overrides)
    assert str(folder) == "runs/tokenizer-tiny"
    assert run.optim.lr == 3e-4
    assert run.model.cqt.scale_lengths == (1, 8)
    assert run.train.seed == 7


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tokenizer-huge"], "no such recipe; there are tokenizer-first"),
        ([], "name a recipe"),
        (["car-tiny-smoke", "--tokenizer", "nowhere"], "nowhere"),
        (["tokenizer-tiny", "--train.steps", "0"], "so that it ends"),
    ],
)
def test_wrong_input_exits_2_with_one_sentence(
    cli, capsys, tmp_path, monkeypatch, arguments, words
):
    monkeypatch.chdir(tmp_path)
    assert exit_code(cli, arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err


def test_an_unknown_field_exits_2(cli, capsys):
    assert exit_code(cli, ["tokenizer-tiny", "--model.widht", "3"]) == 2
    assert "model.widht" in capsys.readouterr().err


def exit_code(cli, arguments):
    try:
        return cli.main(arguments)
    except SystemExit as stop:
        return stop.code


@pytest.mark.parametrize("name", ["tokenizer-tiny", "car-paper"])
def test_fields_are_listed(cli, capsys, name):
    assert exit_code(cli, [name, "--fields"]) == 0
    printed = capsys.readouterr().out
    assert "--optim.lr" in printed and "--loss." in printed


def test_help_starts_without_training_anything():
    command = [sys.executable, "-m", "g3pt.cli.train", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "car-paper-xl" in done.stdout
