"""How thick the walls of a closed mesh are, where they are thin, and discs that would thicken them.

Thickness at a point of the surface is the length of the ray from there straight inward to the
other side, as slicers' checks measure it. Lengths are those of the mesh, say millimetres.
Legend: N surface points, M thin ones, K discs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from embreex import mesh_construction, rtcore_scene  # pyright: ignore[reportMissingTypeStubs]
from jaxtyping import Float64
from scipy import sparse, spatial  # pyright: ignore[reportMissingTypeStubs]
from scipy.sparse import csgraph  # pyright: ignore[reportMissingTypeStubs]

from g3pt.geometry.sampling import sample_surface
from g3pt.geometry.triangles import TriangleMesh, face_areas, face_normals, keep_faces

_mesh_construction: Any = mesh_construction  # without type stubs
_rtcore_scene: Any = rtcore_scene
_spatial: Any = spatial
_sparse: Any = sparse
_csgraph: Any = csgraph

Distances = Float64[np.ndarray, " N"]

NUM_SAMPLES = 20_000
"""Points at which walls are measured; a share of .5 % of the surface has a hundred of them."""

MAX_SAMPLES = 4_000_000
"""Most points of thin walls at which they are measured to thicken them."""

MAX_PLACES = 5
"""Most places that are named."""

_START = 1e-5
"""Where rays start below the surface, as a share of the mesh's longest side: beyond the rounding of
Embree's 32-bit floats, far below any wall."""


@dataclass(frozen=True)
class ThinPlace:
    """A connected thin region."""

    center: tuple[float, float, float]
    """Mean of its surface points, in the frame of the mesh."""
    share: float
    """Its share of the whole surface."""
    thinnest: float
    """Thickness below which no more than a twentieth of it is; right at sharp edges it is zero."""


@dataclass(frozen=True)
class Walls:
    """What was found below a wanted thickness."""

    minimum: float
    """The wanted thickness."""
    thin_share: float
    """Share of the surface where the wall is thinner."""
    thinnest: float
    """Thickness below which no more than a two-hundredth of the surface is."""
    places: tuple[ThinPlace, ...]
    """Thin regions, largest first, at most `MAX_PLACES`."""


def measure_walls(mesh: TriangleMesh, minimum: float, *, seed: int = 0) -> Walls:
    """Find walls of a closed mesh that are thinner than wanted.

    Args:
        mesh: closed, faces outward.
        minimum: the wanted thickness, in lengths of the mesh.
        seed: seeds the points at which walls are measured.

    Raises:
        MeshError: if the mesh has no area.
    """
    samples = sample_surface(mesh, NUM_SAMPLES, np.random.default_rng(seed))
    thickness = _Rays(mesh).thickness(samples.points, samples.normals)
    thin = thickness < minimum
    spacing = np.sqrt(face_areas(mesh).sum() / NUM_SAMPLES)
    places = _places(samples.points[thin], thickness[thin], max(minimum, 2 * spacing))
    return Walls(minimum, float(thin.mean()), float(np.quantile(thickness, 0.005)), places)


@dataclass(frozen=True, eq=False)
class Discs:
    """Round discs that thicken a solid: what lies within a radius of them is joined with it."""

    centers: Float64[np.ndarray, "K 3"]
    normals: Float64[np.ndarray, "K 3"]
    """Unit normals."""
    size: float
    """Radius of the discs themselves; 0 makes them points."""

    def distance(self, reach: float) -> Callable[[Float64[np.ndarray, "N 3"]], Distances]:
        """A function of points: the distance to the disc with the nearest centre.

        Args:
            reach: beyond this distance from all centres it gives infinity.
        """
        tree = _spatial.cKDTree(self.centers)

        def measure(points: Float64[np.ndarray, "N 3"]) -> Distances:
            away, nearest = tree.query(points, distance_upper_bound=reach)
            near = np.flatnonzero(np.isfinite(away))
            offset = points[near] - self.centers[nearest[near]]
            height = np.einsum("ni,ni->n", offset, self.normals[nearest[near]])
            aside = np.sqrt(np.maximum(away[near] ** 2 - height**2, 0.0))
            away[near] = np.hypot(height, np.maximum(aside - self.size, 0.0))
            return away

        return measure


def thickening_discs(mesh: TriangleMesh, minimum: float, *, seed: int = 0) -> Discs:
    """Discs in the middle of thin walls: half the wanted thickness around them is thick enough.

    Discs rather than balls, so that a flat wall stays flat between them. There is one per cell of a
    grid of a sixth of the wanted thickness that holds the middle of a thin wall.

    Args:
        mesh: closed, faces outward.
        minimum: the wanted thickness, in lengths of the mesh.
        seed: seeds the points of the surface below which walls are measured.

    Raises:
        MeshError: if the mesh has no area.
    """
    rng = np.random.default_rng(seed)
    rays = _Rays(mesh)
    samples = sample_surface(mesh, 10 * NUM_SAMPLES, rng)
    normals = face_normals(mesh)
    middle_of_faces = rays.thickness(mesh.triangles.mean(axis=1), normals) < minimum
    thin_faces = samples.faces[rays.thickness(samples.points, samples.normals) < minimum]
    thin_faces = np.union1d(thin_faces, np.flatnonzero(middle_of_faces & normals.any(axis=1)))
    spacing = minimum / 6
    if len(thin_faces) == 0:
        return Discs(np.zeros((0, 3)), np.zeros((0, 3)), spacing)
    part = keep_faces(mesh, thin_faces)
    num = int(4 * face_areas(part).sum() / spacing**2)  # four per cell: few cells stay empty
    samples = sample_surface(part, min(max(num, NUM_SAMPLES), MAX_SAMPLES), rng)
    thickness = rays.thickness(samples.points, samples.normals)
    thin = thickness < minimum
    middles = samples.points[thin] - 0.5 * thickness[thin, None] * samples.normals[thin]
    _, first = np.unique(np.floor(middles / spacing), axis=0, return_index=True)
    return Discs(middles[first], samples.normals[thin][first], 1.5 * spacing)


class _Rays:
    """Rays from the surface of a mesh straight inward."""

    def __init__(self, mesh: TriangleMesh) -> None:
        lowest, highest = mesh.bounds()
        self._centre = (lowest + highest) / 2
        self._longest = float((highest - lowest).max())
        # Embree's 32-bit floats are finest near the origin.
        vertices = ((mesh.vertices - self._centre) / self._longest).astype(np.float32)
        self._scene = _rtcore_scene.EmbreeScene()
        _mesh_construction.TriangleMesh(self._scene, vertices[mesh.faces])

    def thickness(
        self, points: Float64[np.ndarray, "N 3"], normals: Float64[np.ndarray, "N 3"]
    ) -> Distances:
        """Length of the ray from each point against its normal to the other side, else inf."""
        starts = (points - self._centre) / self._longest - _START * normals
        answer = self._scene.run(
            starts.astype(np.float32), (-normals).astype(np.float32), output=True
        )
        lengths = np.where(answer["primID"] >= 0, answer["tfar"].astype(np.float64), np.inf)
        return (lengths + _START) * self._longest


def _places(
    points: Float64[np.ndarray, "M 3"], thickness: Float64[np.ndarray, " M"], reach: float
) -> tuple[ThinPlace, ...]:
    """Group thin points that lie within reach of each other."""
    if len(points) == 0:
        return ()
    pairs = _spatial.cKDTree(points).query_pairs(reach, output_type="ndarray")
    links = _sparse.coo_array(
        (np.ones(len(pairs), dtype=np.int8), (pairs[:, 0], pairs[:, 1])), (len(points),) * 2
    )
    groups = _csgraph.connected_components(links, directed=False)[1]
    counts = np.bincount(groups)
    places: list[ThinPlace] = []
    for group in np.argsort(-counts, kind="stable")[:MAX_PLACES]:
        own = groups == group
        x, y, z = points[own].mean(axis=0).tolist()
        share = float(counts[group]) / NUM_SAMPLES
        places.append(ThinPlace((x, y, z), share, float(np.quantile(thickness[own], 0.05))))
    return tuple(places)
