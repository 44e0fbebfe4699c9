"""Horizontal sections of a solid, and the heights at which its upper and lower parts begin.

The section of a closed mesh grows by the area of the faces that look down, and shrinks by that of
those that look up, both seen from below (divergence theorem). So areas of sections at all heights
are a sum over faces. Where the section grows suddenly, something wide rests on something narrow: a
seat on legs, a shade on a pole, a roof on walls.

Unit frame, +Y up. Legend: H heights.
"""

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64
from numpy import ndarray

from g3pt.geometry.mesh import TriangleMesh, area_vectors

End = Literal["upper", "lower"]
"""What rests on the place where the section grows, or what is below it."""

NUM_SECTIONS = 96

SOUGHT: dict[End, tuple[float, float]] = {"lower": (0.04, 0.97), "upper": (0.2, 0.97)}
"""Shares of the height between which the parts may meet."""

LEAST_GROWTH: dict[End, float] = {"lower": 0.3, "upper": 0.05}
"""Least growth there, as a share of the largest section. Caps are smaller than seats."""

LEAST_RATIO = 1.1
"""Least ratio of the sections above and below."""


def section_areas(mesh: TriangleMesh) -> Float64[ndarray, " H"]:
    """Areas of `NUM_SECTIONS` sections at equal distances, from the lowest up.

    Args:
        mesh: closed, not empty, of triangles that are small beside the distance of the sections.
    """
    return np.maximum(np.cumsum(_growth(mesh)), 0)


def _growth(mesh: TriangleMesh) -> Float64[ndarray, " H"]:
    """How much the section grows within each of the equal steps of height."""
    (_, low, _), (_, high, _) = mesh.bounds()
    heights = np.clip(mesh.triangles[:, :, 1].mean(axis=1), low, high)  # a mean is rounded
    downward = -area_vectors(mesh)[:, 1]
    grown, _ = np.histogram(heights, NUM_SECTIONS, (low, high), weights=downward)
    return grown


def find_part(mesh: TriangleMesh, end: End) -> Bool[ndarray, " P"] | None:
    """Vertices of the upper or lower part of a solid, if it has one that differs in width.

    Args:
        mesh: as for `section_areas`.
        end: which of both.

    Returns:
        None if the section nowhere grows enough between the heights in question.
    """
    areas = section_areas(mesh)
    steps = np.convolve(_growth(mesh), np.ones(3), mode="same")  # an underside is never quite level
    first, last = (round(share * NUM_SECTIONS) for share in SOUGHT[end])
    step = first + int(np.argmax(steps[first:last]))
    below, above = areas[max(step - 2, 0)], areas[min(step + 1, NUM_SECTIONS - 1)]
    if steps[step] < LEAST_GROWTH[end] * areas.max() or above < LEAST_RATIO * below:
        return None
    low, high = mesh.bounds()[:, 1]
    border = low + (high - low) * (step - 1) / NUM_SECTIONS
    is_above = mesh.vertices[:, 1] >= border
    return is_above if end == "upper" else ~is_above
