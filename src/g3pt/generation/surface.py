"""The one way from a surface to tokens: training data, evaluation, commands and `G3PT` go it.

What bounds the solid is sampled, with its normals outward: preparation stores such samples for
training, and whatever else is tokenized passes through `encode_surface`.

Legend: N surface points, T tokens. Unit frame.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from g3pt.geometry.boundary import SolidMesh
from g3pt.geometry.mesh import (
    MAX_FLOAT_STEP,
    TriangleMesh,
    UnitFrame,
    float_step,
    read_mesh,
    to_unit,
    unit_frame_of,
)
from g3pt.geometry.sampling import SurfaceSamples
from g3pt.models.tokenizer import DiscreteTokenizer

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class PlacedMesh:
    """A mesh brought into the unit frame, as the solid that it stands for."""

    frame: UnitFrame
    """Where the unit frame lies in the source's space."""
    bounded: SolidMesh


MeshSource = PlacedMesh | TriangleMesh | str | Path
"""A mesh at any place and scale, or a file of one."""


def place_mesh(source: MeshSource) -> PlacedMesh:
    """Read a mesh and bring it into the unit frame.

    Far from the origin 32-bit floats round places, and the surface is rough before it comes here.
    Nothing can undo that; a warning says how coarse the steps are.

    Raises:
        MeshError: if it cannot be read or has no extent.
    """
    if isinstance(source, PlacedMesh):
        return source
    mesh = source if isinstance(source, TriangleMesh) else read_mesh(source)
    frame = unit_frame_of(mesh)
    if (step := float_step(mesh)) > MAX_FLOAT_STEP and _fits_32_bits(mesh):
        LOGGER.warning(
            "%s: lies so far from the origin that 32-bit floats place its vertices in steps of "
            "%.2g times its longest side, which may have made the surface rough; move the object "
            "to the origin before it is written",
            "the mesh" if isinstance(source, TriangleMesh) else source,
            step,
        )
    return PlacedMesh(frame, SolidMesh(to_unit(mesh, frame)))


def _fits_32_bits(mesh: TriangleMesh) -> bool:
    """Whether the vertices are 32-bit floats; 64-bit ones were not rounded."""
    with np.errstate(over="ignore"):
        return bool((mesh.vertices.astype(np.float32) == mesh.vertices).all())


@runtime_checkable
class Samplable(Protocol):
    """A solid whose surface can be sampled: `SolidMesh`, or a shape of a source."""

    def sample_surface(self, num: int, rng: np.random.Generator) -> SurfaceSamples:
        """Points by area on what bounds the solid, normals outward."""
        ...


@dataclass(frozen=True, eq=False)
class EncodedSurface:
    """The tokens of a solid, and what the tokenizer read."""

    indices_T: Int[Tensor, " T"]
    """Vocabulary indices of all scales, coarsest first, on the tokenizer's device."""
    samples: SurfaceSamples


def encode_surface(
    tokenizer: DiscreteTokenizer, shape: Samplable, num_points: int, rng: np.random.Generator
) -> EncodedSurface:
    """Sample what bounds a solid, and tokenize it.

    Args:
        tokenizer: stage 1.
        shape: the solid; a mesh enters as `SolidMesh`.
        num_points: surface points that the tokenizer reads (`num_points` of its weights).
        rng: source of the points.

    Raises:
        MeshError: if a mesh has no area, or nearly all of it is buried.
    """
    samples = shape.sample_surface(num_points, rng)
    return EncodedSurface(encode_samples(tokenizer, samples), samples)


def encode_samples(tokenizer: DiscreteTokenizer, samples: SurfaceSamples) -> Int[Tensor, " T"]:
    """Tokens of samples that were drawn earlier, or damaged on purpose."""
    return tokenizer.tokenize(*surface_tensors(samples, next(tokenizer.parameters()).device))[0]


def surface_tensors(
    samples: SurfaceSamples, device: torch.device
) -> tuple[Float[Tensor, "1 N 3"], Float[Tensor, "1 N 3"]]:
    """Points and normals as an encoder reads them: a batch of one, float32."""
    points_1N3, normals_1N3 = (
        torch.from_numpy(rows.astype(np.float32))[None].to(device)
        for rows in (samples.points, samples.normals)
    )
    return points_1N3, normals_1N3
