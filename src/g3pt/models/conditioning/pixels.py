"""Convert stored pictures to what an encoder reads; nothing else knows both layouts.

Pictures are stored as straight-alpha RGBA bytes, channels last: a quarter of the memory of floats,
and alpha keeps the outline of the object. Encoders read floats in [0, 1], channels first.

Legend: B pictures, S side, Z a smaller one.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

Channels = Literal[3, 4]


def num_channels(*, alpha: bool) -> Channels:
    """Number of channels that `read_pixels` gives."""
    return 4 if alpha else 3


def read_pixels(
    pictures_BSS4: UInt8[Tensor, "B S S 4"], *, alpha: bool
) -> Float[Tensor, "B _ S S"]:
    """Colours over white in [0, 1], float32; with `alpha`, the alpha channel is the fourth.

    Over white alone, a white object has no outline.
    """
    floats_B4SS = pictures_BSS4.permute(0, 3, 1, 2).float() / 255.0
    colors_B3SS, alpha_B1SS = floats_B4SS[:, :3], floats_B4SS[:, 3:]
    white_B3SS = colors_B3SS * alpha_B1SS + (1.0 - alpha_B1SS)
    return torch.cat([white_B3SS, alpha_B1SS], dim=1) if alpha else white_B3SS


def shrink_pictures(pictures_BSS4: UInt8[Tensor, "B S S 4"], size: int) -> UInt8[Tensor, "B Z Z 4"]:
    """Shrink straight-alpha pictures to a side by averaging; hidden colours do not bleed in."""
    if pictures_BSS4.shape[1] == size:
        return pictures_BSS4
    floats_B4SS = pictures_BSS4.permute(0, 3, 1, 2).float()
    alpha_B1SS = floats_B4SS[:, 3:]
    covered_B4SS = torch.cat([floats_B4SS[:, :3] * alpha_B1SS / 255.0, alpha_B1SS], dim=1)
    small_B4SS = F.interpolate(covered_B4SS, size=(size, size), mode="area")
    alpha_B1SS = small_B4SS[:, 3:]
    colors_B3SS = small_B4SS[:, :3] * 255.0 / alpha_B1SS.clamp(min=1e-3)
    straight_B4SS = torch.cat([colors_B3SS.clamp(0, 255), alpha_B1SS], dim=1)
    return straight_B4SS.round().to(torch.uint8).permute(0, 2, 3, 1)
