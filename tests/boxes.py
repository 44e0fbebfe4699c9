"""What the boxes of `mesh_folder` are in the unit frame."""

import numpy as np

HALF_EXTENTS = {
    "cube": (0.95, 0.95, 0.95),
    "slab": (0.95, 0.2375, 0.475),
    "pole": (0.95 / 6, 0.95, 0.95 / 6),
}


def in_box(name, points):
    return (np.abs(points) < np.array(HALF_EXTENTS[name])).all(axis=-1)
