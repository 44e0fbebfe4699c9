"""Taking the light out of a picture's colours, so that a viewer's own light is not a second one.

The log of the light on a matt surface is taken for a quadratic function of its normal. Two vertices
of one paint differ by light alone, and vertices of equal chromaticity that lie close together are
mostly of one paint. So the function is fitted to differences of such pairs by a Cauchy loss, for
which pairs of two paints are outliers. What is left is the colour that the surface has where the
light is brightest.

Legend: P vertices, N trusted ones, K pairs.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from g3pt.geometry.formats.textures import display_to_linear, linear_to_display

LUMINANCE = (0.2126, 0.7152, 0.0722)
"""Share of linear red, green and blue in luminance (Rec. 709)."""

FLOOR = 0.01
"""Added to linear values, so that noise in black does not count."""

NUM_PAIRS = 30_000
LEAST_WEIGHT = 0.01
MIN_TRUSTED = 200
"""Vertices of at least that weight below which there is too little to fit to."""

PAIR_REACH = 0.6
"""Distance in unit-frame lengths at which the weight of a pair falls to 1/e."""

SAME_CHROMA = 0.04
"""Largest difference of the shares of red, green and blue within one paint."""

MAX_DARKNESS = 1.3
"""Log of the largest factor by which a colour is made brighter; that of our renderer's light is
1.5 between the brightest and the darkest side."""

BRIGHTEST = 0.98
"""Quantile of the light on trusted vertices that leaves colours as they are."""

TYPICAL_MISFIT = 0.1
"""Misfit of the log of the light from which on a pair counts less than half."""

NUM_ROUNDS = 8


@dataclass(frozen=True, eq=False)
class Light:
    """The light on a surface, as a function of its normal."""

    factors_8: Float64[ndarray, " 8"]
    """Of `_basis`, in logs."""
    brightest: float
    """Log of the light that leaves colours as they are."""

    def removed(
        self, colors_P3: Float64[ndarray, "P 3"], normals_P3: Float64[ndarray, "P 3"]
    ) -> Float64[ndarray, "P 3"]:
        """Divide the light out of display values in [0, 1] on surfaces with unit normals.

        Hues stay; colours in the shade are brighter, none is darker.
        """
        shade_P = _basis(normals_P3) @ self.factors_8 - self.brightest
        brighter_P1 = np.exp(-np.clip(shade_P, -MAX_DARKNESS, 0))[:, None]
        return linear_to_display(np.clip(display_to_linear(colors_P3) * brighter_P1, 0, 1))


EVEN_LIGHT = Light(np.zeros(8), 0.0)
"""Light that leaves all colours as they are."""


def fit_light(
    colors_P3: Float64[ndarray, "P 3"],
    weights_P: Float64[ndarray, " P"],
    places_P3: Float64[ndarray, "P 3"],
    normals_P3: Float64[ndarray, "P 3"],
) -> Light:
    """Estimate the light on a surface by its normals.

    Args:
        colors_P3: sRGB display values in [0, 1].
        weights_P: how far each colour can be trusted, 0 to 1; 0 for vertices that are not seen.
        places_P3: positions in the unit frame.
        normals_P3: unit normals.

    Returns:
        The light; `EVEN_LIGHT` if too little is seen to tell.
    """
    trusted_N = np.flatnonzero(weights_P > LEAST_WEIGHT)
    if len(trusted_N) < MIN_TRUSTED:
        return EVEN_LIGHT
    light_N3 = display_to_linear(colors_P3[trusted_N])
    bright_N = np.log(light_N3 @ np.array(LUMINANCE) + FLOOR)
    first_K, second_K, share_K = _pairs(light_N3, places_P3[trusted_N], weights_P[trusted_N])
    basis_N8 = _basis(normals_P3[trusted_N])
    factors_8 = _fit_robustly(
        basis_N8[first_K] - basis_N8[second_K], bright_N[first_K] - bright_N[second_K], share_K
    )
    return Light(factors_8, float(np.quantile(basis_N8 @ factors_8, BRIGHTEST)))


def _basis(normals_P3: Float64[ndarray, "P 3"]) -> Float64[ndarray, "P 8"]:
    """Linear and quadratic functions of a normal; the constant cancels in differences."""
    x, y, z = normals_P3.T
    return np.stack([x, y, z, x * y, x * z, y * z, x * x, y * y], axis=1)


def _pairs(
    light_N3: Float64[ndarray, "N 3"],
    places_N3: Float64[ndarray, "N 3"],
    weights_N: Float64[ndarray, " N"],
) -> tuple[Int64[ndarray, " K"], Int64[ndarray, " K"], Float64[ndarray, " K"]]:
    """Pairs of equal chromaticity, and how much each counts: near and trusted ones most."""
    rng = np.random.default_rng(0)  # which pairs are drawn hardly matters, but must not vary
    first, second = rng.integers(len(light_N3), size=(2, NUM_PAIRS))
    chroma_N3 = light_N3 + FLOOR
    chroma_N3 = chroma_N3 / chroma_N3.sum(axis=1, keepdims=True)
    alike = np.abs(chroma_N3[first] - chroma_N3[second]).max(axis=1) < SAME_CHROMA
    first, second = first[alike], second[alike]
    apart_K = np.linalg.norm(places_N3[first] - places_N3[second], axis=1)
    trust_K = np.sqrt(weights_N[first] * weights_N[second])
    return first, second, trust_K * np.exp(-((apart_K / PAIR_REACH) ** 2))


def _fit_robustly(
    rows_K8: Float64[ndarray, "K 8"],
    values_K: Float64[ndarray, " K"],
    share_K: Float64[ndarray, " K"],
) -> Float64[ndarray, " 8"]:
    """Least Cauchy loss by reweighted least squares from 0, drawn to 0 where nothing is known."""
    ridge = 3e-5 * max(float(share_K.sum()), 1e-9) * np.eye(rows_K8.shape[1])
    factors_8 = np.zeros(rows_K8.shape[1])
    for _ in range(NUM_ROUNDS):
        misfit_K = values_K - rows_K8 @ factors_8
        weighted = rows_K8 * (share_K / (1 + (misfit_K / TYPICAL_MISFIT) ** 2))[:, None]
        factors_8 = np.linalg.solve(weighted.T @ rows_K8 + ridge, weighted.T @ values_K)
    return factors_8
