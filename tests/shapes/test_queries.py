import hashlib

import numpy as np
import pytest

KEY = 0x0123456789ABCDEF


@pytest.fixture
def queries():
    from g3pt.shapes import queries

    return queries


def sphere_points(num):
    """Stored points of a sphere of radius 0.95."""
    directions = np.random.default_rng(0).standard_normal((num, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return np.rint(directions * 0.95 * 32767).astype(np.int16)


# Prepared shapes hold labels of these positions and not the positions: were another machine or
# version to work out others, every label would be wrong.


def test_the_table_of_the_gaussian_is_the_same_everywhere(queries):
    table = queries.gaussian_table()
    digest = hashlib.sha256(table.astype("<i8").tobytes()).hexdigest()
    assert digest == "db9f6de9a853d1f4992b731623ab3b27a8d127c91bf3d63c2fb3347625a520f8"


def test_volume_queries_are_the_same_everywhere(queries):
    drawn = queries.volume_queries(KEY, np.array([0, 1, 262_143]))
    assert drawn.tolist() == [[-3146, 9213, 2256], [19936, 26497, -16815], [-27645, -22268, 15652]]


def test_near_queries_are_the_same_everywhere(queries):
    points = np.array([(0, 0, 0), (31128, -31128, 100)], np.int16)
    drawn = queries.near_queries(KEY, np.array([0, 1, 262_151]), points, 0.02)
    assert drawn.tolist() == [[-1014, 1822, -376], [31484, -31265, -41], [31313, -30282, 602]]


def test_counters_are_mixed_as_splitmix64_does(queries):
    """A twin in whole numbers of Python."""
    mask, golden = 2**64 - 1, 0x9E3779B97F4A7C15

    def mixed(word):
        word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & mask
        word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & mask
        return word ^ (word >> 31)

    numbers = np.array([0, 5, 10**6])
    for number, drawn in zip(numbers.tolist(), queries.volume_queries(KEY, numbers), strict=True):
        start = mixed((KEY + golden) & mask)
        word = mixed((start + (number + 1) * golden) & mask)
        fields = [(word >> shift) & 0xFFFF for shift in (0, 16, 32)]
        assert drawn.tolist() == [max(value - 32768, -32767) for value in fields]


def test_volume_queries_fill_the_cube_evenly(queries):
    drawn = queries.volume_queries(KEY, np.arange(80_000))
    octants = (drawn > 0) @ [4, 2, 1]
    # 10,000 expected in each, with a standard deviation of 94.
    assert np.abs(np.bincount(octants) - 10_000).max() < 400
    for axis in range(3):
        counts = np.histogram(drawn[:, axis], bins=16, range=(-32767, 32767))[0]
        # 5,000 expected, with a standard deviation of 68.
        assert np.abs(counts - 5000).max() < 300
    correlations = np.corrcoef(drawn.T) - np.eye(3)
    assert np.abs(correlations).max() < 0.02


@pytest.mark.parametrize("sigma", [0.005, 0.02, 0.05])
def test_near_queries_spread_by_their_sigma_around_their_points(queries, sigma):
    points, numbers = sphere_points(100), np.arange(30_000)
    drawn = queries.near_queries(KEY, numbers, points // 2, sigma)
    offsets = (drawn.astype(float) - (points // 2)[numbers % 100]) / 32767
    assert np.allclose(offsets.std(axis=0), sigma, rtol=0.03)
    assert np.abs(offsets.mean(axis=0)).max() < 0.03 * sigma
    # Of a Gaussian, 4.55 % lie beyond two standard deviations.
    assert np.mean(np.abs(offsets) > 2 * sigma) == pytest.approx(0.0455, abs=0.004)


def test_some_queries_are_the_same_as_among_all(queries):
    points, numbers = sphere_points(50), np.array([999, 0, 17, 17, 640])
    whole = queries.volume_queries(KEY, np.arange(1000))
    assert np.array_equal(queries.volume_queries(KEY, numbers), whole[numbers])
    whole = queries.near_queries(KEY, np.arange(1000), points, 0.05)
    assert np.array_equal(queries.near_queries(KEY, numbers, points, 0.05), whole[numbers])
    assert queries.volume_queries(KEY, numbers[:0]).shape == (0, 3)


@pytest.mark.parametrize("other", [KEY + 1, KEY ^ (1 << 63), 0, 2**64 - 1])
def test_another_key_gives_other_queries(queries, other):
    numbers = np.arange(1000)
    here, there = queries.volume_queries(KEY, numbers), queries.volume_queries(other, numbers)
    assert (here == there).mean() < 0.01
    shared = {*map(tuple, here.tolist())} & {*map(tuple, there.tolist())}
    assert not shared


def test_volume_and_near_queries_use_the_key_differently(queries):
    numbers = np.arange(1000)
    centre = np.zeros((1, 3), np.int16)
    volume = queries.volume_queries(KEY, numbers).astype(float)
    near = queries.near_queries(KEY, numbers, centre, 0.05).astype(float)
    for axis in range(3):
        assert abs(np.corrcoef(volume[:, axis], near[:, axis])[0, 1]) < 0.15


def test_no_query_leaves_the_cube(queries):
    corner = np.array([(32767, -32767, 32767)], np.int16)
    drawn = queries.near_queries(KEY, np.arange(5000), corner, 0.5)
    assert np.abs(drawn.astype(int)).max() <= 32767
    # What would leave is reflected, not gathered on the faces.
    assert np.mean(drawn == corner) < 0.01
    assert np.abs(queries.volume_queries(KEY, np.arange(50_000)).astype(int)).max() <= 32767
