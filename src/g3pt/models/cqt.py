"""Cross-scale querying transformer (Sec. 3.2).

Legend: B batch, L full latents, T tokens (of one scale, or of all end to end), S scales,
C tokenizer channels, H heads, D channels of a head, K bits.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from g3pt.arguments import check_ranges
from g3pt.models.tokenizer import Resampling
from g3pt.nn.attention import merge_heads, split_heads, weighted_values


@dataclass(frozen=True, kw_only=True, slots=True)
class CqtConfig:
    """Cross-scale querying transformer (Sec. 3.2)."""

    scale_lengths: tuple[int, ...] = (1, 4, 16, 48, 128)
    """Tokens per scale, coarsest first."""

    keys: Literal["slot", "content"] = "slot"
    """`slot`: keys carry the identity of their slot, so that queries can address a single code.
    `content`: the equations read literally, which trains worse (docs/deviations.md)."""

    init: Literal["pooling", "random"] = "pooling"
    """Whether the queries start such that down is a block average and up a block repeat, or
    random."""

    share_weights: bool = True
    """One set of attention weights for all scales; queries are always per scale."""

    center: bool = True
    """Subtract a running mean per slot from the latents before scale 0, and add it back with
    scale 0. Bits then code what differs between shapes."""

    center_rate: float = 0.02
    """Update rate of that mean."""

    def __post_init__(self) -> None:
        check_ranges(self, "cqt", center_rate=(0, 1))
        lengths = self.scale_lengths
        if not lengths or list(lengths) != sorted(set(lengths)) or lengths[0] < 1:
            raise ValueError(f"cqt.scale_lengths must strictly increase from 1 up, got {lengths}")

    @property
    def num_scales(self) -> int:
        """Number of scales S."""
        return len(self.scale_lengths)

    @property
    def num_tokens(self) -> int:
        """Tokens of all scales together."""
        return sum(self.scale_lengths)


class CrossScaleAttention(nn.Module):
    """One direction of the CQT: learned queries gather from features in slots.

    Keys are `W_k norm(slot) + W_c features`: the identity of a slot plus its content.
    Values and output start as the identity map; there is no query residual and no MLP
    (both hurt early training, docs/deviations.md).
    """

    def __init__(self, dim: int, num_heads: int, *, slot_keys: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.slot_keys = slot_keys
        self.norm = nn.LayerNorm(dim)
        self.to_queries = nn.Linear(dim, dim, bias=False)
        self.slots_to_keys = nn.Linear(dim, dim, bias=False) if slot_keys else None
        self.content_to_keys = nn.Linear(dim, dim, bias=False)
        self.to_values = nn.Linear(dim, dim, bias=False)
        self.to_output = nn.Linear(dim, dim)
        self.log_temperature = nn.Parameter(torch.full((num_heads, 1, 1), math.log(8.0)))
        nn.init.orthogonal_(self.to_queries.weight)
        nn.init.eye_(self.to_values.weight)
        nn.init.eye_(self.to_output.weight)
        nn.init.zeros_(self.to_output.bias)
        if self.slots_to_keys is not None:
            self.slots_to_keys.weight.data.copy_(self.to_queries.weight.data)
            self.content_to_keys.weight.data.mul_(0.1)

    def forward(
        self,
        queries_TC: Float[Tensor, "T C"],
        slots_MC: Float[Tensor, "M C"],
        features_BMC: Float[Tensor, "B M C"],
    ) -> Float[Tensor, "B T C"]:
        """Gather `features`, which occupy `slots`, for every query."""
        keys_BMC = self.content_to_keys(features_BMC)
        if self.slots_to_keys is not None:
            keys_BMC = keys_BMC + self.slots_to_keys(self.norm(slots_MC))
        queries_BTC = self.to_queries(self.norm(queries_TC))[None]
        temperature = self.log_temperature.clamp(max=math.log(100.0)).exp()
        queries = F.normalize(split_heads(queries_BTC, self.num_heads).float(), dim=-1)
        queries = (queries * temperature).expand(len(features_BMC), -1, -1, -1)
        keys = F.normalize(split_heads(keys_BMC, self.num_heads).float(), dim=-1)
        values = split_heads(self.to_values(features_BMC), self.num_heads)
        attended = weighted_values(
            queries.to(values.dtype), keys.to(values.dtype), values, scale=1.0
        )
        return self.to_output(merge_heads(attended))


class CrossScaleQuerying(Resampling):
    """Down- and upsampling between L latents and the token lengths of the scales.

    Names: `down_queries[s]` is e_s, `up_queries[s]` is e~_s, `slots_LC` the identities of
    the L latents, `mean_LC` their running mean.
    """

    def __init__(self, config: CqtConfig, num_latents: int, dim: int, num_heads: int) -> None:
        super().__init__()
        if config.scale_lengths[-1] > num_latents:
            raise ValueError(
                f"cqt.scale_lengths ends at {config.scale_lengths[-1]}, more than the "
                f"{num_latents} latents it is drawn from: raise num_latents or shorten the scale"
            )
        self.config = config
        self.slots_LC = nn.Parameter(torch.randn(num_latents, dim))
        down, up = zip(
            *(self._init_queries(num_tokens) for num_tokens in config.scale_lengths), strict=True
        )
        self.down_queries = nn.ParameterList(down)
        self.up_queries = nn.ParameterList(up)
        copies = 1 if config.share_weights else config.num_scales
        slot_keys = config.keys == "slot"
        self.down_attention = nn.ModuleList(
            CrossScaleAttention(dim, num_heads, slot_keys=slot_keys) for _ in range(copies)
        )
        self.up_attention = nn.ModuleList(
            CrossScaleAttention(dim, num_heads, slot_keys=slot_keys) for _ in range(copies)
        )
        self.register_buffer("mean_LC", torch.zeros(num_latents, dim))

    def _init_queries(self, num_tokens: int) -> tuple[nn.Parameter, nn.Parameter]:
        num_latents, dim = self.slots_LC.shape
        if self.config.init == "random":
            return (
                nn.Parameter(torch.randn(num_tokens, dim)),
                nn.Parameter(torch.randn(num_latents, dim)),
            )
        block_L = torch.arange(num_latents) * num_tokens // num_latents
        pooling_TL = F.one_hot(block_L, num_tokens).T.float()
        pooling_TL = pooling_TL / pooling_TL.sum(dim=1, keepdim=True).sqrt()
        down_TC = pooling_TL @ self.slots_LC.detach()
        return nn.Parameter(down_TC), nn.Parameter(down_TC[block_L].clone())

    def down(self, scale: int, features_BLC: Float[Tensor, "B L C"]) -> Float[Tensor, "B T C"]:
        """E_s: gather L latents into the tokens of a scale (Eq. 3)."""
        attention = self.down_attention[0 if self.config.share_weights else scale]
        return attention(self.down_queries[scale], self.slots_LC, features_BLC)

    def up(self, scale: int, codes_BTC: Float[Tensor, "B T C"]) -> Float[Tensor, "B L C"]:
        """U_s: spread the codes of a scale over the L latents (Eq. 4)."""
        attention = self.up_attention[0 if self.config.share_weights else scale]
        upsampled = attention(self.up_queries[scale], self.down_queries[scale], codes_BTC)
        return upsampled + self.mean_LC if scale == 0 else upsampled

    def track_mean(self, latents_BLC: Float[Tensor, "B L C"]) -> None:
        """Move the running mean of every slot towards this batch; called while training."""
        if self.config.center:
            batch_mean_LC = latents_BLC.detach().float().mean(dim=0)
            self.mean_LC.lerp_(batch_mean_LC, self.config.center_rate)
