from dataclasses import replace

import numpy as np
import pytest

RADIUS = 0.95


def in_ball(points):
    return np.linalg.norm(points.astype(np.float64), axis=1) < RADIUS


def sphere_like(contains):
    """A shape with the surface of a sphere and any inside."""
    from g3pt.data.sources import SourceShape
    from g3pt.geometry.sampling import SurfaceSamples

    class Sphere(SourceShape):
        id, family, licence, captions, details = "ball", "ball", "CC0-1.0", ("a ball",), {}
        is_quick_to_query = True

        def sample_surface(self, num, rng):
            directions = rng.standard_normal((num, 3))
            directions /= np.linalg.norm(directions, axis=1, keepdims=True)
            return SurfaceSamples(directions * RADIUS, directions, np.zeros(num, np.int64))

        def contains(self, points):
            return contains(points)

        def mesh(self):
            raise NotImplementedError

        def scene(self):
            raise NotImplementedError

    return Sphere()


@pytest.fixture
def record(small_prepare):
    from g3pt.data.prepare import prepare_shape

    return prepare_shape(sphere_like(in_ball), small_prepare)


def unpacked(packed):
    return np.unpackbits(packed, bitorder="little").astype(bool)


def test_every_label_is_exact_at_the_stored_position(record):
    from g3pt.data.prepare import positions

    for queries, labels in (
        (record.volume, record.volume_inside),
        (record.near, record.near_inside),
    ):
        assert np.array_equal(unpacked(labels), in_ball(positions(queries)))


def test_stored_points_lie_on_the_surface_up_to_rounding(record):
    from g3pt.data.prepare import normals, positions

    points, directions = positions(record.points), normals(record.normals)
    # Half a step of 1/32767 an axis, and half a step of 1/127 for normals.
    assert np.abs(np.linalg.norm(points, axis=1) - RADIUS).max() < 0.87 / 32767 + 1e-7
    assert np.abs(directions - points / RADIUS).max() < 0.5 / 127 + 1e-4


def test_near_groups_spread_by_their_sigma(small_prepare, record):
    from g3pt.data.prepare import positions

    groups = positions(record.near).reshape(len(small_prepare.near_sigmas), -1, 3)
    for sigma, points in zip(small_prepare.near_sigmas, groups, strict=True):
        spread = np.std(np.linalg.norm(points, axis=1) - RADIUS)
        assert spread == pytest.approx(sigma, rel=0.3)  # 128 samples


def test_shared_bases_are_the_stored_points_and_own_bases_are_not(small_prepare):
    from g3pt.data.prepare import positions, prepare_shape

    for share_bases in (True, False):
        config = replace(small_prepare, share_bases=share_bases, near_sigmas=(1e-6,))
        record = prepare_shape(sphere_like(in_ball), replace(config, min_near_inside=0.0))
        near, points = positions(record.near), positions(record.points)
        gaps = np.linalg.norm(near[:, None] - points[None], axis=2).min(axis=1)
        assert (gaps.max() < 1e-4) == share_bases


def test_the_share_of_the_volume_is_that_of_the_ball(record):
    # 4/3 pi r^3 / 8 = 0.449; 512 samples have a standard deviation of 0.022
    assert record.description["volume_share"] == pytest.approx(0.449, abs=0.08)


def test_preparing_twice_gives_the_same_record(small_prepare, record):
    from g3pt.data.prepare import prepare_shape

    again = prepare_shape(sphere_like(in_ball), small_prepare)
    for name in ("points", "normals", "volume", "volume_inside", "near", "near_inside"):
        assert np.array_equal(getattr(again, name), getattr(record, name))


def test_a_shape_without_interior_is_refused(small_prepare):
    from g3pt.data.prepare import prepare_shape
    from g3pt.data.sources import ShapeError

    with pytest.raises(ShapeError, match="no interior"):
        prepare_shape(sphere_like(lambda points: np.zeros(len(points), bool)), small_prepare)


def test_labels_at_reads_what_pack_labels_wrote():
    from g3pt.data.prepare import labels_at, pack_labels

    rng = np.random.default_rng(0)
    inside, places = rng.random(64) < 0.5, rng.permutation(64)[:40]
    assert np.array_equal(labels_at(pack_labels(inside), places), inside[places])


def test_quantized_positions_stay_within_half_a_step():
    from g3pt.data.prepare import positions, quantize_positions

    points = np.random.default_rng(0).uniform(-1, 1, (1000, 3))
    assert np.abs(positions(quantize_positions(points)) - points).max() < 0.5 / 32767 + 1e-7


@pytest.mark.parametrize("changes", [{"num_near_queries": 100}, {"num_volume_queries": 100}])
def test_query_counts_that_do_not_divide_are_refused(changes):
    from g3pt.data.prepare import PrepareConfig

    with pytest.raises(ValueError, match="multiple"):
        PrepareConfig(**changes)
