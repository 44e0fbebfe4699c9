from zlib import crc32

import numpy as np
import pytest
import torch

NUMS = {"assembly": 60, "cut-assembly": 30}


@pytest.fixture(scope="module", params=NUMS)
def assemblies(request):
    from g3pt.procedural.grammar import make_assembly

    return [make_assembly(seed, request.param) for seed in range(NUMS[request.param])]


def test_a_seed_always_makes_the_same_assembly(assemblies):
    from g3pt.procedural import make_shape

    for first in assemblies[:20]:
        second = make_shape(first.seed, first.family)
        assert second.id == first.id == f"procedural-{first.family}-{first.seed}"
        assert second.facts == first.facts and second.extents == first.extents
        for name, value in vars(first.arrays).items():
            if isinstance(value, np.ndarray):
                np.testing.assert_array_equal(value, getattr(second.arrays, name))


def test_assemblies_without_cuts_are_those_that_were_trained_on():
    from g3pt.procedural.grammar import make_assembly

    shapes = [make_assembly(seed) for seed in range(100)]
    kinds = np.concatenate([shape.arrays.kinds for shape in shapes]).astype("<i8")
    # Draws decide it, no rounding: the solids as they were before there were cuts.
    assert (len(kinds), crc32(kinds.tobytes())) == (1649, 1196910878)
    assert not any(shape.arrays.limited.any() for shape in shapes)
    assert not any(shape.arrays.parameters[:, 16].any() for shape in shapes)


def test_some_cut_assemblies_are_bevelled_and_some_intersected_in_chains_that_carve_or_add():
    from g3pt.procedural import CUT_ASSEMBLY, make_shape
    from g3pt.procedural.primitives import Kind

    shapes = [make_shape(seed, CUT_ASSEMBLY) for seed in range(60)]
    limited = [shape.arrays.limited.any() for shape in shapes]
    bevelled = [
        shape.arrays.parameters[shape.arrays.kinds == Kind.PLATE, 16].any() for shape in shapes
    ]
    assert 0.25 < np.mean(limited) < 0.7 and 0.1 < np.mean(bevelled) < 0.6
    for shape in shapes:
        arrays = shape.arrays
        assert not arrays.limited[-1]
        of_first = arrays.carves[np.flatnonzero(np.append(True, ~arrays.limited[:-1]))]
        np.testing.assert_array_equal(of_first[arrays.chains], arrays.carves)


def test_boxes_of_intersections_are_those_of_their_samples():
    from g3pt.procedural.grammar import make_assembly

    # Seeds whose boxes, measured on samples alone, were short by up to a third of the size.
    rng = np.random.default_rng(6)
    for seed in (205, 303, 388, 394):
        shape = make_assembly(seed, "cut-assembly")
        reach = np.abs(shape.sample_surface(4000, rng).points).max(axis=0)
        np.testing.assert_allclose(reach, np.array(shape.extents) / 2, atol=0.03)


def test_a_cluster_within_a_solid_is_what_both_contain(assemblies):
    from g3pt.procedural.grammar.clusters import part
    from g3pt.procedural.grammar.meetings import within
    from g3pt.procedural.primitives import Kind, signed_distance

    points = np.random.default_rng(7).uniform(-1, 1, (2000, 3))
    ball = part(Kind.BOX, (0, 0, 0, 0.6), (1, 2, 3), (0.1, 0.2, 0.0))
    in_ball = signed_distance(ball, points) < 0
    for shape in assemblies:
        if shape.arrays.blends.any():
            continue  # a blend reaches over the limit's edge
        found = signed_distance(within(shape.arrays, ball), points) < 0
        np.testing.assert_array_equal(found, shape.contains(points) & in_ball)


def test_assemblies_fill_the_unit_frame(assemblies):
    rng = np.random.default_rng(0)
    for shape in assemblies:
        points = shape.sample_surface(2000, rng).points
        half = np.array(shape.extents) / 2
        assert max(shape.extents) == pytest.approx(1.9, abs=1e-3)
        # Boxes of bent, blended and cut solids are measured, to a fraction of a percent.
        assert np.all(np.abs(points).max(axis=0) <= half + 0.02), shape.id


def test_surface_samples_of_assemblies_lie_on_them_with_outward_normals(assemblies):
    rng = np.random.default_rng(1)
    for shape in assemblies:
        samples = shape.sample_surface(500, rng)
        # Less than a thousandth under an edge or a flush face a point counts as one of the surface.
        assert np.quantile(np.abs(shape.field(samples.points)), 0.9) < 1e-4, shape.id
        assert np.abs(shape.field(samples.points)).max() < 5e-3, shape.id
        np.testing.assert_allclose(np.linalg.norm(samples.normals, axis=1), 1, atol=1e-5)
        before = shape.field(samples.points + 1e-3 * samples.normals) > 0
        # A normal of a blend is that of the field, whose creases differences straddle.
        assert before.mean() > (0.97 if shape.arrays.blends.any() else 0.999), shape.id


def test_some_assemblies_are_blended_and_their_samples_lie_on_the_blends(assemblies):
    blended = [shape for shape in assemblies if shape.arrays.blends.any()]
    assert blended
    rng = np.random.default_rng(2)
    for shape in blended:
        assert np.abs(shape.field(shape.sample_surface(500, rng).points)).max() < 1e-4, shape.id


def test_torch_field_equals_the_numpy_field_on_assemblies(assemblies):
    from g3pt.procedural.torch_field import field_torch, stack_shapes

    points = np.random.default_rng(3).uniform(-1, 1, (len(assemblies), 400, 3)).astype(np.float32)
    batch = stack_shapes([shape.arrays for shape in assemblies])
    found = field_torch(batch, torch.from_numpy(points)).numpy()
    expected = np.stack([shape.field(row) for shape, row in zip(assemblies, points, strict=True)])
    # float32 sums and powers in another order.
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_every_kind_occurs_in_assemblies():
    from g3pt.procedural.grammar import make_assembly
    from g3pt.procedural.primitives import Kind

    found = {int(kind) for seed in range(200) for kind in make_assembly(seed).arrays.kinds}
    assert found == {int(kind) for kind in Kind}


def test_thin_parts_occur_but_none_thinner_than_the_bound(assemblies):
    from g3pt.procedural.builder import thickened
    from g3pt.procedural.grammar import THINNEST
    from g3pt.procedural.primitives import Kind

    boxes = np.concatenate(
        [
            shape.arrays.parameters[(shape.arrays.kinds == Kind.BOX) & ~shape.arrays.carves]
            for shape in assemblies
        ]
    )
    thickness = 2 * (boxes[:, :3].min(axis=1) + boxes[:, 3])
    assert thickness.min() < 0.025
    for shape in assemblies:
        # The bound is applied before the last scaling, by a box that may be a little larger.
        wider = thickened(shape.arrays, 0.8 * THINNEST)
        np.testing.assert_array_equal(wider.parameters, shape.arrays.parameters)


@pytest.mark.parametrize("family", NUMS)
def test_most_assemblies_are_one_piece(family):
    from scipy.ndimage import label

    from g3pt.procedural.grammar import make_assembly

    axis = (np.arange(48) + 0.5) / 24 - 1
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    # Grown by most of a cell, so that thin rods hang together on the grid.
    pieces = [
        label(
            make_assembly(seed, family).field(grid).reshape(48, 48, 48) < 1.6 / 48,
            np.ones((3, 3, 3)),
        )[1]
        for seed in range(NUMS[family])
    ]
    assert np.mean(np.array(pieces) > 1) < 0.08


def test_a_mirrored_cluster_has_the_mirrored_field(assemblies):
    from g3pt.procedural.grammar.clusters import mirrored
    from g3pt.procedural.primitives import signed_distance

    points = np.random.default_rng(4).uniform(-1, 1, (500, 3))
    for shape in assemblies:
        for axis in range(3):
            flipped = points.copy()
            flipped[:, axis] = 0.2 - flipped[:, axis]
            np.testing.assert_allclose(
                signed_distance(mirrored(shape.arrays, axis, 0.1), flipped),
                shape.field(points),
                atol=2e-5,
            )


def test_captions_of_assemblies_name_a_colour_that_is_there(assemblies):
    for shape in assemblies:
        assert shape.facts.paint.rgb in {tuple(row) for row in shape.arrays.colors.tolist()}
        assert any(noun in shape.caption(0) for noun in ("object", "thing", "shape"))


def test_assemblies_belong_to_no_family_and_refuse_negative_seeds():
    from g3pt.procedural import ASSEMBLY, CUT_ASSEMBLY, FAMILIES, TRAIN_FAMILIES, make_shape
    from g3pt.procedural.grammar import make_assembly

    assert not {ASSEMBLY, CUT_ASSEMBLY} & {*FAMILIES, *TRAIN_FAMILIES}
    with pytest.raises(ValueError, match="from 0 up"):
        make_shape(-1, ASSEMBLY)
    with pytest.raises(ValueError, match="assemblies are 'assembly' or 'cut-assembly', got 'cut'"):
        make_assembly(0, "cut")


def test_a_draw_of_which_carving_leaves_nothing_is_drawn_again():
    from g3pt.procedural.grammar import make_assembly

    shape = make_assembly(7007)
    assert shape.contains(np.random.default_rng(0).uniform(-1, 1, (20_000, 3))).any()


def test_facing_takes_y_to_any_direction_by_a_rotation():
    from g3pt.procedural.grammar.solids import facing

    directions = np.random.default_rng(5).standard_normal((200, 3))
    directions = np.concatenate([directions, np.eye(3), -np.eye(3), [[1e-3, -1, 0], [0, 1, 1e-3]]])
    for direction in directions / np.linalg.norm(directions, axis=1, keepdims=True):
        rotation = facing(direction)
        np.testing.assert_allclose(rotation @ [0, 1, 0], direction, atol=1e-9)
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
        assert np.linalg.det(rotation) == pytest.approx(1)
