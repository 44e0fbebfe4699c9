"""An object before a plain background: what differs from the smooth colour of the border.

Legend: H height, W width.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from scipy import ndimage

from g3pt.generation.regions import label, without_specks
from g3pt.geometry.cameras import Box

FLAT = 12.0
"""A picture whose colours differ by less than this from its background has a single colour."""
MAX_SPREAD = 16.0
"""Largest misfit of the border, in levels of 255, for which it counts as plain."""
MAX_TOUCHED = 0.02
"""Share of the border's pixels that an object before a plain background touches at most. A floor
touches three sides."""

FRAME_MARGIN = 0.15
"""Widest margin of a frame, as a share of the side of the picture."""
FRAME_TOLERANCE = 20.0
MAX_FRAMES = 4
"""A frame may hold a mat, and that a line; each is taken off on its own."""

EVEN_SPREAD, EVEN_RANGE = 3.0, 6.0
"""A background is even, as in a studio or a drawing, if its misfit and the range of its fitted
colour are at most this, in levels of 255."""

SHADOW_RANGE = (0.25, 0.97)
"""Brightness of a shadow as a share of that of the ground it falls on."""
SHADOW_TINT = 14.0
"""How far its colour may be from that of the darkened ground, in levels of 255."""
SHADOW_DETAIL = 0.01
"""Median difference of a shadow's brightness from itself, blurred. Shadows on smooth ground had at
most .006, the hewn grey steps of a building .015."""
SHADOW_SHARE = 0.02
"""Smaller regions, as a share of the object, are not worth looking at."""


@dataclass(frozen=True, eq=False)
class PlainBorder:
    """The background of a picture, continued inwards from its border."""

    background: Float32[np.ndarray, "H W 3"]
    spread: float
    """How far the border's pixels are from it, in levels of 255."""
    difference: Float32[np.ndarray, "H W"]
    """How far every pixel is from it."""

    @property
    def tolerance(self) -> float:
        """Pixels that differ by less count as background."""
        return max(10.0, 3.0 * self.spread)

    @property
    def is_plain(self) -> bool:
        """Whether the border is smooth enough to tell the object from it."""
        return self.spread <= MAX_SPREAD

    @property
    def is_even(self) -> bool:
        """Whether it has one colour all over, as no wall with a floor has."""
        return self.spread <= EVEN_SPREAD and float(np.ptp(self.background, (0, 1)).max()) < (
            EVEN_RANGE
        )

    @property
    def is_flat(self) -> bool:
        """Whether the picture shows this colour and nothing else."""
        return bool(self.difference.max() < FLAT)


def plain_border(colors: Float32[np.ndarray, "H W 3"]) -> PlainBorder:
    """Fit a smoothly varying colour to the border.

    The fit is robust: border pixels that the object touches are left out in three rounds.
    """
    height, width = colors.shape[:2]
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    basis = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
    border = _ring(height, width)
    rows, values = basis[border], colors[border]
    start = np.median(values, axis=0)
    misfit = np.abs(values - start).max(axis=-1)
    fitted = np.zeros((6, 3))
    for _ in range(3):
        kept = misfit <= max(4.0, 2.5 * float(np.median(misfit)))
        fitted, *_ = np.linalg.lstsq(rows[kept], values[kept], rcond=None)
        misfit = np.abs(values - rows @ fitted).max(axis=-1)
    background = np.clip(basis @ fitted, 0, 255).astype(np.float32)
    return PlainBorder(
        background=background,
        spread=float(np.quantile(misfit, 0.6)),
        difference=_largest(np.abs(colors - background)),
    )


def _largest(numbers: Float[np.ndarray, "H W 3"]) -> Float[np.ndarray, "H W"]:
    """The largest of three channels; several times as fast as `max` along so short an axis."""
    return np.maximum(np.maximum(numbers[..., 0], numbers[..., 1]), numbers[..., 2])


def _ring(height: int, width: int) -> Bool[np.ndarray, "H W"]:
    ring = max(1, round(0.015 * min(height, width)))
    border = np.ones((height, width), dtype=bool)
    border[ring:-ring, ring:-ring] = False
    return border


def touched_share(mask: Bool[np.ndarray, "H W"]) -> float:
    """Share of the border's pixels that a mask covers."""
    return float(mask[_ring(*mask.shape)].mean())


def clear_share(border: PlainBorder, mask: Bool[np.ndarray, "H W"]) -> float:
    """Share of an object's outline that clearly differs from the background."""
    inner: Any = ndimage.binary_erosion(mask, iterations=2, border_value=1)
    strongest = ndimage.maximum_filter(np.where(mask, border.difference, 0.0), size=5)
    outline = mask & ~inner
    return float((strongest[outline] > 2.5 * border.tolerance).mean()) if outline.any() else 1.0


def object_mask(border: PlainBorder) -> Bool[np.ndarray, "H W"]:
    """Pixels that the background, followed from the border, does not reach, without specks.

    A region enclosed by the object also counts as background when its colour matches closely and it
    is larger than a highlight: the hole of a handle, the gap between the legs of a chair.
    """
    difference, tolerance = border.difference, border.tolerance
    regions, num = label(difference <= tolerance)
    outside = np.zeros(num + 1, dtype=bool)
    edges = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    outside[np.unique(edges)] = True
    area = np.bincount(regions.ravel(), minlength=num + 1)
    mean = np.bincount(regions.ravel(), difference.ravel(), num + 1) / np.maximum(area, 1)
    holes = (area > 3e-4 * difference.size) & (mean < 0.35 * tolerance)
    outside |= holes
    outside[0] = False
    return without_specks(~outside[regions])


def with_soft_edge(
    rgba: UInt8[np.ndarray, "H W 4"], border: PlainBorder, mask: Bool[np.ndarray, "H W"]
) -> UInt8[np.ndarray, "H W 4"]:
    """Set alpha to 255 inside and between 0 and 255 on the outermost pixels.

    The share of the background is removed from the colour of those pixels.
    """
    alpha = mask.astype(np.float32)
    core: Any = ndimage.binary_erosion(mask, border_value=1)
    rim = mask & ~core
    reference = ndimage.maximum_filter(np.where(mask, border.difference, 0.0), size=5)
    share = np.clip(border.difference / np.maximum(reference, border.tolerance), 0.05, 1.0)
    alpha[rim] = share[rim]
    colors = rgba[..., :3].astype(np.float32)
    background = border.background
    unmixed = background + (colors - background) / np.maximum(alpha, 0.05)[..., None]
    colors[rim] = np.clip(unmixed[rim], 0, 255)
    return np.concatenate([colors, 255.0 * alpha[..., None]], axis=-1).round().astype(np.uint8)


def shadow_candidate(
    colors: Float[np.ndarray, "H W 3"], border: PlainBorder, mask: Bool[np.ndarray, "H W"]
) -> Bool[np.ndarray, "H W"]:
    """What of the mask could be a shadow on the ground; empty if nothing is worth a second look.

    A shadow has the colour of the ground, darker, and no detail. It lies beside the ground, at the
    foot of the object. A grey object before a white wall looks the same, so this only says where to
    look.
    """
    ground = border.background.astype(np.float32)
    brightness = np.einsum("...c,...c", colors, ground)
    brightness /= np.maximum(np.einsum("...c,...c", ground, ground), 1.0)
    tint = _largest(np.abs(colors - brightness[..., None] * ground))
    low, high = SHADOW_RANGE
    dark = mask & (brightness > low) & (brightness < high) & (tint < SHADOW_TINT)
    dark = _at_the_foot(dark, mask)
    regions, num = label(ndimage.binary_opening(dark, iterations=1))
    area = np.bincount(regions.ravel(), minlength=num + 1)
    area[0] = 0
    enough = area >= max(1.0, SHADOW_SHARE * float(mask.sum()))
    if not enough.any():
        return np.zeros_like(mask)
    beside: Any = ndimage.binary_dilation(~mask, iterations=2)
    meets = np.bincount(regions[beside], minlength=num + 1) > 0
    detail = np.abs(brightness - ndimage.gaussian_filter(brightness, 1.5))
    inner = np.where(ndimage.binary_erosion(dark, iterations=2), regions, 0)
    median: Any = ndimage.labeled_comprehension(
        detail, inner, np.arange(1, num + 1), np.median, float, 0.0
    )
    taken = meets & enough
    taken[1:] &= median < SHADOW_DETAIL
    return ndimage.binary_dilation(taken[regions], iterations=2, mask=mask)


def _at_the_foot(
    dark: Bool[np.ndarray, "H W"], mask: Bool[np.ndarray, "H W"]
) -> Bool[np.ndarray, "H W"]:
    """Regions of which most lies in the lower half of the mask, and the lower halves of others.

    A dark object is in one region with its shadow.
    """
    regions, num = label(ndimage.binary_opening(dark, iterations=1))
    area = np.bincount(regions.ravel(), minlength=num + 1)
    lines = np.repeat(np.arange(mask.shape[0]), mask.shape[1])
    height = np.bincount(regions.ravel(), lines, num + 1) / np.maximum(area, 1)
    rows = np.flatnonzero(mask.any(axis=1))
    middle = (rows[0] + rows[-1]) / 2 if len(rows) else 0.0
    reaches_up = height <= middle
    reaches_up[0] = False
    upper = np.arange(mask.shape[0])[:, None] <= middle
    return dark & ~(reaches_up[regions] & upper)


def frame_around(colors: Float[np.ndarray, "H W 3"]) -> Box | None:
    """The picture inside a frame: a margin of one colour with straight inner edges all around.

    An object that fills a rectangle before a plain wall looks the same; the caller tells them
    apart by what is inside.
    """
    height, width = colors.shape[:2]
    found: Box = (0, 0, width, height)
    for _ in range(MAX_FRAMES):
        inner = _without_margin(colors, found)
        if inner is None:
            break
        found = inner
    return None if found == (0, 0, width, height) else found


def _without_margin(colors: Float[np.ndarray, "H W 3"], box: Box) -> Box | None:
    left, top, right, bottom = box
    part = colors[top:bottom, left:right]
    height, width = part.shape[:2]
    edges = np.concatenate([part[0], part[-1], part[:, 0], part[:, -1]])
    color = np.median(edges, axis=0).astype(np.float32)
    differs = _largest(np.abs(part - color)) > FRAME_TOLERANCE
    if np.abs(edges - color).max(axis=-1).mean() > FRAME_TOLERANCE / 2:
        return None
    # A row or column of the picture inside differs nearly everywhere from the frame.
    rows = np.flatnonzero(differs.mean(axis=1) > 0.5)
    columns = np.flatnonzero(differs.mean(axis=0) > 0.5)
    if not len(rows) or not len(columns):
        return None
    inner = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    margins = np.array([inner[0], inner[1], width - inner[2], height - inner[3]])
    if margins.min() < 1 or margins.max() > FRAME_MARGIN * min(height, width):
        return None
    ring = np.ones((height, width), dtype=bool)
    ring[inner[1] : inner[3], inner[0] : inner[2]] = False
    # One more pixel, where frame and picture are mixed.
    x, y, past_x, past_y = (int(edge) for edge in np.add(inner, (1, 1, -1, -1)))
    inside = differs[y:past_y, x:past_x]
    edges = np.concatenate([inside[0], inside[-1], inside[:, 0], inside[:, -1]])
    if differs[ring].mean() > 0.02 or edges.mean() < 0.9:
        return None
    return left + x, top + y, left + past_x, top + past_y
