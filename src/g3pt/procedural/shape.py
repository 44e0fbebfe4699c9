"""One procedural shape: field, colours, surface points, mesh and captions from the same arrays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from g3pt.geometry.sampling import SurfaceSamples
from g3pt.geometry.triangles import TriangleMesh
from g3pt.procedural.builder import UNIT_SIZE, Builder, Draw
from g3pt.procedural.captions import TYPICAL_PROPORTIONS, Facts, size_words, write_caption
from g3pt.procedural.families import FAMILY_BUILDERS
from g3pt.procedural.primitives import (
    ShapeArrays,
    onto_surface,
    signed_distance,
    slope,
    surface_owner,
)
from g3pt.procedural.surfaces import sample_primitives, surface_areas

FAMILIES: tuple[str, ...] = tuple(FAMILY_BUILDERS)
HELD_OUT_FAMILIES: tuple[str, ...] = ("axe", "bench", "bridge", "cactus", "helicopter", "teapot")
"""Families that are never trained on."""
TRAIN_FAMILIES: tuple[str, ...] = tuple(name for name in FAMILIES if name not in HELD_OUT_FAMILIES)

ASSEMBLY = "assembly"
"""Family name of shapes of the grammar, as first trained on."""
CUT_ASSEMBLY = "cut-assembly"
"""Family name of shapes of the same grammar with bevels and intersections. A family of its own, so
that the assembly of a seed stays what it was."""

AssemblyFamily = Literal["assembly", "cut-assembly"]
"""The two as a type."""

NUM_TRAIN_SEEDS = 2**31
"""Training uses seeds below this number."""
HELD_OUT_SEEDS = range(2**31, 2**31 + 2**20)
"""Seeds kept for validation and test; no training run may use them."""

_ON_SURFACE = 1e-3
"""Distance behind a surface point that must be inside, and in front of it that must be outside."""


class NoSurfaceError(RuntimeError):
    """Raised when almost no point of a shape's primitives is on its surface."""


@dataclass(frozen=True)
class ProceduralShape:
    """A seeded shape in the unit frame (box centred at 0, longest side 1.9, +Y up, +Z front)."""

    family: str
    seed: int
    arrays: ShapeArrays
    facts: Facts
    extents: tuple[float, float, float]
    """Sides of the bounding box along x, y and z."""

    @property
    def id(self) -> str:
        """Id of the shape, from which it can be made again."""
        return f"procedural-{self.family}-{self.seed}"

    @cached_property
    def size_words(self) -> tuple[str, ...]:
        """Size words that are true of the shape within its family."""
        return size_words(self.extents, TYPICAL_PROPORTIONS[self.family])

    def caption(self, variant: int | np.random.Generator = 0) -> str:
        """Describe the shape; each variant states other facts."""
        if isinstance(variant, int | np.integer):
            if variant < 0:
                raise ValueError(f"a caption variant is a number from 0 up, got {variant}")
            variant = np.random.default_rng([int(variant), self.seed, crc32(self.family.encode())])
        return write_caption(self.facts, self.size_words, variant)

    def field(self, points: NDArray[np.floating]) -> NDArray[np.float32]:
        """Signed distance, or an estimate of the same sign, at (N, 3) points; negative inside."""
        return signed_distance(self.arrays, points)

    def contains(self, points: NDArray[np.floating]) -> NDArray[np.bool_]:
        """True for points inside."""
        return self.field(points) < 0

    def color_at(self, points: NDArray[np.floating]) -> NDArray[np.uint8]:
        """Colour (N, 3) of the surface at or near the points."""
        return self.arrays.colors[surface_owner(self.arrays, points)]

    def sample_surface(self, num: int, rng: np.random.Generator) -> SurfaceSamples:
        """Draw uniform points on the surface, insides of vessels included, without meshing.

        `faces` of the result holds the index of the primitive that each point lies on.

        Raises:
            NoSurfaceError: if nearly all drawn points are buried.
        """
        areas = surface_areas(self.arrays)
        share = areas / areas.sum()
        found: list[tuple[NDArray, NDArray, NDArray]] = []
        have, tried = 0, 0
        while have < num:
            rate = max(0.05, have / tried) if tried else 0.5
            count = min(4 * num + 256, int(1.15 * (num - have) / rate) + 128)
            owners = rng.choice(len(areas), count, p=share)
            batch = self._visible(*sample_primitives(self.arrays, owners, rng), owners)
            found.append(batch)
            have, tried = have + len(batch[0]), tried + count
            if tried > 200 * num + 20_000:
                raise NoSurfaceError(f"{self.id}: no visible surface found in {tried} tries")
        points, normals, owners = (np.concatenate(parts) for parts in zip(*found, strict=True))
        order = rng.permutation(len(points))[:num]
        return SurfaceSamples(points=points[order], normals=normals[order], faces=owners[order])

    def visible_area(self, rng: np.random.Generator, num: int = 2000) -> float:
        """Estimate the area of the surface from `num` points on the primitives.

        A blend counts with the area of the primitives that it covers.
        """
        areas = surface_areas(self.arrays)
        owners = rng.choice(len(areas), num, p=areas / areas.sum())
        seen = self._visible(*sample_primitives(self.arrays, owners, rng), owners)
        return float(areas.sum()) * len(seen[0]) / num

    def _visible(
        self, points: NDArray, normals: NDArray, owners: NDArray[np.int64]
    ) -> tuple[NDArray, NDArray, NDArray]:
        """Keep points with solid behind and empty space in front; move them onto blends."""
        normals = np.where(self.arrays.carves[owners, None], -normals, normals)
        sharp = self._sharp_arrays
        outside = signed_distance(sharp, points + _ON_SURFACE * normals) > 0
        points, normals, owners = points[outside], normals[outside], owners[outside]
        inside = signed_distance(sharp, points - _ON_SURFACE * normals) < 0
        points, normals, owners = points[inside], normals[inside], owners[inside]
        if sharp is self.arrays:
            return points, normals, owners
        points = onto_surface(self.arrays, points)
        arrived = np.abs(self.field(points)) < _ON_SURFACE / 10
        points, owners = points[arrived], owners[arrived]
        return points, self.gradient(points), owners

    @cached_property
    def _sharp_arrays(self) -> ShapeArrays:
        """The shape without its blends; the same object where there are none."""
        if not self.arrays.blends.any():
            return self.arrays
        return replace(self.arrays, blends=np.zeros_like(self.arrays.blends))

    def mesh(self, resolution: int = 128, *, project: bool = True) -> TriangleMesh:
        """Extract the coloured closed surface.

        Args:
            resolution: cells along each side of the cube [-1, 1]^3.
            project: move each vertex onto the exact surface, if that is less than a cell away.
        """
        from g3pt.geometry.isosurface import extract_surface

        extraction = extract_surface(lambda points: -self.field(points), resolution=resolution)
        vertices = extraction.mesh.vertices
        if project:
            vertices = self._projected(vertices, 2.0 / resolution)
        colors = np.concatenate(
            [self.color_at(vertices), np.full((len(vertices), 1), 255, np.uint8)], axis=1
        )
        return TriangleMesh(vertices=vertices, faces=extraction.mesh.faces, colors=colors)

    def _projected(self, vertices: NDArray[np.float64], cell: float) -> NDArray[np.float64]:
        """Vertices after Newton steps along the gradient, limited to half a cell in total."""
        moved = vertices.copy()
        for _ in range(2):
            moved -= self.field(moved)[:, None] * self.gradient(moved)
        step = moved - vertices
        length = np.linalg.norm(step, axis=1, keepdims=True)
        return vertices + step * np.minimum(1.0, 0.5 * cell / np.maximum(length, 1e-12))

    def gradient(self, points: NDArray[np.floating], step: float = 1e-3) -> NDArray[np.float64]:
        """Normalised gradient of the field, by finite differences at a tetrahedron's corners."""
        direction = slope(self.arrays, points, step)
        return direction / np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-12)


def make_shape(seed: int, family: str | None = None) -> ProceduralShape:
    """Make the shape of a seed.

    Args:
        seed: any number from 0 up; training uses seeds below `NUM_TRAIN_SEEDS`, evaluation
            `HELD_OUT_SEEDS`.
        family: one of `FAMILIES`, or `ASSEMBLY` or `CUT_ASSEMBLY` for a shape of the grammar; by
            default a training family chosen by the seed.

    Raises:
        ValueError: if the seed is negative or the family is unknown.
    """
    if family in (ASSEMBLY, CUT_ASSEMBLY):
        # The grammar makes shapes of this module's class.
        from g3pt.procedural.grammar import make_assembly

        return make_assembly(seed, family)
    if seed < 0:
        raise ValueError(f"a shape's seed is a number from 0 up, got {seed}")
    if family is None:
        choice = np.random.default_rng([seed, 0]).integers(len(TRAIN_FAMILIES))
        family = TRAIN_FAMILIES[int(choice)]
    if family not in FAMILY_BUILDERS:
        raise ValueError(f"unknown family {family!r}; the families are {', '.join(FAMILIES)}")
    builder = Builder()
    draw = Draw(np.random.default_rng([seed, crc32(family.encode())]))
    facts = FAMILY_BUILDERS[family](builder, draw)
    arrays, extents = builder.finish()
    assert abs(max(extents) - UNIT_SIZE) < 1e-3
    return ProceduralShape(family, int(seed), arrays, facts, extents)
