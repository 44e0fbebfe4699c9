"""A tokenizer of words that needs no file: known words have ids, others are spelled in bytes.

Ids: 0 is padding, 1 starts every text, 2 starts a word that is spelled out, 3-258 are the
256 byte values, and known words follow. Every string in any script has ids, so that unknown
words and emoji cannot fail.

With a table of word vectors, an id holds two numbers: id % `num_ids` is one of the above, or 0 if
only the table represents the word. id // `num_ids` packs rows of the table, or is 0 for none.
"""

import random
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from g3pt.models.conditioning.word_vectors import WordTable, pack_rows, unpack_rows

PADDING = 0
START = 1
SPELLED = 2
FIRST_BYTE = 3
FIRST_WORD = FIRST_BYTE + 256

_PIECES = re.compile(r"\w+|[^\w\s]")


def split_words(text: str) -> list[str]:
    """Cut a text into lower-cased words and single signs, in Unicode's NFKC form."""
    return _PIECES.findall(unicodedata.normalize("NFKC", text).lower())


def collect_vocabulary(texts: Iterable[str], max_words: int = 1024) -> tuple[str, ...]:
    """Give the most frequent words of some texts, the most frequent first."""
    counts = Counter(word for text in texts for word in split_words(text))
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    return tuple(ranked[:max_words])


class TextTokenizer:
    """Ids of texts for a fixed vocabulary.

    Args:
        vocabulary: known words, lower-cased.
        max_tokens: texts are cut after this many ids.
        table: vectors of words, so that words outside the vocabulary are one id, too.
    """

    def __init__(
        self, vocabulary: Sequence[str], max_tokens: int, table: WordTable | None = None
    ) -> None:
        self.max_tokens = max_tokens
        self._table = table
        self.num_ids = FIRST_WORD + len(vocabulary)
        self._words = tuple(vocabulary)
        self._ids = {word: FIRST_WORD + index for index, word in enumerate(vocabulary)}

    def encode(
        self,
        text: str,
        *,
        spelled_share: float = 0.0,
        table_share: float = 0.0,
        rng: random.Random | None = None,
    ) -> list[int]:
        """Turn one text into at most `max_tokens` ids.

        Args:
            text: any string.
            spelled_share: chance that a known word is spelled out in bytes; used in training,
                where bytes would otherwise never occur.
            table_share: chance that only the table, if there is one, represents a word that is
                not spelled out; used in training, so that the model learns to read unknown words.
            rng: source of these draws; needed if one of the chances is positive.
        """
        ids = [START]
        for word in split_words(text):
            known, packed = self._ids.get(word), self._packed_rows(word)
            if known is not None and rng is not None and rng.random() < spelled_share:
                known, packed = None, 0
            elif known is not None and packed and rng is not None and rng.random() < table_share:
                known = None
            if known is not None or packed:
                ids.append((known or 0) + self.num_ids * packed)
            else:
                ids += [SPELLED, *(FIRST_BYTE + byte for byte in word.encode("utf-8"))]
        return ids[: self.max_tokens]

    def _packed_rows(self, word: str) -> int:
        """Rows of the table for a word, as the upper part of an id."""
        if self._table is None:
            return 0
        return pack_rows(self._table.rows_of(word), len(self._table.words))

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of several texts, padded to the longest."""
        return pad_ids([self.encode(text) for text in texts])

    def decode(self, ids: Sequence[int]) -> str:
        """Write ids as words with single spaces; padding and start ids are left out.

        A word that only the table represents is written as the words of its rows, joined by +.
        """
        words: list[bytes] = []
        for together in ids:
            number, packed = together % self.num_ids, together // self.num_ids
            if number == PADDING and packed and self._table is not None:
                rows = unpack_rows(packed, len(self._table.words))
                words.append("+".join(self._table.words[row] for row in rows).encode("ascii"))
            elif number >= FIRST_WORD:
                words.append(self._words[number - FIRST_WORD].encode("utf-8"))
            elif number == SPELLED:
                words.append(b"")
            elif number >= FIRST_BYTE and words:
                words[-1] += bytes([number - FIRST_BYTE])
        return b" ".join(words).decode("utf-8", errors="replace")


def pad_ids(rows: Sequence[Sequence[int]]) -> list[list[int]]:
    """Fill all rows with padding up to the longest."""
    longest = max(len(row) for row in rows)
    return [[*row, *[PADDING] * (longest - len(row))] for row in rows]
