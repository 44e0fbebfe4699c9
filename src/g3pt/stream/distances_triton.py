"""Distances of single primitives as Triton functions, one for each kind.

The twin of every function is in `procedural.torch_field`, and `primitives.check_device` compares
the two. Functions take coordinates x, y, z in the primitive's frame and a pointer p to its
parameters (see `procedural.primitives`). Everything is float32.
"""

import triton
import triton.language as tl

from g3pt.procedural.primitives import NUM_SPOKES, NUM_STATIONS

FAR = tl.constexpr(1e6)
"""Field of an empty shape."""
_PI = tl.constexpr(3.14159265)
_STATIONS = tl.constexpr(NUM_STATIONS)
_SPOKES = tl.constexpr(NUM_SPOKES)


@triton.jit
def distance_of(
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
    bevel = tl.load(p + 6 + _SPOKES)
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
    inner = tl.where(hole > 0.0, hole * radius_here - rho, -FAR)
    around = (ratio - tl.sqrt(1.0 - sine * sine)) / sine
    upright = (tl.abs(taper) + tl.abs(twist) * around) * largest / (2.0 * half)
    slope = tl.sqrt(1.0 + around * around + upright * upright)
    steeper = tl.sqrt(1.0 + around * around + (1.0 + upright) * (1.0 + upright))
    flat = tl.maximum(rho - radius_here, inner)
    over = tl.abs(y) - half
    return tl.maximum(_positive_length(flat / slope, over), (flat + over + bevel) / steeper)


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
