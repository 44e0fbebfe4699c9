"""The pyramid of token indices of one shape, and its file: `.g3t`.

A `.g3t` file is a header and then one block per scale, coarsest first, each followed by its own
checksum. Nothing in a block depends on a finer one, so a file cut after any block is the same
shape with fewer scales. All numbers are little-endian:

    8 bytes   magic
    u16       version (1)
    u8        bits per token
    u8        number of scales of the tokenizer
    32 bytes  fingerprint of the tokenizer's weights (SHA-256)
    4 x f64   frame: scale, then offset x y z, with unit = (source - offset) * scale
    u32 ...   tokens per scale
    u32       CRC-32 of everything above
    per scale: ceil(tokens * bits / 8) bytes of packed tokens, then their CRC-32 as u32

Shape legend: T tokens of all scales laid end to end, K bits per token.
"""

import struct
import sys
import zlib
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from g3pt.files import read_plain, write_whole

MAGIC = b"\x89G3T\r\n\x1a\n"
"""Magic bytes. A byte above 127 and both kinds of line ends reveal a transfer in text mode."""
VERSION = 1
MAX_BITS = 32
MAX_BYTES = 64 * 2**20
"""Largest file that is read: some thousand times the usual size."""
_HEAD = struct.Struct("<8sHBB32s4d")
_CRC = struct.Struct("<I")
_MAX_TOKENS_PER_SCALE = 1 << 20


class TokenFileError(ValueError):
    """A `.g3t` file that is damaged, of another version, or not a token file at all."""


@runtime_checkable
class Frame(Protocol):
    """Place of a shape before it moved to the unit frame: unit = (source - offset) * scale."""

    @property
    def scale(self) -> float:
        """Factor from source units to unit-frame lengths."""
        ...

    @property
    def offset(self) -> tuple[float, float, float]:
        """Source point that maps to the origin of the unit frame."""
        ...


@dataclass(frozen=True)
class TokenFrame:
    """The frame as read from a file; the default is the unit frame itself."""

    scale: float = 1.0
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True, eq=False)
class TokenPyramid:
    """Token indices of one shape, coarsest scale first; possibly only its first scales."""

    scale_lengths: tuple[int, ...]
    """Tokens per scale of the whole pyramid, also when `indices` stops early."""
    num_bits: int
    """Bits per token: indices lie in [0, 2**num_bits)."""
    indices: Int[Tensor, " T"]
    """Indices of the scales present, laid end to end."""

    def __post_init__(self) -> None:
        if not self.scale_lengths or min(self.scale_lengths) < 1:
            raise ValueError(f"scale_lengths must be positive counts, got {self.scale_lengths}")
        if not 1 <= self.num_bits <= MAX_BITS:
            raise ValueError(f"num_bits must lie in 1..{MAX_BITS}, got {self.num_bits}")
        if len(self.indices) not in self._ends():
            raise ValueError(
                f"{len(self.indices)} tokens do not end at a scale of {self.scale_lengths}"
            )
        if len(self.indices) and not (
            0 <= int(self.indices.min()) and int(self.indices.max()) < 2**self.num_bits
        ):
            raise ValueError(f"token indices must lie in [0, 2**{self.num_bits})")

    def _ends(self) -> list[int]:
        return list(accumulate(self.scale_lengths))

    @property
    def num_tokens(self) -> int:
        """Tokens present."""
        return len(self.indices)

    @property
    def num_scales(self) -> int:
        """Scales present."""
        return self._ends().index(len(self.indices)) + 1

    @property
    def total_bits(self) -> int:
        """Information in the tokens present, without headers and checksums."""
        return self.num_tokens * self.num_bits

    def scale(self, index: int) -> Int[Tensor, " T"]:
        """Indices of one scale."""
        if not 0 <= index < self.num_scales:
            raise ValueError(f"scale {index} is not among the {self.num_scales} scales present")
        end = self._ends()[index]
        return self.indices[end - self.scale_lengths[index] : end]

    def truncate(self, num_scales: int) -> "TokenPyramid":
        """The same shape with its first `num_scales` scales only."""
        if not 1 <= num_scales <= self.num_scales:
            raise ValueError(
                f"cannot keep {num_scales} scales of a shape that has {self.num_scales}: "
                f"choose 1 to {self.num_scales}"
            )
        return replace(self, indices=self.indices[: self._ends()[num_scales - 1]])

    def equals(self, other: "TokenPyramid") -> bool:
        """True when both hold the same tokens of the same kind of pyramid."""
        return (
            self.scale_lengths == other.scale_lengths
            and self.num_bits == other.num_bits
            and torch.equal(self.indices.cpu(), other.indices.cpu())
        )

    def num_different(self, other: "TokenPyramid") -> int:
        """Number of tokens that differ, over the scales that both have."""
        num = min(self.num_tokens, other.num_tokens)
        return int((self.indices[:num].cpu() != other.indices[:num].cpu()).sum())


@dataclass(frozen=True)
class TokenFile:
    """The contents of a `.g3t` file."""

    tokens: TokenPyramid
    frame: TokenFrame
    fingerprint: str
    """SHA-256 of the tokenizer's weights, in hexadecimal."""

    def save(self, path: str | Path) -> int:
        """Write the file (`write_g3t`) and return its size in bytes."""
        return write_g3t(path, self.tokens, self.frame, self.fingerprint)


def pack_tokens(indices: Int[Tensor, " T"], num_bits: int) -> bytes:
    """Lay the bits of the indices end to end, least significant first, padded to whole bytes."""
    values_T = indices.detach().cpu().numpy().astype(np.uint64)
    bits_TK = (values_T[:, None] >> np.arange(num_bits, dtype=np.uint64)) & np.uint64(1)
    return np.packbits(bits_TK.astype(np.uint8).ravel(), bitorder="little").tobytes()


def unpack_tokens(data: bytes, num_tokens: int, num_bits: int) -> Int[Tensor, " T"]:
    """Inverse of `pack_tokens`."""
    bits = np.unpackbits(
        np.frombuffer(data, dtype=np.uint8), count=num_tokens * num_bits, bitorder="little"
    )
    weights_K = np.int64(1) << np.arange(num_bits, dtype=np.int64)
    return torch.from_numpy(bits.reshape(num_tokens, num_bits).astype(np.int64) @ weights_K)


def block_sizes(scale_lengths: tuple[int, ...], num_bits: int) -> list[int]:
    """Bytes that each scale occupies in a file, its checksum included."""
    return [-(-length * num_bits // 8) + _CRC.size for length in scale_lengths]


def header_size(num_scales: int) -> int:
    """Bytes before the first scale."""
    return _HEAD.size + 4 * num_scales + _CRC.size


def encode_g3t(tokens: TokenPyramid, frame: Frame, fingerprint: str) -> bytes:
    """The bytes of a `.g3t` file; `fingerprint` is 64 hexadecimal digits."""
    lengths = tokens.scale_lengths
    digest = bytes.fromhex(fingerprint)
    if len(digest) != 32:
        raise ValueError(f"fingerprint must be 64 hexadecimal digits, got {fingerprint!r}")
    if len(lengths) > 255 or max(lengths) > _MAX_TOKENS_PER_SCALE:
        raise ValueError(f"scale_lengths {lengths} do not fit a .g3t header")
    head = _HEAD.pack(
        MAGIC, VERSION, tokens.num_bits, len(lengths), digest, frame.scale, *frame.offset
    )
    head += struct.pack(f"<{len(lengths)}I", *lengths)
    parts = [head, _CRC.pack(zlib.crc32(head))]
    for scale in range(tokens.num_scales):
        block = pack_tokens(tokens.scale(scale), tokens.num_bits)
        parts += [block, _CRC.pack(zlib.crc32(block))]
    return b"".join(parts)


def decode_g3t(data: bytes, *, num_scales: int | None = None, origin: str = "data") -> TokenFile:
    """Read the bytes of a `.g3t` file.

    Args:
        data: the whole file, or its beginning up to the end of any scale.
        num_scales: read only the first scales; what follows them is not checked.
        origin: name of the file, for error messages.

    Raises:
        TokenFileError: if the file is damaged, cut inside a scale, or not a token file.
    """
    lengths, num_bits, fingerprint, frame = _read_header(data, origin)
    if num_scales is not None and not 1 <= num_scales <= len(lengths):
        raise ValueError(
            f"{origin}: has {len(lengths)} scales, so 1 to {len(lengths)} of them can be read, "
            f"not {num_scales}"
        )
    parts: list[Tensor] = []
    start = header_size(len(lengths))
    wanted = len(lengths) if num_scales is None else num_scales
    sizes = block_sizes(lengths, num_bits)
    while len(parts) < wanted and start < len(data):
        scale = len(parts)
        block = data[start : start + sizes[scale]]
        parts.append(_read_scale(block, sizes[scale], lengths[scale], num_bits, scale, origin))
        start += sizes[scale]
    if not parts:
        raise TokenFileError(f"{origin}: ends after its header, without any scale")
    if num_scales is not None and len(parts) < num_scales:
        raise TokenFileError(
            f"{origin}: was cut after {len(parts)} of {len(lengths)} scales, "
            f"{num_scales} were asked for"
        )
    if num_scales is None and start < len(data):
        raise TokenFileError(f"{origin}: {len(data) - start} bytes follow the last scale")
    tokens = TokenPyramid(lengths, num_bits, torch.cat(parts))
    return TokenFile(tokens=tokens, frame=frame, fingerprint=fingerprint)


def write_g3t(path: str | Path, tokens: TokenPyramid, frame: Frame, fingerprint: str) -> int:
    """Write a `.g3t` file atomically and return its size in bytes."""
    data = encode_g3t(tokens, frame, fingerprint)
    write_whole(path, data)
    return len(data)


def read_g3t(path: str | Path, *, num_scales: int | None = None) -> TokenFile:
    """Read a `.g3t` file, or only its first `num_scales` scales.

    Raises:
        FileNotFoundError: if there is no such file.
        TokenFileError: if the file is damaged, cut inside a scale, or not a token file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such token file")
    data = read_plain(path, MAX_BYTES, TokenFileError)
    return decode_g3t(data, num_scales=num_scales, origin=str(path))


def _read_header(data: bytes, origin: str) -> tuple[tuple[int, ...], int, str, TokenFrame]:
    if data[: len(MAGIC)] != MAGIC:
        raise TokenFileError(f"{origin}: is not a .g3t token file (wrong first bytes)")
    if len(data) < _HEAD.size:
        raise TokenFileError(f"{origin}: ends inside its header")
    _, version, num_bits, num_scales, digest, *place = _HEAD.unpack_from(data)
    if version != VERSION:
        raise TokenFileError(
            f"{origin}: is .g3t version {version}; this g3pt reads version {VERSION}"
        )
    size = header_size(num_scales)
    if len(data) < size:
        raise TokenFileError(f"{origin}: ends inside its header")
    (checksum,) = _CRC.unpack_from(data, size - _CRC.size)
    if checksum != zlib.crc32(data[: size - _CRC.size]):
        raise TokenFileError(f"{origin}: the header is damaged (its checksum does not match)")
    lengths = struct.unpack_from(f"<{num_scales}I", data, _HEAD.size)
    if not lengths or not all(1 <= n <= _MAX_TOKENS_PER_SCALE for n in lengths):
        raise TokenFileError(f"{origin}: impossible scale lengths {lengths}")
    if not 1 <= num_bits <= MAX_BITS:
        raise TokenFileError(f"{origin}: impossible number of bits per token, {num_bits}")
    # A scale near zero would place the shape beyond all numbers.
    if not (np.isfinite(place).all() and place[0] >= sys.float_info.min):
        raise TokenFileError(f"{origin}: impossible frame {place}")
    frame = TokenFrame(scale=place[0], offset=(place[1], place[2], place[3]))
    return lengths, num_bits, digest.hex(), frame


def _read_scale(
    block: bytes, size: int, num_tokens: int, num_bits: int, scale: int, origin: str
) -> Int[Tensor, " T"]:
    if len(block) < size:
        raise TokenFileError(
            f"{origin}: ends inside scale {scale + 1}; its first {scale} scales are whole, "
            f"ask for at most {scale} to read them"
        )
    packed, (checksum,) = block[: -_CRC.size], _CRC.unpack(block[-_CRC.size :])
    if checksum != zlib.crc32(packed):
        raise TokenFileError(f"{origin}: scale {scale + 1} is damaged (checksum does not match)")
    return unpack_tokens(packed, num_tokens, num_bits)
