"""New shapes from the tokens of old ones: variations of one, mixtures of two.

What a shape is and roughly where its parts are stands in its coarse scales, how they look in the
finer ones. So keeping the first scales and sampling the others gives relatives of a shape. Tokens
of a finer scale describe the residual that the shape's own coarser scales left: after the coarse
scales of another shape they do not say what they said. `G3PT.vary` and `G3PT.mix` use this.
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
"""The finer tokens themselves, or ones sampled from what the other shape looks like."""

PICTURE_SIZE = 256
"""Side of the picture of a shape that is mixed in."""
PICTURE_RESOLUTION = 96
"""Grid cells per axis of the mesh in that picture."""


def kept_scales(tokens: TokenPyramid, keep: int, num_scales: int) -> TokenPyramid:
    """The first scales of a shape, of which some must be left to sample.

    Args:
        tokens: of the shape.
        keep: how many scales.
        num_scales: of the tokenizer.

    Raises:
        ValueError: if none is left, or the shape has not as many.
    """
    last = num_scales - 1
    check_whole("keep", keep)
    if not 1 <= keep <= last:
        raise PromptError(
            f"keep must lie in 1..{last}, so that scales are left to sample, got {keep}"
        )
    return tokens.truncate(keep)


def splice(coarse: TokenPyramid, fine: TokenPyramid) -> TokenPyramid:
    """The scales of `coarse`, then those of `fine` that come after them.

    Raises:
        PromptError: if `fine` has no scale after those of `coarse`.
    """
    if fine.num_scales <= coarse.num_scales:
        raise PromptError(
            f"the finer shape has {fine.num_scales} scales, none of them after the "
            f"{coarse.num_scales} of the coarser one: keep fewer"
        )
    rest_T = fine.indices[coarse.num_tokens :]
    return replace(coarse, indices=torch.cat([coarse.indices.cpu(), rest_T.cpu()]))


def picture_of(mesh: TriangleMesh) -> Image.Image:
    """Picture of a shape that is mixed in, from the canonical camera, on no ground.

    Raises:
        PromptError: if the mesh is empty.
    """
    if mesh.is_empty:
        raise PromptError("the shape that the finer scales are from decodes as empty")
    return Image.fromarray(render(mesh, canonical_camera(), size=PICTURE_SIZE))
