"""Areas of the primitives' surfaces, and uniform points on them.

Each sampler takes the parameters of one primitive *per point*, (N, 17), and the piece of its
surface to draw from, so that points on many primitives of a kind are drawn in one call. Rounded
solids are Minkowski sums of a core and a ball: a normal is drawn first, then a point of the core
with this normal.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from g3pt.procedural.patches import PATCHES, patch_areas, polar, sample_patches
from g3pt.procedural.primitives import Kind, ShapeArrays

Array = NDArray[np.float64]
Pieces = NDArray[np.int64]


def surface_areas(arrays: ShapeArrays) -> Array:
    """Area of each primitive's whole surface, buried parts included: (K,)."""
    areas = np.empty(len(arrays))
    for kind in Kind:
        index = np.flatnonzero(arrays.kinds == kind)
        if len(index):
            areas[index] = _PIECES[kind](arrays.parameters[index].astype(np.float64)).sum(axis=1)
    return areas


def sample_primitives(
    arrays: ShapeArrays, owners: NDArray[np.int64], rng: np.random.Generator
) -> tuple[Array, Array]:
    """One random surface point, with outward normal, on each primitive named in (N,) owners."""
    points, normals = np.empty((len(owners), 3)), np.empty((len(owners), 3))
    kinds = arrays.kinds[owners]
    for kind in Kind:
        index = np.flatnonzero(kinds == kind)
        if len(index):
            used, which = np.unique(owners[index], return_inverse=True)
            parameters = arrays.parameters[used].astype(np.float64)
            piece = _choose(_PIECES[kind](parameters), which, rng)
            points[index], normals[index] = _SAMPLERS[kind](parameters[which], piece, rng)
    rotations = arrays.rotations[owners].astype(np.float64)
    points = np.einsum("nij,nj->ni", rotations, points) + arrays.translations[owners]
    return points, np.einsum("nij,nj->ni", rotations, normals)


def _choose(
    weights: Array, rows: NDArray[np.int64] | None, rng: np.random.Generator
) -> NDArray[np.int64]:
    """One column index per row of (R, M) weights, or per named row, in proportion to them."""
    cumulative = np.cumsum(weights, axis=1)
    cumulative /= cumulative[:, -1:]
    if rows is not None:
        cumulative = cumulative[rows]
    return (cumulative[:, :-1] < rng.random((len(cumulative), 1))).sum(axis=1)


def _sphere(num: int, rng: np.random.Generator) -> Array:
    directions = rng.standard_normal((num, 3))
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


def _box_pieces(p: Array) -> Array:
    x, y, z, r = p[:, 0], p[:, 1], p[:, 2], p[:, 3]
    faces = [8 * y * z, 8 * z * x, 8 * x * y]
    edges = [4 * np.pi * r * x, 4 * np.pi * r * y, 4 * np.pi * r * z]
    return np.stack([*faces, *edges, 4 * np.pi * r * r], axis=1)


def _sample_box(p: Array, piece: Pieces, rng: np.random.Generator) -> tuple[Array, Array]:
    normals = _sphere(len(p), rng)
    # On a face the normal has one non-zero component, on an edge two, on a corner three.
    keep = np.concatenate([np.eye(3), 1 - np.eye(3), np.ones((1, 3))])[piece]
    normals *= keep
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    signs = np.where(keep > 0, np.sign(normals), rng.uniform(-1, 1, (len(p), 3)))
    return signs * p[:, :3] + normals * p[:, 3:4], normals


def _cone_pieces(p: Array) -> Array:
    """Bottom disc, top disc, side, and each rounded rim split into its two densities."""
    bottom, top, half, r = p[:, 0], p[:, 1], p[:, 2], p[:, 3]
    tilt = np.arctan2(bottom - top, 2 * half)
    slant = np.hypot(2 * half, bottom - top)
    low, high = tilt + np.pi / 2, np.pi / 2 - tilt
    return np.pi * np.stack(
        [
            bottom**2,
            top**2,
            slant * (bottom + top + 2 * r * np.cos(tilt)),
            2 * r * bottom * low,
            2 * r * r * (np.sin(tilt) + 1),
            2 * r * top * high,
            2 * r * r * (1 - np.sin(tilt)),
        ],
        axis=1,
    )


def _sample_cone(p: Array, piece: Pieces, rng: np.random.Generator) -> tuple[Array, Array]:
    bottom, top, half, r = p[:, 0], p[:, 1], p[:, 2], p[:, 3]
    tilt = np.arctan2(bottom - top, 2 * half)
    u = rng.random(len(p))
    sine_low, sine_high = np.sin(tilt) * u - (1 - u), np.sin(tilt) * (1 - u) + u
    elevation = np.select(
        [piece == 0, piece == 1, piece == 2, piece == 3, piece == 4, piece == 5],
        [
            np.full(len(p), -np.pi / 2),
            np.full(len(p), np.pi / 2),
            tilt,
            -np.pi / 2 + u * (tilt + np.pi / 2),
            np.arcsin(sine_low.clip(-1, 1)),
            tilt + u * (np.pi / 2 - tilt),
        ],
        np.arcsin(sine_high.clip(-1, 1)),
    )
    # Along the side the density grows with the radius: a mixture of a uniform and a linear one.
    start, end = bottom + r * np.cos(tilt), top + r * np.cos(tilt)
    along = (start - np.sqrt(start**2 + u * (end**2 - start**2))) / np.where(
        np.abs(start - end) < 1e-9, 1, start - end
    )
    along = np.where(np.abs(start - end) < 1e-9, u, along)
    disc = np.sqrt(u)
    core = np.select(
        [piece == 0, piece == 1, piece == 2, piece <= 4],
        [bottom * disc, top * disc, bottom + along * (top - bottom), bottom],
        top,
    )
    height = np.select(
        [piece == 0, piece == 1, piece == 2, piece <= 4],
        [-half, half, half * (2 * along - 1), -half],
        half,
    )
    around = rng.uniform(0, 2 * np.pi, len(p))
    cosine, sine = np.cos(around), np.sin(around)
    radius = core + r * np.cos(elevation)
    points = np.stack([radius * cosine, height + r * np.sin(elevation), radius * sine], axis=1)
    flat = np.where(piece < 2, 0.0, np.cos(elevation))
    return points, np.stack([flat * cosine, np.sin(elevation), flat * sine], axis=1)


def _fibonacci(num: int) -> Array:
    height = 1 - (2 * np.arange(num) + 1) / num
    around = np.arange(num) * np.pi * (3 - np.sqrt(5))
    flat = np.sqrt(1 - height**2)
    return np.stack([flat * np.cos(around), height, flat * np.sin(around)], axis=1)


_DIRECTIONS = _fibonacci(256)


def _ellipsoid_pieces(p: Array, cut: Array | None = None) -> Array:
    """Area by quadrature over directions of the sphere; accurate to about a part in a thousand."""
    lowest = -np.ones(len(p)) if cut is None else cut
    height = lowest[:, None] + (1 - lowest[:, None]) * (_DIRECTIONS[:, 1] + 1) / 2
    flat = np.sqrt(1 - height**2) / np.sqrt(1 - _DIRECTIONS[:, 1] ** 2)
    units = np.stack([_DIRECTIONS[:, 0] * flat, height, _DIRECTIONS[:, 2] * flat], axis=2)
    stretch = np.linalg.norm(units / p[:, None, :3], axis=2).mean(axis=1)
    return (2 * np.pi * (1 - lowest) * stretch * p[:, :3].prod(axis=1))[:, None]


def _sample_ellipsoid(
    p: Array, piece: Pieces, rng: np.random.Generator, cut: Array | None = None, tries: int = 6
) -> tuple[Array, Array]:
    del piece
    lowest = -1.0 if cut is None else cut[:, None]
    height = lowest + (1 - lowest) * rng.random((len(p), tries))
    around = rng.uniform(0, 2 * np.pi, height.shape)
    flat = np.sqrt(1 - height**2)
    units = np.stack([flat * np.cos(around), height, flat * np.sin(around)], axis=2)
    # Choose one of a few candidates in proportion to the area element of the stretch.
    chosen = _choose(np.linalg.norm(units / p[:, None, :3], axis=2), None, rng)
    unit = units[np.arange(len(p)), chosen]
    normals = unit / p[:, :3]
    return unit * p[:, :3], normals / np.linalg.norm(normals, axis=1, keepdims=True)


def _torus_pieces(p: Array) -> Array:
    return (4 * np.pi**2 * p[:, 0] * p[:, 1])[:, None]


def _sample_torus(p: Array, piece: Pieces, rng: np.random.Generator) -> tuple[Array, Array]:
    del piece
    ring, tube = p[:, 0], p[:, 1]
    angle = rng.uniform(0, 2 * np.pi, len(p))
    # Mirror angles to the outside of the ring in proportion to its larger circumference there.
    mirror = rng.random(len(p)) * 2 * ring > ring + tube * np.cos(angle)
    angle = np.where(mirror, np.pi - angle, angle)
    around = rng.uniform(0, 2 * np.pi, len(p))
    flat = np.cos(angle)
    normals = np.stack([flat * np.cos(around), np.sin(angle), flat * np.sin(around)], axis=1)
    spine = np.stack([ring * np.cos(around), np.zeros(len(p)), ring * np.sin(around)], axis=1)
    return spine + tube[:, None] * normals, normals


def _frustum_pieces(p: Array) -> Array:
    """Bottom, top, then the sides towards +x, -x, +z and -z."""
    x0, z0, x1, z1, half, shift_x, shift_z = p.T[:7]
    sides = [
        (b + t) * np.hypot(2 * half, sign * shift + end - start)
        for (b, t, start, end, shift) in ((z0, z1, x0, x1, shift_x), (x0, x1, z0, z1, shift_z))
        for sign in (1, -1)
    ]
    return np.stack([4 * x0 * z0, 4 * x1 * z1, *sides], axis=1)


def _sample_frustum(p: Array, piece: Pieces, rng: np.random.Generator) -> tuple[Array, Array]:
    x0, z0, x1, z1, half, shift_x, shift_z = p.T[:7]
    u, v = rng.random(len(p)), rng.uniform(-1, 1, len(p))
    on_x = (piece == 2) | (piece == 3)
    width0, width1 = np.where(on_x, z0, x0), np.where(on_x, z1, x1)
    difference = np.where(np.abs(width1 - width0) < 1e-9, 1, width1 - width0)
    along = (np.sqrt(width0**2 + u * (width1**2 - width0**2)) - width0) / difference
    along = np.where(np.abs(width1 - width0) < 1e-9, u, along)
    along = np.select([piece == 0, piece == 1], [0.0, 1.0], along)
    half_x, half_z = x0 + along * (x1 - x0), z0 + along * (z1 - z0)
    sign = np.where((piece == 2) | (piece == 4), 1.0, -1.0)
    across = np.select([on_x, piece >= 4], [sign, v], v)
    deep = np.select([on_x, piece >= 4], [v, sign], 2 * u - 1)
    x, z = shift_x * along + across * half_x, shift_z * along + deep * half_z
    points = np.stack([x, half * (2 * along - 1), z], axis=1)
    slope_x, slope_z = sign * shift_x + x1 - x0, sign * shift_z + z1 - z0
    zero, tall = np.zeros(len(p)), 2 * half
    up = np.where(piece == 0, -1.0, 1.0)
    normals = np.where(
        on_x[:, None],
        np.stack([sign * tall, -slope_x, zero], axis=1),
        np.stack([zero, -slope_z, sign * tall], axis=1),
    )
    normals = np.where((piece < 2)[:, None], np.stack([zero, up, zero], axis=1), normals)
    return points, normals / np.linalg.norm(normals, axis=1, keepdims=True)


def _prism_pieces(p: Array) -> Array:
    radius, half, sides = p[:, 0], p[:, 1], p[:, 2]
    cap = sides / 2 * radius**2 * np.sin(2 * np.pi / sides)
    return np.stack([cap, cap, sides * 2 * radius * np.sin(np.pi / sides) * 2 * half], axis=1)


def _sample_prism(p: Array, piece: Pieces, rng: np.random.Generator) -> tuple[Array, Array]:
    radius, half, sides = p[:, 0], p[:, 1], p[:, 2]
    sector = np.pi / sides
    inward = np.where(piece == 2, 1.0, np.sqrt(rng.random(len(p))))
    edge = inward * radius * np.cos(sector)
    along = inward * radius * np.sin(sector) * rng.uniform(-1, 1, len(p))
    middle = (2 * np.floor(rng.random(len(p)) * sides) + 1) * sector
    cosine, sine = np.cos(middle), np.sin(middle)
    height = np.select([piece == 0, piece == 1], [-half, half], rng.uniform(-1, 1, len(p)) * half)
    points = np.stack([edge * cosine - along * sine, height, edge * sine + along * cosine], axis=1)
    side = piece == 2
    up = np.select([piece == 0, piece == 1], [-1.0, 1.0], 0.0)
    return points, np.stack([side * cosine, up, side * sine], axis=1)


def _dome_pieces(p: Array) -> Array:
    cut = p[:, 3] / p[:, 1]
    disc = np.pi * p[:, 0] * p[:, 2] * (1 - cut**2)
    return np.stack([_ellipsoid_pieces(p, cut)[:, 0], disc], axis=1)


def _sample_dome(p: Array, piece: Pieces, rng: np.random.Generator) -> tuple[Array, Array]:
    cut = p[:, 3] / p[:, 1]
    points, normals = _sample_ellipsoid(p, piece, rng, cut)
    flat = piece == 1
    radius = np.sqrt(rng.random(len(p)) * (1 - cut**2))
    around = rng.uniform(0, 2 * np.pi, len(p))
    disc = [radius * np.cos(around) * p[:, 0], p[:, 3], radius * np.sin(around) * p[:, 2]]
    points[flat] = np.stack(disc, axis=1)[flat]
    normals[flat] = (0.0, -1.0, 0.0)
    return points, normals


def _arc_ends(p: Array) -> Array:
    """The rounded box that the two ends of an arc form if joined."""
    across, along, rounding = p[:, 1], p[:, 2], p[:, 5]
    box = np.stack([across, along, np.zeros(len(p)), rounding], axis=1)
    return box * (1 - p[:, 4:5])


def _arc_pieces(p: Array) -> Array:
    """Areas of the swept surface, then of the pieces of the ends."""
    return np.concatenate([patch_areas(Kind.ARC, p), _box_pieces(_arc_ends(p))], axis=1)


def _sample_arc(p: Array, piece: Pieces, rng: np.random.Generator) -> tuple[Array, Array]:
    points, normals = sample_patches(Kind.ARC, p, np.zeros(len(p), np.int64), rng)
    at_end = piece > 0
    ends = p[at_end]
    box_points, box_normals = _sample_box(_arc_ends(ends), piece[at_end] - 1, rng)
    angle = np.sign(box_normals[:, 2]) * ends[:, 3]
    out, up, around = box_points.T
    points[at_end] = polar(angle, ends[:, 0] + out, up, around)
    normals[at_end] = polar(angle, *box_normals.T)
    return points, normals


_PIECES: dict[Kind, Callable[[Array], Array]] = {
    Kind.BOX: _box_pieces,
    Kind.CYLINDER: _cone_pieces,
    Kind.CONE: _cone_pieces,
    Kind.ELLIPSOID: _ellipsoid_pieces,
    Kind.TORUS: _torus_pieces,
    Kind.FRUSTUM: _frustum_pieces,
    Kind.PRISM: _prism_pieces,
    Kind.DOME: _dome_pieces,
    **{kind: partial(patch_areas, kind) for kind in PATCHES},
    Kind.ARC: _arc_pieces,
}
_SAMPLERS: dict[Kind, Callable[..., tuple[Array, Array]]] = {
    Kind.BOX: _sample_box,
    Kind.CYLINDER: _sample_cone,
    Kind.CONE: _sample_cone,
    Kind.ELLIPSOID: _sample_ellipsoid,
    Kind.TORUS: _sample_torus,
    Kind.FRUSTUM: _sample_frustum,
    Kind.PRISM: _sample_prism,
    Kind.DOME: _sample_dome,
    **{kind: partial(sample_patches, kind) for kind in PATCHES},
    Kind.ARC: _sample_arc,
}
