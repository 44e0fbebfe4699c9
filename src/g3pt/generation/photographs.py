"""Which pixels of a photograph show its object, by a network that others trained (U2-Net-P).

The network sees small pictures, so it looks twice: at the whole picture, then at what it found. Its
edges are as coarse as its pictures; a guided filter moves them to the edges of the photograph.

Legend: H height, W width; h, w the same of a reduced picture; K kept regions.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from PIL import Image
from scipy import ndimage

from g3pt.geometry.cameras import Box

MARGIN = 0.25
"""Around what was found, as a share of its longer side, at the second look."""
WORTH_A_LOOK = 0.8
"""The second look is left out if it would show more than this share of the picture."""
FILTER_SIDE = 384
"""Longest side in pixels of the picture in which the guided filter finds its edges."""
FILTER_RADIUS = 6
FILTER_SMOOTHNESS = 1e-4
"""Variance of colours from 0 to 1 above which an edge counts as one (epsilon of He et al. 2013)."""


def object_share(colors: UInt8[np.ndarray, "H W 3"]) -> Float32[np.ndarray, "H W"]:
    """Probability of every pixel to belong to the object; near 0 everywhere if there is none."""
    share = _look(colors)
    box = _second_look(share)
    if box is not None:
        left, top, right, bottom = box
        closer = np.zeros_like(share)
        closer[top:bottom, left:right] = _look(colors[top:bottom, left:right])
        share = (share + closer) / 2
    return _to_edges(share, colors)


def _look(colors: UInt8[np.ndarray, "H W 3"]) -> Float32[np.ndarray, "H W"]:
    """Run the network once, on the picture squeezed to the side that it was trained on."""
    # Most pictures need no network: they pay neither for its weights nor for its code.
    from g3pt.models.cutout import INPUT_SIDE, load_u2netp

    network = load_u2netp(torch.device("cpu"))
    small = Image.fromarray(colors).resize(
        (INPUT_SIDE, INPUT_SIDE), Image.Resampling.BILINEAR, reducing_gap=3.0
    )
    pixels = torch.from_numpy(np.asarray(small, dtype=np.float32).copy())
    pixels_13SS = (pixels / pixels.max().clamp_min(1.0)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        share = network(pixels_13SS)[0].numpy()
    return _resized(share, colors.shape[:2])


def _second_look(share: Float32[np.ndarray, "H W"]) -> Box | None:
    """Where to look again: at what was found, with a margin; None if that is most or nothing."""
    found = share > 0.5
    columns, rows = np.flatnonzero(found.any(axis=0)), np.flatnonzero(found.any(axis=1))
    if not len(columns):
        return None
    left, right, top, bottom = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
    half = (0.5 + MARGIN) * max(right - left, bottom - top)
    height, width = share.shape
    x, y = (left + right) / 2, (top + bottom) / 2
    box = (
        max(0, int(x - half)),
        max(0, int(y - half)),
        min(width, int(x + half) + 1),
        min(height, int(y + half) + 1),
    )
    area = (box[2] - box[0]) * (box[3] - box[1])
    return None if area > WORTH_A_LOOK * share.size else box


def _to_edges(
    share: Float32[np.ndarray, "H W"], colors: UInt8[np.ndarray, "H W 3"]
) -> Float32[np.ndarray, "H W"]:
    """Guided filter (He et al. 2013): locally, the share is made a linear function of the colour.

    Its coefficients are found in a reduced picture (He & Sun 2015).
    """
    reduce = min(1.0, FILTER_SIDE / max(share.shape))
    height, width = (max(1, round(side * reduce)) for side in share.shape)
    small = Image.fromarray(colors).resize((width, height), Image.Resampling.BOX)
    guide_hw3 = np.asarray(small, dtype=np.float32) / 255
    share_hw = _resized(share, (height, width))
    mean_hw3, mean_hw = _local_mean(guide_hw3), _local_mean(share_hw)
    outer = _local_mean(guide_hw3[..., :, None] * guide_hw3[..., None, :])
    outer -= mean_hw3[..., :, None] * mean_hw3[..., None, :]
    outer += FILTER_SMOOTHNESS * np.eye(3, dtype=np.float32)
    along = _local_mean(guide_hw3 * share_hw[..., None]) - mean_hw3 * mean_hw[..., None]
    slope_hw3 = np.linalg.solve(outer, along[..., None])[..., 0]
    offset_hw = mean_hw - (slope_hw3 * mean_hw3).sum(axis=-1)
    slope, offset = _local_mean(slope_hw3), _local_mean(offset_hw)
    filtered = _resized(offset, share.shape)
    for channel in range(3):
        filtered += _resized(slope[..., channel], share.shape) * (colors[..., channel] / 255.0)
    return filtered.clip(0, 1).astype(np.float32)


def _local_mean(numbers: Float[np.ndarray, "h w *_"]) -> Float[np.ndarray, "h w *_"]:
    filtered: Any = ndimage.uniform_filter(numbers, 2 * FILTER_RADIUS + 1, axes=(0, 1))
    return filtered


def _resized(share: Float[np.ndarray, "_ _"], shape: tuple[int, ...]) -> Float32[np.ndarray, "_ _"]:
    height, width = shape
    image = Image.fromarray(np.ascontiguousarray(share, dtype=np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR)).copy()
