"""Pre-norm transformer blocks.

Legend: B batch, T tokens, M context tokens, C width.
"""

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from g3pt.nn.attention import Attention


class Mlp(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, dim: int, ratio: float = 4.0) -> None:
        super().__init__()
        hidden = round(dim * ratio)
        self.expand = nn.Linear(dim, hidden)
        self.contract = nn.Linear(hidden, dim)

    def forward(self, x: Float[Tensor, "*B C"]) -> Float[Tensor, "*B C"]:
        """Transform each token on its own."""
        return self.contract(F.gelu(self.expand(x)))


class SelfAttentionBlock(nn.Module):
    """x + Attention(norm x), then x + Mlp(norm x)."""

    def __init__(
        self, dim: int, num_heads: int, *, mlp_ratio: float = 4.0, normalize_qk: bool = False
    ) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = Attention(dim, num_heads, normalize_qk=normalize_qk)
        self.mlp_norm = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, mlp_ratio)

    def forward(
        self, x_BTC: Float[Tensor, "B T C"], mask: Bool[Tensor, "*#B #T T"] | None = None
    ) -> Float[Tensor, "B T C"]:
        """Mix the tokens with one another."""
        x_BTC = x_BTC + self.attention(self.attention_norm(x_BTC), mask=mask)
        return x_BTC + self.mlp(self.mlp_norm(x_BTC))


class CrossAttentionBlock(nn.Module):
    """Queries read a context: x + Attention(norm x, norm context), then x + Mlp(norm x).

    `mlp_ratio` 0 leaves the MLP out.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        context_dim: int | None = None,
        mlp_ratio: float = 4.0,
        normalize_qk: bool = False,
    ) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim)
        self.context_norm = nn.LayerNorm(context_dim or dim)
        self.attention = Attention(
            dim, num_heads, context_dim=context_dim, normalize_qk=normalize_qk
        )
        self.mlp_norm = nn.LayerNorm(dim) if mlp_ratio else None
        self.mlp = Mlp(dim, mlp_ratio) if mlp_ratio else None

    def forward(
        self,
        x_BTC: Float[Tensor, "B T C"],
        context_BMC: Float[Tensor, "B M K"],
        mask: Bool[Tensor, "*#B #T M"] | None = None,
    ) -> Float[Tensor, "B T C"]:
        """Let each query gather from the context."""
        context_BMC = self.context_norm(context_BMC)
        x_BTC = x_BTC + self.attention(self.attention_norm(x_BTC), context_BMC, mask)
        if self.mlp is None or self.mlp_norm is None:
            return x_BTC
        return x_BTC + self.mlp(self.mlp_norm(x_BTC))
