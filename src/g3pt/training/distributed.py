"""Processes that train together: each takes its slices of the global batch."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from g3pt.training.task import Part


@dataclass(frozen=True)
class World:
    """Rank of this process, and the number of processes."""

    rank: int = 0
    size: int = 1

    @staticmethod
    def current() -> "World":
        """The process group if one has been started, else a world of one process."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return World(torch.distributed.get_rank(), torch.distributed.get_world_size())
        return World()

    @property
    def speaks(self) -> bool:
        """Whether this process writes files and logs."""
        return self.rank == 0

    def parts(self, accumulation: int) -> list[Part]:
        """The slices of the global batch that this process works through, one after another."""
        count = accumulation * self.size
        return [Part(self.rank * accumulation + index, count) for index in range(accumulation)]

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Add up the gradients of all processes, in place.

        A parameter that some processes did not touch counts as zero there: all processes must
        take part in every sum.
        """
        if self.size == 1:
            return
        parameters = list(parameters)
        held = torch.tensor([float(p.grad is not None) for p in parameters])
        held = self.sum_values(held.to(parameters[0].device)).tolist()
        for parameter, holders in zip(parameters, held, strict=True):
            if not holders:
                continue
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            torch.distributed.all_reduce(parameter.grad)

    def average_buffers(self, buffers: Iterable[Tensor]) -> None:
        """Replace running statistics by their mean over all processes, in place."""
        if self.size == 1:
            return
        for buffer in buffers:
            if buffer.is_floating_point():
                torch.distributed.all_reduce(buffer)
                buffer.div_(self.size)

    def sum_values(self, values: Tensor) -> Tensor:
        """Add up a vector of numbers over all processes."""
        if self.size > 1:
            torch.distributed.all_reduce(values)
        return values

    def agree(self, value: float) -> float:
        """The value of rank 0, for all processes (clocks and signals differ between them)."""
        if self.size == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float64)
        torch.distributed.broadcast(shared, src=0)
        return float(shared)
