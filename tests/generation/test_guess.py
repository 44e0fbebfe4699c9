"""The first guess as an answer of the pipeline."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from g3pt.cli.generate import _why_guessed
from g3pt.generation.answers import (
    ConsensusAnswer,
    GuessAnswer,
    SettledAnswer,
    answer_features,
)
from g3pt.generation.consensus import sample_spread
from g3pt.generation.meshing import mesh_features
from g3pt.generation.pipeline import G3PT
from g3pt.geometry.outline import OutlinedField
from g3pt.geometry.silhouettes import find_view
from g3pt.models.car import Car
from g3pt.models.guess import GuessConfig
from g3pt.models.sampling import Sampling
from g3pt.models.weights.load import load_weights, save_weights


@pytest.fixture(scope="module")
def pipeline(tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> G3PT:
    """Untrained weights that make a guess, and answer with it where one answer is wanted."""
    weights = load_weights(tiny_weights, "cpu")
    assert weights.car is not None
    guess = GuessConfig(image_size=64, num_scales=2, place_width=4, width=16)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        car = Car(replace(weights.car.config, guess=guess))
        assert car.guess is not None
        torch.nn.init.normal_(car.guess.to_signs.weight, std=0.5)
    sampling = replace(weights.config.sampling, guess=True)
    config = replace(weights.config, name="guessing", sampling=sampling)
    folder = tmp_path_factory.mktemp("weights") / "guessing"
    save_weights(folder, weights.tokenizer, car, config=config, card="Untrained.\n")
    return G3PT.from_pretrained(folder, "cpu")


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    rgba = np.zeros((48, 48, 4), np.uint8)
    rgba[12:36, 12:36] = (200, 80, 40, 255)
    return rgba


def test_a_picture_is_answered_with_the_guess_where_the_weights_say_so(pipeline, picture):
    (shape,) = pipeline.generate(image=picture, resolution=24, min_share=0).shapes
    prompts = pipeline.read_prompts(image=picture)
    with torch.no_grad():
        features = pipeline.car.guess_features(pipeline.tokenizer, prompts.condition)
    asked = (pipeline.tokenizer, features[0], 2)
    expected = mesh_features(*asked, resolution=24, outline=prompts.pictures[0].rgba)
    assert shape.guessed
    np.testing.assert_array_equal(shape.mesh.vertices, expected.mesh.vertices)
    (plain,) = pipeline.generate(image=picture, resolution=24, min_share=0, outline=False).shapes
    unfitted = mesh_features(*asked, resolution=24)
    np.testing.assert_array_equal(plain.mesh.vertices, unfitted.mesh.vertices)
    assert not np.array_equal(plain.mesh.vertices, shape.mesh.vertices)


def test_a_sample_is_not_fitted_to_the_outline(pipeline, picture):
    asked = {"image": picture, "consensus": 2, "guess_above": "never", "resolution": 24}
    fitted, plain = (
        pipeline.generate(**asked, outline=outline).shapes[0] for outline in (True, False)
    )
    np.testing.assert_array_equal(fitted.mesh.vertices, plain.mesh.vertices)


def test_the_outline_is_that_of_the_first_view_of_each_shape(pipeline, picture):
    from g3pt.generation.answers import GuessAnswer, answer_features

    prompts = pipeline.read_prompts(image=[picture, picture])
    models = (pipeline.tokenizer, pipeline.car, prompts.condition)
    sampling = pipeline.weights.config.sampling
    with torch.no_grad():
        answered = answer_features(
            *models, GuessAnswer(outlined=True), seeds=[0, 1], sampling=sampling
        )
        plain = answer_features(*models, GuessAnswer(), seeds=[0, 1], sampling=sampling)
    assert plain.outlines == (None, None)
    points = np.random.default_rng(0).uniform(-1, 1, (500, 3))
    for fitted, unfitted, shown in zip(
        answered.fields(pipeline.tokenizer),
        plain.fields(pipeline.tokenizer),
        prompts.pictures,
        strict=True,
    ):
        expected = OutlinedField(
            unfitted, shown.guess_rgba if shown.guess_rgba is not None else shown.rgba
        )
        np.testing.assert_array_equal(fitted(points), expected(points))


def test_the_guess_does_not_depend_on_the_seed(pipeline, picture):
    one, other = (
        pipeline.generate(image=picture, seed=seed, guess=True, resolution=24).shapes[0]
        for seed in (0, 7)
    )
    np.testing.assert_array_equal(one.mesh.vertices, other.mesh.vertices)
    assert torch.equal(one.tokens.indices, other.tokens.indices)


def test_the_tokens_of_a_guess_are_the_guess_quantised(pipeline, picture):
    (shape,) = pipeline.generate(image=picture, guess=True, resolution=24).shapes
    prompts = pipeline.read_prompts(image=picture)
    with torch.no_grad():
        features = pipeline.car.guess_features(pipeline.tokenizer, prompts.condition)
        expected = pipeline.tokenizer.quantize(features, num_scales=2).indices_BT
    assert torch.equal(shape.tokens.indices, expected[0])


@pytest.mark.parametrize("asked", [{"num": 2}, {"consensus": 1}, {"guess": False}])
def test_who_asks_for_samples_gets_samples(pipeline, picture, asked):
    shapes = pipeline.generate(image=picture, resolution=16, **asked).shapes
    assert not any(shape.guessed for shape in shapes)


def test_without_a_picture_samples_are_drawn(pipeline):
    (shape,) = pipeline.generate(text="a red mug", resolution=16).shapes
    assert not shape.guessed


@pytest.mark.parametrize("other", [{"num": 2}, {"best_of": 2}, {"consensus": 3}])
def test_a_guess_and_samples_exclude_each_other(pipeline, picture, other):
    with pytest.raises(ValueError, match="the first guess is one answer"):
        pipeline.generate(image=picture, guess=True, **other)


def test_weights_without_a_guess_say_so(tiny_weights, picture):
    with pytest.raises(ValueError, match="make no first guess"):
        G3PT.from_pretrained(tiny_weights, "cpu").generate(image=picture, guess=True)


# --- the consensus where samples agree, the guess where they do not ------------------------


def settling(pipeline: G3PT, above: float) -> G3PT:
    """The same weights with another rule."""
    sampling = replace(
        pipeline.weights.config.sampling, guess=False, consensus=3, guess_above=above
    )
    weights = replace(pipeline.weights, config=replace(pipeline.weights.config, sampling=sampling))
    return G3PT(weights)


def test_the_spread_of_equal_samples_is_nothing_and_else_their_mean_square():
    same = torch.ones(2, 3, 4)
    assert sample_spread(torch.cat([same, same * 2]), 2).tolist() == [0, 0]
    apart = torch.stack([torch.zeros(3, 4), torch.full((3, 4), 2.0)])
    assert sample_spread(apart, 2).tolist() == [1]


def test_samples_that_agree_are_the_answer_and_others_give_way_to_the_guess(pipeline, picture):
    (shape,) = settling(pipeline, 0.0).generate(image=picture, resolution=16).shapes
    assert shape.guessed and shape.consensus == () and shape.spread > 0
    (guess,) = pipeline.generate(image=picture, guess=True, resolution=16).shapes
    np.testing.assert_array_equal(shape.mesh.vertices, guess.mesh.vertices)

    above = settling(pipeline, shape.spread)  # no more than that is not above it
    (agreed,) = above.generate(image=picture, resolution=16).shapes
    assert not agreed.guessed and agreed.consensus == (0, 1, 2)
    assert agreed.spread == pytest.approx(shape.spread)
    (consensus,) = pipeline.generate(image=picture, consensus=3, resolution=16).shapes
    np.testing.assert_array_equal(agreed.mesh.vertices, consensus.mesh.vertices)


@pytest.mark.parametrize("asked", [{"num": 2}, {"consensus": 3}, {"consensus": 1}, {"best_of": 2}])
def test_who_says_what_they_want_is_not_overruled(pipeline, picture, asked):
    shapes = settling(pipeline, 0.0).generate(image=picture, resolution=16, **asked).shapes
    assert not any(shape.guessed for shape in shapes)


def test_sentences_are_not_settled_by_a_guess_of_pictures(pipeline):
    (shape,) = settling(pipeline, 0.0).generate(text="a red mug", resolution=16).shapes
    assert not shape.guessed and shape.spread is None


def test_the_evaluation_settles_as_the_product_does(pipeline, picture):
    prompts = pipeline.read_prompts(image=[picture, picture[:, ::-1]])
    asked = {"seeds": [0, 0], "sampling": pipeline.weights.config.sampling}
    models = (pipeline.tokenizer, pipeline.car, prompts.condition)
    consensus = answer_features(*models, ConsensusAnswer(num_samples=3), **asked)
    guess = answer_features(*models, GuessAnswer(), **asked)
    for above, expected in ((0.0, guess), (1e9, consensus)):
        settled = answer_features(*models, SettledAnswer(num_samples=3, guess_above=above), **asked)
        assert torch.equal(settled.summed_BLC, expected.summed_BLC)
        assert torch.equal(settled.num_scales_B, expected.num_scales_B)
    assert guess.num_scales_B.tolist() == [2, 2] and consensus.num_scales_B.tolist() == [3, 3]


def test_a_rule_about_samples_needs_samples(pipeline):
    with pytest.raises(ValueError, match=r"sampling\.consensus must be at least 2, got 1"):
        replace(pipeline.weights.config, sampling=Sampling(guess_above=0.1))


def test_the_command_says_when_it_guessed_by_itself():
    settled = {"guess": True, "spread": 0.06}
    by_spread, by_outline = (
        _why_guessed({**settled, "guess_because": reason}) for reason in ("spread", "outline")
    )
    assert "their samples do not agree" in by_spread and "outline of the picture" in by_outline
    assert [_why_guessed(each) for each in ({"guess": True}, {"spread": 0.01}, {})] == [""] * 3


def test_the_edge_of_a_picture_taken_whole_is_no_outline(pipeline):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
    asked = {"image": noise, "whole_picture": True, "resolution": 24}
    fitted, plain = (
        pipeline.generate(**asked, outline=outline).shapes[0] for outline in (True, False)
    )
    assert fitted.guessed
    np.testing.assert_array_equal(fitted.mesh.vertices, plain.mesh.vertices)


def test_a_consensus_that_does_not_resemble_the_picture_gives_way_to_the_guess(
    pipeline, picture, monkeypatch
):
    """The samples agree, and only the outline decides."""
    asked = {"image": picture, "consensus": 2, "guess_above": 1e6, "resolution": 24, "min_share": 0}
    kept, replaced = (
        shape
        for needed in (0.0, 1.1)
        for shape in _generated_if_needed(needed, pipeline, asked, monkeypatch)
    )
    assert not kept.guessed and kept.guessed_because is None and kept.consensus == (0, 1)
    assert replaced.guessed and replaced.guessed_because == "outline" and not replaced.consensus
    assert kept.spread == replaced.spread
    (guess,) = pipeline.generate(image=picture, guess=True, resolution=24, min_share=0).shapes
    np.testing.assert_array_equal(replaced.mesh.vertices, guess.mesh.vertices)


def _generated_if_needed(needed, pipeline, asked, monkeypatch):
    """Shapes if outlines must agree by an IoU: by 0 all do, by more than 1 none does."""
    monkeypatch.setattr("g3pt.generation.resemblance.NEEDED_IOU", (needed, 0.0))
    return pipeline.generate(**asked).shapes


def test_the_camera_of_a_picture_is_searched_for_once(pipeline, picture, monkeypatch):
    """By the rule about outlines; colours take what it found, unless the mesh became another."""
    asked = {"image": picture, "consensus": 2, "guess_above": 1e6, "resolution": 24, "min_share": 0}
    searched: list[object] = []

    def counted(mesh, *given, **told):
        searched.append(mesh)
        return find_view(mesh, *given, **told)

    monkeypatch.setattr("g3pt.generation.resemblance.find_view", counted)
    (kept,) = _generated_if_needed(0.0, pipeline, asked, monkeypatch)
    assert kept.color.method == "picture" and len(searched) == 1
    (replaced,) = _generated_if_needed(1.1, pipeline, asked, monkeypatch)
    assert replaced.guessed and len(searched) == 3 and searched[1] is not searched[2]


def test_samples_that_were_asked_for_are_not_judged_by_their_outline(
    pipeline, picture, monkeypatch
):
    monkeypatch.setattr("g3pt.generation.resemblance.NEEDED_IOU", (1.1, 0.0))
    for asked in ({"consensus": 2}, {"num": 2}, {"consensus": 2, "guess_above": "never"}):
        shapes = pipeline.generate(image=picture, resolution=24, **asked).shapes
        assert not any(shape.guessed for shape in shapes)
