import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from g3pt.generation.cutouts import Cutout, find_object
from g3pt.generation.pictures import PictureError, prepare_picture
from g3pt.generation.pixels import MAX_BYTES, open_picture
from g3pt.geometry.cameras import OBJECT_FILL, frame_object, frame_together, silhouette_box

SIZE = 64


def disc(size: int = 200, *, center: tuple[float, float] = (90, 110), radius: float = 40.0):
    """A red disc on nothing, as RGBA."""
    y, x = np.mgrid[:size, :size] + 0.5
    inside = np.hypot(x - center[0], y - center[1]) < radius
    rgba = np.zeros((size, size, 4), dtype=np.uint8)
    rgba[inside] = (200, 40, 30, 255)
    return rgba


def over(rgba: np.ndarray, background: np.ndarray | tuple[int, int, int]) -> Image.Image:
    alpha = rgba[..., 3:] / 255.0
    mixed = rgba[..., :3] * alpha + np.asarray(background, dtype=float) * (1 - alpha)
    return Image.fromarray(mixed.round().astype(np.uint8))


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a >= 128, b >= 128
    return (a & b).sum() / (a | b).sum()


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises pixels and brings none."""
    head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", head)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def test_an_alpha_channel_is_believed() -> None:
    prepared = prepare_picture(Image.fromarray(disc()), SIZE)
    assert prepared.cutout.method == "alpha"
    assert prepared.rgba.shape == (SIZE, SIZE, 4)
    # A disc that fills 0.85 of the side covers pi/4 of that square.
    assert (prepared.rgba[..., 3] / 255).mean() == pytest.approx(
        np.pi / 4 * OBJECT_FILL**2, rel=0.03
    )


@pytest.mark.parametrize("background", [(255, 255, 255), (20, 24, 30), (120, 180, 240)])
def test_a_plain_background_is_removed(background: tuple[int, int, int]) -> None:
    rgba = disc()
    found = find_object(np.asarray(over(rgba, background).convert("RGBA")))
    assert found.method == "border"
    assert overlap(found.rgba[..., 3], rgba[..., 3]) > 0.98


def test_a_noisy_gradient_background_is_removed() -> None:
    rgba = disc()
    shade = np.linspace(120, 200, 200)[:, None, None] + np.zeros((200, 200, 3))
    shade += np.random.default_rng(0).normal(0, 3, shade.shape)
    found = find_object(np.asarray(over(rgba, shade).convert("RGBA")))
    assert found.method == "border"
    assert overlap(found.rgba[..., 3], rgba[..., 3]) > 0.95


def test_the_hole_of_a_ring_is_background_too() -> None:
    rgba = disc(radius=60.0)
    rgba[disc(radius=30.0)[..., 3] > 0] = 0
    found = find_object(np.asarray(over(rgba, (240, 240, 240)).convert("RGBA")))
    assert overlap(found.rgba[..., 3], rgba[..., 3]) > 0.97


def test_where_and_how_large_the_object_is_does_not_matter() -> None:
    near = prepare_picture(Image.fromarray(disc(radius=70.0, center=(100, 100))), SIZE)
    far = prepare_picture(Image.fromarray(disc(400, radius=60.0, center=(300, 90))), SIZE)
    assert overlap(near.rgba[..., 3], far.rgba[..., 3]) > 0.95


def test_framing_is_idempotent_up_to_resampling() -> None:
    once = frame_object(disc(), SIZE)
    assert silhouette_box(once) == pytest.approx(silhouette_box(frame_object(once, SIZE)), abs=1)


def test_framing_keeps_the_proportions() -> None:
    bar = np.zeros((50, 100, 4), dtype=np.uint8)
    bar[20:30, 10:90] = (10, 20, 30, 255)
    left, top, right, bottom = silhouette_box(frame_object(bar, 200)) or (0, 0, 0, 1)
    assert right - left == round(OBJECT_FILL * 200)
    assert (right - left) / (bottom - top) == pytest.approx(8.0, rel=0.05)
    assert (left + right) / 2 == pytest.approx(100, abs=1)


def test_pictures_framed_together_keep_their_relative_size_and_place() -> None:
    large, small = disc(radius=60.0, center=(100, 100)), disc(radius=30.0, center=(100, 100))
    framed = frame_together([large, small, np.zeros_like(large)], SIZE, fill=0.9)
    boxes = [silhouette_box(picture) for picture in framed]
    assert boxes[2] is None and boxes[0] is not None and boxes[1] is not None
    assert boxes[0][2] - boxes[0][0] == pytest.approx(0.9 * SIZE, abs=2)
    assert boxes[1][2] - boxes[1][0] == pytest.approx(0.45 * SIZE, abs=2)
    assert boxes[1][0] + boxes[1][2] == pytest.approx(SIZE, abs=2)
    assert not frame_together([np.zeros_like(large)], SIZE)[0].any()


def test_the_colour_of_the_edge_is_free_of_background() -> None:
    rgba = disc(400, center=(200, 200), radius=150.0)
    small = over(rgba, (0, 0, 255)).resize((100, 100), Image.Resampling.BOX)
    prepared = prepare_picture(small, SIZE)
    visible = prepared.rgba[prepared.rgba[..., 3] > 32]
    assert int(visible[:, 2].max()) < 110  # blue of the object is 30, of the background 255


def test_noise_is_refused_unless_the_whole_picture_is_meant() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)
    with pytest.raises(PictureError, match=r"picture: nothing stands out .*whole picture"):
        prepare_picture(noise, SIZE)
    prepared = prepare_picture(noise, SIZE, whole_picture=True)
    assert prepared.cutout == Cutout("whole", (0, 0, 80, 80), 1.0)


@pytest.mark.parametrize("side", [9_000, 12_000, 20_000])
def test_too_many_pixels_are_refused_in_other_formats_too(side: int, tmp_path: Path) -> None:
    path = tmp_path / "huge.bmp"
    info = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)
    path.write_bytes(b"BM" + struct.pack("<IHHI", 54 + 3 * side * side, 0, 0, 54) + info)
    with pytest.raises(PictureError, match="64 million pixels"):
        prepare_picture(path, SIZE)


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "LA", "CMYK", "1", "I;16"])
def test_every_common_mode_is_read(mode: str, tmp_path: Path) -> None:
    image = over(disc(), (255, 255, 255))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    else:
        image = image.convert(mode)
    path = tmp_path / ("picture.tiff" if mode == "CMYK" else "picture.png")
    image.save(path)
    assert prepare_picture(path, SIZE).cutout.method == "border"


def test_a_turned_photograph_is_put_upright(tmp_path: Path) -> None:
    image = over(disc(200, center=(40, 100), radius=20), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise when shown
    image.save(tmp_path / "turned.png", exif=exif)
    upright = np.asarray(open_picture(tmp_path / "turned.png"))
    rows = np.flatnonzero((upright[..., 1] < 128).any(axis=1))
    assert rows.mean() < 60  # what was at the left is now at the top


def test_a_missing_picture_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        prepare_picture(tmp_path / "none.png", SIZE)


def test_a_file_that_is_no_picture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "words.png"
    path.write_text("not a picture")
    with pytest.raises(PictureError, match=r"words\.png: is not a readable picture"):
        prepare_picture(path, SIZE)


def test_a_truncated_picture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    noise = np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(PictureError, match="damaged or cut short"):
        prepare_picture(path, SIZE)


@pytest.mark.parametrize("side", [9_000, 12_000, 20_000, 60_000])
@pytest.mark.parametrize("rest", [b"", png_chunk(b"IDAT", zlib.compress(bytes(1000)))])
def test_a_header_that_promises_too_many_pixels_is_refused_unread(
    side: int, rest: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "huge.png"
    path.write_bytes(png_header(side, side) + rest)
    with pytest.raises(PictureError, match="64 million pixels"):
        prepare_picture(path, SIZE)


def test_a_file_of_too_many_bytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "long.png"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(PictureError, match="more than the 64 MiB"):
        prepare_picture(path, SIZE)


def test_a_picture_of_one_pixel_is_refused_with_a_sentence() -> None:
    with pytest.raises(PictureError, match="1 x 1 pixels are too few to show an object"):
        prepare_picture(Image.new("RGB", (1, 1)), SIZE)


def test_a_picture_of_nothing_is_refused() -> None:
    with pytest.raises(PictureError, match="one flat colour"):
        prepare_picture(Image.new("RGB", (64, 64), (90, 90, 90)), SIZE)
    with pytest.raises(PictureError, match="fully transparent"):
        prepare_picture(Image.new("RGBA", (64, 64), (90, 90, 90, 0)), SIZE)
    with pytest.raises(ValueError, match="no object to frame"):
        frame_object(np.zeros((32, 32, 4), dtype=np.uint8), SIZE)
