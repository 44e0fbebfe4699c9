"""Features of frozen encoders from the pictures and captions of prepared shapes, computed once.

    index.json     which shapes, which encoder, sizes
    tokens.npy     float16 (items, I, E): an item is a picture, or a caption
    summary.npy    float16 (items, E): the vector of each
    shown.npy      uint8 (items,): 0 where a picture shows nothing
    starts.npy     int64 (shapes + 1,): the items of shape i are starts[i] to starts[i + 1]

The encoder is passed in as a function, so this module imports no model. A stopped build resumes
(`arrays.py`). S picture side, I tokens, E width.
"""

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float16
from torch import Tensor

from g3pt.shapes.cache.arrays import (
    StoredArray,
    fill_arrays,
    open_array,
    read_identity,
    read_index,
)
from g3pt.shapes.shape_set import ShapeSet, framed_view

FORMAT_VERSION = 1

Encode = Callable[[Tensor | list[str]], tuple[Tensor, Tensor]]
"""Pictures (B, S, S, 4) as RGBA bytes or B captions -> tokens (B, I, E) and vectors (B, E)."""


@dataclass(frozen=True, kw_only=True)
class FeatureIdentity:
    """The encoder that made the features, and their layout."""

    slot: Literal["image", "text"]
    """Whether the items are pictures or captions."""
    fingerprint: str
    """Hash of the encoder's weights."""
    num_tokens: int
    width: int
    image_size: int = 0
    """Side in pixels of the pictures that it read; 0 for captions."""


class FeatureCache:
    """Cached features, opened for reading."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open the folder.

        Raises:
            FileNotFoundError: if there is no complete feature cache at `path`.
            ValueError: if it has another format version.
        """
        self.path = Path(path)
        index = read_index(self.path, "feature", FORMAT_VERSION)
        self.shapes_fingerprint: str = index["shapes"]
        self.identity = read_identity(self.path, index, "encoder", FeatureIdentity)
        tokens, summary, shown = _layout(self.identity)
        self._tokens = open_array(self.path, tokens, leading=1)
        self._summary = open_array(self.path, summary, leading=1)
        self._shown = open_array(self.path, shown, leading=1, mapped=False)
        starts = StoredArray(name="starts", dtype=np.int64)
        self._starts = open_array(self.path, starts, leading=1, mapped=False)
        self._check_items()

    def _check_items(self) -> None:
        """Refuse arrays of different numbers of items.

        Raises:
            ValueError: if there are any.
        """
        counts = {len(self._tokens), len(self._summary), len(self._shown)}
        starts = self._starts
        if (
            len(starts) < 2
            or starts[0] != 0
            or (np.diff(starts) < 0).any()
            or counts != {int(starts[-1])}
        ):
            raise ValueError(
                f"{self.path / 'starts.npy'}: does not fit the {sorted(counts)} items of the other "
                "arrays; build the cache again"
            )
        if (self._shown > 1).any():
            raise ValueError(f"{self.path / 'shown.npy'}: expected 0 and 1; build the cache again")

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __reduce__(self) -> tuple[type["FeatureCache"], tuple[str]]:
        return FeatureCache, (str(self.path),)

    def num_items(self, row: int) -> int:
        """Pictures or captions of a shape."""
        return int(self._starts[row + 1] - self._starts[row])

    def shows(self, row: int, item: int) -> bool:
        """Whether a picture shows anything of its shape."""
        return bool(self._shown[self._starts[row] + item])

    def features(
        self, row: int, item: int
    ) -> tuple[Float16[np.ndarray, "I E"], Float16[np.ndarray, " E"]]:
        """Tokens and summary vector of a picture or caption of a shape.

        Raises:
            ValueError: if one of the numbers is not finite.
        """
        place = self._starts[row] + item
        tokens, summary = self._tokens[place], self._summary[place]
        if not (np.isfinite(tokens).all() and np.isfinite(summary).all()):
            raise ValueError(
                f"{self.path}: item {item} of shape {row} has numbers that are not finite; build "
                "the cache again"
            )
        return tokens, summary


def build_feature_cache(
    encode: Encode,
    identity: FeatureIdentity,
    shapes: ShapeSet,
    out_dir: str | os.PathLike[str],
    *,
    batch_size: int = 16,
    on_progress: Callable[[int, int], None] | None = None,
) -> FeatureCache:
    """Encode every picture, or every caption, of a set of shapes.

    Args:
        encode: the frozen encoder; moves its input to its own device.
        identity: written to the index; a folder with another identity is refused.
        shapes: the prepared shapes.
        out_dir: the folder to make.
        batch_size: items per call of the encoder; changes speed only.
        on_progress: called with the items encoded so far and their total.

    Raises:
        ValueError: if `out_dir` holds features of other shapes or another encoder, or if the
            encoder's output does not fit `identity` or float16.
    """
    counts = [_num_items(shapes, row, identity) for row in range(len(shapes))]
    starts = np.concatenate([[0], np.cumsum(counts)])
    owners = np.repeat(np.arange(len(shapes)), counts)

    def rows_of(places: np.ndarray) -> dict[str, np.ndarray]:
        items = [(int(owners[at]), int(at - starts[owners[at]])) for at in places]
        given, shown = _read_items(shapes, items, identity)
        tokens, summary = _encoded(encode, given, identity)
        return {"tokens": tokens, "summary": summary, "shown": shown}

    out = fill_arrays(
        Path(out_dir),
        {
            "format_version": FORMAT_VERSION,
            "shapes": shapes.fingerprint,
            "encoder": asdict(identity),
        },
        (*_layout(identity),),
        (len(owners),),
        rows_of,
        what="features",
        batch_size=batch_size,
        settled={"starts": starts},
        on_items=on_progress,
    )
    return FeatureCache(out)


def _layout(identity: FeatureIdentity) -> tuple[StoredArray, StoredArray, StoredArray]:
    """The arrays with a row an item: tokens, summary, shown."""
    width = (identity.width,)
    return (
        StoredArray(name="tokens", dtype=np.float16, row_shape=(identity.num_tokens, *width)),
        StoredArray(name="summary", dtype=np.float16, row_shape=width),
        StoredArray(name="shown", dtype=np.uint8),
    )


def _num_items(shapes: ShapeSet, row: int, identity: FeatureIdentity) -> int:
    return shapes.num_views(row) if identity.slot == "image" else len(shapes.captions(row))


def _read_items(
    shapes: ShapeSet, items: list[tuple[int, int]], identity: FeatureIdentity
) -> tuple[Tensor | list[str], np.ndarray]:
    """Pictures or captions, and which of them show something."""
    if identity.slot == "text":
        return [shapes.captions(row)[item] for row, item in items], np.ones(len(items), np.uint8)
    pictures = [framed_view(shapes, row, view, identity.image_size) for row, view in items]
    shown = np.array([bool(picture.any()) for picture in pictures], np.uint8)
    return torch.from_numpy(np.stack(pictures)), shown


def _encoded(
    encode: Encode, given: Tensor | list[str], identity: FeatureIdentity
) -> tuple[np.ndarray, np.ndarray]:
    with torch.no_grad():
        tokens_BIE, vector_BE = (part.half().cpu() for part in encode(given))
    found = (tuple(tokens_BIE.shape[1:]), tuple(vector_BE.shape[1:]))
    expected = ((identity.num_tokens, identity.width), (identity.width,))
    if found != expected:
        raise ValueError(f"expected features of sizes {expected} an item, got {found}")
    if not (tokens_BIE.isfinite().all() and vector_BE.isfinite().all()):
        raise ValueError("the encoder's features do not fit float16; encode in every step instead")
    return tokens_BIE.numpy(), vector_BE.numpy()
