"""Adaptive layer normalisation: one condition vector shifts, scales and gates every block.

Legend: B batch, T tokens, D width, Y blocks ("layers").
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

NUM_PARTS = 6
"""Shift, scale and gate of the attention, then of the MLP."""


class AdaLn(nn.Module):
    """The modulation of all blocks from the condition vector, in one product.

    Each block has a learned offset, to which one matrix for all blocks adds what the vector says
    (PixArt-alpha's form; DiT's matrix for every block would hold a large part of a small model).
    All start at zero, where blocks are plain pre-norm blocks.
    """

    def __init__(self, dim: int, num_blocks: int) -> None:
        super().__init__()
        self.offsets = nn.Parameter(torch.zeros(num_blocks, NUM_PARTS, dim))
        self.expand = nn.Linear(dim, NUM_PARTS * dim, bias=False)
        nn.init.zeros_(self.expand.weight)

    def forward(self, vector_BD: Float[Tensor, "B D"]) -> Float[Tensor, "Y 6 B 1 D"]:
        """Give the six parts of each block, ready to broadcast over tokens."""
        offsets = self.offsets[:, :, None, None, :]
        change = self.expand(F.silu(vector_BD)).unflatten(-1, (NUM_PARTS, -1))
        return offsets + change.transpose(0, 1)[None, :, :, None, :].to(offsets.dtype)


def modulate(
    x_BTD: Float[Tensor, "B T D"],
    shift_B1D: Float[Tensor, "B 1 D"],
    scale_B1D: Float[Tensor, "B 1 D"],
) -> Float[Tensor, "B T D"]:
    """Normalise each token, then scale by 1 + scale and shift."""
    return F.layer_norm(x_BTD, x_BTD.shape[-1:]) * (1 + scale_B1D) + shift_B1D
