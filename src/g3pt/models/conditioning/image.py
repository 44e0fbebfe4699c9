"""Picture encoder trained from scratch: a small ViT on top of convolutions or patches.

Legend: B batch, I image tokens, E encoder width, S picture side, X channels of a picture.
"""

import itertools
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from g3pt.arguments import (
    MAX_DEPTH,
    MAX_SIDE,
    MAX_VIEWS,
    MAX_WIDTH,
    MLP_RATIOS,
    check_ranges,
)
from g3pt.models.conditioning.contract import ConditionOutput
from g3pt.models.conditioning.pixels import num_channels, read_pixels
from g3pt.nn.blocks import SelfAttentionBlock

NullKind = Literal["masked", "repeated"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageConditionConfig:
    """Pictures of the shape, encoded by a ViT that is trained with CAR."""

    kind: Literal["image"] = "image"
    slot: ClassVar[Literal["image"]] = "image"

    image_size: int = 128
    """Side of the square picture in pixels."""

    patch_size: int = 16
    """Side of a token in pixels, a power of two; strided 3x3 convolutions halve the picture to
    it."""

    depth: int = 4
    width: int = 192
    num_heads: int = 3
    mlp_ratio: float = 4.0

    alpha: bool = False
    """Read the alpha channel as well as the colours over white, so that a white object on white has
    an outline."""

    max_views: int = 1
    """Views of one shape that can be given together; their tokens follow one another in the
    prefix."""

    null: NullKind = "masked"
    """How the one learned token stands for a missing picture. `masked`: once; in a batch with
    pictures a mask hides the remaining places. `repeated`: at all places of a picture, which needs
    no mask."""

    def __post_init__(self) -> None:
        check_ranges(self, "image", image_size=(1, MAX_SIDE), depth=(0, MAX_DEPTH))
        check_ranges(self, "image", width=(1, MAX_WIDTH), mlp_ratio=MLP_RATIOS)
        if self.patch_size < 2 or self.image_size % self.patch_size:
            raise ValueError(
                f"image.image_size {self.image_size} is not a multiple of patch_size "
                f"{self.patch_size}"
            )
        if self.patch_size & (self.patch_size - 1):
            raise ValueError(f"image.patch_size must be a power of two, got {self.patch_size}")
        check_max_views(self.kind, self.max_views)
        if self.null == "repeated" and self.max_views > 1:
            raise ValueError(
                f"image.null: repeated is for models of one view, got max_views {self.max_views}; "
                "set null to masked"
            )
        if self.num_heads < 1 or self.width % self.num_heads:
            raise ValueError(
                f"image.width {self.width} is not divisible by num_heads {self.num_heads}"
            )

    @property
    def num_tokens(self) -> int:
        """Image tokens of one picture."""
        return (self.image_size // self.patch_size) ** 2


def check_max_views(kind: str, max_views: int) -> None:
    """Check the number of views.

    Raises:
        ValueError: if there is none, or too many; the message names the field.
    """
    if not 1 <= max_views <= MAX_VIEWS:
        raise ValueError(f"{kind}.max_views must lie in 1..{MAX_VIEWS}, got {max_views}")


def check_side(kind: str, pictures_BSS4: UInt8[Tensor, "B S S 4"], side: int) -> None:
    """Check that pictures have the configured side.

    Raises:
        ValueError: if they do not; the message names both sides.
    """
    if pictures_BSS4.shape[1] != side:
        raise ValueError(
            f"the {kind} condition reads {side} x {side} pictures, got side "
            f"{pictures_BSS4.shape[1]}: resize them first"
        )


class ImageEncoder(nn.Module):
    """Pictures to tokens, one per patch; the vector is their mean."""

    def __init__(self, config: ImageConditionConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = conv_stem(num_channels(alpha=config.alpha), config.width, config.patch_size)
        self.positions = nn.Parameter(torch.randn(config.num_tokens, config.width) * 0.02)
        self.blocks = nn.ModuleList(
            SelfAttentionBlock(
                config.width, config.num_heads, mlp_ratio=config.mlp_ratio, normalize_qk=True
            )
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width)

    def forward(self, pictures_BSS4: UInt8[Tensor, "B S S 4"]) -> ConditionOutput:
        """Encode straight-alpha RGBA pictures.

        Raises:
            ValueError: if the pictures do not have the configured side.
        """
        check_side("image", pictures_BSS4, self.config.image_size)
        pixels_BXSS = read_pixels(pictures_BSS4, alpha=self.config.alpha).to(self.positions.dtype)
        centred_BXSS = pixels_BXSS.contiguous(memory_format=torch.channels_last) * 2 - 1
        tokens_BIE = self.stem(centred_BXSS).flatten(2).transpose(1, 2)
        tokens_BIE = tokens_BIE + self.positions.to(tokens_BIE.dtype)
        for block in self.blocks:
            tokens_BIE = block(tokens_BIE)
        tokens_BIE = self.norm(tokens_BIE)
        return ConditionOutput(tokens_BIE, tokens_BIE.mean(dim=1))


def conv_stem(channels: int, width: int, patch_size: int) -> nn.Module:
    """Convolutions that each halve the sides and double the channels, ending at `width`."""
    widths = stem_widths(channels, width, patch_size)
    layers: list[nn.Module] = []
    for channels_in, channels_out in itertools.pairwise(widths):
        layers.append(nn.Conv2d(channels_in, channels_out, 3, stride=2, padding=1, bias=False))
        layers += [nn.GroupNorm(1, channels_out), nn.GELU()]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], width, 1))


def stem_widths(channels: int, width: int, patch_size: int) -> list[int]:
    """Channels before the first halving of `conv_stem` and after each."""
    num_halvings = patch_size.bit_length() - 1
    return [channels, *(max(width >> step, 32) for step in reversed(range(num_halvings)))]
