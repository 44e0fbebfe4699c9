"""Gradient checkpointing: the same gradients from less memory."""

import copy
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn
from toy import ToyTask


@pytest.fixture
def recompute():
    from g3pt.training.recomputation import recompute_blocks

    return recompute_blocks


def gradients(task, **autocast):
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16, **autocast):
        loss = task.synthetic_loss(2)
    loss.backward()
    return {name: p.grad for name, p in task.module.named_parameters() if p.grad is not None}


def tasks():
    """Everything that is trained, at smoke size."""
    from g3pt.recipes import recipe
    from g3pt.training.cost import open_without_data

    names = ("car", "tokenizer", "flow", "regressor")
    runs = [recipe(f"{name}-tiny-smoke") for name in names]
    # every scale from the first step on, no bits flipped
    runs[0] = replace(runs[0], loss=replace(runs[0].loss, flip_share=0.0))
    return [open_without_data(run) for run in runs]


@pytest.mark.parametrize("stage", range(4), ids=["car", "tokenizer", "flow", "regressor"])
def test_gradients_are_those_without(recompute, stage):
    torch.manual_seed(0)
    task = tasks()[stage]
    with torch.no_grad():  # away from the start, where much is zero
        for parameter in task.module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    twin = copy.deepcopy(task)
    recompute(twin.module)

    plain, again = gradients(task, enabled=False), gradients(twin, enabled=False)

    assert plain.keys() == again.keys() and len(plain) > 30
    for name in plain:  # the same operations in the same order: the same bits
        assert torch.equal(plain[name], again[name]), name
    assert any(gradient.abs().max() > 0 for gradient in plain.values())


def test_a_block_that_drops_at_random_drops_the_same_again(recompute):
    from g3pt.nn.blocks import GatedBlock
    from g3pt.nn.scale_attention import plan_attention

    block = GatedBlock(16, 2, dropout=0.5, skip_share=0.5)
    x = torch.randn(4, 3, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    modulation = torch.zeros(6, 4, 1, 16)

    def gradient():
        torch.manual_seed(1)
        out = block(x, modulation, plan_attention((3,)))
        return torch.autograd.grad(out.square().sum(), x)[0]

    plain = gradient()
    recompute(block)

    assert torch.equal(gradient(), plain)


def test_blocks_keep_their_input_alone(recompute):
    task = tasks()[0]
    kept = []
    hooks = torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: kept.append(tensor.numel()) or tensor, lambda tensor: tensor
    )
    with hooks:
        task.synthetic_loss(2)
    plain = sum(kept)
    kept.clear()
    recompute(task.module)
    recompute(task.module)  # a second time changes nothing
    with hooks:
        task.synthetic_loss(2)

    assert sum(kept) < 0.7 * plain


def test_names_and_values_of_weights_stay(recompute):
    task = tasks()[0]
    before = task.module.state_dict()
    recompute(task.module)
    after = task.module.state_dict()
    assert list(before) == list(after)


def test_a_training_that_asks_for_it_gives_the_same_losses(tmp_path):
    from g3pt.nn.blocks import SelfAttentionBlock
    from g3pt.training.config import TrainConfig
    from g3pt.training.loop import train
    from g3pt.training.optim import AdamWConfig

    class OneToken(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = SelfAttentionBlock(32, 2)

        def forward(self, x):
            return self.block(x[:, None])[:, 0]

    losses, calls = [], []
    for again in (False, True):
        task = ToyTask()
        torch.manual_seed(1)
        task.module[3] = OneToken()
        before_mlp = partial(lambda again, *_: calls.append(again), again)
        task.module[3].block.mlp.register_forward_pre_hook(before_mlp)
        config = TrainConfig(
            steps=4, eval_every=0, log_every=4, device="cpu", recompute_blocks=again
        )
        result = train(task, optim=AdamWConfig(), config=config, run_dir=tmp_path / str(again))
        losses.append(result.loss)

    assert losses[0] == losses[1]
    assert (calls.count(False), calls.count(True)) == (4, 8)
