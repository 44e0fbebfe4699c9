"""VQ-VAE with lookup-free quantization on a single scale (Table 2; Yu et al. 2023).

Encoder and decoder are those of CVQ. Every latent is one token.
"""

from dataclasses import dataclass, field
from typing import Literal

from g3pt.models.alternatives.single_scale import SingleScale, SingleScaleTokenizer
from g3pt.models.cvq import LatentSetConfig, OccupancyDecoder, PointEncoder
from g3pt.models.quantizers import LfqConfig, LfqQuantizer


@dataclass(frozen=True, kw_only=True, slots=True)
class VqConfig(LatentSetConfig):
    """Single-scale VQ-VAE with LFQ."""

    kind: Literal["vq"] = "vq"

    quantizer: LfqConfig = field(default_factory=LfqConfig)

    center: bool = True
    """Subtract a running mean per latent before the sign, as CVQ does."""

    center_rate: float = 0.02


class VqTokenizer(SingleScaleTokenizer):
    """Latent set, sign, occupancy decoder."""

    def __init__(self, config: VqConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = PointEncoder(config)
        self.quantizer = LfqQuantizer(config.quantizer, config.dim)
        self.identity = SingleScale(
            config.num_latents, config.dim, center=config.center, center_rate=config.center_rate
        )
        self.decoder = OccupancyDecoder(config, num_scales=1)
