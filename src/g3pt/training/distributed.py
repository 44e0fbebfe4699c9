"""Processes that train together: each takes its slices of the global batch.

The gradients are reduced by torch's engines (`engines.py`). Here are the small things that all
processes must know alike: metrics, running statistics, decisions, and rows of an evaluation.
"""

import hashlib
import json
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from g3pt.training.task import Part

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

ResultT = TypeVar("ResultT")
LET_GO_SECONDS = 10.0
"""How long a process waits at its end for a thread of gloo, which needs a moment."""
PATIENCE = timedelta(days=7)
"""How long processes wait for the first one to prepare data."""


class OtherRankError(RuntimeError):
    """Another process could not do what all were waiting for."""


@dataclass(frozen=True)
class World:
    """Rank of this process, and the number of processes."""

    rank: int = 0
    size: int = 1

    @staticmethod
    def current() -> "World":
        """The process group if one has been started, else a world of one process."""
        if dist.is_available() and dist.is_initialized():
            return World(dist.get_rank(), dist.get_world_size())
        return World()

    @property
    def speaks(self) -> bool:
        """Whether this process writes files and logs."""
        return self.rank == 0

    def parts(self, accumulation: int) -> list[Part]:
        """The slices of the global batch that this process works through, one after another."""
        count = accumulation * self.size
        return [Part(self.rank * accumulation + index, count) for index in range(accumulation)]

    # -- numbers ------------------------------------------------------------------------------

    def sum_values(self, values: Tensor) -> Tensor:
        """Add up a vector of numbers over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def meet(self) -> None:
        """Wait until all processes are here."""
        self.sum_values(torch.zeros(1))

    def part_ways(self) -> None:
        """Meet for the last time and end the process group; after it, this process may end.

        A thread of gloo holds the tensor of an exchange for a moment longer than the exchange
        lasts, and needs the interpreter to let go of it. If that has ended by then, the process
        aborts, with its work done. (The end of the process group joins the thread, but DDP keeps
        the group alive.)
        """
        if self.size == 1:
            return
        last = torch.zeros(1)
        held = weakref.ref(last)
        self.sum_values(last)
        del last
        deadline = time.monotonic() + LET_GO_SECONDS
        while held() is not None and time.monotonic() < deadline:
            time.sleep(0.001)
        dist.destroy_process_group()

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor of floats by its mean over all processes, in one reduction."""
        if self.size == 1 or not tensors:
            return
        flat = self.sum_values(torch.cat([each.detach().float().flatten() for each in tensors]))
        flat.div_(self.size)
        sizes = [each.numel() for each in tensors]
        for each, mean in zip(tensors, flat.split(sizes), strict=True):
            each.copy_(mean.view_as(each))

    def decide(self, progress: float, stop: bool) -> tuple[float, bool]:
        """The progress of rank 0, and whether any process was asked to stop.

        Clocks differ between processes, and a signal may reach one of them only.
        """
        if self.size == 1:
            return progress, stop
        shared = torch.tensor([progress if self.speaks else 0.0, float(stop)], dtype=torch.float64)
        first, asked = self.sum_values(shared).tolist()
        return first, asked > 0

    # -- from the first process to all ----------------------------------------------------------

    def share(self, value: Any) -> Any:
        """A JSON value of rank 0, on all processes."""
        if self.size == 1:
            return value
        text = json.dumps(value).encode() if self.speaks else b""
        length = torch.tensor([len(text)])
        dist.broadcast(length, src=0)
        content = torch.zeros(int(length), dtype=torch.uint8)
        if self.speaks:
            content.copy_(torch.frombuffer(bytearray(text), dtype=torch.uint8))
        dist.broadcast(content, src=0)
        return json.loads(bytes(content.numpy()))

    def share_tensors(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Named tensors of rank 0 on all processes, on the CPU; the others pass any dictionary."""
        if self.size == 1:
            return tensors
        layout = {name: (list(t.shape), str(t.dtype)) for name, t in tensors.items()}
        result: dict[str, Tensor] = {}
        for name, (shape, dtype) in self.share(layout).items():
            if self.speaks:
                result[name] = tensors[name].contiguous()
            else:
                result[name] = torch.empty(shape, dtype=getattr(torch, dtype.split(".")[1]))
            dist.broadcast(result[name], src=0)
        return result

    def lead(self, action: Callable[[], ResultT]) -> ResultT:
        """Let rank 0 do something first, and then all others.

        What rank 0 made is there for the others, who wait for days if need be.

        Raises:
            OtherRankError: on all others, if rank 0 fails.
        """
        if self.size == 1:
            return action()
        group = dist.new_group(backend="gloo", timeout=PATIENCE)
        assert isinstance(group, dist.ProcessGroup), "every process is in it"
        if self.speaks:
            try:
                result = action()
            except BaseException:
                dist.broadcast(torch.tensor([0]), src=0, group=group)
                raise
            dist.broadcast(torch.tensor([1]), src=0, group=group)
        else:
            succeeded = torch.tensor([0])
            dist.broadcast(succeeded, src=0, group=group)
            if not int(succeeded):
                raise OtherRankError("rank 0 failed before the first step; its message says why")
            result = action()
        dist.destroy_process_group(group)
        return result

    def require_same(self, what: str, text: str) -> None:
        """Check that all processes have the same text.

        Raises:
            ValueError: on all processes, naming the ranks that differ from rank 0.
        """
        if self.size == 1:
            return
        digest = hashlib.sha256(text.encode()).digest()[:7]  # seven bytes fit an int64
        seen = torch.zeros(self.size, dtype=torch.int64)
        seen[self.rank] = int.from_bytes(digest, "big")
        self.sum_values(seen)
        if differing := [rank for rank in range(self.size) if seen[rank] != seen[0]]:
            raise ValueError(
                f"{what}: ranks {', '.join(map(str, differing))} of {self.size} differ from rank "
                "0; give all machines the same files (a shared folder, or copies made after the "
                "same `g3pt prepare`)"
            )

    # -- shares of an evaluation ----------------------------------------------------------------

    def rows(self, count: int) -> range:
        """This process's share of `count` rows; shares differ by at most one row."""
        return range(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def own_rows(self, count: int) -> range:
        """`rows`, or the first row alone if the share is empty: every process measures something.

        `gather_rows` leaves such a row out.
        """
        return self.rows(count) or range(1)

    def gather_rows(self, values: Tensor, count: int) -> Tensor:
        """Put the rows of all processes together, in order; of several processes, on the CPU.

        Args:
            values: one row for each of `own_rows(count)`.
            count: number of rows of all processes.
        """
        if self.size == 1:
            return values
        whole = torch.zeros((count, *values.shape[1:]), dtype=values.dtype)
        if rows := self.rows(count):
            whole[rows.start : rows.stop] = values.detach().cpu()
        return self.sum_values(whole)


# -- tensors that are spread over processes ------------------------------------------------------


def is_sharded(tensor: Tensor) -> "TypeGuard[DTensor]":
    """Whether this process holds only its share of the tensor (a DTensor of FSDP2)."""
    return hasattr(tensor, "full_tensor")  # to import the class takes seconds


def own(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor, sharing its memory: all, unless it is sharded."""
    return tensor.to_local() if is_sharded(tensor) else tensor


def own_all(tensors: Iterable[Tensor]) -> list[Tensor]:
    """`own` of each, detached."""
    with torch.no_grad():
        return [own(tensor.detach()) for tensor in tensors]


def whole(tensor: Tensor) -> Tensor:
    """The whole tensor; all processes must ask for a sharded one together."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor


def spread_like(full: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, placed and sharded as another one of its shape is."""
    full = full.to(like.device)
    if not is_sharded(like):
        return full
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(full, like.device_mesh, like.placements, src_data_rank=None)
