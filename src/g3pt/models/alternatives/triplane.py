"""Three feature planes with learnable queries (Table 4), after Direct3D (Wu et al. 2024).

Learnable queries, one for every cell of three planes, read the points and attend to one
another. Every cell is a token. The decoder stacks the planes one above the other, so that
its convolutions see all three, and upsamples them. It samples each plane where the query point
projects onto it and maps the sum to an occupancy.

Legend: B batch, Q query points, R side of a plane, C channels. Latents are laid out plane by
plane (xy, xz, yz), row by row.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from g3pt.arguments import MAX_DEPTH, MAX_WIDTH, MLP_RATIOS, check_ranges
from g3pt.models.alternatives.single_scale import SingleScale, SingleScaleTokenizer
from g3pt.models.cvq import MAX_OCTAVES, LatentSetConfig, PointEncoder
from g3pt.models.quantizers import LfqConfig, LfqQuantizer
from g3pt.models.tokenizer import FieldDecoder
from g3pt.nn.convolutions import FieldHead, ResidualBlock

PLANES = ((0, 1), (0, 2), (1, 2))
"""Axes of each plane."""


MAX_SIDE = 2**10
"""Most cells along a plane."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TriplaneConfig:
    """Triplane with learnable queries and LFQ."""

    kind: Literal["triplane"] = "triplane"

    resolution: int = 6
    """Cells along a plane; there are 3 x resolution**2 tokens."""

    dim: int = 192
    """Channels C of the encoder and of the codes."""

    num_heads: int = 3
    encoder_layers: int = 2
    """Self-attention layers after the one that reads the points."""

    mlp_ratio: float = 4.0
    num_octaves: int = 8

    decoder_channels: tuple[int, ...] = (192, 96)
    """Channels of the convolutions, one entry for every doubling of the resolution."""

    decoder_blocks: int = 2
    """Residual blocks at every resolution."""

    hidden: int = 192
    """Inner width of the residual blocks of the coarse planes. The other blocks use their own
    width."""

    query_hidden: int = 128
    """Width of the MLP that maps the sampled features of each query point to an occupancy."""

    quantizer: LfqConfig = field(default_factory=LfqConfig)

    center: bool = True
    """Subtract a running mean per cell before the sign, as CVQ does."""

    center_rate: float = 0.02

    def __post_init__(self) -> None:
        check_ranges(
            self,
            "",
            resolution=(1, MAX_SIDE),
            dim=(1, MAX_WIDTH),
            encoder_layers=(0, MAX_DEPTH),
            mlp_ratio=MLP_RATIOS,
            num_octaves=(0, MAX_OCTAVES),
            decoder_channels=(1, MAX_WIDTH),
            decoder_blocks=(0, MAX_DEPTH),
            hidden=(1, MAX_WIDTH),
            query_hidden=(1, MAX_WIDTH),
            center_rate=(0, 1),
        )

    @property
    def num_latents(self) -> int:
        """Cells of the three planes."""
        return 3 * self.resolution**2


class TriplaneDecoder(FieldDecoder):
    """Convolutions over the stacked planes, then bilinear samples."""

    def __init__(self, config: TriplaneConfig) -> None:
        super().__init__()
        self.resolution = config.resolution
        levels: list[nn.Module] = []
        channels = config.dim
        for width in config.decoder_channels:
            hidden = width if levels else config.hidden
            levels.append(nn.Conv2d(channels, width, 3, padding=1))
            levels += [ResidualBlock(2, width, hidden) for _ in range(config.decoder_blocks)]
            levels.append(nn.Upsample(scale_factor=2, mode="nearest"))
            channels = width
        levels.append(nn.Conv2d(channels, channels, 3, padding=1))
        self.upsample = nn.Sequential(*levels)
        self.head = FieldHead(channels, config.query_hidden, config.num_octaves)

    def memory(
        self, summed_BLC: Float[Tensor, "B L C"], num_scales_B: Int[Tensor, " B"]
    ) -> Float[Tensor, "B 3 C2 R2 R2"]:
        """Fine planes."""
        side = self.resolution
        rolled_BCHW = summed_BLC.transpose(1, 2).unflatten(2, (3 * side, side))
        fine_BCHW = self.upsample(rolled_BCHW)
        return fine_BCHW.unflatten(2, (3, -1)).transpose(1, 2)

    def forward(
        self, memory: Float[Tensor, "B 3 C2 R2 R2"], queries_BQ3: Float[Tensor, "B Q 3"]
    ) -> Float[Tensor, "B Q"]:
        """Sum of the three planes where the query projects to, then an MLP."""
        sampled = memory.new_zeros(*queries_BQ3.shape[:2], memory.shape[2])
        for plane, axes in enumerate(PLANES):
            # grid_sample wants the position along the last axis of the plane first.
            places_B1Q2 = queries_BQ3[:, None, :, [axes[1], axes[0]]].to(memory.dtype)
            found_BC1Q = F.grid_sample(
                memory[:, plane], places_B1Q2, padding_mode="border", align_corners=False
            )
            sampled = sampled + found_BC1Q[:, :, 0].transpose(1, 2)
        return self.head(sampled, queries_BQ3)


class TriplaneTokenizer(SingleScaleTokenizer):
    """Cells of three planes as tokens."""

    def __init__(self, config: TriplaneConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = PointEncoder(
            LatentSetConfig(
                num_latents=config.num_latents,
                dim=config.dim,
                num_heads=config.num_heads,
                encoder_layers=config.encoder_layers,
                mlp_ratio=config.mlp_ratio,
                num_octaves=config.num_octaves,
                query_init="random",
            )
        )
        self.quantizer = LfqQuantizer(config.quantizer, config.dim)
        self.identity = SingleScale(
            config.num_latents, config.dim, center=config.center, center_rate=config.center_rate
        )
        self.decoder = TriplaneDecoder(config)
        self.encoder.place_queries(plane_centres(config.resolution))


def plane_centres(resolution: int) -> Float[Tensor, "L 3"]:
    """Middle of every cell of the three planes, in the unit frame; 0 along the third axis."""
    middles = (torch.arange(resolution) + 0.5) * (2.0 / resolution) - 1.0
    planes = []
    for first, second in PLANES:
        points = torch.zeros(resolution, resolution, 3)
        points[..., first] = middles[:, None]
        points[..., second] = middles[None, :]
        planes.append(points.flatten(0, 1))
    return torch.cat(planes)
