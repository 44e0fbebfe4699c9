"""The baseline to beat: copy the training shape whose picture is nearest in pixels.

Legend: B objects, M training shapes, Q queries, S picture side, P numbers of a small picture.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float64, Int, UInt8
from torch import Tensor

from g3pt.shapes.yardstick import Yardstick

NEAREST_PICTURE = "nearest_picture"
"""Name of the answer in tables."""


@dataclass(frozen=True, eq=False)
class PictureBank:
    """What is copied from."""

    pictures_MSS4: UInt8[np.ndarray, "M S S 4"]
    """Framed views with straight alpha, small: 32 pixels are enough. The canonical view is what
    yardsticks ask with."""
    inside_MQ: Bool[np.ndarray, "M Q"]
    """Labels at the first queries of every yardstick (`query_positions`)."""


def nearest_picture_iou(yardstick: Yardstick, bank: PictureBank) -> Float64[np.ndarray, " B"]:
    """IoU of every object with the shape of the bank whose picture is nearest.

    Distances are of colours over white and of alpha alike, at the size of the bank's pictures.

    Args:
        yardstick: the objects.
        bank: at least one shape.

    Raises:
        ValueError: if the bank has other queries.
    """
    found, wanted = bank.inside_MQ.shape[1], yardstick.inside_BQ.shape[1]
    if found != wanted:
        raise ValueError(f"the bank is labelled at {found} queries, the yardstick at {wanted}")
    chosen_B = nearest_pictures(yardstick.pictures_BSS4, bank.pictures_MSS4)
    copied_BQ = bank.inside_MQ[chosen_B]
    union_B = (copied_BQ | yardstick.inside_BQ).sum(axis=1)
    both_B = (copied_BQ & yardstick.inside_BQ).sum(axis=1)
    return np.where(union_B == 0, 1.0, both_B / np.maximum(union_B, 1))


def nearest_pictures(
    asked_BSS4: UInt8[np.ndarray, "B S1 S1 4"], bank_MSS4: UInt8[np.ndarray, "M S2 S2 4"]
) -> Int[np.ndarray, " B"]:
    """Number of the nearest picture of the bank; pictures that ask are averaged to its size."""
    side = bank_MSS4.shape[1]
    bank_MP, asked_BP = (_pixels(each, side) for each in (bank_MSS4, asked_BSS4))
    return torch.cdist(asked_BP, bank_MP).argmin(dim=1).numpy()


def _pixels(pictures_BSS4: UInt8[np.ndarray, "B S S 4"], side: int) -> Float[Tensor, "B P"]:
    floats_B4SS = torch.from_numpy(pictures_BSS4).permute(0, 3, 1, 2).float() / 255.0
    alpha_B1SS = floats_B4SS[:, 3:]
    over_white_B3SS = floats_B4SS[:, :3] * alpha_B1SS + (1.0 - alpha_B1SS)
    seen_B4SS = torch.cat([over_white_B3SS, alpha_B1SS], dim=1)
    return F.interpolate(seen_B4SS, size=(side, side), mode="area").flatten(1)
