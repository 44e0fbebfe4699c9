"""The order in which training sees its shapes, a pure function of (seed, step).

It has no state, so a resumed run continues exactly, and any number of processes that each take a
slice of the global batch see the same global order.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from g3pt.hashes import json_sha256


@dataclass(frozen=True)
class Draws:
    """The samples of a batch: their parts, rows and numbers."""

    parts: Int[np.ndarray, " B"]
    """Part (set of shapes) of each sample."""
    rows: Int[np.ndarray, " B"]
    """Row inside that part."""
    numbers: Int[np.ndarray, " B"]
    """Position of the sample in the endless global order; seeds its random choices."""

    def __len__(self) -> int:
        return len(self.parts)

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        """Part, row and number of each sample."""
        columns = (self.parts.tolist(), self.rows.tolist(), self.numbers.tolist())
        return zip(*columns, strict=True)


class MixedOrder:
    """Endless shuffled order over several parts, mixed by weight.

    A pattern of `period` places, shuffled once by the seed, gives the part that each place of the
    order draws from. Part p appears `counts[p]` times in it, so the number of draws from p before
    any place is known directly. The k-th draw from a part of n rows is entry k % n of its
    permutation number k // n: each epoch of a part shows every row once.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        weights: Sequence[float] = (),
        seed: int = 0,
        period: int = 1024,
    ) -> None:
        """Lay out the pattern.

        Args:
            sizes: rows of each part.
            weights: relative share of draws of each part; empty means in proportion to `sizes`.
            seed: seeds the pattern and every permutation.
            period: length of the pattern; shares are rounded to multiples of 1 / period.

        Raises:
            ValueError: for no parts, an empty part, or weights that do not fit.
        """
        if not sizes or min(sizes) < 1:
            raise ValueError(f"every part needs at least one shape, got sizes {tuple(sizes)}")
        shares = np.asarray(weights if len(weights) else sizes, dtype=np.float64)
        if len(shares) != len(sizes) or not np.all(np.isfinite(shares)) or shares.min() <= 0:
            raise ValueError(
                f"weights must be {len(sizes)} positive numbers, one a part, got {tuple(weights)}"
            )
        self.sizes = tuple(int(size) for size in sizes)
        self.seed = seed
        self.counts = _apportion(shares, period)
        pattern = np.repeat(np.arange(len(sizes)), self.counts)
        self._pattern = np.random.default_rng((seed, 0)).permutation(pattern)
        taken = self._pattern[:, None] == np.arange(len(sizes))
        self._before = np.cumsum(taken, axis=0) - taken
        self._permutations: dict[tuple[int, int], np.ndarray] = {}

    def key(self, contents: Iterable[str]) -> str:
        """Hash of everything that the order follows from.

        Args:
            contents: what identifies the rows of the parts, such as their fingerprints or ids.
        """
        counts = self.counts.tolist()
        return json_sha256({"seed": self.seed, "counts": counts, "contents": list(contents)})

    def draws(self, first: int, count: int) -> Draws:
        """Samples number `first` to `first + count - 1` of the order."""
        numbers = np.arange(first, first + count, dtype=np.int64)
        cycles, places = np.divmod(numbers, len(self._pattern))
        parts = self._pattern[places]
        ranks = cycles * self.counts[parts] + self._before[places, parts]
        epochs, positions = np.divmod(ranks, np.asarray(self.sizes)[parts])
        rows = np.empty(count, dtype=np.int64)
        for part, epoch in {*zip(parts.tolist(), epochs.tolist(), strict=True)}:
            here = (parts == part) & (epochs == epoch)
            rows[here] = self._permutation(part, epoch)[positions[here]]
        return Draws(parts=parts, rows=rows, numbers=numbers)

    def batch(self, step: int, batch_size: int, *, rank: int = 0, world_size: int = 1) -> Draws:
        """This process's slice of global batch number `step`.

        Raises:
            ValueError: if the global batch cannot be shared equally.
        """
        if batch_size % world_size:
            raise ValueError(
                f"a global batch of {batch_size} cannot be shared equally by {world_size} processes"
            )
        share = batch_size // world_size
        return self.draws(step * batch_size + rank * share, share)

    def _permutation(self, part: int, epoch: int) -> np.ndarray:
        key = (part, epoch)
        if key not in self._permutations:
            stale = [
                old for old in self._permutations if old[0] == part and abs(old[1] - epoch) > 1
            ]
            for old in stale:
                del self._permutations[old]
            rng = np.random.default_rng((self.seed, 1, part, epoch))
            self._permutations[key] = rng.permutation(self.sizes[part])
        return self._permutations[key]


def _apportion(shares: np.ndarray, period: int) -> np.ndarray:
    """Whole numbers in proportion to `shares` that sum to `period`, none below one."""
    if len(shares) > period:
        raise ValueError(f"at most {period} parts can be mixed, got {len(shares)}")
    exact = shares / shares.sum() * (period - len(shares))
    counts = np.floor(exact).astype(np.int64) + 1
    missing = period - int(counts.sum())
    counts[np.argsort(counts - 1 - exact, kind="stable")[:missing]] += 1
    return counts
