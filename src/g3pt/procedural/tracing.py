"""Pictures of a procedural shape straight from its field: sphere tracing instead of a mesh.

That is several times cheaper than meshing the shape, and keeps its edges sharp. Light, colours and
frames are those of `geometry.render`, which draws the meshed shape and is the twin that the tests
compare with.

Legend: R rays, N some of them.
"""

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray

from g3pt.geometry.cameras import Camera, ray_grid
from g3pt.geometry.shading import develop, linear, shade
from g3pt.procedural.shape import ProceduralShape
from g3pt.procedural.walk import BLOCK, Progress, Walk, started


class TracedScene:
    """A procedural shape ready to be drawn; the same call as `geometry.render.Scene`."""

    def __init__(self, shape: ProceduralShape) -> None:
        self._shape = shape

    def render(
        self, camera: Camera, *, size: int = 256, supersample: int = 2
    ) -> UInt8[ndarray, "S S 4"]:
        """Draw the shape.

        Args:
            camera: where from.
            size: side of the picture in pixels.
            supersample: rays per pixel and axis; alpha is the share of them that hit.
        """
        side = size * supersample
        axes = camera.axes().astype(np.float32)
        origin = np.asarray(camera.position, dtype=np.float32)
        rays_R3 = (ray_grid(side, camera.fov_degrees) @ axes).reshape(-1, 3)
        walk = Walk(self._shape, origin)
        start = _in_blocks(walk, axes, side, camera.fov_degrees)
        hits, lengths_N = walk.to_surface(rays_R3[start.rays], start)
        points_N3 = origin + rays_R3[hits] * lengths_N[:, None]
        normals_N3 = self._shape.gradient(points_N3).astype(np.float32) @ axes.T
        light_R4 = shade(len(rays_R3), hits, normals_N3, linear(self._shape.color_at(points_N3)))
        return develop(light_R4, size, supersample)


def _in_blocks(
    walk: Walk, axes: Float32[ndarray, "3 3"], side: int, fov_degrees: float
) -> Progress:
    """`Walk.in_bundles` for a camera's whole picture."""
    num_blocks = -(-side // BLOCK)
    wider = np.rad2deg(
        2 * np.arctan(np.tan(np.deg2rad(fov_degrees) / 2) * num_blocks * BLOCK / side)
    )
    # The grid of the blocks may be larger than that of the rays; both have one middle.
    shift = (num_blocks * BLOCK - side) / 2
    rays_R3 = (ray_grid(num_blocks, float(wider)) @ axes).reshape(-1, 3)
    spread = np.float32(2.0 / num_blocks * np.tan(np.deg2rad(wider) / 2) * 0.5**0.5)
    near = walk.approach(rays_R3, np.full(len(rays_R3), spread), np.float32(8))
    places = ((np.arange(side) + shift) // BLOCK).astype(np.int64)
    return started(near.reshape(num_blocks, num_blocks)[np.ix_(places, places)])
