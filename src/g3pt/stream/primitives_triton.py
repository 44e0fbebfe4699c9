"""Triton kernels for the field of shapes made of primitives, and for sphere tracing.

One program handles a block of points or rays of one shape and loops over its primitives in order.
The distances of the kinds are in `distances_triton`. `primitives.check_device` compares everything
with torch. All numbers are float32.

Arguments of the kernels are the tensors of a `PrimitiveBatch`, contiguous, flags as int32.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Bool, Float32, Int32
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from g3pt.procedural.primitives import NUM_PARAMETERS
from g3pt.stream.distances_triton import FAR, distance_of
from g3pt.stream.primitives import (
    NEAR_ENOUGH,
    NORMAL_STEP,
    NUM_BISECTIONS,
    NUM_STEPS,
    SMALLEST_STEP,
    STEP_GROWTH,
    PrimitiveBatch,
)

_BLOCK = 32
"""Points or rays per program: one warp, so that rays wait for few others."""
_NUM_WARPS = 1
_EVALUATE_CONSTANTS = {"BLOCK": _BLOCK}
_WALK_CONSTANTS = {
    "BLOCK": _BLOCK,
    "NEAR_ENOUGH": NEAR_ENOUGH,
    "NUM_STEPS": NUM_STEPS,
    "SMALLEST_STEP": SMALLEST_STEP,
    "STEP_GROWTH": STEP_GROWTH,
    "NUM_BISECTIONS": NUM_BISECTIONS,
    "NORMAL_STEP": NORMAL_STEP,
}


def evaluate(
    batch: PrimitiveBatch, points_BQ3: Float32[Tensor, "B Q 3"]
) -> tuple[Float32[Tensor, "B Q"], Int32[Tensor, "B Q"]]:
    """Field and owner at each shape's own points."""
    num_shapes, num_points, _ = points_BQ3.shape
    if num_shapes != len(batch):
        raise ValueError(f"{len(batch)} shapes need as many rows of points, got {num_shapes}")
    points_BQ3 = points_BQ3.contiguous()
    field_BQ = torch.empty_like(points_BQ3[..., 0])
    owners_BQ = torch.empty_like(field_BQ, dtype=torch.int32)
    num_blocks = triton.cdiv(num_points, _BLOCK)
    kernel: Any = _evaluate  # the decorator's type is not known
    if num_shapes * num_blocks:
        kernel[(num_shapes * num_blocks,)](
            points_BQ3,
            field_BQ,
            owners_BQ,
            *_arguments(batch),
            num_points,
            num_blocks,
            batch.kinds_BK.shape[1],
            NUM_PARAMETERS=batch.parameters_BKP.shape[2],
            **_EVALUATE_CONSTANTS,
            num_warps=_NUM_WARPS,
        )
    return field_BQ, owners_BQ


def walk(
    batch: PrimitiveBatch,
    half_V3: Float32[Tensor, "V 3"],
    origins_V3: Float32[Tensor, "V 3"],
    rays_VR3: Float32[Tensor, "V R 3"],
) -> tuple[
    Bool[Tensor, "V R"], Float32[Tensor, "V R"], Float32[Tensor, "V R 3"], Int32[Tensor, "V R"]
]:
    """Trace one bundle of rays at each shape: hit, length, normal and owner."""
    num_shapes, num_rays, _ = rays_VR3.shape
    if num_shapes != len(batch):
        raise ValueError(f"{len(batch)} shapes need as many bundles of rays, got {num_shapes}")
    rays_VR3 = rays_VR3.contiguous()
    hit_VR = torch.empty(num_shapes, num_rays, dtype=torch.int32, device=rays_VR3.device)
    lengths_VR = torch.empty_like(rays_VR3[..., 0])
    normals_VR3 = torch.empty_like(rays_VR3)
    owners_VR = torch.empty_like(hit_VR)
    num_blocks = triton.cdiv(num_rays, _BLOCK)
    kernel: Any = _walk
    if num_shapes * num_blocks:
        kernel[(num_shapes * num_blocks,)](
            origins_V3.contiguous(),
            rays_VR3,
            half_V3.contiguous(),
            hit_VR,
            lengths_VR,
            normals_VR3,
            owners_VR,
            *_arguments(batch),
            num_rays,
            num_blocks,
            batch.kinds_BK.shape[1],
            NUM_PARAMETERS=batch.parameters_BKP.shape[2],
            **_WALK_CONSTANTS,
            num_warps=_NUM_WARPS,
        )
    return hit_VR.bool(), lengths_VR, normals_VR3, owners_VR


def compile_for(capability: int) -> None:
    """Compile the kernels for NVIDIA devices of a compute capability (90: H100); needs no device.

    Raises:
        Exception: any error of Triton or its assembler.
    """
    integers = {"owners", "hits", "counts", "kinds", "carves", "limited"}
    for kernel, constants in ((_evaluate, _EVALUATE_CONSTANTS), (_walk, _WALK_CONSTANTS)):
        values = {"NUM_PARAMETERS": NUM_PARAMETERS, **constants}
        signature = {
            name: "constexpr"
            if name in values
            else "i32"
            if name.startswith("num_")
            else "*i32"
            if name in integers
            else "*fp32"
            for name in kernel.arg_names
        }
        indices = {(i,): values[name] for i, name in enumerate(kernel.arg_names) if name in values}
        triton.compile(
            ASTSource(kernel, signature, indices),
            target=GPUTarget("cuda", capability, 32),
            options={"num_warps": _NUM_WARPS},
        )


def _arguments(batch: PrimitiveBatch) -> tuple[Tensor, ...]:
    """Arguments that describe the shapes, in the order of the kernels' parameters."""
    return (
        batch.counts_B.int().contiguous(),
        batch.kinds_BK.int().contiguous(),
        batch.parameters_BKP.contiguous(),
        batch.to_local_BK33.contiguous(),
        batch.translations_BK3.contiguous(),
        batch.carves_BK.int().contiguous(),
        batch.blends_BK.contiguous(),
        batch.limited_BK.int().contiguous(),
    )


@triton.jit
def _evaluate(
    points,
    field,
    owners,
    counts,
    kinds,
    parameters,
    to_local,
    translations,
    carves,
    blends,
    limited,
    num_points,
    num_blocks,
    num_slots,
    NUM_PARAMETERS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    program = tl.program_id(0)
    shape = program // num_blocks
    place = (program % num_blocks) * BLOCK + tl.arange(0, BLOCK)
    mask = place < num_points
    index = shape.to(tl.int64) * num_points + place
    x = tl.load(points + index * 3, mask=mask, other=0.0)
    y = tl.load(points + index * 3 + 1, mask=mask, other=0.0)
    z = tl.load(points + index * 3 + 2, mask=mask, other=0.0)
    value, owner = _field(
        x,
        y,
        z,
        shape,
        counts,
        kinds,
        parameters,
        to_local,
        translations,
        carves,
        blends,
        limited,
        num_slots,
        NUM_PARAMETERS,
    )
    tl.store(field + index, value, mask=mask)
    tl.store(owners + index, owner, mask=mask)


@triton.jit
def _walk(
    origins,
    rays,
    half,
    hits,
    lengths,
    normals,
    owners,
    counts,
    kinds,
    parameters,
    to_local,
    translations,
    carves,
    blends,
    limited,
    num_rays,
    num_blocks,
    num_slots,
    NUM_PARAMETERS: tl.constexpr,
    BLOCK: tl.constexpr,
    NEAR_ENOUGH: tl.constexpr,
    NUM_STEPS: tl.constexpr,
    SMALLEST_STEP: tl.constexpr,
    STEP_GROWTH: tl.constexpr,
    NUM_BISECTIONS: tl.constexpr,
    NORMAL_STEP: tl.constexpr,
):
    program = tl.program_id(0)
    shape = program // num_blocks
    place = (program % num_blocks) * BLOCK + tl.arange(0, BLOCK)
    mask = place < num_rays
    index = shape.to(tl.int64) * num_rays + place
    ray_x = tl.load(rays + index * 3, mask=mask, other=1.0)
    ray_y = tl.load(rays + index * 3 + 1, mask=mask, other=1.0)
    ray_z = tl.load(rays + index * 3 + 2, mask=mask, other=1.0)
    from_x = tl.load(origins + shape * 3)
    from_y = tl.load(origins + shape * 3 + 1)
    from_z = tl.load(origins + shape * 3 + 2)
    enter_x, leave_x = _slab(from_x, ray_x, tl.load(half + shape * 3))
    enter_y, leave_y = _slab(from_y, ray_y, tl.load(half + shape * 3 + 1))
    enter_z, leave_z = _slab(from_z, ray_z, tl.load(half + shape * 3 + 2))
    length = tl.maximum(tl.maximum(tl.maximum(enter_x, enter_y), enter_z), 0.0)
    leave = tl.minimum(tl.minimum(leave_x, leave_y), leave_z)
    outside = length  # the last length at which a ray was outside
    alive = tl.where(mask & (length < leave), 1, 0)
    hit = alive * 0
    inside = alive * 0
    smallest = SMALLEST_STEP + ray_x * 0.0
    step = 0
    num_going = tl.sum(alive, axis=0)
    while num_going > 0:
        value, owner = _field(
            from_x + ray_x * length,
            from_y + ray_y * length,
            from_z + ray_z * length,
            shape,
            counts,
            kinds,
            parameters,
            to_local,
            translations,
            carves,
            blends,
            limited,
            num_slots,
            NUM_PARAMETERS,
        )
        arrived = (alive > 0) & (value < NEAR_ENOUGH)
        hit = tl.where(arrived, 1, hit)
        inside = tl.where(arrived & (value < -NEAR_ENOUGH), 1, inside)
        further = length + tl.maximum(value, smallest)
        going = (alive > 0) & (value >= NEAR_ENOUGH) & (further < leave)
        outside = tl.where(going, length, outside)
        length = tl.where(going, further, length)
        smallest = smallest + STEP_GROWTH
        step = step + 1
        alive = tl.where(going & (step < NUM_STEPS), 1, 0)
        num_going = tl.sum(alive, axis=0)
    low = tl.where(inside > 0, outside, length)
    high = length
    halvings = tl.where(tl.sum(inside, axis=0) > 0, NUM_BISECTIONS, 0)
    while halvings > 0:
        middle = (low + high) * 0.5
        value, owner = _field(
            from_x + ray_x * middle,
            from_y + ray_y * middle,
            from_z + ray_z * middle,
            shape,
            counts,
            kinds,
            parameters,
            to_local,
            translations,
            carves,
            blends,
            limited,
            num_slots,
            NUM_PARAMETERS,
        )
        low = tl.where(value < 0.0, low, middle)
        high = tl.where(value < 0.0, middle, high)
        halvings = halvings - 1
    high = tl.where(inside > 0, high, length)
    at_x = from_x + ray_x * high
    at_y = from_y + ray_y * high
    at_z = from_z + ray_z * high
    slope_x = ray_x * 0.0
    slope_y = ray_x * 0.0
    slope_z = ray_x * 0.0
    # Four corners of a tetrahedron, then the point itself for its owner.
    decider = hit * 0
    corners = tl.where(tl.sum(hit, axis=0) > 0, 5, 0)
    corner = 0
    while corner < corners:
        near = tl.where(corner < 4, NORMAL_STEP, 0.0)
        sign_x = tl.where(corner < 2, 0.57735027, -0.57735027)
        sign_y = tl.where(corner % 2 == 0, 0.57735027, -0.57735027)
        sign_z = tl.where((corner == 0) | (corner == 3), 0.57735027, -0.57735027)
        value, owner = _field(
            at_x + near * sign_x,
            at_y + near * sign_y,
            at_z + near * sign_z,
            shape,
            counts,
            kinds,
            parameters,
            to_local,
            translations,
            carves,
            blends,
            limited,
            num_slots,
            NUM_PARAMETERS,
        )
        weight = tl.where(corner < 4, 1.0, 0.0)
        slope_x = slope_x + weight * sign_x * value
        slope_y = slope_y + weight * sign_y * value
        slope_z = slope_z + weight * sign_z * value
        decider = owner
        corner = corner + 1
    steepness = tl.sqrt(slope_x * slope_x + slope_y * slope_y + slope_z * slope_z)
    scale = tl.where(hit > 0, 1.0, 0.0) / tl.maximum(steepness, 1e-12)
    tl.store(hits + index, hit, mask=mask)
    tl.store(lengths + index, high, mask=mask)
    tl.store(normals + index * 3, slope_x * scale, mask=mask)
    tl.store(normals + index * 3 + 1, slope_y * scale, mask=mask)
    tl.store(normals + index * 3 + 2, slope_z * scale, mask=mask)
    tl.store(owners + index, tl.where(hit > 0, decider, 0), mask=mask)


@triton.jit
def _slab(start, direction, half):
    """Lengths at which rays enter and leave the slab between -half and half."""
    safe = tl.where(tl.abs(direction) < 1e-9, 1e-9, direction)
    low = (-half - start) / safe
    high = (half - start) / safe
    return tl.minimum(low, high), tl.maximum(low, high)


@triton.jit
def _field(
    x,
    y,
    z,
    shape,
    counts,
    kinds,
    parameters,
    to_local,
    translations,
    carves,
    blends,
    limited,
    num_slots,
    NUM_PARAMETERS: tl.constexpr,
):
    """Field of one shape at a block of points, and the primitive that determines it."""
    result = x * 0.0 + FAR
    owner = (x * 0.0).to(tl.int32)
    chain = x * 0.0 - FAR
    deciding = owner
    count = tl.load(counts + shape)
    slot = 0
    while slot < count:
        row = shape * num_slots + slot
        distance = distance_of(
            x, y, z, row, kinds, parameters, to_local, translations, NUM_PARAMETERS
        )
        # A limited primitive waits: the largest distance of its chain takes part.
        held = tl.load(limited + row) > 0
        deciding = tl.where(distance > chain, slot, deciding)
        distance = tl.maximum(distance, chain)
        chain = tl.where(held, distance, -FAR)
        # Carving is adding to the negative of the field.
        sign = tl.where(tl.load(carves + row) > 0, -1.0, 1.0)
        blend = tl.load(blends + row)
        turned = result * sign
        owner = tl.where((distance < turned) & (held == 0), deciding, owner)
        overlap = tl.maximum(blend - tl.abs(distance - turned), 0.0)
        lower = tl.minimum(turned, distance)
        lower = lower - overlap * overlap / tl.maximum(4.0 * blend, 1e-9)
        result = tl.where(held, result, lower * sign)
        slot = slot + 1
    return result, owner
