"""Procedural shapes: seeded compositions of solids with exact fields, colours and captions."""

from g3pt.data.procedural.shape import (
    FAMILIES,
    HELD_OUT_FAMILIES,
    HELD_OUT_SEEDS,
    TRAIN_FAMILIES,
    ProceduralShape,
    make_shape,
)

__all__ = [
    "FAMILIES",
    "HELD_OUT_FAMILIES",
    "HELD_OUT_SEEDS",
    "TRAIN_FAMILIES",
    "ProceduralShape",
    "make_shape",
]
