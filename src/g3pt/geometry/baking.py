"""Colours of a mesh as a texture: at the resolution of the picture where it is seen.

The surface is cut into charts by xatlas. Every texel inside a chart is a point of the surface. It
takes the colour of the picture if that shows it, else of its mirror image if the mesh is symmetric
there, else of the nearest coloured vertices; in between these fade into each other. Texels outside
take the nearest colour inside, so that no border shows when the texture is filtered.

Unit frame. Legend: F faces, U texture coordinates, N texels inside charts, S side of the texture.
Colours are sRGB display values in [0, 1].
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import numpy as np
from embreex import mesh_construction, rtcore_scene  # pyright: ignore[reportMissingTypeStubs]
from jaxtyping import Float64, Int64
from numpy import ndarray
from scipy import ndimage  # pyright: ignore[reportMissingTypeStubs]

from g3pt.geometry.cameras import OBJECT_FILL, frame_object, silhouette_box
from g3pt.geometry.coloring import HIDING_DISTANCE, MIRROR_REACH, MIRRORS, PicturePaint
from g3pt.geometry.metrics import closest_faces
from g3pt.geometry.projection import Projector
from g3pt.geometry.render import Scene
from g3pt.geometry.shading import crease_normals
from g3pt.geometry.texture import Texture, TexturedMesh
from g3pt.geometry.triangles import TriangleMesh

_mesh_construction: Any = mesh_construction  # without type stubs
_rtcore_scene: Any = rtcore_scene
_ndimage: Any = ndimage

PADDING = 4
"""Texels between charts."""

SURE = 0.25
"""Weight of a sighting from which on the picture alone gives the colour."""

MAX_PICTURE_SIDE = 2048
"""Largest side of the framed picture that is projected."""

BATCH = 1 << 18
"""Texels that are coloured at once."""


def bake(
    mesh: TriangleMesh, painted: TriangleMesh, paint: PicturePaint | None, side: int
) -> TexturedMesh:
    """Give a mesh a texture with the colours of a painted one.

    Args:
        mesh: in the unit frame, not empty. Its faces may be fewer than those of `painted`.
        painted: the same shape with colours at its vertices, in the same frame.
        paint: how a picture gave these colours, if one did.
        side: of the texture, in pixels.

    Raises:
        MeshError: if `painted` has no colours or no area.
        ImportError: naming the extra, if xatlas is not installed.
    """
    uvs_U2, corners_F3 = unwrap(mesh, side)
    found = texels_of(uvs_U2, corners_F3, side)
    projector = None if paint is None else _projector(mesh, paint)
    corner_normals = crease_normals(mesh).reshape(-1, 3, 3)
    colors_N3 = np.empty((len(found.faces_N), 3))
    for first, last in _batches(len(found.faces_N)):
        faces_N, weights_N3 = found.faces_N[first:last], found.weights_N3[first:last]
        points_N3 = np.einsum("nk,nkc->nc", weights_N3, mesh.triangles[faces_N])
        normals_N3 = np.einsum("nk,nkc->nc", weights_N3, corner_normals[faces_N])
        normals_N3 /= np.maximum(np.linalg.norm(normals_N3, axis=1, keepdims=True), 1e-12)
        near = closest_faces(points_N3, painted)
        filled_N3 = painted.colors_at(near.faces, near.points)[:, :3] / 255.0
        if projector is not None and paint is not None:
            middle = painted.bounds().mean(axis=0)
            filled_N3 = _shown(projector, paint, points_N3, normals_N3, filled_N3, middle)
        colors_N3[first:last] = filled_N3
    image = np.zeros((side, side, 3), dtype=np.uint8)
    image.reshape(-1, 3)[found.places_N] = np.rint(255 * colors_N3).clip(0, 255).astype(np.uint8)
    inside = np.zeros(side * side, dtype=bool)
    inside[found.places_N] = True
    nearest = _ndimage.distance_transform_edt(
        ~inside.reshape(side, side), return_distances=False, return_indices=True
    )
    image = image[nearest[0], nearest[1]]
    return TexturedMesh(replace(mesh, colors=None), Texture(uvs_U2, corners_F3, image))


def unwrap(mesh: TriangleMesh, side: int) -> tuple[Float64[ndarray, "U 2"], Int64[ndarray, "F 3"]]:
    """Lay the faces of a mesh side by side in the unit square, without overlap.

    Args:
        mesh: in any frame, not empty.
        side: of the texture in pixels, which says how far apart the charts lie.

    Returns:
        Texture coordinates from the lower left corner, and which of them each corner has.

    Raises:
        ImportError: naming the extra, if xatlas is not installed.
    """
    try:
        xatlas: Any = import_module("xatlas")
    except ImportError:
        raise ImportError("textures need xatlas: pip install g3pt[export]") from None
    atlas = xatlas.Atlas()
    atlas.add_mesh(mesh.vertices.astype(np.float32), mesh.faces.astype(np.uint32))
    packing = xatlas.PackOptions()
    packing.resolution, packing.padding, packing.bilinear = side, PADDING, True
    atlas.generate(pack_options=packing)
    _, corners, uvs = atlas[0]
    return uvs.astype(np.float64), corners.astype(np.int64)


@dataclass(frozen=True, eq=False)
class Texels:
    """The texels inside charts, and the points of the surface that they show."""

    places_N: Int64[ndarray, " N"]
    """Number of the texel, row by row from the top."""
    faces_N: Int64[ndarray, " N"]
    """Face that it lies in."""
    weights_N3: Float64[ndarray, "N 3"]
    """Weights of the corners of the face at its centre."""


def texels_of(
    uvs_U2: Float64[ndarray, "U 2"], corners_F3: Int64[ndarray, "F 3"], side: int
) -> Texels:
    """Find the face of every texel, by rays straight down on the flat charts.

    Args:
        uvs_U2: from the lower left corner.
        corners_F3: which of them each corner of each face has.
        side: of the texture, in pixels.
    """
    flat = np.concatenate([uvs_U2 * side, np.zeros((len(uvs_U2), 1))], axis=1)
    scene = _rtcore_scene.EmbreeScene()
    _mesh_construction.TriangleMesh(scene, flat.astype(np.float32), corners_F3.astype(np.int32))
    places: list[ndarray] = []
    faces: list[ndarray] = []
    weights: list[ndarray] = []
    for first, last in _batches(side * side):
        row, column = np.divmod(np.arange(first, last), side)
        origins = np.stack([column + 0.5, side - row - 0.5, np.ones(len(row))], axis=1)
        down = np.broadcast_to(np.array([0, 0, -1], dtype=np.float32), origins.shape).copy()
        answer = scene.run(origins.astype(np.float32), down, output=True)
        hit = np.flatnonzero(answer["primID"] >= 0)
        u, v = answer["u"][hit].astype(np.float64), answer["v"][hit].astype(np.float64)
        places.append(hit + first)
        faces.append(answer["primID"][hit].astype(np.int64))
        weights.append(np.stack([1 - u - v, u, v], axis=1))
    return Texels(np.concatenate(places), np.concatenate(faces), np.concatenate(weights))


def _batches(num: int) -> Iterator[tuple[int, int]]:
    for first in range(0, num, BATCH):
        yield first, min(first + BATCH, num)


def _projector(mesh: TriangleMesh, paint: PicturePaint) -> Projector:
    """The picture at its own resolution, framed as the view was found for."""
    box = silhouette_box(paint.picture)
    assert box is not None  # it gave colours
    longest = max(box[2] - box[0], box[3] - box[1])
    framed = frame_object(paint.picture, min(round(longest / OBJECT_FILL), MAX_PICTURE_SIDE))
    return Projector(Scene(mesh), paint.view, framed, tolerance=HIDING_DISTANCE)


def _shown(
    projector: Projector,
    paint: PicturePaint,
    points_N3: Float64[ndarray, "N 3"],
    normals_N3: Float64[ndarray, "N 3"],
    filled_N3: Float64[ndarray, "N 3"],
    middle: Float64[ndarray, " 3"],
) -> Float64[ndarray, "N 3"]:
    """Colours of the picture, faded into those of mirror images, and these into filled ones."""
    own = projector.sight(points_N3, normals_N3)
    share_N = np.minimum(own.weights_P / SURE, 1)
    mirrored_N3, best_N = filled_N3.copy(), np.zeros(len(points_N3))
    rest_N = np.flatnonzero(share_N < 1)
    for signs, is_used in zip(MIRRORS, paint.mirrored, strict=True):
        if not is_used or not len(rest_N):
            continue
        images_M3 = (points_N3[rest_N] - middle) * signs + middle
        facing_M3 = normals_N3[rest_N] * signs
        other = projector.sight(images_M3, facing_M3, overhang=MIRROR_REACH)
        better = other.weights_P > best_N[rest_N]
        chosen = rest_N[better]
        best_N[chosen] = other.weights_P[better]
        mirrored_N3[chosen] = paint.light.removed(other.colors_P3[better], facing_M3[better])
    other_N1 = np.minimum(best_N / SURE, 1)[:, None]
    base_N3 = other_N1 * mirrored_N3 + (1 - other_N1) * filled_N3
    seen_N3 = paint.light.removed(own.colors_P3, normals_N3)
    return share_N[:, None] * seen_N3 + (1 - share_N[:, None]) * base_N3
