"""Procedural shapes: seeded compositions of solids with exact fields, colours and captions.

Families model kinds of objects, such as chairs. A grammar makes assemblies that are no known
object.
"""

from g3pt.procedural.shape import (
    ASSEMBLY,
    CUT_ASSEMBLY,
    FAMILIES,
    HELD_OUT_FAMILIES,
    HELD_OUT_SEEDS,
    NUM_TRAIN_SEEDS,
    TRAIN_FAMILIES,
    AssemblyFamily,
    NoSurfaceError,
    ProceduralShape,
    make_shape,
)

__all__ = [
    "ASSEMBLY",
    "CUT_ASSEMBLY",
    "FAMILIES",
    "HELD_OUT_FAMILIES",
    "HELD_OUT_SEEDS",
    "NUM_TRAIN_SEEDS",
    "TRAIN_FAMILIES",
    "AssemblyFamily",
    "NoSurfaceError",
    "ProceduralShape",
    "make_shape",
]
