import numpy as np
import pytest
import trimesh

from colored import BLUE, RED, WHITE
from g3pt.geometry.lighting import EVEN_LIGHT, MIN_TRUSTED, fit_light
from g3pt.geometry.shading import DARKEST, display, linear, shade

BALL = trimesh.creation.icosphere(subdivisions=4)
NORMALS = np.asarray(BALL.vertices, dtype=np.float64)
TOWARD = NORMALS[:, 2] > 0.15  # the camera stands at +z


def lit(colors) -> np.ndarray:
    """Display values of a ball in the light of our renderer."""
    normals = NORMALS.astype(np.float32)
    paint = linear(np.broadcast_to(np.asarray(colors, dtype=np.uint8), (len(normals), 3)))
    light = shade(len(normals), np.arange(len(normals)), normals, paint)
    return display(light[None])[0, :, :3] / 255.0


def shown(color) -> np.ndarray:
    """Display values of a paint in light of 1; none is drawn darker than `DARKEST`."""
    light = DARKEST + (1 - DARKEST) * linear(np.array(color, dtype=np.uint8))
    return display(np.array([[[*light, 1.0]]], dtype=np.float32))[0, 0, :3] / 255.0


def removed(colors) -> np.ndarray:
    light = fit_light(colors, TOWARD.astype(np.float64), NORMALS, NORMALS)
    return light.removed(colors, NORMALS)


@pytest.mark.parametrize("color", [RED, BLUE, WHITE])
def test_a_ball_of_one_paint_is_even(color) -> None:
    before, after = lit(color)[TOWARD], removed(lit(color))[TOWARD]
    lead = int(np.argmax(color))
    assert before[:, lead].std() > 0.08
    assert after[:, lead].std() < 0.35 * before[:, lead].std()
    # The light of the brightest side is 1.04.
    assert np.median(after, axis=0) == pytest.approx(shown(color), abs=0.06)


def test_paints_stay_apart() -> None:
    upper = NORMALS[:, 1:2] > 0.2
    after = removed(lit(np.where(upper, RED, BLUE)))
    for part, color in ((upper[:, 0], RED), (~upper[:, 0], BLUE)):
        assert np.median(after[part & TOWARD], axis=0) == pytest.approx(shown(color), abs=0.1)


def test_black_beside_white_is_not_taken_for_shade() -> None:
    stripes = np.where(np.sin(12 * NORMALS[:, 1:2]) > 0, WHITE, (44, 44, 48))
    after = removed(lit(stripes))[TOWARD]
    dark = stripes[TOWARD][:, 0] < 100
    assert np.median(after[dark]) < 0.3 < 0.85 < np.median(after[~dark])


def test_a_bright_top_is_not_taken_for_light() -> None:
    top = NORMALS[:, 1:2] > 0.5
    after = removed(lit(np.where(top, WHITE, (120, 120, 120))))
    # All of it has one chromaticity; least squares gives .63.
    assert np.median(after[~top[:, 0] & TOWARD]) < 0.53


def test_nothing_gets_darker_and_hues_stay() -> None:
    before, after = lit(RED), removed(lit(RED))
    assert (after >= before - 1e-9).all()
    shares = [linear(np.rint(255 * one[TOWARD]).astype(np.uint8)) for one in (before, after)]
    first, second = (one / one.sum(axis=1, keepdims=True) for one in shares)
    assert np.abs(first - second).max() < 0.05  # bytes of dark values are coarse


def test_too_few_vertices_stay_as_they_are() -> None:
    weights = np.zeros(len(NORMALS))
    weights[: MIN_TRUSTED - 1] = 1
    before = lit(RED)
    light = fit_light(before, weights, NORMALS, NORMALS)
    assert light is EVEN_LIGHT
    np.testing.assert_allclose(light.removed(before, NORMALS), before, atol=1e-6)


def test_the_same_colours_come_out_every_time() -> None:
    assert (removed(lit(RED)) == removed(lit(RED))).all()
