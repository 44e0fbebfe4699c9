"""Scales by average pooling and interpolation along the sequence (Table 4; VAR, Fig. 2a).

Legend: B batch, L latents, T tokens of a scale, C channels.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from g3pt.models.cvq import (
    LatentSetConfig,
    OccupancyDecoder,
    PointEncoder,
    check_scales,
    pooling_gains,
)
from g3pt.models.quantizers import LfqConfig, LfqQuantizer
from g3pt.models.tokenizer import DiscreteTokenizer, Resampling


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolingConfig(LatentSetConfig):
    """Average pooling down, linear interpolation and a 1D convolution up, LFQ between."""

    kind: Literal["pooling"] = "pooling"

    scale_lengths: tuple[int, ...] = (1, 4, 16, 48, 128)
    """Tokens per scale, coarsest first."""

    quantizer: LfqConfig = field(default_factory=LfqConfig)

    residual_share: float = 0.5
    """Weight of the convolution's output against its unchanged input (0.5 in VAR)."""

    center: bool = True
    """Subtract a running mean per latent before scale 0, as CVQ does."""

    center_rate: float = 0.02

    def __post_init__(self) -> None:
        LatentSetConfig.__post_init__(self)
        check_scales("scale_lengths", self.scale_lengths, self.num_latents)


class PoolingResampling(Resampling):
    """Down by the mean of equal segments, up by interpolation and a convolution per scale."""

    def __init__(self, config: PoolingConfig) -> None:
        super().__init__()
        self.config = config
        self.convolutions = nn.ModuleList(
            nn.Conv1d(config.dim, config.dim, 3, padding=1) for _ in config.scale_lengths
        )
        self.register_buffer("mean_LC", torch.zeros(config.num_latents, config.dim))

    def down(self, scale: int, features_BLC: Float[Tensor, "B L C"]) -> Float[Tensor, "B T C"]:
        """Mean over equal segments of the sequence."""
        length = self.config.scale_lengths[scale]
        return F.adaptive_avg_pool1d(features_BLC.transpose(1, 2), length).transpose(1, 2)

    def up(self, scale: int, codes_BTC: Float[Tensor, "B T C"]) -> Float[Tensor, "B L C"]:
        """Interpolate along the sequence (bilinear in VAR's two dimensions) and smooth."""
        spread_BCL = F.interpolate(
            codes_BTC.transpose(1, 2), self.config.num_latents, mode="linear", align_corners=False
        )
        share = self.config.residual_share
        mixed_BCL = spread_BCL * (1 - share) + self.convolutions[scale](spread_BCL) * share
        upsampled_BLC = mixed_BCL.transpose(1, 2)
        return upsampled_BLC + self.mean_LC if scale == 0 else upsampled_BLC

    def track_mean(self, latents_BLC: Float[Tensor, "B L C"]) -> None:
        """Move the running mean of every latent towards this batch; called while training."""
        if self.config.center:
            batch_mean_LC = latents_BLC.detach().float().mean(dim=0)
            self.mean_LC.lerp_(batch_mean_LC, self.config.center_rate)


class PoolingTokenizer(DiscreteTokenizer):
    """Latent set, pooled residual scales, occupancy decoder."""

    def __init__(self, config: PoolingConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = PointEncoder(config)
        lengths = config.scale_lengths
        self.quantizer = LfqQuantizer(
            config.quantizer, config.dim, pooling_gains(lengths, config.num_latents)
        )
        self.pooling = PoolingResampling(config)
        self.decoder = OccupancyDecoder(config, num_scales=len(lengths))

    @property
    def scale_lengths(self) -> tuple[int, ...]:
        """Tokens per scale, coarsest first."""
        return self.config.scale_lengths

    @property
    def resampling(self) -> Resampling:
        """Pooling and interpolation."""
        return self.pooling

    def bottleneck(self) -> tuple[nn.Module, ...]:
        """Pooling and quantizer."""
        return self.pooling, self.quantizer
