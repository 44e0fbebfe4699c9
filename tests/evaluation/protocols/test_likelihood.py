"""Cross-entropy of held-out objects: what is counted, and that it is theirs."""

import math
from types import SimpleNamespace

import numpy as np
import pytest


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Weights of an untrained generator, and four tokenized shapes."""
    from dataclasses import replace

    from g3pt.evaluation.protocols.likelihood import TokenizedShapes
    from g3pt.models.car import Car, CarConfig
    from g3pt.models.conditioning.image import ImageConditionConfig
    from g3pt.models.tokenizers import build_tokenizer
    from g3pt.models.weights.config import WeightsConfig
    from g3pt.models.weights.load import save_weights
    from g3pt.recipes import car, tokenizer
    from g3pt.reproduce.tokenizer_sizes import size
    from g3pt.shapes.cache.tokens import TokenCache, TokenCacheConfig
    from g3pt.shapes.shards import ShardSet
    from g3pt.training.ingredients import ensure_shapes, ensure_tokens

    folder = tmp_path_factory.mktemp("likelihood")
    shapes = tokenizer.smoke_shapes(held_out=True)
    shapes = replace(shapes, path=str(folder / "shapes"), source=replace(shapes.source, num=4))
    (path,) = ensure_shapes((shapes,))
    shards = ShardSet(path)
    stage1 = build_tokenizer(size("smoke").model).eval()
    tokens = ensure_tokens(
        [shards], stage1, "f" * 64, TokenCacheConfig(resamplings=1, num_points=64)
    )
    image = ImageConditionConfig(image_size=32, depth=1, width=16, num_heads=1)
    config = CarConfig(depth=1, width=16, num_heads=1, conditions=(image,))
    generator = Car(car.fitting(config, size("smoke").model))
    weights = folder / "weights"
    save_weights(
        weights,
        stage1,
        generator,
        config=WeightsConfig(name="tiny", storage="float32", tokenizer=stage1.config),
    )
    measured = TokenizedShapes("held-out", shards, TokenCache(tokens[0]), 3)
    return SimpleNamespace(folder=folder, weights=weights, shapes=measured, stage1=stage1)


def test_the_whole_is_the_mean_of_the_scales_by_their_tokens(place):
    from g3pt.evaluation.protocols.likelihood import evaluate_likelihood

    report = evaluate_likelihood(place.weights, place.shapes)
    assert report["counts"]["objects"] == 3
    lengths = place.stage1.scale_lengths
    for row in report["objects"]:
        by_scale = [row[f"ce_{scale}"] for scale in range(1, len(lengths) + 1)]
        assert row["ce"] == pytest.approx(np.average(by_scale, weights=lengths))
        assert row["bits_per_shape"] == pytest.approx(row["ce"] * sum(lengths) / math.log(2))
        assert row["unconditional_ce"] != row["ce"]


def test_numbers_do_not_depend_on_how_many_objects_are_taken_at_a_time(place):
    from g3pt.evaluation.protocols.likelihood import evaluate_likelihood

    whole = evaluate_likelihood(place.weights, place.shapes)["objects"]
    single = evaluate_likelihood(place.weights, place.shapes, batch_size=1)["objects"]
    for one, other in zip(whole, single, strict=True):
        assert one["id"] == other["id"]
        assert one["ce"] == pytest.approx(other["ce"], rel=1e-5)  # sums of another order


def test_finished_objects_are_taken_as_they_are(place):
    from g3pt.evaluation.protocols.likelihood import evaluate_likelihood
    from g3pt.evaluation.results import read_rows

    out = place.folder / "out"
    report = evaluate_likelihood(place.weights, place.shapes, out=out)
    again = evaluate_likelihood(place.weights, place.shapes, out=out)
    assert again["objects"] == report["objects"] == read_rows(out)


def test_tokens_of_another_layout_are_refused(place, tiny_weights):
    from g3pt.evaluation.protocols.likelihood import evaluate_likelihood

    with pytest.raises(ValueError, match=r"weights untrained read .* of 5: tokenize"):
        evaluate_likelihood(tiny_weights, place.shapes)
