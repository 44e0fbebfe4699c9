"""Colours for a whole mesh from a picture of it.

The picture is projected on what it shows, and its light is removed. What follows gives colours to
the rest. Where the picture was taken from is found before (`geometry.silhouettes`).

A vertex that was not seen first looks for its mirror image: in the left-right plane of the bounding
box, then in the front-back plane, then half a turn away, as far as the mesh is symmetric there.
Failing that it takes the colours of the nearest seen vertices that face the same way. Both are
only proposals: the colours then minimise

    sum_i w_i |c_i - p_i|^2 + sum_ij g_ij |c_i - c_j|^2

over vertices i and edges ij, where p_i is the proposal, w_i how far it can be trusted, and g_ij is
smaller across creases. So nothing ends in a hard stain, and colours stop where the shape has an
edge.

Unit frame. Legend: P vertices, N some of them, E edges. Colours are sRGB display values in [0, 1].
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8
from numpy import ndarray
from scipy import sparse, spatial  # pyright: ignore[reportMissingTypeStubs]

from g3pt.geometry.cameras import OBJECT_FILL, frame_object
from g3pt.geometry.lighting import Light, fit_light
from g3pt.geometry.mesh import UNIT_LONGEST_SIDE, TriangleMesh, vertex_normals
from g3pt.geometry.projection import Projector, Sighting
from g3pt.geometry.render import Scene
from g3pt.geometry.silhouettes import PictureView

_sparse: Any = sparse  # without type stubs
_spatial: Any = spatial

MIRRORS = ((-1.0, 1.0, 1.0), (1.0, 1.0, -1.0), (-1.0, 1.0, -1.0))
"""Signs of x, y and z: left-right, front-back, half a turn about the vertical."""

SYMMETRIC_SHARES = (0.85, 0.95, 0.95)
"""Share of the vertices that must have a mirror image, for each of these. Most objects have a left
and a right that are alike; few have such a front and back."""

MIRROR_REACH = 0.035
"""Largest distance between a mirrored vertex and the surface there."""

SEEN_WEIGHT = 20.0
"""Weight of a colour that is seen fully; an edge within a smooth surface has 1."""

MIRROR_WEIGHT = 4.0
"""The same for the colour of a mirror image that is seen fully."""

BLEND_LENGTH = 0.12
"""Length over which the colours of the nearest seen vertices blend."""

NORMAL_LENGTH = 0.35
"""Distance that counts like the difference of two perpendicular normals over the root of 2."""

NUM_NEAREST = 4
NUM_OFFERING = 4000
"""Trusted vertices among which the nearest are sought; if there are more, only some offer."""

NUM_STEPS = 120
"""Steps of conjugate gradients at most."""
RESIDUAL = 1e-3
"""Relative residual at which they end."""
CREASE_SPREAD = 0.1
"""One minus the cosine between normals by which conductance falls to 1/e."""
LEAST_CONDUCTANCE = 0.02


HIDING_DISTANCE = 0.012
"""A surface hides what lies further behind it than this: a cell of a grid of 128 has 0.016."""

PIXELS_PER_EDGE = 2.0
"""Pixels of the picture to an edge of the mesh; more would not show."""

MIN_SIDE, MAX_SIDE = 160, 640
"""Least and largest side of the picture that is projected."""


@dataclass(frozen=True, eq=False)
class PicturePaint:
    """How a picture gives a surface its colours, at any resolution."""

    picture: UInt8[ndarray, "H W 4"]
    """With an alpha channel that shows the object only."""
    view: PictureView
    """Where it was taken from."""
    light: Light
    """The light in it."""
    mirrored: tuple[bool, bool, bool]
    """Which of `MIRRORS` show what the picture does not."""


@dataclass(frozen=True, eq=False)
class PictureColors:
    """What a picture gave to a mesh."""

    mesh: TriangleMesh
    """The mesh with colours."""
    seen_share: float
    """Share of the vertices that the picture shows."""
    paint: PicturePaint
    """What the colours were made by."""


def color_from_picture(
    mesh: TriangleMesh, picture: UInt8[ndarray, "H W 4"], view: PictureView
) -> PictureColors | None:
    """Give a mesh the colours of a picture of the object that it shows.

    Args:
        mesh: in the unit frame, not empty.
        picture: with an alpha channel that shows the object only.
        view: where it was taken from, as `find_view` finds it; if the silhouettes do not agree,
            colours lie on wrong parts.

    Returns:
        The colours; None if the picture shows no vertex.

    Raises:
        ValueError: if the picture is fully transparent.
    """
    scene = Scene(mesh)
    edges = max(float(np.median(_lengths(mesh, _edges(mesh)))), 1e-6)
    wanted = PIXELS_PER_EDGE * UNIT_LONGEST_SIDE / edges / OBJECT_FILL
    framed = frame_object(picture, round(min(max(wanted, MIN_SIDE), MAX_SIDE)))
    normals_P3 = vertex_normals(mesh)
    projector = Projector(scene, view, framed, tolerance=HIDING_DISTANCE)
    sighting = projector.sight(mesh.vertices, normals_P3)
    if not sighting.is_seen.any():
        return None
    light = fit_light(sighting.colors_P3, sighting.weights_P, mesh.vertices, normals_P3)
    evened_P3 = light.removed(sighting.colors_P3, normals_P3)
    filled = fill_colors(mesh, replace(sighting, colors_P3=evened_P3))
    colored = TriangleMesh.from_arrays(
        mesh.vertices, mesh.faces, np.rint(255 * filled.colors_P3).astype(np.uint8)
    )
    paint = PicturePaint(picture, view, light, filled.mirrored)
    return PictureColors(colored, float(sighting.is_seen.mean()), paint)


@dataclass(frozen=True, eq=False)
class FilledColors:
    """Colours of all vertices."""

    colors_P3: Float64[ndarray, "P 3"]
    mirrored: tuple[bool, bool, bool]
    """Which of `MIRRORS` gave colours."""


def fill_colors(mesh: TriangleMesh, sighting: Sighting) -> FilledColors:
    """Give every vertex a colour.

    Args:
        mesh: in the unit frame, not empty.
        sighting: of its vertices.

    Raises:
        ValueError: if no vertex was seen.
    """
    if not sighting.is_seen.any():
        raise ValueError("no vertex was seen: there is no colour to fill with")
    normals_P3 = vertex_normals(mesh)
    proposals_P3, weights_P = sighting.colors_P3.copy(), SEEN_WEIGHT * sighting.weights_P
    used: list[bool] = []
    for signs, share in zip(MIRRORS, SYMMETRIC_SHARES, strict=True):
        twin_P = _find_twins(mesh, normals_P3, np.array(signs))
        has_twin_P = twin_P >= 0
        used.append(bool(has_twin_P.mean() >= share))
        if used[-1]:
            offered_P = np.where(has_twin_P, MIRROR_WEIGHT * sighting.weights_P[twin_P], 0)
            better_P = offered_P > weights_P
            proposals_P3[better_P] = sighting.colors_P3[twin_P[better_P]]
            weights_P = np.maximum(weights_P, offered_P)
    trusted_P = weights_P > 0.05 * weights_P.max()
    edges_E2 = _edges(mesh)
    length = float(np.median(_lengths(mesh, edges_E2)))
    nearest_P3 = _nearest_colors(mesh, normals_P3, proposals_P3, trusted_P)
    weak = (length / BLEND_LENGTH) ** 2
    total_P = weights_P + weak
    goal_P3 = (weights_P[:, None] * proposals_P3 + weak * nearest_P3) / total_P[:, None]
    colors_P3 = _relax(goal_P3, total_P, edges_E2, _conductances(normals_P3, edges_E2))
    return FilledColors(np.clip(colors_P3, 0, 1), (used[0], used[1], used[2]))


def _find_twins(
    mesh: TriangleMesh, normals_P3: Float64[ndarray, "P 3"], signs: Float64[ndarray, " 3"]
) -> Int64[ndarray, " P"]:
    """The vertex at the mirror image of every vertex, -1 where there is none."""
    centred_P3 = mesh.vertices - mesh.bounds().mean(axis=0)
    tree: Any = _spatial.cKDTree(centred_P3)
    distance_P, index_P = tree.query(centred_P3 * signs, distance_upper_bound=MIRROR_REACH)
    found_P: Bool[ndarray, " P"] = np.isfinite(distance_P)
    index_P = np.where(found_P, index_P, 0).astype(np.int64)
    agree_P = np.einsum("pi,pi->p", normals_P3[index_P], normals_P3 * signs) > 0.5
    return np.where(found_P & agree_P, index_P, -1)


def _nearest_colors(
    mesh: TriangleMesh,
    normals_P3: Float64[ndarray, "P 3"],
    colors_P3: Float64[ndarray, "P 3"],
    trusted_P: Bool[ndarray, " P"],
) -> Float64[ndarray, "P 3"]:
    """Mean colour of the nearest trusted vertices, near by position and by normal."""
    places = np.concatenate([mesh.vertices, NORMAL_LENGTH * normals_P3], axis=1)
    offering = np.flatnonzero(trusted_P)
    offering = offering[:: 1 + len(offering) // NUM_OFFERING]
    num = min(NUM_NEAREST, len(offering))
    tree: Any = _spatial.cKDTree(places[offering])
    filled_P3 = colors_P3.copy()
    distances, index = tree.query(places[~trusted_P], k=[*range(1, num + 1)], eps=0.3)
    shares = 1 / (distances + 1e-3)
    shares /= shares.sum(axis=1, keepdims=True)
    filled_P3[~trusted_P] = np.einsum("nk,nkc->nc", shares, colors_P3[offering[index]])
    return filled_P3


def _edges(mesh: TriangleMesh) -> Int64[ndarray, "E 2"]:
    """Both ends of every edge of every face; an edge within the surface occurs twice."""
    return np.stack([mesh.faces.reshape(-1), np.roll(mesh.faces, -1, axis=1).reshape(-1)], axis=1)


def _lengths(mesh: TriangleMesh, edges_E2: Int64[ndarray, "E 2"]) -> Float64[ndarray, " E"]:
    return np.linalg.norm(mesh.vertices[edges_E2[:, 0]] - mesh.vertices[edges_E2[:, 1]], axis=1)


def _conductances(
    normals_P3: Float64[ndarray, "P 3"], edges_E2: Int64[ndarray, "E 2"]
) -> Float64[ndarray, " E"]:
    """How freely colours pass along edges; half, because edges occur twice."""
    agreement_E = np.einsum("ei,ei->e", normals_P3[edges_E2[:, 0]], normals_P3[edges_E2[:, 1]])
    passing_E = np.exp(-np.maximum(1 - agreement_E, 0) / CREASE_SPREAD)
    return 0.5 * np.maximum(passing_E, LEAST_CONDUCTANCE)


def _relax(
    goal_P3: Float64[ndarray, "P 3"],
    weights_P: Float64[ndarray, " P"],
    edges_E2: Int64[ndarray, "E 2"],
    conductances_E: Float64[ndarray, " E"],
) -> Float64[ndarray, "P 3"]:
    """Minimise sum w (c - goal)^2 + sum g (c_i - c_j)^2 by conjugate gradients, Jacobi scaled."""
    num = len(goal_P3)
    start, end = edges_E2.T
    links: Any = _sparse.coo_array((conductances_E, (start, end)), (num, num)).tocsr()
    links = links + links.T
    diagonal_P1 = (weights_P + links.sum(axis=1))[:, None]
    right_P3 = weights_P[:, None] * goal_P3
    found_P3 = goal_P3.copy()
    rest_P3 = right_P3 - (diagonal_P1 * found_P3 - links @ found_P3)
    limit = RESIDUAL * np.linalg.norm(right_P3)
    scaled_P3 = rest_P3 / diagonal_P1
    step_P3 = scaled_P3.copy()
    energy_3 = (rest_P3 * scaled_P3).sum(axis=0)
    for _ in range(NUM_STEPS):
        if np.linalg.norm(rest_P3) <= limit:
            break
        turned_P3 = diagonal_P1 * step_P3 - links @ step_P3
        along_3 = energy_3 / np.maximum((step_P3 * turned_P3).sum(axis=0), 1e-300)
        found_P3 += along_3 * step_P3
        rest_P3 -= along_3 * turned_P3
        scaled_P3 = rest_P3 / diagonal_P1
        after_3 = (rest_P3 * scaled_P3).sum(axis=0)
        step_P3 = scaled_P3 + after_3 / np.maximum(energy_3, 1e-300) * step_P3
        energy_3 = after_3
    return found_P3
