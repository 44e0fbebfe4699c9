"""A task that trains in milliseconds: a small network learns a fixed random function."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class ToyBatch:
    inputs: Tensor
    targets: Tensor
    first: int


class ToyTask:
    """Regression with dropout; `poison(step, visit)` may turn the targets of a step into NaN."""

    def __init__(self, *, batch_size=8, dropout=0.0, seed=0, poison=lambda step, visit: False):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.module = nn.Sequential(
                nn.Linear(6, 32),
                nn.Dropout(dropout),
                nn.GELU(),
                nn.Linear(32, 32),
                nn.Linear(32, 3),
            )
        self.module.register_buffer("count", torch.zeros(()))
        self.batch_size = batch_size
        self.seed = seed
        self.poison = poison
        self.visits: dict[int, int] = {}

    def batch(self, step, part):
        from g3pt.training.task import step_generator

        rng = step_generator(self.seed, step, "toy")
        inputs = rng.standard_normal((self.batch_size, 6)).astype(np.float32)
        targets = np.sin(inputs[:, :3] * 2) + inputs[:, 3:]
        span = part.slice(self.batch_size)
        return ToyBatch(torch.from_numpy(inputs[span]), torch.from_numpy(targets[span]), span.start)

    def loss(self, batch, *, step, progress):
        from g3pt.training.task import TaskOutput

        error = self.module(batch.inputs).float() - batch.targets
        self.module.count += 1
        self.visits[step] = self.visits.get(step, 0) + 1
        if self.poison(step, self.visits[step]):
            error = error * float("nan")
            self.module.count.fill_(float("nan"))
        return TaskOutput(error.square().mean(), {"largest": error.detach().abs().mean()})

    def order_key(self, part):
        return f"toy {self.seed}"

    def sample_ids(self, batch):
        return [f"sample-{batch.first + i}" for i in range(len(batch.inputs))]

    def evaluate(self, step, progress):
        from g3pt.training.task import Part

        batch = self.batch(10**6, Part())
        error = self.module(batch.inputs) - batch.targets
        return {"error": float(error.square().mean())}


class Parts(nn.Module):
    """Two blocks and layers around them, not all of which are used in every slice."""

    def __init__(self, dropout):
        from g3pt.nn.blocks import SelfAttentionBlock

        super().__init__()
        self.widen = nn.Linear(6, 16)
        self.blocks = nn.ModuleList(SelfAttentionBlock(16, 2, mlp_ratio=1.5) for _ in range(2))
        self.dropout = nn.Dropout(dropout)
        self.narrow = nn.Linear(16, 3)
        self.rare, self.late, self.never = (nn.Linear(6, 3) for _ in range(3))
        self.frozen = nn.Parameter(torch.zeros(5, 3), requires_grad=False)
        self.register_buffer("mean", torch.zeros(6))


class UnevenTask(ToyTask):
    """Of its parameters, only some slices use `rare`, only later steps `late`, and none `never`."""

    def __init__(self, *, dropout=0.0, **settings):
        super().__init__(**settings)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            self.module = Parts(dropout)

    def loss(self, batch, *, step, progress):
        from g3pt.training.task import TaskOutput

        parts = self.module
        self.poison(step, 0)
        x = parts.widen(batch.inputs)[:, None].repeat(1, 2, 1)
        for block in parts.blocks:
            x = parts.dropout(block(x))
        made = parts.narrow(x[:, 0])
        if batch.first == 0 and step % 3:
            made = made + parts.rare(batch.inputs)
        if progress >= 0.5:
            made = made + parts.late(batch.inputs)
        if parts.training:
            parts.mean.lerp_(batch.inputs.mean(dim=0), 0.1)
        error = made - batch.targets - parts.mean[:3]
        return TaskOutput(error.square().mean(), {"largest": error.detach().abs().mean()})

    def evaluate(self, step, progress):
        from g3pt.training.task import Part

        batch = self.batch(10**6, Part())
        return {"error": float(self.loss(batch, step=1, progress=1.0).loss)}
