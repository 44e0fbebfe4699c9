"""Damaged meshes of solids that are known exactly, and the error of labels near their surface.

Each mesh has one defect that is common in foreign meshes; the solid it stands for is a formula.
Where a mesh alone settles nothing, the truth is the policy of `geometry.solid`: a box without a
lid is full, and so are closed cavities. Unit frame; N points.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Bool, Float64

from g3pt.geometry.mesh import TriangleMesh, concatenate, face_normals, keep_faces, volume
from g3pt.geometry.sampling import sample_volume

_trimesh: Any = trimesh  # its own annotations are partial

Centre = tuple[float, float, float]
Contains = Callable[[Float64[np.ndarray, "N 3"]], Bool[np.ndarray, " N"]]
Distance = Callable[[Float64[np.ndarray, "N 3"]], Float64[np.ndarray, " N"]]

ORIGIN: Centre = (0.0, 0.0, 0.0)

REACH_VOXELS = 2.0
"""Labels are judged up to this many wall voxels from the true surface, where they are hardest."""

RESOLUTION = 256
"""Wall voxels along the query cube, as objects are prepared."""


@dataclass(frozen=True, eq=False)
class AnalyticSolid:
    """A mesh, however broken, and the solid it stands for."""

    name: str
    mesh: TriangleMesh
    distance: Distance
    """Exact distance to the true surface, negative inside. Inside joined parts it is that to the
    own surface of the part that lies deepest around the point, so that it can only be too short."""

    def contains(self, points: Float64[np.ndarray, "N 3"]) -> Bool[np.ndarray, " N"]:
        """Tell which points are inside, by the formula."""
        return self.distance(points) < 0


def near_points(
    solid: AnalyticSolid,
    num: int,
    rng: np.random.Generator,
    reach: float = REACH_VOXELS * 2.0 / RESOLUTION,
) -> Float64[np.ndarray, "N 3"]:
    """Draw points uniformly among those of the query cube within `reach` of the true surface."""
    kept: list[np.ndarray] = []
    missing = num
    while missing > 0:
        points = sample_volume(200_000, rng)
        kept.append(points[np.abs(solid.distance(points)) <= reach])
        missing -= len(kept[-1])
    return np.concatenate(kept)[:num]


def label_error(solid: AnalyticSolid, contains: Contains, num: int = 20_000) -> float:
    """Share of wrong labels near the true surface.

    Args:
        solid: the truth.
        contains: gives the labels to judge.
        num: how many points are asked.
    """
    points = near_points(solid, num, np.random.default_rng(0))
    return float((contains(points) != solid.contains(points)).mean())


# --- exact distances -----------------------------------------------------------------------


def ball_distance(
    points: Float64[np.ndarray, "N 3"], radius: float, centre: Centre = ORIGIN
) -> Float64[np.ndarray, " N"]:
    """Signed distance to a sphere."""
    return np.linalg.norm(points - np.array(centre), axis=1) - radius


def box_distance(
    points: Float64[np.ndarray, "N 3"], half: Centre, centre: Centre = ORIGIN
) -> Float64[np.ndarray, " N"]:
    """Signed distance to a box."""
    beyond = np.abs(points - np.array(centre)) - np.array(half)
    return np.linalg.norm(beyond.clip(min=0), axis=1) + beyond.max(axis=1).clip(max=0)


def torus_distance(
    points: Float64[np.ndarray, "N 3"], major: float, minor: float
) -> Float64[np.ndarray, " N"]:
    """Signed distance to a torus around the y axis."""
    around = np.hypot(points[:, 0], points[:, 2]) - major
    return np.hypot(around, points[:, 1]) - minor


def union_distance(
    points: Float64[np.ndarray, "N 3"], parts: tuple[Distance, ...]
) -> Float64[np.ndarray, " N"]:
    """Least of several signed distances (see `AnalyticSolid.distance`)."""
    return np.min([part(points) for part in parts], axis=0)


# --- clean meshes --------------------------------------------------------------------------


def ball(radius: float, centre: Centre = ORIGIN, subdivisions: int = 5) -> TriangleMesh:
    """A sphere of triangles with the volume of the ball.

    Vertices on the sphere would leave all faces inside it; with the right volume they lie a
    third as far from it.
    """
    body = _trimesh.creation.icosphere(subdivisions=subdivisions)
    mesh = TriangleMesh.from_arrays(body.vertices, body.faces)
    scale = radius * (4 / 3 * np.pi / volume(mesh)) ** (1 / 3)
    return replace(mesh, vertices=mesh.vertices * scale + np.array(centre))


def box(half: Centre, centre: Centre = ORIGIN) -> TriangleMesh:
    """A box of twelve triangles, which is exact."""
    body = _trimesh.creation.box(extents=2 * np.array(half))
    return TriangleMesh.from_arrays(body.vertices + np.array(centre), body.faces)


def torus(major: float, minor: float) -> TriangleMesh:
    """A torus of triangles around the y axis with the volume of the solid."""
    body = _trimesh.creation.torus(major, minor, major_sections=288, minor_sections=144)
    mesh = TriangleMesh.from_arrays(body.vertices[:, [1, 2, 0]], body.faces)
    ratio = 2 * np.pi**2 * major * minor**2 / volume(mesh)
    around = np.linalg.norm(mesh.vertices[:, [0, 2]], axis=1, keepdims=True)
    core = mesh.vertices * [1, 0, 1] * major / around
    return replace(mesh, vertices=core + (mesh.vertices - core) * np.sqrt(ratio))


# --- ways to break them --------------------------------------------------------------------


def flipped(mesh: TriangleMesh) -> TriangleMesh:
    """The same faces seen from their other side."""
    return replace(mesh, faces=mesh.faces[:, ::-1].copy())


def half_flipped(mesh: TriangleMesh) -> TriangleMesh:
    """Faces on one side of the origin look inward."""
    low = mesh.triangles.mean(axis=1)[:, 0] < 0
    return concatenate(
        [flipped(keep_faces(mesh, np.flatnonzero(low))), keep_faces(mesh, np.flatnonzero(~low))]
    )


def with_missing_faces(mesh: TriangleMesh, share: float) -> TriangleMesh:
    """Some faces are not there."""
    return keep_faces(
        mesh, np.flatnonzero(np.random.default_rng(1).random(len(mesh.faces)) >= share)
    )


def without_top(mesh: TriangleMesh) -> TriangleMesh:
    """No face looks up."""
    return keep_faces(mesh, np.flatnonzero(face_normals(mesh)[:, 1] < 0.5))


def cracked(mesh: TriangleMesh, share: float = 0.1) -> TriangleMesh:
    """Every face on its own: shrunk towards its centre, and moved at random within its plane."""
    rng = np.random.default_rng(1)
    corners = mesh.triangles
    centres = corners.mean(axis=1, keepdims=True)
    weights = rng.uniform(-share, share, (len(corners), 1, 2))
    edges = corners[:, 1:] - corners[:, :1]
    moves = (weights[..., None] * edges[:, None]).sum(axis=2) / 2
    apart = (centres + (corners - centres) * (1 - share) + moves).reshape(-1, 3)
    return TriangleMesh.from_arrays(apart, np.arange(len(apart)))


# --- the solids ----------------------------------------------------------------------------

SIZE = 0.95
HALF: Centre = (0.95, 0.6, 0.75)
CAVITY: Centre = (0.92, 0.57, 0.72)
"""Leaves walls of 0.03, just under four voxels."""
PLATE: Centre = (0.95, 0.01, 0.7)
PAIR: tuple[Centre, ...] = ((-0.35, 0.0, 0.0), (0.35, 0.0, 0.0))
BODY: Centre = (0.95, 0.2, 0.4)
CABIN: tuple[Centre, Centre] = ((0.4, 0.25, 0.3), (-0.2, 0.35, 0.0))
WHEELS: tuple[Centre, ...] = tuple((x, -0.2, z) for x in (-0.55, 0.55) for z in (-0.4, 0.4))


def _cart() -> TriangleMesh:
    """A body, a cabin sunk into it and four wheels, one of them inside out."""
    first, *others = [ball(0.25, place, 4) for place in WHEELS]
    return concatenate([box(BODY), box(*CABIN), flipped(first), *others])


_ball: Distance = partial(ball_distance, radius=SIZE)
_box: Distance = partial(box_distance, half=HALF)
_torus: Distance = partial(torus_distance, major=0.65, minor=0.3)
_pair: Distance = partial(
    union_distance, parts=tuple(partial(ball_distance, radius=0.6, centre=at) for at in PAIR)
)
_cart_distance: Distance = partial(
    union_distance,
    parts=(
        partial(box_distance, half=BODY),
        partial(box_distance, half=CABIN[0], centre=CABIN[1]),
        *(partial(ball_distance, radius=0.25, centre=at) for at in WHEELS),
    ),
)

_MAKERS: dict[str, tuple[Callable[[], TriangleMesh], Distance]] = {
    "sphere": (lambda: ball(SIZE), _ball),
    "torus": (lambda: torus(0.65, 0.3), _torus),
    "inner shell": (lambda: concatenate([ball(SIZE), flipped(ball(0.6))]), _ball),
    "thin walls": (lambda: concatenate([box(HALF), flipped(box(CAVITY))]), _box),
    "thin plate": (lambda: box(PLATE), partial(box_distance, half=PLATE)),
    "open box": (lambda: without_top(box(HALF)), _box),
    "inverted": (lambda: flipped(torus(0.65, 0.3)), _torus),
    "half flipped": (lambda: half_flipped(box(HALF)), _box),
    "duplicated faces": (lambda: concatenate([ball(SIZE)] * 2), _ball),
    "double-sided": (lambda: concatenate([_cart(), flipped(_cart())]), _cart_distance),
    "self-intersecting": (lambda: concatenate([ball(0.6, at) for at in PAIR]), _pair),
    "cracked soup": (lambda: cracked(ball(SIZE)), _ball),
    "one part flipped": (_cart, _cart_distance),
    "5% missing": (lambda: with_missing_faces(ball(SIZE), 0.05), _ball),
}

SOLID_NAMES = tuple(_MAKERS)
"""What `analytic_solid` knows."""


def analytic_solid(name: str) -> AnalyticSolid:
    """Make one of `SOLID_NAMES`."""
    make_mesh, distance = _MAKERS[name]
    return AnalyticSolid(name, make_mesh(), distance)
