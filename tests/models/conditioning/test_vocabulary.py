import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from g3pt.models.conditioning.vocabulary import (
    FIRST_BYTE,
    FIRST_WORD,
    PADDING,
    SPELLED,
    START,
    TextTokenizer,
    collect_vocabulary,
    pad_ids,
)
from g3pt.models.conditioning.word_vectors import WordTable

WORDS = ("a", "red", "chair", ",")


@pytest.fixture(scope="module")
def tokenizer():
    return TextTokenizer(WORDS, max_tokens=32)


@settings(deadline=None, max_examples=60)
@given(text=st.text(max_size=60))
def test_every_string_has_ids(text):
    tokenizer = TextTokenizer(WORDS, max_tokens=32)
    ids = tokenizer.encode(text)
    assert ids[0] == START
    assert len(ids) <= 32
    assert all(PADDING < number < tokenizer.num_ids for number in ids)
    tokenizer.decode(ids)


def test_known_words_are_one_id_each_in_any_case(tokenizer):
    assert tokenizer.encode("A RED chair") == [START, *(FIRST_WORD + i for i in range(3))]


def test_unknown_words_are_spelled_in_bytes(tokenizer):
    assert tokenizer.encode("ox") == [START, SPELLED, FIRST_BYTE + ord("o"), FIRST_BYTE + ord("x")]


@pytest.mark.parametrize("text", ["a red chair , with wheels", "🪑 красный стул", "a  red\tox"])
def test_decoding_gives_the_words_back(text):
    tokenizer = TextTokenizer(WORDS, max_tokens=64)
    assert tokenizer.decode(tokenizer.encode(text)) == " ".join(text.split())


def test_an_empty_text_is_a_start_alone(tokenizer):
    assert tokenizer.encode("") == [START]
    assert tokenizer.encode(" \n") == [START]


def test_long_texts_are_cut(tokenizer):
    assert len(tokenizer.encode("chair " * 100)) == 32


def test_known_words_can_be_spelled_for_training(tokenizer):
    rng = random.Random(0)
    spelled = tokenizer.encode("red chair", spelled_share=1.0, rng=rng)
    assert max(spelled) < FIRST_WORD
    assert tokenizer.decode(spelled) == "red chair"


def test_a_batch_is_padded_to_its_longest(tokenizer):
    rows = tokenizer.encode_batch(["a", "a red chair"])
    assert rows == pad_ids([tokenizer.encode("a"), tokenizer.encode("a red chair")])
    assert rows[0][2:] == [PADDING, PADDING]


def test_vocabulary_ranks_words_by_frequency():
    assert collect_vocabulary(["a red chair", "A chair!", "a"], max_words=3) == ("a", "chair", "!")


TABLE = WordTable(("chair", "sofa", "bed"), np.eye(3, dtype=np.float32))


def with_table():
    return TextTokenizer(WORDS, max_tokens=32, table=TABLE)


def test_words_of_the_table_are_one_id_each_and_come_back():
    tokenizer = with_table()
    ids = tokenizer.encode("a sofa chair sofabed")
    assert len(ids) == 5
    assert [number % tokenizer.num_ids for number in ids] == [
        START,
        FIRST_WORD,
        0,
        FIRST_WORD + 2,
        0,
    ]
    assert tokenizer.decode(ids) == "a sofa chair sofa+bed"


def test_words_that_the_table_does_not_help_with_have_the_ids_they_always_had(tokenizer):
    text = "a red , стул 42 ox"
    assert with_table().encode(text) == tokenizer.encode(text)


def test_known_words_can_be_told_by_the_table_alone_or_spelled_for_training():
    tokenizer, rng = with_table(), random.Random(0)
    (told,) = tokenizer.encode("chair", table_share=1.0, rng=rng)[1:]
    assert told % tokenizer.num_ids == PADDING and tokenizer.decode([told]) == "chair"
    spelled = tokenizer.encode("chair", spelled_share=1.0, table_share=1.0, rng=rng)
    assert spelled[1] == SPELLED and max(spelled) < FIRST_WORD
    drawn = [tokenizer.encode("chair", table_share=0.5, rng=rng)[1] for _ in range(200)]
    assert 60 < sum(number == told for number in drawn) < 140
