"""Write meshes with common kinds of damage, together with their clean twins.

    python scripts/damaged_meshes.py meshes
    g3pt reconstruct meshes/*.ply -o out --json

A ball and held-out procedural shapes are written as PLY (32-bit floats), once per kind of damage
(`damaged`), as `SHAPE-DAMAGE.ply`. The solid is that of the clean twin, except for `overlapping`,
where it is the union of two, and `far-off`, where it is moved, scaled and rounded.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from g3pt.geometry.isosurface import extract_surface
from g3pt.geometry.mesh import TriangleMesh, concatenate, write_mesh
from g3pt.procedural import HELD_OUT_SEEDS, TRAIN_FAMILIES, make_shape

RESOLUTION = 96
"""Cells per axis of the clean meshes."""
DEPTH = 0.08
"""Depth of inner shells below the surface, in unit-frame lengths."""
BALL_RADIUS = 0.9
FAR_SCALE, FAR_OFFSET = 50.0, (500_000.0, 30.0, 4_200_000.0)
"""Scale and position of a building of 95 m in a metric map."""

Field = Callable[[Float[np.ndarray, "N 3"]], Float[np.ndarray, " N"]]
"""Signed field: negative inside, and about the distance near the surface."""


def main() -> None:
    """Write all meshes of all shapes."""
    arguments = parse()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, field in shapes(arguments.num):
        for damage, mesh in damaged(field):
            write_mesh(arguments.out / f"{name}-{damage}.ply", mesh)


def shapes(num: int) -> Iterator[tuple[str, Field]]:
    """Names and fields: a ball, then held-out seeds of the training families."""
    yield "ball", lambda points: np.linalg.norm(points, axis=1) - BALL_RADIUS
    for seed in range(HELD_OUT_SEEDS.start, HELD_OUT_SEEDS.start + num):
        shape = make_shape(seed, TRAIN_FAMILIES[seed % len(TRAIN_FAMILIES)])
        yield f"{shape.family}-{seed}", shape.field


def damaged(field: Field) -> Iterator[tuple[str, TriangleMesh]]:
    """Names and meshes: the clean mesh of a field, then its damaged versions."""
    clean, inner = surface(field, 0.0), surface(field, DEPTH)
    inverted = turned(clean, np.ones(len(clean.faces), dtype=np.bool_))
    some = np.random.default_rng(0).random(len(clean.faces)) < 0.5
    moved = replace(clean, vertices=clean.vertices * 0.8 + (0.2, 0.1, 0.15))
    far = replace(clean, vertices=clean.vertices * FAR_SCALE + FAR_OFFSET)
    yield "clean", clean
    yield "inverted", inverted
    yield "turned", turned(clean, some)
    yield "duplicated", concatenate([clean, inverted])
    yield "overlapping", concatenate([clean, moved])
    yield "hollow", concatenate([clean, inner])
    yield (
        "hollow-reversed",
        concatenate([clean, turned(inner, np.ones(len(inner.faces), dtype=np.bool_))]),
    )
    yield "far-off", far


def surface(field: Field, depth: float) -> TriangleMesh:
    """The surface at a depth below that of the field, in unit-frame lengths."""
    return extract_surface(lambda points: -(field(points) + depth), resolution=RESOLUTION).mesh


def turned(mesh: TriangleMesh, chosen: np.ndarray) -> TriangleMesh:
    """A mesh with the chosen faces reversed."""
    return replace(mesh, faces=np.where(chosen[:, None], mesh.faces[:, ::-1], mesh.faces))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, help="folder of the meshes")
    parser.add_argument("--num", type=int, default=6, help="procedural shapes beside the ball")
    return parser.parse_args()


if __name__ == "__main__":
    main()
