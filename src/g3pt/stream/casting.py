"""The interface of ray casters, which drawing needs, and the caster of procedural shapes for CPUs.

`WalkingCaster` casts rays at procedural shapes with NumPy, shape by shape.
`primitives.PrimitiveCaster` casts at many shapes at once and is made for GPUs; its torch path takes
seconds per shape on a CPU. Here a picture of 128 pixels takes some hundredths of a second, since
rays advance in blocks until they are near a surface (`procedural.tracing`).

Legend: B shapes, V pictures (each shows one shape), R rays of a picture, Q points of a shape, N
surface points.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int, UInt8
from torch import Tensor

from g3pt.procedural import NoSurfaceError, ProceduralShape
from g3pt.procedural.tracing import Walk
from g3pt.stream.fields import sample_field_surfaces


@dataclass(frozen=True)
class Hits:
    """First intersections of rays with the surface."""

    hit_VR: Bool[Tensor, "V R"]

    lengths_VR: Float[Tensor, "V R"]
    """Distance from the origin along the unit ray; undefined where nothing was hit."""

    normals_VR3: Float[Tensor, "V R 3"]
    """Outward unit normals in the shape's frame; zero where nothing was hit."""

    colors_VR3: UInt8[Tensor, "V R 3"]
    """Colour of the surface, sRGB; zero where nothing was hit."""


@runtime_checkable
class RayCaster(Protocol):
    """A batch of shapes on one device that rays can be cast at."""

    @property
    def num_shapes(self) -> int:
        """Number of shapes."""
        ...

    def cast(
        self,
        shapes_V: Int[Tensor, " V"],
        origins_V3: Float[Tensor, "V 3"],
        rays_VR3: Float[Tensor, "V R 3"],
    ) -> Hits:
        """For every picture, cast a bundle of rays from one point at one shape.

        Args:
            shapes_V: index of the shape that each picture shows.
            origins_V3: common origin of a picture's rays, unit frame, outside the shape.
            rays_VR3: unit directions.
        """
        ...


@dataclass(frozen=True)
class WalkingCaster:
    """A `RayCaster` of procedural shapes on the CPU."""

    shapes: Sequence[ProceduralShape]

    @property
    def num_shapes(self) -> int:
        """Number of shapes."""
        return len(self.shapes)

    def field(self, points_BQ3: Float32[Tensor, "B Q 3"]) -> Float32[Tensor, "B Q"]:
        """Field of each shape, negative inside, at its own points of the unit frame."""
        pairs = zip(self.shapes, points_BQ3.numpy(), strict=True)
        return torch.from_numpy(np.stack([shape.field(points_Q3) for shape, points_Q3 in pairs]))

    def surface(
        self, num: int, generator: torch.Generator
    ) -> tuple[Float32[Tensor, "B N 3"], Float32[Tensor, "B N 3"]]:
        """Draw uniform points on each surface, in random order, with outward unit normals.

        Shapes whose primitives are almost completely buried are sampled by their field.

        Args:
            num: number of points per shape.
            generator: source of randomness.
        """
        seeds = torch.randint(2**62, (self.num_shapes,), generator=generator).tolist()
        points_BN3 = torch.empty(self.num_shapes, num, 3)
        normals_BN3 = torch.empty_like(points_BN3)
        for row, (shape, seed) in enumerate(zip(self.shapes, seeds, strict=True)):
            try:
                found = shape.sample_surface(num, np.random.default_rng(seed))
            except NoSurfaceError:
                own = WalkingCaster((shape,))
                generator = torch.Generator().manual_seed(seed)
                points, normals = sample_field_surfaces(own.field, 1, num, generator)
                points_BN3[row], normals_BN3[row] = points[0], normals[0]
            else:
                points_BN3[row] = torch.from_numpy(found.points)
                normals_BN3[row] = torch.from_numpy(found.normals)
        return points_BN3, normals_BN3

    def cast(
        self,
        shapes_V: Int[Tensor, " V"],
        origins_V3: Float[Tensor, "V 3"],
        rays_VR3: Float[Tensor, "V R 3"],
    ) -> Hits:
        """For every picture, cast a bundle of rays from one point at one shape.

        The rays of a picture form a square grid, row by row.
        """
        hits = Hits(
            hit_VR=torch.zeros(rays_VR3.shape[:2], dtype=torch.bool),
            lengths_VR=torch.zeros(rays_VR3.shape[:2]),
            normals_VR3=torch.zeros(rays_VR3.shape),
            colors_VR3=torch.zeros(rays_VR3.shape, dtype=torch.uint8),
        )
        for picture, number in enumerate(shapes_V.tolist()):
            shape, origin = self.shapes[number], origins_V3[picture].numpy()
            rays_R3 = np.ascontiguousarray(rays_VR3[picture].numpy())
            walk = Walk(shape, origin)
            start = walk.in_bundles(rays_R3)
            rays_N, lengths_N = walk.to_surface(rays_R3[start.rays], start)
            points_N3 = origin + rays_R3[rays_N] * lengths_N[:, None]
            hits.hit_VR[picture, rays_N] = True
            hits.lengths_VR[picture, rays_N] = torch.from_numpy(lengths_N)
            normals_N3 = shape.gradient(points_N3).astype(np.float32)
            hits.normals_VR3[picture, rays_N] = torch.from_numpy(normals_N3)
            hits.colors_VR3[picture, rays_N] = torch.from_numpy(shape.color_at(points_N3))
        return hits
