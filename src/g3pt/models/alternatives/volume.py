"""A feature volume encoded by a 3D CNN (Table 4), after SDFusion (Cheng et al. 2023).

SDFusion's VQ-VAE reads a 64^3 grid of distances. All tokenizers here read points, so the
points are first counted into voxels with their mean offset and normal. Residual
3D convolutions bring the grid down to the cells that become tokens, and a mirrored stack
brings them back up; queries sample the fine volume.

Legend: B batch, N surface points, Q query points, C channels, X Y Z cells along the axes.
Latents are laid out x-major.
"""

import itertools
import math
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from g3pt.arguments import MAX_DEPTH, MAX_WIDTH, check_ranges
from g3pt.models.alternatives.single_scale import SingleScale, SingleScaleTokenizer
from g3pt.models.cvq import MAX_OCTAVES
from g3pt.models.quantizers import LfqConfig, LfqQuantizer
from g3pt.models.tokenizer import FieldDecoder
from g3pt.nn.blocks import SelfAttentionBlock
from g3pt.nn.convolutions import FieldHead, ResidualBlock

POINT_CHANNELS = 7
"""Channels of a voxel: log(1 + points), mean offset from its centre (3), mean normal (3)."""


MAX_SIDE = 2**8
"""Most cells along an axis."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VolumeConfig:
    """Volume with 3D CNN and LFQ."""

    kind: Literal["volume"] = "volume"

    grid: tuple[int, int, int] = (5, 5, 5)
    """Cells of the quantised volume along x, y, z; each is a token."""

    dim: int = 192
    """Channels C of the coarse volume and of the codes."""

    num_heads: int = 3
    """Heads of the attention between the two stacks of convolutions."""

    channels: tuple[int, ...] = (32, 64)
    """Channels from fine to coarse, one entry for every halving of the resolution."""

    blocks: int = 1
    """Residual blocks at every resolution."""

    hidden: int = 192
    """Inner width of the residual blocks of the coarse volume. The other blocks use their own
    width."""

    query_hidden: int = 128
    """Width of the MLP that maps the sampled features of each query point to an occupancy."""

    num_octaves: int = 8
    quantizer: LfqConfig = field(default_factory=LfqConfig)

    center: bool = True
    """Subtract a running mean per cell before the sign, as CVQ does."""

    center_rate: float = 0.02

    def __post_init__(self) -> None:
        check_ranges(
            self,
            "",
            grid=(1, MAX_SIDE),
            dim=(1, MAX_WIDTH),
            channels=(1, MAX_WIDTH),
            blocks=(0, MAX_DEPTH),
            hidden=(1, MAX_WIDTH),
            query_hidden=(1, MAX_WIDTH),
            num_octaves=(0, MAX_OCTAVES),
            center_rate=(0, 1),
        )

    @property
    def num_latents(self) -> int:
        """Cells of the quantised volume."""
        return math.prod(self.grid)

    @property
    def voxels(self) -> tuple[int, int, int]:
        """Voxels along x, y, z that points are counted into."""
        factor = 2 ** len(self.channels)
        x, y, z = self.grid
        return x * factor, y * factor, z * factor


class VolumeEncoder(nn.Module):
    """Points into voxels, then convolutions down to the cells."""

    def __init__(self, config: VolumeConfig) -> None:
        super().__init__()
        self.voxels = config.voxels
        first = config.channels[0]
        layers: list[nn.Module] = [nn.Conv3d(POINT_CHANNELS, first, 3, padding=1)]
        widths = (*config.channels, config.dim)
        for width, coarser in itertools.pairwise(widths):
            layers += [ResidualBlock(3, width, width) for _ in range(config.blocks)]
            layers.append(nn.Conv3d(width, coarser, 3, stride=2, padding=1))
        layers += [ResidualBlock(3, config.dim, config.hidden) for _ in range(config.blocks)]
        self.layers = nn.Sequential(*layers)
        self.attention = SelfAttentionBlock(config.dim, config.num_heads, mlp_ratio=1.0)
        self.norm = nn.LayerNorm(config.dim)

    def forward(
        self, points_BN3: Float[Tensor, "B N 3"], normals_BN3: Float[Tensor, "B N 3"]
    ) -> Float[Tensor, "B L C"]:
        """Encode points and normals (unit frame, any order) as one latent per cell."""
        coarse_BCXYZ = self.layers(voxelize(points_BN3, normals_BN3, self.voxels))
        cells_BLC = self.attention(coarse_BCXYZ.flatten(2).transpose(1, 2))
        return self.norm(cells_BLC).float()


class VolumeDecoder(FieldDecoder):
    """Convolutions back up, then trilinear samples."""

    def __init__(self, config: VolumeConfig) -> None:
        super().__init__()
        self.grid = config.grid
        self.attention = SelfAttentionBlock(config.dim, config.num_heads, mlp_ratio=1.0)
        layers: list[nn.Module] = [
            ResidualBlock(3, config.dim, config.hidden) for _ in range(config.blocks)
        ]
        widths = (config.dim, *config.channels[::-1])
        for width, finer in itertools.pairwise(widths):
            # The channels are reduced before the grid is refined: the result is the same and
            # costs less.
            layers.append(nn.Conv3d(width, finer, 1))
            layers.append(nn.Upsample(scale_factor=2, mode="nearest"))
            layers.append(nn.Conv3d(finer, finer, 3, padding=1))
            layers += [ResidualBlock(3, finer, finer) for _ in range(config.blocks)]
        self.layers = nn.Sequential(*layers)
        self.head = FieldHead(widths[-1], config.query_hidden, config.num_octaves)

    def memory(
        self, summed_BLC: Float[Tensor, "B L C"], num_scales_B: Int[Tensor, " B"]
    ) -> Float[Tensor, "B C2 X Y Z"]:
        """The fine volume."""
        cells_BLC = self.attention(summed_BLC)
        return self.layers(cells_BLC.transpose(1, 2).unflatten(2, self.grid))

    def forward(
        self, memory: Float[Tensor, "B C2 X Y Z"], queries_BQ3: Float[Tensor, "B Q 3"]
    ) -> Float[Tensor, "B Q"]:
        """Trilinear sample of the volume at the query, then an MLP."""
        # grid_sample wants the position along the last axis of the volume first.
        places_B11Q3 = queries_BQ3.flip(-1)[:, None, None].to(memory.dtype)
        found_BC11Q = F.grid_sample(
            memory, places_B11Q3, padding_mode="border", align_corners=False
        )
        return self.head(found_BC11Q[:, :, 0, 0].transpose(1, 2), queries_BQ3)


class VolumeTokenizer(SingleScaleTokenizer):
    """Cells of a volume as tokens."""

    def __init__(self, config: VolumeConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = VolumeEncoder(config)
        self.quantizer = LfqQuantizer(config.quantizer, config.dim)
        self.identity = SingleScale(
            config.num_latents, config.dim, center=config.center, center_rate=config.center_rate
        )
        self.decoder = VolumeDecoder(config)


def voxelize(
    points_BN3: Float[Tensor, "B N 3"],
    normals_BN3: Float[Tensor, "B N 3"],
    voxels: tuple[int, int, int],
) -> Float[Tensor, "B 7 X Y Z"]:
    """Count points into the voxels of the query cube, with mean offset and mean normal.

    Offsets are in voxels, measured from the centre of each. Empty voxels are zero.
    """
    batch = len(points_BN3)
    sizes = torch.tensor(voxels, device=points_BN3.device)
    places_BN3 = (points_BN3.float() + 1.0) * 0.5 * sizes
    cells_BN3 = places_BN3.floor().long().minimum(sizes - 1).clamp(min=0)
    number_BN = (cells_BN3[..., 0] * voxels[1] + cells_BN3[..., 1]) * voxels[2] + cells_BN3[..., 2]
    ones_BN1 = torch.ones_like(places_BN3[..., :1])
    offsets_BN3 = places_BN3 - cells_BN3 - 0.5
    values_BN7 = torch.cat([ones_BN1, offsets_BN3, normals_BN3.float()], dim=-1)
    sums_BV7 = values_BN7.new_zeros(batch, math.prod(voxels), POINT_CHANNELS)
    sums_BV7.scatter_add_(1, number_BN[..., None].expand_as(values_BN7), values_BN7)
    counts_BV1 = sums_BV7[..., :1]
    features_BV7 = torch.cat(
        [counts_BV1.log1p(), sums_BV7[..., 1:] / counts_BV1.clamp(min=1.0)], dim=-1
    )
    return features_BV7.transpose(1, 2).unflatten(2, voxels)
