"""How the processes of a run share a step: alone, with DistributedDataParallel, or with FSDP2.

The loop is the same for all. It hands each slice of the batch to `Engine.run`, which gives the
loss; after `backward` of the last slice, the gradients are means over all processes.

Some parameters get no gradient in some steps: an encoder whose condition no sample of the slice
has, a null that no sample needs, scales that a curriculum has not reached. Which they are differs
between processes. One process leaves such a parameter as it is (no weight decay, no momentum), and
many must do the same. So the graph is not static, and a loss that touches all parameters would
be another training. DDP looks for them in every step (`find_unused_parameters`). FSDP2 has no such
search; `fsdp.py` makes it. (Tokenizers use all parameters in every slice and could do without.)
"""

import inspect
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from g3pt.training.distributed import World
from g3pt.training.task import Task, TaskOutput

LOGGER = logging.getLogger(__name__)

EngineName = Literal["auto", "ddp", "fsdp"]
StepResult = tuple[Tensor, dict[str, Tensor], str]


class TaskStep(nn.Module):
    """The loss of a task as the forward of a module, which is what torch's engines wrap."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.module = task.module
        self._task = task

    def forward(self, batch: Any, step: int, progress: float) -> StepResult:
        """Loss and detached metrics of one slice, and what the loss is over."""
        output = self._task.loss(batch, step=step, progress=progress)
        metrics = {name: value.detach() for name, value in output.metrics.items()}
        return output.loss, metrics, output.over


class Engine(ABC):
    """Forward passes of one process, and gradients that are means over all processes."""

    def __init__(self, step: nn.Module) -> None:
        self._step = step

    def run(self, batch: Any, *, step: int, progress: float) -> TaskOutput:
        """Give the loss of a slice of the batch."""
        loss, metrics, over = self._step(batch, step, progress)
        return TaskOutput(loss, metrics, over)

    def piece(self, *, last: bool) -> AbstractContextManager[None]:
        """Context of the forward and backward pass of a slice; `last` is the last of the step."""
        return nullcontext()

    @abstractmethod
    def finish_gradients(self) -> None:
        """Called after the backward pass of the last slice."""

    @abstractmethod
    def whole(self) -> AbstractContextManager[None]:
        """Context in which every process holds all weights and may call parts of the module."""


def build_engine(task: Task, name: EngineName, world: World, *, bfloat16: bool) -> "Engine":
    """Wrap the module of a task, which stands on its device; parameters may be replaced.

    Args:
        task: its module is trained; nothing else that it holds (a frozen tokenizer) is wrapped.
        name: `auto` is DDP if there are several processes.
        world: this process and the others.
        bfloat16: whether FSDP gathers the weights of blocks in bfloat16.
    """
    step = TaskStep(task)
    if name == "fsdp" and world.size == 1:
        LOGGER.warning("train.engine is fsdp, but one process has nobody to share weights with")
    elif name == "fsdp":
        from g3pt.training.fsdp import FsdpEngine  # imports half of torch.distributed

        return FsdpEngine(step, world, bfloat16=bfloat16)
    return _LocalEngine(step) if world.size == 1 else _DdpEngine(step)


class _LocalEngine(Engine):
    """One process."""

    def finish_gradients(self) -> None:
        pass

    @contextmanager
    def whole(self) -> Iterator[None]:
        yield


class _DdpEngine(Engine):
    """Every process holds all weights; buckets of gradients are summed during the backward pass."""

    def __init__(self, step: TaskStep) -> None:
        super().__init__(step)
        # The loop averages running statistics. Torch 2.13 has another name for not sending them.
        known = inspect.signature(DistributedDataParallel).parameters
        old, new = "broadcast_buffers", "forward_sync_buffers"
        unsent: dict[str, Any] = {new if new in known else old: False}
        self._wrapped = DistributedDataParallel(
            step,
            **unsent,
            gradient_as_bucket_view=True,
            find_unused_parameters=True,
        )
        self._step = self._wrapped

    def piece(self, *, last: bool) -> AbstractContextManager[None]:
        return nullcontext() if last else self._wrapped.no_sync()

    def finish_gradients(self) -> None:
        pass

    @contextmanager
    def whole(self) -> Iterator[None]:
        yield
