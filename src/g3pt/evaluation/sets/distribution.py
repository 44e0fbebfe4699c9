"""How alike are two sets of shapes? Coverage, minimum matching distance, 1-nearest-neighbour test.

Definitions of Achlioptas et al. 2018 (COV, MMD) and Lopez-Paz and Oquab 2017, as used by PointFlow
(Yang et al. 2019, Sec. 5.1). All are functions of distances alone. N generated and N reference
shapes; G and R name the side of a matrix (both of length N).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from g3pt.evaluation.bootstrap import Interval, bootstrap


@dataclass(frozen=True, eq=False)
class SetDistances:
    """Distances among as many generated as reference shapes."""

    generated_GG: Float64[np.ndarray, "G G"]
    across_GR: Float64[np.ndarray, "G R"]
    reference_RR: Float64[np.ndarray, "R R"]
    empty_G: Bool[np.ndarray, " G"]
    """Generated shapes without a surface: they match nothing and are told from any reference."""

    def __post_init__(self) -> None:
        num_generated, num_reference = self.across_GR.shape
        if num_generated != num_reference:
            raise ValueError(
                f"sets are compared by as many shapes of each, got {num_generated} generated and "
                f"{num_reference} reference shapes: leave some out of the larger set"
            )
        if num_generated < 2:
            raise ValueError(
                f"sets are compared from two shapes of each on, got {num_generated}: a lone shape "
                "has no neighbour in its own set"
            )


def covered(distances: SetDistances) -> Bool[np.ndarray, " R"]:
    """Which references are the nearest one of some generated shape; their share is COV.

    Of equally near references the first counts.
    """
    nearest = distances.across_GR.argmin(axis=1)[~distances.empty_G]
    return np.isin(np.arange(len(distances.across_GR)), nearest)


def matching_distances(distances: SetDistances) -> Float64[np.ndarray, " R"]:
    """Distance from every reference to the nearest generated shape; their mean is MMD."""
    return distances.across_GR.min(axis=0)


def told_apart(distances: SetDistances) -> Float64[np.ndarray, "2 N"]:
    """Which shapes have their nearest neighbour in their own set; the mean of all is 1-NNA.

    The classifier leaves the shape itself out. Neighbours at equal distance on both sides count
    one half.

    Returns:
        1, 0 or a half: first row the generated shapes, second row the references.
    """
    own_G, own_R = _to_nearest(distances.generated_GG), _to_nearest(distances.reference_RR)
    other_G, other_R = distances.across_GR.min(axis=1), distances.across_GR.min(axis=0)
    apart_G = np.where(distances.empty_G, 1.0, _wins(own_G, other_G))
    return np.stack([apart_G, _wins(own_R, other_R)])


def _to_nearest(among_NN: Float64[np.ndarray, "N N"]) -> Float64[np.ndarray, " N"]:
    return (among_NN + np.diag(np.full(len(among_NN), np.inf))).min(axis=1)


def _wins(
    own_N: Float64[np.ndarray, " N"], other_N: Float64[np.ndarray, " N"]
) -> Float64[np.ndarray, " N"]:
    return (own_N < other_N) + 0.5 * (own_N == other_N)


def compare_sets(distances: SetDistances, *, seed: int = 0) -> dict[str, Interval]:
    """COV (`coverage`), MMD (`mmd`) and 1-NNA (`one_nna`) with 95 % intervals.

    Objects are drawn again with the matches that they have in the whole sets: neighbours sought
    among drawn shapes would find copies of themselves. Generated shape k and reference k are
    drawn together, as both belong to object k where generation was conditioned.
    """
    return bootstrap(
        {
            "coverage": covered(distances).astype(np.float64),
            "mmd": matching_distances(distances),
            "one_nna": told_apart(distances).mean(axis=0),
        },
        seed=seed,
    )
