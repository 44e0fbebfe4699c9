"""Means with 95 % intervals over objects. N objects, R resamplings, M metrics."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float64

NUM_RESAMPLES = 4000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean and the interval that holds the mean of another such draw of objects."""

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

    The same objects are drawn for all columns of a length, so that numbers may be set side by side.
    Undefined values (NaN) are left out of their column.
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


def percentile_interval(means: Float64[np.ndarray, " R"], mean: float, num: int) -> Interval:
    """The middle 95 % of resampled means, around the mean of `num` objects."""
    edge = 50.0 * (1.0 - LEVEL)
    low, high = np.percentile(means, [edge, 100.0 - edge])
    return Interval(float(mean), float(low), float(high), num)


def _resampled_means(
    values: Float64[np.ndarray, " N"], seed: int, num_resamples: int
) -> Float64[np.ndarray, " R"]:
    rng = np.random.default_rng([seed, len(values)])
    return values[rng.integers(len(values), size=(num_resamples, len(values)))].mean(axis=1)
