"""Connected regions of masks: specks that do not count, and objects that are several.

Legend: H height, W width.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Int32
from scipy import ndimage

SPECK_SHARE, SPECK_PIXELS = 0.002, 4
"""A region smaller than this share of the largest one, or than so many pixels, is a speck."""
STRAY_SHARE, STRAY_PIXELS = 0.0005, 4
"""The same for pixels that an alpha channel or a mask shows on purpose: it takes fewer to count."""
OTHER_SHARE = 0.15
"""A region apart from the largest counts as another object from this share of its pixels on."""
TWIN_SHARE = 0.3
"""A region beside another counts as another object from this share on, even if both are near."""
NEAR_SHARE = 0.06
"""A region belongs to the largest one if the gap between their boxes is at most this share of the
longer side of the larger box: a wheel, a cup's steam, a lamp on a thin wire."""


def label(mask: Bool[np.ndarray, "H W"]) -> tuple[Int32[np.ndarray, "H W"], int]:
    """Number the connected regions of a mask from 1 (0: outside); returns labels and count."""
    numbered: Any = ndimage.label  # its own annotations are partial
    regions, num = numbered(mask)
    return regions, int(num)


def without_specks(mask: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """The mask without regions that are tiny beside the largest."""
    regions, num = label(mask)
    sizes = np.bincount(regions.ravel(), minlength=num + 1)
    sizes[0] = 0
    kept = sizes >= max(SPECK_PIXELS, SPECK_SHARE * int(sizes.max()))
    kept[0] = False
    return kept[regions]


def without_strays(mask: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """The mask without a few lone pixels that lie far outside the box of everything else."""
    regions, num = label(mask)
    if num <= 1:
        return mask
    sizes = np.bincount(regions.ravel(), minlength=num + 1)
    sizes[0] = 0
    kept = sizes > max(STRAY_PIXELS, STRAY_SHARE * int(sizes.max()))
    if not kept.any():
        return mask
    inner = kept[regions]
    rows, columns = (np.flatnonzero(inner.any(axis=axis)) for axis in (1, 0))
    reach = round(NEAR_SHARE * max(np.ptp(rows), np.ptp(columns)))
    near = regions[
        max(0, rows[0] - reach) : rows[-1] + 1 + reach,
        max(0, columns[0] - reach) : columns[-1] + 1 + reach,
    ]
    kept[np.unique(near)] = True
    kept[0] = False
    return kept[regions]


def box_overlap(first: Bool[np.ndarray, "H W"], second: Bool[np.ndarray, "H W"]) -> float:
    """IoU of the boxes around two masks; 0 if one is empty."""
    sides = 1.0
    areas = [1.0, 1.0]
    for axis in (0, 1):
        lines = [np.flatnonzero(mask.any(axis=axis)) for mask in (first, second)]
        if not all(len(line) for line in lines):
            return 0.0
        starts, ends = zip(*((line[0], line[-1] + 1) for line in lines), strict=True)
        sides *= max(0, min(ends) - max(starts))
        areas = [area * (end - start) for area, start, end in zip(areas, starts, ends, strict=True)]
    return float(sides / (sum(areas) - sides))


def largest_object(mask: Bool[np.ndarray, "H W"]) -> tuple[Bool[np.ndarray, "H W"], int]:
    """The largest region with all that is close to it, and the number of objects in the mask.

    Regions whose boxes overlap or nearly touch belong to one object, and so do regions close to
    those. What is left counts as another object if it is large enough.
    """
    regions, num = label(mask)
    if num <= 1:
        return mask, num
    sizes = np.bincount(regions.ravel(), minlength=num + 1)[1:]
    boxes = np.array(
        [
            (columns.start, rows.start, columns.stop, rows.stop)
            for rows, columns in ndimage.find_objects(regions)
        ]
    )
    left = set(range(num))
    objects: list[list[int]] = []
    while left:
        first = max(left, key=lambda one: sizes[one])
        members = _close_to(first, boxes, sizes, left)
        left -= set(members)
        objects.append(members)
    totals = [int(sizes[members].sum()) for members in objects]
    chosen = int(np.argmax(totals))
    others = sum(total >= OTHER_SHARE * totals[chosen] for total in totals)
    kept = np.zeros(num + 1, dtype=bool)
    kept[np.array(objects[chosen]) + 1] = True
    return kept[regions], others


def _close_to(first: int, boxes: Any, sizes: Any, among: set[int]) -> list[int]:
    """The region and those whose boxes lie near its box, which grows with every one of them."""
    members, box = [first], boxes[first].copy()
    grew = True
    while grew:
        grew = False
        reach = NEAR_SHARE * max(box[2] - box[0], box[3] - box[1])
        for other in sorted(among - set(members)):
            gaps = np.maximum(boxes[other][:2] - box[2:], box[:2] - boxes[other][2:])
            # What stands beside is another object; what lies above may be held by a thin rod.
            twin = gaps[0] > 0 and sizes[other] >= TWIN_SHARE * sizes[first]
            if gaps.max() <= reach and not twin:
                members.append(other)
                box = np.concatenate(
                    [np.minimum(box[:2], boxes[other][:2]), np.maximum(box[2:], boxes[other][2:])]
                )
                grew = True
    return members
