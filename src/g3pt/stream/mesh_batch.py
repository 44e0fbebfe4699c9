"""All meshes of a stock on one device, and batches of randomly warped ones.

Legend: M meshes, G faces of all of them end to end, C face corners; B shapes of a batch, F their
faces end to end, N surface points, Q queries. Unit frame.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn import functional

from g3pt.geometry.shading import CREASE_DEGREES
from g3pt.shapes.mesh_stock import MeshStock
from g3pt.shapes.queries import POSITION_STEPS
from g3pt.shapes.sub_triangles import QUARTER_WEIGHTS, chosen_parts, num_chosen
from g3pt.stream.mesh_caster import CastBy, MeshCaster, Triangles
from g3pt.stream.warps import Warps, fit_to_unit

_CORNERS_AT_ONCE = 1 << 21


@dataclass(frozen=True, eq=False)
class LabelledQueries:
    """Points and their labels."""

    points_BQ3: Float[Tensor, "B Q 3"]
    """Points in the query cube."""
    inside_BQ: Bool[Tensor, "B Q"]
    near_BQ: Bool[Tensor, "B Q"]
    """True for points near the surface, False for points spread over the cube."""


class ResidentMeshes:
    """The meshes of a stock, ready to be warped and drawn in batches."""

    def __init__(
        self, stock: MeshStock, device: torch.device | str, *, cast_by: CastBy = "torch"
    ) -> None:
        """Move a stock to a device, which takes seconds for thousands of meshes.

        Args:
            stock: the meshes.
            device: device where they are kept, warped and drawn.
            cast_by: how rays are cast at batches (see `mesh_caster.CastBy`).

        Raises:
            ValueError: if `cast_by` does not work on that device.
        """
        self.objects = stock.objects
        self.device = torch.device(device)
        if {"kernel": "cuda", "embree": "cpu"}.get(cast_by, self.device.type) != self.device.type:
            raise ValueError(
                f"cast_by {cast_by!r} does not go with {self.device}: kernel needs cuda, embree cpu"
            )
        self._config = stock.config
        self._cast_by: CastBy = cast_by
        self._counts_M = torch.from_numpy(np.diff(stock.face_starts))
        self._starts_M = torch.from_numpy(stock.face_starts[:-1].copy())
        self._colors_G33 = self._moved(stock.colors_F33)
        self._masks_G = self._moved(stock.masks_F.astype(np.int32))
        self._flipped_G = self._moved(stock.flipped_F)
        vertices_G3 = stock.faces_F3 + np.repeat(
            stock.vertex_starts[:-1], np.diff(stock.face_starts)
        )[:, None].astype(np.int32)
        self._corners_G33 = self._moved(stock.vertices_P3)[self._moved(vertices_G3).long()]
        self._normals_G33 = self._crease_normals(vertices_G3)
        self._longest_M = self._longest_edges()
        positions_MQ3 = np.stack([stock.query_positions(row) for row in range(len(stock))])
        self._queries_MQ3 = self._moved(positions_MQ3)
        self._labels_MQ = self._moved(stock.labels_MQ)
        self._parts = self._moved(chosen_parts())
        self._num_parts = self._moved(num_chosen())
        self._quarters_K33 = self._moved(QUARTER_WEIGHTS.astype(np.float32) / 4)

    def __len__(self) -> int:
        return len(self.objects)

    def longest_edges(self, rows_B: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Longest edge of each mesh named, for `warps.draw_warps`; on the device."""
        return self._longest_M[rows_B.to(self.device)]

    def batch(self, rows_B: Int[Tensor, " B"], warps: Warps) -> "MeshBatch":
        """A batch of meshes, warped and moved back into the unit frame.

        Args:
            rows_B: indices of the meshes, repetitions allowed; on the CPU, which avoids a
                synchronisation.
            warps: one for each mesh, on the device.
        """
        counts_B = self._counts_M[rows_B]
        starts_B = counts_B.cumsum(0) - counts_B
        shapes_F = torch.repeat_interleave(torch.arange(len(rows_B)), counts_B)
        faces_F = torch.arange(len(shapes_F)) + (self._starts_M[rows_B] - starts_B)[shapes_F]
        rows_B, shapes_F, faces_F = (
            part.to(self.device, non_blocking=True) for part in (rows_B, shapes_F, faces_F)
        )
        corners_F33 = self._corners_G33[faces_F].float() / POSITION_STEPS
        warps_F = warps.take(shapes_F)
        normals_F33 = warps_F.apply_normals(corners_F33, self._normals_G33[faces_F].float())
        corners_F33 = warps_F.apply(corners_F33)
        low_B3, high_B3 = _boxes(corners_F33, shapes_F, len(rows_B))
        fitted = fit_to_unit(warps, low_B3, high_B3)
        # Warped corners used another offset and scale than the fitted warp.
        shift_B3 = warps.offset_B3 - fitted.offset_B3
        corners_F33 = (
            corners_F33 / warps.scale_B[shapes_F, None, None] + shift_B3[shapes_F, None]
        ) * fitted.scale_B[shapes_F, None, None]
        triangles = Triangles(
            corners_F33=corners_F33,
            normals_F33=normals_F33,
            colors_F33=self._colors_G33[faces_F],
            starts_B=starts_B.to(self.device, non_blocking=True),
            counts_B=counts_B.to(self.device, non_blocking=True),
            orientation_B=fitted.orientation_B,
            max_faces=int(counts_B.max()),
        )
        half_B3 = (high_B3 - low_B3) / 2 * (fitted.scale_B / warps.scale_B)[:, None]
        return MeshBatch(
            triangles=triangles,
            warps=fitted,
            half_B3=half_B3,
            shapes_F=shapes_F,
            masks_F=self._masks_G[faces_F],
            flipped_F=self._flipped_G[faces_F],
            stored_BQ3=self._queries_MQ3[rows_B],
            labels_BQ=self._labels_MQ[rows_B],
            num_volume=self._config.num_volume,
            cast_by=self._cast_by,
            parts=self._parts,
            num_parts=self._num_parts,
            quarters_K33=self._quarters_K33,
        )

    def _moved(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.array(array)).to(self.device)

    def _crease_normals(self, vertices_G3: np.ndarray) -> Float[Tensor, "G 3 3"]:
        """Normals for shading of all meshes, computed in parts."""
        ends_M = (self._starts_M + self._counts_M).tolist()
        normals: list[Tensor] = []
        start = 0
        for end, last in zip(ends_M, [*ends_M[1:], math.inf], strict=True):
            if 3 * (last - start) > _CORNERS_AT_ONCE:  # a part is full
                own = crease_normals(
                    self._corners_G33[start:end].float() / POSITION_STEPS,
                    self._moved(vertices_G3[start:end]).long(),
                )
                normals.append(own.half())
                start = end
        return torch.cat(normals)

    def _longest_edges(self) -> Float[Tensor, " M"]:
        corners_G33 = self._corners_G33.float() / POSITION_STEPS
        edges_G = (corners_G33 - corners_G33.roll(1, dims=1)).square().sum(dim=-1).amax(dim=-1)
        meshes_G = torch.repeat_interleave(
            torch.arange(len(self), device=self.device), self._counts_M.to(self.device)
        )
        longest_M = torch.zeros(len(self), device=self.device)
        return longest_M.scatter_reduce(0, meshes_G, edges_G, "amax").sqrt()


@dataclass(frozen=True, eq=False)
class MeshBatch:
    """Warped meshes in the unit frame."""

    triangles: Triangles
    warps: Warps
    """Warps that map the stored meshes to these."""
    half_B3: Float[Tensor, "B 3"]
    """Half the sides of every shape's bounding box, which is centred at 0."""
    shapes_F: Int[Tensor, " F"]
    masks_F: Int[Tensor, " F"]
    flipped_F: Bool[Tensor, " F"]
    """See `mesh_stock.StockSurface`."""
    stored_BQ3: Int[Tensor, "B Q 3"]
    """Positions of the labelled queries of the stored meshes, as stored integers."""
    labels_BQ: Bool[Tensor, "B Q"]
    num_volume: int
    """Number of queries in the box of the stored mesh; they come first, then those near its
    surface."""
    cast_by: CastBy
    parts: UInt8[Tensor, "65536 16"]
    num_parts: Int[Tensor, " 65536"]
    quarters_K33: Float[Tensor, "16 3 3"]
    """See `sub_triangles`."""

    @property
    def num_shapes(self) -> int:
        """Number of shapes."""
        return len(self.half_B3)

    def caster(self) -> MeshCaster:
        """The caster of these meshes."""
        return MeshCaster(self.triangles, cast_by=self.cast_by)

    def face_normals(self) -> Float[Tensor, "F 3"]:
        """Outward unit normals of the faces."""
        a_F3, b_F3, c_F3 = self.triangles.corners_F33.unbind(dim=1)
        normals_F3 = functional.normalize(
            torch.linalg.cross(b_F3 - a_F3, c_F3 - a_F3), dim=-1, eps=1e-20
        )
        signs_F = self.triangles.orientation_B[self.shapes_F] * (1 - 2 * self.flipped_F.float())
        return normals_F3 * signs_F[:, None]

    def surface(
        self, num: int, generator: torch.Generator
    ) -> tuple[Float[Tensor, "B N 3"], Float[Tensor, "B N 3"]]:
        """Draw points by area on the faces that bound the solids, with outward face normals.

        The exposed parts of a face are those of the stored mesh. A taper moves the midpoints of
        edges along them, so the borders of half-buried faces are slightly off.

        Args:
            num: number of points per shape.
            generator: source of randomness, on the device.
        """
        corners_F33, starts_B = self.triangles.corners_F33, self.triangles.starts_B
        first_F3, second_F3 = (corners_F33[:, [1, 2]] - corners_F33[:, :1]).unbind(dim=1)
        areas_F = torch.linalg.cross(first_F3, second_F3).double().square().sum(dim=1).sqrt()
        ends_F = (areas_F * self.num_parts[self.masks_F.long()]).cumsum(0)
        before_F = torch.cat([ends_F.new_zeros(1), ends_F])
        stops_B = starts_B + self.triangles.counts_B
        base_B, total_B = before_F[starts_B], before_F[stops_B] - before_F[starts_B]
        shape = (5, self.num_shapes, num)
        random = torch.rand(shape, generator=generator, device=generator.device)
        along_BN = base_B[:, None] + random[0].double() * total_B[:, None]
        faces_BN = torch.searchsorted(ends_F, along_BN, right=True)
        faces_BN = torch.minimum(faces_BN.maximum(starts_B[:, None]), stops_B[:, None] - 1)
        masks_BN = self.masks_F[faces_BN].long()
        choice_BN = (random[1] * self.num_parts[masks_BN]).long().clamp(max=15)
        parts_BN = self.parts[masks_BN, choice_BN].long()
        root_BN, turn_BN = random[2].sqrt(), random[3]
        inner_BN3 = torch.stack([1 - root_BN, root_BN * (1 - turn_BN), root_BN * turn_BN], dim=-1)
        weights_BN3 = torch.einsum("bnk,bnkc->bnc", inner_BN3, self.quarters_K33[parts_BN])
        points_BN3 = torch.einsum("bnc,bncx->bnx", weights_BN3, corners_F33[faces_BN])
        return points_BN3, self.face_normals()[faces_BN]

    def queries(self, generator: torch.Generator) -> LabelledQueries:
        """Labelled points of every shape: volume queries first, then those near the surface.

        A volume query is uniform in the cube. Beyond the shape's box its label is outside; within
        the box it is replaced by a stored query of the mesh, moved by the warp. Points that leave
        the cube are clamped to its border, which is outside too.

        Args:
            generator: source of randomness, on the device.
        """
        moved_BQ3 = self.warps.apply(self.stored_BQ3.float() / POSITION_STEPS)
        shape = (self.num_shapes, self.num_volume, 3)
        random = torch.rand(shape, generator=generator, device=generator.device)
        anywhere_BV3 = random * 2 - 1
        beyond_BV = (anywhere_BV3.abs() > self.half_B3[:, None]).any(dim=-1)
        volume_BV3 = torch.where(
            beyond_BV[:, :, None], anywhere_BV3, moved_BQ3[:, : self.num_volume]
        )
        points_BQ3 = torch.cat([volume_BV3, moved_BQ3[:, self.num_volume :]], dim=1)
        left_BQ = (points_BQ3.abs() > 1).any(dim=-1)
        inside_BQ = self.labels_BQ & ~left_BQ
        inside_BQ[:, : self.num_volume] &= ~beyond_BV
        near_BQ = torch.zeros_like(inside_BQ)
        near_BQ[:, self.num_volume :] = True
        return LabelledQueries(points_BQ3.clamp(-1, 1), inside_BQ, near_BQ)


def crease_normals(
    corners_F33: Float[Tensor, "F 3 3"], vertices_F3: Int[Tensor, "F 3"]
) -> Float[Tensor, "F 3 3"]:
    """Normals for shading on any device: twin of `geometry.shading.crease_normals`.

    Args:
        corners_F33: positions of the corners.
        vertices_F3: numbers of the corners, equal for equal positions of one mesh.
    """
    a_F3, b_F3, c_F3 = corners_F33.unbind(dim=1)
    areas_C3 = torch.linalg.cross(b_F3 - a_F3, c_F3 - a_F3).repeat_interleave(3, dim=0)
    units_C3 = functional.normalize(areas_C3, dim=-1, eps=1e-20)
    sorted_C, order_C = vertices_F3.reshape(-1).sort(stable=True)
    sums_C3 = areas_C3.clone()
    least = math.cos(math.radians(CREASE_DEGREES))
    start = torch.arange(len(order_C), device=order_C.device)
    shift = 0
    while len(start):
        shift += 1
        start = start[start + shift < len(order_C)]
        start = start[sorted_C[start] == sorted_C[start + shift]]
        first, second = order_C[start], order_C[start + shift]
        agree = (units_C3[first] * units_C3[second]).sum(dim=1) > least
        first, second = first[agree], second[agree]
        sums_C3[first] += areas_C3[second]  # no corner occurs twice in `first` or in `second`
        sums_C3[second] += areas_C3[first]
    return functional.normalize(sums_C3, dim=-1, eps=1e-20).reshape(-1, 3, 3)


def _boxes(
    corners_F33: Float[Tensor, "F 3 3"], shapes_F: Int[Tensor, " F"], num: int
) -> tuple[Float[Tensor, "B 3"], Float[Tensor, "B 3"]]:
    """Lowest and highest corner of every shape."""
    index_F3 = shapes_F[:, None].expand(-1, 3)
    low_B3 = corners_F33.new_full((num, 3), math.inf)
    high_B3 = corners_F33.new_full((num, 3), -math.inf)
    return (
        low_B3.scatter_reduce(0, index_F3, corners_F33.amin(dim=1), "amin"),
        high_B3.scatter_reduce(0, index_F3, corners_F33.amax(dim=1), "amax"),
    )
