import numpy as np
import pytest

from g3pt.evaluation.sets.distribution import (
    SetDistances,
    compare_sets,
    covered,
    matching_distances,
    told_apart,
)


def distances_of(generated: np.ndarray, reference: np.ndarray, empty=()) -> SetDistances:
    """Sets of points of the plane in place of sets of shapes."""

    def between(first, second):
        return np.linalg.norm(first[:, None] - second[None], axis=-1)

    mask = np.isin(np.arange(len(generated)), empty)
    return SetDistances(
        between(generated, generated),
        between(generated, reference),
        between(reference, reference),
        mask,
    )


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_set_covers_itself_at_distance_zero(rng):
    points = rng.normal(size=(40, 2))
    scores = compare_sets(distances_of(points, points.copy()))
    assert scores["coverage"].mean == 1.0
    assert scores["mmd"].mean == 0.0
    # Everything's nearest neighbour is its copy in the other set: memorised, not alike.
    assert scores["one_nna"].mean == 0.0


def test_far_clusters_are_told_apart_and_cover_one_reference_at_most(rng):
    reference = rng.normal(size=(30, 2))
    generated = np.array([100.0, 0.0]) + rng.normal(size=(30, 2))
    scores = compare_sets(distances_of(generated, reference))
    assert scores["one_nna"].mean == 1.0
    assert scores["coverage"].mean <= 3 / 30  # those on the hull, on the side of the cluster
    assert scores["mmd"].mean == pytest.approx(100.0, abs=5.0)


def test_two_draws_of_one_distribution_cannot_be_told_apart(rng):
    means = [
        told_apart(distances_of(rng.normal(size=(200, 3)), rng.normal(size=(200, 3)))).mean()
        for _ in range(5)
    ]
    # 2,000 nearly independent answers: a standard error of .011, a little more by their ties.
    assert np.mean(means) == pytest.approx(0.5, abs=0.04)


def test_a_single_repeated_shape_covers_one_reference(rng):
    reference = rng.normal(size=(25, 2))
    scores = compare_sets(distances_of(np.zeros((25, 2)), reference))
    assert scores["coverage"].mean == pytest.approx(1 / 25)
    assert scores["mmd"].mean == pytest.approx(np.linalg.norm(reference, axis=1).mean())


def test_the_definitions_agree_with_loops_over_them(rng):
    distances = distances_of(rng.normal(size=(9, 2)), rng.normal(size=(9, 2)) * 1.5)
    across, num = distances.across_GR, 9
    reached = {min(range(num), key=lambda r, g=g: across[g, r]) for g in range(num)}
    assert covered(distances).tolist() == [r in reached for r in range(num)]
    nearest = [min(across[g, r] for g in range(num)) for r in range(num)]
    assert matching_distances(distances).tolist() == nearest
    apart = []
    for own, other in (
        (distances.generated_GG, across),
        (distances.reference_RR, across.T),
    ):
        for k in range(num):
            among = [(own[k, j], 1.0) for j in range(num) if j != k]
            among += [(other[k, j], 0.0) for j in range(num)]
            apart.append(min(among)[1])
    np.testing.assert_array_equal(told_apart(distances).ravel(), apart)


def test_neighbours_at_one_distance_count_half():
    line = np.array([[0.0, 0.0], [2.0, 0.0]])
    tied = distances_of(line, np.array([[1.0, 3.0**0.5], [1.0, -(3.0**0.5)]]))
    rounded = SetDistances(
        tied.generated_GG.round(9),
        tied.across_GR.round(9),
        tied.reference_RR.round(9),
        tied.empty_G,
    )
    # An equilateral rhomb: 2 to every other corner, but sqrt(12) between the references.
    assert told_apart(rounded).tolist() == [[0.5, 0.5], [0.0, 0.0]]


def test_empty_shapes_cover_nothing_and_are_told_apart(rng):
    points = rng.normal(size=(10, 2))
    full = distances_of(points, points.copy())
    holed = distances_of(points, points.copy(), empty=[4])
    assert covered(full).all()
    assert np.flatnonzero(~covered(holed)).tolist() == [4]
    assert told_apart(holed)[0, 4] == 1.0


def test_intervals_hold_the_mean_and_narrow_with_more_objects(rng):
    def width(num: int) -> float:
        scores = compare_sets(distances_of(rng.normal(size=(num, 2)), rng.normal(size=(num, 2))))
        for interval in scores.values():
            assert interval.low <= interval.mean <= interval.high
            assert interval.num == num
        return scores["mmd"].high - scores["mmd"].low

    assert width(400) < width(25)


def test_sets_of_different_sizes_are_refused(rng):
    with pytest.raises(ValueError, match="3 generated and 4 reference shapes"):
        distances_of(rng.normal(size=(3, 2)), rng.normal(size=(4, 2)))


def test_a_lone_shape_is_refused():
    with pytest.raises(ValueError, match="from two shapes of each on"):
        distances_of(np.zeros((1, 2)), np.ones((1, 2)))
