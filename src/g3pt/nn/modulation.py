"""Adaptive layer normalisation: one condition vector shifts, scales and gates every block.

Legend: B batch, T tokens, D width, R rank, Y blocks ("layers").
"""

from typing import Literal, assert_never

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

AdaLnKind = Literal["full", "low_rank", "shared", "none"]

NUM_PARTS = 6
"""Shift, scale and gate of the attention, then of the MLP."""


class AdaLn(nn.Module):
    """The modulation of all blocks, from the condition vector, in one product.

    Each block has a learned offset, to which the vector adds: through a matrix of its own
    (`full`, DiT), through one bottleneck of `rank` channels that all blocks read
    (`low_rank`), through one matrix for all blocks (`shared`, PixArt) or not at all
    (`none`). All start at zero, where blocks are plain pre-norm blocks.
    """

    def __init__(self, dim: int, num_blocks: int, kind: AdaLnKind, *, rank: int = 32) -> None:
        super().__init__()
        self.num_blocks = num_blocks
        self.offsets = nn.Parameter(torch.zeros(num_blocks, NUM_PARTS, dim))
        self.reduce: nn.Module = nn.Linear(dim, rank) if kind == "low_rank" else nn.Identity()
        match kind:
            case "full":
                self.expand = nn.Linear(dim, num_blocks * NUM_PARTS * dim, bias=False)
            case "low_rank":
                self.expand = nn.Linear(rank, num_blocks * NUM_PARTS * dim, bias=False)
            case "shared":
                self.expand = nn.Linear(dim, NUM_PARTS * dim, bias=False)
            case "none":
                self.expand = None
            case _:
                assert_never(kind)
        if self.expand is not None:
            nn.init.zeros_(self.expand.weight)

    def forward(self, vector_BD: Float[Tensor, "B D"]) -> Float[Tensor, "Y 6 B 1 D"]:
        """Give the six parts of each block, ready to broadcast over tokens."""
        offsets = self.offsets[:, :, None, None, :]
        if self.expand is None:
            return offsets.expand(-1, -1, vector_BD.shape[0], -1, -1)
        change = self.expand(self.reduce(F.silu(vector_BD)))
        change = change.unflatten(-1, (-1, NUM_PARTS, self.offsets.shape[-1]))
        return offsets + change.permute(1, 2, 0, 3).unsqueeze(3).to(offsets.dtype)


def modulate(
    x_BTD: Float[Tensor, "B T D"],
    shift_B1D: Float[Tensor, "B 1 D"],
    scale_B1D: Float[Tensor, "B 1 D"],
) -> Float[Tensor, "B T D"]:
    """Normalise each token, then scale by 1 + scale and shift."""
    return F.layer_norm(x_BTD, x_BTD.shape[-1:]) * (1 + scale_B1D) + shift_B1D
