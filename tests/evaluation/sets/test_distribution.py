import numpy as np
import pytest

from g3pt.evaluation.objects import EvaluationSettings, quick_settings
from g3pt.evaluation.sets import distribution
from g3pt.evaluation.sets.distribution import (
    SetDistances,
    Sketch,
    compare_sets,
    covered,
    distances_between,
    matching_distances,
    nearest_means,
    num_cloud,
    pack_sketches,
    report_sets,
    set_distances,
    set_lines,
    set_table,
    told_apart,
    unpack_sketches,
)
from g3pt.geometry.metrics import EMPTY_CHAMFER, occupancy_iou


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


# --- sketches and their distances ---------------------------------------------------------------

EMPTY = Sketch(np.zeros((0, 3), dtype=np.float32), np.zeros(64, dtype=np.uint8))


def draw_sketches(num: int, seed: int, num_points: int = 20) -> list[Sketch]:
    rng = np.random.default_rng(seed)
    return [
        Sketch(
            rng.uniform(-1, 1, (num_points + k, 3)).astype(np.float32),
            rng.integers(0, 256, 64).astype(np.uint8),
        )
        for k in range(num)
    ]


def test_nearest_means_agree_with_all_pairs_of_points(monkeypatch):
    monkeypatch.setattr(distribution, "BLOCK", 3)  # several blocks, the last one not full
    first, second = draw_sketches(7, 0), draw_sketches(4, 1)
    found = nearest_means(first, second)
    for row, one in enumerate(first):
        for column, other in enumerate(second):
            gaps = one.points[:, None].astype(np.float64) - other.points[None]
            nearest = np.linalg.norm(gaps, axis=-1).min(axis=1)
            # The tree works in float64 on the same float32 points.
            assert found[0, row, column] == pytest.approx(nearest.mean(), rel=1e-9)
            assert found[1, row, column] == pytest.approx((nearest**2).mean(), rel=1e-9)


def test_distances_within_a_set_are_symmetric_and_zero_to_oneself():
    own = draw_sketches(5, 2)
    for values in distances_between(own, own).values():
        np.testing.assert_array_equal(values, values.T)
        assert np.diag(values).max() == 0.0
        assert values[~np.eye(5, dtype=bool)].min() > 0.0


def test_distances_across_are_those_of_the_definitions():
    first, second = draw_sketches(2, 3), draw_sketches(3, 4)
    found = distances_between(first, second)
    ahead, back = nearest_means(first, second), nearest_means(second, first)
    assert found["chamfer"][1, 2] == pytest.approx((ahead[0, 1, 2] + back[0, 2, 1]) / 2)
    assert found["chamfer_squared"][1, 2] == pytest.approx(ahead[1, 1, 2] + back[1, 2, 1])
    bits = [np.unpackbits(sketch.grid).astype(bool) for sketch in (first[1], second[2])]
    assert found["one_minus_iou"][1, 2] == pytest.approx(1 - occupancy_iou(*bits))


def test_an_empty_shape_is_as_far_as_a_distance_goes():
    found = distances_between([EMPTY, *draw_sketches(1, 5)], [EMPTY, *draw_sketches(1, 6)])
    assert found["chamfer"][0].tolist() == [EMPTY_CHAMFER] * 2
    assert found["chamfer"][1, 0] == EMPTY_CHAMFER
    assert 0 < found["chamfer"][1, 1] < EMPTY_CHAMFER
    assert found["one_minus_iou"][0].tolist() == [1.0, 1.0]


def test_sets_of_one_shape_each_repeated_are_recognised():
    reference = draw_sketches(4, 7)
    generated = [*reference[:2], EMPTY, reference[3]]
    for distances in set_distances(generated, reference).values():
        scores = compare_sets(distances)
        assert scores["coverage"].mean == 0.75
        assert scores["mmd"].mean > 0.0


def test_distances_of_the_references_may_be_given():
    generated, reference = draw_sketches(3, 8), draw_sketches(3, 9)
    known = distances_between(reference, reference)
    given = set_distances(generated, reference, known)
    for name, distances in set_distances(generated, reference).items():
        np.testing.assert_array_equal(distances.reference_RR, given[name].reference_RR)
        assert given[name].reference_RR is known[name]


def test_sketches_survive_packing():
    own = {"image": draw_sketches(1, 10)[0], "text/odd": EMPTY}
    back = unpack_sketches(pack_sketches(own))
    assert back.keys() == own.keys()
    np.testing.assert_array_equal(back["image"].points, own["image"].points)
    np.testing.assert_array_equal(back["text/odd"].grid, EMPTY.grid)


def test_the_full_protocol_has_as_many_points_as_pointflow():
    assert num_cloud(EvaluationSettings()) == 2048
    assert num_cloud(quick_settings()) == 500


# --- report -------------------------------------------------------------------------------------


def draw_sketch(rng: np.random.Generator) -> Sketch:
    points = rng.uniform(-1, 1, (30, 3)).astype(np.float32)
    return Sketch(points, rng.integers(0, 256, 64).astype(np.uint8))


@pytest.fixture(scope="module")
def objects() -> list[dict[str, Sketch]]:
    rng = np.random.default_rng(0)
    names = ("truth", "image", "mean_shape", "text")
    found = [{name: draw_sketch(rng) for name in names} for _ in range(5)]
    del found[1]["text"]  # an object without a caption
    return found


@pytest.fixture(scope="module")
def report(objects) -> dict:
    return report_sets([pack_sketches(each) for each in objects])


def test_every_method_is_compared_with_the_truth_of_its_own_objects(objects, report):
    assert list(report) == ["image", "text"]
    kept = [objects[k] for k in (0, 2, 3, 4)]
    alone = set_distances([each["text"] for each in kept], [each["truth"] for each in kept])
    for kind, distances in alone.items():
        expected = {name: found.to_json() for name, found in compare_sets(distances).items()}
        assert report["text"][kind] == expected
        assert report["image"][kind]["mmd"]["num"] == 5


def test_a_single_object_is_no_set(objects):
    assert report_sets([pack_sketches(objects[0])]) == {}
    assert report_sets([]) == {}


def test_tables_name_every_method_and_distance(report):
    table = set_table(report)
    assert "| image, chamfer |" in table
    assert "| text, one_minus_iou |" in table
    assert set_lines(report)[0].startswith("image: coverage ")
