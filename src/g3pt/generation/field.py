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
"""Query points a call by device: large enough to keep it busy, small enough for its caches."""

SMALLEST_BLOCK = 8192
"""Query points between two words to whoever listens: an eighth of a second on one slow core."""


class ShapeField:
    """Occupancy logits of one shape: positive inside, unit frame.

    Every call of the decoder has the same padded number of queries, so that the logit of a point
    depends neither on how many others are asked nor on where in the call it stands.
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
            tokenizer: whose decoder answers; on any device, in evaluation mode.
            memory: of one shape, see `Tokenizer.shape_memory`.
            chunk: queries a call; by default fixed per device type.
        """
        self._tokenizer = tokenizer
        self._memory = memory
        self._device = next(tokenizer.parameters()).device
        self._chunk = chunk or CHUNK.get(self._device.type, 16384)

    @property
    def block(self) -> int:
        """Points to ask for at once where somebody listens: answered well within a second."""
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
        """Decode token indices that end with a scale, once."""
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
        """Decode a sum of upsampled features of so many scales, once."""
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
