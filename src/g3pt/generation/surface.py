"""The one way from a surface to tokens, for training data, evaluation, commands and `G3PT`.

Points are sampled on the boundary of the solid, with outward normals. Preparation stores such
samples for training; everything else is tokenized by `encode_surface`.

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
from g3pt.geometry.sampling import SurfaceSamples, num_candidates, well_spread
from g3pt.models.tokenizer import DiscreteTokenizer

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class PlacedMesh:
    """A mesh in the unit frame, with the solid that it bounds."""

    frame: UnitFrame
    """Position and scale of the unit frame in the source's space."""
    bounded: SolidMesh


MeshSource = PlacedMesh | TriangleMesh | str | Path
"""A mesh at any place and scale, or a file of one."""


def place_mesh(source: MeshSource) -> PlacedMesh:
    """Read a mesh and bring it into the unit frame.

    Far from the origin, 32-bit floats round positions, so the surface is rough before it is read.
    Nothing can undo that; a warning gives the size of the rounding steps.

    Raises:
        MeshError: if the mesh cannot be read or has no extent.
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
    """Whether all vertices are 32-bit float values; others were not rounded to them."""
    with np.errstate(over="ignore"):
        return bool((mesh.vertices.astype(np.float32) == mesh.vertices).all())


@runtime_checkable
class Samplable(Protocol):
    """A solid whose boundary can be sampled: a `SolidMesh`, or a shape of a source."""

    def sample_surface(self, num: int, rng: np.random.Generator) -> SurfaceSamples:
        """Sample points uniformly by area on the boundary of the solid, with outward normals."""
        ...


@dataclass(frozen=True, eq=False)
class EncodedSurface:
    """The tokens of a solid, and the surface samples that the tokenizer read."""

    indices_T: Int[Tensor, " T"]
    """Vocabulary indices of all scales, coarsest first, on the tokenizer's device."""
    samples: SurfaceSamples


def encode_surface(
    tokenizer: DiscreteTokenizer,
    shape: Samplable,
    num_points: int,
    rng: np.random.Generator,
    *,
    spread: int = 1,
) -> EncodedSurface:
    """Sample the boundary of a solid and tokenize it.

    Args:
        tokenizer: stage 1.
        shape: the solid in the unit frame; a mesh is passed as `SolidMesh`.
        num_points: surface points that the tokenizer reads (`num_points` of its weights).
        rng: random generator of the points.
        spread: candidates of every point: more than 1 keeps well-spread ones (`well_spread`).

    Raises:
        MeshError: if a mesh has no area, or nearly all of its surface lies inside the solid.
    """
    samples = sample_well_spread(shape, num_points, rng, spread)
    return EncodedSurface(encode_samples(tokenizer, samples), samples)


def sample_well_spread(
    shape: Samplable, num_points: int, rng: np.random.Generator, spread: int
) -> SurfaceSamples:
    """Sample points of the boundary; `spread` above 1 keeps well-spread ones of so many each."""
    samples = shape.sample_surface(num_candidates(num_points, spread), rng)
    return samples if spread == 1 else well_spread(samples, num_points, rng)


def encode_samples(tokenizer: DiscreteTokenizer, samples: SurfaceSamples) -> Int[Tensor, " T"]:
    """Tokens of surface samples that were drawn earlier, such as damaged ones of an experiment."""
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
