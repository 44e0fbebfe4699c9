"""New shapes from existing tokens: variations of one shape, mixtures of two.

The coarse scales hold the kind of the shape and the rough places of its parts; the finer scales
hold their details. So keeping the first scales and sampling the others gives variations of a shape.
Tokens of a finer scale describe the residual that the shape's own coarser scales left. After the
coarse scales of another shape they therefore describe something else. `G3PT.vary` and `G3PT.mix`
use this module.
"""

from dataclasses import replace
from typing import Literal

import torch
from PIL import Image

from g3pt.arguments import PromptError, check_whole
from g3pt.geometry.cameras import canonical_camera
from g3pt.geometry.mesh import TriangleMesh
from g3pt.geometry.render import render
from g3pt.models.g3t import TokenPyramid

MixMethod = Literal["tokens", "resample"]
"""`tokens`: take the finer tokens themselves; `resample`: sample them with the shape as prompt."""

PICTURE_SIZE = 256
"""Side of the picture of the second shape, in pixels."""
PICTURE_RESOLUTION = 96
"""Grid cells per axis of the mesh in that picture."""


def kept_scales(tokens: TokenPyramid, keep: int, num_scales: int) -> TokenPyramid:
    """The first scales of a shape; at least one scale must be left to sample.

    Args:
        tokens: tokens of the shape.
        keep: number of scales to keep.
        num_scales: number of scales of the tokenizer.

    Raises:
        ValueError: if no scale is left to sample, or the shape has fewer scales than `keep`.
    """
    last = num_scales - 1
    check_whole("keep", keep)
    if not 1 <= keep <= last:
        raise PromptError(
            f"keep must lie in 1..{last}, so that scales are left to sample, got {keep}"
        )
    return tokens.truncate(keep)


def splice(coarse: TokenPyramid, fine: TokenPyramid) -> TokenPyramid:
    """The scales of `coarse`, followed by the remaining finer scales of `fine`.

    Raises:
        PromptError: if `fine` has no more scales than `coarse`.
    """
    if fine.num_scales <= coarse.num_scales:
        raise PromptError(
            f"the finer shape has {fine.num_scales} scales, none of them after the "
            f"{coarse.num_scales} of the coarser one: keep fewer"
        )
    rest_T = fine.indices[coarse.num_tokens :]
    return replace(coarse, indices=torch.cat([coarse.indices.cpu(), rest_T.cpu()]))


def picture_of(mesh: TriangleMesh) -> Image.Image:
    """Picture of the second shape, from the canonical camera, without a ground.

    Raises:
        PromptError: if the mesh is empty.
    """
    if mesh.is_empty:
        raise PromptError("the shape that the finer scales are from decodes as empty")
    return Image.fromarray(render(mesh, canonical_camera(), size=PICTURE_SIZE))
