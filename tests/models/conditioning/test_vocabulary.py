import random

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
