"""Well-spread points of many surfaces at once; `geometry.sampling.well_spread` is the twin for one.

Legend: B shapes, C cells, M candidates, N surface points.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from g3pt.geometry.sampling import NORMAL_WEIGHT


def spread_surfaces(
    points_BM3: Float[Tensor, "B M 3"],
    normals_BM3: Float[Tensor, "B M 3"],
    num: int,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "B N 3"], Float[Tensor, "B N 3"]]:
    """Keep points that lie more evenly than random ones, at the same mean density.

    Args:
        points_BM3: candidates, uniform by area; `num_candidates` says how many are needed.
        normals_BM3: their normals.
        num: number of points to keep.
        generator: source of their order, on the device of the points.
    """
    num_shapes, num_cells = len(points_BM3), 1 << (num - 1).bit_length()
    size = points_BM3.shape[1] // num_cells
    values_BM6 = torch.cat([points_BM3, NORMAL_WEIGHT * normals_BM3], dim=2)
    # Cells of all shapes at once, as rows of numbers of candidates.
    flat_X6 = values_BM6[:, : num_cells * size].flatten(0, 1)
    cells_CM = torch.arange(len(flat_X6), device=flat_X6.device).view(num_shapes, -1)
    while len(cells_CM) < num_shapes * num_cells:
        values_CM6 = flat_X6[cells_CM]
        widest_C = (values_CM6.amax(dim=1) - values_CM6.amin(dim=1)).argmax(dim=1)
        along_CM = values_CM6.gather(
            2, widest_C[:, None, None].expand(-1, cells_CM.shape[1], 1)
        ).squeeze(2)
        order_CM = along_CM.argsort(dim=1, stable=True)
        cells_CM = cells_CM.gather(1, order_CM).view(2 * len(cells_CM), -1)
    values_CM6 = flat_X6[cells_CM]
    off_CM = (values_CM6 - values_CM6.mean(dim=1, keepdim=True)).square().sum(dim=2)
    kept_C1 = cells_CM.gather(1, off_CM.argmin(dim=1, keepdim=True))
    kept_BC = kept_C1.view(num_shapes, num_cells) % (num_cells * size)
    random_BC = torch.rand(kept_BC.shape, generator=generator, device=generator.device)
    kept_BN = kept_BC.gather(1, random_BC.argsort(dim=1))[:, :num]
    kept_BN3 = kept_BN[..., None].expand(-1, -1, 3)
    return points_BM3.gather(1, kept_BN3), normals_BM3.gather(1, kept_BN3)
