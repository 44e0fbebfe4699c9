"""Cached tokens of prepared shapes, so that the generator trains without the encoder.

    index.json    which shapes, which tokenizer, scale lengths, bits
    tokens.npy    uint16 (shapes, R, T): R resamplings of the surface points of each shape

The tokenizer is passed in as a function, so this module imports no model.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from g3pt.shapes.cache.arrays import (
    DrawsConfig,
    StoredArray,
    build_draws_cache,
    open_array,
    read_identity,
    read_index,
)
from g3pt.shapes.shape_set import ShapeSet

FORMAT_VERSION = 1

Tokenize = Callable[[Tensor, Tensor], Tensor]
"""(points_BN3, normals_BN3) -> indices_BT, coarsest scale first."""

TokenCacheConfig = DrawsConfig
"""How shapes are turned into tokens: every draw gives one pyramid."""


@dataclass(frozen=True, kw_only=True)
class TokenizerIdentity:
    """The tokenizer that made the tokens, and their layout."""

    fingerprint: str
    """Hash of the tokenizer's weights."""
    scale_lengths: tuple[int, ...]
    """Tokens per scale, coarsest first."""
    num_bits: int
    """Bits per token; at most 16."""

    def __post_init__(self) -> None:
        if not 1 <= self.num_bits <= 16:
            raise ValueError(f"tokens are cached as 16-bit numbers, got num_bits={self.num_bits}")


class TokenCache:
    """Cached tokens, opened for reading."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open the folder.

        Raises:
            FileNotFoundError: if there is no complete token cache at `path`.
            ValueError: if it has another format version or is damaged.
        """
        self.path = Path(path)
        index = read_index(self.path, "token", FORMAT_VERSION)
        self.shapes_fingerprint: str = index["shapes"]
        self.identity = read_identity(self.path, index, "tokenizer", TokenizerIdentity)
        layout = StoredArray(
            name="tokens", dtype=np.uint16, row_shape=(sum(self.identity.scale_lengths),)
        )
        self.tokens = open_array(self.path, layout, leading=2)

    def __len__(self) -> int:
        return self.tokens.shape[0]

    def __reduce__(self) -> tuple[type["TokenCache"], tuple[str]]:
        return TokenCache, (str(self.path),)

    @property
    def resamplings(self) -> int:
        """Token pyramids per shape."""
        return self.tokens.shape[1]

    def indices(self, row: int, resampling: int) -> Int[np.ndarray, " T"]:
        """One pyramid as int64.

        Raises:
            ValueError: if an index has more bits than the tokenizer's.
        """
        indices = self.tokens[row, resampling].astype(np.int64)
        if indices.size and int(indices.max()) >> self.identity.num_bits:
            raise ValueError(
                f"{self.path / 'tokens.npy'}: shape {row} has an index of more than "
                f"{self.identity.num_bits} bits; build the cache again"
            )
        return indices


def build_token_cache(
    tokenize: Tokenize,
    identity: TokenizerIdentity,
    cache: ShapeSet,
    out_dir: str | os.PathLike[str],
    config: TokenCacheConfig,
    *,
    device: torch.device | str = "cpu",
    on_progress: Callable[[int, int], None] | None = None,
) -> TokenCache:
    """Tokenize every shape of a cache.

    Args:
        tokenize: the frozen tokenizer, in evaluation mode.
        identity: written to the index; a folder with another identity is refused.
        cache: the prepared shapes.
        out_dir: the folder to make.
        config: number of draws and points.
        device: device of the points given to `tokenize`.
        on_progress: called with the pyramids made so far and their total.

    Raises:
        ValueError: if `out_dir` holds tokens of other shapes or another tokenizer, or if the
            tokenizer's output does not fit `identity`.
    """
    made_by = {
        "fingerprint": identity.fingerprint,
        "scale_lengths": list(identity.scale_lengths),
        "num_bits": identity.num_bits,
    }
    num_tokens = sum(identity.scale_lengths)

    def compute(points_BN3: Tensor, normals_BN3: Tensor) -> np.ndarray:
        indices_BT = tokenize(points_BN3, normals_BN3).cpu().numpy()
        expected = (len(points_BN3), num_tokens)
        if (
            indices_BT.shape != expected
            or indices_BT.min() < 0
            or indices_BT.max() >> identity.num_bits
        ):
            raise ValueError(
                f"expected {expected} token indices of {identity.num_bits} bits, got "
                f"{indices_BT.shape} from {indices_BT.min()} to {indices_BT.max()}"
            )
        return indices_BT.astype(np.uint16)

    build_draws_cache(
        compute,
        made_by,
        StoredArray(name="tokens", dtype=np.uint16, row_shape=(num_tokens,)),
        cache,
        out_dir,
        config,
        format_version=FORMAT_VERSION,
        device=device,
        on_progress=on_progress,
    )
    return TokenCache(out_dir)
