"""What a picture shows of a mesh: colours of vertices, and how far each can be trusted.

A vertex is seen if nothing lies between it and the camera. Its colour counts less at grazing
angles, near the picture's silhouette, and near edges of depth, where a small error of camera or
shape would give it the colour of what lies beside it. It never counts nothing there, because parts
thinner than such an edge have no other colours.

Unit frame. Legend: P vertices, S picture side. Colours are sRGB display values in [0, 1].
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8
from numpy import ndarray
from scipy import ndimage  # pyright: ignore[reportMissingTypeStubs]

from g3pt.geometry.mesh import TriangleMesh, vertex_normals
from g3pt.geometry.render import Scene
from g3pt.geometry.silhouettes import PictureView

_ndimage: Any = ndimage  # its own annotations are partial

OPAQUE = 250
"""Alpha from which on a pixel shows the object alone."""

EDGE_SHARE = 0.016
"""Width of uncertain edges, as a share of the picture's side."""

OVERHANG_SHARE = 0.05
"""How far outside the silhouette a vertex still takes the colour of the nearest pixel, likewise."""

GRAZING, FACING = 0.12, 0.6
"""Cosines to the line of sight from which on colours count, and count fully."""

UNCERTAIN = 0.03
"""Factor of the weight at uncertain edges."""


@dataclass(frozen=True, eq=False)
class Sighting:
    """The colours of a picture on the vertices of a mesh."""

    colors_P3: Float64[ndarray, "P 3"]
    """Any value where the weight is 0."""
    weights_P: Float64[ndarray, " P"]
    """From 0, not seen, to 1, seen squarely and far from any edge."""

    @property
    def is_seen(self) -> Bool[ndarray, " P"]:
        """Vertices that the picture shows."""
        return self.weights_P > 0


def project_picture(
    mesh: TriangleMesh,
    scene: Scene,
    view: PictureView,
    picture: UInt8[ndarray, "S S 4"],
    *,
    tolerance: float,
) -> Sighting:
    """Take the colours of a picture for the vertices that it shows.

    Args:
        mesh: in the unit frame, not empty.
        scene: of the same mesh.
        view: where the picture was taken from.
        picture: with an alpha channel that shows the object only.
        tolerance: a surface in front of a vertex hides it if it is further away from it than this.

    Raises:
        ValueError: if no pixel is opaque.
    """
    size = len(picture)
    places_P2, depths_P = view.project(mesh.vertices)
    pixels_P2 = places_P2 * size - 0.5
    toward_P3 = mesh.vertices - view.position().astype(np.float64)
    reach_P = scene.reach(view.position(), toward_P3.astype(np.float32))
    lengths_P = np.linalg.norm(toward_P3, axis=1)
    visible_P = reach_P * lengths_P >= lengths_P - tolerance
    cosines_P = -np.einsum("pi,pi->p", vertex_normals(mesh), toward_P3) / lengths_P

    colors_SS3, margin_SS = _spread_colors(picture)
    margin_P = _sample(margin_SS[..., None], pixels_P2)[:, 0] / size
    weights_P = np.clip((cosines_P - GRAZING) / (FACING - GRAZING), 0, 1) ** 2
    weights_P *= np.clip(margin_P / EDGE_SHARE, UNCERTAIN, 1)
    weights_P *= np.clip(1 + np.minimum(margin_P, 0) / OVERHANG_SHARE, 0, 1)
    reach_SS = scene.reach(view.position(), view.rays(size)).reshape(size, size)
    near_edge_P = _is_near_edge(reach_SS, view, pixels_P2, depths_P, cosines_P, tolerance)
    weights_P[near_edge_P] *= UNCERTAIN
    weights_P[~visible_P] = 0
    return Sighting(_sample(colors_SS3, pixels_P2), weights_P)


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


def _is_near_edge(
    reach_SS: Float32[ndarray, "S S"],
    view: PictureView,
    pixels_P2: Float64[ndarray, "P 2"],
    depths_P: Float64[ndarray, " P"],
    cosines_P: Float64[ndarray, " P"],
    tolerance: float,
) -> Bool[ndarray, " P"]:
    """Whether depth jumps within the width of an uncertain edge around a vertex.

    A sloping surface also changes its depth there, by as much as its angle says; only more is a
    jump. The background is no jump: the silhouette tells of it.
    """
    size = len(reach_SS)
    radius = max(1, round(EDGE_SHARE * size))
    nearest = _ndimage.minimum_filter(reach_SS, 2 * radius + 1)
    hit_SS = np.where(np.isfinite(reach_SS), reach_SS, 0)
    farthest = _ndimage.maximum_filter(hit_SS, 2 * radius + 1)
    column, row = np.clip(np.rint(pixels_P2), 0, size - 1).astype(np.int64).T
    across_P = 1.5 * radius / size / min(view.scale) * depths_P
    slopes_P = np.sqrt(1 - np.clip(cosines_P, 0, 1) ** 2) / np.clip(cosines_P, GRAZING, 1)
    allowed_P = across_P * slopes_P + 3 * tolerance
    behind = depths_P - nearest[row, column] > allowed_P
    before = farthest[row, column] - depths_P > allowed_P
    return behind | before


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
