from dataclasses import replace
from pathlib import Path

import pytest
import torch

from g3pt.generation.pipeline import G3PT
from g3pt.generation.prompts import PromptError
from g3pt.geometry.mesh import MeshError, write_mesh
from g3pt.models.conditioning import PretrainedImageConditionConfig
from g3pt.models.g3t import TokenFile, TokenFrame, TokenPyramid

FAST = {"resolution": 16}


@pytest.fixture(scope="module")
def pipeline(tiny_weights: Path) -> G3PT:
    return G3PT.from_pretrained(tiny_weights, "cpu")


@pytest.fixture(scope="module")
def mug(pipeline: G3PT):
    return pipeline.generate(text="a mug", seed=3, resolution=16).shapes[0]


def random_tokens(seed: int, num_tokens: int = 21) -> TokenPyramid:
    generator = torch.Generator().manual_seed(seed)
    return TokenPyramid((1, 4, 16), 5, torch.randint(0, 32, (num_tokens,), generator=generator))


@pytest.mark.parametrize("keep", [1, 2])
def test_varying_with_its_own_seed_and_prompt_gives_the_shape_again(pipeline, mug, keep) -> None:
    again = pipeline.vary(mug.tokens, keep=keep, text="a mug", seed=3, **FAST).shapes[0]
    assert again.tokens.equals(mug.tokens)
    assert again.nll == mug.nll


@pytest.mark.parametrize("keep", [1, 2])
def test_variations_share_the_kept_scales_and_differ_in_the_others(pipeline, mug, keep) -> None:
    result = pipeline.vary(mug.tokens, keep=keep, num=3, seed=10, temperature=1.0, **FAST)
    assert result.seeds == [10, 11, 12]
    for tokens in result.tokens:
        assert tokens.truncate(keep).equals(mug.tokens.truncate(keep))
        assert tokens.num_scales == pipeline.num_scales
        assert tokens.num_different(mug.tokens) > 0
    assert result.tokens[0].num_different(result.tokens[1]) > 0


def test_a_mesh_or_a_file_is_varied_as_its_tokens_are(pipeline, mug, tmp_path: Path) -> None:
    write_mesh(tmp_path / "mug.obj", mug.mesh)
    file = pipeline.tokenize(mug.mesh, seed=4)
    file.save(tmp_path / "mug.g3t")
    expected = pipeline.vary(file, keep=2, seed=4, **FAST).tokens[0]
    for source in (mug.mesh, tmp_path / "mug.g3t", str(tmp_path / "mug.g3t")):
        assert pipeline.vary(source, keep=2, seed=4, **FAST).tokens[0].equals(expected)
    from_file = pipeline.vary(tmp_path / "mug.obj", keep=2, seed=4, **FAST).tokens[0]
    assert from_file.num_scales == pipeline.num_scales


def test_a_shape_with_its_first_scales_alone_can_be_varied(pipeline, mug) -> None:
    part = mug.tokens.truncate(2)
    again = pipeline.vary(part, keep=2, text="a mug", seed=3, **FAST).tokens[0]
    assert again.equals(mug.tokens)
    with pytest.raises(ValueError, match="cannot keep 2 scales of a shape that has 1"):
        pipeline.vary(mug.tokens.truncate(1), keep=2)


@pytest.mark.parametrize("keep", [0, 3])
def test_keeping_nothing_or_everything_is_refused(pipeline, mug, keep) -> None:
    with pytest.raises(ValueError, match=r"keep must lie in 1\.\.2"):
        pipeline.vary(mug.tokens, keep=keep)
    with pytest.raises(ValueError, match=r"keep must lie in 1\.\.2"):
        pipeline.mix(mug.tokens, mug.tokens, keep=keep)


def test_mixing_tokens_splices_them(pipeline) -> None:
    coarse, fine = random_tokens(1), random_tokens(2)
    mixed = pipeline.mix(coarse, fine, keep=2, method="tokens", **FAST).tokens[0]
    assert torch.equal(mixed.indices, torch.cat([coarse.indices[:5], fine.indices[5:]]))


def test_mixing_a_shape_with_itself_gives_it_back(pipeline, mug) -> None:
    options = {"keep": 1, "text": "a mug", "seed": 3, **FAST}
    for method in ("tokens", "resample"):
        mixed = pipeline.mix(mug.tokens, mug.tokens, method=method, **options).shapes[0]
        assert mixed.tokens.equals(mug.tokens)
        assert mixed.nll == mug.nll


def test_resampling_keeps_the_coarse_scales_and_is_led_by_the_other_shape(pipeline) -> None:
    coarse = random_tokens(1)
    options = {"keep": 1, "temperature": 0.0, **FAST}
    mixed = [pipeline.mix(coarse, random_tokens(seed), **options).shapes[0] for seed in (2, 3)]
    assert all(one.tokens.truncate(1).equals(coarse.truncate(1)) for one in mixed)
    assert mixed[0].nll != mixed[1].nll  # without chance, only their pictures can differ


def test_a_given_prompt_takes_the_place_of_the_picture(pipeline) -> None:
    coarse = random_tokens(1)
    options = {"keep": 1, "text": "a red table", "temperature": 0.0, **FAST}
    mixed = [pipeline.mix(coarse, random_tokens(seed), **options).shapes[0] for seed in (2, 3)]
    varied = pipeline.vary(coarse, **options).shapes[0]
    for one in mixed:
        assert one.tokens.equals(varied.tokens)
        assert one.nll == varied.nll


def test_any_encoder_of_pictures_will_do(pipeline) -> None:
    encoder = PretrainedImageConditionConfig(image_size=64, depth=1, width=32, num_heads=2)
    config = replace(pipeline.car.config, conditions=(encoder,))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        car = type(pipeline.car)(config).eval()
    other = G3PT(replace(pipeline.weights, car=car))
    coarse = random_tokens(1)
    mixed = other.mix(coarse, random_tokens(2), keep=1, **FAST).shapes[0]
    assert mixed.tokens.truncate(1).equals(coarse.truncate(1))


def test_what_cannot_be_mixed_is_refused(pipeline) -> None:
    whole = random_tokens(1)
    with pytest.raises(ValueError, match="has 2 scales, none of them after the 2"):
        pipeline.mix(whole, random_tokens(2, 5), keep=2, method="tokens")
    with pytest.raises(ValueError, match="num must be 1"):
        pipeline.mix(whole, whole, keep=2, method="tokens", num=2)
    config = replace(pipeline.car.config, conditions=pipeline.car.config.conditions[1:])
    blind = G3PT(replace(pipeline.weights, car=type(pipeline.car)(config).eval()))
    with pytest.raises(PromptError, match="take no pictures"):
        blind.mix(whole, whole, keep=1)


def test_tokens_of_other_weights_are_refused(pipeline) -> None:
    foreign = TokenFile(random_tokens(1), TokenFrame(), "11" * 32)
    with pytest.raises(ValueError, match="name the weights it was made with"):
        pipeline.vary(foreign, keep=1)
    wrong = TokenPyramid((1, 4, 16), 6, torch.zeros(21, dtype=torch.int64))
    with pytest.raises(ValueError, match="of 6 bits, this tokenizer reads"):
        pipeline.vary(wrong, keep=1)
    with pytest.raises(ValueError, match="of 6 bits, this tokenizer reads"):
        pipeline.generate(known=wrong)
    with pytest.raises(MeshError, match="no such file"):
        pipeline.vary("nowhere.obj", keep=1)


@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_a_score_is_the_nll_that_the_sampler_gave(pipeline, temperature) -> None:
    options = {"text": "a mug", "seed": 5, "temperature": temperature, **FAST}
    shape = pipeline.generate(**options).shapes[0]
    # sums of 21 float32 terms
    assert pipeline.score(shape.tokens, text="a mug").nats.item() == pytest.approx(
        shape.nll, rel=1e-5
    )


def test_fewer_scales_are_scored_as_they_are_in_the_whole(pipeline, mug) -> None:
    whole, part = pipeline.score(mug.tokens), pipeline.score(mug.tokens, num_scales=2)
    assert part.scale_lengths == (1, 4)
    torch.testing.assert_close(part.nats_BS, whole.nats_BS[:, :2], rtol=1e-5, atol=1e-5)
    cut = pipeline.score(mug.tokens.truncate(2))
    torch.testing.assert_close(part.nats_BS, cut.nats_BS)


def test_one_shape_is_scored_by_one_prompt(pipeline, mug) -> None:
    prompts = pipeline.read_prompts(text=["a mug", "a table"])
    with pytest.raises(PromptError, match="one shape is scored by one prompt, got 2"):
        pipeline.score(mug.tokens, prompts=prompts)
