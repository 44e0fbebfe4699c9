"""Pictures through a frozen EfficientNet-Lite0 and a small encoder of our own, on one grid.

The frozen network recognises kinds of objects. Our convolutions see the outline (alpha), edges
and fine shape. Their features are added at each place, and transformer blocks mix the places.

Legend: B batch, S picture side, G places along a side (S / 16), P channels of the frozen network,
I prefix tokens, E encoder width.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from g3pt.models.conditioning.contract import ConditionOutput
from g3pt.models.conditioning.efficientnet import COARSE_WIDTH, FINE_WIDTH, STRIDE
from g3pt.models.conditioning.efficientnet_weights import (
    BUNDLED_SHA256,
    check_bundled,
    load_efficientnet,
)
from g3pt.models.conditioning.image import NullKind, check_side, conv_stem
from g3pt.models.conditioning.pixels import num_channels, read_pixels
from g3pt.nn.blocks import SelfAttentionBlock

PLACE_SIDE = 16
"""Side of a place of the grid, in pixels of the picture."""
OWN_PATCH = PLACE_SIDE // 2
"""Side of a place in pixels of the halved picture that our own convolutions read."""
NUM_FEATURES = FINE_WIDTH + COARSE_WIDTH
"""Channels of the frozen network's features."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainedImageConditionConfig:
    """Pictures of the shape, read by a frozen EfficientNet-Lite0 and by a trained encoder."""

    kind: Literal["efficientnet"] = "efficientnet"
    slot: ClassVar[Literal["image"]] = "image"
    max_views: ClassVar[int] = 1
    null: ClassVar[NullKind] = "repeated"

    image_size: int = 224
    """Side of the square picture in pixels; the frozen network was trained with 224."""

    depth: int = 4
    width: int = 256
    num_heads: int = 4
    mlp_ratio: float = 4.0

    features: Literal["both", "own", "pretrained"] = "both"
    """What the grid is made of: our own convolutions, the frozen network, or both."""

    pool: Literal[1, 2] = 1
    """The prefix holds the mean of each `pool` x `pool` places; the grid stays as it is."""

    sha256: str = BUNDLED_SHA256
    """SHA-256 of the file of the frozen network. The file comes with g3pt, not with the weights of
    a model."""

    def __post_init__(self) -> None:
        if self.image_size < STRIDE or self.image_size % STRIDE:
            raise ValueError(
                f"efficientnet.image_size must be a multiple of {STRIDE}, got {self.image_size}"
            )
        if self.num_heads < 1 or self.width % self.num_heads:
            raise ValueError(
                f"efficientnet.width {self.width} is not divisible by num_heads {self.num_heads}"
            )

    @property
    def num_places(self) -> int:
        """Places of the grid: 196 for 224 pixels."""
        return (self.image_size // PLACE_SIDE) ** 2

    @property
    def num_tokens(self) -> int:
        """Prefix tokens of a picture: 196 for 224 pixels, 49 when pooled by 2."""
        return self.num_places // self.pool**2


class PretrainedImageEncoder(nn.Module):
    """Pictures to a grid of places, pooled to prefix tokens; the vector is the grid's mean.

    The frozen network is not part of this module: it is neither trained nor stored with it.
    """

    def __init__(self, config: PretrainedImageConditionConfig) -> None:
        """Build the trained part.

        Raises:
            FileNotFoundError, ValueError: if this installation lacks the frozen network or has
                another one.
        """
        super().__init__()
        self.config = config
        self.stem = self.from_fine = self.from_coarse = None
        if config.features != "pretrained":
            self.stem = conv_stem(num_channels(alpha=True), config.width, OWN_PATCH)
        if self.reads_features:
            check_bundled(config.sha256)
            self.from_fine = project_places(FINE_WIDTH, config.width)
            self.from_coarse = project_places(COARSE_WIDTH, config.width)
        self.positions = nn.Parameter(torch.randn(config.num_places, config.width) * 0.02)
        self.blocks = nn.ModuleList(
            SelfAttentionBlock(
                config.width, config.num_heads, mlp_ratio=config.mlp_ratio, normalize_qk=True
            )
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width)

    @property
    def reads_features(self) -> bool:
        """Whether features of the frozen network are part of the grid."""
        return self.config.features != "own"

    def pretrained_features(
        self, pictures_BSS4: UInt8[Tensor, "B S S 4"]
    ) -> Float[Tensor, "B G G P"]:
        """See `frozen_features`."""
        return frozen_features(pictures_BSS4, self.config.image_size, self.config.sha256)

    def forward(
        self,
        pictures_BSS4: UInt8[Tensor, "B S S 4"],
        features_BGGP: Float[Tensor, "B G G P"] | None = None,
    ) -> ConditionOutput:
        """Encode straight-alpha RGBA pictures.

        Args:
            pictures_BSS4: the pictures.
            features_BGGP: the output of `pretrained_features` for them; None computes it.

        Raises:
            ValueError: if pictures or features do not have the configured sizes, or features are
                given to an encoder that reads none.
        """
        check_side(self.config.kind, pictures_BSS4, self.config.image_size)
        grid_BGE = self.positions.expand(len(pictures_BSS4), -1, -1)
        if self.stem is not None:
            grid_BGE = grid_BGE + self._look(self.stem, pictures_BSS4)
        if self.from_fine is not None and self.from_coarse is not None:
            if features_BGGP is None:
                features_BGGP = self.pretrained_features(pictures_BSS4)
            fine, coarse = self._split(features_BGGP)
            grid_BGE = grid_BGE + self.from_fine(fine) + self.from_coarse(coarse)
        elif features_BGGP is not None:
            raise ValueError("efficientnet.features is own: this encoder reads no features")
        for block in self.blocks:
            grid_BGE = block(grid_BGE)
        grid_BGE = self.norm(grid_BGE)
        return ConditionOutput(self._pool(grid_BGE), grid_BGE.mean(dim=1))

    def _look(
        self, stem: nn.Module, pictures_BSS4: UInt8[Tensor, "B S S 4"]
    ) -> Float[Tensor, "B GG E"]:
        """Our own convolutions over pictures of half the side."""
        pixels_B4SS = read_pixels(pictures_BSS4, alpha=True).to(self.positions.dtype)
        halved = F.avg_pool2d(pixels_B4SS.contiguous(memory_format=torch.channels_last), 2)
        return stem(halved * 2 - 1).flatten(2).transpose(1, 2)

    def _split(self, features_BGGP: Tensor) -> tuple[Tensor, Tensor]:
        """Fine and coarse features of every place, in the dtype of the weights."""
        side = self.config.image_size // PLACE_SIDE
        if features_BGGP.shape[1:] != (side, side, NUM_FEATURES):
            raise ValueError(
                f"the efficientnet condition reads features of sizes {(side, side, NUM_FEATURES)} "
                f"a picture, got {tuple(features_BGGP.shape[1:])}"
            )
        places_BGP = features_BGGP.flatten(1, 2).to(self.positions.dtype)
        fine, coarse = places_BGP.split([FINE_WIDTH, COARSE_WIDTH], dim=-1)
        return fine, coarse

    def _pool(self, grid_BGE: Float[Tensor, "B GG E"]) -> Float[Tensor, "B I E"]:
        pool = self.config.pool
        if pool == 1:
            return grid_BGE
        side = self.config.image_size // PLACE_SIDE
        grid_BEGG = grid_BGE.transpose(1, 2).unflatten(2, (side, side))
        return F.avg_pool2d(grid_BEGG, pool).flatten(2).transpose(1, 2)


@torch.no_grad()
def frozen_features(
    pictures_BSS4: UInt8[Tensor, "B S S 4"], image_size: int, sha256: str
) -> Float[Tensor, "B G G P"]:
    """Features of pictures from the frozen network, which may be cached.

    The coarse features are spread over the fine grid. The dtype is half precision on CUDA, where
    training reads them, and float32 elsewhere.

    Args:
        pictures_BSS4: straight-alpha RGBA.
        image_size: side S that they must have.
        sha256: checksum of the network's file.

    Raises:
        ValueError: if the pictures do not have that side.
    """
    check_side("efficientnet", pictures_BSS4, image_size)
    device = pictures_BSS4.device
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    network = load_efficientnet(sha256, device, dtype)
    pixels_B3SS = read_pixels(pictures_BSS4, alpha=False).to(dtype)
    with torch.autocast(device.type, enabled=False):
        seen = network(pixels_B3SS.contiguous(memory_format=torch.channels_last))
        coarse = F.interpolate(seen.coarse_BCHH, scale_factor=2, mode="bilinear")
    features_BPGG = torch.cat([seen.fine_BFGG, coarse], dim=1)
    return features_BPGG.permute(0, 2, 3, 1).contiguous()


def project_places(channels: int, width: int) -> nn.Module:
    """Norm and linear map to the encoder's width; the map makes a learned norm redundant."""
    return nn.Sequential(
        nn.LayerNorm(channels, elementwise_affine=False), nn.Linear(channels, width)
    )
