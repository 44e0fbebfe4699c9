"""The part of a surface that somebody sees: partial point clouds for training.

N surface points, M visible points.
"""

import numpy as np
from jaxtyping import Float32, Int64

SMALLEST_SHARE = 0.25
"""Of the surface points, the fewest that a cut leaves."""


def choose_visible(
    points: Float32[np.ndarray, "N 3"],
    normals: Float32[np.ndarray, "N 3"],
    num: int,
    rng: np.random.Generator,
) -> Int64[np.ndarray, " M"]:
    """Draw points of the part that is seen from a random direction.

    Half the time a plane across the direction cuts the far part off, at a depth that leaves a
    share uniform in [`SMALLEST_SHARE`, 1] of the points: an unfinished scan. Otherwise it is the
    surface that faces the direction: one depth picture, hidden parts aside.

    Args:
        points: surface points.
        normals: their outward normals.
        num: how many to draw; some twice where fewer are visible.
        rng: the same state gives the same points.

    Returns:
        Row numbers of the drawn points.
    """
    direction = rng.standard_normal(3).astype(np.float32)
    cut, share = rng.random() < 0.5, rng.uniform(SMALLEST_SHARE, 1.0)
    if cut:
        depths = points @ direction
        seen = depths >= np.quantile(depths, 1.0 - share)
    else:
        seen = normals @ direction > 0
        if not seen.any():  # a sheet, seen from its other side
            seen = ~seen
    visible = np.flatnonzero(seen)
    return rng.choice(visible, num, replace=len(visible) < num)
