"""Triton kernels for the field of shapes made of primitives, and for sphere tracing.

One program handles a block of points or rays of one shape and loops over its primitives in order.
Each kind of primitive is one function here; its twin is in `procedural.torch_field`, and
`primitives.check_device` compares the two. Everything is float32.

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

from g3pt.procedural.primitives import NUM_PARAMETERS, NUM_SPOKES, NUM_STATIONS
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
_FAR = tl.constexpr(1e6)
"""Field of an empty shape."""
_PI = tl.constexpr(3.14159265)
_STATIONS = tl.constexpr(NUM_STATIONS)
_SPOKES = tl.constexpr(NUM_SPOKES)
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
    integers = {"owners", "hits", "counts", "kinds", "carves"}
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
    num_slots,
    NUM_PARAMETERS: tl.constexpr,
):
    """Field of one shape at a block of points, and the primitive that determines it."""
    result = x * 0.0 + _FAR
    owner = (x * 0.0).to(tl.int32)
    count = tl.load(counts + shape)
    slot = 0
    while slot < count:
        row = shape * num_slots + slot
        distance = _distance(
            x, y, z, row, kinds, parameters, to_local, translations, NUM_PARAMETERS
        )
        # Carving is adding to the negative of the field.
        sign = tl.where(tl.load(carves + row) > 0, -1.0, 1.0)
        blend = tl.load(blends + row)
        result = result * sign
        owner = tl.where(distance < result, slot, owner)
        overlap = tl.maximum(blend - tl.abs(distance - result), 0.0)
        lower = tl.minimum(result, distance)
        lower = lower - overlap * overlap / tl.maximum(4.0 * blend, 1e-9)
        result = lower * sign
        slot = slot + 1
    return result, owner


@triton.jit
def _distance(
    x, y, z, row, kinds, parameters, to_local, translations, NUM_PARAMETERS: tl.constexpr
):
    """Distance of one primitive at a block of points of the shape's frame."""
    x = x - tl.load(translations + row * 3)
    y = y - tl.load(translations + row * 3 + 1)
    z = z - tl.load(translations + row * 3 + 2)
    turn = to_local + row * 9
    u = tl.load(turn) * x + tl.load(turn + 1) * y + tl.load(turn + 2) * z
    v = tl.load(turn + 3) * x + tl.load(turn + 4) * y + tl.load(turn + 5) * z
    w = tl.load(turn + 6) * x + tl.load(turn + 7) * y + tl.load(turn + 8) * z
    p = parameters + row * NUM_PARAMETERS
    kind = tl.load(kinds + row)
    distance = u * 0.0
    # The numbers are those of `procedural.primitives.Kind`.
    if kind == 0:
        distance = _box(u, v, w, p)
    elif kind == 1:
        distance = _cylinder(u, v, w, p)
    elif kind == 2:
        distance = _cone(u, v, w, p)
    elif kind == 3:
        distance = _ellipsoid(u, v, w, p)
    elif kind == 4:
        distance = _torus(u, v, w, p)
    elif kind == 5:
        distance = _frustum(u, v, w, p)
    elif kind == 6:
        distance = _prism(u, v, w, p)
    elif kind == 7:
        distance = _dome(u, v, w, p)
    elif kind == 8:
        distance = _superquadric(u, v, w, p)
    elif kind == 9:
        distance = _lathe(u, v, w, p)
    elif kind == 10:
        distance = _plate(u, v, w, p)
    elif kind == 11:
        distance = _arc(u, v, w, p)
    elif kind == 12:
        distance = _terrain(u, v, w, p)
    return distance


@triton.jit
def _length(x, y):
    return tl.sqrt(x * x + y * y)


@triton.jit
def _positive_length(x, y):
    """Length of the positive part of a vector, or its larger component if both are negative."""
    return _length(tl.maximum(x, 0.0), tl.maximum(y, 0.0)) + tl.minimum(tl.maximum(x, y), 0.0)


@triton.jit
def _positive_length_3(x, y, z):
    far = _length(_length(tl.maximum(x, 0.0), tl.maximum(y, 0.0)), tl.maximum(z, 0.0))
    return far + tl.minimum(tl.maximum(tl.maximum(x, y), z), 0.0)


@triton.jit
def _box(x, y, z, p):
    x = tl.abs(x) - tl.load(p)
    y = tl.abs(y) - tl.load(p + 1)
    z = tl.abs(z) - tl.load(p + 2)
    return _positive_length_3(x, y, z) - tl.load(p + 3)


@triton.jit
def _cylinder(x, y, z, p):
    return _positive_length(_length(x, z) - tl.load(p), tl.abs(y) - tl.load(p + 2)) - tl.load(p + 3)


@triton.jit
def _cone(x, y, z, p):
    bottom = tl.load(p)
    top = tl.load(p + 1)
    half = tl.load(p + 2)
    rho = _length(x, z)
    cap_x = rho - tl.minimum(rho, tl.where(y < 0.0, bottom, top))
    cap_y = tl.abs(y) - half
    slope_x = top - bottom
    slope_y = 2.0 * half
    along = (top - rho) * slope_x + (half - y) * slope_y
    along = along / (slope_x * slope_x + slope_y * slope_y)
    along = tl.minimum(tl.maximum(along, 0.0), 1.0)
    side_x = rho - top + slope_x * along
    side_y = y - half + slope_y * along
    squared = tl.minimum(cap_x * cap_x + cap_y * cap_y, side_x * side_x + side_y * side_y)
    sign = tl.where((side_x < 0.0) & (cap_y < 0.0), -1.0, 1.0)
    return sign * tl.sqrt(squared) - tl.load(p + 3)


@triton.jit
def _ellipsoid(x, y, z, p):
    a = tl.load(p)
    b = tl.load(p + 1)
    c = tl.load(p + 2)
    x = x / a
    y = y / b
    z = z / c
    radial = tl.sqrt(x * x + y * y + z * z)
    x = x / a
    y = y / b
    z = z / c
    gradient = tl.sqrt(x * x + y * y + z * z)
    smallest = tl.minimum(tl.minimum(a, b), c)
    return (radial - 1.0) * tl.maximum(radial / tl.maximum(gradient, 1e-9), smallest)


@triton.jit
def _torus(x, y, z, p):
    return _length(_length(x, z) - tl.load(p), y) - tl.load(p + 1)


@triton.jit
def _frustum(x, y, z, p):
    half = tl.load(p + 4)
    height = y + half
    x_side = _tilted_sides(x, height, tl.load(p), tl.load(p + 2), half, tl.load(p + 5))
    z_side = _tilted_sides(z, height, tl.load(p + 1), tl.load(p + 3), half, tl.load(p + 6))
    return tl.maximum(tl.maximum(x_side, z_side), tl.abs(y) - half)


@triton.jit
def _tilted_sides(value, height, bottom, top, half, shift):
    right = (shift + top - bottom) / (2.0 * half)
    left = (top - bottom - shift) / (2.0 * half)
    beyond_right = (value - bottom - right * height) / tl.sqrt(1.0 + right * right)
    beyond_left = (-value - bottom - left * height) / tl.sqrt(1.0 + left * left)
    return tl.maximum(beyond_right, beyond_left)


@triton.jit
def _prism(x, y, z, p):
    radius = tl.load(p)
    sector = _PI / tl.load(p + 2)
    # A small error of the angle matters only between two sides, where both agree.
    middle = (2.0 * tl.floor(_angle(z, x) / (2.0 * sector)) + 1.0) * sector
    cosine = tl.cos(middle)
    sine = tl.sin(middle)
    edge = x * cosine + z * sine - radius * tl.cos(sector)
    beyond = tl.maximum(tl.abs(z * cosine - x * sine) - radius * tl.sin(sector), 0.0)
    flat = tl.where(edge > 0.0, _length(edge, beyond), edge)
    return _positive_length(flat, tl.abs(y) - tl.load(p + 1))


@triton.jit
def _angle(y, x):
    """Angle of the vector (x, y), in (-pi, pi], to about 1e-5."""
    long = tl.maximum(tl.abs(x), tl.abs(y))
    short = tl.minimum(tl.abs(x), tl.abs(y))
    t = short / tl.maximum(long, 1e-20)
    s = t * t
    # Abramowitz and Stegun, 4.4.49.
    angle = -0.0117212 * s + 0.05265332
    angle = angle * s - 0.11643287
    angle = angle * s + 0.19354346
    angle = angle * s - 0.33262347
    angle = (angle * s + 0.99997726) * t
    angle = tl.where(tl.abs(y) > tl.abs(x), 0.5 * _PI - angle, angle)
    angle = tl.where(x < 0.0, _PI - angle, angle)
    return tl.where(y < 0.0, -angle, angle)


@triton.jit
def _dome(x, y, z, p):
    return tl.maximum(_ellipsoid(x, y, z, p), tl.load(p + 3) - y)


@triton.jit
def _power(base, exponent):
    """Power of a positive base."""
    return tl.exp(exponent * tl.log(base))


@triton.jit
def _power_norm(a, b, exponent):
    largest = tl.maximum(a, b)
    total = _power(a / largest, exponent) + _power(b / largest, exponent)
    return largest * _power(total, 1.0 / exponent)


@triton.jit
def _squared(x):
    return x * x


@triton.jit
def _superquadric(x, y, z, p):
    radius_x = tl.load(p)
    radius_y = tl.load(p + 1)
    radius_z = tl.load(p + 2)
    upright = tl.load(p + 3)
    across = tl.load(p + 4)
    a = tl.maximum(tl.abs(x) / radius_x, 1e-7)
    b = tl.maximum(tl.abs(y) / radius_y, 1e-7)
    c = tl.maximum(tl.abs(z) / radius_z, 1e-7)
    ring = _power_norm(a, c, across)
    gauge = _power_norm(ring, b, upright)
    flat = _squared(_power(a / ring, across - 1.0) / radius_x)
    flat = flat + _squared(_power(c / ring, across - 1.0) / radius_z)
    slope = _squared(_power(b / gauge, upright - 1.0) / radius_y)
    slope = slope + _power(ring / gauge, 2.0 * upright - 2.0) * flat
    box = tl.maximum(tl.abs(x) - radius_x, tl.abs(y) - radius_y)
    box = tl.maximum(box, tl.abs(z) - radius_z)
    return tl.maximum((gauge - 1.0) / tl.sqrt(slope), box)


@triton.jit
def _tent(away):
    return tl.maximum(1.0 - away, 0.0)


@triton.jit
def _spline(away):
    wide = tl.maximum(2.0 - away, 0.0)
    narrow = _tent(away)
    return (wide * wide * wide - 4.0 * narrow * narrow * narrow) / 6.0


@triton.jit
def _lathe(x, y, z, p):
    half = tl.load(p)
    smoothness = tl.load(p + 1 + _STATIONS)
    place = tl.minimum(tl.maximum(y / half + 1.0, 0.0), 2.0) * (0.5 * (_STATIONS - 1))
    total = y * 0.0
    weights = y * 0.0
    steepest = half * 0.0
    before = tl.load(p + 1)
    for station in tl.static_range(_STATIONS):
        radius = tl.load(p + 1 + station)
        steepest = tl.maximum(steepest, tl.abs(radius - before))
        before = radius
        away = tl.abs(place - station)
        weight = _tent(away) * (1.0 - smoothness) + _spline(away) * smoothness
        total = total + weight * radius
        weights = weights + weight
    slope = steepest * (_STATIONS - 1) / (2.0 * half)
    side = (_length(x, z) - total / weights) / tl.sqrt(1.0 + slope * slope)
    return _positive_length(side, tl.abs(y) - half)


@triton.jit
def _small_sine(x):
    """Sine up to 0.63, a sector of a plate, to 1e-7."""
    s = x * x
    return x * (1.0 - s / 6.0 * (1.0 - s / 20.0 * (1.0 - s / 42.0)))


@triton.jit
def _plate(x, y, z, p):
    half = tl.load(p)
    hole = tl.load(p + 1 + _SPOKES)
    taper = tl.load(p + 2 + _SPOKES)
    twist = tl.load(p + 3 + _SPOKES)
    smoothness = tl.load(p + 4 + _SPOKES)
    repeats = tl.load(p + 5 + _SPOKES)
    height = tl.minimum(tl.maximum(y / half, -1.0), 1.0)
    sector = 2.0 * _PI / (_SPOKES * repeats)
    place = (_angle(z, x) - 0.5 * twist * height) / sector
    place = place - _SPOKES * tl.floor(place / _SPOKES)
    curve = y * 0.0
    inverse = y * 0.0
    largest = half * 0.0
    ratio = half * 0.0
    before = tl.load(p + _SPOKES)
    for spoke in tl.static_range(_SPOKES):
        radius = tl.load(p + 1 + spoke)
        largest = tl.maximum(largest, radius)
        ratio = tl.maximum(ratio, tl.maximum(radius / before, before / radius))
        before = radius
        away = tl.abs(place - spoke)
        away = tl.minimum(away, _SPOKES - away)
        curve = curve + _spline(away) * radius
        inverse = inverse + _small_sine(_tent(away) * sector) / radius
    sine = _small_sine(sector)
    straight = sine / inverse
    outline = straight + smoothness * (curve - straight)
    radius_here = (1.0 - 0.5 * taper * (height + 1.0)) * outline
    rho = _length(x, z)
    inner = tl.where(hole > 0.0, hole * radius_here - rho, -_FAR)
    around = (ratio - tl.sqrt(1.0 - sine * sine)) / sine
    upright = (tl.abs(taper) + tl.abs(twist) * around) * largest / (2.0 * half)
    slope = tl.sqrt(1.0 + around * around + upright * upright)
    return _positive_length(tl.maximum(rho - radius_here, inner) / slope, tl.abs(y) - half)


@triton.jit
def _arc(x, y, z, p):
    ring = tl.load(p)
    across = tl.load(p + 1)
    along = tl.load(p + 2)
    half = tl.load(p + 3)
    taper = tl.load(p + 4)
    rounding = tl.load(p + 5)
    angle = tl.abs(_angle(z, x))
    rho = _length(x, z)
    scale = 1.0 - taper * tl.minimum(angle / half, 1.0)
    beyond = tl.maximum(angle - half, 0.0)
    out = tl.abs(rho * tl.cos(beyond) - ring) - across * scale
    end = rho * tl.sin(tl.maximum(angle - half, -0.5 * _PI))
    result = _positive_length_3(out, tl.abs(y) - along * scale, end) - rounding * scale
    inner = tl.maximum(ring - across - rounding, 0.25 * ring)
    slope = taper * (tl.maximum(across, along) + rounding) / (half * inner)
    return result / tl.sqrt(1.0 + slope * slope)


@triton.jit
def _terrain(x, y, z, p):
    half_x = tl.load(p)
    half_z = tl.load(p + 1)
    along_x = tl.minimum(tl.maximum(x / half_x, -1.0), 1.0)
    along_z = tl.minimum(tl.maximum(z / half_z, -1.0), 1.0)
    height = y * 0.0
    steepest = half_x * 0.0
    for wave in tl.static_range(3):
        amplitude = tl.load(p + 3 + 4 * wave)
        turns_x = tl.load(p + 4 + 4 * wave)
        turns_z = tl.load(p + 5 + 4 * wave)
        turns = turns_x * along_x + turns_z * along_z
        height = height + amplitude * tl.sin(_PI * turns + tl.load(p + 6 + 4 * wave))
        steepness = _length(turns_x / half_x, turns_z / half_z)
        steepest = steepest + tl.abs(amplitude) * steepness
    top = (y - height) / tl.sqrt(1.0 + _squared(_PI * steepest))
    sole = tl.maximum(top, -y - tl.load(p + 2))
    return _positive_length_3(tl.abs(x) - half_x, tl.abs(z) - half_z, sole)
