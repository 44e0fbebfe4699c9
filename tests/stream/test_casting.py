"""Shapes on a processor, against the batches that do the same in torch."""

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from g3pt.procedural import ASSEMBLY, make_shape
from g3pt.stream.cameras import orbit_cameras
from g3pt.stream.casting import WalkingCaster
from g3pt.stream.drawing import draw, frame_windows, point_windows, window_rays
from g3pt.stream.primitives import PrimitiveCaster, pad_shapes

SIZE = 40
KINDS = ("chair", "mug", "fish", ASSEMBLY)


@pytest.fixture(scope="module")
def shapes():
    return tuple(make_shape(3, kind) for kind in KINDS)


@pytest.fixture(scope="module")
def walking(shapes):
    return WalkingCaster(shapes)


@pytest.fixture(scope="module")
def batched(shapes):
    batch = pad_shapes([shape.arrays for shape in shapes], [shape.extents for shape in shapes])
    return PrimitiveCaster(batch, "torch")


@pytest.fixture(scope="module")
def cameras():
    """Near with a wide angle and far with a narrow one."""
    angles = torch.tensor([30.0, 200.0, 70.0, -10.0]), torch.tensor([20.0, -35.0, 50.0, 0.0])
    return orbit_cameras(*angles, torch.tensor([30.0, 60.0, 12.0, 65.0]))


def test_rays_end_where_those_of_the_batch_end(walking, batched, cameras):
    shown = torch.arange(len(KINDS))
    windows = frame_windows(batched, shown, cameras, SIZE)
    rays = window_rays(cameras, windows, SIZE)
    ours = walking.cast(shown, cameras.positions_V3, rays)
    theirs = batched.cast(shown, cameras.positions_V3, rays)
    both = ours.hit_VR & theirs.hit_VR
    assert both.float().mean() > 0.1
    # Rays that graze an edge go either way.
    assert (ours.hit_VR != theirs.hit_VR).float().mean() < 0.01
    apart = (ours.lengths_VR - theirs.lengths_VR)[both].abs()
    assert (apart > 4e-3).float().mean() < 0.01
    turned = (ours.normals_VR3 * theirs.normals_VR3).sum(-1)[both]
    assert (turned < 0.98).float().mean() < 0.03
    assert (ours.colors_VR3 != theirs.colors_VR3)[both].float().mean() < 0.03
    assert not ours.colors_VR3[~ours.hit_VR].any()


def test_fields_are_those_of_the_batch(walking, batched):
    points = torch.rand(len(KINDS), 300, 3) * 2 - 1
    torch.testing.assert_close(
        walking.field(points), batched.field(points), atol=5e-6, rtol=0
    )  # other order of sums


def test_surfaces_lie_on_the_field_and_follow_the_generator(walking):
    points, normals = walking.surface(500, torch.Generator().manual_seed(1))
    assert walking.field(points).abs().max() < 2e-3
    torch.testing.assert_close(normals.norm(dim=-1), torch.ones(len(KINDS), 500))
    again, _ = walking.surface(500, torch.Generator().manual_seed(1))
    assert torch.equal(points, again)
    other, _ = walking.surface(500, torch.Generator().manual_seed(2))
    # Another draw of the same surface: near it everywhere.
    assert cKDTree(points[0].numpy()).query(other[0].numpy())[0].max() < 0.3


def test_frames_from_points_are_those_that_rays_find(walking, cameras):
    shown = torch.arange(len(KINDS))
    points, _ = walking.surface(2048, torch.Generator().manual_seed(0))
    found = point_windows(points, cameras)
    exact = frame_windows(walking, shown, cameras, 96)
    assert (found - exact).abs().max() < 0.06 * exact[:, 2].max()
    pictures = draw(walking, shown, cameras, SIZE, windows_V3=found)
    theirs = draw(walking, shown, cameras, SIZE)
    alpha, other = (each[..., 3].numpy() > 0 for each in (pictures, theirs))
    agreement = (alpha & other).sum((1, 2)) / np.maximum((alpha | other).sum((1, 2)), 1)
    assert agreement.min() > 0.7
