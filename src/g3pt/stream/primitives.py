"""Batches of shapes made of primitives on one device: field, owners and ray casting.

With CUDA the Triton kernels of `primitives_triton` are used. Elsewhere, and where these fail their
check, torch is used: their slow twin, which follows `procedural.torch_field`.

Rays are sphere-traced as in `procedural.tracing`: a step is as long as the field's value, a step
that ends inside is corrected by bisection, and a ray that leaves the bounding box has missed.

Legend: B shapes, V pictures (each shows one shape), R rays of a picture, Q points of a shape, K
primitives of the longest shape, P parameters, n live rays.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from importlib.util import find_spec
from types import ModuleType
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int, UInt8
from torch import Tensor
from torch.nn.functional import normalize

from g3pt.procedural.primitives import NUM_PARAMETERS, Kind, ShapeArrays
from g3pt.procedural.torch_field import FieldBatch, field_torch, owner_torch
from g3pt.stream.casting import Hits

_log = logging.getLogger(__name__)

Backend = Literal["torch", "triton"]

NEAR_ENOUGH = 4e-4
"""A ray has arrived where the field is below this."""
NUM_STEPS = 80
SMALLEST_STEP = 1e-3
STEP_GROWTH = 8e-5
"""Step i is at least `SMALLEST_STEP + i * STEP_GROWTH` long, so that rays that graze a surface
advance too; a ray that has not arrived after `NUM_STEPS` counts as a miss."""
NUM_BISECTIONS = 8
NORMAL_STEP = 1e-3
"""Step of the finite differences that give normals."""
_ON_SURFACE = 1e-3
"""Distance behind a surface point that must be inside, and in front of it that must be outside."""
_MARGIN = 2e-3
"""Margin of the bounding box in which rays are traced."""
_TORCH_VALUES = 1 << 25
"""Distances that the torch path holds in memory at a time."""


@dataclass(frozen=True)
class PrimitiveBatch:
    """The primitives of B shapes in the order in which they apply, padded to the longest shape.

    Frames and units are those of `ShapeArrays`; padding is zero.
    """

    kinds_BK: Int[Tensor, "B K"]
    parameters_BKP: Float32[Tensor, "B K P"]
    to_local_BK33: Float32[Tensor, "B K 3 3"]
    """Rotations from the shape's frame to the primitive's."""
    translations_BK3: Float32[Tensor, "B K 3"]
    carves_BK: Bool[Tensor, "B K"]
    blends_BK: Float32[Tensor, "B K"]
    limited_BK: Bool[Tensor, "B K"]
    colors_BK3: UInt8[Tensor, "B K 3"]
    counts_B: Int[Tensor, " B"]
    """Number of primitives of each shape."""
    half_extents_B3: Float32[Tensor, "B 3"]
    """Half the sides of each shape's bounding box, which is centred at 0."""

    def __len__(self) -> int:
        return len(self.counts_B)

    @property
    def device(self) -> torch.device:
        """Device of the shapes."""
        return self.counts_B.device

    def to(self, device: torch.device | str) -> "PrimitiveBatch":
        """Return the same batch on another device."""
        return PrimitiveBatch(
            *(getattr(self, field.name).to(device, non_blocking=True) for field in fields(self))
        )

    def select(self, shapes_V: Int[Tensor, " V"] | slice) -> "PrimitiveBatch":
        """Return some of the shapes; repetitions are allowed."""
        return PrimitiveBatch(*(getattr(self, field.name)[shapes_V] for field in fields(self)))

    @cached_property
    def flat(self) -> FieldBatch:
        """The same shapes for the torch field."""
        slots_K = torch.arange(self.kinds_BK.shape[1], device=self.device)
        shapes_M, slots_M = (slots_K < self.counts_B[:, None]).nonzero(as_tuple=True)
        kinds_M = self.kinds_BK[shapes_M, slots_M]
        indices = [(kind, (kinds_M == kind).nonzero()[:, 0]) for kind in Kind]
        return FieldBatch(
            num_shapes=len(self),
            num_slots=self.kinds_BK.shape[1],
            kinds=tuple((kind, index) for kind, index in indices if len(index)),
            shapes_M=shapes_M,
            slots_M=slots_M,
            parameters_MP=self.parameters_BKP[shapes_M, slots_M],
            to_local_M33=self.to_local_BK33[shapes_M, slots_M],
            translations_M3=self.translations_BK3[shapes_M, slots_M],
            carves_BK=self.carves_BK,
            blends_BK=self.blends_BK,
            blended=bool(self.blends_BK.any()),
            limited_BK=self.limited_BK,
            chained=bool(self.limited_BK.any()),
        )


def pad_shapes(
    shapes: Sequence[ShapeArrays], extents: Sequence[tuple[float, float, float]]
) -> PrimitiveBatch:
    """Batch the primitives of several shapes, padded, on the CPU.

    Args:
        shapes: in the unit frame.
        extents: sides of their bounding boxes along x, y and z.

    Raises:
        ValueError: if there is no shape, or not one extent for each.
    """
    if not shapes or len(shapes) != len(extents):
        raise ValueError(
            f"pad_shapes needs shapes and as many extents, got {len(shapes)} and {len(extents)}"
        )
    counts_B = np.array([len(arrays) for arrays in shapes])
    used_BK = np.arange(counts_B.max()) < counts_B[:, None]

    def padded(parts: list[np.ndarray], dtype: type[np.generic]) -> Tensor:
        values = np.zeros((*used_BK.shape, *parts[0].shape[1:]), dtype)
        values[used_BK] = np.concatenate(parts)
        return torch.from_numpy(values)

    rotations_BK33 = padded([arrays.rotations for arrays in shapes], np.float32)
    return PrimitiveBatch(
        kinds_BK=padded([arrays.kinds for arrays in shapes], np.int32),
        parameters_BKP=padded([arrays.parameters for arrays in shapes], np.float32),
        to_local_BK33=rotations_BK33.transpose(2, 3).contiguous(),
        translations_BK3=padded([arrays.translations for arrays in shapes], np.float32),
        carves_BK=padded([arrays.carves for arrays in shapes], np.bool_),
        blends_BK=padded([arrays.blends for arrays in shapes], np.float32),
        limited_BK=padded([arrays.limited for arrays in shapes], np.bool_),
        colors_BK3=padded([arrays.colors for arrays in shapes], np.uint8),
        counts_B=torch.from_numpy(counts_B.astype(np.int32)),
        half_extents_B3=torch.from_numpy(np.array(extents, np.float32) / 2),
    )


class Walked(NamedTuple):
    """Hits of rays and the primitives that they hit."""

    hit_VR: Bool[Tensor, "V R"]
    lengths_VR: Float32[Tensor, "V R"]
    normals_VR3: Float32[Tensor, "V R 3"]
    owners_VR: Int[Tensor, "V R"]


@dataclass(frozen=True)
class PrimitiveCaster:
    """A `RayCaster` of shapes made of primitives."""

    batch: PrimitiveBatch
    backend: Backend

    @property
    def num_shapes(self) -> int:
        """Number of shapes."""
        return len(self.batch)

    def field(self, points_BQ3: Float32[Tensor, "B Q 3"]) -> Float32[Tensor, "B Q"]:
        """Field of each shape, negative inside, at its own points of the unit frame."""
        if self.backend == "triton":
            return _kernels().evaluate(self.batch, points_BQ3)[0]
        parts = self._in_parts(points_BQ3.shape[1])
        return torch.cat([field_torch(batch.flat, points_BQ3[rows]) for rows, batch in parts])

    def owners(self, points_BQ3: Float32[Tensor, "B Q 3"]) -> Int[Tensor, "B Q"]:
        """Index of the primitive that determines the field at each point."""
        if self.backend == "triton":
            return _kernels().evaluate(self.batch, points_BQ3)[1].long()
        parts = self._in_parts(points_BQ3.shape[1])
        return torch.cat([owner_torch(batch.flat, points_BQ3[rows]) for rows, batch in parts])

    def cast(
        self,
        shapes_V: Int[Tensor, " V"],
        origins_V3: Float[Tensor, "V 3"],
        rays_VR3: Float[Tensor, "V R 3"],
    ) -> Hits:
        """See `RayCaster.cast`."""
        shown = PrimitiveCaster(self.batch.select(shapes_V), self.backend)
        walked = shown.walk(origins_V3, rays_VR3)
        owners_VR3 = walked.owners_VR.long()[..., None].expand(-1, -1, 3)
        colors_VR3 = shown.batch.colors_BK3.gather(1, owners_VR3)
        colors_VR3 *= walked.hit_VR[..., None]
        return Hits(walked.hit_VR, walked.lengths_VR, walked.normals_VR3, colors_VR3)

    def walk(
        self, origins_B3: Float32[Tensor, "B 3"], rays_BR3: Float32[Tensor, "B R 3"]
    ) -> Walked:
        """Trace one bundle of rays at each shape, in order."""
        half_B3 = self.batch.half_extents_B3 + _MARGIN
        if self.backend == "triton":
            return Walked(*_kernels().walk(self.batch, half_B3, origins_B3, rays_BR3))
        parts = [
            _walk(batch.flat, half_B3[rows], origins_B3[rows], rays_BR3[rows])
            for rows, batch in self._in_parts(rays_BR3.shape[1])
        ]
        return Walked(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))

    def _in_parts(self, num_points: int) -> Iterator[tuple[slice, PrimitiveBatch]]:
        """Slices of the shapes whose distances the torch path can hold in memory."""
        step = max(1, _TORCH_VALUES // (self.batch.kinds_BK.shape[1] * max(num_points, 1)))
        if step >= len(self.batch):
            yield slice(None), self.batch
            return
        for start in range(0, len(self.batch), step):
            rows = slice(start, start + step)
            yield rows, self.batch.select(rows)


def best_backend(device: torch.device | str) -> Backend:
    """Triton on a CUDA device with Triton installed, torch elsewhere; see `checked_backend`."""
    usable = torch.device(device).type == "cuda" and find_spec("triton") is not None
    return "triton" if usable else "torch"


def checked_backend(device: torch.device | str) -> Backend:
    """Return the fastest backend that agrees with its twin on this device."""
    backend = best_backend(device)
    if backend == "triton":
        try:
            check_device(device)
        except Exception:  # a compiler can fail in any way: the twin is used instead
            _log.exception(
                "the Triton kernels are of no use on %s, torch takes their place", device
            )
            return "torch"
    return backend


def _kernels() -> ModuleType:
    from g3pt.stream import primitives_triton

    return primitives_triton


def _walk(
    batch: FieldBatch,
    half_V3: Float32[Tensor, "V 3"],
    origins_V3: Float32[Tensor, "V 3"],
    rays_VR3: Float32[Tensor, "V R 3"],
) -> Walked:
    """Twin of the kernel: all live rays advance one step together."""
    origins_V13 = origins_V3[:, None]
    lengths_VR, leave_VR = _through_box(half_V3[:, None], origins_V13, rays_VR3)
    outside_VR = lengths_VR.clone()  # the last length at which a ray was outside
    alive_VR = lengths_VR < leave_VR
    hit_VR = torch.zeros_like(alive_VR)
    inside_VR = torch.zeros_like(alive_VR)
    for step in range(NUM_STEPS):
        num_live = int(alive_VR.sum(1).max()) if alive_VR.numel() else 0
        if not num_live:
            break
        live_Vn = alive_VR.byte().argsort(dim=1, descending=True, stable=True)[:, :num_live]
        really_Vn = alive_VR.gather(1, live_Vn)
        length_Vn = lengths_VR.gather(1, live_Vn)
        field_Vn = field_torch(
            batch, origins_V13 + _taken(rays_VR3, live_Vn) * length_Vn[..., None]
        )
        arrived_Vn = really_Vn & (field_Vn < NEAR_ENOUGH)
        further_Vn = length_Vn + field_Vn.clamp_min(SMALLEST_STEP + step * STEP_GROWTH)
        going_Vn = really_Vn & ~arrived_Vn & (further_Vn < leave_VR.gather(1, live_Vn))
        hit_VR.scatter_(1, live_Vn, hit_VR.gather(1, live_Vn) | arrived_Vn)
        inside = arrived_Vn & (field_Vn < -NEAR_ENOUGH)
        inside_VR.scatter_(1, live_Vn, inside_VR.gather(1, live_Vn) | inside)
        before_Vn = outside_VR.gather(1, live_Vn)
        outside_VR.scatter_(1, live_Vn, torch.where(going_Vn, length_Vn, before_Vn))
        lengths_VR.scatter_(1, live_Vn, torch.where(going_Vn, further_Vn, length_Vn))
        alive_VR.scatter_(1, live_Vn, going_Vn)
    num_hit = int(hit_VR.sum(1).max()) if hit_VR.numel() else 0
    hit_Vn = hit_VR.byte().argsort(dim=1, descending=True, stable=True)[:, :num_hit]
    rays_Vn3 = _taken(rays_VR3, hit_Vn)
    low_Vn, high_Vn = outside_VR.gather(1, hit_Vn), lengths_VR.gather(1, hit_Vn)
    low_Vn = torch.where(inside_VR.gather(1, hit_Vn), low_Vn, high_Vn)
    for _ in range(NUM_BISECTIONS):
        middle_Vn = (low_Vn + high_Vn) / 2
        inside = field_torch(batch, origins_V13 + rays_Vn3 * middle_Vn[..., None]) < 0
        low_Vn = torch.where(inside, low_Vn, middle_Vn)
        high_Vn = torch.where(inside, middle_Vn, high_Vn)
    points_Vn3 = origins_V13 + rays_Vn3 * high_Vn[..., None]
    lengths_VR.scatter_(1, hit_Vn, high_Vn)
    normals_VR3 = torch.zeros_like(rays_VR3)
    index_Vn3 = hit_Vn[..., None].expand(-1, -1, 3)
    slope_Vn3 = _slope(lambda points: field_torch(batch, points), points_Vn3)
    normals_VR3.scatter_(1, index_Vn3, normalize(slope_Vn3, dim=-1))
    owners_VR = torch.zeros_like(hit_VR, dtype=torch.int64)
    owners_VR.scatter_(1, hit_Vn, owner_torch(batch, points_Vn3))
    return Walked(hit_VR, lengths_VR, normals_VR3 * hit_VR[..., None], owners_VR)


def _taken(rays_VR3: Tensor, index_Vn: Tensor) -> Tensor:
    return rays_VR3.gather(1, index_Vn[..., None].expand(-1, -1, 3))


def _through_box(
    half_V13: Float32[Tensor, "V 1 3"],
    origins_V13: Float32[Tensor, "V 1 3"],
    rays_VR3: Float32[Tensor, "V R 3"],
) -> tuple[Float32[Tensor, "V R"], Float32[Tensor, "V R"]]:
    """Lengths at which rays enter and leave the box with these half sides, centred at the origin.

    Equal to the Triton kernel's even for rays parallel to an axis.
    """
    safe_VR3 = torch.where(rays_VR3.abs() < 1e-9, 1e-9, rays_VR3)
    low_VR3, high_VR3 = (-half_V13 - origins_V13) / safe_VR3, (half_V13 - origins_V13) / safe_VR3
    enter_VR = torch.minimum(low_VR3, high_VR3).amax(-1).clamp_min(0)
    return enter_VR, torch.maximum(low_VR3, high_VR3).amin(-1)


def _slope(
    field: Callable[[Tensor], Tensor], points_Vn3: Float32[Tensor, "V n 3"]
) -> Float32[Tensor, "V n 3"]:
    """Gradient of a field, by finite differences at the corners of a tetrahedron."""
    slope_Vn3 = torch.zeros_like(points_Vn3)
    for corner in ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)):
        toward_3 = points_Vn3.new_tensor(corner) / 3**0.5
        slope_Vn3 += toward_3 * field(points_Vn3 + NORMAL_STEP * toward_3)[..., None]
    return slope_Vn3 * (0.75 / NORMAL_STEP)


_SPOKES = (0.5, 0.35, 0.4, 0.5, 0.45, 0.3, 0.4, 0.55, 0.5, 0.4)
_EXAMPLES: dict[Kind, tuple[float, ...]] = {
    Kind.BOX: (0.3, 0.2, 0.4, 0.05),
    Kind.CYLINDER: (0.3, 0.3, 0.2, 0.05),
    Kind.CONE: (0.5, 0.2, 0.3, 0.02),
    Kind.ELLIPSOID: (0.3, 0.5, 0.2),
    Kind.TORUS: (0.5, 0.1),
    Kind.FRUSTUM: (0.5, 0.4, 0.25, 0.2, 0.4, 0.2, -0.1),
    Kind.PRISM: (0.5, 0.3, 6),
    Kind.DOME: (0.5, 0.4, 0.3, 0.05),
    Kind.SUPERQUADRIC: (0.5, 0.3, 0.4, 4.0, 1.5),
    Kind.LATHE: (0.5, 0.1, 0.3, 0.45, 0.2, 0.1, 0.15, 0.3, 0.35, 0.6),
    Kind.PLATE: (0.2, *_SPOKES, 0.4, 0.3, 0.8, 0.3, 1.0, 0.03),
    Kind.ARC: (0.6, 0.06, 0.04, 1.9, 0.5, 0.05),
    Kind.TERRAIN: (0.6, 0.5, 0.3, 0.1, 1.0, 0.0, 0.3, 0.05, 2.0, 1.0, 1.0, 0.04, 1.0, 3.0, 2.0),
}
"""Parameters of an example solid of each kind."""


def assorted_shapes(num: int, rng: np.random.Generator) -> list[ShapeArrays]:
    """Random shapes of four solids that cycle through all kinds.

    Some are carved or blended, and in some the second is limited by the third.
    """
    shapes: list[ShapeArrays] = []
    for number in range(num):
        kinds = (4 * number + np.arange(4)) % len(Kind)
        parameters = np.zeros((4, NUM_PARAMETERS), np.float32)
        for row, kind in zip(parameters, kinds, strict=True):
            row[: len(_EXAMPLES[Kind(kind)])] = _EXAMPLES[Kind(kind)]
        turns = np.linalg.qr(rng.standard_normal((4, 3, 3)))[0]
        turns *= np.linalg.det(turns)[:, None, None]
        shapes.append(
            ShapeArrays(
                kinds=kinds,
                parameters=parameters,
                rotations=turns.astype(np.float32),
                translations=rng.uniform(-0.3, 0.3, (4, 3)).astype(np.float32),
                carves=np.array([False, False, False, number % 2 == 0]),
                colors=rng.integers(0, 256, (4, 3)).astype(np.uint8),
                blends=np.array([0, 0, 0.2, 0.1 * (number % 3)], np.float32),
                limited=np.array([False, number % 4 > 1, False, False]),
            )
        )
    return shapes


def check_device(
    device: torch.device | str, *, num_shapes: int = 32, num_points: int = 4096, side: int = 64
) -> None:
    """Compare the Triton kernels with torch on a few shapes.

    Args:
        device: a CUDA device, or the CPU if Triton interprets (TRITON_INTERPRET=1).
        num_shapes: number of shapes of four solids each; four of them contain every kind.
        num_points: points per shape at which fields and owners are compared.
        side: rays along each side of the bundles compared.

    Raises:
        RuntimeError: if they differ by more than rounding can explain.
    """
    shapes = assorted_shapes(num_shapes, np.random.default_rng(0))
    batch = pad_shapes(shapes, [(1.9, 1.9, 1.9)] * num_shapes)
    generator = torch.Generator().manual_seed(0)
    points_BQ3 = torch.rand(num_shapes, num_points, 3, generator=generator) * 2 - 1
    places_B3 = normalize(torch.randn(num_shapes, 3, generator=generator))
    # Every ray of a bundle goes from one distant point to a point of a plane through the centre.
    grid = torch.linspace(-0.9, 0.9, side)
    across = torch.cartesian_prod(grid, grid)
    rows_V3 = normalize(places_B3.cross(places_B3.roll(1, 1), dim=1))
    columns_V3 = places_B3.cross(rows_V3, dim=1)
    sheet_VR3 = across[:, :1] * rows_V3[:, None] + across[:, 1:] * columns_V3[:, None]
    rays_VR3 = normalize(sheet_VR3 - 4 * places_B3[:, None], dim=-1)
    batch, points_BQ3 = batch.to(device), points_BQ3.to(device)
    origins_V3, rays_VR3 = 4 * places_B3.to(device), rays_VR3.to(device)
    fast, slow = PrimitiveCaster(batch, "triton"), PrimitiveCaster(batch, "torch")
    ours, theirs = fast.walk(origins_V3, rays_VR3), slow.walk(origins_V3, rays_VR3)
    both = ours.hit_VR & theirs.hit_VR
    apart = (ours.lengths_VR - theirs.lengths_VR)[both].abs()
    angle = (ours.normals_VR3 * theirs.normals_VR3).sum(-1)[both]
    # Rays that graze an edge, and points equidistant from two primitives, may go either way.
    findings = {
        "largest difference of fields": (
            (fast.field(points_BQ3) - slow.field(points_BQ3)).abs().max(),
            5e-5,
        ),
        "share of owners that differ": (
            (fast.owners(points_BQ3) != slow.owners(points_BQ3)).float().mean(),
            2e-3,
        ),
        "share of rays of which one alone arrives": (
            (ours.hit_VR != theirs.hit_VR).float().mean(),
            2e-3,
        ),
        "share of lengths that differ": ((apart > 2e-3).float().mean(), 5e-3),
        "share of normals that differ": ((angle < 0.99).float().mean(), 1e-2),
        "share of hits on another primitive": (
            (ours.owners_VR != theirs.owners_VR)[both].float().mean(),
            1e-2,
        ),
    }
    wrong = [
        f"{name} {float(value):.2g}, at most {limit:g} expected"
        for name, (value, limit) in findings.items()
        if not float(value) <= limit
    ]
    if wrong or not both.any():
        raise RuntimeError(f"Triton and torch differ on {device}: {'; '.join(wrong) or 'no hits'}")
