"""Pictures drawn in batches, against those of the tracer that draws one at a time."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from g3pt.geometry.cameras import (
    OBJECT_FILL,
    canonical_camera,
    frame_object,
    orbit_camera,
    silhouette_box,
)
from g3pt.procedural import make_shape
from g3pt.procedural.tracing import TracedScene
from g3pt.stream.cameras import Cameras, canonical_cameras, orbit_cameras
from g3pt.stream.drawing import CHECKS, Patterns, draw, draw_windows, studio_lights
from g3pt.stream.primitives import PrimitiveCaster, pad_shapes

FAMILIES = ("chair", "mug", "castle", "fish", "umbrella", "car")
SIZE = 80


@pytest.fixture(scope="module")
def shapes():
    return [make_shape(3, family) for family in FAMILIES]


@pytest.fixture(scope="module")
def caster(shapes):
    batch = pad_shapes([shape.arrays for shape in shapes], [shape.extents for shape in shapes])
    return PrimitiveCaster(batch, "torch")


@pytest.fixture(scope="module")
def framed(caster):
    """Every shape from two sides, framed."""
    azimuths = torch.tensor([30.0, 200.0]).repeat(len(FAMILIES))
    elevations, fovs = azimuths.new_tensor([20.0, -35.0]), azimuths.new_tensor([30.0, 60.0])
    cameras = orbit_cameras(azimuths, elevations.repeat(len(FAMILIES)), fovs.repeat(len(FAMILIES)))
    shown = torch.arange(len(FAMILIES)).repeat_interleave(2)
    return draw(caster, shown, cameras, SIZE).numpy()


def views(shapes):
    for shape in shapes:
        yield shape, orbit_camera(30, 20)
        yield shape, orbit_camera(200, -35, fov_degrees=60)


def overlap(ours, theirs):
    return (ours & theirs).sum() / (ours | theirs).sum()


def test_the_whole_picture_is_that_of_the_tracer(shapes, caster):
    num = len(shapes)
    pictures = draw_windows(
        caster,
        torch.arange(num),
        canonical_cameras(num, "cpu"),
        torch.tensor([[0.0, 0.0, 1.0]]).expand(num, 3),
        SIZE,
        studio_lights(num, "cpu"),
        None,
    ).numpy()
    for shape, ours in zip(shapes, pictures, strict=True):
        theirs = TracedScene(shape).render(canonical_camera(), size=SIZE, supersample=1)
        # Rays that graze an edge end on either side of it.
        both = (ours[..., 3] > 0) & (theirs[..., 3] > 0)
        assert overlap(ours[..., 3] > 0, theirs[..., 3] > 0) > 0.97, shape.family
        assert np.abs(ours[both].astype(int) - theirs[both].astype(int)).mean() < 1, shape.family


def test_silhouettes_are_framed_as_those_of_files(shapes, framed):
    for (shape, camera), ours in zip(views(shapes), framed, strict=True):
        picture = TracedScene(shape).render(camera, size=2 * SIZE, supersample=1)
        theirs = frame_object(picture, SIZE)
        box, expected = silhouette_box(ours), silhouette_box(theirs)
        # The frames found at 128 and at 80 pixels differ by half a pixel of either.
        assert np.abs(np.subtract(box, expected)).max() <= 2, shape.family
        cover = (ours[..., 3] > 127) & (theirs[..., 3] > 127)
        assert np.abs(ours[cover].astype(int) - theirs[cover].astype(int)).mean() < 16


def test_the_longer_side_fills_its_share_of_the_picture(framed):
    boxes = np.array([silhouette_box(picture) for picture in framed])
    longer = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    assert np.abs(longer - OBJECT_FILL * SIZE).max() <= 2
    assert np.abs(boxes[:, 2:] + boxes[:, :2] - SIZE).max() <= 3  # centred


def test_looking_past_the_shape_shows_nothing(caster):
    cameras = canonical_cameras(1, "cpu")
    away = Cameras(cameras.positions_V3 + 100, cameras.axes_V33, cameras.tangents_V)
    assert not draw(caster, torch.tensor([0]), away, 16).any()


def test_pictures_do_not_depend_on_how_many_are_drawn_at_a_time(caster, monkeypatch):
    cameras = orbit_cameras(
        torch.tensor([0.0, 50.0, 200.0]), torch.tensor([5.0, 40.0, -10.0]), torch.full((3,), 40.0)
    )
    together = draw(caster, torch.tensor([0, 3, 1]), cameras, 24)
    monkeypatch.setattr("g3pt.stream.drawing._RAYS_AT_A_TIME", 1)
    assert torch.equal(draw(caster, torch.tensor([0, 3, 1]), cameras, 24), together)


def test_orbits_follow_the_law_of_the_cameras():
    cameras = orbit_cameras(torch.tensor([30.0]), torch.tensor([20.0]), torch.tensor([30.0]))
    canonical = canonical_cameras(1, "cpu")
    torch.testing.assert_close(cameras.positions_V3, canonical.positions_V3)
    torch.testing.assert_close(cameras.axes_V33, canonical.axes_V33)
    torch.testing.assert_close(cameras.tangents_V, canonical.tangents_V)


def test_light_from_the_other_side_lights_the_other_side(caster):
    cameras, lights = canonical_cameras(1, "cpu"), studio_lights(1, "cpu")
    left = replace(
        lights, keys_V3=torch.tensor([[-1.0, 0.0, 0.2]]), fill_strengths_V=torch.zeros(1)
    )
    right = replace(left, keys_V3=torch.tensor([[1.0, 0.0, 0.2]]))
    mug = torch.tensor([FAMILIES.index("mug")])

    def tilt(lights):
        picture = draw(caster, mug, cameras, 32, lights=lights)[0].float()
        luma, weight = picture[..., :3].mean(-1), picture[..., 3] / 255
        brightness = [
            float((luma * weight)[:, half].sum() / weight[:, half].sum())
            for half in (slice(0, 16), slice(16, 32))
        ]
        return brightness[1] - brightness[0]

    assert tilt(left) < 0 < tilt(right)


def test_checks_cover_about_half_of_the_surface_with_their_colour(caster):
    patterns = Patterns(
        kinds_V=torch.tensor([CHECKS]),
        waves_V43=torch.cat([30 * torch.eye(3), torch.zeros(1, 3)])[None],
        phases_V4=torch.zeros(1, 4),
        colors_V3=torch.tensor([[1.0, 0.0, 0.0]]),
        strengths_V=torch.ones(1),
    )
    number, cameras = torch.tensor([FAMILIES.index("mug")]), canonical_cameras(1, "cpu")
    plain = draw(caster, number, cameras, 48)
    checked = draw(caster, number, cameras, 48, patterns=patterns)
    assert torch.equal(plain[..., 3], checked[..., 3])
    changed = (plain != checked).any(-1)[plain[..., 3] > 0]
    assert 0.3 < changed.float().mean() < 0.7


def test_a_camera_a_shape_is_needed(caster):
    with pytest.raises(ValueError, match="a camera a shape, got 1 for 2"):
        draw(caster, torch.tensor([0, 1]), canonical_cameras(1, "cpu"), 16)
