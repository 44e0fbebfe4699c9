import numpy as np
import pytest

from g3pt.models.conditioning.word_conversion import (
    SOURCE_SHA256,
    combine,
    convert,
    principal_parts,
    read_words,
    sense_sentences,
)
from g3pt.models.conditioning.word_vectors import BUNDLED_SHA256, bundled_file, load_table

NOUNS = """  1 a licence that is skipped
00000001 06 n 02 seat 0 couch_chair 0 001 ~ 00000002 n 0000 | furniture for sitting on; "a seat"
00000002 06 n 03 sofa 0 couch 1 lounge 0 002 @ 00000001 n 0000 ~ 00000009 n 0000 | a soft seat
00000003 10 n 01 couch 0 000 | a couch in speech
00000004 18 n 01 knight 0 000 | a man in armour
00000005 06 n 01 Couch 0 000 | a place of that name
"""
SENSES = """couch%1:06:00:: 00000002 2 5
couch%1:10:00:: 00000003 1 9
couch%1:06:01:: 00000005 3 0
couch%1:06:02:: 00000001 4 0
couch%2:31:00:: 00000004 1 3
knight%1:18:00:: 00000004 1 3
"""


@pytest.fixture
def wordnet(tmp_path):
    (tmp_path / "data.noun").write_text(NOUNS)
    (tmp_path / "index.sense").write_text(SENSES)
    return tmp_path


def test_sentences_tell_the_things_that_a_word_may_mean(wordnet):
    found = sense_sentences(wordnet, ["couch", "knight", "red"])
    assert found == {
        "couch": ["couch, sofa, lounge, a kind of seat: a soft seat"],
        "knight": ["knight: a man in armour"],
        "red": [],
    }


def test_other_sources_are_refused(wordnet):
    (wordnet / "model.safetensors").write_bytes(b"other")
    with pytest.raises(ValueError, match=f"expected {SOURCE_SHA256['model.safetensors']}"):
        convert(wordnet, wordnet, ["couch"], wordnet / "out.safetensors")


def test_what_the_dictionary_says_outweighs_pieces_of_a_word():
    rng = np.random.default_rng(0)
    words, senses = (rng.standard_normal((6, 32)).astype(np.float32) for _ in range(2))
    counts, is_whole = [2, 1, 1, 1, 1, 0], np.array([True, True, False, True, True, True])
    found = combine(words, senses, counts, is_whole)
    bare = words - words.mean(axis=0)
    bare /= np.linalg.norm(bare, axis=1, keepdims=True)
    own = (found * bare).sum(axis=1)
    assert own[2] < 0.6 < own[1] and own[5] == pytest.approx(1, abs=1e-5)


def test_principal_parts_keep_what_differs_most():
    rng = np.random.default_rng(0)
    plane = rng.standard_normal((50, 2)) @ rng.standard_normal((2, 10)) + 5
    rows = principal_parts(plane.astype(np.float32), 2)
    centred = plane - plane.mean(axis=0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    np.testing.assert_allclose(rows @ rows.T, centred @ centred.T, atol=1e-4)  # float32 input


def test_words_are_read_from_a_table_or_a_text(tmp_path):
    (tmp_path / "words.txt").write_text("sofa\ncouch\n")
    assert read_words(tmp_path / "words.txt") == ("sofa", "couch")
    assert read_words(bundled_file()) == load_table(BUNDLED_SHA256).words
