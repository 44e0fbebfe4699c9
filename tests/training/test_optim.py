"""Which parameters get which optimiser, how the rate runs, and what the average is."""

import math

import pytest
import torch
from torch import nn


@pytest.fixture
def optim():
    from g3pt.training import optim

    return optim


def network():
    torch.manual_seed(0)
    module = nn.ModuleDict(
        {
            "body": nn.Linear(32, 32),
            "narrow": nn.Linear(4, 32),
            "head": nn.Linear(32, 32),
            "norm": nn.LayerNorm(32),
            "embedding": nn.Embedding(5, 32),
        }
    )
    module.register_parameter("queries", nn.Parameter(torch.randn(8, 32)))
    return module


def fill_gradients(module, seed):
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def groups(optimizer, module):
    names = {id(p): name for name, p in module.named_parameters()}
    return {
        (type(part).__name__, group["weight_decay"]): {names[id(p)] for p in group["params"]}
        for part in optimizer._optimizers
        for group in part.param_groups
    }


def test_adamw_decays_matrices_alone(optim):
    module = network()
    found = groups(optim.Optimizer(module, optim.AdamWConfig(weight_decay=0.1)), module)
    matrices = {"body.weight", "narrow.weight", "head.weight"}
    assert found[("AdamW", 0.1)] == matrices
    assert found[("AdamW", 0.0)] == {name for name, _ in module.named_parameters()} - matrices


def test_muon_takes_the_hidden_matrices_and_leaves_the_rest(optim):
    module = network()
    found = groups(optim.Optimizer(module, optim.MuonConfig(weight_decay=0.1)), module)
    assert found[("Muon", 0.1)] == {"body.weight"}
    assert found[("AdamW", 0.1)] == {"narrow.weight", "head.weight"}


def test_muon_takes_kernels_of_convolutions_when_told(optim):
    module = nn.ModuleDict({"kernel": nn.Conv2d(16, 32, 3), "thin": nn.Conv2d(1, 32, 3)})

    def taken(**changes):
        found = optim.Optimizer(module, optim.MuonConfig(**changes))
        return {
            id(parameter)
            for optimizer in found._optimizers
            if isinstance(optimizer, optim.Muon)
            for group in optimizer.param_groups
            for parameter in group["params"]
        }

    assert taken() == set()
    assert taken(convolutions=True) == {id(module["kernel"].weight)}


def test_muon_steps_have_the_size_of_adamw_steps(optim):
    sizes = {}
    for config in (optim.AdamWConfig(weight_decay=0.0), optim.MuonConfig(weight_decay=0.0)):
        module = network()
        before = module["body"].weight.detach().clone()
        optimizer = optim.Optimizer(module, config)
        fill_gradients(module, 1)
        optimizer.step(0.01)
        sizes[config.kind] = float((module["body"].weight.detach() - before).square().mean().sqrt())
    # AdamW's first step has magnitude lr; Muon's is matched to 0.2 lr, the size that AdamW's
    # steps settle to.
    assert sizes["adamw"] == pytest.approx(0.01, rel=0.01)
    assert sizes["muon"] == pytest.approx(0.002, rel=0.2)


@pytest.mark.parametrize("kind", ["AdamWConfig", "MuonConfig"])
def test_optimiser_state_survives_a_round_trip(optim, kind):
    def steps(module, optimizer, seeds):
        for seed in seeds:
            fill_gradients(module, seed)
            optimizer.step(0.01)

    config = getattr(optim, kind)()
    straight, broken = network(), network()
    one = optim.Optimizer(straight, config)
    steps(straight, one, range(6))
    two = optim.Optimizer(broken, config)
    steps(broken, two, range(3))
    kept = {name: value.clone() for name, value in two.state_tensors().items()}
    three = optim.Optimizer(broken, config)
    three.load_state_tensors(kept)
    steps(broken, three, range(3, 6))
    for a, b in zip(straight.parameters(), broken.parameters(), strict=True):
        assert torch.equal(a, b)


def changed(tensors, **changes):
    """Tensors with changes at the first key of a slot; None takes that one out."""
    tensors = dict(tensors)
    for slot, change in changes.items():
        key = min((each for each in tensors if each.startswith(f"{slot}/")), default=slot)
        tensors[key] = change
    return {key: each for key, each in tensors.items() if each is not None}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"exp_avg": torch.ones(7, 3)}, r"o\.safetensors: .*exp_avg/\S+ has shape \(7, 3\)"),
        ({"momentum_buffer": torch.ones(7, 3)}, r"momentum_buffer/\S+ has shape \(7, 3\)"),
        ({"step": torch.ones(2)}, r"step/\S+ has shape \(2,\), expected \(\)"),
        ({"step": torch.tensor(-1.0)}, r"step/\S+ holds negative numbers"),
        ({"step": torch.tensor(3)}, r"step/\S+ holds numbers of torch\.int64"),
        ({"exp_avg_sq": None}, r"lacks tensor exp_avg_sq/"),
        ({"odd/never": torch.ones(2)}, r"holds the unknown tensor odd/never"),
        ({"exp_avg": torch.full((32,), math.inf)}, r"exp_avg/\S+ holds numbers that are not fin"),
    ],
)
def test_an_optimiser_state_that_does_not_fit_is_refused_by_file_and_tensor(optim, changes, words):
    module = network()
    optimizer = optim.Optimizer(module, optim.MuonConfig())
    fill_gradients(module, 0)
    optimizer.step(0.01)
    kept = {name: value.clone() for name, value in optimizer.state_tensors().items()}
    with pytest.raises(ValueError, match=words):
        optimizer.load_state_tensors(changed(kept, **changes), "o.safetensors")
    optimizer.load_state_tensors(kept)


def test_an_average_that_does_not_fit_is_refused_by_file_and_tensor(optim):
    ema = optim.Ema(nn.Linear(2, 3), 0.9)
    kept = ema.state_tensors()
    for changes in ({"odd": torch.ones(2)}, {"bias": torch.full((3,), math.nan)}, {"bias": None}):
        with pytest.raises(ValueError, match=r"^e\.safetensors: .*(odd|bias)"):
            ema.load_state_tensors(changed(kept, **changes), "e.safetensors")
    ema.load_state_tensors(kept)


def test_the_rate_rises_linearly_then_falls_to_its_share(optim):
    schedule = optim.ScheduleConfig(warmup_steps=10, final_share=0.1)
    assert schedule.factor(0, 0.0) == pytest.approx(0.1)
    assert schedule.factor(9, 0.0) == pytest.approx(1.0)
    assert schedule.factor(500, 0.5) == pytest.approx(0.55)
    assert schedule.factor(999, 1.0) == pytest.approx(0.1)
    rates = [schedule.factor(100, p / 50) for p in range(51)]
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_an_average_that_would_not_follow_is_refused(optim, decay):
    with pytest.raises(ValueError, match=r"train\.ema_decay must be in \[0, 1\), got"):
        optim.Ema(nn.Linear(3, 3), decay)


def test_the_average_follows_its_recurrence(optim):
    module = nn.Linear(3, 3)
    ema = optim.Ema(module, 0.9)
    expected = module.weight.detach().clone()
    for step in range(20):
        with torch.no_grad():
            module.weight.add_(1.0)
        ema.update(step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * module.weight.detach()
    torch.testing.assert_close(ema.state_tensors()["weight"], expected)


def test_applying_the_average_is_undone_bit_for_bit_even_after_an_error(optim):
    module = nn.Linear(3, 3)
    ema = optim.Ema(module, 0.5)
    average = module.weight.detach().clone()
    with torch.no_grad():
        module.weight.mul_(1.7)
    before = module.weight.detach().clone()
    with pytest.raises(RuntimeError), ema.applied():
        assert torch.equal(module.weight, average)
        raise RuntimeError
    assert torch.equal(module.weight, before)


@pytest.mark.parametrize(
    ("cls", "fields"),
    [
        ("AdamWConfig", {"lr": 0.0}),
        ("MuonConfig", {"clip_norm": -1.0}),
        ("ScheduleConfig", {"final_share": 2.0}),
    ],
)
def test_senseless_settings_are_refused(optim, cls, fields):
    with pytest.raises(ValueError, match=next(iter(fields))):
        getattr(optim, cls)(**fields)
