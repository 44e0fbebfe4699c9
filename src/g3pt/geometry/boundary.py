"""The solid of a mesh that may be dirty, and samples of the surface that bounds it. N points."""

from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float

from g3pt.geometry.mesh import MeshError, TriangleMesh
from g3pt.geometry.sampling import SurfaceSamples, sample_surface
from g3pt.geometry.solid import Solid

SIDE_STEP = 0.004
"""Distance from a face, in unit-frame lengths, at which the solid is queried on either side of
it."""

MAX_DRAWS = 24
"""How often sampling is repeated for a surface that is mostly buried."""


class SolidMesh:
    """A mesh in the unit frame and the solid that it stands for.

    Preparation, evaluation and `generation.surface.encode_surface` all read a mesh through this
    class, so that a tokenizer gets what it was trained on.
    """

    def __init__(self, mesh: TriangleMesh, *, resolution: int = 256) -> None:
        """Keep a mesh; its solid is built on first use.

        Args:
            mesh: any triangles, in the unit frame.
            resolution: wall voxels per axis of the inside/outside test.
        """
        self.mesh = mesh
        self._resolution = resolution

    @cached_property
    def solid(self) -> Solid:
        """The inside/outside test, built on first use.

        Raises:
            MeshError: if no face has area, or the mesh leaves the query cube.
        """
        return Solid.from_mesh(self.mesh, resolution=self._resolution)

    def sample_surface(self, num: int, rng: np.random.Generator) -> SurfaceSamples:
        """Draw points by area on the faces that bound the solid, with outward normals.

        Raises:
            MeshError: if the mesh has no area, or nearly all of it is buried.
        """
        return sample_boundary(self.mesh, self.solid, num, rng)

    def contains(self, points: Float[np.ndarray, "N 3"]) -> Bool[np.ndarray, " N"]:
        """True for points inside the solid."""
        return self.solid.contains(points.astype(np.float64))


def sample_boundary(
    mesh: TriangleMesh, solid: Solid, num: int, rng: np.random.Generator
) -> SurfaceSamples:
    """Draw points by area on the faces that bound the solid, with normals turned outward.

    Faces with the solid on both sides (overlapping parts, inner shells) do not bound it and are
    left out. The normal of a face that points inward is reversed. Where neither side is inside (a
    lone sheet) the face is kept as it is.

    Args:
        mesh: any triangles, in the unit frame.
        solid: the solid of this mesh.
        num: how many points.
        rng: source of randomness.

    Raises:
        MeshError: if the mesh has no area, or nearly all of it is buried.
    """
    kept: list[SurfaceSamples] = []
    missing = num
    for _ in range(MAX_DRAWS):
        kept.append(_exposed_samples(mesh, solid, missing + missing // 4 + 16, rng))
        missing -= len(kept[-1].points)
        if missing <= 0:
            return SurfaceSamples(
                points=np.concatenate([samples.points for samples in kept])[:num],
                normals=np.concatenate([samples.normals for samples in kept])[:num],
                faces=np.concatenate([samples.faces for samples in kept])[:num],
            )
    raise MeshError("nearly all of the surface is buried inside the solid")


def _exposed_samples(
    mesh: TriangleMesh, solid: Solid, num: int, rng: np.random.Generator
) -> SurfaceSamples:
    samples = sample_surface(mesh, num, rng)
    step = SIDE_STEP * samples.normals
    both = np.concatenate([samples.points + step, samples.points - step])
    front, back = np.split(solid.contains(both), 2)
    exposed = ~(front & back)
    facing = np.where(front & ~back, -1.0, 1.0)[:, None]
    return SurfaceSamples(
        points=samples.points[exposed],
        normals=(samples.normals * facing)[exposed],
        faces=samples.faces[exposed],
    )
