"""From any picture to its object on a transparent square.

`generation.pixels` reads the picture. The object is what the alpha channel leaves visible, or what
differs from the colour of the picture's border. `geometry.cameras` then centres it as the training
views were centred. Pictures are (H, W, 4) uint8, straight alpha.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int32, UInt8
from PIL import Image
from scipy import ndimage

from g3pt.generation.pixels import PictureError, open_picture
from g3pt.geometry.cameras import frame_object, silhouette_box

WORKING_SIDE = 1024
"""Longest side in pixels; larger pictures are reduced to it before the background is found."""

Cutout = Literal["alpha", "border", "none"]
"""How the object was separated from its background; `none`: the whole picture is taken."""


@dataclass(frozen=True, eq=False)
class PreparedPicture:
    """A picture ready for the image encoder."""

    rgba: UInt8[np.ndarray, "S S 4"]
    cutout: Cutout
    cut_rgba: UInt8[np.ndarray, "H W 4"]
    """The whole picture, at most `WORKING_SIDE` pixels long, its background transparent."""
    guess_rgba: UInt8[np.ndarray, "Z Z 4"] | None = None
    """The same picture at the side that the first guess reads, if that is another."""


def prepare_picture(
    picture: object,
    size: int,
    guess_size: int | None = None,
) -> PreparedPicture:
    """Read a picture, find its object, and frame it as the training views are framed.

    Args:
        picture: any of `pixels.Picture`.
        size: side of the result in pixels, as the image encoder expects it.
        guess_size: side in pixels that the first guess reads, if it differs.

    Raises:
        FileNotFoundError: if there is no such file.
        PictureError: if it is not a picture, too large, too small, or shows nothing.
    """
    name = str(picture) if isinstance(picture, str | Path) else "picture"
    rgba, cutout = cut_out_object(_reduced(open_picture(picture)), name)
    return PreparedPicture(
        rgba=frame_object(rgba, size),
        cutout=cutout,
        cut_rgba=rgba,
        guess_rgba=None if guess_size is None else frame_object(rgba, guess_size),
    )


def _reduced(image: Image.Image) -> UInt8[np.ndarray, "H W 4"]:
    longest = max(image.size)
    if longest > WORKING_SIDE:
        factor = WORKING_SIDE / longest
        size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
        image = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)
    return np.asarray(image).copy()


def cut_out_object(
    rgba: UInt8[np.ndarray, "H W 4"], name: str = "picture"
) -> tuple[UInt8[np.ndarray, "H W 4"], Cutout]:
    """Make everything but the object transparent.

    If the alpha channel hides something, it decides. Otherwise the background is the smooth colour
    of the border, as far as it can be followed inwards from the border. A border of many colours
    has no such background; then the whole picture counts as the object.

    Raises:
        PictureError: if nothing is visible, or the picture has a single colour.
    """
    alpha = rgba[..., 3]
    if (alpha < 128).mean() > 0.002:
        if silhouette_box(rgba) is None:
            raise PictureError(f"{name}: is fully transparent; there is no object in it")
        return rgba, "alpha"
    colors = rgba[..., :3].astype(np.float32)
    background, spread = _border_background(colors)
    difference = np.abs(colors - background).max(axis=-1)
    if difference.max() < 12.0:
        raise PictureError(f"{name}: shows one flat colour; there is no object in it")
    if spread > 24.0:
        return rgba, "none"
    tolerance = max(10.0, 3.0 * spread)
    mask = _object_mask(difference, tolerance)
    if not mask.any():
        raise PictureError(f"{name}: no object stands out from the background")
    return _with_soft_edge(rgba, background, difference, mask, tolerance), "border"


def _border_background(
    colors: Float[np.ndarray, "H W 3"],
) -> tuple[Float[np.ndarray, "H W 3"], float]:
    """Fit a smoothly varying colour to the border; returns it and the misfit.

    The fit is robust: border pixels that the object touches are left out in three rounds.
    """
    height, width = colors.shape[:2]
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    basis = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
    ring = max(1, round(0.015 * min(height, width)))
    border = np.ones((height, width), dtype=bool)
    border[ring:-ring, ring:-ring] = False
    rows, values = basis[border], colors[border]
    start = np.median(values, axis=0)
    misfit = np.abs(values - start).max(axis=-1)
    fitted = np.zeros((6, 3))
    for _ in range(3):
        kept = misfit <= max(4.0, 2.5 * float(np.median(misfit)))
        fitted, *_ = np.linalg.lstsq(rows[kept], values[kept], rcond=None)
        misfit = np.abs(values - rows @ fitted).max(axis=-1)
    spread = float(np.quantile(misfit, 0.6))
    return np.clip(basis @ fitted, 0, 255).astype(np.float32), spread


def _object_mask(difference: Float[np.ndarray, "H W"], tolerance: float) -> Bool[np.ndarray, "H W"]:
    """Pixels that the background, followed from the border, does not reach, without specks.

    A region enclosed by the object also counts as background when its colour matches closely and it
    is larger than a highlight: the hole of a handle, the gap between the legs of a chair.
    """
    regions, num = _label(difference <= tolerance)
    outside = np.zeros(num + 1, dtype=bool)
    edges = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    outside[np.unique(edges)] = True
    area = np.bincount(regions.ravel(), minlength=num + 1)
    mean = np.bincount(regions.ravel(), difference.ravel(), num + 1) / np.maximum(area, 1)
    holes = (area > 3e-4 * difference.size) & (mean < 0.35 * tolerance)
    outside |= holes
    outside[0] = False
    parts, num_parts = _label(~outside[regions])
    sizes = np.bincount(parts.ravel(), minlength=num_parts + 1)
    sizes[0] = 0
    kept = sizes >= max(4, 0.002 * int(sizes.max()))
    kept[0] = False
    return kept[parts]


def _label(mask: Bool[np.ndarray, "H W"]) -> tuple[Int32[np.ndarray, "H W"], int]:
    """Number the connected regions of a mask from 1 (0: outside); returns labels and count."""
    label: Any = ndimage.label  # its own annotations are partial
    regions, num = label(mask)
    return regions, int(num)


def _with_soft_edge(
    rgba: UInt8[np.ndarray, "H W 4"],
    background: Float[np.ndarray, "H W 3"],
    difference: Float[np.ndarray, "H W"],
    mask: Bool[np.ndarray, "H W"],
    tolerance: float,
) -> UInt8[np.ndarray, "H W 4"]:
    """Set alpha to 255 inside and between 0 and 255 on the outermost pixels.

    The share of the background is removed from the colour of those pixels.
    """
    alpha = mask.astype(np.float32)
    core: Any = ndimage.binary_erosion(mask, border_value=1)
    rim = mask & ~core
    reference = ndimage.maximum_filter(np.where(mask, difference, 0.0), size=5)
    share = np.clip(difference / np.maximum(reference, tolerance), 0.05, 1.0)
    alpha[rim] = share[rim]
    colors = rgba[..., :3].astype(np.float32)
    unmixed = background + (colors - background) / np.maximum(alpha, 0.05)[..., None]
    colors[rim] = np.clip(unmixed[rim], 0, 255)
    return np.concatenate([colors, 255.0 * alpha[..., None]], axis=-1).round().astype(np.uint8)
