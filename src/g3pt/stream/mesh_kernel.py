"""Triton kernel that finds the first face along each ray by testing all faces.

Its obvious twin is `mesh_caster.first_faces_in_torch`. Importing this module needs triton.

Legend: V pictures, F faces of a picture (padded), R rays of a picture.
"""

from typing import Any

import torch
import triton  # pyright: ignore[reportMissingTypeStubs]
import triton.language as tl  # pyright: ignore[reportMissingTypeStubs]
from jaxtyping import Float, Int
from torch import Tensor

RAYS_PER_PROGRAM = 512
ROW = 16
"""Numbers in a row of the table; 13 are used."""


@triton.jit
def _first_faces(  # no annotations: the compiler would look their names up
    table,
    counts,
    rays,
    faces,
    lengths,
    num_rays,
    max_faces,
    nearest,
    slack,
    thinnest,
    BLOCK: tl.constexpr,
):
    block = tl.program_id(0)
    picture = tl.program_id(1)
    wide = picture.to(tl.int64)
    numbers = block * BLOCK + tl.arange(0, BLOCK)
    within = numbers < num_rays
    own = rays + wide * num_rays * 3
    x = tl.load(own + numbers * 3, mask=within, other=0.0)
    y = tl.load(own + numbers * 3 + 1, mask=within, other=0.0)
    z = tl.load(own + numbers * 3 + 2, mask=within, other=0.0)
    best = tl.full((BLOCK,), 3.0e38, tl.float32)
    first = tl.full((BLOCK,), -1, tl.int32)
    rows = table + wide * max_faces * 16
    count = tl.load(counts + picture)
    for face in range(0, count):
        row = rows + face * 16
        a = x * tl.load(row) + y * tl.load(row + 1) + z * tl.load(row + 2)
        b = x * tl.load(row + 3) + y * tl.load(row + 4) + z * tl.load(row + 5)
        c = x * tl.load(row + 6) + y * tl.load(row + 7) + z * tl.load(row + 8)
        steep = x * tl.load(row + 9) + y * tl.load(row + 10) + z * tl.load(row + 11)
        height = tl.load(row + 12)
        is_steep = tl.abs(steep) > thinnest
        length = height / tl.where(is_steep, steep, 1.0)
        least = -slack * steep * steep
        hit = is_steep & (a * steep >= least) & (b * steep >= least) & (c * steep >= least)
        hit = hit & (length > nearest) & (length < best)
        best = tl.where(hit, length, best)
        first = tl.where(hit, face, first)
    out = wide * num_rays + numbers
    tl.store(faces + out, first, mask=within)
    tl.store(lengths + out, best, mask=within)


def first_faces(
    table_VFK: Float[Tensor, "V F 16"],
    counts_V: Int[Tensor, " V"],
    rays_VR3: Float[Tensor, "V R 3"],
    *,
    nearest: float,
    slack: float,
    thinnest: float,
) -> tuple[Int[Tensor, "V R"], Float[Tensor, "V R"]]:
    """See `mesh_caster.first_faces_in_torch`, whose arguments and results are the same."""
    num_pictures, num_rays = rays_VR3.shape[:2]
    device = rays_VR3.device
    faces_VR = torch.empty((num_pictures, num_rays), dtype=torch.int32, device=device)
    lengths_VR = torch.empty((num_pictures, num_rays), dtype=torch.float32, device=device)
    grid = (triton.cdiv(num_rays, RAYS_PER_PROGRAM), num_pictures)
    kernel: Any = _first_faces
    kernel[grid](
        table_VFK.contiguous(),
        counts_V.to(torch.int32).contiguous(),
        rays_VR3.contiguous(),
        faces_VR,
        lengths_VR,
        num_rays,
        table_VFK.shape[1],
        nearest,
        slack,
        thinnest,
        BLOCK=RAYS_PER_PROGRAM,
        num_warps=4,
    )
    return faces_VR, lengths_VR
