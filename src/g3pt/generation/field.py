"""The occupancy field of one decoded shape, as a function of NumPy points.

Legend: T tokens, L latents, C channels, Q query points.
"""

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor

from g3pt.models.rivals.regressor import Regressor
from g3pt.models.tokenizer import DiscreteTokenizer, Tokenizer

CHUNK = {"cpu": 1024, "cuda": 65536, "mps": 16384}
"""Query points per call, by device: enough to keep it busy, few enough for its caches."""

SMALLEST_BLOCK = 8192
"""Fewest query points between two progress calls: an eighth of a second on one slow core."""


class ShapeField:
    """Occupancy logits of one shape: positive inside, unit frame.

    Queries are padded so that every call of the decoder has the same number of them. So the logit
    of a point depends neither on the number of other points nor on its position in the call.
    """

    def __init__(
        self,
        tokenizer: Tokenizer | Regressor,
        memory: Float[Tensor, "1 *memory"],
        *,
        chunk: int | None = None,
    ) -> None:
        """Take what the decoder prepared for one shape.

        Args:
            tokenizer: the tokenizer whose decoder is used; on any device, in evaluation mode.
            memory: the decoder's memory of one shape, see `Tokenizer.shape_memory`.
            chunk: queries per call; by default `CHUNK` of the device type.
        """
        self._tokenizer = tokenizer
        self._memory = memory
        self._device = next(tokenizer.parameters()).device
        self._chunk = chunk or CHUNK.get(self._device.type, 16384)

    @property
    def block(self) -> int:
        """Points per query when progress is reported; a block takes well under a second."""
        return max(self._chunk, SMALLEST_BLOCK)

    @classmethod
    @torch.inference_mode()
    def from_tokens(
        cls,
        tokenizer: DiscreteTokenizer,
        indices_T: Int[Tensor, " T"],
        *,
        chunk: int | None = None,
    ) -> "ShapeField":
        """Run the decoder once on token indices of whole scales."""
        indices_1T = indices_T[None].to(next(tokenizer.parameters()).device)
        num_scales = tokenizer.num_scales_of(indices_1T.shape[1])
        summed_LC = tokenizer.decode_indices(indices_1T)[0]
        return cls.from_features(tokenizer, summed_LC, num_scales, chunk=chunk)

    @classmethod
    @torch.inference_mode()
    def from_features(
        cls,
        tokenizer: Tokenizer,
        summed_LC: Float[Tensor, "L C"],
        num_scales: int,
        *,
        chunk: int | None = None,
    ) -> "ShapeField":
        """Run the decoder once on the summed upsampled features of so many scales."""
        return cls(tokenizer, tokenizer.shape_memory(summed_LC[None], num_scales), chunk=chunk)

    def __call__(self, points: Float[np.ndarray, "Q 3"]) -> Float32[np.ndarray, " Q"]:
        """Logits at points of the unit frame."""
        logits = np.empty(len(points), dtype=np.float32)
        padded_Q3 = torch.zeros(self._chunk, 3)
        for start in range(0, len(points), self._chunk):
            part = points[start : start + self._chunk]
            padded_Q3[: len(part)] = torch.from_numpy(np.ascontiguousarray(part, dtype=np.float32))
            with torch.inference_mode():
                answer_1Q = self._tokenizer.occupancy(
                    self._memory, padded_Q3[None].to(self._device)
                )
            logits[start : start + len(part)] = answer_1Q[0, : len(part)].float().cpu().numpy()
        return logits
