"""Shared parts of training on shapes and conditions: drawing batches, and held-out shapes."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from g3pt.shapes.shape_set import VALIDATION, Selection
from g3pt.training.distributed import World
from g3pt.training.task import DatasetsOfParts, Part


@runtime_checkable
class BatchSource(Protocol):
    """A dataset whose batches follow from a step."""

    def batch(self, step: int) -> Any:
        """This process's share of global batch number `step`."""
        ...

    @property
    def order_key(self) -> str:
        """Hash of what the order of samples follows from; the same for all processes of a run."""
        ...


@runtime_checkable
class HeldOutSource(BatchSource, Protocol):
    """A batch source over a limited set of shapes."""

    @property
    def num_shapes(self) -> int:
        """Number of shapes."""
        ...


@runtime_checkable
class Step(Protocol):
    """A batch with all random choices made."""

    @property
    def ids(self) -> Sequence[str]:
        """Id of the shape in each row."""
        ...


DatasetT = TypeVar("DatasetT", bound=BatchSource)
HeldOutT = TypeVar("HeldOutT", bound=HeldOutSource)
StepT = TypeVar("StepT", bound=Step)


class ConditionedTask(ABC, Generic[DatasetT, StepT]):
    """The part of a task that draws batches of shapes and their conditions."""

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._datasets = DatasetsOfParts(self._open_dataset, batch_size)

    @abstractmethod
    def _open_dataset(self, part: Part) -> DatasetT:
        """Open the dataset of a part and check that it fits the model."""

    @abstractmethod
    def _draw(self, batch: Any, step: int, part: Part) -> StepT:
        """Draw which conditions are dropped in a batch, and all else that is random."""

    def batch(self, step: int, part: Part) -> StepT:
        """Draw shapes, a view and a caption of each, and which conditions are dropped."""
        return self._draw(self._datasets[part].batch(step), step, part)

    def order_key(self, part: Part) -> str:
        """Hash of what the order of shapes follows from."""
        return self._datasets[part].order_key

    def sample_ids(self, batch: StepT) -> Sequence[str]:
        """Ids of the shapes."""
        return batch.ids


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOutConfig:
    """Held-out shapes for evaluation; the other fields are as in the data config."""

    shards: tuple[str, ...] = ()
    """Folders of prepared shapes; empty switches validation off."""
    selection: Selection = VALIDATION
    """Which of their shapes are evaluated."""
    num_shapes: int = 128
    batch_size: int = 32


class HeldOut(Generic[HeldOutT]):
    """The shapes of a `HeldOutConfig` in their canonical views; opened at first use."""

    def __init__(
        self, open_dataset: Callable[[Any], HeldOutT], data: Any, config: HeldOutConfig
    ) -> None:
        self._open, self._data, self._config = open_dataset, data, config
        self._opened: HeldOutT | None = None

    def __bool__(self) -> bool:
        """Whether there are held-out shapes."""
        return bool(self._config.shards)

    @property
    def dataset(self) -> HeldOutT:
        """The dataset; its batches are smaller if there are few shapes."""
        if self._opened is None:
            named = {each.name: getattr(self._config, each.name) for each in fields(self._config)}
            del named["num_shapes"]
            data = replace(self._data, **named, weights=(), canonical_share=1.0, seed=0)
            opened = self._open(data)
            if opened.num_shapes < data.batch_size:
                opened = self._open(replace(data, batch_size=opened.num_shapes))
            self._opened = opened
        return self._opened

    @property
    def num_batches(self) -> int:
        """Number of batches of all processes."""
        config, num_held = self._config, self.dataset.num_shapes
        return max(1, min(config.num_shapes, num_held) // min(config.batch_size, num_held))

    def batches(self) -> Iterator[tuple[int, Any]]:
        """Number and content of every batch that this process evaluates."""
        for number in World.current().own_rows(self.num_batches):
            yield number, self.dataset.batch(number)

    def gather(self, values: Sequence[Tensor]) -> Tensor:
        """Stack one tensor a batch of `batches`, over the batches of all processes."""
        return World.current().gather_rows(torch.stack(list(values)), self.num_batches)
