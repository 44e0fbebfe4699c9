"""Finding the camera of a picture by the silhouette of its object.

A picture shows neither distance nor size, so an orbit camera is searched for, and where its image
plane lies in the picture follows from the boxes of both silhouettes. The search compares masks on a
grid of cameras, descends from the best of them, and lastly fits place and size. Masks are cast by
Embree, a thousandth of a second each.

Unit frame. Legend: N points, S picture side, R rays, C candidates. Places in a picture are shares
of its side, from left and from top.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64
from numpy import ndarray
from scipy import spatial  # pyright: ignore[reportMissingTypeStubs]

from g3pt.geometry.cameras import Camera, orbit_camera
from g3pt.geometry.metrics import occupancy_iou
from g3pt.geometry.render import Scene
from g3pt.geometry.triangles import TriangleMesh

_spatial: Any = spatial  # without type stubs

SIDE = 96
"""Side of the masks that are compared, in pixels."""

COARSE_SIDE = 64
"""Side of the masks of the first search."""

MAX_STRETCH = 1.12
"""Largest ratio of the horizontal to the vertical scale, or of the vertical to the horizontal."""

START_GAIN = 0.008
"""Least gain of IoU for which the search leaves a camera that it begins with. The camera of a round
object is not told by its silhouette; then a likely one is right."""

MAX_CLIMB = 12.0
"""Degrees by which the elevation may leave that of the candidate."""

NUM_DESCENTS = 2
"""Best candidates of the first search that the search goes on from."""


@dataclass(frozen=True)
class Orbit:
    """An orbit camera by its angles in degrees; see `orbit_camera`."""

    azimuth: float
    elevation: float
    fov: float = 30.0

    def camera(self) -> Camera:
        """The camera."""
        return orbit_camera(self.azimuth, self.elevation, fov_degrees=self.fov)


@dataclass(frozen=True)
class Candidate:
    """A camera to begin the search with."""

    orbit: Orbit
    handicap: float = 0.0
    """Subtracted from the IoU when candidates are compared: a camera that is rarely used must agree
    better by as much."""


@dataclass(frozen=True)
class PictureView:
    """A camera, and where its image plane lies in a picture."""

    orbit: Orbit
    scale: tuple[float, float]
    """Picture sides that a length of 1 takes at distance 1, to the right and downward."""
    centre: tuple[float, float]
    """Place that the camera looks at."""

    def project(
        self, points_N3: Float64[ndarray, "N 3"]
    ) -> tuple[Float64[ndarray, "N 2"], Float64[ndarray, " N"]]:
        """Places of points in the picture, and their depths along the line of sight."""
        plane_N2, depth_N = self.orbit.camera().image_plane(points_N3)
        return plane_N2 * self.scale + self.centre, depth_N

    def rays(self, size: int) -> Float32[ndarray, "R 3"]:
        """Directions from the camera through pixel centres, row by row; their depth is 1."""
        line = (np.arange(size) + 0.5) / size
        local = np.empty((size, size, 3))
        local[..., 0] = (line - self.centre[0]) / self.scale[0]
        local[..., 1] = -((line - self.centre[1]) / self.scale[1])[:, None]
        local[..., 2] = -1.0
        return (local.reshape(-1, 3) @ self.orbit.camera().axes()).astype(np.float32)

    def position(self) -> Float32[ndarray, " 3"]:
        """Where the camera stands."""
        return np.array(self.orbit.camera().position, dtype=np.float32)


@dataclass(frozen=True)
class FoundView:
    """The view that agrees best with a silhouette."""

    view: PictureView
    iou: float
    """Intersection over union of both silhouettes."""


def find_view(
    mesh: TriangleMesh,
    scene: Scene,
    silhouette: Callable[[int], Bool[ndarray, "S S"]],
    candidates: Sequence[Candidate],
    *,
    hopeless: float = 0.0,
) -> FoundView:
    """Find the view from which a mesh has the given silhouette.

    Args:
        mesh: in the unit frame, not empty.
        scene: of the same mesh.
        silhouette: side in pixels -> mask of the picture's object.
        candidates: cameras to begin with; among equally good ones the first wins.
        hopeless: if no candidate reaches this IoU, the search ends with the best of them.

    Raises:
        ValueError: if the mask is empty, or there is no candidate.
    """
    coarse, fine = _Mask(silhouette(COARSE_SIDE)), _Mask(silhouette(SIDE))
    outline = _outline(mesh)
    scored: list[tuple[float, float, Candidate]] = []
    for one in candidates:
        iou = coarse.agreement(scene, coarse.framed(one.orbit, outline))
        scored.append((iou - one.handicap, iou, one))
    if not scored:
        raise ValueError("the search for a camera needs at least one candidate")
    scored.sort(key=lambda row: -row[0])
    best_iou, start = scored[0][1:]
    if best_iou < hopeless:
        return FoundView(fine.framed(start.orbit, outline), best_iou)

    def value(orbit: Orbit) -> float:
        return fine.agreement(scene, fine.framed(orbit, outline))

    ends = [(*_descend(one.orbit, value), one.handicap) for *_, one in scored[:NUM_DESCENTS]]
    orbit, _, _ = max(ends, key=lambda end: end[1] - end[2])
    return _registered(fine, scene, fine.framed(orbit, outline))


def solidity(mask: Bool[ndarray, "S S"]) -> float:
    """Share of its convex hull that a mask fills, up to 1.

    Raises:
        ValueError: if the mask is empty.
    """
    rows, columns = np.nonzero(mask)
    if not len(rows):
        raise ValueError("the silhouette is empty: it fills no share of anything")
    corners = [np.stack([rows + y, columns + x], axis=1) for y in (0, 1) for x in (0, 1)]
    hull: Any = _spatial.ConvexHull(np.concatenate(corners))
    return float(mask.sum() / hull.volume)  # the area, in two dimensions


class _Mask:
    """A silhouette and its box."""

    def __init__(self, mask: Bool[ndarray, "S S"]) -> None:
        if not mask.any():
            raise ValueError("the silhouette is empty: there is nothing to find a camera by")
        self._mask = mask
        columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
        ends = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        self._box = np.array(ends, dtype=np.float64) / len(mask)

    def framed(self, orbit: Orbit, outline: Float64[ndarray, "N 3"]) -> PictureView:
        """The view whose box of the mesh has the middle and the mean side of this box."""
        plane, _ = orbit.camera().image_plane(outline)
        low, high = plane.min(axis=0), plane.max(axis=0)
        scale = float((self._box[2:] - self._box[:2]).sum() / max((high - low).sum(), 1e-9))
        centre = (self._box[:2] + self._box[2:]) / 2 - (low + high) / 2 * scale
        return PictureView(orbit, (scale, scale), (float(centre[0]), float(centre[1])))

    def agreement(self, scene: Scene, view: PictureView) -> float:
        """IoU of the scene's silhouette with this one."""
        hit = np.isfinite(scene.reach(view.position(), view.rays(len(self._mask))))
        return occupancy_iou(hit, self._mask.ravel())


def _outline(mesh: TriangleMesh) -> Float64[ndarray, "N 3"]:
    """Points whose projections have the same box as the whole mesh."""
    used = mesh.vertices[np.unique(mesh.faces)]
    try:
        return used[_spatial.ConvexHull(used).vertices]
    except _spatial.QhullError:  # flat
        return used


def _descend(start: Orbit, value: Callable[[Orbit], float]) -> tuple[Orbit, float]:
    """Go uphill from a camera by steps that are halved when none of them helps."""
    orbit, best = start, value(start)
    for share in (1.0, 0.5, 0.25, 0.125):
        for _ in range(4):
            moved = [(value(one), one) for one in _neighbours(orbit, share, start.elevation)]
            found, nearby = max(moved, key=lambda pair: pair[0])
            if found <= best + (START_GAIN if orbit == start else 0.0):
                break
            orbit, best = nearby, found
    return orbit, best


def _neighbours(orbit: Orbit, share: float, middle: float) -> list[Orbit]:
    """Cameras one step away: at most 8 degrees, 6 degrees, or a third of the angle of view.

    The elevation stays near that of the start, `middle`: from above or below, anything round or
    square looks like anything else.
    """
    steps = [replace(orbit, azimuth=orbit.azimuth + sign * 8.0 * share) for sign in (-1.0, 1.0)]
    for sign in (-1.0, 1.0):
        elevation = orbit.elevation + sign * 6.0 * share
        elevation = min(max(elevation, middle - MAX_CLIMB), middle + MAX_CLIMB)
        steps.append(replace(orbit, elevation=elevation))
        fov = min(max(orbit.fov * math.exp(sign * 0.33 * share), 8.0), 75.0)
        steps.append(replace(orbit, fov=fov))
    return steps


def _registered(mask: _Mask, scene: Scene, view: PictureView) -> FoundView:
    """Fit place and scale of a view to a mask; the camera stays where it is."""
    best = mask.agreement(scene, view)
    for step in (0.02, 0.01, 0.005):
        for _ in range(3):
            moved = [(mask.agreement(scene, one), one) for one in _shifted(view, step)]
            found, nearby = max(moved, key=lambda pair: pair[0])
            if found <= best:
                break
            view, best = nearby, found
    return FoundView(view, best)


def _shifted(view: PictureView, step: float) -> list[PictureView]:
    """Views moved, enlarged or stretched by a share of the picture's side."""
    (x, y), (across, down) = view.centre, view.scale
    moved = [
        replace(view, centre=(x + dx, y + dy))
        for dx, dy in ((step, 0.0), (-step, 0.0), (0.0, step), (0.0, -step))
    ]
    for more in (1 + 2 * step, 1 / (1 + 2 * step)):
        for scale in ((across * more, down), (across, down * more), (across * more, down * more)):
            if max(scale) <= MAX_STRETCH * min(scale):
                # The middle of the picture, where `frame_object` puts the object, stays.
                centre = tuple(
                    0.5 + (old - 0.5) * new_scale / old_scale
                    for old, new_scale, old_scale in zip(
                        view.centre, scale, view.scale, strict=True
                    )
                )
                moved.append(replace(view, scale=scale, centre=(centre[0], centre[1])))
    return moved
