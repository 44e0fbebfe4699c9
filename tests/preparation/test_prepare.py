import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

RADIUS = 0.95


def in_ball(points):
    return np.linalg.norm(points.astype(np.float64), axis=1) < RADIUS


def sphere_like(contains):
    """A shape with the surface of a sphere and any inside."""
    from g3pt.geometry.sampling import SurfaceSamples
    from g3pt.preparation.sources import SourceShape

    class Sphere(SourceShape):
        id, family, licence, captions, details = "ball", "ball", "CC0-1.0", ("a ball",), {}

        def make_queryable(self):
            pass

        def sample_surface(self, num, rng):
            directions = rng.standard_normal((num, 3))
            directions /= np.linalg.norm(directions, axis=1, keepdims=True)
            return SurfaceSamples(directions * RADIUS, directions, np.zeros(num, np.int64))

        def surface_colors(self, samples):
            return None

        def contains(self, points):
            return contains(points)

        def measure_quality(self, samples, rng):
            return None

        def mesh(self):
            raise NotImplementedError

        def scene(self):
            raise NotImplementedError

    return Sphere()


@pytest.fixture
def record(small_prepare):
    from g3pt.preparation.prepare import prepare_shape

    return prepare_shape(sphere_like(in_ball), small_prepare)


def unpacked(packed):
    return np.unpackbits(packed, bitorder="little").astype(bool)


def near_positions(record, config):
    """Positions of the near-surface queries, group by group."""
    from g3pt.shapes.queries import near_queries
    from g3pt.shapes.stored import positions

    key, size = record.description["query_key"], config.near_group_size
    return [
        positions(near_queries(key, np.arange(size) + group * size, record.points, sigma))
        for group, sigma in enumerate(config.near_sigmas)
    ]


def test_every_label_is_exact_at_the_position_worked_out(record, small_prepare):
    from g3pt.shapes.queries import volume_queries
    from g3pt.shapes.stored import positions, query_key

    assert record.description["query_key"] == query_key("ball", small_prepare.seed)
    volume = volume_queries(record.description["query_key"], np.arange(512))
    assert np.array_equal(unpacked(record.volume_inside), in_ball(positions(volume)))
    near = np.concatenate(near_positions(record, small_prepare))
    assert np.array_equal(unpacked(record.near_inside), in_ball(near))


def test_labels_do_not_depend_on_the_size_of_a_chunk(small_prepare, record, monkeypatch):
    from g3pt.preparation import prepare

    monkeypatch.setattr(prepare, "CHUNK", 100)
    again = prepare.prepare_shape(sphere_like(in_ball), small_prepare)
    assert np.array_equal(again.volume_inside, record.volume_inside)
    assert np.array_equal(again.near_inside, record.near_inside)


def test_stored_points_lie_on_the_surface_up_to_rounding(record):
    from g3pt.shapes.stored import normals, positions

    points, directions = positions(record.points), normals(record.normals)
    # Half a step of 1/32767 an axis, and half a step of 1/127 for normals.
    assert np.abs(np.linalg.norm(points, axis=1) - RADIUS).max() < 0.87 / 32767 + 1e-7
    assert np.abs(directions - points / RADIUS).max() < 0.5 / 127 + 1e-4


def test_near_groups_spread_by_their_sigma(small_prepare, record):
    groups = near_positions(record, small_prepare)
    for sigma, points in zip(small_prepare.near_sigmas, groups, strict=True):
        spread = np.std(np.linalg.norm(points, axis=1) - RADIUS)
        assert spread == pytest.approx(sigma, rel=0.3)  # 128 samples


def test_the_description_gives_the_share_inside_of_each_group(small_prepare, record):
    shares = [in_ball(points).mean() for points in near_positions(record, small_prepare)]
    assert record.description["near_shares"] == pytest.approx(shares, abs=1e-6)


def test_the_share_of_the_volume_is_that_of_the_ball(record):
    # 4/3 pi r^3 / 8 = 0.449; 512 samples have a standard deviation of 0.022
    assert record.description["volume_share"] == pytest.approx(0.449, abs=0.08)


def test_preparing_twice_gives_the_same_record(small_prepare, record):
    from g3pt.preparation.prepare import prepare_shape

    again = prepare_shape(sphere_like(in_ball), small_prepare)
    for name in ("points", "normals", "volume_inside", "near_inside"):
        assert np.array_equal(getattr(again, name), getattr(record, name))
    assert again.description == record.description


def test_another_seed_gives_other_points_and_other_queries(small_prepare, record):
    from g3pt.preparation.prepare import prepare_shape

    other = prepare_shape(sphere_like(in_ball), replace(small_prepare, seed=1))
    assert other.description["query_key"] != record.description["query_key"]
    assert not np.array_equal(other.points, record.points)


def test_the_stopwatch_is_told_every_stage(small_prepare):
    from g3pt.preparation.prepare import prepare_shape
    from g3pt.work.tasks import Stopwatch

    watch = Stopwatch()
    prepare_shape(sphere_like(in_ball), small_prepare, watch)
    assert list(watch.seconds) == ["solid", "sample", "label", "quality"]


def test_a_shape_without_interior_is_refused(small_prepare):
    from g3pt.preparation.prepare import prepare_shape
    from g3pt.preparation.sources import ShapeError

    with pytest.raises(ShapeError, match="no interior") as caught:
        prepare_shape(sphere_like(lambda points: np.zeros(len(points), bool)), small_prepare)
    assert caught.value.code == "no_interior"


def test_surface_samples_that_are_not_finite_are_refused(small_prepare):
    from g3pt.geometry.sampling import SurfaceSamples
    from g3pt.preparation.prepare import prepare_shape
    from g3pt.preparation.sources import ShapeError

    shape = sphere_like(in_ball)
    nowhere = np.full((small_prepare.num_points, 3), np.nan)
    faces = np.zeros(len(nowhere), np.int64)
    shape.sample_surface = lambda num, rng: SurfaceSamples(nowhere, nowhere, faces)
    with pytest.raises(ShapeError, match="not finite"):
        prepare_shape(shape, small_prepare)


def test_a_mesh_keeps_its_colours_and_its_measured_quality(folder_source, small_prepare):
    from g3pt.preparation.prepare import prepare_shape
    from g3pt.preparation.sources import list_shapes, load_shape

    cube = load_shape(list_shapes(folder_source)[0], solid_resolution=48)
    record = prepare_shape(cube, small_prepare)
    assert (record.colors == (200, 40, 40)).all()
    quality = record.description["quality"]
    assert quality["label_error"] == 0 and quality["num_components"] == 1
    assert quality["volume_ratio"] == pytest.approx(1, abs=0.01)


def test_labels_at_reads_what_pack_labels_wrote():
    from g3pt.shapes.stored import labels_at, pack_labels

    rng = np.random.default_rng(0)
    inside, places = rng.random(64) < 0.5, rng.permutation(64)[:40]
    assert np.array_equal(labels_at(pack_labels(inside), places), inside[places])


def test_quantized_positions_stay_within_half_a_step():
    from g3pt.shapes.stored import positions, quantize_positions

    points = np.random.default_rng(0).uniform(-1, 1, (1000, 3))
    assert np.abs(positions(quantize_positions(points)) - points).max() < 0.5 / 32767 + 1e-7


@pytest.mark.parametrize("changes", [{"num_near_queries": 100}, {"num_volume_queries": 100}])
def test_query_counts_that_do_not_divide_are_refused(changes):
    from g3pt.shapes.stored import PrepareConfig

    with pytest.raises(ValueError, match="multiple"):
        PrepareConfig(**changes)


@pytest.fixture
def slab(folder_source):
    from g3pt.preparation.sources import list_shapes, load_shape

    (ref,) = (ref for ref in list_shapes(folder_source) if ref.id == "slab")
    return load_shape(ref)


def test_cameras_belong_to_the_shape_the_canonical_one_first(small_views):
    from g3pt.geometry.cameras import canonical_camera
    from g3pt.preparation.prepare import cameras_of

    first, second = cameras_of("a", small_views), cameras_of("b", small_views)
    assert first == cameras_of("a", small_views) and len(first) == 3
    assert first[0] == second[0] == canonical_camera()
    assert len({*first, *second}) == 5
    assert cameras_of("a", replace(small_views, seed=1))[1:] != first[1:]


def test_cameras_keep_to_the_elevations(small_views):
    from g3pt.preparation.prepare import cameras_of

    config = replace(small_views, num_views=50, elevations=(10.0, 30.0))
    for camera in cameras_of("a", config)[1:]:
        position = np.array(camera.position)
        elevation = np.degrees(np.arcsin(position[1] / np.linalg.norm(position)))
        assert 10.0 - 1e-3 <= elevation <= 30.0 + 1e-3


def test_a_camera_survives_json(slab, small_views):
    from g3pt.config import from_json
    from g3pt.geometry.cameras import Camera
    from g3pt.preparation.prepare import cameras_of, draw_views

    _, stored = draw_views(slab, small_views)
    read = [from_json(Camera, each, origin="camera") for each in json.loads(json.dumps(stored))]
    for camera, drawn in zip(read, cameras_of("slab", small_views), strict=True):
        for name, value in stored[0].items():
            # Rounded to six digits.
            expected = np.array(getattr(drawn, name), float)
            assert np.allclose(getattr(camera, name), expected, atol=1e-6), (name, value)


def test_a_picture_shows_the_object_in_its_colour_before_nothing(slab, small_views):
    from g3pt.preparation.prepare import draw_views
    from g3pt.shapes.stored import read_picture

    files, _ = draw_views(slab, small_views)
    assert len(files) == 3
    for file in files:
        rgba = read_picture(file)
        assert rgba.shape == (48, 48, 4) and (rgba[0, 0, 3], rgba[24, 24, 3]) == (0, 255)
        red, green, blue = (int(value) for value in rgba[24, 24, :3])
        assert red > 2 * green and red > 2 * blue


def test_a_picture_is_drawn_to_the_same_bytes_again(slab, small_views):
    from g3pt.preparation.prepare import draw_views

    assert draw_views(slab, small_views) == draw_views(slab, small_views)


def test_no_views_leave_the_canonical_one(slab, small_views):
    from g3pt.preparation.prepare import draw_views

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
