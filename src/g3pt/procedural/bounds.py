"""The bounding box of a shape.

It is computed from the extreme points of the primitives, and measured on samples where carving or
a limit removed those.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from g3pt.procedural.patches import polar
from g3pt.procedural.primitives import (
    NUM_STATIONS,
    Kind,
    ShapeArrays,
    lathe_radius,
    onto_surface,
    plate_radius,
    signed_distance,
    terrain_height,
)
from g3pt.procedural.surfaces import sample_primitives, surface_areas

_AROUND = np.arange(16) * np.pi / 8
_SIGNS = np.stack(np.meshgrid([-1, 1], [-1, 1], [-1, 1], indexing="ij"), axis=-1).reshape(-1, 3)
NUM_MEASURED = 30_000
_AXES = np.concatenate([np.eye(3), -np.eye(3)])


def outer_box(arrays: ShapeArrays) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest corners (K, 3) of a box that contains what takes part of each primitive.

    For a chain of limited primitives this is the common part of their boxes, which is empty, with
    high below low, where the boxes do not meet.
    """
    half = np.empty((len(arrays), 3))
    for kind in np.unique(arrays.kinds):
        rows = arrays.kinds == kind
        parameters = np.abs(arrays.parameters[rows].astype(np.float64)).T
        half[rows] = np.stack(np.broadcast_arrays(*_OUTER[Kind(kind)](parameters)), axis=1)
    reach = np.einsum("kij,kj->ki", np.abs(arrays.rotations.astype(np.float64)), half)
    reach = 1.00001 * reach + 1e-6  # more than the rounding of single precision
    low, high = arrays.translations - reach, arrays.translations + reach
    if not arrays.limited.any():
        return low, high
    chains, first = arrays.chains, np.flatnonzero(np.append(True, ~arrays.limited[:-1]))
    return np.maximum.reduceat(low, first)[chains], np.minimum.reduceat(high, first)[chains]


class EmptyShapeError(ValueError):
    """Raised when carving or a limit has removed a whole shape."""


def bounding_box(
    arrays: ShapeArrays, *, num_measured: int = NUM_MEASURED
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest corner of the shape's axis-aligned bounding box, in its own frame.

    Exact when each of the six extremes of the added primitives is still on the surface; otherwise
    that side is measured on a fixed sample of the surface, to about a thousandth of the size. That
    is also the accuracy for the kinds after SUPERQUADRIC and for blended shapes.

    Args:
        arrays: the shape.
        num_measured: size of the sample.

    Raises:
        EmptyShapeError: if no surface is found.
    """
    candidates = _swollen(arrays, _reaching(arrays))
    low, high = _ends(candidates)
    if not (arrays.carves.any() or arrays.limited.any()):
        return low, high
    # Newton steps towards a blend, and samples next to it, end near the surface, not on it.
    tolerance = (5e-3 if arrays.blends.any() else 1e-5) * float((high - low).max())
    kept = _kept(arrays, candidates, tolerance)
    kept_low, kept_high = kept.min(axis=0, initial=np.inf), kept.max(axis=0, initial=-np.inf)
    trimmed = np.concatenate([kept_low > low + tolerance, kept_high < high - tolerance])
    if not trimmed.any():
        return low, high
    # Any primitive may hold the extreme of what carving or a limit has left.
    added = np.flatnonzero(~arrays.carves).tolist()
    candidates = _swollen(arrays, {row: _extreme_points(arrays, row) for row in added})
    kept = _kept(arrays, candidates, tolerance)
    kept_low, kept_high = kept.min(axis=0, initial=np.inf), kept.max(axis=0, initial=-np.inf)
    reaching = [
        index
        for index, own in candidates.items()
        if np.any(
            np.concatenate([own.min(axis=0) < kept_low, own.max(axis=0) > kept_high]) & trimmed
        )
    ]
    measured = [kept]
    if reaching:
        measured.append(_measure(arrays, reaching, tolerance, num_measured))
    if not any(map(len, measured)):
        raise EmptyShapeError("carving or a limit has left nothing of this shape")
    kept_low, kept_high = _ends(dict(enumerate(measured)))
    if arrays.limited.any():
        kept_low, kept_high = _climbed(arrays, np.concatenate(measured))
    low = np.where(trimmed[:3], kept_low, low)
    high = np.where(trimmed[3:], kept_high, high)
    return low, high


Candidates = dict[int, NDArray[np.float64]]
"""Surface points among which extremes are searched, by primitive."""


def _ends(candidates: Candidates) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    points = np.concatenate(list(candidates.values()))
    return points.min(axis=0), points.max(axis=0)


def _kept(arrays: ShapeArrays, candidates: Candidates, tolerance: float) -> NDArray[np.float64]:
    points = np.concatenate(list(candidates.values()))
    return points[np.abs(signed_distance(arrays, points)) < tolerance]


def _reaching(arrays: ShapeArrays) -> Candidates:
    """Extreme points of the added primitives that may be the farthest along an axis."""
    added = np.flatnonzero(~arrays.carves)
    low, high = outer_box(arrays)
    outer = np.concatenate([-low[added], high[added]], axis=1)
    known: Candidates = {}
    best = np.full(6, -np.inf)
    while True:
        unknown = [row for row in range(len(added)) if row not in known]
        left = outer[unknown] > best
        if not left.any():
            return {int(added[row]): known[row] for row in sorted(known)}
        for row in {unknown[int(np.argmax(outer[unknown, side]))] for side in range(6)}:
            known[row] = _extreme_points(arrays, int(added[row]))
            own = np.concatenate([-known[row].min(axis=0), known[row].max(axis=0)])
            best = np.maximum(best, own)


def _swollen(arrays: ShapeArrays, candidates: Candidates) -> Candidates:
    """The points; those near the outside are moved onto the blends that cover them."""
    if not arrays.blends.any():
        return candidates
    points = np.concatenate(list(candidates.values()))
    low, high = points.min(axis=0), points.max(axis=0)
    margin = float(arrays.blends.max())
    outer = np.flatnonzero(((points < low + margin) | (points > high - margin)).any(axis=1))
    outer = outer[signed_distance(arrays, points[outer]) < -1e-6]
    points[outer] = onto_surface(arrays, points[outer], num_steps=2)
    ends = np.cumsum([len(own) for own in candidates.values()])[:-1]
    return dict(zip(candidates, np.split(points, ends), strict=True))


def _measure(
    arrays: ShapeArrays, reaching: list[int], tolerance: float, num: int
) -> NDArray[np.float64]:
    """Points of a fixed sample, on the primitives that may reach beyond the known points."""
    rng = np.random.default_rng(0)
    outer = arrays.only(reaching)
    areas = surface_areas(outer)
    owners = rng.choice(len(outer), num, p=areas / areas.sum())
    points, _ = sample_primitives(outer, owners, rng)
    return points[np.abs(signed_distance(arrays, points)) < tolerance]


_REACHES = 0.12 * 0.65 ** np.arange(12)
"""Standard deviations of the steps of a climb, in lengths of the shape."""


def _climbed(
    arrays: ShapeArrays, points: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ends of a shape, from known surface points outwards by random steps that stay inside.

    What is left of limited primitives ends at edges and corners, which samples rarely meet.
    """
    rng = np.random.default_rng(0)
    best = points[(points @ _AXES.T).argmax(axis=0)]
    for reach in _REACHES * float((points.max(axis=0) - points.min(axis=0)).max()):
        tried = best[:, None] + reach * rng.standard_normal((len(_AXES), 48, 3))
        inside = signed_distance(arrays, tried.reshape(-1, 3)).reshape(len(_AXES), -1) < 0
        heights = np.where(inside, np.einsum("ank,ak->an", tried, _AXES), -np.inf)
        farthest = heights.argmax(axis=1)
        rows = np.arange(len(_AXES))
        higher = heights[rows, farthest] > (best * _AXES).sum(axis=1)
        best = np.where(higher[:, None], tried[rows, farthest], best)
    ends = (best * _AXES).sum(axis=1)
    return np.minimum(-ends[3:], points.min(axis=0)), np.maximum(ends[:3], points.max(axis=0))


def _extreme_points(arrays: ShapeArrays, index: int) -> NDArray[np.float64]:
    """Surface points of one primitive that include its extremes along the six axes."""
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
    """Unit projections of the directions on the xz plane; several for directions along y."""
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
    """Points of tangency of planes normal to the directions, by the dual norms of the exponents."""
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
    radius = lathe_radius(height, p[:, None])
    rings = radius[:, None, None] * _headings(directions)
    return _farthest((rings + height[:, None, None] * [0, 1, 0]).reshape(-1, 3), directions)


def _plate(p: NDArray[np.float64], directions: NDArray[np.float64]) -> NDArray[np.float64]:
    unbevelled = 1 - p[16] / p[0]
    levels = np.concatenate([_SLICES, [[-unbevelled], [unbevelled]]])
    cut = np.maximum(np.abs(levels) - unbevelled, 0) * p[0]
    radius = (1 - p[12] * (levels + 1) / 2) * plate_radius(_TURNS, p[:, None]) - cut
    outline = polar(_TURNS + p[13] * levels / 2, radius, levels * p[0], 0.0)
    return _farthest(outline.reshape(-1, 3), directions)


def _arc(p: NDArray[np.float64], directions: NDArray[np.float64]) -> NDArray[np.float64]:
    ring, across, along, half, taper, rounding = p[:6]
    facing = np.arctan2(directions[:, 2], directions[:, 0])
    angle = np.concatenate([np.linspace(-half, half, 17), facing.clip(-half, half)])[:, None]
    scale = 1 - taper * np.abs(angle) / half
    turn = facing - angle
    flat = np.hypot(directions[:, 0], directions[:, 2])
    out, around = flat * np.cos(turn), flat * np.sin(turn)
    # Rounding extends beyond the cross-section only at the ends of the arc.
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

_OUTER: dict[Kind, Callable[[NDArray[np.float64]], tuple[NDArray[np.float64], ...]]] = {
    Kind.BOX: lambda p: (p[0] + p[3], p[1] + p[3], p[2] + p[3]),
    Kind.CYLINDER: lambda p: (p[0] + p[3], p[2] + p[3], p[0] + p[3]),
    Kind.CONE: lambda p: (
        np.maximum(p[0], p[1]) + p[3],
        p[2] + p[3],
        np.maximum(p[0], p[1]) + p[3],
    ),
    Kind.ELLIPSOID: lambda p: (p[0], p[1], p[2]),
    Kind.TORUS: lambda p: (p[0] + p[1], p[1], p[0] + p[1]),
    Kind.FRUSTUM: lambda p: (
        np.maximum(p[0], p[2] + p[5]),
        p[4],
        np.maximum(p[1], p[3] + p[6]),
    ),
    Kind.PRISM: lambda p: (p[0], p[1], p[0]),
    Kind.DOME: lambda p: (p[0], p[1], p[2]),
    Kind.SUPERQUADRIC: lambda p: (p[0], p[1], p[2]),
    Kind.LATHE: lambda p: (p[1:9].max(axis=0), p[0], p[1:9].max(axis=0)),
    Kind.PLATE: lambda p: (
        (1 + p[12]) * p[1:11].max(axis=0),
        p[0],
        (1 + p[12]) * p[1:11].max(axis=0),
    ),
    Kind.ARC: lambda p: (p[0] + p[1] + p[5], p[2] + p[5], p[0] + p[1] + p[5]),
    Kind.TERRAIN: lambda p: (p[0], np.maximum(p[2], p[3] + p[7] + p[11]), p[1]),
}
"""By kind: half lengths of a bounding box in the primitive's frame, from its parameters."""
