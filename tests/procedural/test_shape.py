import numpy as np
import pytest


def _every_family(num_seeds):
    from g3pt.procedural import FAMILIES, make_shape

    for family in FAMILIES:
        for seed in range(num_seeds):
            yield make_shape(seed, family)


def test_a_seed_always_makes_the_same_shape():
    from g3pt.procedural import make_shape

    for seed in range(20):
        first, second = make_shape(seed), make_shape(seed)
        assert first.family == second.family
        assert first.facts == second.facts
        for name in ("kinds", "parameters", "rotations", "translations", "carves", "colors"):
            np.testing.assert_array_equal(getattr(first.arrays, name), getattr(second.arrays, name))


def test_held_out_families_and_seeds_are_fixed_and_apart_from_training():
    from g3pt.procedural import (
        FAMILIES,
        HELD_OUT_FAMILIES,
        HELD_OUT_SEEDS,
        TRAIN_FAMILIES,
        make_shape,
    )

    assert HELD_OUT_FAMILIES == ("axe", "bench", "bridge", "cactus", "helicopter", "teapot")
    assert set(TRAIN_FAMILIES) | set(HELD_OUT_FAMILIES) == set(FAMILIES)
    assert not set(TRAIN_FAMILIES) & set(HELD_OUT_FAMILIES)
    assert len(FAMILIES) == len(set(FAMILIES)) >= 26
    assert HELD_OUT_SEEDS.start == 2**31
    assert {make_shape(seed).family for seed in range(100)} <= set(TRAIN_FAMILIES)


def test_every_shape_fills_the_unit_frame_exactly():
    rng = np.random.default_rng(0)
    for shape in _every_family(3):
        points = shape.sample_surface(8000, rng).points
        half = np.array(shape.extents) / 2
        assert max(shape.extents) == pytest.approx(1.9, abs=1e-3)
        # Nothing lies beyond the box; samples come as near to its sides as thin tips let them.
        assert np.all(np.abs(points).max(axis=0) <= half + 2e-3), shape.id
        assert np.all(points.max(axis=0) >= half - 0.06), shape.id
        assert np.all(points.min(axis=0) <= -half + 0.06), shape.id


def test_surface_samples_lie_on_the_surface_with_outward_normals():
    rng = np.random.default_rng(1)
    for shape in _every_family(2):
        samples = shape.sample_surface(1000, rng)
        assert samples.points.shape == samples.normals.shape == (1000, 3)
        # Corners and flat ellipsoids change the size of the values, never their sign.
        assert np.abs(shape.field(samples.points)).max() < 1e-3
        assert np.all(shape.field(samples.points + 1e-3 * samples.normals) > 0)
        assert np.all(shape.field(samples.points - 1e-3 * samples.normals) < 0)


def test_surface_samples_cover_the_inside_of_a_mug():
    from g3pt.procedural import make_shape

    shape = make_shape(0, "mug")
    samples = shape.sample_surface(4000, np.random.default_rng(2))
    carved = shape.arrays.carves[samples.faces]
    assert 0.2 < carved.mean() < 0.6
    # Normals of the inner wall point to its axis, out of the solid.
    axis = shape.arrays.translations[shape.arrays.carves][0]
    inner = samples.points[carved] - axis
    side = np.abs(samples.normals[carved][:, 1]) < 0.9
    assert np.all((inner * samples.normals[carved])[side][:, [0, 2]].sum(axis=1) < 0)


def test_samples_are_as_dense_as_those_of_the_mesh():
    from scipy.spatial import cKDTree

    from g3pt.geometry.sampling import sample_surface
    from g3pt.procedural import make_shape

    rng = np.random.default_rng(3)
    for family in ("chair", "mug", "animal", "gear"):
        shape = make_shape(5, family)
        ours = shape.sample_surface(4000, rng).points
        theirs = sample_surface(shape.mesh(64), 4000, rng).points
        # Octants of the box hold the same share of both samples, up to four standard errors.
        shares = [
            np.bincount(((points > 0) * [1, 2, 4]).sum(axis=1), minlength=8) / 4000
            for points in (ours, theirs)
        ]
        np.testing.assert_allclose(shares[0], shares[1], atol=0.04)
        assert cKDTree(ours).query(theirs)[0].max() < 0.2


def test_mesh_is_closed_and_has_the_volume_of_the_field():
    from g3pt.geometry.mesh import is_closed, volume
    from g3pt.procedural import make_shape

    rng = np.random.default_rng(4)
    for family in ("table", "vase", "car", "bird"):
        shape = make_shape(7, family)
        mesh = shape.mesh(96)
        assert is_closed(mesh)
        inside = shape.contains(rng.uniform(-1, 1, (200_000, 3)))
        # Cells of 1/48 cut sharp edges off.
        assert volume(mesh) == pytest.approx(8 * inside.mean(), rel=0.04)
        assert np.median(np.abs(shape.field(mesh.vertices))) < 1e-5
        assert mesh.colors is not None
        assert mesh.colors.shape == (len(mesh.vertices), 4)


def test_every_family_is_one_connected_piece():
    from scipy import ndimage

    axis = (np.arange(80) + 0.5) / 40 - 1
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    for shape in _every_family(1):
        inside = shape.contains(grid).reshape(80, 80, 80)
        assert ndimage.label(inside, np.ones((3, 3, 3)))[1] == 1, shape.id


def test_shapes_of_different_seeds_differ():
    from g3pt.procedural import FAMILIES, make_shape

    for family in FAMILIES:
        made = {make_shape(seed, family).arrays.parameters.tobytes() for seed in range(6)}
        assert len(made) == 6


def test_colours_on_the_surface_are_those_of_the_primitives():
    rng = np.random.default_rng(5)
    for shape in _every_family(1):
        samples = shape.sample_surface(500, rng)
        found = shape.color_at(samples.points)
        expected = shape.arrays.colors[samples.faces]
        # Where surfaces of two colours meet or coincide either is right.
        assert np.mean(np.all(found == expected, axis=1)) > 0.93, shape.id


def test_unknown_families_and_negative_seeds_are_refused():
    from g3pt.procedural import make_shape

    with pytest.raises(ValueError, match="unknown family 'dragon'"):
        make_shape(0, "dragon")
    with pytest.raises(ValueError, match="from 0 up"):
        make_shape(-1)
