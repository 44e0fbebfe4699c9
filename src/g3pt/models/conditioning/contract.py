"""What conditions look like on their way into CAR.

Every condition encoder gives tokens for the prefix and one vector for AdaLN
(`ConditionOutput`); a `ConditionBatch` holds the raw inputs of a batch, any of which may be
absent, for all shapes (None) or for some (a mask).

Legend: B batch, I prefix tokens, N text tokens, D width, S picture side.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class ConditionOutput:
    """A condition as CAR reads it."""

    tokens_BID: Float[Tensor, "B I D"]
    """Prefix tokens; there may be none."""

    vector_BD: Float[Tensor, "B D"]
    """What AdaLN and the start token read."""

    valid_BI: Bool[Tensor, "B I"] | None = None
    """False at tokens that must not be seen (padding); None when all count."""

    def pad_to(self, num_tokens: int) -> "ConditionOutput":
        """Append unseen tokens until there are `num_tokens`."""
        missing = num_tokens - self.tokens_BID.shape[1]
        if missing == 0:
            return self
        return ConditionOutput(
            F.pad(self.tokens_BID, (0, 0, 0, missing)),
            self.vector_BD,
            F.pad(self.valid_or_all, (0, missing), value=False),
        )

    @property
    def valid_or_all(self) -> Bool[Tensor, "B I"]:
        """`valid_BI` written out."""
        if self.valid_BI is not None:
            return self.valid_BI
        return torch.ones(self.tokens_BID.shape[:2], dtype=torch.bool, device=self.vector_BD.device)


def concatenate_tokens(outputs: Sequence[ConditionOutput]) -> ConditionOutput:
    """Put the prefixes of several conditions of one batch after one another, sum the vectors."""
    every_token_counts = all(output.valid_BI is None for output in outputs)
    return ConditionOutput(
        torch.cat([output.tokens_BID for output in outputs], dim=1),
        torch.stack([output.vector_BD for output in outputs]).sum(dim=0),
        None
        if every_token_counts
        else torch.cat([output.valid_or_all for output in outputs], dim=1),
    )


def concatenate_batches(outputs: Sequence[ConditionOutput]) -> ConditionOutput:
    """Put several batches after one another, padding the shorter prefixes."""
    longest = max(output.tokens_BID.shape[1] for output in outputs)
    padded = [output.pad_to(longest) for output in outputs]
    every_token_counts = all(output.valid_BI is None for output in padded)
    return ConditionOutput(
        torch.cat([output.tokens_BID for output in padded]),
        torch.cat([output.vector_BD for output in padded]),
        None if every_token_counts else torch.cat([output.valid_or_all for output in padded]),
    )


@dataclass(frozen=True, kw_only=True)
class ConditionBatch:
    """Raw conditions of B shapes. None: nobody in the batch has it.

    A `*_dropped_B` mask marks shapes that have to do without although the batch holds
    something in their row: they are fed the learned null.
    """

    batch_size: int

    images_B3SS: Float[Tensor, "B 3 S S"] | None = None
    """Pictures over white, values in [0, 1]."""

    text_ids_BN: Int[Tensor, "B N"] | None = None
    """Token ids of `TextTokenizer`, padded with zeros."""

    labels_B: Int[Tensor, " B"] | None = None
    """Class numbers."""

    images_dropped_B: Bool[Tensor, " B"] | None = None
    text_dropped_B: Bool[Tensor, " B"] | None = None
    labels_dropped_B: Bool[Tensor, " B"] | None = None

    def without_conditions(self) -> "ConditionBatch":
        """Give the unconditional batch of the same size."""
        return ConditionBatch(batch_size=self.batch_size)

    def repeat(self, num: int) -> "ConditionBatch":
        """Repeat each shape's conditions `num` times, copies side by side."""
        repeated = {
            name: value.repeat_interleave(num, dim=0) for name, value in self._tensors().items()
        }
        return ConditionBatch(batch_size=self.batch_size * num, **repeated)

    def to(self, device: torch.device | str) -> "ConditionBatch":
        """Move all tensors to a device."""
        moved = {name: value.to(device) for name, value in self._tensors().items()}
        return replace(self, **moved)

    def _tensors(self) -> dict[str, Tensor]:
        names = ("images_B3SS", "text_ids_BN", "labels_B")
        names += ("images_dropped_B", "text_dropped_B", "labels_dropped_B")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}
