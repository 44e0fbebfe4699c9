"""Shading of all pictures: light, colour conversion, and smooth normals of meshes.

Lights move with the camera: a key light from its upper left, a weak fill light from its right, and
ambient light. Directions point from the object to the light, in the camera's frame (right, up,
backward). Normals are smooth over faces that nearly agree and sharp at creases.

Legend: R rays, N hits, H W picture, S side of a square picture, C face corners (three per face).
"""

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8
from numpy import ndarray

from g3pt.geometry.triangles import TriangleMesh, area_vectors

KEY_DIRECTION = (-0.35, 0.75, 0.56)
KEY_STRENGTH = 0.8
FILL_DIRECTION = (0.9, 0.0, 0.45)
FILL_STRENGTH = 0.16
AMBIENT = 0.24
DARKEST = 0.02
"""Reflectance of black, so that black surfaces still show shading."""


CREASE_DEGREES = 35.0
"""Faces that meet at a smaller angle are shaded as one smooth surface."""


def crease_normals(mesh: TriangleMesh) -> Float64[ndarray, "C 3"]:
    """Normal at every face corner: the area-weighted mean over nearby orientations.

    It averages the faces at that position whose normals differ by less than `CREASE_DEGREES`.
    Corners at one position count together, whether or not they share a vertex.
    """
    areas_C3 = np.repeat(area_vectors(mesh), 3, axis=0)
    units_C3 = areas_C3 / np.maximum(np.linalg.norm(areas_C3, axis=1, keepdims=True), 1e-300)
    place_C = _places(mesh)
    order_C = np.argsort(place_C, kind="stable")
    sorted_C = place_C[order_C]
    sums_C3 = areas_C3.copy()
    start = np.arange(len(order_C))  # corners that may still have a partner `shift` further on
    shift = 0
    while len(start):
        shift += 1
        start = start[start + shift < len(order_C)]
        start = start[sorted_C[start] == sorted_C[start + shift]]
        first, second = order_C[start], order_C[start + shift]
        agreement = np.einsum("ij,ij->i", units_C3[first], units_C3[second])
        agree = agreement > np.cos(np.deg2rad(CREASE_DEGREES))
        first, second = first[agree], second[agree]
        sums_C3[first] += areas_C3[second]  # no corner occurs twice in `first` or in `second`
        sums_C3[second] += areas_C3[first]
    return sums_C3 / np.maximum(np.linalg.norm(sums_C3, axis=1, keepdims=True), 1e-300)


def _places(mesh: TriangleMesh) -> Int64[ndarray, " C"]:
    """A number for every face corner, equal for equal positions."""
    low, high = mesh.bounds()
    scale = (1 << 20) / max(float((high - low).max()), 1e-300)
    nodes = np.rint((mesh.triangles.reshape(-1, 3) - low) * scale).astype(np.int64)
    return nodes @ np.array([1 << 42, 1 << 21, 1], dtype=np.int64)


def develop(
    light_R4: Float32[ndarray, "R 4"], size: int, supersample: int
) -> UInt8[ndarray, "S S 4"]:
    """Turn the linear light of the rays of `ray_grid(size * supersample)` into an sRGB picture."""
    fine = light_R4.reshape(size, supersample, size, supersample, 4)
    return display(fine.mean(axis=(1, 3)))


def shade(
    num_rays: int,
    hits: Int64[ndarray, " N"],
    normals_N3: Float32[ndarray, "N 3"],
    albedo_N3: Float32[ndarray, "N 3"] | Float32[ndarray, " 3"],
    lit: Float32[ndarray, " N"] | float = 1.0,
) -> Float32[ndarray, "R 4"]:
    """Linear light arriving along rays, from the normals and colours of the points that they hit.

    Args:
        num_rays: how many there are.
        hits: indices of the rays that hit.
        normals_N3: unit normals there, in the camera's frame.
        albedo_N3: linear reflectance there (see `linear`), or one for all.
        lit: share of the key light that reaches the points.

    Returns:
        Linear colour and coverage of every ray.
    """
    light_R4 = np.zeros((num_rays, 4), dtype=np.float32)
    albedo_N3 = DARKEST + (1 - DARKEST) * albedo_N3
    light_R4[hits, :3] = albedo_N3 * _studio_light(normals_N3, lit)[:, None]
    light_R4[hits, 3] = 1.0
    return light_R4


def _studio_light(
    normals_N3: Float32[ndarray, "N 3"], lit: Float32[ndarray, " N"] | float
) -> Float32[ndarray, " N"]:
    """Light on surfaces with normals in the camera's frame."""
    key, fill = unit(np.array(KEY_DIRECTION)), unit(np.array(FILL_DIRECTION))
    light_N = np.maximum(normals_N3 @ key, 0) * (KEY_STRENGTH * lit)
    light_N += np.maximum(normals_N3 @ fill, 0) * FILL_STRENGTH
    return (light_N + np.float32(AMBIENT)).astype(np.float32)


def unit(vector: Float64[ndarray, " 3"]) -> Float32[ndarray, " 3"]:
    """Scale a vector to length 1, as float32."""
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def linear(colors: UInt8[ndarray, "*N 3"]) -> Float32[ndarray, "*N 3"]:
    """Turn sRGB bytes into linear reflectance in [0, 1] (IEC 61966-2-1)."""
    values = np.arange(256) / 255.0
    table = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return table.astype(np.float32)[colors]


def display(light_HW4: Float32[ndarray, "H W 4"]) -> UInt8[ndarray, "H W 4"]:
    """Turn linear light and coverage of pixels into sRGB with straight alpha."""
    alpha = light_HW4[..., 3:]
    linear = np.clip(light_HW4[..., :3] / np.maximum(alpha, 1e-6), 0.0, 1.0)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(np.concatenate([srgb, alpha], axis=-1) * 255).astype(np.uint8)
