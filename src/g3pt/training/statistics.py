"""Running statistics of a module, moved once a step however the batch is cut."""

import torch
from torch import Tensor, nn

from g3pt.training.distributed import World


class RunningStatistics:
    """The saved buffers of a module, such as a running mean that the forward pass moves.

    Every slice of a step's batch moves them from the same start, and the mean over all slices of
    all processes is kept. A mean over the batch then comes out as if the batch was not cut.
    """

    def __init__(self, module: nn.Module, world: World, *, num_slices: int) -> None:
        saved = module.state_dict().keys()
        self._buffers = [buffer for name, buffer in module.named_buffers() if name in saved]
        self._floats = [buffer for buffer in self._buffers if buffer.is_floating_point()]
        self._world, self._num_slices = world, num_slices
        self._kept: list[Tensor] = []
        self._moved: list[list[Tensor]] = []

    def begin_step(self) -> None:
        """Remember the state before the first slice."""
        self._kept = [buffer.clone() for buffer in self._buffers]
        self._moved = []

    def end_slice(self) -> None:
        """Take note of where a slice has moved them, and go back to the start."""
        if self._num_slices == 1:
            return
        self._moved.append([buffer.clone() for buffer in self._floats])
        if len(self._moved) < self._num_slices:
            self.undo()

    def end_step(self) -> None:
        """Set them to the mean over all slices of all processes."""
        if self._moved:
            for buffer, *values in zip(self._floats, *self._moved, strict=True):
                buffer.copy_(sum(values[1:], start=values[0]) / len(values))
        self._world.average(self._floats)

    def undo_unless(self, sound: Tensor) -> None:
        """`undo` if `sound`, on the device of the buffers, is False; the host need not know."""
        for buffer, kept in zip(self._buffers, self._kept, strict=True):
            buffer.copy_(torch.where(sound, buffer, kept))

    def undo(self) -> None:
        """Set them to the state before the first slice."""
        for buffer, kept in zip(self._buffers, self._kept, strict=True):
            buffer.copy_(kept)
