"""Reliability of the labels of a mesh: the numbers by which prepared objects are flagged.

Unit frame. N points.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64

from g3pt.geometry.isosurface import extract_surface
from g3pt.geometry.mesh import TriangleMesh, num_components, volume
from g3pt.geometry.metrics import distance_to_mesh
from g3pt.geometry.sampling import SurfaceSamples, sample_surface
from g3pt.geometry.solid import Solid
from g3pt.geometry.sparse_grid import FieldFunction

NUM_SAMPLES = 4096
"""Points used to estimate each number."""

NEAR_VOXELS = 2.0
"""Labels are checked up to this many wall voxels from the surface, where errors are most likely."""

BOUNDARY_RESOLUTION = 64
"""Cells per axis of the boundary mesh; its vertices lie on exact distances, not on cell borders."""


@dataclass(frozen=True)
class SolidQuality:
    """Measurements of one solid against the mesh it was made from."""

    disagreement: float
    """Share of near points on which a decided seal and the winding number differ."""
    label_error: float
    """Estimated share of wrong labels near the surface: points just above or below an outer face
    without the label of their side. 0.5 for sheets."""
    source_to_solid: float
    """Mean distance from the mesh, where it is seen from outside or inside, to the solid's
    boundary: large when parts enclose nothing."""
    solid_to_source: float
    """Mean distance from the solid's boundary to the mesh: large when holes were bridged."""
    volume_ratio: float
    """Volume of the solid over the absolute signed volume of the mesh, at most 100; 1 for clean
    meshes."""
    num_components: int
    """Connected parts of the mesh."""

    @property
    def chamfer(self) -> float:
        """Mean of the two directions' distances, in unit-frame lengths."""
        return (self.source_to_solid + self.solid_to_source) / 2


def measure_quality(
    mesh: TriangleMesh,
    solid: Solid,
    boundary: SurfaceSamples,
    rng: np.random.Generator,
) -> SolidQuality:
    """Compare a solid with the mesh it was made from.

    Args:
        mesh: the source, in the unit frame.
        solid: its solid.
        boundary: samples of the solid's surface with outward normals (`sample_boundary`).
        rng: source of randomness.
    """
    points, inside = points_beside(boundary, solid, NEAR_VOXELS * solid.voxel, rng)
    differs = solid.contains(points) != inside
    surface = extract_surface(
        _field_of(solid),
        resolution=BOUNDARY_RESOLUTION,
        base_resolution=BOUNDARY_RESOLUTION // 4,
        seeds=boundary.points[:NUM_SAMPLES],
    ).mesh
    own = sample_surface(mesh, NUM_SAMPLES, rng).points
    source_to_solid = solid_to_source = 2.0
    if not surface.is_empty:
        source_to_solid = float(distance_to_mesh(own, surface).mean())
        on_solid = sample_surface(surface, NUM_SAMPLES, rng).points
        solid_to_source = float(solid.distance(on_solid).mean())
    own_volume = abs(volume(mesh))
    return SolidQuality(
        disagreement=solid.disagreement(points),
        label_error=float(differs.mean()) if len(differs) else 1.0,
        source_to_solid=source_to_solid,
        solid_to_source=solid_to_source,
        volume_ratio=min(abs(volume(surface)) / max(own_volume, 1e-9), 100.0),
        num_components=num_components(mesh),
    )


def points_beside(
    boundary: SurfaceSamples, solid: Solid, reach: float, rng: np.random.Generator
) -> tuple[Float64[np.ndarray, "N 3"], Bool[np.ndarray, " N"]]:
    """Points just above and below the outer faces closest to them, and their expected labels.

    Args:
        boundary: samples of the solid's surface with outward normals.
        solid: used for distances only.
        reach: how far above and below, in unit-frame lengths.
        rng: source of randomness.
    """
    chosen = rng.integers(len(boundary.points), size=NUM_SAMPLES)
    heights = rng.uniform(-reach, reach, NUM_SAMPLES)
    points = boundary.points[chosen] + heights[:, None] * boundary.normals[chosen]
    closest = solid.distance(points)
    own_face = closest > 0.98 * np.abs(heights)
    return points[own_face], heights[own_face] < 0


def _field_of(solid: Solid) -> FieldFunction:
    """Signed distance: the solid's label, the mesh's distance."""

    def field(points: Float32[np.ndarray, "N 3"]) -> Float32[np.ndarray, " N"]:
        return solid.signed_distance(points.astype(np.float64)).astype(np.float32)

    return field
