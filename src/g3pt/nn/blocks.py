"""Transformer blocks: pre-norm, and shifted, scaled and gated by a condition (adaptive layer norm).

Legend: B batch, T tokens, M context tokens, C width, H heads, Y blocks ("layers").
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from g3pt.nn.attention import Attention, KeyValues, merge_heads

AttentionFunction = Callable[[Tensor, KeyValues], Tensor]
"""(queries_BHTC, keys and values) -> weighted values with separate heads."""

NUM_PARTS = 6
"""Shift, scale and gate of the attention, then of the MLP."""


class AdaLn(nn.Module):
    """The modulation of all blocks from the condition vector, by one matrix product.

    Each block has a learned offset, to which a projection of the vector shared by all blocks is
    added (as in PixArt-alpha; DiT's separate matrices would be a large part of a small model). All
    weights start at zero, where blocks are plain pre-norm blocks.
    """

    def __init__(self, dim: int, num_blocks: int) -> None:
        super().__init__()
        self.offsets = nn.Parameter(torch.zeros(num_blocks, NUM_PARTS, dim))
        self.expand = nn.Linear(dim, NUM_PARTS * dim, bias=False)
        nn.init.zeros_(self.expand.weight)

    def forward(self, vector_BC: Float[Tensor, "B C"]) -> Float[Tensor, "Y 6 B 1 C"]:
        """Return the six parts of each block, broadcastable over tokens."""
        offsets = self.offsets[:, :, None, None, :]
        change = self.expand(F.silu(vector_BC)).unflatten(-1, (NUM_PARTS, -1))
        return offsets + change.transpose(0, 1)[None, :, :, None, :].to(offsets.dtype)


def modulate(
    x_BTC: Float[Tensor, "B T C"],
    shift_B1C: Float[Tensor, "B 1 C"],
    scale_B1C: Float[Tensor, "B 1 C"],
) -> Float[Tensor, "B T C"]:
    """Normalise each token, then scale by 1 + scale and shift."""
    return F.layer_norm(x_BTC, x_BTC.shape[-1:]) * (1 + scale_B1C) + shift_B1C


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
        """Each query attends to the context."""
        context_BMC = self.context_norm(context_BMC)
        x_BTC = x_BTC + self.attention(self.attention_norm(x_BTC), context_BMC, mask)
        if self.mlp is None or self.mlp_norm is None:
            return x_BTC
        return x_BTC + self.mlp(self.mlp_norm(x_BTC))


class GatedBlock(nn.Module):
    """Attention and MLP, both shifted, scaled and gated by a condition (adaptive layer norm).

    Args:
        dim: width of the tokens.
        num_heads: heads of the attention, whose queries and keys are unit vectors.
        mlp_ratio: hidden width of the MLP over the width of the tokens.
        closed: whether gates start at zero, which makes the block the identity, or at one.
        dropout: dropout rate of the outputs of both parts.
        skip_share: share of the samples for which training skips each part (stochastic depth).
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        mlp_ratio: float = 4.0,
        closed: bool = False,
        dropout: float = 0.0,
        skip_share: float = 0.0,
    ) -> None:
        super().__init__()
        self.attention = Attention(dim, num_heads, normalize_qk=True)
        self.mlp = Mlp(dim, mlp_ratio)
        self._start = 0.0 if closed else 1.0
        self._dropout, self._skip_share = dropout, skip_share

    @property
    def draws(self) -> bool:
        """Whether training draws random numbers (dropout or skipped parts)."""
        return bool(self._dropout or self._skip_share)

    def forward(
        self,
        x_BTC: Float[Tensor, "B T C"],
        modulation_6B1C: Float[Tensor, "6 B 1 C"],
        attend: AttentionFunction,
        remember: Callable[[KeyValues], KeyValues] | None = None,
    ) -> Float[Tensor, "B T C"]:
        """Transform the tokens.

        Args:
            x_BTC: the tokens.
            modulation_6B1C: shift, scale and gate of the attention, then of the MLP.
            attend: the attention function, which knows the mask (`scale_attention.plan_attention`).
            remember: replaces the tokens' keys and values by all visible ones, as a cache does.
        """
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = modulation_6B1C.unbind()
        normed_BTC = modulate(x_BTC, shift, scale)
        keys_values = self.attention.keys_values(normed_BTC)
        if remember is not None:
            keys_values = remember(keys_values)
        mixed_BHTD = attend(self.attention.queries(normed_BTC), keys_values)
        mixed_BTC = self._thinned(self.attention.to_output(merge_heads(mixed_BHTD)))
        x_BTC = torch.addcmul(x_BTC, mixed_BTC, self._start + gate)
        changed_BTC = self._thinned(self.mlp(modulate(x_BTC, mlp_shift, mlp_scale)))
        return torch.addcmul(x_BTC, changed_BTC, self._start + mlp_gate)

    def _thinned(self, added_BTC: Float[Tensor, "B T C"]) -> Float[Tensor, "B T C"]:
        """Apply dropout and skipping to the output of a part; its expectation is unchanged."""
        if not self.training:
            return added_BTC
        if self._dropout:
            added_BTC = F.dropout(added_BTC, self._dropout)
        if self._skip_share:
            kept_B11 = F.dropout(added_BTC.new_ones(len(added_BTC), 1, 1), self._skip_share)
            added_BTC = added_BTC * kept_B11
        return added_BTC
