"""Where an object sits in a square picture: the one law for training views and for users' pictures.

A picture says nothing about an object's size, since every shape is moved to the unit frame. So
the object's silhouette is centred and its longer side fills a fixed share of the picture, whatever
camera, margin or format it came with. Pictures are (H, W, 4) uint8, straight alpha.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image

OBJECT_FILL = 0.85
"""Share of the picture's side that the longer side of the silhouette covers."""
MIN_ALPHA = 24
"""Fainter pixels do not count as silhouette (soft shadows, compression noise)."""


def silhouette_box(
    picture: UInt8[np.ndarray, "H W 4"], min_alpha: int = MIN_ALPHA
) -> tuple[int, int, int, int] | None:
    """Left, top, right, bottom of what is visible (right and bottom exclusive), None if nothing."""
    visible = picture[..., 3] >= min_alpha
    columns, rows = np.flatnonzero(visible.any(axis=0)), np.flatnonzero(visible.any(axis=1))
    if not len(columns):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def frame_object(
    picture: UInt8[np.ndarray, "H W 4"], size: int, *, fill: float = OBJECT_FILL
) -> UInt8[np.ndarray, "S S 4"]:
    """Crop a picture to its silhouette and centre that in a transparent square.

    Args:
        picture: with an alpha channel that shows the object only.
        size: side of the result in pixels.
        fill: share of the side that the silhouette's longer side covers.

    Raises:
        ValueError: if nothing in the picture is visible.
    """
    box = silhouette_box(picture)
    if box is None:
        raise ValueError("the picture is fully transparent: there is no object to frame")
    return _centred(picture, box, size, fill)


def frame_together(
    pictures: Sequence[UInt8[np.ndarray, "_ _ 4"]], size: int, *, fill: float = 0.95
) -> list[UInt8[np.ndarray, "S S 4"]]:
    """Crop pictures of one object alike, so that its place and size can be compared.

    Args:
        pictures: of one size, from cameras at one distance. Some may show nothing.
        size: side of the results in pixels.
        fill: share of the side that all silhouettes together cover.
    """
    found = [box for picture in pictures if (box := silhouette_box(picture)) is not None]
    if not found:
        return [np.zeros((size, size, 4), dtype=np.uint8) for _ in pictures]
    boxes = np.array(found)
    left, top = (int(edge) for edge in boxes[:, :2].min(axis=0))
    right, bottom = (int(edge) for edge in boxes[:, 2:].max(axis=0))
    return [_centred(picture, (left, top, right, bottom), size, fill) for picture in pictures]


def _centred(
    picture: UInt8[np.ndarray, "H W 4"], box: tuple[int, int, int, int], size: int, fill: float
) -> UInt8[np.ndarray, "S S 4"]:
    """A part of a picture in the middle of a transparent square, its longer side scaled."""
    left, top, right, bottom = box
    factor = fill * size / max(right - left, bottom - top)
    width = max(1, round((right - left) * factor))
    height = max(1, round((bottom - top) * factor))
    # Pillow filters RGBA premultiplied, so hidden colours do not bleed into the edge.
    cut = Image.fromarray(picture).crop(box)
    cut = cut.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=3.0)
    canvas = Image.new("RGBA", (size, size), (255, 255, 255, 0))
    canvas.paste(cut, ((size - width) // 2, (size - height) // 2))
    return np.asarray(canvas).copy()
