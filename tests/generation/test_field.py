from pathlib import Path

import numpy as np
import pytest
import torch

from g3pt.generation.field import ShapeField
from g3pt.models.cvq import CvqTokenizer
from g3pt.models.weights.load import load_weights


@pytest.fixture(scope="module")
def tokenizer(tiny_weights: Path) -> CvqTokenizer:
    return load_weights(tiny_weights, "cpu").tokenizer


def tokens(tokenizer: CvqTokenizer, num_scales: int | None = None) -> torch.Tensor:
    total = sum(tokenizer.scale_lengths[:num_scales])
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 2**tokenizer.num_bits, (total,), generator=generator)


def points(num: int = 1000) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (num, 3)).astype(np.float32)


def test_the_field_is_the_tokenizers_occupancy(tokenizer: CvqTokenizer) -> None:
    indices_1T = tokens(tokenizer)[None]
    memory = tokenizer.shape_memory(tokenizer.decode_indices(indices_1T))
    with torch.no_grad():
        expected = tokenizer.occupancy(memory, torch.from_numpy(points())[None])[0]
    logits = ShapeField.from_tokens(tokenizer, indices_1T[0])(points())
    # Other shapes of the same sums: float32 rounding of a few layers.
    np.testing.assert_allclose(logits, expected.numpy(), rtol=1e-4, atol=1e-4)


def test_a_logit_depends_neither_on_its_neighbours_nor_on_its_place(
    tokenizer: CvqTokenizer,
) -> None:
    field = ShapeField.from_tokens(tokenizer, tokens(tokenizer), chunk=256)
    logits = field(points())
    order = np.random.default_rng(1).permutation(1000)
    np.testing.assert_array_equal(field(points()[order]), logits[order])
    np.testing.assert_array_equal(field(points()[300:307]), logits[300:307])


def test_no_points_have_no_logits(tokenizer: CvqTokenizer) -> None:
    assert ShapeField.from_tokens(tokenizer, tokens(tokenizer))(points(0)).shape == (0,)


def test_the_first_scales_alone_make_a_field(tokenizer: CvqTokenizer) -> None:
    coarse = ShapeField.from_tokens(tokenizer, tokens(tokenizer, 1))(points())
    fine = ShapeField.from_tokens(tokenizer, tokens(tokenizer))(points())
    assert np.isfinite(coarse).all()
    assert not np.allclose(coarse, fine)


def test_tokens_that_end_inside_a_scale_are_refused(tokenizer: CvqTokenizer) -> None:
    with pytest.raises(ValueError, match="end with a scale"):
        ShapeField.from_tokens(tokenizer, tokens(tokenizer)[:3])
