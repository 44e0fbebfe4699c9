"""The contract of a stage that can be trained: batches, a loss and an evaluation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

DatasetT = TypeVar("DatasetT")


class Part(NamedTuple):
    """A slice of a step's global batch: number `index` of `count` equal ones.

    Accumulation steps and processes are both slices, so that neither changes the training.
    """

    index: int = 0
    count: int = 1

    def slice(self, batch_size: int) -> slice:
        """The positions of this part within a global batch.

        Raises:
            ValueError: if the batch does not divide into equal parts.
        """
        if batch_size % self.count:
            raise ValueError(
                f"a global batch of {batch_size} does not divide into {self.count} equal parts "
                "(accumulation x processes); change batch_size, train.accumulation or train.slices"
            )
        size = batch_size // self.count
        return slice(self.index * size, (self.index + 1) * size)


WHOLE = Part()
"""The whole global batch."""


class DatasetsOfParts(Generic[DatasetT]):
    """The dataset of every part that this process draws, opened at first use."""

    def __init__(self, open_part: Callable[[Part], DatasetT], batch_size: int) -> None:
        self._open_part, self._batch_size = open_part, batch_size
        self._opened: dict[Part, DatasetT] = {}

    def __getitem__(self, part: Part) -> DatasetT:
        """The dataset of one part.

        Raises:
            ValueError: if the batch does not divide into such parts; nothing is opened then.
        """
        if part not in self._opened:
            part.slice(self._batch_size)
            self._opened[part] = self._open_part(part)
        return self._opened[part]


@dataclass(frozen=True)
class TaskOutput:
    """The loss to minimise, a mean over the samples of the part, and further numbers to log."""

    loss: Tensor
    metrics: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    over: str = ""
    """What the loss is taken over at this point of the run, in words for the log; see
    `scales_in_words`."""


def scales_in_words(trained: int, total: int) -> str:
    """Name the first `trained` of `total` scales, coarsest first."""
    if trained >= total:
        return f"all {total} scales" if total > 1 else "the only scale"
    return f"scales 1-{trained} of {total}" if trained > 1 else f"scale 1 of {total}"


@runtime_checkable
class Task(Protocol):
    """One stage of training, without a loop and without state of its own.

    Everything random must follow only from `step` and a seed of the task. It must be drawn for the
    whole global batch before slicing. So a resumed run, an accumulated one and one on several
    processes see the same numbers.
    """

    @property
    def module(self) -> nn.Module:
        """The trained module. Checkpoints hold its parameters and persistent buffers."""
        ...

    def batch(self, step: int, part: Part) -> Any:
        """Build a slice of the global batch of `step`. Called from a prefetching thread."""
        ...

    def loss(self, batch: Any, *, step: int, progress: float) -> TaskOutput:
        """Compute the loss; `progress` is the share of the run that is over, in [0, 1)."""
        ...

    def order_key(self, part: Part) -> str:
        """Hash of what the order of samples follows from, such as the ids of all shapes.

        Processes whose keys differ would not draw slices of one global batch.
        """
        ...

    def sample_ids(self, batch: Any) -> Sequence[str]:
        """Name the samples of a batch, for the log of a step that went wrong."""
        ...

    def evaluate(self, step: int, progress: float) -> Mapping[str, float]:
        """Measure the module in its current state (the loop has put the EMA weights in).

        Of several processes, each measures its share (`World.own_rows`) and all return the same.
        """
        ...


def step_generator(seed: int, step: int, stream: str) -> np.random.Generator:
    """A separate NumPy generator for each (seed, step, purpose)."""
    return np.random.default_rng([seed, step, *stream.encode()])


def to_device(batch: Any, device: torch.device) -> Any:
    """Copy the tensors of a batch (a tensor, dataclass, dict, list or tuple) to a device.

    The host does not wait for copies out of pinned memory.
    """
    return _with_tensors(batch, lambda tensor: tensor.to(device, non_blocking=True))


def in_pinned_memory(batch: Any) -> Any:
    """Copy the tensors of a batch on the host to memory that a GPU reads while the host goes on."""
    return _with_tensors(batch, lambda tensor: tensor if tensor.is_cuda else tensor.pin_memory())


def _with_tensors(batch: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(batch, Tensor):
        return change(batch)
    if hasattr(batch, "__dataclass_fields__"):
        changed = {name: _with_tensors(getattr(batch, name), change) for name in _fields(batch)}
        return type(batch)(**changed)
    if isinstance(batch, dict):
        return {key: _with_tensors(value, change) for key, value in batch.items()}
    if isinstance(batch, list | tuple) and not hasattr(batch, "_fields"):
        return type(batch)(_with_tensors(value, change) for value in batch)
    return batch


def _fields(batch: Any) -> list[str]:
    return [name for name, spec in batch.__dataclass_fields__.items() if spec.init]
