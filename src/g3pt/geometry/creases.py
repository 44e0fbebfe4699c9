"""Normals for shading: smooth over faces that nearly agree, sharp at creases.

Legend: C face corners, three per face.
"""

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from g3pt.geometry.triangles import TriangleMesh, area_vectors

CREASE_DEGREES = 35.0
"""Faces that meet at a smaller angle are shaded as one smooth surface."""


def crease_normals(mesh: TriangleMesh) -> Float64[ndarray, "C 3"]:
    """Normal at every face corner: the mean over the faces there that nearly agree with this one.

    Corners at one place count together, whether or not they share a vertex. Faces weigh by area.
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
    """A number for the position of every face corner, equal where positions are equal."""
    low, high = mesh.bounds()
    scale = (1 << 20) / max(float((high - low).max()), 1e-300)
    nodes = np.rint((mesh.triangles.reshape(-1, 3) - low) * scale).astype(np.int64)
    return nodes @ np.array([1 << 42, 1 << 21, 1], dtype=np.int64)
