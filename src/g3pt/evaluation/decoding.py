"""From surface samples or tokens to the fields and meshes that are scored.

N seeds, T tokens; unit frame.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from g3pt.generation.field import ShapeField
from g3pt.generation.surface import encode_samples, surface_tensors
from g3pt.geometry.isosurface import Extraction, extract_surface
from g3pt.geometry.sampling import SurfaceSamples
from g3pt.models.tokenizer import DiscreteTokenizer, Tokenizer


@dataclass(frozen=True, eq=False)
class CodedShape:
    """A shape after the bottleneck of a tokenizer."""

    fields: tuple[ShapeField, ...]
    """Its field after each prefix of scales, coarsest first; the last is the whole."""
    tokens: tuple[int, ...]
    """Vocabulary indices of all scales end to end; empty if the bottleneck is continuous."""


@torch.inference_mode()
def code_shape(tokenizer: Tokenizer, samples: SurfaceSamples) -> CodedShape:
    """Send a surface through the bottleneck; what has tokens is decoded from them alone."""
    if isinstance(tokenizer, DiscreteTokenizer):
        indices_T = encode_samples(tokenizer, samples)
        stops = np.cumsum(tokenizer.scale_lengths)
        fields = tuple(ShapeField.from_tokens(tokenizer, indices_T[:stop]) for stop in stops)
        return CodedShape(fields, tuple(indices_T.tolist()))
    device = next(tokenizer.parameters()).device
    coded = tokenizer.quantize(tokenizer.encode(*surface_tensors(samples, device)))
    fields = tuple(
        ShapeField(tokenizer, tokenizer.shape_memory(prefix_1LC, scale))
        for scale, prefix_1LC in enumerate(coded.prefixes, start=1)
    )
    return CodedShape(fields, ())


def decode_mesh(
    tokenizer: DiscreteTokenizer,
    indices_T: Int[Tensor, " T"],
    *,
    resolution: int,
    seeds: Float[np.ndarray, "N 3"] | None = None,
) -> Extraction:
    """Mesh the field of some tokens."""
    field = ShapeField.from_tokens(tokenizer, indices_T)
    return extract_surface(field, resolution=resolution, seeds=seeds)
