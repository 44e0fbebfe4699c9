"""What we rely on in scikit-image's marching cubes: a canary for its next versions."""

import numpy as np
import pytest
from skimage.measure import marching_cubes

CELLS = np.stack(np.unravel_index(np.arange(8), (2, 2, 2)), axis=-1)
"""First corners of the eight cells around the middle corner, in the order of their memory."""


def faces_of(mask: np.ndarray) -> np.ndarray:
    """Corners of the faces around a solid middle corner, in cells that a mask allows."""
    volume = np.full((3, 3, 3), -1.0, dtype=np.float32)
    volume[1, 1, 1] = 1.0
    vertices, faces, _, _ = marching_cubes(volume, 0.0, mask=mask, gradient_direction="ascent")
    return vertices[faces]


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_the_mask_names_a_cell_by_its_last_corner(cell: np.ndarray) -> None:
    """scikit-image#8202 asks for the first corner: then `_vertex_names` masks `origins_A3`."""
    mask = np.zeros((3, 3, 3), dtype=np.bool_)
    mask[tuple(cell + 1)] = True

    (face,) = faces_of(mask)

    assert (np.floor(face.mean(axis=0)) == cell).all()


def test_faces_come_cell_by_cell_in_the_order_of_memory() -> None:
    middles = faces_of(np.ones((3, 3, 3), dtype=np.bool_)).mean(axis=1)

    np.testing.assert_array_equal(np.floor(middles), CELLS)
