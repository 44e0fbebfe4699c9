"""A program of checks of compiled blocks: `python compiled.py FOLDER` writes what failed.

The compiler cannot read functions whose annotations are checked, as those of tests are.
"""

import copy
import json
import sys
import traceback
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn
from toy import ToyTask

from g3pt.nn.blocks import CrossAttentionBlock, GatedBlock, SelfAttentionBlock
from g3pt.nn.scale_attention import plan_attention
from g3pt.training import compilation
from g3pt.training.compilation import compile_blocks, missing_compiler
from g3pt.training.config import TrainConfig
from g3pt.training.loop import train
from g3pt.training.optim import AdamWConfig
from g3pt.training.recomputation import recompute_blocks

CPU = torch.device("cpu")


@contextmanager
def graphs():
    """Blocks are traced as for the real compiler, and each graph is run as it is."""
    made = []

    def run_as_it_is(graph, inputs):
        made.append(graph)
        return graph.forward

    torch.compiler.reset()
    backend, compilation._BACKEND = compilation._BACKEND, run_as_it_is
    try:
        yield made
    finally:
        compilation._BACKEND = backend
        torch.compiler.reset()


class AllKinds(nn.Module):
    """A block of each kind, in the way that models call them."""

    def __init__(self):
        super().__init__()
        self.read = CrossAttentionBlock(16, 2)
        self.mix = SelfAttentionBlock(16, 2, normalize_qk=True)
        self.gated = nn.ModuleList(GatedBlock(16, 2, dropout=0.25) for _ in range(2))

    def forward(self, x, context):
        x = self.mix(self.read(x, context))
        attend = plan_attention((3, 4))
        for block in self.gated:
            x = block(x, torch.ones(6, 2, 1, 16), attend)
        return x


def gradients(module):
    torch.manual_seed(0)
    x, context = torch.randn(2, 7, 16), torch.randn(2, 5, 16)
    module(x, context).square().sum().backward()
    return {name: parameter.grad for name, parameter in module.named_parameters()}


def gradients_are_those_without(folder):
    torch.manual_seed(0)
    module = AllKinds()
    names, again, both = list(module.state_dict()), copy.deepcopy(module), copy.deepcopy(module)
    plain = gradients(module)
    with graphs() as made:
        assert compile_blocks(again, CPU)
        compiled = [gradients(again)]
        compile_blocks(both, CPU)
        recompute_blocks(both)
        compiled.append(gradients(both))
    assert made
    assert list(again.state_dict()) == list(both.state_dict()) == names
    for name, gradient in plain.items():
        for other in compiled:
            # the graph is not optimised: the same operations in the same order
            assert torch.equal(gradient, other[name]), name


def all_blocks_share_a_graph(folder):
    with graphs() as made:
        blocks = nn.ModuleList(GatedBlock(16, 2) for _ in range(4))
        compile_blocks(blocks, CPU)
        for _ in range(2):
            x, attend = torch.zeros(2, 7, 16, requires_grad=True), plan_attention((3, 4))
            for block in blocks:
                x = block(x, torch.zeros(6, 2, 1, 16), attend)
        assert len(made) == 1, len(made)


def without_gradients_nothing_is_compiled(folder):
    with graphs() as made:
        block = SelfAttentionBlock(16, 2)
        compile_blocks(block, CPU)
        with torch.no_grad():
            block(torch.zeros(1, 2, 16))
        assert not made
        block(torch.zeros(1, 2, 16))
        assert made


def the_compiler_gives_the_same_gradients(folder):
    if missing_compiler("cpu"):
        return
    torch.manual_seed(0)
    block = SelfAttentionBlock(16, 2)
    twin = copy.deepcopy(block)
    assert compile_blocks(twin, CPU)
    x = torch.randn(2, 5, 16)
    made = []
    for each in (block, twin):
        out = each(x)
        made.append([out, *torch.autograd.grad(out.square().sum(), list(each.parameters()))])
    for plain, compiled in zip(*made, strict=True):
        # float32 sums in another order
        torch.testing.assert_close(plain, compiled, rtol=1e-4, atol=1e-4)


class OneToken(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = SelfAttentionBlock(32, 2)

    def forward(self, x):
        return self.block(x[:, None])[:, 0]


def train_toy(folder, **config):
    task = ToyTask()
    torch.manual_seed(1)
    task.module[3] = OneToken()
    settings = TrainConfig(steps=4, eval_every=0, log_every=4, device="cpu", **config)
    return train(task, optim=AdamWConfig(), config=settings, run_dir=folder).loss


def a_training_that_asks_for_it_has_the_same_losses(folder):
    with graphs() as made:
        plain = train_toy(folder / "plain")
        assert not made
        assert train_toy(folder / "compiled", compile=True) == plain
        assert made


CHECKS = (
    gradients_are_those_without,
    all_blocks_share_a_graph,
    without_gradients_nothing_is_compiled,
    the_compiler_gives_the_same_gradients,
    a_training_that_asks_for_it_has_the_same_losses,
)

if __name__ == "__main__":
    folder, found = Path(sys.argv[1]), {}
    for check in CHECKS:
        try:
            check(folder / check.__name__)
            found[check.__name__] = ""
        except Exception:
            found[check.__name__] = traceback.format_exc()
    (folder / "found.json").write_text(json.dumps(found), encoding="utf-8")
