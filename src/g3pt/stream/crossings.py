"""Inside and outside of closed meshes at any points, by counting faces above them, on any device.

A line upwards from a point leaves a solid once more than it enters it if the point is inside. Faces
above that look up count one and those that look down minus one: the sum is the winding number, the
number of bodies that the point is in. A grid over x and z tells which faces may be above.

Legend: B shapes, F faces of all shapes end to end, N points of each, E pairs of a face and a cell
or a point.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

CELLS = 48
"""Cells of the grid along x and along z of the query cube."""
_PAIRS_AT_ONCE = 1 << 22


class Crossings:
    """The faces of closed meshes by grid cell."""

    def __init__(
        self, corners_F33: Float[Tensor, "F 3 3"], shapes_F: Int[Tensor, " F"], num_shapes: int
    ) -> None:
        """Sort the faces into cells.

        Args:
            corners_F33: corners of all faces, outward by their order, within the query cube.
            shapes_F: number of the shape of every face.
            num_shapes: number of shapes.
        """
        self._corners_F33 = corners_F33.double()
        flat_F32 = self._corners_F33[:, :, [0, 2]]
        low_F2, high_F2 = _cell(flat_F32.amin(dim=1)), _cell(flat_F32.amax(dim=1))
        wide_F, deep_F = (high_F2 - low_F2 + 1).unbind(dim=1)
        faces_E, place_E = _expanded(wide_F * deep_F)
        column_E = low_F2[faces_E, 0] + place_E // deep_F[faces_E]
        row_E = low_F2[faces_E, 1] + place_E % deep_F[faces_E]
        keys_E = (shapes_F[faces_E] * CELLS + column_E) * CELLS + row_E
        self._faces_E = faces_E[keys_E.argsort(stable=True)]
        self._counts = torch.bincount(keys_E, minlength=num_shapes * CELLS * CELLS)
        self._starts = self._counts.cumsum(0) - self._counts

    def winding(self, points_BN3: Float[Tensor, "B N 3"]) -> Int[Tensor, "B N"]:
        """The number of bodies that contain each point, for each shape's own points."""
        num_shapes, num_points, _ = points_BN3.shape
        points_M3 = points_BN3.reshape(-1, 3).double()
        cells_M2 = _cell(points_M3[:, [0, 2]])
        shapes_M = torch.arange(num_shapes, device=points_M3.device).repeat_interleave(num_points)
        keys_M = (shapes_M * CELLS + cells_M2[:, 0]) * CELLS + cells_M2[:, 1]
        counts_M = self._counts[keys_M]
        winding_M = torch.zeros(len(keys_M), dtype=torch.int64, device=points_M3.device)
        first = 0
        ends = counts_M.cumsum(0).cpu()
        while first < len(ends):
            done = int(ends[first - 1]) if first else 0
            last = int(torch.searchsorted(ends, done + _PAIRS_AT_ONCE, right=True))
            last = max(last, first + 1)
            part = slice(first, last)
            points_E, place_E = _expanded(counts_M[part])
            faces_E = self._faces_E[self._starts[keys_M[part]][points_E] + place_E]
            turns_E = _turns_above(self._corners_F33[faces_E], points_M3[part][points_E])
            winding_M[part].index_add_(0, points_E, turns_E)
            first = last
        return winding_M.reshape(num_shapes, num_points)

    def contains(self, points_BN3: Float[Tensor, "B N 3"]) -> Bool[Tensor, "B N"]:
        """Whether each point is in a body of its shape."""
        return self.winding(points_BN3) > 0


def _cell(places: Tensor) -> Tensor:
    return ((places + 1) * (CELLS / 2)).long().clamp(0, CELLS - 1)


def _expanded(counts: Int[Tensor, " _"]) -> tuple[Int[Tensor, " E"], Int[Tensor, " E"]]:
    """For every count its index that often, and the numbers from zero beside it."""
    index_E = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    starts = counts.cumsum(0) - counts
    return index_E, torch.arange(len(index_E), device=counts.device) - starts[index_E]


def _turns_above(
    corners_E33: Float[Tensor, "E 3 3"], points_E3: Float[Tensor, "E 3"]
) -> Int[Tensor, " E"]:
    """1 where a face that looks up is above the point, -1 for one that looks down, else 0.

    A point below an edge counts as moved a little along x, and by less along z, so that exactly one
    of two faces that meet there is above it.
    """
    a_E3, b_E3, c_E3 = (corners_E33 - points_E3[:, None]).unbind(dim=1)
    weights: list[Tensor] = []
    signs: list[Tensor] = []
    for first_E3, second_E3 in ((b_E3, c_E3), (c_E3, a_E3), (a_E3, b_E3)):
        (x_E, _, z_E), (to_x_E, _, to_z_E) = first_E3.unbind(dim=1), second_E3.unbind(dim=1)
        weight_E = z_E * to_x_E - x_E * to_z_E
        edge_E = (to_z_E > z_E) | ((to_z_E == z_E) & (x_E > to_x_E))
        weights.append(weight_E)
        signs.append((weight_E > 0) | ((weight_E == 0) & edge_E))
    up_E, down_E = signs[0] & signs[1] & signs[2], ~(signs[0] | signs[1] | signs[2])
    total_E = weights[0] + weights[1] + weights[2]
    height_E = weights[0] * a_E3[:, 1] + weights[1] * b_E3[:, 1] + weights[2] * c_E3[:, 1]
    above_E = height_E * total_E > 0
    return (up_E & above_E).long() - (down_E & above_E).long()
