"""Colours of materials: textures, factors, and the colour that they give a vertex.

Legend: P vertices.
"""

import os
import sys
import threading
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Float64
from PIL import Image

from g3pt.geometry.formats.limits import MAX_TEXTURE_PIXELS, References
from g3pt.geometry.triangles import MeshError

_trimesh: Any = trimesh  # its own annotations are partial

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


def open_texture(data: bytes) -> Image.Image | None:
    """Decode a picture as RGBA; None if it is broken or of an unknown kind.

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
    try:
        with silent_decoding(tiff=is_tiff(data)):
            return image.convert("RGBA")
    except (OSError, ValueError, SyntaxError):
        return None


def read_texture(references: References, uri: str) -> Image.Image | None:
    """Read a picture that a mesh file refers to; None if it is missing, which `references` notes.

    Raises:
        MeshError: if the reference is refused or the picture is too large.
    """
    try:
        data = references.read(uri)
    except FileNotFoundError:
        references.lose("texture", uri, "is missing")
        return None
    image = open_texture(data)
    if image is None:
        references.lose("texture", uri, "is no readable picture")
    return image


def texture_colors(
    image: Image.Image, uv: Float64[np.ndarray, "P 2"]
) -> Float64[np.ndarray, "P 4"]:
    """Colour (0 to 255) of the nearest texel; `v` counts from the lower edge, as in OBJ."""
    finite = np.nan_to_num(uv, nan=0.0, posinf=0.0, neginf=0.0)
    return _trimesh.visual.color.uv_to_color(finite, image).astype(np.float64)


def linear_to_display(rgba: Float64[np.ndarray, "P C"]) -> Float64[np.ndarray, "P C"]:
    """Turn linear light in [0, 1] into sRGB display values (IEC 61966-2-1); column 4 stays."""
    curve = np.where(rgba <= 0.0031308, 12.92 * rgba, 1.055 * rgba ** (1 / 2.4) - 0.055)
    return np.concatenate([curve[:, :3], rgba[:, 3:]], axis=1)


def display_to_linear(rgba: Float64[np.ndarray, "P C"]) -> Float64[np.ndarray, "P C"]:
    """Turn sRGB display values in [0, 1] into linear light (IEC 61966-2-1); column 4 stays."""
    curve = np.where(rgba <= 0.04045, rgba / 12.92, ((rgba + 0.055) / 1.055) ** 2.4)
    return np.concatenate([curve[:, :3], rgba[:, 3:]], axis=1)
