"""Hostile `.g3t` files: damaged ones, and whole ones with impossible numbers and right checksums."""

import struct
import zlib
from pathlib import Path

import numpy as np
import torch

from g3pt.models.g3t import (
    MAGIC,
    TokenFileError,
    TokenFrame,
    TokenPyramid,
    block_sizes,
    decode_g3t,
    encode_g3t,
    header_size,
    read_g3t,
)
from g3pt.torture.damage import (
    FOREIGN,
    Rng,
    cut,
    flip_bits,
    pick,
    rearranged,
    replace_by_special,
)
from g3pt.torture.doors import Door, Hostile

LENGTHS, BITS = (1, 4, 16, 40), 9


class TokenFiles(Door):
    """Token files."""

    name = "tokens"
    promise = "a .g3t file gives the tokens that were written, whole scales of them, or is refused"
    errors = (TokenFileError, FileNotFoundError)

    def write(self, folder: Path, rng: Rng) -> Hostile:
        """A token file."""
        path = folder / "shape.g3t"
        data = sound_file(rng)
        ends = [
            header_size(len(LENGTHS)) + sum(block_sizes(LENGTHS, BITS)[:num]) for num in range(1, 5)
        ]
        must = "refuse"
        match int(rng.integers(9)):
            case 0:
                scales = int(rng.integers(1, 5))
                data, what, must = data[: ends[scales - 1]], f"its first {scales} scales", "open"
            case 1:
                what = pick(tuple(FOREIGN), rng)
                data = FOREIGN[what]
            case 2:
                path.write_bytes(data)
                return Hostile(path, replace_by_special(path, rng), "refuse")
            case 3 | 4:
                what, data = impossible_header(rng)
            case 5:
                what, data = "bytes behind the last scale", data + rng.bytes(5)
            case 6:
                what, whole = "cut", data
                data = cut(whole, rng)
                must = "open" if len(data) in ends else "refuse"
            case 7:
                what, whole = "rearranged", data
                data = rearranged(whole, rng)
                must = "either" if data == whole or len(data) in ends else "refuse"
            case _:
                what, data = "flipped bits", flip_bits(data, rng)
        path.write_bytes(data)
        return Hostile(path, what, must)

    def enter(self, path: Path) -> None:
        """Read all scales and the first one; place the unit cube; write and read again."""
        file = read_g3t(path)
        first = read_g3t(path, num_scales=1)
        assert torch.equal(first.tokens.indices, file.tokens.scale(0))
        assert np.isfinite(1 / file.frame.scale + np.array(file.frame.offset)).all(), file.frame
        again = decode_g3t(encode_g3t(file.tokens, file.frame, file.fingerprint))
        assert again.tokens.equals(file.tokens) and again.frame == file.frame


def sound_file(rng: Rng) -> bytes:
    """A whole file."""
    indices = torch.from_numpy(rng.integers(0, 2**BITS, size=sum(LENGTHS)))
    frame = TokenFrame(scale=float(rng.uniform(0.1, 9)), offset=(1.0, -2.0, 0.5))
    return encode_g3t(TokenPyramid(LENGTHS, BITS, indices), frame, rng.bytes(32).hex())


def impossible_header(rng: Rng) -> tuple[str, bytes]:
    """A file with right checksums whose header cannot be true."""
    version, bits, lengths, frame, body = 1, BITS, list(LENGTHS), [1.0, 0.0, 0.0, 0.0], b""
    match int(rng.integers(7)):
        case 0:
            version = int(pick((0, 2, 65535), rng))
        case 1:
            bits = int(pick((0, 33, 255), rng))
        case 2:
            lengths = pick(([], [0], [4, 0, 16], [2**32 - 1], [2**20 + 1] * 255), rng)
        case 3:
            frame[0] = float(pick((0.0, -1.0, np.nan, np.inf, 5e-324, 1e-310), rng))
        case 4:
            frame[int(rng.integers(1, 4))] = float(pick((np.nan, np.inf, -np.inf), rng))
        case 5:
            lengths = [2**20] * 255  # without a scale
        case _:
            lengths, bits, body = [2**20] * 3, 32, bytes(2**22)  # the wrong checksum ends it
    what = f"version {version}, {bits} bits, {len(lengths)} scales {lengths[:3]}, frame {frame}"
    head = struct.pack("<8sHBB32s4d", MAGIC, version, bits, len(lengths), rng.bytes(32), *frame)
    head += struct.pack(f"<{len(lengths)}I", *lengths)
    data = head + struct.pack("<I", zlib.crc32(head))
    if not body and lengths == list(LENGTHS):
        data += sound_file(rng)[header_size(len(LENGTHS)) :]
    return what, data + body + (bytes(4) if body else b"")
