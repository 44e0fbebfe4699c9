"""What a picture shows of a mesh: colours of its points, and how far each can be trusted.

A point is seen if nothing lies between it and the camera. Its colour counts less at grazing
angles, near the picture's silhouette, and near edges of depth, where a small error of camera or
shape would give it the colour of what lies beside it. It never counts nothing there, because parts
thinner than such an edge have no other colours.

Unit frame. Legend: P points, S picture side. Colours are sRGB display values in [0, 1].
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, UInt8
from numpy import ndarray
from scipy import ndimage  # pyright: ignore[reportMissingTypeStubs]

from g3pt.geometry.render import Scene
from g3pt.geometry.silhouettes import PictureView

_ndimage: Any = ndimage  # its own annotations are partial

OPAQUE = 250
"""Alpha from which on a pixel shows the object alone."""

EDGE_SHARE = 0.016
"""Width of uncertain edges, as a share of the picture's side."""

OVERHANG_SHARE = 0.05
"""How far outside the silhouette a point still takes the colour of the nearest pixel, likewise."""

GRAZING, FACING = 0.12, 0.6
"""Cosines to the line of sight from which on colours count, and count fully."""

UNCERTAIN = 0.03
"""Factor of the weight at uncertain edges."""


@dataclass(frozen=True, eq=False)
class Sighting:
    """The colours of a picture on points of a mesh."""

    colors_P3: Float64[ndarray, "P 3"]
    """Any value where the weight is 0."""
    weights_P: Float64[ndarray, " P"]
    """From 0, not seen, to 1, seen squarely and far from any edge."""

    @property
    def is_seen(self) -> Bool[ndarray, " P"]:
        """Points that the picture shows."""
        return self.weights_P > 0


class Projector:
    """A picture, ready to give its colours to points of one mesh."""

    def __init__(
        self,
        scene: Scene,
        view: PictureView,
        picture: UInt8[ndarray, "S S 4"],
        *,
        tolerance: float,
    ) -> None:
        """Prepare a picture.

        Args:
            scene: of the mesh, in the unit frame.
            view: where the picture was taken from.
            picture: with an alpha channel that shows the object only.
            tolerance: a surface hides what lies further behind it than this.

        Raises:
            ValueError: if no pixel is opaque.
        """
        size = len(picture)
        self._scene, self._view, self._tolerance = scene, view, tolerance
        self._colors_SS3, self._margin_SS = _spread_colors(picture)
        reach_SS = scene.reach(view.position(), view.rays(size)).reshape(size, size)
        width = 2 * _edge_radius(size) + 1
        self._nearest_SS = _ndimage.minimum_filter(reach_SS, width)
        hit_SS = np.where(np.isfinite(reach_SS), reach_SS, 0)
        self._farthest_SS = _ndimage.maximum_filter(hit_SS, width)

    def sight(
        self,
        points_P3: Float64[ndarray, "P 3"],
        normals_P3: Float64[ndarray, "P 3"],
        *,
        overhang: float = np.inf,
    ) -> Sighting:
        """Take the colours of the picture for points.

        Args:
            points_P3: on the surface of the mesh, or near it.
            normals_P3: unit normals of the surface there.
            overhang: a point in front of the surface by more than this is not seen.
        """
        view, size = self._view, len(self._margin_SS)
        places_P2, depths_P = view.project(points_P3)
        pixels_P2 = places_P2 * size - 0.5
        toward_P3 = points_P3 - view.position().astype(np.float64)
        reach_P = self._scene.reach(view.position(), toward_P3.astype(np.float32))
        lengths_P = np.linalg.norm(toward_P3, axis=1)
        behind_P = lengths_P - reach_P * lengths_P
        visible_P = (behind_P <= self._tolerance) & (behind_P >= -overhang)
        cosines_P = -np.einsum("pi,pi->p", normals_P3, toward_P3) / lengths_P

        margin_P = _sample(self._margin_SS[..., None], pixels_P2)[:, 0] / size
        weights_P = np.clip((cosines_P - GRAZING) / (FACING - GRAZING), 0, 1) ** 2
        weights_P *= np.clip(margin_P / EDGE_SHARE, UNCERTAIN, 1)
        weights_P *= np.clip(1 + np.minimum(margin_P, 0) / OVERHANG_SHARE, 0, 1)
        weights_P[self._is_near_edge(pixels_P2, depths_P, cosines_P)] *= UNCERTAIN
        weights_P[~visible_P] = 0
        return Sighting(_sample(self._colors_SS3, pixels_P2), weights_P)

    def _is_near_edge(
        self,
        pixels_P2: Float64[ndarray, "P 2"],
        depths_P: Float64[ndarray, " P"],
        cosines_P: Float64[ndarray, " P"],
    ) -> Bool[ndarray, " P"]:
        """Whether depth jumps within the width of an uncertain edge around a point.

        A sloping surface also changes its depth there, by as much as its angle says; only more is a
        jump. The background is no jump: the silhouette tells of it.
        """
        size = len(self._margin_SS)
        column, row = np.clip(np.rint(pixels_P2), 0, size - 1).astype(np.int64).T
        across_P = 1.5 * _edge_radius(size) / size / min(self._view.scale) * depths_P
        slopes_P = np.sqrt(1 - np.clip(cosines_P, 0, 1) ** 2) / np.clip(cosines_P, GRAZING, 1)
        allowed_P = across_P * slopes_P + 3 * self._tolerance
        behind = depths_P - self._nearest_SS[row, column] > allowed_P
        before = self._farthest_SS[row, column] - depths_P > allowed_P
        return behind | before


def _edge_radius(size: int) -> int:
    """Width of uncertain edges in pixels."""
    return max(1, round(EDGE_SHARE * size))


def _spread_colors(
    picture: UInt8[ndarray, "S S 4"],
) -> tuple[Float64[ndarray, "S S 3"], Float64[ndarray, "S S"]]:
    """Colours of the object, spread over its soft edge and beyond, and a signed distance.

    Pixels of the edge are mixed with the background, even if the alpha channel says how much of it
    there is. So they, and all pixels outside, take the colour of the nearest pixel further inside.

    Returns:
        Colours, and distances in pixels to the edge, positive inside.
    """
    alpha = picture[..., 3]
    if not alpha.any():
        raise ValueError("the picture is fully transparent: it has no colours to take")
    inside = alpha >= OPAQUE * (alpha.max() / 255)
    core = _ndimage.binary_erosion(inside, border_value=1)
    core = core if core.any() else inside
    nearest = _ndimage.distance_transform_edt(~core, return_distances=False, return_indices=True)
    colors_SS3 = picture[nearest[0], nearest[1], :3] / 255.0
    within: Any = _ndimage.distance_transform_edt(inside)
    outside: Any = _ndimage.distance_transform_edt(~inside)
    return colors_SS3, within - outside


def _sample(
    values: Float64[ndarray, "S S C"], pixels_P2: Float64[ndarray, "P 2"]
) -> Float64[ndarray, "P C"]:
    """Bilinear values at places in pixels (column, row); outside, those of the border."""
    size = len(values)
    places = np.clip(pixels_P2, 0, size - 1)
    low = np.minimum(places.astype(np.int64), size - 2)
    right, down = (places - low).T[..., None]
    column, row = low.T
    upper = values[row, column] * (1 - right) + values[row, column + 1] * right
    lower = values[row + 1, column] * (1 - right) + values[row + 1, column + 1] * right
    return upper * (1 - down) + lower * down
