"""Fits a coarse occupancy field to the outline of an object in a picture.

A field that averages over all shapes that a picture allows is below its level wherever no single
place is certain. So it loses thin parts and shrinks. The outline says more: every line of sight
through the object meets it somewhere, and no line beside it does. `OutlinedField` raises the field
along the former, by the same amount along a line, and bounds it beside the outline. The depth of
the surface remains that of the field.

The picture tells neither scale nor place. Both are taken from the field itself: the unit frame's
longest side is known, so the level at which the field is nearly as long shows how large the object
appears. Two rounds move and scale the outline so that the shape inside is centred and long enough.

Legend: Q query points, V grid points, P pixels of the picture's side, B cells of the image plane.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, UInt8
from scipy import ndimage  # pyright: ignore[reportMissingTypeStubs]

from g3pt.geometry.cameras import Camera, canonical_camera, silhouette_box
from g3pt.geometry.triangles import UNIT_LONGEST_SIDE

_NDIMAGE: Any = ndimage
"""Its own annotations are partial."""

Field = Callable[[Float[np.ndarray, "Q 3"]], Float32[np.ndarray, " Q"]]
"""Occupancy logits at points of the unit frame, positive inside."""

GRID = 48
"""Points per axis at which the field is evaluated."""
BLUR = 0.7
"""Standard deviation of the smoothing of these values, in grid spacings. The decoder was trained on
features of tokens; those of an average give a field with ripples a few spacings wide."""
CELLS = 64
"""Cells per axis of the image plane, each with the largest logit along its lines of sight."""
LEAST_LOGIT = 0.5
"""Largest logit along every line of sight through the object, at least."""
LARGEST_RAISE = 6.0
"""Bound on what is added to a logit."""
NEARLY_LONG = 0.9
"""Share of the longest side that the field must reach at the level that shows its size."""
LEVELS = np.arange(0.0, -6.0, -0.25)
ROUNDS = 2
STEP = 0.7
"""Share of a correction of place and scale that a round makes."""
SLOPE = 40.0
"""Logit per unit of length beside the outline, which bounds the field from above."""


class OutlinedField:
    """A field whose silhouette, seen by a camera, is the outline of an object in a picture."""

    def __init__(
        self,
        field: Field,
        picture: UInt8[np.ndarray, "P P 4"],
        camera: Camera | None = None,
    ) -> None:
        """Fit the outline to the field.

        Args:
            field: the field; it is evaluated at `GRID` ** 3 points, and smoothly interpolated.
            picture: the object on a transparent ground.
            camera: camera that sees the object as the picture shows it; None is the canonical one.

        Raises:
            ValueError: if the picture is transparent everywhere.
        """
        box = silhouette_box(picture)
        if box is None:
            raise ValueError("the picture is fully transparent: it has no outline")
        self._camera = camera or canonical_camera()
        left, top, right, bottom = box
        self._middle = np.array([(left + right) / 2, (top + bottom) / 2])
        self._pixels = float(max(right - left, bottom - top))
        self._distances = _signed_distances(picture[..., 3] >= 128)
        points = _grid_points()
        smooth = _NDIMAGE.gaussian_filter(field(points).reshape(GRID, GRID, GRID), BLUR)
        self._spline = _NDIMAGE.spline_filter(smooth)
        logits: np.ndarray = smooth.ravel()
        places = project(points, self._camera)
        self._raise = _raise_to_see(places, logits)
        self._center, self._side = _apparent_box(points, places, logits)
        for _ in range(ROUNDS):
            self._correct(points, places, logits)

    def __call__(self, points: Float[np.ndarray, "Q 3"]) -> Float32[np.ndarray, " Q"]:
        """Logits at points of the unit frame."""
        places = project(points.astype(np.float64), self._camera)
        at = (points.T + 1) / 2 * GRID - 0.5
        logits = _NDIMAGE.map_coordinates(self._spline, at, mode="nearest", prefilter=False)
        return self._fitted(places, logits).astype(np.float32)

    def _correct(
        self,
        points: Float64[np.ndarray, "V 3"],
        places: Float64[np.ndarray, "V 2"],
        logits: Float[np.ndarray, " V"],
    ) -> None:
        """Move and scale the outline so that the shape is more centred and of the right length."""
        inside = points[self._fitted(places, logits) > 0]
        if not len(inside):
            return
        low, high = inside.min(axis=0), inside.max(axis=0)
        longest = float((high - low).max()) + 2.0 / GRID
        off = project(((low + high) / 2)[None], self._camera) - project(
            np.zeros((1, 3)), self._camera
        )
        self._center = self._center - STEP * off[0]
        self._side *= float(np.clip(UNIT_LONGEST_SIDE / longest, 0.8, 1.25)) ** STEP

    def _fitted(
        self, places: Float64[np.ndarray, "Q 2"], logits: Float[np.ndarray, " Q"]
    ) -> Float64[np.ndarray, " Q"]:
        pixels_per_unit = self._pixels / self._side
        columns, rows = ((places - self._center) * pixels_per_unit + self._middle).T - 0.5
        # A pixel of padding around the distances lies outside; everything further is nearest to it.
        depth = _NDIMAGE.map_coordinates(
            self._distances, [rows + 1, columns + 1], order=1, mode="nearest"
        )
        depth = depth / pixels_per_unit
        cells = (places[:, ::-1].T + 1) / 2 * CELLS - 0.5
        missing = _NDIMAGE.map_coordinates(self._raise, cells, order=1, mode="nearest")
        raised = np.where(depth > 0, logits + missing, logits)
        return np.minimum(raised, SLOPE * depth)


def project(points: Float64[np.ndarray, "Q 3"], camera: Camera) -> Float64[np.ndarray, "Q 2"]:
    """Places in the image plane of a camera: -1 to 1 from left to right and from top to bottom."""
    plane, _ = camera.image_plane(points)
    return plane / np.tan(np.radians(camera.fov_degrees / 2))


def _cells_of(places: Float64[np.ndarray, "Q 2"]) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of the image plane's cells that places lie in."""
    columns, rows = np.clip((places + 1) / 2 * CELLS, 0, CELLS - 1).astype(np.int64).T
    return rows, columns


def _grid_points() -> Float64[np.ndarray, "V 3"]:
    axis = (np.arange(GRID) + 0.5) / GRID * 2 - 1
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)


def _raise_to_see(
    places: Float64[np.ndarray, "V 2"], logits: Float[np.ndarray, " V"]
) -> Float64[np.ndarray, "B B"]:
    """What to add to the logits of each cell so that its lines of sight meet the object."""
    largest = np.full((CELLS, CELLS), -np.inf)
    np.maximum.at(largest, _cells_of(places), logits)
    # Cells between the grid's points have no value of their own.
    widened = _NDIMAGE.maximum_filter(largest, size=3)
    missing = np.clip(LEAST_LOGIT - widened, 0.0, LARGEST_RAISE)
    return _NDIMAGE.gaussian_filter(missing, sigma=1.0)


def _apparent_box(
    points: Float64[np.ndarray, "V 3"],
    places: Float64[np.ndarray, "V 2"],
    logits: Float[np.ndarray, " V"],
) -> tuple[Float64[np.ndarray, " 2"], float]:
    """Centre and longer side of the object in the image plane, by the field alone."""
    inside = np.ones(len(points), dtype=bool)
    for level in LEVELS:
        above = logits > level
        if above.any():
            inside = above
            if np.ptp(points[above], axis=0).max() >= NEARLY_LONG * UNIT_LONGEST_SIDE:
                break
    low, high = places[inside].min(axis=0), places[inside].max(axis=0)
    return (low + high) / 2, float((high - low).max())


def _signed_distances(mask: Bool[np.ndarray, "P P"]) -> Float64[np.ndarray, "P2 P2"]:
    """Distance of every pixel's centre to the outline in pixels, positive inside, padded by one."""
    padded = np.pad(mask, 1)
    distance = _NDIMAGE.distance_transform_edt
    inside: np.ndarray = distance(padded) - 0.5
    outside: np.ndarray = distance(~padded) - 0.5
    return np.where(padded, inside, -outside)
