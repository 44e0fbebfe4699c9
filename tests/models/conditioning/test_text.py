from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from g3pt.config import from_json, to_json
from g3pt.models.car import Car, CarConfig
from g3pt.models.conditioning import ConditionBatch
from g3pt.models.conditioning.text import TextConditionConfig, TextEncoder
from g3pt.models.conditioning.vocabulary import FIRST_WORD, PADDING
from g3pt.models.weights.config import WeightsConfig
from g3pt.models.weights.folder import read_config, write_config
from g3pt.models.weights.load import load_weights, save_weights

CONFIG = TextConditionConfig(
    vocabulary=("a", "red", "chair"), max_tokens=16, depth=2, width=32, num_heads=2
)
DISTILLED = replace(CONFIG, words="distilled")


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


@torch.no_grad()
def vectors_of(*texts, config=DISTILLED):
    """Of a model that was never trained."""
    torch.manual_seed(0)
    encoder = TextEncoder(config).eval()
    rows = config.build_tokenizer().encode_batch(texts)
    return F.normalize(encoder(torch.tensor(rows)).vector_BD, dim=1)


def test_distilled_words_of_one_meaning_are_alike_before_any_training():
    # Wide enough that a random map keeps angles.
    wide = replace(DISTILLED, width=192, num_heads=3)
    told = vectors_of("sofa", "couch", "settee", "rocket", config=wide)
    likeness = told @ told.T
    assert min(likeness[0, 1], likeness[0, 2]) > likeness[0, 3] + 0.02


def test_without_rows_of_the_table_a_distilled_model_is_a_learned_one_bit_for_bit():
    torch.manual_seed(0)
    learned, distilled = TextEncoder(CONFIG).eval(), TextEncoder(DISTILLED).eval()
    assert set(distilled.state_dict()) == {*learned.state_dict(), "from_table.weight"}
    distilled.load_state_dict(learned.state_dict(), strict=False)
    tokens = ids("a chair стул", "red 7")
    assert int(tokens.max()) < distilled.num_ids
    seen_BN = tokens != PADDING
    assert torch.equal(learned(tokens).tokens_BID[seen_BN], distilled(tokens).tokens_BID[seen_BN])


def test_known_words_keep_their_learned_embedding_beside_the_table():
    torch.manual_seed(0)
    encoder = TextEncoder(DISTILLED)
    rows = DISTILLED.build_tokenizer().encode_batch(["red rocket"])
    encoder(torch.tensor(rows)).vector_BD.square().sum().backward()
    red, table = DISTILLED.vocabulary.index("red"), encoder.from_table.weight
    taught = encoder.embedding.weight.grad.abs().sum(dim=1).nonzero().squeeze(1)
    assert taught.tolist() == [1, FIRST_WORD + red]  # the start, and the known word
    assert table.grad.abs().sum() > 0


def test_padding_of_distilled_texts_changes_nothing():
    told, padded = vectors_of("sofa"), vectors_of("sofa", "a red sofa by the chair")
    # float32 sums over more terms, all zero
    torch.testing.assert_close(padded[:1], told, atol=1e-5, rtol=1e-5)


def test_weights_leave_the_table_out_and_refuse_another(tmp_path, tiny_weights):
    tokenizer = load_weights(tiny_weights, "cpu").tokenizer
    torch.manual_seed(0)
    car = Car(
        CarConfig(
            scale_lengths=tokenizer.scale_lengths,
            num_bits=tokenizer.num_bits,
            input_dim=tokenizer.dim,
            depth=1,
            width=32,
            num_heads=2,
            conditions=(DISTILLED,),
        )
    ).eval()
    config = read_config(tiny_weights, WeightsConfig)
    save_weights(tmp_path / "w", tokenizer, car, config=replace(config, storage="float32"))
    loaded = load_weights(tmp_path / "w", "cpu")
    told = torch.tensor(DISTILLED.build_tokenizer().encode_batch(["a red settee"]))
    batch = ConditionBatch(batch_size=1, text_ids_BN=told)
    before, after = (model.encode_condition(batch) for model in (car, loaded.car))
    assert torch.equal(before.tokens_BID, after.tokens_BID)

    config = read_config(tmp_path / "w", WeightsConfig)
    other = replace(DISTILLED, table_sha256="0" * 64)
    write_config(tmp_path / "w", replace(config, car=replace(config.car, conditions=(other,))))
    with pytest.raises(ValueError, match="trained with another table of words"):
        load_weights(tmp_path / "w", "cpu")
