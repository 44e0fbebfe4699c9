import numpy as np
import pytest
import torch


def test_torch_field_equals_the_numpy_field_for_every_family():
    from g3pt.procedural import FAMILIES, make_shape
    from g3pt.procedural.torch_field import field_torch, stack_shapes

    shapes = [make_shape(9, family) for family in FAMILIES]
    points = np.random.default_rng(0).uniform(-1, 1, (len(shapes), 500, 3)).astype(np.float32)
    found = field_torch(stack_shapes([shape.arrays for shape in shapes]), torch.from_numpy(points))
    expected = np.stack([shape.field(row) for shape, row in zip(shapes, points, strict=True)])
    # float32 sums in another order.
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-6)


def test_torch_field_equals_the_numpy_field_for_kinds_that_no_family_has_and_for_blends():
    from g3pt.procedural.primitives import LENGTHS, Kind, ShapeArrays, signed_distance
    from g3pt.procedural.torch_field import field_torch

    rng = np.random.default_rng(1)
    kinds = [Kind.SUPERQUADRIC, Kind.LATHE, Kind.PLATE, Kind.ARC, Kind.TERRAIN] * 8
    lengths = LENGTHS[kinds]
    shapes = []
    for part in np.split(np.arange(len(kinds)), 8):
        sizes, shares = rng.uniform(0.05, 0.4, (5, 17)), rng.uniform(0.1, 0.9, (5, 17))
        parameters = np.where(lengths[part], sizes, shares)
        parameters[0, 3:5] = rng.uniform(1.05, 12, 2)
        parameters[2, 15] = rng.integers(1, 4)
        rotations = np.linalg.qr(rng.standard_normal((5, 3, 3)))[0]
        shapes.append(
            ShapeArrays(
                kinds=np.array([int(kinds[index]) for index in part], np.int64),
                parameters=parameters.astype(np.float32),
                rotations=rotations.astype(np.float32),
                translations=rng.uniform(-0.5, 0.5, (5, 3)).astype(np.float32),
                carves=rng.random(5) < 0.3,
                colors=np.zeros((5, 3), np.uint8),
                blends=np.where(rng.random(5) < 0.5, rng.uniform(0, 0.3, 5), 0).astype(np.float32),
                limited=np.append(rng.random(4) < 0.4, False),
            )
        )
        shapes[-1].carves[0] = False
    points = rng.uniform(-1, 1, (len(shapes), 2000, 3)).astype(np.float32)
    found = field_torch(shapes, torch.from_numpy(points)).numpy()
    expected = np.stack([signed_distance(*pair) for pair in zip(shapes, points, strict=True)])
    # float32 sums and powers in another order.
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_shape_does_not_depend_on_the_others_of_its_batch():
    from g3pt.procedural import make_shape
    from g3pt.procedural.torch_field import field_torch

    arrays = [make_shape(seed).arrays for seed in range(5)]
    points = torch.rand(5, 200, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    together = field_torch(arrays, points)
    alone = torch.cat([field_torch(arrays[i : i + 1], points[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)


def test_wrong_numbers_of_shapes_are_refused():
    from g3pt.procedural import make_shape
    from g3pt.procedural.torch_field import field_torch, stack_shapes

    with pytest.raises(ValueError, match="at least one shape"):
        stack_shapes([])
    with pytest.raises(ValueError, match="need as many rows"):
        field_torch([make_shape(0).arrays], torch.zeros(2, 4, 3))
