"""From tokens, or the features that they stand for, to a mesh.

Everything is in the unit frame (longest side 1.9, centred, +Y up, +Z front). Legend: L latents,
C tokenizer channels, T tokens, P pixels of a side.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from g3pt.arguments import check_number, check_whole
from g3pt.generation.field import ShapeField
from g3pt.geometry.isosurface import Extraction, extract_surface
from g3pt.geometry.mesh import TriangleMesh, largest_components
from g3pt.geometry.outline import OutlinedField
from g3pt.models.g3t import TokenPyramid
from g3pt.models.tokenizer import DiscreteTokenizer

OnBlock = Callable[[int], None]
"""Called several times a second with the number of points at which the field was queried so far.
An error raised in it ends the meshing."""

MIN_RESOLUTION = 16
MAX_RESOLUTION = 1024
DEFAULT_RESOLUTION = 128
DEFAULT_MIN_SHARE = 0.01
"""Loose parts of a generated mesh below this share of its whole surface area are dropped."""


def check_resolution(resolution: int) -> None:
    """Refuse resolutions outside the supported range.

    Raises:
        ValueError: if it is out of range; the message names the range.
    """
    check_whole("resolution", resolution)
    if not MIN_RESOLUTION <= resolution <= MAX_RESOLUTION:
        raise ValueError(
            f"resolution must lie between {MIN_RESOLUTION} and {MAX_RESOLUTION} cells per axis, "
            f"got {resolution}"
        )


def pyramid_of(tokenizer: DiscreteTokenizer, indices_T: Int[Tensor, " T"]) -> TokenPyramid:
    """Tokens of the first scales as a `TokenPyramid`, with scale lengths and bits per token."""
    return TokenPyramid(tuple(tokenizer.scale_lengths), tokenizer.num_bits, indices_T)


def check_pyramid(tokenizer: DiscreteTokenizer, tokens: TokenPyramid) -> None:
    """Refuse tokens whose scales or bits are not those of a tokenizer.

    Raises:
        ValueError: if they are not; the message names both.
    """
    scale_lengths, num_bits = tuple(tokenizer.scale_lengths), tokenizer.num_bits
    if (tuple(tokens.scale_lengths), tokens.num_bits) != (scale_lengths, num_bits):
        raise ValueError(
            f"the tokens have scales {tokens.scale_lengths} of {tokens.num_bits} bits, "
            f"this tokenizer reads {scale_lengths} of {num_bits}"
        )


def mesh_tokens(
    tokenizer: DiscreteTokenizer,
    tokens: TokenPyramid,
    *,
    resolution: int = DEFAULT_RESOLUTION,
    dense: bool = False,
    seeds: Float[np.ndarray, "N 3"] | None = None,
    min_share: float = 0.0,
    on_block: OnBlock | None = None,
) -> Extraction:
    """Make a mesh of tokens, of all scales or of the first few.

    Args:
        tokenizer: stage 1.
        tokens: tokens that this tokenizer made.
        resolution: grid cells per axis.
        dense: query the whole grid. This is slow, and finds parts that lie between the corners of
            the base grid.
        seeds: points near the surface, if known.
        min_share: drop parts below this share of the whole surface area.
        on_block: hears of the progress.

    Raises:
        ValueError: if the resolution is out of range or another tokenizer made the tokens.
    """
    check_resolution(resolution)
    check_number("min_share", min_share)
    check_pyramid(tokenizer, tokens)
    field = ShapeField.from_tokens(tokenizer, tokens.indices)
    extraction = extract_surface(
        field,
        resolution=resolution,
        dense=dense,
        seeds=seeds,
        chunk=field.block,
        on_block=on_block,
    )
    return _without_small_parts(extraction, min_share)


def mesh_features(
    tokenizer: DiscreteTokenizer,
    summed_LC: Float[Tensor, "L C"],
    num_scales: int,
    *,
    outline: UInt8[np.ndarray, "P P 4"] | None = None,
    resolution: int = DEFAULT_RESOLUTION,
    min_share: float = 0.0,
    on_block: OnBlock | None = None,
) -> Extraction:
    """Make a mesh of summed upsampled features, which need not come from tokens.

    Args:
        tokenizer: stage 1.
        summed_LC: the sum, such as the mean of several samples (`consensus_features`).
        num_scales: number of scales in the sum.
        outline: picture of the object on a transparent ground; its outline bounds the shape
            (`OutlinedField`).
        resolution: grid cells per axis.
        min_share: drop parts below this share of the whole surface area.
        on_block: hears of the progress.

    Raises:
        ValueError: if the resolution is out of range.
    """
    check_resolution(resolution)
    field = ShapeField.from_features(tokenizer, summed_LC, num_scales)
    shown = field if outline is None else OutlinedField(field, outline)
    extraction = extract_surface(shown, resolution=resolution, chunk=field.block, on_block=on_block)
    return _without_small_parts(extraction, min_share)


def coarser_meshes(
    tokenizer: DiscreteTokenizer,
    tokens: TokenPyramid,
    *,
    resolution: int = DEFAULT_RESOLUTION,
    min_share: float = 0.0,
    on_block: OnBlock | None = None,
) -> tuple[TriangleMesh, ...]:
    """Meshes of the first 1, 2, ... scales of tokens, without the one of all scales."""
    return tuple(
        mesh_tokens(
            tokenizer,
            tokens.truncate(num_scales),
            resolution=resolution,
            min_share=min_share,
            on_block=on_block,
        ).mesh
        for num_scales in range(1, tokens.num_scales)
    )


def _without_small_parts(extraction: Extraction, min_share: float) -> Extraction:
    if min_share == 0 or extraction.mesh.is_empty:
        return extraction
    kept = largest_components(extraction.mesh, keep=None, min_share=min_share)
    return Extraction(kept, extraction.queries, extraction.queries_dense)
