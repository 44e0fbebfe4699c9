"""Fourier embedding of points in space, and sinusoidal embedding of positions in a sequence.

Legend: B batch, N points, T tokens, D width.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class FourierEmbedding(nn.Module):
    """A position with its sines and cosines at doubling frequencies.

    PosEmb of Eq. 2 and Eq. 5. The angular frequencies are `2**k` for k < `num_octaves`
    without a factor of pi, as in the published code of 3DShape2VecSet's successors; the
    paper does not say (docs/deviations.md).
    """

    frequencies: Tensor

    def __init__(self, num_octaves: int = 8, base: float = 1.0) -> None:
        super().__init__()
        if num_octaves < 1:
            raise ValueError(f"num_octaves must be at least 1, got {num_octaves}")
        self.dim = 3 * (2 * num_octaves + 1)
        frequencies = base * 2.0 ** torch.arange(num_octaves)
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, points_BN3: Float[Tensor, "B N 3"]) -> Float[Tensor, "B N E"]:
        """Embed positions of the unit frame; the output is float32 whatever the autocast."""
        points_BN3 = points_BN3.float()
        angles = (points_BN3[..., None] * self.frequencies).flatten(-2)
        return torch.cat([points_BN3, angles.sin(), angles.cos()], dim=-1)


def sinusoids(num_tokens: int, dim: int, *, longest: float = 10_000.0) -> Float[Tensor, "T D"]:
    """Sines, then cosines, of the positions 0, 1, ... at geometrically decreasing frequencies.

    Raises:
        ValueError: if the width is odd.
    """
    if dim % 2:
        raise ValueError(f"sinusoids come in pairs, got a width of {dim}")
    frequencies = longest ** -(torch.arange(dim // 2) / (dim // 2))
    angles_TD = torch.arange(num_tokens)[:, None] * frequencies
    return torch.cat([angles_TD.sin(), angles_TD.cos()], dim=1)
