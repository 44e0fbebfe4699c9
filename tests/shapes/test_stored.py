"""Configs, packed arrays and pictures of stored shapes."""

import zlib

import numpy as np
import pytest


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"num_points": 0}, r"num_points must lie in 1\.\.16777216, got 0"),
        ({"num_points": 2**25}, "num_points must lie in"),
        ({"num_volume_queries": 0}, "num_volume_queries must lie in"),
        ({"num_near_queries": 3 * 2**40}, "num_near_queries must lie in"),
        ({"near_sigmas": ()}, r"num_near_queries must be a multiple of the 0 near_sigmas"),
        ({"num_near_queries": 100}, "must be a multiple of the 3 near_sigmas, got 100"),
        ({"num_near_queries": 300}, "multiples of 8"),
        ({"num_volume_queries": 100}, "multiples of 8"),
        ({"near_sigmas": (0.1, 0.0, 0.1)}, "near_sigmas must be positive and at most 1"),
        ({"near_sigmas": (0.1, float("nan"), 0.1)}, "near_sigmas must be positive and at most 1"),
        ({"near_sigmas": (0.1, 2.0, 0.1)}, "near_sigmas must be positive and at most 1"),
    ],
)
def test_a_preparation_of_impossible_counts_is_refused(changes, reason):
    from g3pt.shapes.stored import PrepareConfig

    with pytest.raises(ValueError, match=reason):
        PrepareConfig(**changes)


@pytest.mark.parametrize("changes", [{"num_views": -1}, {"size": 15}, {"supersample": 0}])
def test_views_of_impossible_counts_are_refused(changes):
    from g3pt.shapes.stored import ViewsConfig

    with pytest.raises(ValueError, match="views needs num_views >= 0, size >= 16 and supersample"):
        ViewsConfig(**changes)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda packed: packed[:-9], "does not unpack to the 24 bytes"),
        (lambda packed: packed[:-2], "does not unpack to the 24 bytes"),  # of the checksum
        (lambda packed: packed + b"x", "does not unpack to the 24 bytes"),
        (lambda packed: zlib.compress(bytes(23)), "does not unpack to the 24 bytes"),
        (lambda packed: zlib.compress(bytes(25)), "does not unpack to the 24 bytes"),
        (lambda packed: b"x" + packed, "cannot be unpacked"),
    ],
)
def test_bytes_that_are_not_those_of_the_array_are_refused(change, reason):
    from g3pt.shapes.stored import compress_planes, expand_planes

    array = np.arange(12, dtype=np.int16).reshape(4, 3)
    packed = compress_planes(array)
    assert np.array_equal(expand_planes(packed, np.int16, (4, 3)), array)
    wrong = np.frombuffer(change(packed.tobytes()), np.uint8)
    with pytest.raises(ValueError, match=reason):
        expand_planes(wrong, np.int16, (4, 3))


def test_bytes_that_unpack_to_very_much_take_no_memory():
    from g3pt.shapes.stored import expand_planes
    from g3pt.torture.array_files import zlib_bomb
    from g3pt.torture.trials import spare_memory

    few, many = zlib_bomb(2**24), zlib_bomb(2**30)
    assert len(few) < 20_000 and len(many) < 2**21
    with spare_memory(2**27):
        for bomb in (few, many):
            with pytest.raises(ValueError, match="does not unpack to the 24 bytes"):
                expand_planes(bomb, np.int16, (4, 3))
        with pytest.raises(ValueError, match=r"has \d+ bytes, too few to hold the 1073741824"):
            expand_planes(many, np.uint8, (2**30,))


@pytest.mark.parametrize("kind", ["wide", "bomb", "noise", "gif"])
def test_only_square_pictures_of_usual_size_are_read(kind):
    import io

    from PIL import Image

    from g3pt.shapes.stored import read_picture
    from g3pt.torture.mesh_files import png_of

    gif = io.BytesIO()
    Image.new("RGB", (16, 16)).save(gif, "gif")
    wide = io.BytesIO()
    Image.new("RGB", (16, 8)).save(wide, "png")
    data = {"bomb": png_of(60_000, 60_000), "noise": b"no picture"}
    data |= {"gif": gif.getvalue(), "wide": wide.getvalue()}
    with pytest.raises(ValueError, match="is no square picture in PNG or WebP"):
        read_picture(data[kind])


def test_a_picture_has_a_largest_size(monkeypatch):
    import io

    from PIL import Image

    from g3pt.shapes import stored

    content = io.BytesIO()
    Image.new("RGBA", (16, 16)).save(content, "png")
    monkeypatch.setattr(stored, "MAX_PICTURE_PIXELS", 256)
    assert stored.read_picture(content.getvalue()).shape == (16, 16, 4)
    monkeypatch.setattr(stored, "MAX_PICTURE_PIXELS", 255)
    with pytest.raises(ValueError, match="has 16 x 16 pixels"):
        stored.read_picture(content.getvalue())


def test_planes_are_compressed_within_the_bound_that_is_checked():
    from g3pt.shapes.stored import most_compressed

    for size in (0, 1, 100, 10_000, 3_000_000):
        noise = np.random.default_rng(0).bytes(size)
        assert len(zlib.compress(noise, 6)) <= most_compressed(size)
