"""Lookup-free quantization (Eq. 1).

Legend: B batch, T tokens, C tokenizer channels, K bits per token, V = 2**K entries.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn


def pack_bits(bits_BTK: Bool[Tensor, "*B K"]) -> Int[Tensor, "*B"]:
    """Turn the sign bits of each token into its vocabulary index (G3PT, Eq. 1).

    The paper counts bits from one; here bit 0 is the least significant, which
    gives the same number. Inverse of `unpack_bits`.

    Args:
        bits_BTK: True where the projected feature is positive.

    Returns:
        Indices in [0, 2**K), dtype int64.

    Raises:
        ValueError: if K > 62, where an int64 index would overflow.
    """
    num_bits = bits_BTK.shape[-1]
    if num_bits > 62:
        raise ValueError(f"pack_bits supports at most 62 bits per token, got K={num_bits}")
    weights_K = 2 ** torch.arange(num_bits, device=bits_BTK.device)
    return (bits_BTK * weights_K).sum(dim=-1)


def unpack_bits(indices_BT: Int[Tensor, "*B"], num_bits: int) -> Bool[Tensor, "*B K"]:
    """Turn vocabulary indices into bits, least significant first; inverse of `pack_bits`."""
    positions_K = torch.arange(num_bits, device=indices_BT.device)
    return (indices_BT[..., None] >> positions_K) % 2 == 1


MARGIN_STEPS = 64
"""Steps of a stored margin per unit: normalised features of 13 bits reach 3.6, a byte 3.98."""


def pack_margins(projected_BTK: Float[Tensor, "*B K"]) -> UInt8[Tensor, "*B K"]:
    """How far every bit was from flipping: the size of the feature before the sign, as a byte."""
    return (projected_BTK.abs() * MARGIN_STEPS).round().clamp(max=255).byte()


def bit_chances(
    indices_BT: Int[Tensor, "*B"], margins_BTK: UInt8[Tensor, "*B K"], temperature: float
) -> Float[Tensor, "*B K"]:
    """Chance that every bit is set when the shape is tokenized again from other points.

    Bits are taken as independent, and a bit as unchanged with the chance sigmoid(margin /
    temperature): even odds at the sign's edge, certain far from it.

    Args:
        indices_BT: the tokens as they were made.
        margins_BTK: their margins, from `pack_margins`.
        temperature: margin at which a bit stays with 73 %; positive.
    """
    signs_BTK = unpack_bits(indices_BT, margins_BTK.shape[-1]).float() * 2 - 1
    return torch.sigmoid(signs_BTK * margins_BTK / (MARGIN_STEPS * temperature))


@dataclass(frozen=True, kw_only=True, slots=True)
class LfqConfig:
    """Lookup-free quantizer (Sec. 3.1)."""

    num_bits: int = 13
    """Bits per token K; the vocabulary has 2**K entries."""

    share_projection: bool = True
    """One pair of linear maps to bits and back for all scales; gains are always per scale."""

    normalization: Literal["layer", "rms"] = "layer"
    """Normalisation of the bit features before the sign. `layer` removes their mean, which makes
    codes of mostly equal bits rare; `rms` divides by their root mean square only."""

    def __post_init__(self) -> None:
        if not 1 <= self.num_bits <= 62:
            raise ValueError(f"quantizer.num_bits must lie in 1..62, got {self.num_bits}")


@dataclass(frozen=True)
class QuantizerOutput:
    """Tokens of one scale and their features."""

    features_BTC: Tensor
    """Quantised features, back in the tokenizer's channels."""

    indices_BT: Tensor
    """Vocabulary indices, int64."""

    projected_BTK: Tensor
    """Normalised bit features before the sign, float32."""


class LfqQuantizer(nn.Module):
    """Sign of a K-dimensional projection, straight-through, and a linear map back.

    The projection is normalised without parameters before the sign, which keeps the bits
    balanced inside a token. During the warm-up phase of Sec. 4.2 the normalised values are
    passed on in place of their signs. All scales share the projections, unless the config
    says otherwise; each has a gain of its own. The first map starts orthogonal and the map
    back as its transpose, so that subtracting quantised features shrinks the residual from
    the start.
    """

    def __init__(
        self, config: LfqConfig, dim: int, initial_gains: Sequence[float] = (1.0,)
    ) -> None:
        super().__init__()
        self.config = config
        self.gains = nn.Parameter(torch.tensor(list(initial_gains)))
        if config.share_projection:
            self.project_in, self.project_out = _projections(dim, config.num_bits)
        else:
            pairs = [_projections(dim, config.num_bits) for _ in initial_gains]
            self.project_in, self.project_out = (
                nn.ModuleList(maps) for maps in zip(*pairs, strict=True)
            )

    def project(
        self, features_BTC: Float[Tensor, "B T C"], scale: int = 0
    ) -> Float[Tensor, "B T K"]:
        """Normalised bit features, always float32. Their signs are the code."""
        with torch.autocast(features_BTC.device.type, enabled=False):
            projected = _of_scale(self.project_in, scale)(features_BTC.float())
            if self.config.normalization == "rms":
                return F.rms_norm(projected, (self.config.num_bits,), eps=1e-5)
            return F.layer_norm(projected, (self.config.num_bits,))

    def expand(self, codes_BTK: Float[Tensor, "B T K"], scale: int = 0) -> Float[Tensor, "B T C"]:
        """Map codes back to the tokenizer's channels with the gain of their scale."""
        return _of_scale(self.project_out, scale)(codes_BTK) * self.gains[scale]

    def embed(self, indices_BT: Int[Tensor, "B T"], scale: int = 0) -> Float[Tensor, "B T C"]:
        """Features of given vocabulary indices."""
        bits_BTK = unpack_bits(indices_BT, self.config.num_bits)
        return self.expand(bits_BTK.to(self.gains.dtype) * 2 - 1, scale)

    def forward(
        self, features_BTC: Float[Tensor, "B T C"], scale: int = 0, *, bypass: bool = False
    ) -> QuantizerOutput:
        """Quantise one scale (Eq. 1); `bypass` skips the sign for the warm-up phase."""
        projected_BTK = self.project(features_BTC, scale)
        bits_BTK = projected_BTK > 0
        if bypass:
            codes_BTK = projected_BTK
        else:
            signs_BTK = bits_BTK.to(projected_BTK.dtype) * 2 - 1
            codes_BTK = projected_BTK + (signs_BTK - projected_BTK).detach()
        return QuantizerOutput(
            features_BTC=self.expand(codes_BTK, scale),
            indices_BT=pack_bits(bits_BTK),
            projected_BTK=projected_BTK,
        )


def _projections(dim: int, num_bits: int) -> tuple[nn.Linear, nn.Linear]:
    """Maps to bits and back; the second starts as the transpose of the first."""
    project_in, project_out = nn.Linear(dim, num_bits), nn.Linear(num_bits, dim)
    nn.init.orthogonal_(project_in.weight)
    nn.init.zeros_(project_in.bias)
    project_out.weight.data.copy_(project_in.weight.data.T)
    nn.init.zeros_(project_out.bias)
    return project_in, project_out


def _of_scale(maps: nn.Module, scale: int) -> nn.Module:
    return maps[scale] if isinstance(maps, nn.ModuleList) else maps
