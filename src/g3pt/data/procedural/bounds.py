"""The bounding box of a shape.

It follows from the extreme points of the primitives, and is measured where carving took those away.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from g3pt.data.procedural.patches import polar
from g3pt.data.procedural.primitives import (
    NUM_STATIONS,
    Kind,
    ShapeArrays,
    lathe_radius,
    onto_surface,
    plate_radius,
    signed_distance,
    terrain_height,
)
from g3pt.data.procedural.surfaces import sample_primitives, surface_areas

_AROUND = np.arange(16) * np.pi / 8
_SIGNS = np.stack(np.meshgrid([-1, 1], [-1, 1], [-1, 1], indexing="ij"), axis=-1).reshape(-1, 3)
_NUM_MEASURED = 30_000
_AXES = np.concatenate([np.eye(3), -np.eye(3)])


def bounding_box(arrays: ShapeArrays) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest corner of the shape's axis-aligned bounding box, in its own frame.

    Exact when each of the six extremes of the added primitives is still on the surface; otherwise
    that side is measured on a fixed sample of the surface, to about a thousandth of the size. That
    is also the accuracy for the kinds after SUPERQUADRIC and for blended shapes.
    """
    added = np.flatnonzero(~arrays.carves)
    candidates = [_extreme_points(arrays, int(index)) for index in added]
    if arrays.blends.any():
        ends = np.cumsum([len(points) for points in candidates])[:-1]
        candidates = np.split(onto_surface(arrays, np.concatenate(candidates)), ends)
    points = np.concatenate(candidates)
    low, high = points.min(axis=0), points.max(axis=0)
    if not arrays.carves.any():
        return low, high
    tolerance = 1e-5 * float((high - low).max())
    kept = points[np.abs(signed_distance(arrays, points)) < tolerance]
    kept_low, kept_high = kept.min(axis=0, initial=np.inf), kept.max(axis=0, initial=-np.inf)
    trimmed = np.concatenate([kept_low > low + tolerance, kept_high < high - tolerance])
    if not trimmed.any():
        return low, high
    reaching = [
        int(index)
        for index, own in zip(added, candidates, strict=True)
        if np.any(
            np.concatenate([own.min(axis=0) < kept_low, own.max(axis=0) > kept_high]) & trimmed
        )
    ]
    measured = np.concatenate([kept, _measure(arrays, reaching, tolerance)])
    low = np.where(trimmed[:3], measured.min(axis=0), low)
    high = np.where(trimmed[3:], measured.max(axis=0), high)
    return low, high


def _measure(arrays: ShapeArrays, reaching: list[int], tolerance: float) -> NDArray[np.float64]:
    """Surface points, from a fixed sample, on the primitives that reach beyond the known ones."""
    rng = np.random.default_rng(0)
    areas = surface_areas(arrays)[reaching]
    owners = rng.choice(reaching, _NUM_MEASURED, p=areas / areas.sum())
    points, _ = sample_primitives(arrays, owners, rng)
    return points[np.abs(signed_distance(arrays, points)) < tolerance]


def _extreme_points(arrays: ShapeArrays, index: int) -> NDArray[np.float64]:
    """Surface points of one primitive among which its extremes along the six axes are found."""
    rotation = arrays.rotations[index].astype(np.float64)
    parameters = arrays.parameters[index].astype(np.float64)
    directions = _AXES @ rotation  # the axes in the primitive's frame
    local = _LOCAL[Kind(arrays.kinds[index])](parameters, directions)
    return local @ rotation.T + arrays.translations[index]


def _box(p: NDArray[np.float64], directions: NDArray[np.float64]) -> NDArray[np.float64]:
    corners = _SIGNS * p[:3]
    return (corners[:, None] + p[3] * directions[None]).reshape(-1, 3)


def _circle(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([np.cos(angles), np.zeros_like(angles), np.sin(angles)], axis=1)


def _headings(directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit circle points under the directions, with a few more for directions along the axis."""
    return _circle(np.concatenate([np.arctan2(directions[:, 2], directions[:, 0]), _AROUND]))


def _cone(p: NDArray[np.float64], directions: NDArray[np.float64]) -> NDArray[np.float64]:
    ring = _headings(directions)
    cores = np.concatenate([ring * p[0] - [0, p[2], 0], ring * p[1] + [0, p[2], 0]])
    if p[3] == 0:
        return cores
    return (cores[:, None] + p[3] * directions[None]).reshape(-1, 3)


def _ellipsoid(p: NDArray[np.float64], directions: NDArray[np.float64]) -> NDArray[np.float64]:
    scaled = directions * p[:3]
    return scaled * p[:3] / np.linalg.norm(scaled, axis=1, keepdims=True)


def _torus(p: NDArray[np.float64], directions: NDArray[np.float64]) -> NDArray[np.float64]:
    return (p[0] * _headings(directions)[:, None] + p[1] * directions[None]).reshape(-1, 3)


def _frustum(p: NDArray[np.float64], directions: NDArray[np.float64]) -> NDArray[np.float64]:
    del directions
    top = _SIGNS[:, 1:2] > 0
    half = np.where(top, [p[2], p[4], p[3]], [p[0], p[4], p[1]])
    return _SIGNS * half + np.where(top, [p[5], 0, p[6]], 0)


def _prism(p: NDArray[np.float64], directions: NDArray[np.float64]) -> NDArray[np.float64]:
    del directions
    half = np.array([0, p[1], 0])
    ring = p[0] * _circle(np.arange(int(p[2])) * 2 * np.pi / p[2])
    return np.concatenate([ring + half, ring - half])


def _dome(p: NDArray[np.float64], directions: NDArray[np.float64]) -> NDArray[np.float64]:
    smooth = _ellipsoid(p, directions)
    smooth = smooth[smooth[:, 1] >= p[3]]
    flat = directions * [1, 0, 1]
    flat = np.concatenate([flat[np.linalg.norm(flat, axis=1) > 1e-9], _circle(_AROUND)])
    rim = _ellipsoid(p, flat) * np.sqrt(1 - (p[3] / p[1]) ** 2)
    return np.concatenate([smooth, rim + np.array([0, p[3], 0])])


def _superquadric(p: NDArray[np.float64], directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """The points that touch planes across the directions, by the exponents' dual norms."""
    upright, across = p[3] / (p[3] - 1), p[4] / (p[4] - 1)
    pull = np.maximum(np.abs(directions * p[:3]), 1e-12)
    ring = (pull[:, 0] ** across + pull[:, 2] ** across) ** (1 / across)
    whole = (ring**upright + pull[:, 1] ** upright) ** (1 / upright)
    share = (ring / whole) ** (upright - 1)
    units = np.stack(
        [
            share * (pull[:, 0] / ring) ** (across - 1),
            (pull[:, 1] / whole) ** (upright - 1),
            share * (pull[:, 2] / ring) ** (across - 1),
        ],
        axis=1,
    )
    return np.sign(directions) * units * p[:3]


def _farthest(
    candidates: NDArray[np.float64], directions: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Of (M, 3) surface points, the farthest along each of the directions."""
    return candidates[(directions @ candidates.T).argmax(axis=1)]


_LEVELS = np.linspace(-1, 1, 8 * (NUM_STATIONS - 1) + 1)
_TURNS = np.arange(120) * 2 * np.pi / 120
_SLICES = np.linspace(-1, 1, 5)[:, None]
_MESH = np.meshgrid(np.linspace(-1, 1, 25), np.linspace(-1, 1, 25))


def _lathe(p: NDArray[np.float64], directions: NDArray[np.float64]) -> NDArray[np.float64]:
    height = _LEVELS * p[0]
    radius = lathe_radius(height, p)
    rings = radius[:, None, None] * _headings(directions)
    return _farthest((rings + height[:, None, None] * [0, 1, 0]).reshape(-1, 3), directions)


def _plate(p: NDArray[np.float64], directions: NDArray[np.float64]) -> NDArray[np.float64]:
    radius = (1 - p[12] * (_SLICES + 1) / 2) * plate_radius(_TURNS, p)
    outline = polar(_TURNS + p[13] * _SLICES / 2, radius, _SLICES * p[0], 0.0)
    return _farthest(outline.reshape(-1, 3), directions)


def _arc(p: NDArray[np.float64], directions: NDArray[np.float64]) -> NDArray[np.float64]:
    ring, across, along, half, taper, rounding = p[:6]
    facing = np.arctan2(directions[:, 2], directions[:, 0])
    angle = np.concatenate([np.linspace(-half, half, 17), facing.clip(-half, half)])[:, None]
    scale = 1 - taper * np.abs(angle) / half
    turn = facing - angle
    flat = np.hypot(directions[:, 0], directions[:, 2])
    out, around = flat * np.cos(turn), flat * np.sin(turn)
    # Rounding reaches beyond the section only where the arc ends.
    around = np.where(around * np.sign(angle) * (np.abs(angle) >= half) > 0, around, 0.0)
    up = np.broadcast_to(directions[:, 1], out.shape)
    length = np.maximum(np.sqrt(out**2 + up**2 + around**2), 1e-12)
    points = polar(
        angle,
        ring + scale * (across * np.sign(out) + rounding * out / length),
        scale * (along * np.sign(up) + rounding * up / length),
        scale * rounding * around / length,
    )
    return _farthest(points.reshape(-1, 3), directions)


def _terrain(p: NDArray[np.float64], directions: NDArray[np.float64]) -> NDArray[np.float64]:
    x, z = p[0] * _MESH[0].ravel(), p[1] * _MESH[1].ravel()
    top = np.stack([x, terrain_height(x, z, p), z], axis=1)
    low = _SIGNS[_SIGNS[:, 1] < 0] * [p[0], p[2], p[1]]
    return _farthest(np.concatenate([top, low]), directions)


_LOCAL = {
    Kind.BOX: _box,
    Kind.CYLINDER: _cone,
    Kind.CONE: _cone,
    Kind.ELLIPSOID: _ellipsoid,
    Kind.TORUS: _torus,
    Kind.FRUSTUM: _frustum,
    Kind.PRISM: _prism,
    Kind.DOME: _dome,
    Kind.SUPERQUADRIC: _superquadric,
    Kind.LATHE: _lathe,
    Kind.PLATE: _plate,
    Kind.ARC: _arc,
    Kind.TERRAIN: _terrain,
}
