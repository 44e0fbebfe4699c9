"""Colours of materials: textures, factors, and the colour that they give a vertex.

Legend: P vertices.
"""

import hashlib
import os
import sys
import threading
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from io import BytesIO

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image

from g3pt.geometry.formats.limits import (
    FREE_TEXTURE_PIXELS,
    MAX_TEXTURE_PIXELS,
    TEXTURE_PIXELS_PER_BYTE,
    References,
)
from g3pt.geometry.triangles import MeshError

Pixels = UInt8[np.ndarray, "H W 4"]
"""A decoded picture: RGBA, from the upper row down."""

_BAND = 256
_STDERR = 2
_decoding = threading.RLock()
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TGA", "TIFF", "GIF")  # none that starts a program


@contextmanager
def silent_decoding(*, tiff: bool) -> Generator[None, None, None]:
    """Keep what Pillow warns of, and what libtiff prints past Python, from the user.

    Damage that matters arrives as an exception.

    Args:
        tiff: whether libtiff may be at work. It writes to the process's own stderr, which is shut
            for so long as one picture takes; for other kinds it stays open.
    """
    # One picture at a time: whoever came between would restore what another had changed.
    with _decoding, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not tiff:
            yield
            return
        try:
            kept = os.dup(_STDERR)
        except OSError:  # there is none
            yield
            return
        shut = os.open(os.devnull, os.O_WRONLY)
        try:
            if sys.stderr is not None:
                sys.stderr.flush()
            os.dup2(shut, _STDERR)
            yield
        finally:
            os.dup2(kept, _STDERR)
            os.close(shut)
            os.close(kept)


def is_tiff(data: bytes) -> bool:
    """Whether a file begins as TIFF does, little or big endian, classic or of more than 4 GB."""
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


class Pictures:
    """Decodes the textures of one object: one is in memory at a time, and not too many in all.

    Whoever asks for them sorted by texture has each decoded once.
    """

    def __init__(self, references: References, num_bytes: int) -> None:
        # `num_bytes`: of the object's own file
        self._references = references
        self._num_bytes, self._num_pixels = num_bytes, 0
        self._seen: set[bytes] = set()
        self._latest: tuple[object, Pixels | None] = None, None

    def read(self, uri: str) -> Pixels | None:
        """A picture that the object refers to; None if it is missing or damaged, which is noted.

        Raises:
            MeshError: if the reference is refused, or there are too many pixels.
        """
        if self._latest[0] == uri:
            return self._latest[1]
        data = self.check(uri)
        image = None if data is None else self.decode(data, uri)
        self._latest = uri, image
        return image

    def check(self, uri: str) -> bytes | None:
        """The bytes of what the object refers to; None if it is missing, which is noted.

        Raises:
            MeshError: if the reference is refused.
        """
        try:
            return self._references.read(uri)
        except FileNotFoundError:
            self._references.lose("texture", uri, "is missing")
            return None

    def decode(self, data: bytes, uri: str = "data:") -> Pixels | None:
        """Decode a picture; None if it is damaged, which is noted.

        Raises:
            MeshError: with code `too_large` if there are too many pixels.
        """
        digest = hashlib.sha256(data).digest()
        if self._latest[0] == digest:
            return self._latest[1]
        self._latest = None, None  # makes room
        if digest not in self._seen and not uri.startswith("data:"):
            self._num_bytes += len(data)
        self._seen.add(digest)
        image = open_texture(data, self._count)
        if image is None:
            self._references.lose("texture", uri, "is no readable picture")
        self._latest = digest, image
        return image

    def _count(self, num_pixels: int) -> None:
        self._num_pixels += num_pixels
        most = max(FREE_TEXTURE_PIXELS, TEXTURE_PIXELS_PER_BYTE * self._num_bytes)
        if self._num_pixels > most:
            raise MeshError(
                f"has textures of {self._num_pixels} pixels in all, expected at most {most} for "
                "files of this size; use smaller textures, or fewer",
                "too_large",
            )


def open_texture(
    data: bytes, count: Callable[[int], None] = lambda num_pixels: None
) -> Pixels | None:
    """Decode a picture as RGBA; None if it is broken or of an unknown kind.

    Args:
        data: the file.
        count: told the number of pixels before they are unpacked; may refuse them.

    Raises:
        MeshError: with code `too_large` if it has too many pixels; nothing is unpacked then.
    """
    try:
        with silent_decoding(tiff=is_tiff(data)):  # its own limits of size are looser than ours
            image = Image.open(BytesIO(data), formats=_FORMATS)
    except Image.DecompressionBombError:
        raise MeshError("has a texture with too many pixels", "too_large") from None
    except (OSError, ValueError, SyntaxError):
        return None
    width, height = image.size
    if width * height > MAX_TEXTURE_PIXELS:
        raise MeshError(
            f"has a texture of {width} x {height} pixels, expected at most "
            f"{MAX_TEXTURE_PIXELS} in all",
            "too_large",
        )
    count(width * height)
    try:
        with silent_decoding(tiff=is_tiff(data)):
            return _pixels(image)
    except (OSError, ValueError, SyntaxError):
        return None


def _pixels(image: Image.Image) -> Pixels:
    """Decode a picture, band by band, since converting it whole needs its memory three times."""
    width, height = image.size
    pixels = np.empty((height, width, 4), np.uint8)
    for top in range(0, height, _BAND):
        band = image.crop((0, top, width, min(top + _BAND, height)))
        pixels[top : top + _BAND] = np.asarray(band.convert("RGBA"))
    return pixels


def texture_colors(pixels: Pixels, uv: Float64[np.ndarray, "P 2"]) -> Float64[np.ndarray, "P 4"]:
    """Colour (0 to 255) of the nearest texel; `v` counts from the lower edge, as in OBJ."""
    height, width = pixels.shape[:2]
    finite = np.nan_to_num(uv, nan=0.0, posinf=0.0, neginf=0.0)
    x = finite[:, 0] * (width - 1) % width
    y = (1 - finite[:, 1]) * (height - 1) % height
    rows, columns = (axis.round().astype(np.int64) for axis in (y, x))
    return pixels[rows % height, columns % width].astype(np.float64)


def linear_to_display(rgba: Float64[np.ndarray, "P C"]) -> Float64[np.ndarray, "P C"]:
    """Turn linear light in [0, 1] into sRGB display values (IEC 61966-2-1); column 4 stays."""
    curve = np.where(rgba <= 0.0031308, 12.92 * rgba, 1.055 * rgba ** (1 / 2.4) - 0.055)
    return np.concatenate([curve[:, :3], rgba[:, 3:]], axis=1)


def display_to_linear(rgba: Float64[np.ndarray, "P C"]) -> Float64[np.ndarray, "P C"]:
    """Turn sRGB display values in [0, 1] into linear light (IEC 61966-2-1); column 4 stays."""
    curve = np.where(rgba <= 0.04045, rgba / 12.92, ((rgba + 0.055) / 1.055) ** 2.4)
    return np.concatenate([curve[:, :3], rgba[:, 3:]], axis=1)
