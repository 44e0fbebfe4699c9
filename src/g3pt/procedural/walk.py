"""Rays that walk to the surface of a procedural shape by its field: sphere tracing in NumPy.

A ray walks as far as the field says that nothing is near, again and again, until it stands at the
surface or has left the bounding box. The field of ellipsoids and frusta is an estimate; a step that
lands inside is taken back by bisection.

Legend: R rays, N some of them, S side of a picture.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from g3pt.procedural.shape import ProceduralShape

BLOCK = 8
"""Pixels along a side of the blocks that walk together while nothing is near."""
_NEAR_ENOUGH = 4e-4
_SMALLEST_STEPS = np.linspace(2e-3, 1.2e-2, 32, dtype=np.float32)
"""Of the steps of a ray, in turn, so that those which graze a surface get ahead as well. A ray that
has not arrived after the last one counts as a miss."""
_NUM_BISECTIONS = 8


class Progress(NamedTuple):
    """Rays that are still on their way."""

    rays: Int64[ndarray, " N"]
    length: Float32[ndarray, " N"]
    """How far each has come."""


class Walk:
    """Rays from one point that go towards the surface of a shape."""

    def __init__(self, shape: ProceduralShape, origin: Float32[ndarray, " 3"]) -> None:
        self._shape = shape
        self._origin = origin
        self._half = np.asarray(shape.extents) / 2 + 2e-3

    def in_bundles(self, rays_R3: Float32[ndarray, "R 3"]) -> Progress:
        """Let blocks of neighbouring rays go until something is near the cone around them.

        Args:
            rays_R3: unit rays of a square picture, its rows one after another.
        """
        side = math.isqrt(len(rays_R3))
        assert side * side == len(rays_R3), "pictures are square"
        room = -side % BLOCK
        grid = np.pad(rays_R3.reshape(side, side, 3), ((0, room), (0, room), (0, 0)), mode="edge")
        num_blocks = len(grid) // BLOCK
        blocks = grid.reshape(num_blocks, BLOCK, num_blocks, BLOCK, 3)
        middles = blocks.mean(axis=(1, 3), keepdims=True)
        middles /= np.linalg.norm(middles, axis=-1, keepdims=True)
        spread = np.linalg.norm(blocks - middles, axis=-1).max(axis=(1, 3)).reshape(-1)
        farthest = np.linalg.norm(self._origin) + np.linalg.norm(self._half)
        near = self.approach(middles.reshape(-1, 3), spread, np.float32(farthest))
        places = np.arange(side) // BLOCK
        return started(near.reshape(num_blocks, num_blocks)[np.ix_(places, places)])

    def approach(
        self,
        rays_R3: Float32[ndarray, "R 3"],
        spread_R: Float32[ndarray, " R"],
        farthest: np.float32,
    ) -> Float32[ndarray, " R"]:
        """How far cones can go until something may be in them; infinite for those that miss.

        Args:
            rays_R3: their middles.
            spread_R: their radii at distance 1.
            farthest: no part of the shape is further away than this.
        """
        half_R3 = self._half + (spread_R * farthest)[:, None]
        length, leave = _through_box(half_R3, self._origin, rays_R3)
        near = np.full(len(rays_R3), np.inf, dtype=np.float32)
        alive = np.flatnonzero(length < leave)
        length, leave = length[alive], leave[alive]
        while len(alive):
            field = self._field(rays_R3[alive], length)
            room = 0.8 * field - spread_R[alive] * length  # the field may be an estimate
            arrived = room < _SMALLEST_STEPS[0]
            near[alive[arrived]] = length[arrived]
            length = length + np.maximum(room, _SMALLEST_STEPS[0])
            going = ~arrived & (length < leave)
            alive, length, leave = alive[going], length[going], leave[going]
        return near

    def to_surface(self, rays_N3: Float32[ndarray, "N 3"], start: Progress) -> Progress:
        """Let rays go to the surface; those that never arrive are left out."""
        enter, leave = _through_box(self._half, self._origin, rays_N3)
        length = np.maximum(enter, start.length)
        alive = np.flatnonzero(length < leave)
        last = length = length[alive]
        found: list[tuple[ndarray, ndarray, ndarray, ndarray]] = []
        for smallest_step in _SMALLEST_STEPS:
            if not len(alive):
                break
            field = self._field(rays_N3[alive], length)
            hit = field < _NEAR_ENOUGH
            found.append((alive[hit], last[hit], length[hit], field[hit] < -_NEAR_ENOUGH))
            further = length + np.maximum(field, smallest_step)
            going = ~hit & (further < leave[alive])
            alive, last, length = alive[going], length[going], further[going]
        if not found:
            return Progress(np.zeros(0, np.int64), np.zeros(0, np.float32))
        hits, before, at, too_far = (np.concatenate(parts) for parts in zip(*found, strict=True))
        at[too_far] = self._bisect(rays_N3[hits[too_far]], before[too_far], at[too_far])
        return Progress(start.rays[hits], at)

    def _bisect(self, rays_N3: ndarray, low: ndarray, high: ndarray) -> ndarray:
        for _ in range(_NUM_BISECTIONS):
            middle = (low + high) / 2
            inside = self._field(rays_N3, middle) < 0
            low, high = np.where(inside, low, middle), np.where(inside, middle, high)
        return high

    def _field(self, rays_N3: ndarray, length: ndarray) -> Float32[ndarray, " N"]:
        return self._shape.field(self._origin + rays_N3 * length[:, None])


def started(near_SS: Float32[ndarray, "S S"]) -> Progress:
    """The rays of a picture that may meet something, from how far each can go."""
    starts_R = near_SS.reshape(-1)
    rays = np.flatnonzero(np.isfinite(starts_R))
    return Progress(rays, starts_R[rays])


def _through_box(
    half: ndarray, origin: Float32[ndarray, " 3"], rays_R3: Float32[ndarray, "R 3"]
) -> tuple[Float32[ndarray, " R"], Float32[ndarray, " R"]]:
    """Lengths at which rays enter and leave the box of these half sides around the origin."""
    safe_R3 = np.where(np.abs(rays_R3) < 1e-9, np.float32(1e-9), rays_R3)
    low, high = (-half - origin) / safe_R3, (half - origin) / safe_R3
    enter, leave = np.minimum(low, high).max(axis=1), np.maximum(low, high).min(axis=1)
    return np.maximum(enter, 0).astype(np.float32), leave.astype(np.float32)
