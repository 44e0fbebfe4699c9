import math
import struct
import zlib
from itertools import accumulate
from pathlib import Path

import pytest
import torch

from g3pt.models.g3t import (
    MAGIC,
    MAX_BITS,
    TokenFileError,
    TokenFrame,
    TokenPyramid,
    block_sizes,
    decode_g3t,
    encode_g3t,
    header_size,
    pack_tokens,
    read_g3t,
    unpack_tokens,
    write_g3t,
)

LENGTHS = (1, 4, 16, 64)
BITS = 13
FINGERPRINT = "ab" * 32
FRAME = TokenFrame(scale=0.125, offset=(1.0, -2.5, 3.0))


def pyramid(num_scales: int = 4, bits: int = BITS) -> TokenPyramid:
    total = sum(LENGTHS[:num_scales])
    generator = torch.Generator().manual_seed(3)
    indices = torch.randint(0, 2**bits, (total,), generator=generator)
    return TokenPyramid(LENGTHS, bits, indices)


def whole_file() -> bytes:
    return encode_g3t(pyramid(), FRAME, FINGERPRINT)


def scale_ends() -> list[int]:
    return list(accumulate(block_sizes(LENGTHS, BITS), initial=header_size(len(LENGTHS))))[1:]


@pytest.mark.parametrize("bits", [1, 7, 8, 13, 32])
def test_unpacking_undoes_packing_at_any_bit_width(bits: int) -> None:
    indices = pyramid(bits=bits).indices
    packed = pack_tokens(indices, bits)
    assert len(packed) == -(-len(indices) * bits // 8)
    assert torch.equal(unpack_tokens(packed, len(indices), bits), indices)


def test_the_least_significant_bit_of_the_first_token_comes_first() -> None:
    assert pack_tokens(torch.tensor([1, 0]), 4) == b"\x01"
    assert pack_tokens(torch.tensor([0, 1]), 4) == b"\x10"


def test_a_file_gives_back_tokens_frame_and_fingerprint(tmp_path: Path) -> None:
    path = tmp_path / "shape.g3t"
    size = write_g3t(path, pyramid(), FRAME, FINGERPRINT)
    read = read_g3t(path)
    assert read.tokens.equals(pyramid())
    assert (read.frame, read.fingerprint) == (FRAME, FINGERPRINT)
    assert path.stat().st_size == size
    assert [p.name for p in tmp_path.iterdir()] == ["shape.g3t"]


def test_a_file_spends_the_token_bits_and_a_small_header() -> None:
    payload = sum(-(-n * BITS // 8) for n in LENGTHS)
    assert len(whole_file()) == payload + 4 * len(LENGTHS) + header_size(len(LENGTHS))


@pytest.mark.parametrize("num_scales", [1, 2, 3, 4])
def test_a_file_cut_after_a_scale_is_the_coarser_shape(num_scales: int) -> None:
    cut = whole_file()[: scale_ends()[num_scales - 1]]
    read = decode_g3t(cut)
    assert read.tokens.equals(pyramid().truncate(num_scales))
    assert encode_g3t(read.tokens, read.frame, read.fingerprint) == cut


def test_every_cut_elsewhere_is_refused() -> None:
    data = whole_file()
    for length in set(range(len(data))) - set(scale_ends()):
        with pytest.raises(TokenFileError):
            decode_g3t(data[:length])


def test_every_changed_byte_is_noticed() -> None:
    data = whole_file()
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0x10
        with pytest.raises(TokenFileError):
            decode_g3t(bytes(damaged))


def test_the_whole_scales_of_a_file_cut_inside_one_can_still_be_read() -> None:
    cut = whole_file()[: scale_ends()[2] + 5]
    with pytest.raises(TokenFileError, match="first 3 scales are whole"):
        decode_g3t(cut)
    assert decode_g3t(cut, num_scales=3).tokens.equals(pyramid().truncate(3))


def test_asking_for_more_scales_than_were_kept_is_refused() -> None:
    cut = whole_file()[: scale_ends()[1]]
    with pytest.raises(TokenFileError, match="cut after 2 of 4 scales"):
        decode_g3t(cut, num_scales=3)
    with pytest.raises(ValueError, match="1 to 4"):
        decode_g3t(cut, num_scales=5)


def test_bytes_after_the_last_scale_are_refused() -> None:
    with pytest.raises(TokenFileError, match="follow the last scale"):
        decode_g3t(whole_file() + b"x")


def test_a_file_of_a_later_version_says_so() -> None:
    later = bytearray(whole_file())
    later[len(MAGIC)] = 9
    with pytest.raises(TokenFileError, match="version 9"):
        decode_g3t(bytes(later), origin="a.g3t")


def test_a_missing_or_foreign_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.g3t: no such token file"):
        read_g3t(tmp_path / "none.g3t")
    other = tmp_path / "other.g3t"
    other.write_text("solid cube")
    with pytest.raises(TokenFileError, match=r"other\.g3t: is not a \.g3t"):
        read_g3t(other)


def test_a_scale_of_the_pyramid_is_its_slice() -> None:
    tokens = pyramid(3)
    assert tokens.num_scales == 3
    assert torch.equal(torch.cat([tokens.scale(s) for s in range(3)]), tokens.indices)
    with pytest.raises(ValueError, match="scale 3"):
        tokens.scale(3)


def test_a_pyramid_refuses_impossible_tokens() -> None:
    with pytest.raises(ValueError, match="do not end at a scale"):
        TokenPyramid(LENGTHS, BITS, torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"\[0, 2\*\*4\)"):
        TokenPyramid(LENGTHS, 4, torch.tensor([16]))
    with pytest.raises(ValueError, match="choose 1 to 4"):
        pyramid().truncate(5)
    with pytest.raises(ValueError, match="must be positive counts"):
        TokenPyramid((), BITS, torch.zeros(0, dtype=torch.int64))
    with pytest.raises(ValueError, match="must be positive counts"):
        TokenPyramid((0, 4), BITS, torch.zeros(4, dtype=torch.int64))
    for bits in (0, MAX_BITS + 1):
        with pytest.raises(ValueError, match=r"num_bits must lie in 1\.\.32"):
            TokenPyramid(LENGTHS, bits, torch.zeros(1, dtype=torch.int64))


@pytest.mark.parametrize("lengths", [(1,) * 256, (1, 2**20 + 1)])
def test_what_does_not_fit_a_header_is_not_written(lengths: tuple[int, ...]) -> None:
    tokens = TokenPyramid(lengths, BITS, torch.zeros(1, dtype=torch.int64))
    with pytest.raises(ValueError, match="do not fit"):
        encode_g3t(tokens, FRAME, FINGERPRINT)


def test_a_fingerprint_of_another_length_is_not_written() -> None:
    with pytest.raises(ValueError, match="64 hexadecimal digits, got 'abab'"):
        encode_g3t(pyramid(), FRAME, "abab")


def signed_header(lengths: tuple[int, ...], bits: int = BITS, scale: float = 1.0) -> bytes:
    """A header whose checksum is right whatever it says, by the layout that the module gives."""
    head = MAGIC + struct.pack("<HBB", 1, bits, len(lengths)) + bytes(32)
    head += struct.pack("<4d", scale, 0, 0, 0) + struct.pack(f"<{len(lengths)}I", *lengths)
    return head + struct.pack("<I", zlib.crc32(head))


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (signed_header(()), "impossible scale lengths"),
        (signed_header((1, 0)), "impossible scale lengths"),
        (signed_header((2**20 + 1,)), "impossible scale lengths"),
        (signed_header((1,), bits=0), "impossible number of bits per token, 0"),
        (signed_header((1,), bits=MAX_BITS + 1), "impossible number of bits per token, 33"),
        (signed_header((1,), scale=math.nan), "impossible frame"),
        (signed_header((1,), scale=1e-310), "impossible frame"),
    ],
)
def test_a_header_that_says_the_impossible_is_refused(header: bytes, words: str) -> None:
    with pytest.raises(TokenFileError, match=rf"a\.g3t: {words}"):
        decode_g3t(header, origin="a.g3t")
    with pytest.raises(TokenFileError, match="without any scale"):
        decode_g3t(signed_header((1,)))
