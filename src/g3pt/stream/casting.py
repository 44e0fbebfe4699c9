"""What rays hit: all that has to be known of a shape to draw it; procedural shapes on a processor.

`WalkingCaster` casts rays at procedural shapes with NumPy, shape by shape.
`primitives.PrimitiveCaster` does the same for many shapes at once, and is what a GPU wants; its
torch path takes seconds a shape on a processor. Here a picture of 128 pixels takes some hundredths
of a second: rays walk in blocks until something is near (`procedural.tracing`).

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
    """Where rays meet the surface first."""

    hit_VR: Bool[Tensor, "V R"]

    lengths_VR: Float[Tensor, "V R"]
    """Distance from the origin along the unit ray; of no meaning where nothing was hit."""

    normals_VR3: Float[Tensor, "V R 3"]
    """Outward unit normals in the shape's frame; zero where nothing was hit."""

    colors_VR3: UInt8[Tensor, "V R 3"]
    """SRGB of the surface; zero where nothing was hit."""


@runtime_checkable
class RayCaster(Protocol):
    """A batch of shapes on one device that rays can be sent at."""

    @property
    def num_shapes(self) -> int:
        """How many shapes there are."""
        ...

    def cast(
        self,
        shapes_V: Int[Tensor, " V"],
        origins_V3: Float[Tensor, "V 3"],
        rays_VR3: Float[Tensor, "V R 3"],
    ) -> Hits:
        """Send a bundle of rays from one point at one shape, for every picture.

        Args:
            shapes_V: the number of the shape that each picture shows.
            origins_V3: where its rays start, unit frame, outside the shape.
            rays_VR3: unit directions.
        """
        ...


@dataclass(frozen=True)
class WalkingCaster:
    """Procedural shapes as something that rays can be sent at (a `RayCaster`), on the CPU."""

    shapes: Sequence[ProceduralShape]

    @property
    def num_shapes(self) -> int:
        """How many shapes there are."""
        return len(self.shapes)

    def field(self, points_BQ3: Float32[Tensor, "B Q 3"]) -> Float32[Tensor, "B Q"]:
        """Each shape's field, negative inside, at its own points of the unit frame."""
        pairs = zip(self.shapes, points_BQ3.numpy(), strict=True)
        return torch.from_numpy(np.stack([shape.field(points_Q3) for shape, points_Q3 in pairs]))

    def surface(
        self, num: int, generator: torch.Generator
    ) -> tuple[Float32[Tensor, "B N 3"], Float32[Tensor, "B N 3"]]:
        """Draw points evenly over each surface, in random order, with outward unit normals.

        Shapes whose primitives are buried nearly everywhere are sampled by their field.

        Args:
            num: points of every shape.
            generator: source of everything random.
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
        """Send a bundle of rays from one point at one shape, for every picture.

        The rays of a picture are those of a square grid, row by row.
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
