import numpy as np
import pytest


@pytest.fixture
def choose():
    from g3pt.shapes.visible import choose_visible

    return choose_visible


def sphere(num=2000):
    points = np.random.default_rng(0).standard_normal((num, 3)).astype(np.float32)
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def test_points_are_seen_from_one_side(choose):
    shape = sphere()
    for seed in range(20):
        chosen = choose(shape, shape, 200, np.random.default_rng(seed))
        seen = shape[chosen]
        assert len(set(chosen.tolist())) == 200
        # Of a sphere every visible part is a cap, whose mean is its axis.
        axis = seen.mean(axis=0) / np.linalg.norm(seen.mean(axis=0))
        missing = np.setdiff1d(np.arange(len(shape)), chosen)
        assert (seen @ axis).mean() > (shape[missing] @ axis).mean()


def test_parts_are_as_large_as_cuts_and_facing_sides_are(choose):
    shape = sphere()
    shares = []
    for seed in range(60):
        drawn = choose(shape, shape, 20_000, np.random.default_rng(seed))
        shares.append(len(set(drawn.tolist())) / len(shape))
    facing = [share for share in shares if abs(share - 0.5) < 0.03]
    assert min(shares) > 0.24 and max(shares) > 0.9
    # half of all draws face the viewer, and some cuts are as large; four standard deviations
    assert 0.25 < len(facing) / len(shares) < 0.8


def test_the_same_generator_gives_the_same_points(choose):
    shape = sphere()
    first, second = (choose(shape, shape, 50, np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, choose(shape, shape, 50, np.random.default_rng(8)))


def test_a_sheet_is_seen_from_either_side(choose):
    points = np.random.default_rng(0).random((100, 3)).astype(np.float32)
    normals = np.tile(np.array([0, 1, 0], np.float32), (100, 1))
    for seed in range(10):
        assert len(choose(points, normals, 30, np.random.default_rng(seed))) == 30


def test_few_visible_points_are_drawn_twice(choose):
    shape = sphere(30)
    assert len(choose(shape, shape, 100, np.random.default_rng(0))) == 100
