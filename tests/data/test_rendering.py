import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch


@pytest.fixture(scope="module")
def pictured(folder_cache, tmp_path_factory):
    """The boxes with two views of the first two of them."""
    from g3pt.data.cache import ShapeCache
    from g3pt.data.rendering import ViewsConfig, render_views

    path = tmp_path_factory.mktemp("pictured") / "boxes"
    shutil.copytree(folder_cache.path, path)
    cache = ShapeCache(path)
    assert render_views(cache, ViewsConfig(num_views=2, limit=2, render_size=128)) == 0
    return cache


def test_only_the_views_asked_for_are_available(pictured):
    from g3pt.data.views import Views

    expected = [[True, True], [True, True], [False, False]]
    assert Views(pictured).available.tolist() == expected


def test_a_picture_shows_the_object_in_its_colour_before_nothing(pictured):
    from g3pt.data.views import Views

    rgba = Views(pictured).rgba(0, 0)
    assert (rgba[0, 0, 3], rgba[64, 64, 3]) == (0, 255)
    red, green, blue = (int(value) for value in rgba[64, 64, :3])
    assert red > 2 * green and red > 2 * blue


def test_later_views_and_shapes_leave_the_first_ones_alone(pictured):
    from g3pt.data.rendering import ViewsConfig, render_views
    from g3pt.data.views import Views

    before = Views(pictured).rgba(1, 1).copy()
    steps = []
    config = ViewsConfig(num_views=3, render_size=128)
    render_views(pictured, config, on_progress=lambda done, total: steps.append((done, total)))
    assert steps == [(3, 3)]
    views = Views(pictured)
    assert views.available.all() and views.available.shape == (3, 3)
    assert np.array_equal(views.rgba(1, 1), before)
    steps.clear()
    render_views(pictured, config, on_progress=lambda done, total: steps.append((done, total)))
    assert steps == []


def test_random_cameras_belong_to_shape_and_view():
    from g3pt.data.rendering import view_camera
    from g3pt.geometry.render import canonical_camera

    assert view_camera("a", 0) == view_camera("b", 0) == canonical_camera()
    assert view_camera("a", 1) == view_camera("a", 1)
    assert len({view_camera(name, view) for name in "ab" for view in (1, 2)}) == 4


def test_a_shape_that_has_changed_is_not_drawn(tmp_path, small_prepare):
    from g3pt.data.cache import ShapeCache, build_cache
    from g3pt.data.rendering import ViewsConfig, render_views
    from g3pt.data.sources import ProceduralSourceConfig
    from g3pt.data.views import Views

    build_cache(ProceduralSourceConfig(num=2, first_seed=5), small_prepare, tmp_path / "c")
    labels = np.load(tmp_path / "c" / "near_inside.npy", mmap_mode="r+")
    labels[1] = ~labels[1]
    labels.flush()
    cache = ShapeCache(tmp_path / "c")
    assert render_views(cache, ViewsConfig(num_views=1, render_size=128)) == 1
    assert Views(cache).available.tolist() == [[True], [False]]


@pytest.fixture
def car_config(pictured, tmp_path):
    from g3pt.data.dataset import CarDataConfig
    from g3pt.data.tokens_cache import TokenCacheConfig, TokenizerIdentity, build_token_cache

    def tokenize(points_BN3, normals_BN3):
        return torch.ones(len(points_BN3), 2, dtype=torch.int64)

    identity = TokenizerIdentity(fingerprint="f", scale_lengths=(2,), num_bits=4)
    sizes = TokenCacheConfig(resamplings=1, num_points=16)
    build_token_cache(tokenize, identity, pictured, tmp_path / "t", sizes)
    return CarDataConfig(caches=(str(pictured.path),), tokens=(str(tmp_path / "t"),), batch_size=12)


def test_car_batches_show_the_picture_over_white(car_config, pictured):
    from g3pt.data.dataset import CarDataset
    from g3pt.data.views import Views

    batch = CarDataset(replace(car_config, canonical_share=1.0)).batch(0)
    assert batch.has_image_B.all() and (batch.view_B == 0).all()
    row = [shape["id"] for shape in pictured.shapes].index(batch.ids[0])
    rgba = Views(pictured).rgba(row, 0).astype(np.float32) / 255
    over_white = rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]
    shown = batch.images_B3SS[0].permute(1, 2, 0).numpy()
    assert np.allclose(shown, over_white, atol=1e-6)


def test_other_views_are_drawn_too_and_resized(car_config):
    from g3pt.data.dataset import CarDataset

    batch = CarDataset(replace(car_config, canonical_share=0.0, image_size=32)).batch(0)
    assert set(batch.view_B.tolist()) <= {1, 2}
    assert batch.images_B3SS.shape == (12, 3, 32, 32)
    assert batch.images_B3SS.min() >= 0 and batch.images_B3SS.max() <= 1
