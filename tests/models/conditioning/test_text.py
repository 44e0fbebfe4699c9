from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from g3pt.config import from_json, to_json
from g3pt.models.conditioning.text import TextConditionConfig, TextEncoder

CONFIG = TextConditionConfig(
    vocabulary=("a", "red", "chair"), max_tokens=16, depth=2, width=32, num_heads=2
)


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return TextEncoder(CONFIG).eval()


def ids(*texts):
    return torch.tensor(CONFIG.build_tokenizer().encode_batch(texts))


@torch.no_grad()
def test_padding_changes_nothing(encoder):
    text = ids("a chair")
    short, long = encoder(text), encoder(F.pad(text, (0, 5)))
    # float32 sums over more terms, all zero
    torch.testing.assert_close(long.tokens_BID[:, :3], short.tokens_BID, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(long.vector_BD, short.vector_BD, atol=1e-5, rtol=1e-5)


def test_padding_is_marked_as_unseen(encoder):
    valid = encoder(ids("a", "a red chair")).valid_BI
    assert valid.tolist() == [[True, True, False, False], [True] * 4]


@torch.no_grad()
def test_the_order_of_words_matters(encoder):
    vectors = encoder(ids("red chair", "chair red")).vector_BD
    assert not torch.allclose(vectors[0], vectors[1], atol=1e-4)


def test_too_many_ids_are_refused(encoder):
    with pytest.raises(ValueError, match="at most 16"):
        encoder(torch.ones(1, 17, dtype=torch.int64))


def test_a_word_may_be_in_the_vocabulary_once():
    with pytest.raises(ValueError, match="twice"):
        replace(CONFIG, vocabulary=("a", "a"))


def test_config_with_its_vocabulary_survives_json():
    assert from_json(TextConditionConfig, to_json(CONFIG)) == CONFIG
