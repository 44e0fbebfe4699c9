"""New shapes from parts of meshes and shapes of the grammar, joined in many ways.

A part is a mesh's closed bodies, all of them, one of them, or the half on one side of a plane, with
a warp; or an assembly of the grammar. Parts are set beside each other, stacked, attached at their
surfaces or, two halves, fused where they are cut. A recombined shape is the union of its parts: it
has one mesh of closed bodies and at most one assembly, in its own unit frame.

Everything here is NumPy on the host; `stream.recombined` samples, labels and draws the shapes.

Legend: N probes, points on the surface of a part by which it is placed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float64
from numpy import ndarray

from g3pt.geometry.triangles import UNIT_LONGEST_SIDE
from g3pt.procedural import ASSEMBLY, NUM_TRAIN_SEEDS, AssemblyFamily, make_shape
from g3pt.procedural.grammar.clusters import moved, scaled
from g3pt.procedural.primitives import ShapeArrays
from g3pt.shapes.mesh_stock import MeshStock
from g3pt.stream.parts import Part, closed_bodies, cut
from g3pt.stream.warps import WarpConfig, draw_warps

_NUM_PROBES = 400
_MOST_TRIES = 64
_WHOLE_SHARE = 0.6
"""Share of a mesh's faces that its closed bodies need; of other meshes only one body is taken,
since the bodies alone would be loose bits."""

Joint = Literal["beside", "stacked", "attached", "fused"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RecombinationConfig:
    """How shapes are recombined."""

    grammar_share: float = 0.3
    """Share of the shapes that have an assembly among their parts."""
    body_share: float = 0.35
    """Share of the parts of meshes that are a single body. Meshes with few closed bodies give no
    other parts."""
    half_share: float = 0.3
    """Share of the parts of meshes that are cut by a plane."""
    fused_share: float = 0.2
    """Share of the shapes that are two halves, fused where they are cut."""
    third_share: float = 0.3
    """Share of the other shapes that have a third part."""
    smallest: float = 0.35
    """Smallest size of a further part, as a share of the size of the first."""

    def __post_init__(self) -> None:
        for name in ("grammar", "body", "half", "fused", "third"):
            share = getattr(self, f"{name}_share")
            if not 0 <= share <= 1:
                raise ValueError(f"recombination.{name}_share must lie in 0..1, got {share}")
        if not 0.05 <= self.smallest <= 1:
            raise ValueError(f"recombination.smallest must lie in .05..1, got {self.smallest}")


@dataclass(frozen=True, eq=False)
class Recombined:
    """A recombined shape in the unit frame."""

    mesh: Part
    """Closed bodies of all parts that come from meshes."""
    assembly: ShapeArrays | None
    assembly_area: float
    """Area of the assembly's visible surface; 0 without one."""
    extents: tuple[float, float, float]
    """Sides of the bounding box, which is centred at 0."""
    origins: tuple[str, ...]
    """Ids of the shapes that the parts were taken from."""


@dataclass(frozen=True, eq=False)
class _Piece:
    """A part to be placed."""

    mesh: Part | None
    assembly: ShapeArrays | None
    area: float
    origin: str
    probes_N3: Float64[ndarray, "N 3"]
    normals_N3: Float64[ndarray, "N 3"]
    low: Float64[ndarray, " 3"]
    high: Float64[ndarray, " 3"]

    @property
    def size(self) -> float:
        return float((self.high - self.low).max())

    def scaled(self, factor: float) -> _Piece:
        mesh, assembly = self.mesh, self.assembly
        return replace(
            self,
            mesh=None if mesh is None else replace(mesh, vertices_P3=mesh.vertices_P3 * factor),
            assembly=None if assembly is None else scaled(assembly, factor),
            area=self.area * factor**2,
            probes_N3=self.probes_N3 * factor,
            low=self.low * factor,
            high=self.high * factor,
        )

    def moved(self, shift: Float64[ndarray, " 3"]) -> _Piece:
        mesh, assembly = self.mesh, self.assembly
        return replace(
            self,
            mesh=None if mesh is None else replace(mesh, vertices_P3=mesh.vertices_P3 + shift),
            assembly=None if assembly is None else moved(assembly, shift),
            probes_N3=self.probes_N3 + shift,
            low=self.low + shift,
            high=self.high + shift,
        )


class Recombiner:
    """Makes recombined shapes from a stock of meshes."""

    def __init__(
        self,
        config: RecombinationConfig,
        stock: MeshStock,
        warps: WarpConfig,
        *,
        assembly: AssemblyFamily = ASSEMBLY,
    ) -> None:
        self._config, self._stock = config, stock
        self._warps: WarpConfig = warps
        self._assembly: AssemblyFamily = assembly

    def make(self, rng: np.random.Generator) -> Recombined:
        """Make one shape.

        Raises:
            ValueError: if no mesh of the stock has a closed body, as far as 64 draws tell.
        """
        config = self._config
        if rng.random() < config.fused_share:
            return _in_unit_frame(self._fused(rng))
        pieces = [self._of_mesh(rng)]
        num = 3 if rng.random() < config.third_share else 2
        of_grammar = int(rng.integers(1, num)) if rng.random() < config.grammar_share else 0
        for place in range(1, num):
            piece = self._of_grammar(rng) if place == of_grammar else self._of_mesh(rng)
            ratio = float(np.exp(rng.uniform(np.log(config.smallest), np.log(1.25))))
            piece = piece.scaled(ratio * pieces[0].size / piece.size)
            pieces.append(_placed(pieces, piece, rng))
        return _in_unit_frame(pieces)

    def _of_grammar(self, rng: np.random.Generator) -> _Piece:
        shape = make_shape(int(rng.integers(NUM_TRAIN_SEEDS)), self._assembly)
        half = np.array(shape.extents) / 2
        samples = shape.sample_surface(_NUM_PROBES, rng)
        area = shape.visible_area(rng)
        return _Piece(
            None, shape.arrays, area, shape.id, samples.points, samples.normals, -half, half
        )

    def _of_mesh(self, rng: np.random.Generator) -> _Piece:
        """A warped part of a random mesh."""
        config = self._config
        kind = rng.random()
        for _ in range(_MOST_TRIES):
            row = int(rng.integers(len(self._stock)))
            surface = self._stock.surface(row)
            part = closed_bodies(surface)
            if part is None:
                continue
            in_bits = len(part.faces_F3) < _WHOLE_SHARE * len(surface.faces_F3)
            if in_bits or kind < config.body_share:
                part = _one_body(part, rng)
            elif kind < config.body_share + config.half_share:
                axis, below = int(rng.choice(3, p=(0.4, 0.3, 0.3))), bool(rng.random() < 0.5)
                part = _half(part, axis, below, rng)
            if part is not None:
                return self._warped(part, row, rng)
        raise ValueError(
            f"the stock has no closed bodies to recombine, in {_MOST_TRIES} draws of "
            f"{len(self._stock)} meshes; set data.recombined to 0"
        )

    def _fused(self, rng: np.random.Generator) -> list[_Piece]:
        """Two halves with the planes of their cuts together, the second as wide as the first."""
        axis = int(rng.choice(3, p=(0.3, 0.5, 0.2)))
        pieces: list[_Piece] = []
        for below in (True, False):
            for _ in range(_MOST_TRIES):
                row = int(rng.integers(len(self._stock)))
                surface = self._stock.surface(row)
                part = closed_bodies(surface)
                if part is None or len(part.faces_F3) < _WHOLE_SHARE * len(surface.faces_F3):
                    part = None
                    continue
                part = _half(part, axis, below, rng)
                if part is not None:
                    break
            else:
                raise ValueError(
                    f"the stock has no closed bodies to fuse, in {_MOST_TRIES} draws of "
                    f"{len(self._stock)} meshes; set data.recombined to 0"
                )
            pieces.append(_of_part(part, self._stock.objects[row]["id"], rng))
        first, second = pieces
        first_low, first_high = _section_box(first, axis, first.high[axis])
        low, high = _section_box(second, axis, second.low[axis])
        second = second.scaled(
            float(np.clip((first_high - first_low).max() / (high - low).max(), 0.2, 5))
        )
        low, high = _section_box(second, axis, second.low[axis])
        shift = (first_low + first_high - low - high) / 2
        shift[axis] = first.high[axis] - second.low[axis] - 2e-3 * first.size
        return [first, second.moved(shift)]

    def _warped(self, part: Part, row: int, rng: np.random.Generator) -> _Piece:
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        corners_F33 = part.corners()
        edges = np.linalg.norm(corners_F33 - np.roll(corners_F33, 1, axis=1), axis=-1)
        warps = draw_warps(self._warps, 1, generator, torch.tensor([edges.max()]).float())
        points = torch.from_numpy(part.vertices_P3).float()[None]
        faces, colors = part.faces_F3, part.colors_F33
        if float(warps.orientation_B[0]) < 0:
            faces, colors = faces[:, ::-1], colors[:, ::-1]
        warped = replace(
            part,
            vertices_P3=warps.apply(points)[0].double().numpy(),
            faces_F3=faces,
            colors_F33=colors,
        )
        return _of_part(warped, self._stock.objects[row]["id"], rng)


def _of_part(part: Part, origin: str, rng: np.random.Generator) -> _Piece:
    corners_F33 = part.corners()
    crosses = np.cross(corners_F33[:, 1] - corners_F33[:, 0], corners_F33[:, 2] - corners_F33[:, 0])
    doubled = np.linalg.norm(crosses, axis=1)
    faces = rng.choice(len(doubled), _NUM_PROBES, p=doubled / doubled.sum())
    weights = rng.dirichlet((1.0, 1.0, 1.0), _NUM_PROBES)
    low, high = part.box()
    return _Piece(
        part,
        None,
        float(doubled.sum() / 2),
        origin,
        np.einsum("nc,ncx->nx", weights, corners_F33[faces]),
        crosses[faces] / doubled[faces, None],
        low,
        high,
    )


def _one_body(part: Part, rng: np.random.Generator) -> Part:
    """One of the bodies that are not small, or all of them where there are no such."""
    low, high = part.box()
    found: list[Part] = []
    for number in np.unique(part.bodies_F):
        body = part.only(part.bodies_F == number)
        own_low, own_high = body.box()
        if (own_high - own_low).max() > 0.25 * (high - low).max():
            found.append(body)
    return found[int(rng.integers(len(found)))] if found else part


def _half(part: Part, axis: int, below: bool, rng: np.random.Generator) -> Part | None:
    """What lies on one side of a plane near the middle."""
    low, high = part.box()
    share = float(rng.uniform(0.35, 0.65))
    return cut(part, axis, float(low[axis] + share * (high - low)[axis]), below=below)


def _section_box(
    piece: _Piece, axis: int, at: float
) -> tuple[Float64[ndarray, " 3"], Float64[ndarray, " 3"]]:
    """The box of a half's vertices on the plane of its cut; of all, where it was not cut."""
    assert piece.mesh is not None
    vertices = piece.mesh.vertices_P3
    on_plane = vertices[np.abs(vertices[:, axis] - at) < 1e-6 * max(piece.size, 1e-6)]
    if len(on_plane) < 3 or not (np.ptp(on_plane, axis=0).max() > 0.05 * piece.size):
        on_plane = vertices
    return on_plane.min(axis=0), on_plane.max(axis=0)


def _placed(pieces: list[_Piece], piece: _Piece, rng: np.random.Generator) -> _Piece:
    """The piece at a place beside, on top of or at the surface of the others."""
    joint: Joint = ("beside", "stacked", "attached")[int(rng.choice(3, p=(0.2, 0.35, 0.45)))]
    low = np.min([one.low for one in pieces], axis=0)
    high = np.max([one.high for one in pieces], axis=0)
    if joint == "beside":
        axis = int(rng.choice((0, 2), p=(0.7, 0.3)))
        shift = (low + high - piece.low - piece.high) / 2
        shift[1] = low[1] - piece.low[1]
        overlap = float(rng.uniform(-0.04, 0.1)) * piece.size
        if rng.random() < 0.5:
            shift[axis] = high[axis] - piece.low[axis] - overlap
        else:
            shift[axis] = low[axis] - piece.high[axis] + overlap
        shift[2 - axis] += float(rng.uniform(-0.2, 0.2)) * (high - low)[2 - axis]
        return piece.moved(shift)
    probes_N3 = np.concatenate([one.probes_N3 for one in pieces])
    normals_N3 = np.concatenate([one.normals_N3 for one in pieces])
    normal, spots = np.array([0.0, 1.0, 0.0]), np.zeros(0, np.int64)
    if joint == "stacked":
        high_up = probes_N3[:, 1] > low[1] + 0.6 * (high - low)[1]
        spots = np.flatnonzero((normals_N3[:, 1] > 0.8) & high_up)
    if len(spots):
        spot = int(rng.choice(spots))
    else:
        spot = int(rng.integers(len(probes_N3)))
        normal = normals_N3[spot]
    foot = int(np.argmin(piece.probes_N3 @ normal))
    depth = float(rng.uniform(0.02, 0.12)) * piece.size
    return piece.moved(probes_N3[spot] - piece.probes_N3[foot] - depth * normal)


def _in_unit_frame(pieces: list[_Piece]) -> Recombined:
    low = np.min([one.low for one in pieces], axis=0)
    high = np.max([one.high for one in pieces], axis=0)
    factor = UNIT_LONGEST_SIDE / float((high - low).max())
    pieces = [one.moved(-(low + high) / 2).scaled(factor) for one in pieces]
    meshes = [one.mesh for one in pieces if one.mesh is not None]
    starts = np.cumsum([0, *(len(mesh.vertices_P3) for mesh in meshes)])
    bodies = np.cumsum([0, *(int(mesh.bodies_F.max()) + 1 for mesh in meshes)])
    assemblies = [one for one in pieces if one.assembly is not None]
    width, height, depth = ((high - low) * factor).tolist()
    return Recombined(
        mesh=Part(
            vertices_P3=np.concatenate([mesh.vertices_P3 for mesh in meshes]),
            faces_F3=np.concatenate(
                [mesh.faces_F3 + start for mesh, start in zip(meshes, starts, strict=False)]
            ),
            colors_F33=np.concatenate([mesh.colors_F33 for mesh in meshes]),
            bodies_F=np.concatenate(
                [mesh.bodies_F + first for mesh, first in zip(meshes, bodies, strict=False)]
            ),
        ),
        assembly=assemblies[0].assembly if assemblies else None,
        assembly_area=assemblies[0].area if assemblies else 0.0,
        extents=(width, height, depth),
        origins=tuple(one.origin for one in pieces),
    )
