"""From tokens to the field and mesh that are scored.

T tokens, L latents, C channels, Q points; unit frame.
"""

import numpy as np
from jaxtyping import Float, Float32, Int
from torch import Tensor

from g3pt.generation.field import ShapeField
from g3pt.geometry.isosurface import Extraction, extract_surface
from g3pt.models.tokenizer import Tokenizer


def decode_mesh(
    tokenizer: Tokenizer,
    indices_T: Int[Tensor, " T"],
    *,
    resolution: int,
    seeds: Float[np.ndarray, "N 3"] | None = None,
) -> Extraction:
    """Mesh the field of some tokens."""
    return extract_surface(ShapeField(tokenizer, indices_T), resolution=resolution, seeds=seeds)


def field_values(
    tokenizer: Tokenizer,
    indices_T: Int[Tensor, " T"],
    points: Float[np.ndarray, "Q 3"],
) -> Float32[np.ndarray, " Q"]:
    """Occupancy logits of some tokens at points."""
    return ShapeField(tokenizer, indices_T)(points)
