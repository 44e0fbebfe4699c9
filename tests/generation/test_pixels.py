"""Pictures in every form that people hold them in: the same, or a sentence on what to do."""

import io
import os
import struct
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, features

from g3pt.generation.pictures import prepare_picture
from g3pt.generation.pixels import PictureError, open_picture
from g3pt.geometry.formats.textures import open_texture
from generation.test_pictures import SIZE, disc, over, png_chunk

RGB = np.asarray(over(disc(), (255, 255, 255)))
RGBA = disc()
GREY = np.asarray(Image.fromarray(RGB).convert("L"))


def pixels(picture) -> np.ndarray:
    return np.asarray(open_picture(picture)).astype(int)


def png_bytes(array: np.ndarray = RGB) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG")
    return out.getvalue()


def deep_png(values: np.ndarray, *extra: tuple[bytes, bytes]) -> bytes:
    """A PNG of 16 bits a channel, which Pillow reads and does not write."""
    height, width, channels = values.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = values.astype(">u2").reshape(height, -1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    head = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    chunks = [(b"IHDR", head), *extra, (b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


@pytest.mark.parametrize(
    "array",
    [
        RGB / 255.0,
        (RGB / 255.0).astype(np.float32),
        (RGB / 255.0).astype(np.float16),
        RGB.astype(np.int64),
        RGB.astype(np.uint16),
        RGB.astype(np.uint16) * 257,
        RGB.transpose(2, 0, 1),
        RGB.transpose(2, 0, 1) / 255.0,
        RGB[None],
        RGB.transpose(2, 0, 1)[None] / 255.0,
        RGB[::-1][::-1],
        np.asfortranarray(RGB),
        torch.from_numpy(RGB.copy()),
        torch.from_numpy(RGB.copy()).permute(2, 0, 1) / 255,
        (torch.from_numpy(RGB.copy()).permute(2, 0, 1) / 255).requires_grad_(),
        png_bytes(),
        bytearray(png_bytes()),
        memoryview(png_bytes()),
        io.BytesIO(png_bytes()),
        Image.fromarray(RGB),
    ],
)
def test_a_picture_is_itself_in_every_form(array) -> None:
    found = pixels(array)
    assert found.shape == (200, 200, 4) and (found[..., 3] == 255).all()
    assert np.abs(found[..., :3] - RGB).max() <= 1  # half precision


@pytest.mark.parametrize(
    "array",
    [
        GREY,
        GREY[..., None],
        GREY[None],
        GREY / 255.0,
        GREY.astype(np.int32),
        torch.from_numpy(GREY.copy())[None] / 255,
        np.stack([GREY, np.full_like(GREY, 255)], axis=-1),
    ],
)
def test_one_channel_is_grey(array) -> None:
    assert np.array_equal(pixels(array), pixels(Image.fromarray(GREY)))


def test_a_mask_is_read_as_black_and_white() -> None:
    found = pixels(RGBA[..., 3] > 0)
    assert np.array_equal(found[..., 0], RGBA[..., 3])


@pytest.mark.parametrize("scale", [1, 257])
def test_alpha_is_kept_in_every_number_format(scale: int) -> None:
    for array in (RGBA / 255.0, RGBA.astype(np.uint16) * scale, RGBA.transpose(2, 0, 1)):
        assert np.array_equal(pixels(array), RGBA)
        assert prepare_picture(array, SIZE).cutout.method == "alpha"


def test_bfloat16_is_a_number_format_too() -> None:
    tensor = torch.from_numpy(RGB.copy()).bfloat16() / 255
    assert np.abs(pixels(tensor)[..., :3] - RGB).max() <= 2  # eight bits of mantissa


def test_a_stream_is_read_from_its_beginning(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(RGB).save(stream, "PNG")  # which leaves it at its end
    assert np.array_equal(pixels(stream)[..., :3], RGB)
    (tmp_path / "disc.png").write_bytes(png_bytes())
    with (tmp_path / "disc.png").open("rb") as file:
        assert np.array_equal(pixels(file)[..., :3], RGB)
    with (tmp_path / "disc.png").open(encoding="latin-1") as file:
        with pytest.raises(PictureError, match="binary"):
            open_picture(file)


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_deep_png_is_as_bright_as_its_values_say(bits: int, channels: int) -> None:
    """Cameras write 10 or 12 bits into 16; taken for 16 bits they would be black."""
    array = {1: GREY[..., None], 2: RGBA[..., [0, 3]], 3: RGB, 4: RGBA}[channels]
    deep = np.rint(array / 255.0 * (2**bits - 1)).astype(np.uint16)
    found = pixels(deep_png(deep))
    assert np.abs(found - pixels(array)).max() <= 1
    prepare_picture(deep_png(deep), SIZE)


def test_a_deep_png_is_put_upright_too() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise when shown
    dark = (RGB[:, :100].astype(np.uint16)) * 4
    found = pixels(deep_png(dark, (b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))))
    assert np.abs(found[..., :3] - np.rot90(RGB[:, :100], -1)).max() <= 1


def test_dark_pictures_of_all_sixteen_bits_keep_their_alpha() -> None:
    deep = RGBA.astype(np.uint16) * 257
    deep[..., :3] //= 20  # black paint under a bright alpha
    found = pixels(deep_png(deep))
    assert np.abs(found - np.rint(deep / 257)).max() <= 1
    opaque = np.concatenate([RGB.astype(np.uint16) * 4, np.full((200, 200, 1), 65535)], axis=2)
    assert np.abs(pixels(deep_png(opaque))[..., :3] - RGB).max() <= 1


def slow_pixels(deep: np.ndarray) -> np.ndarray:
    """Values of any depth as bytes, all at once; an opaque alpha channel is of 16 bits."""
    has_alpha = deep.shape[2] in (2, 4)
    opaque = has_alpha and bool((deep[..., -1] == 65535).all())
    told = deep[..., :-1] if opaque else deep
    bits = next(bits for bits in (8, 10, 12, 14, 16) if told.max() < 2**bits)
    scaled = np.rint(deep.astype(np.float64) * (255 / (2.0**bits - 1)))
    if opaque:
        scaled[..., -1] = 255
    alpha = scaled[..., -1:] if has_alpha else np.full_like(scaled[..., :1], 255)
    colors = scaled[..., :-1] if has_alpha else scaled
    return np.concatenate([np.broadcast_to(colors, (*deep.shape[:2], 3)), alpha], axis=2)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_rows_make_the_same_picture_as_the_whole(
    channels: int, bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("g3pt.generation.pixels._STRIP_PIXELS", 7 * 30)
    rng = np.random.default_rng(bits)
    deep = rng.integers(0, 2 ** (bits - 1), (33, 30, channels)).astype(np.uint16)
    deep[-1, -1] = 2**bits - 1  # only the last rows tell how deep it is
    pictures = [deep]
    if channels in (2, 4):
        pictures.append(np.concatenate([deep[..., :-1], np.full_like(deep[..., :1], 65535)], 2))
    for picture in pictures:
        for given in (picture, picture.astype(np.int64), deep_png(picture)):
            assert np.array_equal(pixels(given), slow_pixels(picture))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_wide_numbers_are_made_of_some_rows_at_a_time(channels: int) -> None:
    """A few hundred kilobytes of zeros, 64 million pixels of 16 bits, took more than 5 GB."""
    data = deep_png(np.zeros((2000, 2000, channels), np.uint16))
    tracemalloc.start()
    try:
        open_picture(data)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 40 * 2**20  # of NumPy; all at once, floats alone take 30 MB a channel


@pytest.mark.parametrize("mode", ["LA", "La", "RGBX", "HSV", "YCbCr", "CMYK", "I", "I;16"])
def test_grey_is_grey_in_every_mode_of_pillow(mode: str) -> None:
    grey = Image.fromarray(GREY)
    if mode == "I;16":
        image = Image.fromarray(GREY.astype(np.uint16))
    elif mode in ("La", "I"):
        image = grey.convert("LA" if mode == "La" else "L").convert(mode)
    else:
        image = grey.convert("RGB").convert(mode)
    assert np.abs(pixels(image) - pixels(grey)).max() <= 2


def test_a_picture_written_as_text_is_no_file() -> None:
    with pytest.raises(FileNotFoundError, match="no such picture"):
        open_picture("iVBORw0KGgo" * 1000)


@pytest.mark.parametrize("bits", [10, 16])
def test_a_deep_tiff_is_as_bright_as_its_values_say(bits: int, tmp_path: Path) -> None:
    deep = np.rint(GREY / 255.0 * (2**bits - 1)).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.tiff")
    assert np.abs(pixels(tmp_path / "deep.tiff") - pixels(GREY)).max() <= 1


def test_a_tiff_of_floats_is_read(tmp_path: Path) -> None:
    Image.fromarray((GREY / 255.0).astype(np.float32)).save(tmp_path / "float.tiff")
    assert np.array_equal(pixels(tmp_path / "float.tiff"), pixels(GREY))


@pytest.mark.parametrize(
    ("picture", "sentence"),
    [
        (RGB.astype(np.float32), "from 30 to 255, expected 0 to 1: divide by 255"),
        (RGB / 127.5 - 1, r"from -.* to 1, expected 0 to 1: halve them and add \.5"),
        (RGB * 7.5, r"from 225 to 1912\.5, expected 0 to 1$"),
        (np.full((64, 64, 3), np.nan), "not finite"),
        (RGB.astype(np.int64) - 128, "from -98 to 127, expected 0 to 65535"),
        (RGB.astype(np.int64) * 10**6, "expected 0 to 65535"),
        (RGB.astype(complex), "complex128, expected uint8"),
        (RGB.astype(object), "object, expected uint8"),
        (np.zeros((200, 200, 7), np.uint8), r"\(200, 200, 7\), expected height x width"),
        (np.zeros((2, 200, 200, 3), np.uint8), "2 pictures: give them as a list"),
        (np.zeros((2, 3, 4, 5, 6), np.uint8), "expected height x width"),
        (np.zeros(100, np.uint8), "expected height x width"),
        (np.zeros((0, 0, 3), np.uint8), "0 x 0 pixels are too few"),
        (np.zeros((8, 200, 3), np.uint8), "200 x 8 pixels are too few"),
        (b"", "is not a readable picture"),
        (b"not a picture", "is not a readable picture"),
        (png_bytes()[:300], "damaged or cut short"),
        (None, "NoneType, expected a file"),
        (7, "int, expected a file"),
        ([RGB], "list, expected a file"),
    ],
)
def test_what_is_no_picture_is_refused_with_what_would_do(picture, sentence: str) -> None:
    with pytest.raises(PictureError, match=sentence):
        prepare_picture(picture, SIZE)


def test_bytes_are_judged_by_their_header_as_files_are() -> None:
    from generation.test_pictures import png_header

    with pytest.raises(PictureError, match="64 million pixels"):
        open_picture(png_header(20_000, 20_000))


def test_damaged_pictures_are_read_or_refused_without_a_word_of_the_library(capfd) -> None:
    exif = Image.Exif()
    exif[0x010E] = "x" * 50
    photograph, scan = io.BytesIO(), io.BytesIO()
    Image.fromarray(RGB).save(photograph, "JPEG", exif=exif.tobytes()[:-30])
    Image.fromarray(RGB).save(scan, "TIFF", compression="tiff_lzw")
    assert pixels(photograph).shape == (200, 200, 4)
    damaged = bytearray(scan.getvalue())
    for place in range(len(damaged) // 2, len(damaged) // 2 + 30):
        damaged[place] ^= 0x5A
    with pytest.raises(PictureError, match="damaged or cut short"):
        open_picture(bytes(damaged))  # libtiff would print that to the process's own stderr
    assert open_texture(bytes(damaged)) is None
    assert capfd.readouterr() == ("", "")
    os.write(2, b"heard again")
    assert capfd.readouterr().err == "heard again"


def test_pictures_decoded_in_many_threads_leave_stderr_as_it_was(capfd) -> None:
    scan = io.BytesIO()
    Image.fromarray(RGB).save(scan, "TIFF", compression="tiff_lzw")
    with ThreadPoolExecutor(8) as pool:
        images = pool.map(open_picture, [scan.getvalue()] * 64)
        assert all(image.size == (200, 200) for image in images)
    os.write(2, b"still heard")
    assert capfd.readouterr().err == "still heard"


def test_a_picture_of_one_dark_tone_is_still_flat() -> None:
    with pytest.raises(PictureError, match="one flat colour"):
        prepare_picture(np.full((64, 64), 900, np.uint16), SIZE)


# --- formats of phones, browsers and drawings ----------------------------------------------


def photograph() -> Image.Image:
    """A red square on grey."""
    image = Image.new("RGB", (64, 48), (128, 128, 128))
    image.paste((200, 30, 30), (20, 12, 44, 36))
    return image


@pytest.mark.skipif(not features.check("avif"), reason="Pillow was built without AVIF")
def test_avif_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mug.avif"
    photograph().save(path, quality=95)
    pixels = np.asarray(open_picture(path)).astype(int)
    assert pixels.shape == (48, 64, 4)
    assert np.abs(pixels[24, 32, :3] - (200, 30, 30)).max() < 12


def test_a_heic_photograph_is_read_or_names_the_extra(tmp_path: Path) -> None:
    path = tmp_path / "IMG_0001.heic"
    try:
        import pillow_heif
    except ImportError:
        path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40))
        with pytest.raises(PictureError, match=r"IMG_0001\.heic: is a HEIC .*'g3pt\[heic\]'"):
            open_picture(path)
        return
    pillow_heif.from_pillow(photograph()).save(path, quality=95)
    pixels = np.asarray(open_picture(path)).astype(int)
    assert np.abs(pixels[24, 32, :3] - (200, 30, 30)).max() < 12


@pytest.mark.parametrize(
    "head",
    [
        "<svg xmlns='http://www.w3.org/2000/svg'/>",
        "\ufeff<?xml version='1.0'?>\n<!-- drawn -->\n<svg/>",
        "<!DOCTYPE svg PUBLIC '-//W3C//DTD SVG 1.1//EN' ''>\n<svg/>",
    ],
)
def test_a_drawing_is_refused_with_what_to_do(head: str, tmp_path: Path) -> None:
    path = tmp_path / "logo.svg"
    path.write_text(head, encoding="utf-8")
    with pytest.raises(PictureError, match=r"logo\.svg: is an SVG drawing.*save it as PNG"):
        open_picture(path)


@pytest.mark.parametrize("form", ["file", "bytes", "stream"])
def test_a_picture_file_has_a_largest_size_in_every_form(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = png_bytes()
    (tmp_path / "a.png").write_bytes(data)
    picture = {"file": lambda: tmp_path / "a.png", "bytes": lambda: data}.get(
        form, lambda: io.BytesIO(data)
    )
    monkeypatch.setattr("g3pt.generation.pixels.MAX_BYTES", len(data))
    assert open_picture(picture()).size == RGB.shape[1::-1]
    monkeypatch.setattr("g3pt.generation.pixels.MAX_BYTES", len(data) - 1)
    with pytest.raises(PictureError, match="MiB that a picture may have; save it smaller"):
        open_picture(picture())


def test_a_picture_that_claims_more_pixels_than_pillow_opens_says_how_many_there_may_be() -> None:
    out = io.BytesIO()
    Image.new("RGB", (1, 1)).save(out, "BMP")
    data = bytearray(out.getvalue())
    data[18:26] = struct.pack("<ii", 60_000, 60_000)
    with pytest.raises(PictureError, match=r"more than the .* million pixels that are read"):
        open_picture(bytes(data))
