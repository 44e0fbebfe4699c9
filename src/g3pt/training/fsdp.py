"""FSDP2 under the training loop: weights, gradients and optimiser state are cut among processes."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from g3pt.models.conditioning import Conditioner
from g3pt.training.distributed import World
from g3pt.training.engines import Engine, StepResult, TaskStep
from g3pt.training.recomputation import BLOCKS


class FsdpEngine(Engine):
    """Weights, gradients and optimiser state are cut among the processes, a block at a time.

    Blocks that run in every step are gathered one by one. All other weights form one group: whether
    they are used may differ between processes, but a group must be gathered and reduced by all.

    Every slice is reduced at once: to keep whole gradients until the last slice would take the
    memory that this engine is chosen to save.
    """

    def __init__(self, step: TaskStep, world: World, *, bfloat16: bool) -> None:
        module = step.module
        self._world = world
        frozen = {p for p in module.parameters() if not p.requires_grad}
        blocks = dict(_trunk_blocks(module))
        device = next(module.parameters()).device
        mesh = init_device_mesh(device.type, (world.size,))
        for tensor in (*module.parameters(), *module.buffers()):
            torch.distributed.broadcast(tensor.detach(), src=0)  # as DDP does
        # Only inside blocks: autocast would make the same bfloat16 weights of these matrices.
        # Around them, the signs of residuals are decided in float32.
        policy = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16 if bfloat16 else None,
            reduce_dtype=torch.float32,
            cast_forward_inputs=False,
        )
        for block in blocks.values():
            fully_shard(block, mesh=mesh, mp_policy=policy, ignored_params=frozen)
        in_blocks = {id(p) for block in blocks.values() for p in block.parameters()}
        self._others = [
            name
            for name, p in module.named_parameters()
            if p.requires_grad and id(p) not in in_blocks
        ]
        super().__init__(_FsdpStep(step, self._others))
        fully_shard(
            self._step,
            mesh=mesh,
            mp_policy=MixedPrecisionPolicy(reduce_dtype=torch.float32),
            ignored_params=frozen,
        )
        self._module = module
        self._device_type, self._bfloat16 = device.type, bfloat16

    def finish_gradients(self) -> None:
        """Take back the zeros of parameters that no process used."""
        assert isinstance(self._step, _FsdpStep)
        used = torch.tensor([float(name in self._step.used) for name in self._others])
        self._world.sum_values(used)
        parameters = dict(self._module.named_parameters())
        for name, count in zip(self._others, used.tolist(), strict=True):
            if not count:
                parameters[name].grad = None
        self._step.used.clear()

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Gather all weights; blocks keep them after their forward pass.

        Blocks gathered in bfloat16 run under autocast, as they do in training.
        """
        parts = [each for each in self._step.modules() if isinstance(each, FSDPModule)]
        # The first module that runs becomes the root. Before the first step that would be a block.
        fully_shard.state(self._step)._lazy_init()  # pyright: ignore
        for part in parts:
            part.set_reshard_after_forward(False, recurse=False)
            part.unshard()
        try:
            with torch.autocast(self._device_type, torch.bfloat16, enabled=self._bfloat16):
                yield
        finally:
            for part in parts:
                part.set_reshard_after_forward(part is not self._step, recurse=False)
                part.reshard()


class _FsdpStep(nn.Module):
    """`TaskStep` in which the named parameters all get gradients, zero if the loss uses none."""

    def __init__(self, step: TaskStep, names: Sequence[str]) -> None:
        super().__init__()
        self.step = step
        self._names = tuple(names)
        self.used: set[str] = set()
        """Parameters that a loss has used since this was last cleared."""

    def forward(self, batch: Any, step: int, progress: float) -> StepResult:
        """What `TaskStep` gives."""
        loss, metrics, over = self.step(batch, step, progress)
        parameters = dict(self.step.module.named_parameters())
        reached = _leaves(loss)
        self.used |= {name for name in self._names if id(parameters[name]) in reached}
        unused = [parameters[name] for name in self._names if id(parameters[name]) not in reached]
        return (_WithZeros.apply(loss, *unused) if unused else loss), metrics, over


class _WithZeros(torch.autograd.Function):
    """The first input unchanged; all others get a gradient of zeros."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, *unused: Tensor) -> Tensor:
        ctx.layouts = [(each.shape, each.dtype, each.device) for each in unused]
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        zeros = (torch.zeros(s, dtype=dtype, device=device) for s, dtype, device in ctx.layouts)
        return grads[0], *zeros


def _leaves(loss: Tensor) -> set[int]:
    """Ids of the parameters that the graph of a loss leads to."""
    found: set[int] = set()
    seen: set[Any] = set()
    ahead: list[Any] = [loss.grad_fn]
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        ahead += [following for following, _ in node.next_functions]
    return found


def _trunk_blocks(module: nn.Module) -> Mapping[str, nn.Module]:
    """Trained transformer blocks that run in every step: all but those of conditions."""
    inside = {
        id(each)
        for conditioner in module.modules()
        if isinstance(conditioner, Conditioner)
        for each in conditioner.modules()
    }
    return {
        name: block
        for name, block in module.named_modules()
        if isinstance(block, BLOCKS)
        and id(block) not in inside
        and any(p.requires_grad for p in block.parameters())
    }
