from itertools import pairwise

import numpy as np
import pytest
import torch

from g3pt.evaluation.codecs.field_codecs import (
    LATENT_BITS,
    KlLatents,
    PrefixCodec,
    RoundedLatentsCodec,
    Rounding,
)
from g3pt.generation.field import ShapeField
from g3pt.generation.surface import encode_samples
from g3pt.geometry.sampling import SurfaceSamples
from g3pt.models.alternatives.kl import KlConfig
from g3pt.models.cqt import CqtConfig
from g3pt.models.cvq import CvqConfig
from g3pt.models.quantizers import LfqConfig
from g3pt.models.tokenizers import TokenizerConfig, build_tokenizer
from g3pt.models.weights.config import WeightsConfig
from g3pt.models.weights.load import LoadedWeights

SIZES = {"num_latents": 6, "dim": 16, "num_heads": 2, "encoder_layers": 1, "decoder_layers": 1}
CVQ = CvqConfig(**SIZES, cqt=CqtConfig(scale_lengths=(1, 2, 6)), quantizer=LfqConfig(num_bits=5))
KL = KlConfig(**SIZES, latent_dim=3)


def loaded(config: TokenizerConfig) -> LoadedWeights:
    torch.manual_seed(1)
    tokenizer = build_tokenizer(config).eval().requires_grad_(False)
    named = WeightsConfig(name="untrained", tokenizer=config, num_points=64, sha256="0" * 64)
    return LoadedWeights(named, tokenizer, None, "0" * 64)


def ball(seed: int) -> SurfaceSamples:
    points = np.random.default_rng(seed).normal(size=(64, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    radii = np.array([0.3, 0.5, 0.9]) * (1 + seed % 3) / 3
    return SurfaceSamples(points * radii, points, np.zeros(64, np.int64))


# --- rounding ----------------------------------------------------------------------------------


def known_latents(num: int = 400) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal(size=(num, 4, 3)) * [1.0, 0.1, 10.0] + [0.0, 5.0, -20.0]


def error(rounding: Rounding, latents: np.ndarray) -> float:
    spread = known_latents().std(axis=0)
    return float((np.square(rounding(latents) - latents) / np.square(spread)).mean())


def test_every_bit_of_a_number_makes_the_error_smaller():
    known = known_latents()
    errors = [error(Rounding.fitted(known, bits), known) for bits in LATENT_BITS]
    assert all(more < 0.45 * less for less, more in pairwise(errors))
    # One bit of a normal number leaves 1 - 2 / pi of its variance at best.
    assert errors[0] == pytest.approx(1 - 2 / np.pi, abs=0.03)
    assert errors[-1] < 1e-3


def test_a_number_has_no_more_values_than_its_bits_tell_apart():
    known = known_latents()
    for bits in (1, 3):
        rounded = Rounding.fitted(known, bits)(known)
        for number in rounded.reshape(len(known), -1).T:
            assert len(np.unique(number.round(9))) == 2**bits


def test_values_beyond_the_range_go_to_the_last_cell():
    rounding = Rounding.fitted(known_latents(), 2)
    far = np.full((4, 3), 1e6)
    top = rounding.low_LE + 3.5 * rounding.cell_LE
    np.testing.assert_allclose(rounding(far), top)
    np.testing.assert_allclose(rounding(-far), rounding.low_LE + 0.5 * rounding.cell_LE)


def test_a_number_that_never_changes_comes_back():
    known = np.full((5, 2, 2), 3.25)
    np.testing.assert_allclose(Rounding.fitted(known, 1)(known), known)


# --- codecs ------------------------------------------------------------------------------------


def test_a_prefix_costs_its_tokens_and_is_decoded_from_them_alone():
    weights, queries = loaded(CVQ), np.random.default_rng(2).uniform(-1, 1, (50, 3))
    rated = list(PrefixCodec(weights).code(ball(1)))
    assert [one.bits for one in rated] == [5, 15, 45]
    assert [one.method for one in rated] == ["1 scale", "2 scales", "3 scales"]
    tokens = encode_samples(weights.tokenizer, ball(1))  # pyright: ignore[reportArgumentType]
    for one, stop in zip(rated, (1, 3, 9), strict=True):
        expected = ShapeField.from_tokens(weights.tokenizer, tokens[:stop])
        np.testing.assert_array_equal(one.field(queries), expected(queries))


def test_rounded_latents_cost_bits_a_number_and_come_near_to_the_whole():
    weights, queries = loaded(KL), np.random.default_rng(2).uniform(-1, 1, (50, 3))
    latents = KlLatents(weights)
    rated = list(RoundedLatentsCodec(latents, [ball(seed) for seed in range(40)]).code(ball(41)))
    assert [one.bits for one in rated] == [18 * bits for bits in range(1, 9)]
    whole = latents.field(latents.encode(ball(41)))(queries)
    errors = [np.abs(one.field(queries) - whole).max() for one in rated]
    assert errors[-1] < 0.05 * errors[0]


def test_the_latents_are_those_that_the_tokenizer_decodes():
    weights, queries = loaded(KL), np.random.default_rng(2).uniform(-1, 1, (50, 3))
    latents, samples = KlLatents(weights), ball(4)
    points, normals = (torch.from_numpy(a).float()[None] for a in (samples.points, samples.normals))
    with torch.inference_mode():
        coded = weights.tokenizer.quantize(weights.tokenizer.encode(points, normals))
        whole = ShapeField.from_features(weights.tokenizer, coded.summed_BLC[0], 1)
    np.testing.assert_array_equal(latents.field(latents.encode(samples))(queries), whole(queries))


def test_codecs_refuse_tokenizers_of_the_other_kind_and_ranges_of_nothing():
    with pytest.raises(ValueError, match="untrained"):
        PrefixCodec(loaded(KL))
    with pytest.raises(ValueError, match="untrained"):
        KlLatents(loaded(CVQ))
    with pytest.raises(ValueError, match="at least one known shape"):
        RoundedLatentsCodec(KlLatents(loaded(KL)), [])
