"""Residual convolutions of feature planes and volumes, and the MLP that decodes a field from them.

Legend: B batch, Q query points, C channels.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from g3pt.nn.embeddings import FourierEmbedding

GROUPS = 4


class ResidualBlock(nn.Module):
    """x + Conv(silu(norm(Conv(silu(norm(x)))))) in two or three dimensions (He et al. 2016).

    `dim` and `hidden` must be multiples of 4, the groups of the normalisation.
    """

    def __init__(self, num_dims: Literal[2, 3], dim: int, hidden: int) -> None:
        super().__init__()
        convolution = nn.Conv2d if num_dims == 2 else nn.Conv3d
        self.input_norm = nn.GroupNorm(GROUPS, dim)
        self.expand = convolution(dim, hidden, 3, padding=1)
        self.hidden_norm = nn.GroupNorm(GROUPS, hidden)
        self.contract = convolution(hidden, dim, 3, padding=1)

    def forward(self, x: Float[Tensor, "B C *grid"]) -> Float[Tensor, "B C *grid"]:
        """Apply the block."""
        hidden = self.expand(F.silu(self.input_norm(x)))
        return x + self.contract(F.silu(self.hidden_norm(hidden)))


class FieldHead(nn.Module):
    """MLP from a sampled feature and the embedded query position to a logit."""

    def __init__(self, dim: int, hidden: int, num_octaves: int) -> None:
        super().__init__()
        self.embedding = FourierEmbedding(num_octaves)
        self.project = nn.Linear(dim + self.embedding.dim, hidden)
        self.hidden = nn.Linear(hidden, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.head = nn.Linear(hidden, 1)

    def forward(
        self, features_BQC: Float[Tensor, "B Q C"], queries_BQ3: Float[Tensor, "B Q 3"]
    ) -> Float[Tensor, "B Q"]:
        """Logits, positive inside, float32."""
        x = torch.cat([features_BQC, self.embedding(queries_BQ3).to(features_BQC.dtype)], dim=-1)
        x = F.gelu(self.project(x))
        x = x + F.gelu(self.hidden(x))
        return self.head(self.norm(x)).squeeze(-1).float()
