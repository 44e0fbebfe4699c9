"""The bundled table of vectors that describe the meaning of some ten thousand English words.

`word_conversion.py` made it from a published sentence encoder and dictionary. A word that the table
lacks is represented by words that it has: its singular, its parts, or words of similar spelling.

Legend: R words of the table, W channels of a word's vector, B batch, N text tokens, P words of the
table that stand for a token.
"""

from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, Int8
from safetensors.numpy import load_file
from torch import Tensor

from g3pt.models.weights.bundled import check_file, package_file

BUNDLED_SHA256 = "740816a514d73689411791ec7bef6448174b190135252f429a62980e93ac2939"
"""SHA-256 of the bundled file. Configs hold it, so that equal configs mean equal vectors."""

MAX_PARTS = 3
"""Most words of the table that stand for an unknown word."""

_ENDINGS = (
    ("ies", "y"),
    ("ves", "f"),
    ("ves", "fe"),
    ("men", "man"),
    ("s", ""),
    ("es", ""),
    ("shaped", ""),
    ("like", ""),
    ("ish", ""),
    ("ed", ""),
    ("ed", "e"),
    ("ing", ""),
    ("ing", "e"),
)
"""Endings and their replacements, tried in this order on words that the table lacks."""
_MIN_STEM = 3
"""Fewest letters of a word without its ending, and of each part of a compound."""
_GRAM_LENGTHS = (3, 4, 5)
_MIN_LIKENESS = 0.35
"""Cosine of letter groups below which words are not alike in spelling."""
_NEARLY_BEST = 0.8
"""Similar words are kept if their likeness is at least this share of the best."""


class WordTable:
    """Words and their vectors.

    Args:
        words: lower-cased, each once.
        vectors_RW: one row per word, of length 1.
    """

    def __init__(self, words: Sequence[str], vectors_RW: Float[np.ndarray, "R W"]) -> None:
        if len(words) != len(vectors_RW) or len(set(words)) != len(words):
            raise ValueError(
                f"a table of words needs a vector a word, each once: got {len(set(words))} "
                f"different ones of {len(words)} and {len(vectors_RW)} vectors"
            )
        self.words = tuple(words)
        self.vectors_RW = vectors_RW
        self._rows = {word: row for row, word in enumerate(words)}
        self._found: dict[str, tuple[int, ...]] = {}

    @property
    def dim(self) -> int:
        """Channels W of a word's vector."""
        return self.vectors_RW.shape[1]

    def rows_of(self, word: str) -> tuple[int, ...]:
        """Rows of the table that stand for a word, at most `MAX_PARTS`.

        The first of these that the table has: the word itself, the word without an ending, two
        words that it is made of, words of the most similar spelling. Empty if none is similar
        enough, or if the word holds anything but ASCII letters.
        """
        if word in self._rows:
            return (self._rows[word],)
        if word not in self._found:
            self._found[word] = self._search(word) if word.isalpha() and word.isascii() else ()
        return self._found[word]

    def vector_of(self, word: str) -> Float[np.ndarray, " W"]:
        """The mean of the vectors of `rows_of`; zeros if there are none."""
        rows = list(self.rows_of(word))
        mean = self.vectors_RW[rows].mean(axis=0) if rows else np.zeros(self.dim)
        return mean.astype(np.float32)

    def _search(self, word: str) -> tuple[int, ...]:
        stem = self._without_ending(word)
        if stem is not None:
            return (stem,)
        return self._split(word) or self._alike(word)

    def _without_ending(self, word: str) -> int | None:
        for ending, replacement in _ENDINGS:
            stem = word.removesuffix(ending)
            if stem != word and len(stem) >= _MIN_STEM and stem + replacement in self._rows:
                return self._rows[stem + replacement]
        return None

    def _split(self, word: str) -> tuple[int, ...]:
        """Two words that make up a word, of lengths as equal as possible."""
        cuts = range(_MIN_STEM, len(word) - _MIN_STEM + 1)
        for cut in sorted(cuts, key=lambda cut: abs(2 * cut - len(word))):
            head = word[cut:]
            row = self._rows.get(head, self._without_ending(head))
            if word[:cut] in self._rows and row is not None:
                return (self._rows[word[:cut]], row)
        return ()

    def _alike(self, word: str) -> tuple[int, ...]:
        """Words that share rare groups of letters with a word, the most similar first."""
        rows_of_gram, weights = self._grams
        grams = [gram for gram in _grams_of(word) if gram in rows_of_gram]
        if not grams:
            return ()
        # Groups that the table lacks still count for the word's length, as the rarest ones.
        rarest = float(np.log(len(self.words)))
        length = sum(weights.get(gram, rarest) ** 2 for gram in _grams_of(word)) ** 0.5
        shared_R = np.zeros(len(self.words))
        for gram in grams:
            shared_R[rows_of_gram[gram]] += weights[gram] ** 2
        likeness_R = shared_R / (self._gram_lengths * length)
        best = np.argsort(-likeness_R, kind="stable")[:MAX_PARTS]
        least = max(_MIN_LIKENESS, _NEARLY_BEST * likeness_R[best[0]])
        return tuple(int(row) for row in best if likeness_R[row] >= least)

    @cached_property
    def _grams(self) -> tuple[dict[str, list[int]], dict[str, float]]:
        """Where each group of letters occurs, and how rare it is."""
        rows_of_gram: dict[str, list[int]] = defaultdict(list)
        for row, word in enumerate(self.words):
            for gram in _grams_of(word):
                rows_of_gram[gram].append(row)
        weights = {
            gram: float(np.log(len(self.words) / len(rows))) for gram, rows in rows_of_gram.items()
        }
        return dict(rows_of_gram), weights

    @cached_property
    def _gram_lengths(self) -> Float[np.ndarray, " R"]:
        _, weights = self._grams
        squares = [sum(weights[gram] ** 2 for gram in _grams_of(word)) for word in self.words]
        return np.sqrt(squares)


def _grams_of(word: str) -> set[str]:
    """Groups of neighbouring letters of a word, with its start and end marked."""
    marked = f"<{word}>"
    return {
        marked[start : start + length]
        for length in _GRAM_LENGTHS
        for start in range(len(marked) - length + 1)
    }


def pack_rows(rows: Sequence[int], num_words: int) -> int:
    """Encode up to `MAX_PARTS` rows of a table as one number; 0 is no rows."""
    assert len(rows) <= MAX_PARTS, "more words than a token tells"
    return sum((row + 1) * (num_words + 1) ** place for place, row in enumerate(rows))


def unpack_rows(packed: int, num_words: int) -> tuple[int, ...]:
    """Decode the rows of a table from one number. Inverse of `pack_rows`."""
    base = num_words + 1
    counted = [packed // base**place % base for place in range(MAX_PARTS)]
    return tuple(row - 1 for row in counted if row)


def mean_vectors(
    packed_BN: Int[Tensor, "B N"], vectors_RW: Float[Tensor, "R W"]
) -> Float[Tensor, "B N W"]:
    """Mean vector of the rows that each number packs; zeros if it packs none."""
    base = len(vectors_RW) + 1
    # As `unpack_rows`, but rows count from 1; 0 means that there is no row.
    rows_BNP = torch.stack([packed_BN // base**place % base for place in range(MAX_PARTS)], dim=-1)
    given_BNP1 = (rows_BNP > 0).unsqueeze(-1)
    sums_BNW = (vectors_RW[(rows_BNP - 1).clamp(min=0)] * given_BNP1).sum(dim=-2)
    return sums_BNW / given_BNP1.sum(dim=-2).clamp(min=1)


def bundled_file() -> Path:
    """Path of the bundled table."""
    return package_file("word-vectors", "words.safetensors")


@lru_cache(maxsize=4)
def load_table(sha256: str) -> WordTable:
    """The table with this checksum; the same object for the same checksum.

    Raises:
        FileNotFoundError, ValueError: as `check_file`.
    """
    path = bundled_file()
    check_file(path, sha256, field="text.table_sha256", what="table of words")
    return read_table(path)


@lru_cache(maxsize=8)
def load_vectors(sha256: str, device: torch.device, dtype: torch.dtype) -> Float[Tensor, "R W"]:
    """The vectors of a table on a device; the same tensor for the same arguments.

    Raises:
        FileNotFoundError, ValueError: as `load_table`.
    """
    return torch.from_numpy(load_table(sha256).vectors_RW).to(device, dtype)


def read_table(path: str | Path) -> WordTable:
    """Read a file that `file_tensors` describes."""
    tensors = load_file(path)
    vectors_RW = tensors["vectors"].astype(np.float32)
    vectors_RW /= np.linalg.norm(vectors_RW, axis=1, keepdims=True)
    return WordTable(tensors["words"].tobytes().decode("ascii").split("\n"), vectors_RW)


def file_tensors(
    words: Sequence[str], vectors_RW: Float[np.ndarray, "R W"]
) -> dict[str, np.ndarray]:
    """The tensors of a table's file: letters, and 8-bit rows, to be normalised when read."""
    largest_R1 = np.abs(vectors_RW).max(axis=1, keepdims=True)
    rounded_RW: Int8[np.ndarray, "R W"] = np.rint(vectors_RW / largest_R1 * 127).astype(np.int8)
    letters = np.frombuffer("\n".join(words).encode("ascii"), dtype=np.uint8)
    return {"vectors": rounded_RW, "words": letters}
