"""Stored views as picture encoders see them: the object framed on a transparent square.

S picture side.
"""

import numpy as np
from jaxtyping import UInt8

from g3pt.geometry.cameras import frame_object, silhouette_box
from g3pt.shapes.shape_set import ShapeSet


def framed_view(shards: ShapeSet, row: int, view: int, size: int) -> UInt8[np.ndarray, "S S 4"]:
    """A view of a shape; zeros if there is none (-1) or it shows nothing (a sheet's edge)."""
    picture = shards.picture(row, view) if view >= 0 else None
    if picture is None or silhouette_box(picture) is None:
        return np.zeros((size, size, 4), np.uint8)
    return frame_object(picture, size)
