"""Packed tokens of prepared shapes, so that the generator never trains through the encoder.

    index.json    which shapes, which tokenizer, scale lengths, bits
    tokens.npy    uint16 (shapes, R, T): R resamplings of the surface points of each shape

The tokenizer enters as a function, so this module does not know any. The
folder appears when it is complete, and a stopped build goes on from `<folder>.partial`.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from g3pt.config import to_json
from g3pt.data.build import write_whole
from g3pt.data.prepare import normals, positions
from g3pt.data.shards import ShardSet

FORMAT_VERSION = 1

Tokenize = Callable[[Tensor, Tensor], Tensor]
"""(points_BN3, normals_BN3) -> indices_BT, coarsest scale first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenCacheConfig:
    """How shapes are turned into tokens."""

    resamplings: int = 4
    """Token pyramids a shape, each from its own draw of surface points."""
    num_points: int = 2048
    """Surface points a draw; what the tokenizer was trained with."""
    batch_size: int = 32
    """Pyramids a call of the tokenizer; changes speed only."""
    seed: int = 0
    """Seeds the draws."""


@dataclass(frozen=True, kw_only=True)
class TokenizerIdentity:
    """Which tokenizer made the tokens and how they are laid out."""

    fingerprint: str
    """Hash of its weights."""
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
        """
        self.path = Path(path)
        file = self.path / "index.json"
        if not file.is_file():
            raise FileNotFoundError(f"expected a complete token cache at {self.path}")
        index: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if index["format_version"] != FORMAT_VERSION:
            raise ValueError(f"{file}: format version {index['format_version']}; build it again")
        self.shapes_fingerprint: str = index["shapes"]
        tokenizer = index["tokenizer"]
        self.identity = TokenizerIdentity(
            fingerprint=tokenizer["fingerprint"],
            scale_lengths=tuple(tokenizer["scale_lengths"]),
            num_bits=tokenizer["num_bits"],
        )
        self.tokens = np.load(self.path / "tokens.npy", mmap_mode="r")

    def __len__(self) -> int:
        return self.tokens.shape[0]

    def __reduce__(self) -> tuple[type["TokenCache"], tuple[str]]:
        return TokenCache, (str(self.path),)

    @property
    def resamplings(self) -> int:
        """Token pyramids a shape."""
        return self.tokens.shape[1]

    def indices(self, row: int, resampling: int) -> Int[np.ndarray, " T"]:
        """One pyramid as int64."""
        return self.tokens[row, resampling].astype(np.int64)


def build_token_cache(
    tokenize: Tokenize,
    identity: TokenizerIdentity,
    cache: ShardSet,
    out_dir: str | os.PathLike[str],
    config: TokenCacheConfig,
    *,
    device: torch.device | str = "cpu",
    on_progress: Callable[[int, int], None] | None = None,
) -> TokenCache:
    """Tokenize every shape of a cache.

    Args:
        tokenize: the frozen tokenizer, in evaluation mode.
        identity: goes into the index; a folder of another identity is refused.
        cache: the prepared shapes.
        out_dir: the folder to make.
        config: draws per shape.
        device: where `tokenize` wants its points.
        on_progress: called with the pyramids made so far and their total.

    Raises:
        ValueError: if `out_dir` holds tokens of other shapes or another tokenizer, or if the
            tokenizer's output does not fit `identity`.
    """
    out = Path(out_dir)
    wanted = _index(identity, cache, config)
    if out.exists():
        if json.loads((out / "index.json").read_text(encoding="utf-8")) != wanted:
            raise ValueError(f"{out}: holds tokens of other shapes or of another tokenizer")
        return TokenCache(out)
    work = out.with_name(out.name + ".partial")
    tokens, done = _open_work(work, wanted, (len(cache), config.resamplings))
    flat_tokens, flat_done = tokens.reshape(-1, tokens.shape[-1]), done.reshape(-1)
    waiting = np.flatnonzero(flat_done == 0)
    for first in range(0, len(waiting), config.batch_size):
        places = waiting[first : first + config.batch_size]
        flat_tokens[places] = _tokenize_places(tokenize, identity, cache, config, places, device)
        tokens.flush()
        flat_done[places] = 1
        done.flush()
        if on_progress is not None:
            on_progress(int(flat_done.sum()), len(flat_done))
    (work / "done.npy").unlink()
    (work / "wanted.json").unlink()
    write_whole(work / "index.json", json.dumps(wanted, indent=2) + "\n")
    work.rename(out)
    return TokenCache(out)


def _index(
    identity: TokenizerIdentity, cache: ShardSet, config: TokenCacheConfig
) -> dict[str, Any]:
    draws = to_json(config)
    del draws["batch_size"]
    return {
        "format_version": FORMAT_VERSION,
        "shapes": cache.fingerprint,
        "tokenizer": {
            "fingerprint": identity.fingerprint,
            "scale_lengths": list(identity.scale_lengths),
            "num_bits": identity.num_bits,
        },
        "draws": draws,
    }


def _open_work(
    work: Path, wanted: dict[str, Any], sizes: tuple[int, int]
) -> tuple[np.memmap, np.memmap]:
    note = work / "wanted.json"
    if note.is_file():
        if json.loads(note.read_text(encoding="utf-8")) != wanted:
            raise ValueError(f"{work}: another build stopped here; remove it first")
        tokens = np.load(work / "tokens.npy", mmap_mode="r+")
        return tokens, np.load(work / "done.npy", mmap_mode="r+")
    work.mkdir(parents=True, exist_ok=True)
    length = sum(wanted["tokenizer"]["scale_lengths"])
    create = np.lib.format.open_memmap
    tokens = create(work / "tokens.npy", mode="w+", dtype=np.uint16, shape=(*sizes, length))
    done = create(work / "done.npy", mode="w+", dtype=np.uint8, shape=sizes)
    write_whole(note, json.dumps(wanted))
    return tokens, done


@torch.no_grad()
def _tokenize_places(
    tokenize: Tokenize,
    identity: TokenizerIdentity,
    cache: ShardSet,
    config: TokenCacheConfig,
    places: np.ndarray,
    device: torch.device | str,
) -> np.ndarray:
    draws = [
        cache.draw_surface(
            int(place) // config.resamplings,
            config.num_points,
            np.random.default_rng((config.seed, 3, int(place))),
        )
        for place in places
    ]
    points_BN3 = torch.from_numpy(np.stack([positions(points) for points, _ in draws]))
    normals_BN3 = torch.from_numpy(np.stack([normals(directions) for _, directions in draws]))
    indices_BT = tokenize(points_BN3.to(device), normals_BN3.to(device)).cpu().numpy()
    expected = (len(places), sum(identity.scale_lengths))
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
