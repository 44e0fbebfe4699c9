"""Means with 95 % intervals, over objects alone or over objects and seeds.

N and M objects, R and S seeds, K resamplings.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64

Outcome = Literal["reproduced", "not reproduced", "within the interval"]

NUM_RESAMPLES = 4000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % interval over draws of objects."""

    mean: float
    low: float
    high: float
    num: int
    """Objects behind it."""

    def to_json(self) -> dict[str, float | int]:
        """As JSON values."""
        return asdict(self)


def bootstrap(
    columns: Mapping[str, Float64[np.ndarray, " N"]],
    *,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
) -> dict[str, Interval]:
    """Percentile bootstrap of the mean of each column over objects.

    Columns of equal length are resampled with the same objects, so that their intervals can be
    compared. Undefined values (NaN) are left out of their column.
    """
    intervals: dict[str, Interval] = {}
    for name, values in columns.items():
        known = values[~np.isnan(values)]
        if not len(known):
            continue
        if np.ptp(known) == 0:
            mean = float(known[0])
            intervals[name] = Interval(mean, mean, mean, len(known))
            continue
        means = _resampled_means(known, seed, num_resamples)
        intervals[name] = percentile_interval(means, known.mean(), len(known))
    return intervals


def percentile_interval(means: Float64[np.ndarray, " K"], mean: float, num: int) -> Interval:
    """The middle 95 % of resampled means, around the mean of `num` objects."""
    edge = 50.0 * (1.0 - LEVEL)
    low, high = np.percentile(means, [edge, 100.0 - edge])
    return Interval(float(mean), float(low), float(high), num)


def _resampled_means(
    values: Float64[np.ndarray, " N"], seed: int, num_resamples: int
) -> Float64[np.ndarray, " K"]:
    rng = np.random.default_rng([seed, len(values)])
    return values[rng.integers(len(values), size=(num_resamples, len(values)))].mean(axis=1)


# --- several seeds ---------------------------------------------------------------------------


def seeded_mean(values_RN: Float64[np.ndarray, "R N"], *, seed: int = 0) -> Interval:
    """Mean over seeds and objects; the interval draws both again."""
    means = _resampled(values_RN, _object_draws(values_RN, seed), seed)
    return percentile_interval(means, values_RN.mean(), values_RN.shape[1])


def seeded_difference(
    ours_RN: Float64[np.ndarray, "R N"], other_SN: Float64[np.ndarray, "S M"], *, seed: int = 0
) -> Interval:
    """Mean of ours - other; the interval draws objects again for both together, seeds apart.

    An interval over objects alone would take the luck of one initialisation for a property of
    the system. With two or three seeds the interval is a rough estimate, rather too narrow.

    Raises:
        ValueError: if the objects are not as many.
    """
    if ours_RN.shape[1] != other_SN.shape[1]:
        raise ValueError(
            f"a comparison needs the same objects, got {ours_RN.shape[1]} and {other_SN.shape[1]}"
        )
    draws = _object_draws(ours_RN, seed)
    differences = _resampled(ours_RN, draws, seed + 1) - _resampled(other_SN, draws, seed + 2)
    return percentile_interval(differences, ours_RN.mean() - other_SN.mean(), ours_RN.shape[1])


def outcome(difference: Interval, *, higher_is_better: bool = True) -> Outcome:
    """What the interval of a difference says about the claim that it is positive."""
    low, high = difference.low, difference.high
    if not higher_is_better:
        low, high = -high, -low
    if low > 0:
        return "reproduced"
    return "not reproduced" if high < 0 else "within the interval"


def _object_draws(values_RN: Float64[np.ndarray, "R N"], seed: int) -> np.ndarray:
    num = values_RN.shape[1]
    return np.random.default_rng([seed, num]).integers(num, size=(NUM_RESAMPLES, num))


def _resampled(
    values_RN: Float64[np.ndarray, "R N"], draws: np.ndarray, seed: int
) -> Float64[np.ndarray, " K"]:
    """Means over redrawn seeds and objects."""
    num_seeds = len(values_RN)
    chosen = np.random.default_rng([seed, num_seeds, 1]).integers(
        num_seeds, size=(NUM_RESAMPLES, num_seeds)
    )
    by_seed = np.stack([values[draws].mean(axis=1) for values in values_RN], axis=1)
    return np.take_along_axis(by_seed, chosen, axis=1).mean(axis=1)
