"""The procedural field on any device, for many shapes at once: twin of `signed_distance`.

Shape suffixes: B shapes, Q query points, K primitives of the longest shape, M primitives of all
shapes end to end (and n of them of one kind).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from g3pt.procedural.primitives import NUM_SPOKES, NUM_STATIONS, Kind, ShapeArrays


@dataclass(frozen=True)
class FieldBatch:
    """The primitives of B shapes, laid end to end, on one device."""

    num_shapes: int
    num_slots: int
    """Primitives of the longest shape, K."""
    kinds: tuple[tuple[Kind, Int[Tensor, " _"]], ...]
    """For each kind that occurs, indices of its primitives among the M."""
    shapes_M: Int[Tensor, " M"]
    slots_M: Int[Tensor, " M"]
    parameters_MP: Float[Tensor, "M P"]
    to_local_M33: Float[Tensor, "M 3 3"]
    translations_M3: Float[Tensor, "M 3"]
    carves_BK: Bool[Tensor, "B K"]
    blends_BK: Float[Tensor, "B K"]
    blended: bool
    """Whether any blend is positive."""
    limited_BK: Bool[Tensor, "B K"]
    chained: bool
    """Whether any primitive is limited by the next one."""

    def to(self, device: torch.device | str) -> "FieldBatch":
        """Return the same batch on another device."""
        return FieldBatch(
            self.num_shapes,
            self.num_slots,
            tuple((kind, index.to(device)) for kind, index in self.kinds),
            self.shapes_M.to(device),
            self.slots_M.to(device),
            self.parameters_MP.to(device),
            self.to_local_M33.to(device),
            self.translations_M3.to(device),
            self.carves_BK.to(device),
            self.blends_BK.to(device),
            self.blended,
            self.limited_BK.to(device),
            self.chained,
        )


def stack_shapes(shapes: Sequence[ShapeArrays]) -> FieldBatch:
    """Lay the primitives of several shapes end to end."""
    if not shapes:
        raise ValueError("stack_shapes needs at least one shape, got none")
    lengths = [len(arrays) for arrays in shapes]
    kinds_M = np.concatenate([arrays.kinds for arrays in shapes])
    carves_BK = torch.zeros(len(shapes), max(lengths), dtype=torch.bool)
    blends_BK = torch.zeros(len(shapes), max(lengths))
    limited_BK = torch.zeros_like(carves_BK)
    for row, arrays in enumerate(shapes):
        carves_BK[row, : len(arrays)] = torch.from_numpy(arrays.carves)
        blends_BK[row, : len(arrays)] = torch.from_numpy(arrays.blends)
        limited_BK[row, : len(arrays)] = torch.from_numpy(arrays.limited)
    return FieldBatch(
        num_shapes=len(shapes),
        num_slots=max(lengths),
        kinds=tuple(
            (kind, torch.from_numpy(np.flatnonzero(kinds_M == kind)))
            for kind in Kind
            if np.any(kinds_M == kind)
        ),
        shapes_M=torch.repeat_interleave(torch.arange(len(shapes)), torch.tensor(lengths)),
        slots_M=torch.cat([torch.arange(length) for length in lengths]),
        parameters_MP=_joined([arrays.parameters for arrays in shapes]),
        to_local_M33=_joined([arrays.rotations for arrays in shapes]).transpose(1, 2).contiguous(),
        translations_M3=_joined([arrays.translations for arrays in shapes]),
        carves_BK=carves_BK,
        blends_BK=blends_BK,
        blended=bool(blends_BK.any()),
        limited_BK=limited_BK,
        chained=bool(limited_BK.any()),
    )


def _joined(parts: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.concatenate(parts))


def field_torch(
    batch: FieldBatch | Sequence[ShapeArrays], points_BQ3: Float[Tensor, "B Q 3"]
) -> Float[Tensor, "B Q"]:
    """Evaluate each shape's field, negative inside, at its own query points.

    Args:
        batch: B shapes from `stack_shapes`; stack them once to evaluate them repeatedly.
        points_BQ3: query points in the unit frame.
    """
    batch = _batch_for(batch, points_BQ3)
    return _combine(_distances(batch, points_BQ3), batch)[0]


def owner_torch(
    batch: FieldBatch | Sequence[ShapeArrays], points_BQ3: Float[Tensor, "B Q 3"]
) -> Int[Tensor, "B Q"]:
    """Index of the primitive that determines the field at each point: twin of `surface_owner`."""
    batch = _batch_for(batch, points_BQ3)
    return _combine(_distances(batch, points_BQ3), batch)[1]


def _batch_for(
    batch: FieldBatch | Sequence[ShapeArrays], points_BQ3: Float[Tensor, "B Q 3"]
) -> FieldBatch:
    if not isinstance(batch, FieldBatch):
        batch = stack_shapes(batch)
    if batch.shapes_M.device != points_BQ3.device:
        batch = batch.to(points_BQ3.device)
    if batch.num_shapes != len(points_BQ3):
        raise ValueError(
            f"{batch.num_shapes} shapes need as many rows of points, got {len(points_BQ3)}"
        )
    return batch


def _distances(batch: FieldBatch, points_BQ3: Float[Tensor, "B Q 3"]) -> Float[Tensor, "B K Q"]:
    distances_BKQ = points_BQ3.new_full(
        (batch.num_shapes, batch.num_slots, points_BQ3.shape[1]), torch.inf
    )
    for kind, index_n in batch.kinds:
        shapes_n = batch.shapes_M[index_n]
        centred = points_BQ3[shapes_n] - batch.translations_M3[index_n, None]
        # Sums of products: a matrix product may round to ten bits on a GPU.
        axes = batch.to_local_M33[index_n].unbind(1)
        x, y, z = ((centred * axis[:, None]).sum(-1) for axis in axes)
        parameters = batch.parameters_MP[index_n].T[:, :, None]
        distances_BKQ[shapes_n, batch.slots_M[index_n]] = _DISTANCES[kind](x, y, z, parameters)
    return distances_BKQ


def _combine(
    distances_BKQ: Float[Tensor, "B K Q"], batch: FieldBatch
) -> tuple[Float[Tensor, "B Q"], Int[Tensor, "B Q"]]:
    """The field and the slot of the primitive that determines it."""
    result_BQ = torch.full_like(distances_BKQ[:, 0], torch.inf)
    owner_BQ = torch.zeros_like(result_BQ, dtype=torch.int64)
    chain_BQ, deciding = torch.full_like(result_BQ, -torch.inf), owner_BQ
    for slot in range(distances_BKQ.shape[1]):
        # Carving is addition to the negated field.
        sign_B1 = torch.where(batch.carves_BK[:, slot, None], -1.0, 1.0)
        before_BQ, distance = result_BQ, distances_BKQ[:, slot]
        result_BQ = sign_B1 * result_BQ
        if batch.chained:
            deciding = torch.where(distance > chain_BQ, slot, deciding)
            distance = torch.maximum(distance, chain_BQ)
            held_B1 = batch.limited_BK[:, slot, None]
            chain_BQ = torch.where(held_B1, distance, -torch.inf)
            owner_BQ = torch.where(~held_B1 & (distance < result_BQ), deciding, owner_BQ)
        else:
            owner_BQ.masked_fill_(distance < result_BQ, slot)
        lower_BQ = torch.minimum(result_BQ, distance)
        if batch.blended:
            blend_B1 = batch.blends_BK[:, slot, None]
            overlap_BQ = (blend_B1 - (distance - result_BQ).abs()).clamp_min(0)
            lower_BQ = lower_BQ - overlap_BQ.square() / (4 * blend_B1).clamp_min(1e-9)
        result_BQ = sign_B1 * lower_BQ
        if batch.chained:
            result_BQ = torch.where(batch.limited_BK[:, slot, None], before_BQ, result_BQ)
    return result_BQ, owner_BQ


def _positive_length(*components: Tensor) -> Tensor:
    stacked = torch.stack(components)
    return stacked.clamp_min(0).square().sum(0).sqrt() + stacked.amax(0).clamp_max(0)


def _box(x: Tensor, y: Tensor, z: Tensor, p: Tensor) -> Tensor:
    return _positive_length(x.abs() - p[0], y.abs() - p[1], z.abs() - p[2]) - p[3]


def _cylinder(x: Tensor, y: Tensor, z: Tensor, p: Tensor) -> Tensor:
    return _positive_length(torch.hypot(x, z) - p[0], y.abs() - p[2]) - p[3]


def _cone(x: Tensor, y: Tensor, z: Tensor, p: Tensor) -> Tensor:
    bottom, top, half, rounding = p[0], p[1], p[2], p[3]
    rho = torch.hypot(x, z)
    cap_x = rho - torch.minimum(rho, torch.where(y < 0, bottom, top))
    cap_y = y.abs() - half
    slope_x, slope_y = top - bottom, 2 * half
    along = (top - rho) * slope_x + (half - y) * slope_y
    along = (along / (slope_x.square() + slope_y.square())).clamp(0, 1)
    side_x = rho - top + slope_x * along
    side_y = y - half + slope_y * along
    inside = (side_x < 0) & (cap_y < 0)
    squared = torch.minimum(cap_x.square() + cap_y.square(), side_x.square() + side_y.square())
    return torch.where(inside, -squared.sqrt(), squared.sqrt()) - rounding


def _ellipsoid(x: Tensor, y: Tensor, z: Tensor, p: Tensor) -> Tensor:
    x, y, z = x / p[0], y / p[1], z / p[2]
    radial = (x.square() + y.square() + z.square()).sqrt()
    x, y, z = x / p[0], y / p[1], z / p[2]
    gradient = (x.square() + y.square() + z.square()).sqrt()
    ratio = torch.maximum(radial / gradient.clamp_min(1e-9), p[:3].amin(0))
    return (radial - 1) * ratio


def _torus(x: Tensor, y: Tensor, z: Tensor, p: Tensor) -> Tensor:
    return torch.hypot(torch.hypot(x, z) - p[0], y) - p[1]


def _frustum(x: Tensor, y: Tensor, z: Tensor, p: Tensor) -> Tensor:
    half = p[4]
    result = y.abs() - half
    height = y + half
    for value, bottom, top, shift in ((x, p[0], p[2], p[5]), (z, p[1], p[3], p[6])):
        for sign in (1.0, -1.0):
            slope = (sign * shift + top - bottom) / (2 * half)
            plane = (sign * value - bottom - slope * height) / (1 + slope.square()).sqrt()
            result = torch.maximum(result, plane)
    return result


def _prism(x: Tensor, y: Tensor, z: Tensor, p: Tensor) -> Tensor:
    sector = torch.pi / p[2]
    angle = torch.remainder(torch.atan2(z, x), 2 * sector) - sector
    rho = torch.hypot(x, z)
    edge = rho * angle.cos() - p[0] * sector.cos()
    beyond = ((rho * angle.sin()).abs() - p[0] * sector.sin()).clamp_min(0)
    flat = torch.where(edge > 0, torch.hypot(edge, beyond), edge)
    return _positive_length(flat, y.abs() - p[1])


def _dome(x: Tensor, y: Tensor, z: Tensor, p: Tensor) -> Tensor:
    return torch.maximum(_ellipsoid(x, y, z, p), p[3] - y)


def _superquadric(x: Tensor, y: Tensor, z: Tensor, p: Tensor) -> Tensor:
    a, b, c = ((v.abs() / radius).clamp_min(1e-7) for v, radius in zip((x, y, z), p, strict=False))
    upright, across = p[3], p[4]
    ring = _power_norm(a, c, across)
    gauge = _power_norm(ring, b, upright)
    slope = ((b / gauge) ** (upright - 1) / p[1]).square() + (ring / gauge) ** (2 * upright - 2) * (
        ((a / ring) ** (across - 1) / p[0]).square() + ((c / ring) ** (across - 1) / p[2]).square()
    )
    box = torch.stack([x.abs() - p[0], y.abs() - p[1], z.abs() - p[2]]).amax(0)
    return torch.maximum((gauge - 1) / slope.sqrt(), box)


def _power_norm(a: Tensor, b: Tensor, exponent: Tensor) -> Tensor:
    largest = torch.maximum(a, b)
    return largest * ((a / largest) ** exponent + (b / largest) ** exponent) ** (1 / exponent)


def _spline(away: Tensor) -> Tensor:
    return ((2 - away).clamp_min(0) ** 3 - 4 * (1 - away).clamp_min(0) ** 3) / 6


def _lathe(x: Tensor, y: Tensor, z: Tensor, p: Tensor) -> Tensor:
    place = (y / p[0] + 1).clamp(0, 2) * ((NUM_STATIONS - 1) / 2)
    total = weights = torch.zeros_like(place)
    for station in range(NUM_STATIONS):
        away = (place - station).abs()
        weight = torch.lerp((1 - away).clamp_min(0), _spline(away), p[9])
        total, weights = total + weight * p[1 + station], weights + weight
    slope = p[1:9].diff(dim=0).abs().amax(0) * (NUM_STATIONS - 1) / (2 * p[0])
    side = (torch.hypot(x, z) - total / weights) / (1 + slope.square()).sqrt()
    return _positive_length(side, y.abs() - p[0])


def _plate(x: Tensor, y: Tensor, z: Tensor, p: Tensor) -> Tensor:
    half, hole, taper, twist, bevel = p[0], p[11], p[12], p[13], p[16]
    height = (y / half).clamp(-1, 1)
    sector = 2 * torch.pi / (NUM_SPOKES * p[15])
    angle = torch.atan2(z, x) - twist * height / 2
    place = torch.remainder(angle * (p[15] * (NUM_SPOKES / (2 * torch.pi))), NUM_SPOKES)
    curve = inverse = torch.zeros_like(place)
    for spoke in range(NUM_SPOKES):
        away = (place - spoke).abs()
        away = torch.minimum(away, NUM_SPOKES - away)
        curve = curve + _spline(away) * p[1 + spoke]
        inverse = inverse + ((1 - away).clamp_min(0) * sector).sin() / p[1 + spoke]
    outline = torch.lerp(sector.sin() / inverse, curve, p[14])
    radius, rho = (1 - taper * (height + 1) / 2) * outline, torch.hypot(x, z)
    inner = torch.where(hole > 0, hole * radius - rho, -torch.inf)
    spokes = p[1 : 1 + NUM_SPOKES]
    following = spokes.roll(-1, 0)
    ratio = torch.maximum(spokes / following, following / spokes).amax(0)
    around = (ratio - sector.cos()) / sector.sin()
    upright = (taper.abs() + twist.abs() * around) * spokes.amax(0) / (2 * half)
    slope = (1 + around.square() + upright.square()).sqrt()
    steeper = (1 + around.square() + (1 + upright).square()).sqrt()
    flat, over = torch.maximum(rho - radius, inner), y.abs() - half
    return torch.maximum(_positive_length(flat / slope, over), (flat + over + bevel) / steeper)


def _arc(x: Tensor, y: Tensor, z: Tensor, p: Tensor) -> Tensor:
    ring, across, along, half, taper, rounding = p[:6]
    angle, rho = torch.atan2(z, x).abs(), torch.hypot(x, z)
    scale = 1 - taper * (angle / half).clamp_max(1)
    out = (rho * (angle - half).clamp_min(0).cos() - ring).abs() - across * scale
    end = rho * (angle - half).clamp_min(-torch.pi / 2).sin()
    result = _positive_length(out, y.abs() - along * scale, end) - rounding * scale
    inner = torch.maximum(ring - across - rounding, ring / 4)
    slope = taper * (torch.maximum(across, along) + rounding) / (half * inner)
    return result / (1 + slope.square()).sqrt()


def _terrain(x: Tensor, y: Tensor, z: Tensor, p: Tensor) -> Tensor:
    within_x, within_z = torch.clamp(x, -p[0], p[0]), torch.clamp(z, -p[1], p[1])
    height, slope = torch.zeros_like(y), torch.zeros_like(p[0])
    for amplitude, turns_x, turns_z, phase in (p[3:7], p[7:11], p[11:15]):
        turns = turns_x * within_x / p[0] + turns_z * within_z / p[1]
        height = height + amplitude * (torch.pi * turns + phase).sin()
        slope = slope + amplitude.abs() * torch.hypot(turns_x / p[0], turns_z / p[1])
    top = (y - height) / (1 + (torch.pi * slope).square()).sqrt()
    return _positive_length(x.abs() - p[0], z.abs() - p[1], torch.maximum(top, -y - p[2]))


_DISTANCES: dict[Kind, Callable[..., Tensor]] = {
    Kind.BOX: _box,
    Kind.CYLINDER: _cylinder,
    Kind.CONE: _cone,
    Kind.ELLIPSOID: _ellipsoid,
    Kind.TORUS: _torus,
    Kind.FRUSTUM: _frustum,
    Kind.PRISM: _prism,
    Kind.DOME: _dome,
    Kind.SUPERQUADRIC: _superquadric,
    Kind.LATHE: _lathe,
    Kind.PLATE: _plate,
    Kind.ARC: _arc,
    Kind.TERRAIN: _terrain,
}
