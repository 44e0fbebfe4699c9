"""Procedural shapes: seeded compositions of solids with exact fields, colours and captions.

They come from families, which are kinds of things, and from a grammar of assemblies without a kind.
"""

from g3pt.procedural.shape import (
    ASSEMBLY,
    FAMILIES,
    HELD_OUT_FAMILIES,
    HELD_OUT_SEEDS,
    TRAIN_FAMILIES,
    NoSurfaceError,
    ProceduralShape,
    make_shape,
)

__all__ = [
    "ASSEMBLY",
    "FAMILIES",
    "HELD_OUT_FAMILIES",
    "HELD_OUT_SEEDS",
    "TRAIN_FAMILIES",
    "NoSurfaceError",
    "ProceduralShape",
    "make_shape",
]
