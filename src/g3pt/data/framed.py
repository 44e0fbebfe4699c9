"""Stored views as picture encoders see them: the object framed on a white square.

B batch, S picture side.
"""

import numpy as np
import torch
from jaxtyping import Float, UInt8

from g3pt.data.packs import PackedShapes
from g3pt.data.shards import ShardSet
from g3pt.geometry.framing import frame_object, silhouette_box


def framed_view(
    shards: ShardSet | PackedShapes, row: int, view: int, size: int
) -> UInt8[np.ndarray, "S S 4"]:
    """A view of a shape; zeros if there is none (-1) or it shows nothing (a sheet's edge)."""
    picture = shards.picture(row, view) if view >= 0 else None
    if picture is None or silhouette_box(picture) is None:
        return np.zeros((size, size, 4), np.uint8)
    return frame_object(picture, size)


def over_white(rgba: UInt8[np.ndarray, "B S S 4"]) -> Float[torch.Tensor, "B 3 S S"]:
    """Straight-alpha RGBA bytes over white, as floats in [0, 1]."""
    floats = torch.from_numpy(rgba).permute(0, 3, 1, 2).float().mul_(1.0 / 255.0)
    color, alpha = floats[:, :3], floats[:, 3:]
    return torch.addcmul(1.0 - alpha, color, alpha).contiguous()
