"""Multi-head attention in three separate steps, and a cache of keys and values.

Legend: B batch, T queries, M keys, C width, H heads, D channels of a head.
"""

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn


class KeyValues(NamedTuple):
    """Keys and values, split into heads."""

    keys_BHMD: Tensor
    values_BHMD: Tensor


def split_heads(x_BTC: Float[Tensor, "B T C"], num_heads: int) -> Float[Tensor, "B H T D"]:
    """Move the heads in front of the sequence."""
    return x_BTC.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def merge_heads(x_BHTD: Float[Tensor, "B H T D"]) -> Float[Tensor, "B T C"]:
    """Undo `split_heads`."""
    return x_BHTD.transpose(1, 2).flatten(-2)


def weighted_values(
    queries_BHTD: Float[Tensor, "B H T D"],
    keys_BHMD: Float[Tensor, "B H M D"],
    values_BHMD: Float[Tensor, "B H M D"],
    *,
    scale: float | None = None,
    mask: Bool[Tensor, "*#B #T M"] | Float[Tensor, "*#B #T M"] | None = None,
) -> Float[Tensor, "B H T D"]:
    """softmax(scale q k^T) v; `scale` defaults to 1/sqrt(D).

    `mask` is True where a key is visible, or a bias for the logits in the queries' dtype.

    Uses PyTorch's fused kernel except for bfloat16 training on a CPU, where its backward pass is
    slower than that of two explicit products (unless `sdpa_kernel` forbids them).
    """
    trains = torch.is_grad_enabled() and queries_BHTD.requires_grad
    slow = queries_BHTD.device.type == "cpu" and queries_BHTD.dtype == torch.bfloat16
    if trains and slow and torch.backends.cuda.math_sdp_enabled():
        return _weighted_values_written_out(
            queries_BHTD, keys_BHMD, values_BHMD, scale=scale, mask=mask
        )
    return F.scaled_dot_product_attention(
        queries_BHTD, keys_BHMD, values_BHMD, attn_mask=mask, scale=scale
    )


def _weighted_values_written_out(
    queries_BHTD: Tensor,
    keys_BHMD: Tensor,
    values_BHMD: Tensor,
    *,
    scale: float | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """The same by explicit products in the input's precision; softmax accumulates in float32."""
    factor = queries_BHTD.shape[-1] ** -0.5 if scale is None else scale
    with torch.autocast(queries_BHTD.device.type, enabled=False):
        if factor != 1:
            queries_BHTD = queries_BHTD * factor
        logits_BHTM = queries_BHTD @ keys_BHMD.transpose(-1, -2)
        if mask is not None and mask.dtype == torch.bool:
            logits_BHTM = logits_BHTM.masked_fill(~mask, -torch.inf)
        elif mask is not None:
            logits_BHTM = logits_BHTM + mask
        return logits_BHTM.softmax(dim=-1) @ values_BHMD


def unit_vectors(x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
    """Subtract the mean of each vector and scale it to length one."""
    dim = x.shape[-1]
    return F.layer_norm(x, (dim,), weight=x.new_full((dim,), dim**-0.5), eps=1e-6)


class Attention(nn.Module):
    """Attention of `x` over `context` (over itself when no context is given).

    With `normalize_qk`, queries and keys are unit vectors before the product
    (Sec. 4.1, "normalized to unit vectors") and a learned temperature per head,
    starting at 8, replaces 1/sqrt(D). Their mean is subtracted first: the result is a layer norm,
    which trains several times faster than separate operations.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        context_dim: int | None = None,
        normalize_qk: bool = False,
    ) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"dim {dim} is not divisible by num_heads {num_heads}")
        self.num_heads = num_heads
        self.normalize_qk = normalize_qk
        self.to_queries = nn.Linear(dim, dim, bias=False)
        self.to_keys_values = nn.Linear(context_dim or dim, 2 * dim, bias=False)
        self.to_output = nn.Linear(dim, dim)
        if normalize_qk:
            self.log_temperature = nn.Parameter(torch.full((num_heads, 1, 1), math.log(8.0)))

    @torch.no_grad()
    def look_alike(self, gain: float) -> None:
        """Initialise queries and keys with one orthogonal map: attention follows similarity.

        For inputs of unit variance, logits then start at `gain`**2 sqrt(D) times the cosine.
        """
        dim = self.to_queries.weight.shape[0]
        assert self.to_keys_values.in_features == dim, "queries and context differ in width"
        weight = nn.init.orthogonal_(torch.empty(dim, dim)) * gain
        self.to_queries.weight.copy_(weight)
        self.to_keys_values.weight[:dim].copy_(weight)

    def queries(self, x_BTC: Float[Tensor, "B T C"]) -> Float[Tensor, "B H T D"]:
        """Project and split the queries, temperature included."""
        queries = split_heads(self.to_queries(x_BTC), self.num_heads)
        if not self.normalize_qk:
            return queries
        temperature = self.log_temperature.clamp(max=math.log(100.0)).exp()
        return unit_vectors(queries) * temperature.to(queries.dtype)

    def keys_values(self, context_BMC: Float[Tensor, "B M K"]) -> KeyValues:
        """Project and split keys and values."""
        keys, values = self.to_keys_values(context_BMC).chunk(2, dim=-1)
        keys = split_heads(keys, self.num_heads)
        if self.normalize_qk:
            keys = unit_vectors(keys)
        return KeyValues(keys, split_heads(values, self.num_heads))

    def attend(
        self,
        queries_BHTD: Float[Tensor, "B H T D"],
        keys_values: KeyValues,
        mask: Bool[Tensor, "*#B #T M"] | None = None,
    ) -> Float[Tensor, "B T C"]:
        """Weighted sum of the values, then projection; `mask` is True where a key is visible."""
        attended = weighted_values(
            queries_BHTD,
            keys_values.keys_BHMD,
            keys_values.values_BHMD,
            scale=1.0 if self.normalize_qk else None,
            mask=mask,
        )
        return self.to_output(merge_heads(attended))

    def forward(
        self,
        x_BTC: Float[Tensor, "B T C"],
        context_BMC: Float[Tensor, "B M K"] | None = None,
        mask: Bool[Tensor, "*#B #T M"] | None = None,
    ) -> Float[Tensor, "B T C"]:
        """All three steps in one call."""
        context_BMC = x_BTC if context_BMC is None else context_BMC
        return self.attend(self.queries(x_BTC), self.keys_values(context_BMC), mask)


class KeyValueCache(ABC):
    """Keys and values of every layer, for scale-by-scale generation."""

    @abstractmethod
    def append(self, layer: int, new: KeyValues) -> KeyValues:
        """Add the keys and values of one step; return all of the layer's."""

    @property
    @abstractmethod
    def num_tokens(self) -> int:
        """Tokens held by the first layer."""


class GrowingCache(KeyValueCache):
    """Each step copies all that came before: the simple twin of `StaticCache`."""

    def __init__(self, num_layers: int) -> None:
        self._layers: list[KeyValues | None] = [None] * num_layers

    def append(self, layer: int, new: KeyValues) -> KeyValues:
        """Add the keys and values of one step; return all of the layer's."""
        held = self._layers[layer]
        if held is not None:
            new = KeyValues(
                torch.cat([held.keys_BHMD, new.keys_BHMD], dim=2),
                torch.cat([held.values_BHMD, new.values_BHMD], dim=2),
            )
        self._layers[layer] = new
        return new

    @property
    def num_tokens(self) -> int:
        """Tokens held by the first layer."""
        first = self._layers[0]
        return 0 if first is None else first.keys_BHMD.shape[2]


class StaticCache(KeyValueCache):
    """Buffers for the whole sequence, which stay where they are and are filled step by step."""

    def __init__(self, num_layers: int) -> None:
        self._buffers: list[KeyValues | None] = [None] * num_layers
        self._num_held = [0] * num_layers
        self._num_tokens = 0

    def begin(self, num_tokens: int) -> None:
        """Begin a sequence of at most so many tokens; buffers of its length are used again."""
        if num_tokens != self._num_tokens:
            self._buffers = [None] * len(self._buffers)
        self._num_tokens, self._num_held = num_tokens, [0] * len(self._buffers)

    def append(self, layer: int, new: KeyValues) -> KeyValues:
        """Add the keys and values of one step; return views of all of the layer's."""
        start = self._num_held[layer]
        stop = start + new.keys_BHMD.shape[2]
        assert stop <= self._num_tokens, f"{stop} tokens in buffers for {self._num_tokens}"
        buffers = self._buffers[layer]
        if buffers is None:
            buffers = KeyValues(*(self._buffer_like(part) for part in new))
            self._buffers[layer] = buffers
        for buffer, part in zip(buffers, new, strict=True):
            buffer[:, :, start:stop] = part
        self._num_held[layer] = stop
        return KeyValues(*(buffer[:, :, :stop] for buffer in buffers))

    def _buffer_like(self, part_BHTD: Float[Tensor, "B H T D"]) -> Float[Tensor, "B H M D"]:
        num_rows, num_heads, _, dim = part_BHTD.shape
        return part_BHTD.new_empty(num_rows, num_heads, self._num_tokens, dim)

    @property
    def num_tokens(self) -> int:
        """Tokens held by the first layer."""
        return self._num_held[0]
