import hashlib

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from g3pt.models.conditioning.vocabulary import split_words
from g3pt.models.conditioning.word_vectors import (
    BUNDLED_SHA256,
    MAX_PARTS,
    WordTable,
    bundled_file,
    file_tensors,
    load_table,
    mean_vectors,
    pack_rows,
    read_table,
    unpack_rows,
)

WORDS = ("tea", "pot", "teapot", "berry", "knife", "sofa", "bed", "rocket", "pane", "pan", "box")


@pytest.fixture(scope="module")
def bundled():
    return load_table(BUNDLED_SHA256)


def small_table():
    vectors = np.random.default_rng(0).standard_normal((len(WORDS), 8)).astype(np.float32)
    return WordTable(WORDS, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def words_of(table, word):
    return tuple(table.words[row] for row in table.rows_of(word))


def likeness(table, first, second):
    one, other = table.vector_of(first), table.vector_of(second)
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


@pytest.mark.parametrize(
    ("word", "told_by"),
    [
        ("teapot", ("teapot",)),
        ("teapots", ("teapot",)),
        ("berries", ("berry",)),
        ("knives", ("knife",)),
        ("panes", ("pane",)),
        ("boxes", ("box",)),
        ("sofabed", ("sofa", "bed")),
        ("sofabeds", ("sofa", "bed")),
        ("bedlike", ("bed",)),
        ("rockets", ("rocket",)),
        ("rockety", ("rocket",)),
        ("zzz", ()),
        ("b3d", ()),
        ("стул", ()),
        (",", ()),
        ("", ()),
    ],
)
def test_words_are_told_by_words_of_the_table(word, told_by):
    assert words_of(small_table(), word) == told_by


def test_an_unknown_word_is_the_mean_of_its_parts():
    table = small_table()
    mean = (table.vector_of("sofa") + table.vector_of("bed")) / 2
    np.testing.assert_allclose(table.vector_of("sofabed"), mean, rtol=1e-6)
    assert not table.vector_of("zzz").any()


def test_packed_rows_come_back():
    for rows in ((), (0,), (10,), (3, 0), (10, 10, 10)):
        assert unpack_rows(pack_rows(rows, len(WORDS)), len(WORDS)) == rows
    # The largest id of a real model: it must fit into 64 bits.
    assert 100_000 * (pack_rows((9_999,) * MAX_PARTS, 10_000) + 1) < 2**63


def test_vectors_of_packed_rows_are_those_of_the_words():
    table = small_table()
    words = ["sofabed", "teapots", "zzz", "rockety"]
    packed = [[pack_rows(table.rows_of(word), len(WORDS)) for word in words]]
    found = mean_vectors(torch.tensor(packed), torch.from_numpy(table.vectors_RW))
    expected = np.stack([table.vector_of(word) for word in words])
    np.testing.assert_allclose(found[0].numpy(), expected, rtol=1e-6)


def test_a_file_keeps_words_and_directions(tmp_path):
    table = small_table()
    save_file(file_tensors(table.words, table.vectors_RW * 3), tmp_path / "t.safetensors")
    read = read_table(tmp_path / "t.safetensors")
    assert read.words == table.words
    # 255 steps a number
    np.testing.assert_allclose(read.vectors_RW, table.vectors_RW, atol=0.01)
    np.testing.assert_allclose(np.linalg.norm(read.vectors_RW, axis=1), 1, rtol=1e-6)


def test_a_word_may_be_in_a_table_once():
    with pytest.raises(ValueError, match="got 1 different ones of 2 and 2 vectors"):
        WordTable(("a", "a"), np.ones((2, 4), np.float32))


def test_the_bundled_table_is_the_one_that_configs_name():
    assert hashlib.sha256(bundled_file().read_bytes()).hexdigest() == BUNDLED_SHA256
    card = (bundled_file().parent / "README.md").read_text(encoding="utf-8")
    assert BUNDLED_SHA256 in card and "Apache-2.0" in card and "WordNet" in card
    assert bundled_file().stat().st_size <= 1_000_000


def test_another_table_is_refused():
    with pytest.raises(ValueError, match=f"another table of words.*{BUNDLED_SHA256}"):
        load_table("0" * 64)


@pytest.mark.parametrize(
    ("word", "like", "unlike"),
    [
        ("sofa", "couch", "rocket"),
        ("settee", "sofa", "rocket"),
        ("hatchet", "axe", "turtle"),
        ("automobile", "car", "dog"),
        ("puppy", "dog", "cup"),
        ("mug", "cup", "truck"),
        ("teapots", "kettle", "horse"),
        ("couchbed", "sofa", "rocket"),
        ("skyscrapper", "tower", "spoon"),
    ],
)
def test_words_of_one_meaning_are_closer_than_others(bundled, word, like, unlike):
    assert likeness(bundled, word, like) > likeness(bundled, word, unlike) + 0.2


def test_the_bundled_table_knows_the_words_of_the_families(bundled):
    for word in "chair table lamp mug screwdriver red wooden tall round four with and".split():
        assert words_of(bundled, word) == (word,)


def test_captions_of_one_kind_find_each_other_without_sharing_a_word(bundled):
    kinds = {
        "furniture": ["a leather couch", "an upholstered armchair", "one wooden stool"],
        "vehicle": ["a sports car", "an old lorry", "one delivery van"],
        "animal": ["a sleeping hound", "an angry wolf", "one brown fox"],
        "food": ["a chocolate cake", "an apple pie", "one glazed doughnut"],
        "weapon": ["a knight's sword", "an iron axe", "one curved dagger"],
    }
    captions = [(kind, caption) for kind, texts in kinds.items() for caption in texts]
    told = np.stack([sum(map(bundled.vector_of, split_words(text))) for _, text in captions])
    told = told - told.mean(axis=0)
    told /= np.linalg.norm(told, axis=1, keepdims=True)
    likeness = told @ told.T
    np.fill_diagonal(likeness, -1)
    nearest = [captions[at][0] for at in likeness.argmax(axis=1)]
    right = sum(kind == found for (kind, _), found in zip(captions, nearest, strict=True))
    # Articles are all that they share: words alone find 2 of 15 at random.
    assert right >= 12
