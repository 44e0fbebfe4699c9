"""Reads a picture in any form (a file, bytes, an array, a tensor) as RGBA, or says why it cannot.

Files are checked by their header before a pixel is decoded. Arrays may hold floats from 0 to 1, or
integers of 8, 10, 12, 14 or 16 bits, told apart by the largest value. Channels come first or last.
An ambiguous array is refused.

Legend: H height, W width, C channels.
"""

import io
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Shaped, UInt16
from PIL import Image, ImageOps, features

from g3pt.geometry.formats.textures import is_tiff, silent_decoding

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")
"""Formats that are read; AVIF where Pillow was built with it. HEIC needs the extra `heic`."""
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
"""Of files in the container of ISO 14496-12, bytes 8 to 12; AVIF has others."""
MAX_BYTES = 64 * 2**20
MAX_PIXELS = 64_000_000
MIN_SIDE = 16
_STRIP_PIXELS = 2**18
"""Numbers wider than a byte are worked on for so many pixels at once."""
DEPTHS = (8, 10, 12, 14, 16)
"""Possible bits per integer; the smallest that holds the largest value is taken. Cameras store 10
or 12 bits in 16-bit integers."""

Content = bytes | bytearray | memoryview | io.IOBase
Picture = str | Path | Content | Image.Image | np.ndarray | torch.Tensor
"""A file, its bytes or a stream of them, a Pillow image, or pixels: H W, H W C or C H W."""

_OVERSHOOT = 0.02
"""Floats may leave 0 to 1 by this much, as resampling causes; they are clipped."""
_HIGH_BYTES, _LOW_BYTES = ";16B", ";16L"
"""Suffixes of Pillow's raw modes for 16-bit channels. Of two bytes Pillow keeps the first with the
former (the high byte in a PNG), and the second with the latter (the low byte)."""
_ORIENTATION = 0x0112
"""The EXIF tag for the orientation of a picture."""
_BROKEN_EXIF = (SyntaxError, ValueError, TypeError, LookupError, OSError, struct.error)
"""What Pillow raises when it reads EXIF data that are none."""


class PictureError(ValueError):
    """A picture that cannot be used; the message says which and why."""


def open_picture(picture: object) -> Image.Image:
    """Decode a picture to RGBA; its size in bytes and in pixels is checked first.

    Args:
        picture: any of `Picture`. A batch of one picture counts as that picture.

    Raises:
        FileNotFoundError: if there is no such file.
        PictureError: if it is not a picture, too large, too small, or an array whose values or
            layout are ambiguous; the message says what would be accepted.
    """
    match picture:
        case str() | Path():
            return _open_file(Path(picture))
        case bytes() | bytearray() | memoryview():
            return _open_bytes(bytes(picture), "picture")
        case io.IOBase():
            return _open_bytes(_content(picture), "picture")
        case Image.Image():
            with silent_decoding(tiff=picture.format == "TIFF"):
                _load(picture, "picture")
                return _to_rgba(picture, "picture")
        case torch.Tensor():
            tensor = picture.detach().cpu()
            numbers = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
            return _image_of(numbers.numpy(), "picture")
        case np.ndarray():
            return _image_of(picture, "picture")
        case _:
            raise PictureError(
                f"picture: got {type(picture).__name__}, expected a file, its bytes, a binary "
                "stream, a Pillow image, a NumPy array or a torch tensor"
            )


# --- files ---------------------------------------------------------------------------------


def _open_file(path: Path) -> Image.Image:
    try:
        is_file = path.is_file()
    except OSError:  # a name too long for any file, such as a picture written as base64
        is_file = False
    if not is_file:
        raise FileNotFoundError(f"{str(path)[:200]}: no such picture")
    _check_bytes(path.stat().st_size, str(path))
    return _open_bytes(path.read_bytes(), str(path))


def _content(stream: io.IOBase) -> bytes:
    """All bytes of a stream from its start; one that was just written is positioned at its end."""
    if stream.seekable():
        stream.seek(0)
    data = stream.read(MAX_BYTES + 1)
    if not isinstance(data, bytes):
        raise PictureError("picture: a text stream, expected one opened as binary (`rb`)")
    return data


def _check_bytes(num: int, name: str) -> None:
    if num > MAX_BYTES:
        raise PictureError(
            f"{name}: {num / 2**20:.0f} MiB is more than the {MAX_BYTES // 2**20} MiB that a "
            "picture may have; save it smaller"
        )


def _open_bytes(data: bytes, name: str) -> Image.Image:
    _check_bytes(len(data), name)
    _check_pixels(_png_size(data), name)  # before Pillow, which reads up to the first pixels
    formats = _formats_for(data, name)
    try:
        # Pillow's own limits of size are looser than ours and say less.
        with silent_decoding(tiff=is_tiff(data)):
            opened = Image.open(io.BytesIO(data), formats=formats)
    except Image.DecompressionBombError:
        raise PictureError(f"{name}: {_too_many()}") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise PictureError(
            f"{name}: is not a readable picture ({', '.join(formats)} are read)"
        ) from error
    with opened, silent_decoding(tiff=is_tiff(data)):
        raw_mode = _raw_mode(opened)
        _load(opened, name)
        if raw_mode.endswith(_HIGH_BYTES) and "transparency" not in opened.info:
            return _to_rgba(_lit(opened, data, raw_mode), name)
        return _to_rgba(opened, name)


def _formats_for(data: bytes, name: str) -> tuple[str, ...]:
    """Formats to read the file as; drawings and formats that nothing here reads are refused."""
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith(b"<svg") or (head.startswith((b"<?xml", b"<!")) and b"<svg" in head):
        raise PictureError(
            f"{name}: is an SVG drawing, which has no pixels; save it as PNG first, with a "
            "transparent background if it has none (rsvg-convert -w 1024 IN.svg -o OUT.png)"
        )
    known = FORMATS if features.check("avif") else FORMATS[:-1]
    if data[4:8] != b"ftyp" or data[8:12] not in _HEIC_BRANDS or b"avif" in data[8:64]:
        return known
    try:
        import pillow_heif
    except ImportError as error:
        raise PictureError(
            f"{name}: is a HEIC photograph: pip install 'g3pt[heic]', or save it as JPEG"
        ) from error
    pillow_heif.register_heif_opener()
    return (*known, "HEIF")


def _png_size(data: bytes) -> tuple[int, int]:
    """Width and height in the header of a PNG; (0, 0) for another format."""
    if len(data) < 24 or not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return 0, 0
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def _too_many() -> str:
    return f"more than the {MAX_PIXELS // 10**6} million pixels that are read; save it smaller"


def _check_pixels(size: tuple[int, int], name: str) -> None:
    if size[0] * size[1] > MAX_PIXELS:
        raise PictureError(f"{name}: {size[0]} x {size[1]} pixels are {_too_many()}")


def _check_size(size: tuple[int, int], name: str) -> None:
    _check_pixels(size, name)
    if min(size) < MIN_SIDE:
        raise PictureError(
            f"{name}: {size[0]} x {size[1]} pixels are too few to show an object; "
            f"give at least {MIN_SIDE} on each side"
        )


def _load(image: Image.Image, name: str) -> None:
    _check_size(image.size, name)
    try:
        image.load()
    except (OSError, SyntaxError, ValueError) as error:
        raise PictureError(f"{name}: is damaged or cut short ({error})") from error


def _to_rgba(image: Image.Image, name: str) -> Image.Image:
    """Convert to RGBA, rotated upright by the EXIF orientation."""
    image = _upright(image)
    if image.mode == "F" or image.mode.startswith("I"):  # Pillow would clip them to 255
        return _drawn(image.size, lambda rows: _rows_of(image, rows)[..., None], name)
    if image.mode == "La":  # the one mode that Pillow does not turn into RGBA at once
        image = image.convert("LA")
    return image.convert("RGBA")


def _upright(image: Image.Image) -> Image.Image:
    """Turn a picture as its EXIF data say; damaged ones say nothing, whatever its pixels are."""
    with suppress(*_BROKEN_EXIF):
        if image.getexif().get(_ORIENTATION, 1) != 1:  # else it would be copied
            return ImageOps.exif_transpose(image)
    return image


# --- PNG files of 16 bits a channel --------------------------------------------------------


def _raw_mode(image: Any) -> str:
    """Pillow's raw mode of an opened PNG (the layout of its pixels); empty for other formats."""
    if image.format != "PNG" or len(image.tile) != 1:
        return ""
    arguments = image.tile[0].args
    return arguments if isinstance(arguments, str) and not arguments.startswith("I") else ""


def _lit(image: Image.Image, data: bytes, raw_mode: str) -> Image.Image:
    """Read both bytes of 16-bit channels if the high byte, which Pillow keeps, is nearly empty."""
    ranges: Any = image.getextrema()  # of each channel, as there are two at least
    brightest = [high for _, high in ranges][: 1 if image.mode == "LA" else 3]
    if _depth(256 * max(brightest)) == DEPTHS[-1]:
        return image
    if raw_mode == "LA" + _HIGH_BYTES:  # two channels of two bytes are four of one
        pairs = _read_as(data, "RGBA")

        def values(rows: slice) -> UInt16[np.ndarray, "R W C"]:
            bytes_RW4 = _rows_of(pairs, rows).astype(np.uint16)
            return 256 * bytes_RW4[..., ::2] + bytes_RW4[..., 1::2]

    else:
        lower = _read_as(data, raw_mode.replace(_HIGH_BYTES, _LOW_BYTES))

        def values(rows: slice) -> UInt16[np.ndarray, "R W C"]:
            return 256 * _rows_of(image, rows).astype(np.uint16) + _rows_of(lower, rows)

    lit = _drawn(image.size, values, "picture")
    with suppress(*_BROKEN_EXIF):
        lit.getexif()[_ORIENTATION] = image.getexif().get(_ORIENTATION, 1)
    return lit


def _read_as(data: bytes, raw_mode: str) -> Image.Image:
    opened: Any = Image.open(io.BytesIO(data), formats=("PNG",))  # annotated without its tiles
    opened.tile = [opened.tile[0]._replace(args=raw_mode)]
    opened.load()
    return opened


def _rows_of(image: Image.Image, rows: slice) -> Shaped[np.ndarray, "R W *C"]:
    return np.asarray(image.crop((0, rows.start, image.width, rows.stop)))


# --- numbers -------------------------------------------------------------------------------


def _image_of(numbers: Shaped[np.ndarray, "..."], name: str) -> Image.Image:
    """RGBA image of an array of pixels in any usual layout and number format."""
    pixels = _channels_last(numbers, name)
    height, width, _ = pixels.shape
    _check_size((width, height), name)
    return _drawn((width, height), lambda rows: pixels[rows], name)


def _drawn(
    size: tuple[int, int], values: Callable[[slice], Shaped[np.ndarray, "R W C"]], name: str
) -> Image.Image:
    """RGBA image of numbers of any format, some rows at a time: they may take more memory than it.

    Args:
        size: width and height.
        values: the numbers of some rows; called twice for all of them.
        name: what errors call the picture.
    """
    width, height = size
    step = max(1, _STRIP_PIXELS // width)
    strips = [slice(first, min(first + step, height)) for first in range(0, height, step)]
    factors_C = _factors(map(values, strips), name)
    drawn = Image.new("RGBA", size)
    for rows in strips:
        pixels_RWC = values(rows)
        if pixels_RWC.dtype != np.uint8:
            scaled_RWC = pixels_RWC.astype(np.float64)
            if pixels_RWC.dtype.kind == "f":
                scaled_RWC = scaled_RWC.clip(0, 1)
            pixels_RWC = np.rint(scaled_RWC * factors_C).astype(np.uint8)
        shown = pixels_RWC[..., 0] if pixels_RWC.shape[2] == 1 else pixels_RWC
        strip = Image.fromarray(np.ascontiguousarray(shown)).convert("RGBA")
        drawn.paste(strip, (0, rows.start))
    return drawn


def _channels_last(numbers: Shaped[np.ndarray, "..."], name: str) -> Shaped[np.ndarray, "H W C"]:
    shape = numbers.shape
    if len(shape) == 4 and shape[0] == 1:
        numbers = numbers[0]
    elif len(shape) == 4 and (shape[1] <= 4 or shape[3] <= 4):
        raise PictureError(f"{name}: an array {shape} of {shape[0]} pictures: give them as a list")
    if numbers.ndim == 2:
        return numbers[..., None]
    if numbers.ndim == 3 and 1 <= numbers.shape[2] <= 4:
        return numbers
    if numbers.ndim == 3 and 1 <= numbers.shape[0] <= 4:
        return numbers.transpose(1, 2, 0)
    raise PictureError(
        f"{name}: an array {shape}, expected height x width, or with 1 to 4 channels last or first"
    )


def _factors(strips: Iterable[Shaped[np.ndarray, "R W C"]], name: str) -> Float64[np.ndarray, " C"]:
    """What the numbers of each channel are multiplied by, so that they reach from 0 to 255."""
    lowest: list[np.ndarray] = []
    highest: list[np.ndarray] = []
    kind = "u"
    for strip in strips:
        kind = strip.dtype.kind
        if kind not in "biuf":
            raise PictureError(
                f"{name}: an array of {strip.dtype}, expected uint8, another integer, bool or float"
            )
        if strip.dtype == np.uint8 or kind == "b":
            return np.full(strip.shape[2], 255.0)
        lowest.append(strip.min(axis=0).min(axis=0))
        highest.append(strip.max(axis=0).max(axis=0))
    low_C, high_C = np.min(lowest, axis=0), np.max(highest, axis=0)
    low, high = float(low_C.min()), float(high_C.max())
    if kind == "f":
        if not np.isfinite((low, high)).all():
            raise PictureError(f"{name}: some of its numbers are not finite, expected 0 to 1")
        if low < -_OVERSHOOT or high > 1 + _OVERSHOOT:
            hint = ""
            if low >= 0 and high <= 255:
                hint = ": divide by 255, or give them as uint8"
            elif low >= -1 and high <= 1:
                hint = ": halve them and add .5"
            raise PictureError(f"{name}: floats from {low:g} to {high:g}, expected 0 to 1{hint}")
        return np.full(len(high_C), 255.0)
    if low < 0 or high > 65535:
        raise PictureError(f"{name}: integers from {low:g} to {high:g}, expected 0 to 65535")
    depths = [_depth(int(high))] * len(high_C)
    # An opaque alpha channel says nothing about the depth: a program may have added it.
    if len(high_C) in (2, 4) and low_C[-1] == high_C[-1]:
        colors = _depth(int(high_C[:-1].max()))
        depths = [colors] * (len(high_C) - 1) + [_depth(int(high_C[-1]))]
    return np.array([255 / (2.0**bits - 1) for bits in depths])


def _depth(highest: int) -> int:
    """Bits per integer: the smallest of `DEPTHS` that holds the largest value."""
    return next(bits for bits in DEPTHS if highest < 2**bits)
