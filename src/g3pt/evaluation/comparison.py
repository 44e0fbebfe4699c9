"""Two systems over the same objects, each trained from several seeds.

N, M objects, R and S seeds, K resamplings.
"""

from typing import Literal

import numpy as np
from jaxtyping import Float64

from g3pt.evaluation.bootstrap import NUM_RESAMPLES, Interval, percentile_interval

Outcome = Literal["reproduced", "not reproduced", "within the interval"]


def seeded_mean(values_RN: Float64[np.ndarray, "R N"], *, seed: int = 0) -> Interval:
    """Mean over seeds and objects; the interval draws both again."""
    means = _resampled(values_RN, _object_draws(values_RN, seed), seed)
    return percentile_interval(means, values_RN.mean(), values_RN.shape[1])


def seeded_difference(
    ours_RN: Float64[np.ndarray, "R N"], other_SN: Float64[np.ndarray, "S M"], *, seed: int = 0
) -> Interval:
    """Mean of ours - other; the interval draws objects again for both together, seeds apart.

    An interval over objects alone would take the luck of one initialisation for a property of
    the system. With two or three seeds theirs is still a rough estimate, on the narrow side.

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
