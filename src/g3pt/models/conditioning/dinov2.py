"""Pictures through a frozen DINOv2, as in the paper (Sec. 4.1).

Legend: B batch, I image tokens, E encoder width, S picture side.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from g3pt.models.conditioning.contract import ConditionOutput
from g3pt.models.conditioning.frozen import check_source, load_frozen
from g3pt.models.conditioning.image import check_max_views, check_side
from g3pt.models.conditioning.pixels import read_pixels

DINOV2_LARGE = "hub:facebook/dinov2-large@47b73eefe95e8d44ec3623f8890bd894b6ea2d6c"
"""ViT-L/14: 24 layers, 1024 wide, Apache-2.0."""

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True, slots=True)
class DinoConditionConfig:
    """Pictures of the shape, encoded by a DINOv2 that stays frozen."""

    kind: Literal["dinov2"] = "dinov2"
    slot: ClassVar[Literal["image"]] = "image"

    source: str = DINOV2_LARGE
    """A folder that holds the model, or `hub:OWNER/NAME@COMMIT`."""

    image_size: int = 224
    """Side of the square picture in pixels; DINOv2 was trained with 224 and 518."""

    patch_size: int = 14
    """Side of a token in pixels; it must be the model's."""

    width: int = 1024
    """Width of the model's output."""

    max_views: int = 1
    """Views of one shape that can be given together; their tokens follow one another in the
    prefix."""

    def __post_init__(self) -> None:
        check_source(self.kind, self.source)
        check_max_views(self.kind, self.max_views)
        if self.image_size < self.patch_size or self.image_size % self.patch_size:
            raise ValueError(
                f"dinov2.image_size {self.image_size} is not a multiple of patch_size "
                f"{self.patch_size}"
            )

    @property
    def num_tokens(self) -> int:
        """Tokens of one picture, class token first: 257 for 224 pixels, 1370 for 518."""
        return (self.image_size // self.patch_size) ** 2 + 1


class DinoEncoder(nn.Module):
    """Pictures to the tokens of the last layer; the vector is the class token."""

    def __init__(self, config: DinoConditionConfig) -> None:
        super().__init__()
        self.config = config

    @torch.no_grad()
    def forward(self, pictures_BSS4: UInt8[Tensor, "B S S 4"]) -> ConditionOutput:
        """Encode straight-alpha RGBA pictures, composited over white.

        Raises:
            ImportError: if transformers is not installed.
            ValueError: if the pictures or the model do not have the configured sizes.
        """
        config = self.config
        check_side("dinov2", pictures_BSS4, config.image_size)
        images_B3SS = read_pixels(pictures_BSS4, alpha=False)
        model = load_frozen("dinov2", config.source).to(images_B3SS.device)
        mean_311 = images_B3SS.new_tensor(_IMAGENET_MEAN)[:, None, None]
        std_311 = images_B3SS.new_tensor(_IMAGENET_STD)[:, None, None]
        tokens_BIE = model(pixel_values=(images_B3SS - mean_311) / std_311).last_hidden_state
        expected = (config.num_tokens, config.width)
        if tokens_BIE.shape[1:] != expected:
            raise ValueError(
                f"{config.source}: expected {expected[0]} tokens of {expected[1]} channels, got "
                f"{tuple(tokens_BIE.shape[1:])}: set dinov2.patch_size and dinov2.width to those "
                "of the model"
            )
        return ConditionOutput(tokens_BIE, tokens_BIE[:, 0])
