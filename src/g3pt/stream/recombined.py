"""Batches of recombined shapes on one device: ray casting, surface points and labels of unions.

A point is inside if a body of the mesh or the assembly contains it, each asked in its own way:
crossings of closed bodies, the sign of the assembly's field. A surface point of a part is one of
the union if the union is behind it and not before it; others, inside or flush with another part,
are dropped.

Legend: B shapes, A those with an assembly, F faces of all shapes end to end, V pictures, R rays of
a picture, N surface points, M candidates.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from g3pt.procedural import ASSEMBLY, ProceduralShape
from g3pt.procedural.builder import Paint
from g3pt.procedural.captions import Facts
from g3pt.stream.casting import Hits, WalkingCaster
from g3pt.stream.crossings import Crossings
from g3pt.stream.fields import first_kept, sample_field_surfaces
from g3pt.stream.mesh_batch import crease_normals
from g3pt.stream.mesh_caster import CastBy, MeshCaster, Triangles
from g3pt.stream.primitives import Backend, PrimitiveCaster, pad_shapes
from g3pt.stream.recombination import Recombined

_ON_SURFACE = 1e-3
"""Distance behind a surface point that must be inside, and in front of it that must be outside."""
_NUM_CANDIDATES = 2.5
"""Candidates per point wanted; most unions bury less than half of the surface of their parts."""
_FACTS = Facts(nouns=("object",), paint=Paint("grey", (128, 128, 128)))


class RecombinedBatch:
    """Recombined shapes on one device; a `RayCaster`."""

    def __init__(
        self,
        shapes: Sequence[Recombined],
        device: torch.device,
        *,
        cast_by: CastBy,
        backend: Backend,
    ) -> None:
        """Move shapes to a device.

        Args:
            shapes: the shapes, at least one.
            device: device where they are sampled and drawn.
            cast_by: how rays are cast at meshes.
            backend: how fields of assemblies are evaluated on a GPU.
        """
        meshes = [shape.mesh for shape in shapes]
        counts = [len(mesh.faces_F3) for mesh in meshes]
        starts = np.cumsum([0, *counts])
        vertex_starts = np.cumsum([0, *(len(mesh.vertices_P3) for mesh in meshes)])

        def moved(parts: list[np.ndarray]) -> Tensor:
            return torch.from_numpy(np.concatenate(parts)).to(device)

        self._corners_F33 = moved([mesh.corners() for mesh in meshes])
        self._shapes_F = torch.arange(len(shapes), device=device).repeat_interleave(
            torch.tensor(counts, device=device)
        )
        numbers = zip(meshes, vertex_starts, strict=False)
        faces_F3 = moved([mesh.faces_F3 + first for mesh, first in numbers])
        corners_F33 = self._corners_F33.float()
        self._triangles = Triangles(
            corners_F33=corners_F33,
            normals_F33=crease_normals(corners_F33, faces_F3),
            colors_F33=moved([mesh.colors_F33 for mesh in meshes]),
            starts_B=torch.from_numpy(starts[:-1]).to(device),
            counts_B=torch.tensor(counts, device=device),
            orientation_B=torch.ones(len(shapes), device=device),
            max_faces=max(counts),
        )
        self._meshes = MeshCaster(self._triangles, cast_by=cast_by)
        self._crossings = Crossings(self._corners_F33, self._shapes_F, len(shapes))
        self._device = device
        rows = [row for row, shape in enumerate(shapes) if shape.assembly is not None]
        self._rows_A = torch.tensor(rows, dtype=torch.long, device=device)
        self._places_B = torch.full((len(shapes),), -1, device=device)
        self._places_B[self._rows_A] = torch.arange(len(rows), device=device)
        self._areas_B = torch.tensor(
            [shape.assembly_area for shape in shapes], dtype=torch.float64, device=device
        )
        self._assemblies = _caster_of([shapes[row] for row in rows], device, backend)

    @property
    def num_shapes(self) -> int:
        """Number of shapes."""
        return len(self._places_B)

    def contains(self, points_BN3: Float[Tensor, "B N 3"]) -> Bool[Tensor, "B N"]:
        """Whether each point is inside its shape."""
        inside_BN = self._crossings.contains(points_BN3)
        if self._assemblies is not None:
            field_AN = self._assemblies.field(points_BN3[self._rows_A].float())
            inside_BN[self._rows_A] |= field_AN < 0
        return inside_BN

    def field(self, points_BN3: Float[Tensor, "B N 3"]) -> Float[Tensor, "B N"]:
        """-1 inside and 1 outside, for `fields.label_queries`."""
        return 1 - 2 * self.contains(points_BN3).float()

    def surface(
        self, num: int, generator: torch.Generator
    ) -> tuple[Float[Tensor, "B N 3"], Float[Tensor, "B N 3"]]:
        """Draw points by area on the surface of each union, with outward unit normals.

        Args:
            num: number of points per shape; with repetition where nearly all candidates are buried.
            generator: source of randomness, on the device.
        """
        count = int(_NUM_CANDIDATES * num) + 64
        points_BM3, normals_BM3 = self._on_meshes(count, generator)
        if self._assemblies is not None:
            found = _surface_of(self._assemblies, count, generator)
            self._put_assemblies((points_BM3, normals_BM3), found, generator)
        ahead_BM = self.contains(points_BM3 + _ON_SURFACE * normals_BM3)
        behind_BM = self.contains(points_BM3 - _ON_SURFACE * normals_BM3)
        both_BM6 = torch.cat([points_BM3, normals_BM3], dim=-1)
        chosen_BN6 = first_kept(both_BM6, behind_BM & ~ahead_BM, num)
        return chosen_BN6[..., :3], chosen_BN6[..., 3:]

    def _on_meshes(
        self, num: int, generator: torch.Generator
    ) -> tuple[Float[Tensor, "B M 3"], Float[Tensor, "B M 3"]]:
        """Points by area on all faces of the mesh, buried or not."""
        triangles = self._triangles
        first_F3, second_F3 = (self._corners_F33[:, [1, 2]] - self._corners_F33[:, :1]).unbind(
            dim=1
        )
        crosses_F3 = torch.linalg.cross(first_F3, second_F3)
        ends_F = crosses_F3.norm(dim=-1).cumsum(0)
        before_F = torch.cat([ends_F.new_zeros(1), ends_F])
        base_B = before_F[triangles.starts_B]
        total_B = before_F[triangles.starts_B + triangles.counts_B] - base_B
        random = torch.rand((3, self.num_shapes, num), generator=generator, device=self._device)
        along_BM = base_B[:, None] + random[0].double() * total_B[:, None]
        faces_BM = torch.searchsorted(ends_F, along_BM, right=True)
        last_B = triangles.starts_B + triangles.counts_B - 1
        faces_BM = torch.minimum(faces_BM.maximum(triangles.starts_B[:, None]), last_B[:, None])
        root_BM, turn_BM = random[1].sqrt(), random[2]
        weights_BM3 = torch.stack([1 - root_BM, root_BM * (1 - turn_BM), root_BM * turn_BM], dim=-1)
        points_BM3 = torch.einsum("bmc,bmcx->bmx", weights_BM3, triangles.corners_F33[faces_BM])
        return points_BM3, functional.normalize(crosses_F3[faces_BM].float(), dim=-1, eps=1e-20)

    def _put_assemblies(
        self,
        kept: tuple[Float[Tensor, "B M 3"], Float[Tensor, "B M 3"]],
        found: tuple[Float[Tensor, "A M 3"], Float[Tensor, "A M 3"]],
        generator: torch.Generator,
    ) -> None:
        """Replace candidates by points of the assembly, by its share of the area."""
        corners_F33 = self._corners_F33
        areas_F = torch.linalg.cross(
            corners_F33[:, 1] - corners_F33[:, 0], corners_F33[:, 2] - corners_F33[:, 0]
        ).norm(dim=-1)
        meshes_B = torch.zeros_like(self._areas_B).index_add_(0, self._shapes_F, areas_F / 2)
        rows_A, num = self._rows_A, kept[0].shape[1]
        share_A1 = (self._areas_B / (self._areas_B + meshes_B))[rows_A][:, None]
        random_AM = torch.rand((len(rows_A), num), generator=generator, device=self._device)
        chosen_AM1 = (random_AM < share_A1)[:, :, None]
        for ours, theirs in zip(kept, found, strict=True):
            ours[rows_A] = torch.where(chosen_AM1, theirs, ours[rows_A])

    def cast(
        self,
        shapes_V: Int[Tensor, " V"],
        origins_V3: Float[Tensor, "V 3"],
        rays_VR3: Float[Tensor, "V R 3"],
    ) -> Hits:
        """See `RayCaster.cast`: the nearer of the mesh and the assembly."""
        hits = self._meshes.cast(shapes_V, origins_V3, rays_VR3)
        pictures = (self._places_B[shapes_V] >= 0).nonzero()[:, 0]
        if self._assemblies is None or not len(pictures):
            return hits
        other = self._assemblies.cast(
            self._places_B[shapes_V[pictures]], origins_V3[pictures], rays_VR3[pictures]
        )
        missed = ~hits.hit_VR[pictures]
        nearer = other.hit_VR & (missed | (other.lengths_VR < hits.lengths_VR[pictures]))
        hits.hit_VR[pictures] |= other.hit_VR
        for ours, theirs in (
            (hits.lengths_VR, other.lengths_VR),
            (hits.normals_VR3, other.normals_VR3),
            (hits.colors_VR3, other.colors_VR3),
        ):
            mask = nearer if ours.dim() == 2 else nearer[:, :, None]
            ours[pictures] = torch.where(mask, theirs, ours[pictures])
        return hits


def _caster_of(
    shapes: Sequence[Recombined], device: torch.device, backend: Backend
) -> WalkingCaster | PrimitiveCaster | None:
    """The caster of the assemblies of shapes that have one; None without any."""
    arrays = [shape.assembly for shape in shapes if shape.assembly is not None]
    if not arrays:
        return None
    extents = [shape.extents for shape in shapes]
    if device.type == "cpu":
        pairs = zip(arrays, extents, strict=True)
        return WalkingCaster([ProceduralShape(ASSEMBLY, 0, one, _FACTS, box) for one, box in pairs])
    return PrimitiveCaster(pad_shapes(arrays, extents).to(device), backend)


def _surface_of(
    caster: WalkingCaster | PrimitiveCaster, num: int, generator: torch.Generator
) -> tuple[Float[Tensor, "A N 3"], Float[Tensor, "A N 3"]]:
    """Points on the surfaces of assemblies as `ExampleMaker` draws them."""
    if isinstance(caster, WalkingCaster):
        return caster.surface(num, generator)
    return sample_field_surfaces(caster.field, caster.num_shapes, num, generator)
