"""What rays hit: all that has to be known of a shape, whatever it is made of, to draw it.

Legend: V pictures, R rays of a picture.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor


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
