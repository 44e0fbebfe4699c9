"""Clusters: parts of an assembly, arrays of primitives to be moved, rotated and mirrored."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from g3pt.procedural.primitives import (
    LENGTHS,
    NUM_PARAMETERS,
    NUM_SPOKES,
    Kind,
    ShapeArrays,
)

Matrix = NDArray[np.floating]
Color = tuple[int, int, int]

UPRIGHT = np.eye(3, dtype=np.float32)


def part(
    kind: Kind,
    parameters: tuple[float, ...],
    color: Color,
    at: tuple[float, float, float] | Matrix = (0.0, 0.0, 0.0),
    rotation: Matrix = UPRIGHT,
    *,
    carve: bool = False,
    blend: float = 0.0,
) -> ShapeArrays:
    """Make a cluster of one primitive, with the parameters that its kind lists."""
    row = np.zeros((1, NUM_PARAMETERS), np.float32)
    row[0, : len(parameters)] = parameters
    return ShapeArrays(
        kinds=np.array([kind], np.int64),
        parameters=row,
        rotations=np.asarray(rotation, np.float32)[None],
        translations=np.array([at], np.float32),
        carves=np.array([carve]),
        colors=np.array([color], np.uint8),
        blends=np.array([blend], np.float32),
        limited=np.zeros(1, np.bool_),
    )


def joined(clusters: list[ShapeArrays]) -> ShapeArrays:
    """Concatenate clusters; a carving applies to everything before it."""
    if len(clusters) == 1:
        return clusters[0]
    return ShapeArrays(
        kinds=np.concatenate([c.kinds for c in clusters]),
        parameters=np.concatenate([c.parameters for c in clusters]),
        rotations=np.concatenate([c.rotations for c in clusters]),
        translations=np.concatenate([c.translations for c in clusters]),
        carves=np.concatenate([c.carves for c in clusters]),
        colors=np.concatenate([c.colors for c in clusters]),
        blends=np.concatenate([c.blends for c in clusters]),
        limited=np.concatenate([c.limited for c in clusters]),
    )


def moved(cluster: ShapeArrays, shift: Matrix | tuple[float, float, float]) -> ShapeArrays:
    """Move a cluster."""
    return replace(cluster, translations=cluster.translations + np.asarray(shift, np.float32))


def rotated(
    cluster: ShapeArrays, rotation: Matrix, about: Matrix | tuple[float, float, float] = (0, 0, 0)
) -> ShapeArrays:
    """Rotate a cluster about a point."""
    rotation = np.asarray(rotation, np.float32)
    centre = np.asarray(about, np.float32)
    return replace(
        cluster,
        rotations=rotation @ cluster.rotations,
        translations=(cluster.translations - centre) @ rotation.T + centre,
    )


def scaled(cluster: ShapeArrays, factor: float) -> ShapeArrays:
    """Enlarge a cluster about the origin."""
    factors = np.where(LENGTHS[cluster.kinds], np.float32(factor), np.float32(1))
    return replace(
        cluster,
        parameters=cluster.parameters * factors,
        translations=cluster.translations * np.float32(factor),
        blends=cluster.blends * np.float32(factor),
    )


def carving(cluster: ShapeArrays, color: Color | None = None) -> ShapeArrays:
    """Return the same solids as carvings that leave surfaces of a colour."""
    colors = cluster.colors if color is None else np.full_like(cluster.colors, color)
    return replace(cluster, carves=np.ones(len(cluster), np.bool_), colors=colors)


def blended(cluster: ShapeArrays, radius: float) -> ShapeArrays:
    """Return the same solids; added ones are blended with everything before them."""
    return replace(cluster, blends=np.where(cluster.carves, 0, radius).astype(np.float32))


def _mirror_signs() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """By kind: the local mirror symmetry of the solid, and the parameters that change sign."""
    local = np.tile(np.array([-1, 1, 1], np.float32), (len(Kind), 1))
    local[[Kind.PRISM, Kind.PLATE, Kind.ARC]] = (1, 1, -1)
    signs = np.ones((len(Kind), NUM_PARAMETERS), np.float32)
    signs[Kind.FRUSTUM, 5] = -1
    signs[Kind.PLATE, 13] = -1
    signs[Kind.TERRAIN, [4, 8, 12]] = -1
    return local, signs


_LOCAL_MIRRORS, _MIRROR_SIGNS = _mirror_signs()
_REVERSED_SPOKES = 1 + (-np.arange(NUM_SPOKES)) % NUM_SPOKES


def mirrored(cluster: ShapeArrays, axis: int, at: float = 0.0) -> ShapeArrays:
    """Mirror a cluster at the plane where the coordinate `axis` is `at`."""
    flip = np.ones(3, np.float32)
    flip[axis] = -1
    translations = cluster.translations * flip
    translations[:, axis] += 2 * at
    parameters = cluster.parameters * _MIRROR_SIGNS[cluster.kinds]
    plates = cluster.kinds == Kind.PLATE
    if plates.any():
        parameters[plates, 1 : 1 + NUM_SPOKES] = parameters[plates][:, _REVERSED_SPOKES]
    return replace(
        cluster,
        parameters=parameters,
        rotations=flip[:, None] * cluster.rotations * _LOCAL_MIRRORS[cluster.kinds][:, None],
        translations=translations,
    )
