"""Parametrised surfaces of some kinds of primitives, and uniform points on them.

A patch takes parameters (R, 17), the number of a piece per row (R,) and M pairs of numbers in [0,
1) per row (R, M, 2). It returns points (R, M, 3) and an outward normal for each (R, M, 3), whose
length is the area element of the parametrisation. Its mean over the unit square is the piece's
area. Choosing one of a few random candidates in proportion to it gives nearly uniform points.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from g3pt.procedural.primitives import (
    NUM_STATIONS,
    Kind,
    lathe_radius,
    plate_radius,
    terrain_height,
)

Array = NDArray[np.float64]
Pieces = NDArray[np.int64]
Patch = Callable[[Array, Pieces, Array], tuple[Array, Array]]

_NUM_CANDIDATES = 6
_STEP = 1e-5
"""Step of the finite differences that give the slope of a profile or an outline."""


def _lattice(num: int) -> Array:
    """A regular lattice of points in the unit square."""
    index = np.arange(num) + 0.5
    return np.stack([index / num, (index * (5**0.5 - 1) / 2) % 1], axis=1)


_EVEN = _lattice(144)


def patch_areas(kind: Kind, p: Array) -> Array:
    """Area of each piece of each of (R, 17) primitives of one kind: (R, pieces)."""
    patch, num = PATCHES[kind]
    even = np.broadcast_to(_EVEN, (len(p), *_EVEN.shape))
    pieces = (np.full(len(p), piece) for piece in range(num))
    areas = [np.linalg.norm(patch(p, piece, even)[1], axis=2).mean(axis=1) for piece in pieces]
    return np.stack(areas, axis=1)


def sample_patches(
    kind: Kind, p: Array, piece: Pieces, rng: np.random.Generator
) -> tuple[Array, Array]:
    """One point, with outward unit normal, on the piece named for each of (N, 17) primitives."""
    points, normals = PATCHES[kind][0](p, piece, rng.random((len(p), _NUM_CANDIDATES, 2)))
    areas = np.linalg.norm(normals, axis=2)
    cumulative = np.cumsum(areas, axis=1)
    chosen = (cumulative[:, :-1] < rng.random((len(p), 1)) * cumulative[:, -1:]).sum(axis=1)
    rows = np.arange(len(p))
    return points[rows, chosen], normals[rows, chosen] / areas[rows, chosen, None]


def _columns(p: Array) -> Array:
    """Parameters along the first axis, to broadcast with (R, M) numbers."""
    return p.T[:, :, None]


def _xyz(x: Array, y: Array, z: Array) -> Array:
    return np.stack(np.broadcast_arrays(x, y, z), axis=-1)


def _superquadric(p: Array, piece: Pieces, numbers: Array) -> tuple[Array, Array]:
    """The unit solid, parametrised by directions from its centre, then stretched."""
    del piece
    q = _columns(p)
    upright, across = q[3], q[4]
    height = 2 * numbers[..., 0] - 1
    flat, turn = np.sqrt(1 - height**2), 2 * np.pi * numbers[..., 1]
    direction = _xyz(flat * np.cos(turn), height, flat * np.sin(turn))
    a, b, c = np.moveaxis(np.maximum(np.abs(direction), 1e-9), -1, 0)
    ring = (a**across + c**across) ** (1 / across)
    gauge = (ring**upright + b**upright) ** (1 / upright)
    share = (ring / gauge) ** (upright - 1)
    slope = np.sign(direction) * _xyz(
        share * (a / ring) ** (across - 1),
        (b / gauge) ** (upright - 1),
        share * (c / ring) ** (across - 1),
    )
    radii = p[:, None, :3]
    area = 4 * np.pi * p[:, :3].prod(axis=1)[:, None] / gauge**3
    return direction / gauge[..., None] * radii, area[..., None] * slope / radii


def _lathe(p: Array, piece: Pieces, numbers: Array) -> tuple[Array, Array]:
    """Bottom disc, top disc, then the rings between stations."""
    q = _columns(p)
    turn, cap = 2 * np.pi * numbers[..., 1], piece[:, None] < 2
    low = (piece[:, None] - 2) * 2 / (NUM_STATIONS - 1) - 1
    level = np.where(piece[:, None] == 0, -1.0, np.where(piece[:, None] == 1, 1.0, low))
    y = q[0] * (level + np.where(cap, 0, numbers[..., 0] * 2 / (NUM_STATIONS - 1)))
    rim = lathe_radius(y, q)
    step = _STEP * q[0]
    slope = (lathe_radius(y + step, q) - lathe_radius(y - step, q)) / (2 * step)
    radius = rim * np.where(cap, np.sqrt(numbers[..., 0]), 1)
    cosine, sine = np.cos(turn), np.sin(turn)
    side = 2 * np.pi * rim * 2 * q[0] / (NUM_STATIONS - 1)
    outward = np.where(cap, 0, side)
    upward = np.where(cap, np.sign(level) * np.pi * rim**2, -slope * side)
    return _xyz(radius * cosine, y, radius * sine), _xyz(outward * cosine, upward, outward * sine)


def _plate(p: Array, piece: Pieces, numbers: Array) -> tuple[Array, Array]:
    """Bottom, top, outside, inside of the hole; bevels outside at bottom and top, then inside.

    Where a bevel has cut off i, the outside is at radius r - i and the hole's side at h r + i.
    """
    q = _columns(p)
    half, hole, taper, twist, bevel = q[0], q[11], q[12], q[13], q[16]
    of = piece[:, None]
    cap, rim_cut = of < 2, of >= 4
    end = np.where(of % 2 == 0, -1.0, 1.0)
    straight = (1 - bevel / half) * (2 * numbers[..., 0] - 1)
    level = np.where(
        cap, end, np.where(rim_cut, end * (1 - bevel / half * numbers[..., 0]), straight)
    )
    scale = 1 - taper * (level + 1) / 2
    angle = 2 * np.pi * numbers[..., 1]
    rim = plate_radius(angle, q)
    slope = (plate_radius(angle + _STEP, q) - plate_radius(angle - _STEP, q)) / (2 * _STEP)
    inside = (of == 3) | (of >= 6)
    share = np.where(inside, hole, 1.0)
    turn = angle + twist * level / 2
    cosine, sine = np.cos(turn), np.sin(turn)
    cut = np.where(rim_cut, bevel * (1 - numbers[..., 0]), 0) * np.where(inside, 1, -1)
    outer = scale * rim - bevel
    inner = np.where(hole > 0, hole * scale * rim + bevel, 0)
    disc = np.sqrt(inner**2 + numbers[..., 0] * (outer**2 - inner**2))
    radius = np.where(cap, disc, scale * share * rim + cut)
    # The side is (radius, y) in polar coordinates; the radius grows by these along angle and y.
    along = scale * share * slope
    rising = -taper * share * rim / (2 * half) + np.where(rim_cut, np.where(inside, end, -end), 0)
    tall = np.where(rim_cut, bevel, 2 * (half - bevel))
    stretch = 2 * np.pi * tall * np.where(inside, -1, 1)
    # Without a hole it has no inside.
    stretch = np.where(inside & (hole <= 0), 0, stretch)
    flat = np.where(cap, 0, stretch)
    upward = radius * (along * twist / (2 * half) - rising)
    normals = _xyz(
        flat * (radius * cosine + along * sine),
        np.where(cap, end * np.pi * (outer**2 - inner**2), stretch * upward),
        flat * (radius * sine - along * cosine),
    )
    return _xyz(radius * cosine, level * half, radius * sine), normals


def _arc_sweep(p: Array, piece: Pieces, numbers: Array) -> tuple[Array, Array]:
    """The rounded rectangle of the cross-section, swept along the arc."""
    del piece
    ring, across, along, half, taper, rounding = _columns(p)[:6]
    flat, upright, corners = 4 * across, 4 * along, 2 * np.pi * rounding
    place = numbers[..., 0] * (flat + upright + corners)
    on_flat, on_upright = place < flat, (place >= flat) & (place < flat + upright)
    share = np.select(
        [on_flat, on_upright],
        [place / np.maximum(flat, 1e-12), (place - flat) / np.maximum(upright, 1e-12)],
        (place - flat - upright) / np.maximum(corners, 1e-12),
    )
    side, slide = np.where(share < 0.5, 1.0, -1.0), 4 * (share % 0.5) - 1
    turn = 2 * np.pi * share
    normal_out = np.select([on_flat, on_upright], [0.0, side], np.cos(turn))
    normal_up = np.select([on_flat, on_upright], [side, 0.0], np.sin(turn))
    out = across * np.where(on_flat, slide, np.sign(normal_out)) + rounding * normal_out
    up = along * np.where(on_upright, slide, np.sign(normal_up)) + rounding * normal_up
    angle = half * (2 * numbers[..., 1] - 1)
    scale = 1 - taper * np.abs(angle) / half
    shrink = np.sign(angle) * taper / half
    reach = ring + scale * out
    stretch = 2 * half * (flat + upright + corners) * scale
    tilt = shrink * (out * normal_out + up * normal_up)
    normals = polar(angle, reach * normal_out, reach * normal_up, tilt)
    return polar(angle, reach, scale * up, 0.0), stretch[..., None] * normals


def _terrain(p: Array, piece: Pieces, numbers: Array) -> tuple[Array, Array]:
    """Top, bottom, then the sides towards x, -x, z and -z."""
    q = _columns(p)
    half_x, half_z, depth = q[0], q[1], q[2]
    of = piece[:, None]
    sign = np.where(of % 2 == 0, 1.0, -1.0)
    u, v = 2 * numbers[..., 0] - 1, 2 * numbers[..., 1] - 1
    on_x, on_z = (of == 2) | (of == 3), of >= 4
    x, z = half_x * np.where(on_x, sign, u), half_z * np.where(on_z, sign, np.where(on_x, u, v))
    step = _STEP * half_x
    height = terrain_height(x, z, q)
    slope_x = (terrain_height(x + step, z, q) - terrain_height(x - step, z, q)) / (2 * step)
    slope_z = (terrain_height(x, z + step, q) - terrain_height(x, z - step, q)) / (2 * step)
    lift = np.select([of == 0, of == 1], [1.0, 0.0], numbers[..., 1])
    y = lift * (height + depth) - depth
    base, wall = 4 * half_x * half_z, height + depth
    normals = _xyz(
        np.select([of == 0, on_x], [-slope_x * base, sign * 2 * half_z * wall], 0.0),
        np.select([of == 0, of == 1], [base, -base], 0.0),
        np.select([of == 0, on_z], [-slope_z * base, sign * 2 * half_x * wall], 0.0),
    )
    return _xyz(x, y, z), normals


def polar(angle: Array, outward: Array, up: Array, around: Array | float) -> Array:
    """Cylindrical components (along the radius, y and increasing angle) as x, y, z."""
    cosine, sine = np.cos(angle), np.sin(angle)
    return _xyz(outward * cosine - around * sine, up, outward * sine + around * cosine)


PATCHES: dict[Kind, tuple[Patch, int]] = {
    Kind.SUPERQUADRIC: (_superquadric, 1),
    Kind.LATHE: (_lathe, 1 + NUM_STATIONS),
    Kind.PLATE: (_plate, 8),
    Kind.ARC: (_arc_sweep, 1),
    Kind.TERRAIN: (_terrain, 6),
}
"""Patch and number of pieces by kind; for an ARC only the swept surface, without its ends."""
