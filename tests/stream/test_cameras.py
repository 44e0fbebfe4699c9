import pytest
import torch

from g3pt.stream.cameras import ViewLaw, draw_views


def views(law, num=4000, front=False, seed=0):
    has_front = torch.full((num,), front)
    return draw_views(law, has_front, torch.Generator().manual_seed(seed))


def test_pictures_of_shapes_without_a_front_come_from_one_quarter_turn():
    drawn = views(ViewLaw())
    assert drawn.azimuth_V.min() >= -15
    assert drawn.azimuth_V.max() <= 75
    assert drawn.elevation_V.min() >= -10
    assert drawn.elevation_V.max() <= 60.001


def test_the_canonical_camera_is_drawn_as_often_as_asked_and_exactly():
    drawn = views(ViewLaw(canonical_share=0.25))
    share = drawn.canonical_V.float().mean().item()
    assert share == pytest.approx(0.25, abs=0.03)  # four standard deviations of 4000 draws
    fixed = drawn.canonical_V
    assert set(drawn.azimuth_V[fixed].tolist()) == {30.0}
    assert set(drawn.elevation_V[fixed].tolist()) == {20.0}
    assert set(drawn.fov_V[fixed].tolist()) == {30.0}


def test_shapes_with_a_front_are_sometimes_seen_from_behind():
    drawn = views(ViewLaw(anywhere_share=0.5), front=True)
    behind = (drawn.azimuth_V > 100) & (drawn.azimuth_V < 260)
    assert 0.1 < behind.float().mean() < 0.2  # .66 * .5 * 160 / 360


def test_a_law_that_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match=r"views.elevations must not decrease"):
        ViewLaw(elevations=(10, 0))
    with pytest.raises(ValueError, match=r"views.canonical_share"):
        ViewLaw(canonical_share=1.5)
