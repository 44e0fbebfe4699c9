import numpy as np
import pytest

from g3pt.evaluation.protocol import EvaluationSettings, quick_settings
from g3pt.evaluation.sets import sketches
from g3pt.evaluation.sets.distribution import compare_sets
from g3pt.evaluation.sets.sketches import (
    Sketch,
    distances_between,
    nearest_means,
    num_cloud,
    pack_sketches,
    set_distances,
    unpack_sketches,
)
from g3pt.geometry.metrics import EMPTY_CHAMFER, occupancy_iou

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
    monkeypatch.setattr(sketches, "BLOCK", 3)  # several blocks, the last one not full
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
