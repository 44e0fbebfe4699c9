from dataclasses import replace

import pytest
import torch

from conditions import draw_pictures
from g3pt.models.conditioning import (
    ClassConditionConfig,
    ConditionBatch,
    Conditioner,
    ImageConditionConfig,
    TextConditionConfig,
)
from g3pt.models.conditioning.contract import ConditionOutput, concatenate_batches

IMAGE = ImageConditionConfig(image_size=16, patch_size=4, depth=1, width=16, num_heads=2)
TEXT = TextConditionConfig(vocabulary=("red", "chair"), depth=1, width=16, num_heads=2)
CLASS = ClassConditionConfig(num_classes=4, width=16)


def build(*configs):
    torch.manual_seed(0)
    return Conditioner(configs or (IMAGE, TEXT, CLASS), 24).eval()


def draw_batch():
    rows = TEXT.build_tokenizer().encode_batch(["red", "red chair", "chair"])
    return ConditionBatch(
        batch_size=3,
        pictures_BSS4=draw_pictures(3, 16),
        text_ids_BN=torch.tensor(rows),
        labels_B=torch.tensor([0, 1, 2]),
    )


def seen_tokens(output, row):
    return output.tokens_BID[row][output.valid_or_all[row]]


@torch.no_grad()
def test_the_prefix_holds_all_conditions_one_after_another():
    output = build()(draw_batch())
    assert output.tokens_BID.shape == (3, 16 + 3 + 1, 24)
    assert output.vector_BD.shape == (3, 24)
    assert output.valid_or_all.sum(dim=1).tolist() == [19, 20, 19]


@torch.no_grad()
def test_an_absent_condition_is_one_null_token():
    output = build()(replace(draw_batch(), pictures_BSS4=None, text_ids_BN=None))
    assert output.tokens_BID.shape == (3, 3, 24)
    assert output.valid_BI is None


@torch.no_grad()
@pytest.mark.parametrize("name", ["images", "text", "labels"])
def test_a_dropped_row_is_what_an_absent_input_is(name):
    fields = {"images": "pictures_BSS4", "text": "text_ids_BN", "labels": "labels_B"}
    conditioner, batch = build(), draw_batch()
    mask = torch.tensor([False, True, False])
    dropped = conditioner(replace(batch, **{f"{name}_dropped_B": mask}))
    absent = conditioner(replace(batch, **{fields[name]: None}))
    whole = conditioner(batch)
    for row, expected in ((0, whole), (1, absent), (2, whole)):
        # float32 products of batches of different size
        torch.testing.assert_close(
            seen_tokens(dropped, row), seen_tokens(expected, row), atol=1e-5, rtol=1e-5
        )
        torch.testing.assert_close(
            dropped.vector_BD[row], expected.vector_BD[row], atol=1e-5, rtol=1e-5
        )


@torch.no_grad()
@pytest.mark.parametrize("name", ["image", "text"])
def test_devices_that_cannot_count_rows_give_the_same(name):
    conditioner, batch = build(), draw_batch().alone(name)
    condition, dropped_B = conditioner.conditions[name], torch.tensor([False, True, False])
    counted = condition._encode_kept(batch, dropped_B)
    whole = condition._overwrite(condition._encode(batch), dropped_B)
    for row in range(3):
        # float32 products of batches of different size
        torch.testing.assert_close(
            seen_tokens(whole, row), seen_tokens(counted, row), atol=1e-5, rtol=1e-5
        )
    torch.testing.assert_close(whole.vector_BD, counted.vector_BD, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_dropping_every_row_is_having_nothing():
    conditioner, everybody = build(), torch.ones(3, dtype=torch.bool)
    dropped = conditioner(
        replace(
            draw_batch(),
            images_dropped_B=everybody,
            text_dropped_B=everybody,
            labels_dropped_B=everybody,
        )
    )
    nothing = conditioner(draw_batch().without_conditions())
    assert torch.equal(dropped.tokens_BID, nothing.tokens_BID)
    assert torch.equal(dropped.vector_BD, nothing.vector_BD)


def test_a_condition_that_the_model_lacks_is_refused():
    with pytest.raises(ValueError, match="no text condition; it knows: image"):
        build(IMAGE)(replace(draw_batch(), labels_B=None))


@torch.no_grad()
def test_a_model_without_conditions_has_an_empty_prefix():
    torch.manual_seed(0)
    output = Conditioner((), 24)(ConditionBatch(batch_size=2))
    assert output.tokens_BID.shape == (2, 0, 24)


def test_batches_of_different_prefixes_are_padded_with_unseen_tokens():
    short = ConditionOutput(torch.ones(1, 2, 4), torch.zeros(1, 4))
    long = ConditionOutput(torch.ones(2, 3, 4), torch.ones(2, 4))
    both = concatenate_batches([short, long])
    assert both.valid_BI.tolist() == [[True, True, False], [True] * 3, [True] * 3]
    assert not both.tokens_BID[0, 2].any()


def test_equal_prefixes_need_no_mask():
    output = ConditionOutput(torch.ones(1, 2, 4), torch.zeros(1, 4))
    assert concatenate_batches([output, output]).valid_BI is None


def test_repeating_a_batch_puts_copies_side_by_side():
    repeated = draw_batch().repeat(2)
    assert repeated.batch_size == 6
    assert repeated.labels_B.tolist() == [0, 0, 1, 1, 2, 2]
    assert repeated.text_dropped_B is None
