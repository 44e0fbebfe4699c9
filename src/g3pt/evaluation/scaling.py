"""Power laws of the loss over model size (Fig. 6): L(N) = offset + (scale / N) ** exponent.

M sizes, R seeds, N objects, K laws over the same sizes, E exponents tried for each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from g3pt.evaluation.bootstrap import percentile_interval

NUM_RESAMPLES = 2000
MIN_SIZES = 4
"""Fewest sizes to fit: an offset makes three parameters."""

EXPONENTS = (1e-3, 4.0)
"""Between these the exponent of a law with an offset is looked for."""

_NUM_EXPONENTS, _NUM_ROUNDS = 41, 5


@dataclass(frozen=True, kw_only=True)
class PowerLaw:
    """A fitted law; least squares in the logarithm of the loss, with an offset in relative loss."""

    offset: float
    """Loss that no size takes away, in nats; 0 where it was not fitted."""
    exponent: float
    height: float
    """Loss above the offset, in nats, at the size whose logarithm is `centre`."""
    centre: float
    """Mean logarithm of the sizes fitted."""
    r_squared: float
    """Share of the variance of log L over sizes that the law explains."""

    def __call__(self, sizes_M: Float64[np.ndarray, " M"]) -> Float64[np.ndarray, " M"]:
        """Loss in nats at these numbers of parameters."""
        return self.offset + self.height * np.exp(-self.exponent * (np.log(sizes_M) - self.centre))

    @property
    def log_scale(self) -> float:
        """Logarithm of N_c; infinite where the law has no slope or no height."""
        if not self.height or not self.exponent:
            return float("inf")
        return self.centre + float(np.log(self.height)) / self.exponent


@dataclass(frozen=True, kw_only=True)
class ScalingFit:
    """A law, and how sure its exponent is."""

    law: PowerLaw
    with_offset: bool
    low: float
    high: float
    """Of the exponent: 95 % over seeds and objects drawn again."""


def fit_power_law(
    sizes_M: Float64[np.ndarray, " M"],
    losses_M: Float64[np.ndarray, " M"],
    *,
    with_offset: bool = False,
) -> PowerLaw:
    """Fit a power law to one loss per size.

    Args:
        sizes_M: numbers of parameters.
        losses_M: losses in nats, positive.
        with_offset: also fit the loss of an infinite model, which is not below 0.

    Raises:
        ValueError: if there are fewer than `MIN_SIZES` different sizes, or a loss is not positive.
    """
    num = len(np.unique(sizes_M))
    if num < MIN_SIZES or len(losses_M) != len(sizes_M):
        raise ValueError(
            f"a power law needs a loss each of at least {MIN_SIZES} different sizes, got "
            f"{len(losses_M)} losses of {num}"
        )
    if not (losses_M > 0).all():
        raise ValueError(f"losses must be positive, got {losses_M.min()}")
    centre, x_M = _centred(sizes_M)
    found = _fit(x_M, losses_M[None], with_offset=with_offset)
    offset, height, exponent = (float(part[0]) for part in found)
    y_M = np.log(losses_M)
    residuals_M = y_M - np.log(offset + height * np.exp(-exponent * x_M))
    total = float(((y_M - y_M.mean()) ** 2).sum())
    return PowerLaw(
        offset=offset,
        exponent=exponent,
        height=height,
        centre=centre,
        r_squared=1.0 - float(residuals_M @ residuals_M) / total if total else 0.0,
    )


def _centred(sizes_M: Float64[np.ndarray, " M"]) -> tuple[float, Float64[np.ndarray, " M"]]:
    centre = float(np.log(sizes_M).mean())
    return centre, np.log(sizes_M) - centre


class _Laws(NamedTuple):
    """Parameters of K laws."""

    offset_K: Float64[np.ndarray, " K"]
    height_K: Float64[np.ndarray, " K"]
    """Loss above the offset at x = 0."""
    exponent_K: Float64[np.ndarray, " K"]


def _fit(
    x_M: Float64[np.ndarray, " M"], losses_KM: Float64[np.ndarray, "K M"], *, with_offset: bool
) -> _Laws:
    """Fit K laws over the same sizes."""
    if with_offset:
        return _fit_offset(x_M, losses_KM)
    logs_KM = np.log(losses_KM)
    exponent_K = -(logs_KM @ x_M) / (x_M @ x_M)
    return _Laws(np.zeros(len(losses_KM)), np.exp(logs_KM.mean(axis=1)), exponent_K)


def _fit_offset(x_M: Float64[np.ndarray, " M"], losses_KM: Float64[np.ndarray, "K M"]) -> _Laws:
    """For a given exponent a law is linear in the other two: a search in one dimension is left.

    Errors are relative: to first order those of the logarithm. Each round looks closer around
    the best exponent of the one before.
    """
    rows_K = np.arange(len(losses_KM))
    low, high = np.log(EXPONENTS)
    middle_K, half = np.full(len(losses_KM), (low + high) / 2), (high - low) / 2
    for _ in range(_NUM_ROUNDS):
        exponents_KE = np.exp(middle_K[:, None] + np.linspace(-half, half, _NUM_EXPONENTS))
        error_KE, offset_KE, height_KE = _linear_fits(x_M, losses_KM, exponents_KE)
        best_K = error_KE.argmin(axis=1)
        middle_K = np.log(exponents_KE[rows_K, best_K]).clip(low, high)
        half = 2 * half / (_NUM_EXPONENTS - 1)
    chosen = (offset_KE[rows_K, best_K], height_KE[rows_K, best_K], exponents_KE[rows_K, best_K])
    return _Laws(*chosen)


def _linear_fits(
    x_M: Float64[np.ndarray, " M"],
    losses_KM: Float64[np.ndarray, "K M"],
    exponents_KE: Float64[np.ndarray, "K E"],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Squared relative error, offset >= 0 and height >= 0 of the best law of each exponent."""
    one_KEM = np.broadcast_to(1.0 / losses_KM[:, None], (*exponents_KE.shape, len(x_M)))
    falling_KEM = np.exp(-exponents_KE[..., None] * x_M) * one_KEM
    a, b, c = (one_KEM**2).sum(-1), (one_KEM * falling_KEM).sum(-1), (falling_KEM**2).sum(-1)
    p, q = one_KEM.sum(-1), falling_KEM.sum(-1)
    determinant = np.maximum(a * c - b * b, np.finfo(np.float64).tiny)
    offset, height = (c * p - b * q) / determinant, (a * q - b * p) / determinant
    alone = offset < 0
    offset, height = np.where(alone, 0.0, offset), np.where(alone, q / c, height)
    flat = height < 0
    offset, height = np.where(flat, p / a, offset), np.where(flat, 0.0, height)
    predicted_KEM = offset[..., None] * one_KEM + height[..., None] * falling_KEM
    return ((predicted_KEM - 1.0) ** 2).sum(-1), offset, height


def fit_scaling(
    sizes_M: Float64[np.ndarray, " M"],
    values: Sequence[Float64[np.ndarray, "_ N"]],
    *,
    with_offset: bool = False,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> ScalingFit:
    """Fit a law to mean losses; its interval draws seeds and objects again.

    Objects are drawn for all sizes together, seeds for each size apart.

    Args:
        sizes_M: numbers of parameters.
        values: losses (seeds, objects) of every size; the same objects in the same order.
        with_offset: as in `fit_power_law`.
        num_resamples: how often they are drawn.
        seed: of the draws.

    Raises:
        ValueError: as `fit_power_law`, or if the objects are not as many everywhere.
    """
    counts = {losses_RN.shape[1] for losses_RN in values}
    if len(counts) != 1:
        raise ValueError(f"every size needs the same objects, got {sorted(counts)} of them")
    means_M = np.array([losses_RN.mean() for losses_RN in values])
    law = fit_power_law(sizes_M, means_M, with_offset=with_offset)
    rng, num = np.random.default_rng([seed, *counts]), counts.pop()
    losses_KM = np.empty((num_resamples, len(values)))
    for losses_M in losses_KM:
        objects = rng.integers(num, size=num)
        for place, losses_RN in enumerate(values):
            seeds = rng.integers(len(losses_RN), size=len(losses_RN))
            losses_M[place] = losses_RN[seeds][:, objects].mean()
    drawn = _fit(_centred(sizes_M)[1], losses_KM, with_offset=with_offset)
    interval = percentile_interval(drawn.exponent_K, law.exponent, num)
    return ScalingFit(law=law, with_offset=with_offset, low=interval.low, high=interval.high)
