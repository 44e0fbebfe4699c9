"""Hostile pictures: every format that is read, odd modes, bombs, damaged metadata and bytes."""

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from g3pt.generation.pictures import prepare_picture
from g3pt.generation.pixels import PictureError
from g3pt.torture.array_files import zlib_bomb
from g3pt.torture.damage import FOREIGN, Rng, damaged_bytes, pick, replace_by_special
from g3pt.torture.doors import Door, Hostile
from g3pt.torture.mesh_files import png_of

SIDE = 32
"""Side in pixels that pictures are prepared for."""
MODES: dict[str, tuple[str, ...]] = {
    "png": ("RGB", "RGBA", "L", "LA", "P", "1", "I;16"),
    "jpeg": ("RGB", "L", "CMYK"),
    "webp": ("RGB", "RGBA"),
    "gif": ("P", "L", "RGBA"),
    "tiff": ("RGB", "RGBA", "L", "CMYK", "I;16", "F", "LAB", "YCbCr", "1", "P"),
    "bmp": ("RGB", "L", "P", "1"),
}
"""Modes of Pillow that each format can hold."""
PNG_START = b"\x89PNG\r\n\x1a\n"
BOMB_SIDE = 60_000
LARGE_SIDE = 8_000
"""Side in pixels of pictures that are just small enough to be read."""
LARGE_SHARE = 0.12
"""They take seconds, so few are tried: this share of a twelfth of all."""


class Pictures(Door):
    """Pictures of objects."""

    name = "pictures"
    promise = "a picture becomes a square of its object, or a sentence that names it"
    errors = (PictureError, FileNotFoundError)

    def write(self, folder: Path, rng: Rng) -> Hostile:
        """A picture file."""
        kind = pick(tuple(MODES), rng)
        path = folder / f"picture é {int(rng.integers(1000))}.{kind}"
        match int(rng.integers(12)):
            case 0:
                data, what = picture_of(kind, rng)
                path.write_bytes(data)
                return Hostile(path, f"sound: {what}", "open")
            case 1:
                what = pick(tuple(FOREIGN), rng)
                path.write_bytes(FOREIGN[what])
                return Hostile(path, what, "refuse")
            case 2:
                path.write_bytes(b"")
                return Hostile(path, replace_by_special(path, rng), "refuse")
            case 3 if rng.random() < LARGE_SHARE:
                what, data = large_png(rng)
                path = path.with_suffix(".png")
                path.write_bytes(data)
                return Hostile(path, what)
            case 3 | 4:
                what, data = bomb(rng)
                path.write_bytes(data)
                return Hostile(path, what, "refuse")
            case 5 | 6:
                what, data = odd_metadata(rng)
                path.write_bytes(data)
                return Hostile(path, what)
            case _:
                data, mode = picture_of(kind, rng)
                what, data = damaged_bytes(data, rng)
                path.write_bytes(data)
                return Hostile(path, f"{mode}: {what}")

    def enter(self, path: Path) -> None:
        """Prepare it for the image encoder."""
        prepared = prepare_picture(path, SIDE, whole_picture=True)
        assert prepared.rgba.shape == (SIDE, SIDE, 4) and prepared.rgba.dtype == np.uint8


def picture_of(kind: str, rng: Rng) -> tuple[bytes, str]:
    """A sound picture in a format, and what it is."""
    mode = pick(MODES[kind], rng)
    width, height = (int(side) for side in rng.integers(16, 80, size=2))
    image = _noise(mode, width, height, rng)
    options: dict[str, Any] = {}
    animated = kind in ("gif", "webp", "tiff", "png") and mode in ("RGB", "RGBA", "P")
    if animated and rng.random() < 0.3:
        options = {"save_all": True, "append_images": [_noise(mode, width, height, rng)] * 3}
    if kind == "tiff" and mode in ("RGB", "L") and rng.random() < 0.5:
        options["compression"] = pick(("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"), rng)
    if kind == "jpeg" and rng.random() < 0.5:
        options["progressive"] = True
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue(), f"{kind} {mode} {width} x {height} {' '.join(options)}".strip()


def _noise(mode: str, width: int, height: int, rng: Rng) -> Image.Image:
    if mode in ("I;16", "F"):
        values = rng.integers(256, 60_000, size=(height, width))
        dtype = np.uint16 if mode == "I;16" else np.float32
        scale = 1 if mode == "I;16" else 60_000
        return Image.fromarray((values / scale).astype(dtype))
    colors = rng.integers(0, 256, size=(height, width, 4), dtype=np.uint8)
    colors[..., 3] |= 128  # something is visible
    image = Image.fromarray(colors)
    if mode in ("LAB", "YCbCr", "CMYK"):
        bands = 4 if mode == "CMYK" else 3
        return Image.frombytes(mode, (width, height), colors[..., :bands].tobytes())
    return image if mode == "RGBA" else image.convert(mode)


# --- bombs -----------------------------------------------------------------------------------


def bomb(rng: Rng) -> tuple[str, bytes]:
    """A small file that says it holds billions of pixels."""
    name = pick(tuple(_BOMBS), rng)
    return f"bomb: {name}", _BOMBS[name](rng)


def large_png(rng: Rng) -> tuple[str, bytes]:
    """As many pixels as may be read, of two bytes a channel, black, in some hundred kilobytes."""
    kind, channels = pick(((0, 1), (2, 3), (4, 2), (6, 4)), rng)
    head = struct.pack(">IIBBBBB", LARGE_SIDE, LARGE_SIDE, 16, kind, 0, 0, 0)
    num_bytes = LARGE_SIDE * (1 + 2 * channels * LARGE_SIDE)
    packed = zlib_bomb(-(-num_bytes >> 20) << 20).tobytes()
    chunks = _chunk(b"IHDR", head) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")
    return f"{LARGE_SIDE} x {LARGE_SIDE}, 16 bits, {channels} channels", PNG_START + chunks


def _jpeg_bomb(rng: Rng) -> bytes:
    data = bytearray(_saved("jpeg", rng))
    at = data.index(b"\xff\xc0") + 5  # start of frame: precision is before height and width
    data[at : at + 4] = struct.pack(">HH", 65_000, 65_000)
    return bytes(data)


def _gif_bomb(rng: Rng) -> bytes:
    data = bytearray(_saved("gif", rng))
    data[6:10] = struct.pack("<HH", 65_000, 65_000)
    return bytes(data)


def _bmp_bomb(rng: Rng) -> bytes:
    data = bytearray(_saved("bmp", rng))
    data[18:26] = struct.pack("<ii", BOMB_SIDE, BOMB_SIDE)
    return bytes(data)


def _tiff_bomb(rng: Rng) -> bytes:
    """A classic TIFF of one strip, whose entries are written by hand."""
    entries = [
        (256, 4, 1, BOMB_SIDE),
        (257, 4, 1, BOMB_SIDE),
        (258, 3, 1, 8),
        (259, 3, 1, int(pick((1, 5, 8, 32773), rng))),
        (262, 3, 1, 1),
        (273, 4, 1, 8),
        (277, 3, 1, 1),
        (278, 4, 1, BOMB_SIDE),
        (279, 4, 1, 64),
    ]
    body = struct.pack("<H", len(entries))
    body += b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + 64) + bytes(64) + body


def _webp_bomb(rng: Rng) -> bytes:
    """An extended WebP with a canvas of 16 383 pixels on each side."""
    inner = _saved("webp", rng)[12:]
    side = (16_383 - 1).to_bytes(3, "little")
    chunks = b"VP8X" + struct.pack("<I", 10) + bytes([0x02, 0, 0, 0]) + side + side + inner
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


_BOMBS = {
    "png": lambda rng: png_of(BOMB_SIDE, BOMB_SIDE),
    "wide png": lambda rng: png_of(2**31 - 1, 16),
    "jpeg": _jpeg_bomb,
    "gif": _gif_bomb,
    "bmp": _bmp_bomb,
    "tiff": _tiff_bomb,
    "webp": _webp_bomb,
}


def _saved(kind: str, rng: Rng) -> bytes:
    out = BytesIO()
    _noise("RGB", 48, 32, rng).save(out, kind)
    return out.getvalue()


# --- metadata --------------------------------------------------------------------------------


def odd_metadata(rng: Rng) -> tuple[str, bytes]:
    """A picture whose pixels are sound and whose metadata are not."""
    image = _noise("RGB", 48, 32, rng)
    out = BytesIO()
    match int(rng.integers(6)):
        case 0:
            exif = Image.Exif()
            orientation = pick((0, 9, 3, 6, 255, 65535), rng)
            exif[0x0112] = orientation
            image.save(out, pick(("jpeg", "png", "webp"), rng), exif=exif)
            return f"orientation {orientation!r}", out.getvalue()
        case 1:
            noise = b"Exif\0\0II*\0" + rng.bytes(int(rng.integers(1, 200)))
            image.save(out, pick(("jpeg", "png", "webp"), rng), exif=noise)
            return "EXIF of noise", out.getvalue()
        case 2:
            profile = pick((b"", b"x", rng.bytes(500), FOREIGN["an array of objects"]), rng)
            image.save(out, pick(("jpeg", "png", "webp", "tiff"), rng), icc_profile=profile)
            return "colour profile of noise", out.getvalue()
        case 3:
            image.save(out, "png")
            packed = zlib.compress(bytes(50_000_000), 9)
            data = with_chunk(out.getvalue(), b"zTXt", b"Comment\0\0" + packed)
            return "50 MB of text, packed", data
        case 4:
            image.save(out, "png")
            kind = pick(
                (b"tRNS", b"PLTE", b"gAMA", b"cHRM", b"iCCP", b"acTL", b"fcTL", b"eXIf"), rng
            )
            data = with_chunk(out.getvalue(), kind, rng.bytes(int(rng.integers(0, 40))))
            return f"chunk {kind.decode()} of noise", data
        case _:
            frames = [_noise("RGB", 48, 32, rng) for _ in range(100)]
            image.save(out, "gif", save_all=True, append_images=frames)
            return "100 frames", out.getvalue()


def with_chunk(png: bytes, kind: bytes, content: bytes) -> bytes:
    """A PNG with another chunk behind its header."""
    end = len(PNG_START) + 25
    return png[:end] + _chunk(kind, content) + png[end:]


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check
