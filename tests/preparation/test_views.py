import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def slab(folder_source):
    from g3pt.preparation.sources import list_shapes, load_shape

    (ref,) = (ref for ref in list_shapes(folder_source) if ref.id == "slab")
    return load_shape(ref)


def test_cameras_belong_to_the_shape_the_canonical_one_first(small_views):
    from g3pt.geometry.cameras import canonical_camera
    from g3pt.preparation.views import cameras_of

    first, second = cameras_of("a", small_views), cameras_of("b", small_views)
    assert first == cameras_of("a", small_views) and len(first) == 3
    assert first[0] == second[0] == canonical_camera()
    assert len({*first, *second}) == 5
    assert cameras_of("a", replace(small_views, seed=1))[1:] != first[1:]


def test_cameras_keep_to_the_elevations(small_views):
    from g3pt.preparation.views import cameras_of

    config = replace(small_views, num_views=50, elevations=(10.0, 30.0))
    for camera in cameras_of("a", config)[1:]:
        position = np.array(camera.position)
        elevation = np.degrees(np.arcsin(position[1] / np.linalg.norm(position)))
        assert 10.0 - 1e-3 <= elevation <= 30.0 + 1e-3


def test_a_camera_survives_json(slab, small_views):
    from g3pt.preparation.views import camera_from_json, cameras_of, draw_views

    _, stored = draw_views(slab, small_views)
    read = [camera_from_json(each) for each in json.loads(json.dumps(stored))]
    for camera, drawn in zip(read, cameras_of("slab", small_views), strict=True):
        for name, value in stored[0].items():
            # Rounded to six digits.
            expected = np.array(getattr(drawn, name), float)
            assert np.allclose(getattr(camera, name), expected, atol=1e-6), (name, value)


def test_a_picture_shows_the_object_in_its_colour_before_nothing(slab, small_views):
    from g3pt.preparation.views import draw_views
    from g3pt.shapes.stored import read_picture

    files, _ = draw_views(slab, small_views)
    assert len(files) == 3
    for file in files:
        rgba = read_picture(file)
        assert rgba.shape == (48, 48, 4) and (rgba[0, 0, 3], rgba[24, 24, 3]) == (0, 255)
        red, green, blue = (int(value) for value in rgba[24, 24, :3])
        assert red > 2 * green and red > 2 * blue


def test_a_picture_is_drawn_to_the_same_bytes_again(slab, small_views):
    from g3pt.preparation.views import draw_views

    assert draw_views(slab, small_views) == draw_views(slab, small_views)


def test_no_views_leave_the_canonical_one(slab, small_views):
    from g3pt.preparation.views import draw_views

    files, cameras = draw_views(slab, replace(small_views, num_views=0))
    assert len(files) == len(cameras) == 1
    assert files[0] == draw_views(slab, small_views)[0][0]


def test_any_png_is_read_with_an_alpha():
    from g3pt.shapes.stored import read_picture

    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (1, 2, 3)).save(buffer, format="PNG")
    assert read_picture(buffer.getvalue())[2, 1].tolist() == [1, 2, 3, 255]


@pytest.mark.parametrize("changes", [{"num_views": -1}, {"size": 8}, {"supersample": 0}])
def test_impossible_views_are_refused(changes):
    from g3pt.shapes.stored import ViewsConfig

    with pytest.raises(ValueError, match="views needs"):
        ViewsConfig(**changes)
