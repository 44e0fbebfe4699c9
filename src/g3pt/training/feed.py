"""Batches, built one ahead in a thread and moved to the device."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch

from g3pt.training.task import Part, Task, in_pinned_memory, to_device


class BatchFeed:
    """The batches of a task in the order in which a loop asks for them.

    A batch depends only on its step and part. If the batch built ahead is not the one asked for
    (after a rollback), only time is lost.
    """

    def __init__(
        self, task: Task, parts: Sequence[Part], device: torch.device, *, ahead: bool
    ) -> None:
        self._task = task
        self._parts = list(parts)
        self._device = device
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="batches") if ahead else None
        self._pending: tuple[tuple[int, Part], Future[Any]] | None = None

    def get(self, step: int, part: Part) -> Any:
        """The asked batch, on the device."""
        if self._pending is not None and self._pending[0] == (step, part):
            batch = self._pending[1].result()
        else:
            if self._pending is not None and not self._pending[1].cancel():
                self._pending[1].exception()  # wait: one batch at a time
            batch = self._build(step, part)
        self._pending = None
        if self._pool is not None:
            expected = self._after(step, part)
            self._pending = (expected, self._pool.submit(self._build, *expected))
        return to_device(batch, self._device)

    def _build(self, step: int, part: Part) -> Any:
        batch = self._task.batch(step, part)
        return in_pinned_memory(batch) if self._device.type == "cuda" else batch

    def close(self) -> None:
        """End the thread."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _after(self, step: int, part: Part) -> tuple[int, Part]:
        position = self._parts.index(part) + 1
        if position < len(self._parts):
            return step, self._parts[position]
        return step + 1, self._parts[0]
