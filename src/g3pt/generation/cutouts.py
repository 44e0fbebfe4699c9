"""Where a picture shows its object, how that was found, and what is doubtful about it.

The alpha channel decides if it hides something; then a mask, if one is given; then a plain border;
else a network that was trained on photographs. Nothing is decided by what the object may be.

Legend: H height, W width.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from scipy import ndimage

from g3pt.generation.border import (
    MAX_TOUCHED,
    PlainBorder,
    clear_share,
    frame_around,
    object_mask,
    plain_border,
    shadow_candidate,
    touched_share,
    with_soft_edge,
)
from g3pt.generation.photographs import object_share
from g3pt.generation.pixels import PictureError
from g3pt.generation.regions import (
    box_overlap,
    largest_object,
    without_specks,
    without_strays,
)
from g3pt.geometry.cameras import MIN_ALPHA, Box, silhouette_box

Method = Literal["alpha", "mask", "border", "network", "whole"]
"""What separated the object from its background; `whole`: the whole picture was asked for."""

MIN_HIDDEN = 0.002
"""An alpha channel decides from this share of hidden pixels on."""
MIN_FOUND = 0.003
"""Share of the picture that an object found by the network covers at least."""
MIN_CONFIDENCE, SURE = 0.6, 0.85
"""Below the first nothing stands out; below the second a warning is given. In empty rooms the
network had up to .59, or .79 for a skirting board."""
STRIP = 10.0
"""A box so many times as long as it is wide is an edge of the room, unless the network is sure."""
CLEAR = 0.8
"""A plain border decides alone from this confidence on."""
MAX_EXTRA = 0.1
"""The network decides if so much of what differs from the border is no object to it."""
SAME_PLACE = 0.7
"""Two masks show the same object if their boxes overlap (IoU) by so much."""
SMALL = 48
"""Objects with fewer pixels along their longer side are called very small."""
DARK = 45
"""An object nine tenths of which are darker than this, of 255, is called very dark."""
CUT_SHARE = 0.1
"""An object is cut off where it touches the edge over this share of its own longer side."""

NOTHING = (
    "nothing stands out from the background: take the picture closer or before a plain wall, mark "
    "the object with a mask, or ask for the whole picture to be taken as the object"
)


@dataclass(frozen=True)
class Cutout:
    """How the object of a picture was found, and what is doubtful about it."""

    method: Method
    box: Box
    """Left, top, right, bottom of the object in pixels of the picture as it was given, upright;
    right and bottom are exclusive."""
    confidence: float
    """From 0 to 1. Of the network: the agreement (IoU) of its probabilities with the mask made of
    them. Of a border: the share of the object's outline that clearly differs from the background.
    1 where the picture or the user says what the object is."""
    warnings: tuple[str, ...] = ()
    """What may go wrong with this object, a sentence each; empty if nothing is doubtful."""

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return asdict(self) | {"box": list(self.box), "warnings": list(self.warnings)}


@dataclass(frozen=True, eq=False)
class Found:
    """A picture whose background is transparent, and how that came about."""

    rgba: UInt8[np.ndarray, "H W 4"]
    method: Method
    confidence: float = 1.0
    num_objects: int = 1
    """Number of objects; of several the largest was taken, unless the user said otherwise."""


def find_object(
    rgba: UInt8[np.ndarray, "H W 4"],
    mask: Float32[np.ndarray, "H W"] | None = None,
    *,
    whole_picture: bool = False,
    name: str = "picture",
) -> Found:
    """Make everything but the object transparent.

    Args:
        rgba: the picture, straight alpha.
        mask: share of every pixel that belongs to the object, from 0 to 1. What the alpha channel
            hides stays hidden.
        whole_picture: take everything that is visible as the object.
        name: of the picture, for messages.

    Raises:
        PictureError: if there is no object, or none stands out.
    """
    alpha = own_range(rgba[..., 3])
    hides = bool((alpha < 128).mean() > MIN_HIDDEN)
    if (rgba[..., 3] < MIN_ALPHA).all():
        raise PictureError(f"{name}: is fully transparent; there is no object in it")
    if mask is not None:
        return _by_alpha(rgba, np.rint(alpha * mask).astype(np.uint8), "mask", name)
    if whole_picture:
        return Found(np.dstack([rgba[..., :3], alpha]), "whole")
    if hides:
        return _by_alpha(rgba, alpha, "alpha", name)
    opaque = np.dstack([rgba[..., :3], np.full_like(alpha, 255)])
    return _by_colors(opaque, name)


def own_range(alpha: UInt8[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W"]:
    """Alpha stretched to 255 if it never exceeds 127, but for stray pixels."""
    kept = without_strays(alpha >= MIN_ALPHA)
    highest = int(alpha[kept].max(initial=0))
    if not 0 < highest < 128:
        return alpha
    lowest = int(alpha.min())
    if highest - lowest < MIN_ALPHA:  # evenly transparent: it hides nothing
        return np.full_like(alpha, 255)
    stretched = (alpha.astype(np.float32) - lowest) * (255 / (highest - lowest))
    return stretched.clip(0, 255).round().astype(np.uint8)


def _by_alpha(
    rgba: UInt8[np.ndarray, "H W 4"],
    alpha: UInt8[np.ndarray, "H W"],
    method: Literal["alpha", "mask"],
    name: str,
) -> Found:
    """What an alpha channel or a mask shows, without stray pixels far from it."""
    visible = alpha >= MIN_ALPHA
    if not visible.any():
        raise PictureError(f"{name}: the mask marks nothing that is visible")
    alpha = np.where(visible & ~without_strays(visible), 0, alpha).astype(np.uint8)
    _, num_objects = largest_object(alpha >= 128)
    return Found(np.dstack([rgba[..., :3], alpha]), method, num_objects=num_objects)


def _by_colors(rgba: UInt8[np.ndarray, "H W 4"], name: str) -> Found:
    colors = rgba[..., :3].astype(np.float32)
    border = plain_border(colors)
    if border.is_flat:
        raise PictureError(f"{name}: shows one flat colour; there is no object in it")
    frame = frame_around(colors)
    if frame is not None and (inside := _in_frame(rgba, frame, name)) is not None:
        return inside
    plain = object_mask(border) if border.is_plain else np.zeros(rgba.shape[:2], dtype=bool)
    shadow = shadow_candidate(colors, border, plain)
    if plain.any() and not shadow.any() and _decides(border, plain):
        return _by_border(rgba, border, plain)
    share = object_share(rgba[..., :3])
    seen = _in_photograph(rgba, share)
    if plain.any() and _may_stand(border, plain, seen):
        return _of_two(rgba, border, plain, shadow, share, seen)
    if seen is None:
        raise PictureError(f"{name}: {NOTHING}")
    return seen


# --- before a plain border -----------------------------------------------------------------


def _decides(border: PlainBorder, mask: Bool[np.ndarray, "H W"]) -> bool:
    """Whether an object before a plain border is so clear that nothing else need be asked."""
    return touched_share(mask) <= MAX_TOUCHED and clear_share(border, mask) >= CLEAR


def _may_stand(border: PlainBorder, mask: Bool[np.ndarray, "H W"], seen: Found | None) -> bool:
    """Whether what differs from the border may be the object.

    If it touches the edge, it may be a floor, or stripes. It is an object that was cut off if the
    background is even and the network sees it in the same place.
    """
    if touched_share(mask) <= MAX_TOUCHED:
        return True
    if seen is None or not border.is_even:
        return False
    return box_overlap(mask, seen.rgba[..., 3] >= MIN_ALPHA) >= SAME_PLACE


def _by_border(
    rgba: UInt8[np.ndarray, "H W 4"], border: PlainBorder, mask: Bool[np.ndarray, "H W"]
) -> Found:
    mask, num_objects = largest_object(mask)
    cut = with_soft_edge(rgba, border, mask)
    return Found(cut, "border", clear_share(border, mask), num_objects)


def _of_two(
    rgba: UInt8[np.ndarray, "H W 4"],
    border: PlainBorder,
    plain: Bool[np.ndarray, "H W"],
    shadow: Bool[np.ndarray, "H W"],
    share: Float32[np.ndarray, "H W"],
    seen: Found | None,
) -> Found:
    """Decide between what differs from the border and what the network sees.

    The border is sharper and knows no kinds of objects; the network knows shadows and floors.
    """
    if seen is not None and _knows_shadows(plain & ~shadow, share, seen):
        plain = without_specks(plain & ~(shadow & (share < 0.5)))
    extra = (plain & (share < 0.3)).sum() / max(int(plain.sum()), 1)
    by_border = _by_border(rgba, border, plain)
    if seen is None or border.is_even:
        return by_border
    differs = extra > MAX_EXTRA and seen.confidence >= SURE
    unclear = by_border.confidence < 0.5 < seen.confidence
    return seen if differs or unclear else by_border


def _knows_shadows(
    body: Bool[np.ndarray, "H W"], share: Float32[np.ndarray, "H W"], seen: Found
) -> bool:
    """Whether the network may say what is shadow: it must see what cannot be one, the body.

    A dark object has no body, since all of it could be shadow; then the network must be sure.
    """
    if body.mean() < MIN_FOUND:
        return seen.confidence >= SURE
    return bool((share[body] > 0.5).mean() >= 0.5)


def _in_frame(rgba: UInt8[np.ndarray, "H W 4"], frame: Box, name: str) -> Found | None:
    """The object in a framed picture; None if the rectangle inside the frame is the object."""
    left, top, right, bottom = frame
    if not min(right - left, bottom - top) > 16:
        return None
    share = object_share(rgba[..., :3])[top:bottom, left:right]
    if (share > 0.5).mean() > 0.7:
        return None
    try:
        inside = _by_colors(rgba[top:bottom, left:right].copy(), name)
    except PictureError:
        return None
    whole = np.zeros_like(rgba)
    whole[..., :3] = rgba[..., :3]
    whole[top:bottom, left:right] = inside.rgba
    return replace(inside, rgba=whole)


# --- in a photograph -----------------------------------------------------------------------


def _in_photograph(
    rgba: UInt8[np.ndarray, "H W 4"], share: Float32[np.ndarray, "H W"]
) -> Found | None:
    """The object that the network sees; None if nothing stands out."""
    mask, num_objects = largest_object(without_specks(share > 0.5))
    taken = share * ndimage.binary_dilation(mask, iterations=3)
    confidence = float(np.minimum(taken, mask).sum() / max(np.maximum(taken, mask).sum(), 1.0))
    if mask.mean() < MIN_FOUND or confidence < MIN_CONFIDENCE:
        return None
    sides = sorted(int(np.ptp(np.flatnonzero(mask.any(axis=axis)))) + 1 for axis in (0, 1))
    if confidence < SURE and sides[1] > STRIP * sides[0]:
        return None
    alpha = np.rint(255 * ((taken - 0.4) / 0.2).clip(0, 1)).astype(np.uint8)
    return Found(_with_inner_colors(rgba, alpha), "network", confidence, num_objects)


def _with_inner_colors(
    rgba: UInt8[np.ndarray, "H W 4"], alpha: UInt8[np.ndarray, "H W"]
) -> UInt8[np.ndarray, "H W 4"]:
    """Give pixels at the edge, mixed with the background, the colour of the nearest inner one."""
    inner: Any = ndimage.binary_erosion(alpha == 255, border_value=1)
    colors = rgba[..., :3].copy()
    edge = (alpha > 0) & ~inner
    if inner.any() and edge.any():
        nearest: Any = ndimage.distance_transform_edt  # its own annotations are partial
        rows, columns = nearest(~inner, return_distances=False, return_indices=True)
        colors[edge] = colors[rows[edge], columns[edge]]
    return np.dstack([colors, alpha])


# --- the report ----------------------------------------------------------------------------


def report_on(found: Found, size: tuple[int, int]) -> Cutout:
    """Describe what was found.

    Args:
        found: the object, perhaps in a reduced picture.
        size: width and height of the picture as it was given.
    """
    height, width = found.rgba.shape[:2]
    across, down = size[0] / width, size[1] / height
    box = silhouette_box(found.rgba)
    assert box is not None, "an object without a pixel is refused where it is looked for"
    left, top, right, bottom = box
    own = (int(left * across), int(top * down), round(right * across), round(bottom * down))
    return Cutout(found.method, own, round(found.confidence, 3), tuple(_warnings(found, own)))


def _warnings(found: Found, own: Box) -> list[str]:
    warnings: list[str] = []
    if found.confidence < SURE and found.method in ("border", "network"):
        warnings.append("not sure where the object ends: look at what was cut out, or give a mask")
    if found.num_objects > 1:
        taken = "the largest is taken"
        if found.method in ("alpha", "mask"):
            taken = f"all of them are taken, as the {found.method} says"
        warnings.append(f"several objects: {found.num_objects} of them, {taken}")
    if found.method != "whole" and (sides := _cut_sides(found.rgba[..., 3] >= 128)):
        tight = len(sides) == 4 and found.method in ("alpha", "mask")
        if not tight:
            warnings.append(f"cut off at the {' and the '.join(sides)} edge")
    longest = max(own[2] - own[0], own[3] - own[1])
    if longest < SMALL:
        warnings.append(f"very small: {longest} pixels along its longer side")
    shown = found.rgba[..., 3] >= 128
    if shown.any() and np.quantile(found.rgba[..., :3].max(axis=-1)[shown], 0.9) < DARK:
        warnings.append("very dark: little can be seen of its shape")
    return warnings


def _cut_sides(mask: Bool[np.ndarray, "H W"]) -> list[str]:
    """Edges of the picture that the object touches over a good part of its length."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return []
    needed = max(3.0, CUT_SHARE * max(rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1))
    lines = {"left": mask[:, 0], "top": mask[0], "right": mask[:, -1], "bottom": mask[-1]}
    return [side for side, line in lines.items() if line.sum() >= needed]
