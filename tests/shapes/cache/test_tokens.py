from dataclasses import replace

import numpy as np
import pytest
import torch

LENGTHS = (1, 3)


def tokenize(points_BN3, normals_BN3):
    """Numbers that depend on the points in a way that is easy to recompute."""
    first = (points_BN3.abs().sum(dim=(1, 2)) * 1000).long() % 1024
    return first[:, None] + torch.arange(4)


@pytest.fixture(scope="module")
def identity():
    from g3pt.shapes.cache.tokens import TokenizerIdentity

    return TokenizerIdentity(fingerprint="abc", scale_lengths=LENGTHS, num_bits=13)


@pytest.fixture(scope="module")
def config():
    from g3pt.shapes.cache.tokens import TokenCacheConfig

    return TokenCacheConfig(resamplings=2, num_points=32, batch_size=4)


@pytest.fixture(scope="module")
def tokens(identity, folder_shards, config, tmp_path_factory):
    from g3pt.shapes.cache.tokens import build_token_cache

    out = tmp_path_factory.mktemp("tokens") / "boxes"
    return build_token_cache(tokenize, identity, folder_shards, out, config)


def test_every_shape_has_its_resamplings(tokens, identity):
    assert tokens.tokens.shape == (3, 2, 4) and tokens.tokens.dtype == np.uint16
    assert tokens.identity == identity
    assert not np.array_equal(tokens.indices(0, 0), tokens.indices(0, 1))


def test_the_batch_size_does_not_change_the_tokens(
    tokens, identity, folder_shards, config, tmp_path
):
    from g3pt.shapes.cache.tokens import build_token_cache

    one_by_one = replace(config, batch_size=1)
    again = build_token_cache(tokenize, identity, folder_shards, tmp_path / "t", one_by_one)
    assert np.array_equal(again.tokens, tokens.tokens)


def test_a_stopped_build_goes_on_without_repeating(
    tokens, identity, folder_shards, config, tmp_path
):
    from g3pt.shapes.cache.tokens import TokenCache, build_token_cache

    calls = []

    def stopping(points_BN3, normals_BN3):
        calls.append(len(points_BN3))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return tokenize(points_BN3, normals_BN3)

    out = tmp_path / "t"
    with pytest.raises(KeyboardInterrupt):
        build_token_cache(stopping, identity, folder_shards, out, config)
    with pytest.raises(FileNotFoundError):
        TokenCache(out)
    again = build_token_cache(stopping, identity, folder_shards, out, config)
    assert calls == [4, 2, 2]
    assert np.array_equal(again.tokens, tokens.tokens)


def test_tokens_of_another_tokenizer_are_not_mixed_in(tokens, identity, folder_shards, config):
    from g3pt.shapes.cache.tokens import build_token_cache

    other = replace(identity, fingerprint="xyz")
    with pytest.raises(ValueError, match="another model"):
        build_token_cache(tokenize, other, folder_shards, tokens.path, config)


def test_output_that_does_not_fit_the_bits_is_refused(identity, folder_shards, config, tmp_path):
    from g3pt.shapes.cache.tokens import build_token_cache

    narrow = replace(identity, num_bits=4)
    with pytest.raises(ValueError, match="of 4 bits"):
        build_token_cache(tokenize, narrow, folder_shards, tmp_path / "t", config)


@pytest.fixture
def car_config(folder_shards, tokens):
    from g3pt.shapes.datasets.tokenizer import CarDataConfig

    return CarDataConfig(
        shards=(str(folder_shards.path),), tokens=(str(tokens.path),), batch_size=6
    )


def test_car_batches_pair_tokens_with_words(car_config, folder_shards, tokens):
    from g3pt.shapes.datasets.tokenizer import CarDataset

    dataset = CarDataset(replace(car_config, classes=("sphere", "box")))
    batch = dataset.batch(0)
    rows = {shape["id"]: row for row, shape in enumerate(folder_shards.shapes)}
    for place, name in enumerate(batch.ids):
        known = [tokens.indices(rows[name], draw).tolist() for draw in range(2)]
        assert batch.indices_BT[place].tolist() in known
        assert batch.captions[place] == f"a {name}"
    assert batch.labels_B.tolist() == [1] * 6
    again = CarDataset(replace(car_config, classes=("sphere", "box"))).batch(0)
    assert torch.equal(again.indices_BT, batch.indices_BT)


def test_pictures_are_framed_and_stay_bytes(car_config, folder_shards):
    from g3pt.geometry.cameras import frame_object
    from g3pt.shapes.datasets.tokenizer import CarDataset

    batch = CarDataset(replace(car_config, canonical_share=1.0, image_size=40)).batch(0)
    assert batch.has_image_B.all() and (batch.view_B == 0).all()
    row = [shape["id"] for shape in folder_shards.shapes].index(batch.ids[0])
    framed = frame_object(folder_shards.picture(row, 0), 40)
    assert np.array_equal(batch.pictures_BSS4[0].numpy(), framed)


def test_other_views_are_drawn_too(car_config):
    from g3pt.shapes.datasets.tokenizer import CarDataset

    batch = CarDataset(replace(car_config, canonical_share=0.0, batch_size=12)).batch(0)
    assert set(batch.view_B.tolist()) == {1, 2}
    assert batch.pictures_BSS4.shape == (12, 128, 128, 4)


def test_a_picture_that_shows_nothing_counts_as_none(car_config, monkeypatch):
    from g3pt.shapes.datasets.tokenizer import CarDataset
    from g3pt.shapes.shards import ShardSet

    # A sheet of paper, seen from its edge.
    monkeypatch.setattr(ShardSet, "picture", lambda *_: np.zeros((48, 48, 4), np.uint8))
    batch = CarDataset(car_config).batch(0)
    assert not batch.has_image_B.any() and (batch.view_B == -1).all()
    assert not batch.pictures_BSS4.any()


def test_damaged_samples_within_the_budget_are_replaced_with_their_tokens(
    folder_shards, identity, config, car_config, tmp_path
):
    import shutil

    from g3pt.shapes.datasets.tokenizer import CarDataset
    from g3pt.shapes.shards import DamagedSampleError

    shutil.copytree(folder_shards.path, tmp_path / "boxes")
    (tmp_path / "boxes" / "shard-00001.tar").write_bytes(b"")
    damaged = replace(car_config, shards=(str(tmp_path / "boxes"),))
    with pytest.raises(DamagedSampleError, match="pole"):
        CarDataset(damaged).batch(0)
    sound = CarDataset(replace(damaged, max_damaged=1))
    batch = sound.batch(0)
    assert "pole" not in batch.ids and len(batch.ids) == 6
    rows = {"cube": 0, "slab": 2}
    for place, name in enumerate(batch.ids):
        known = [sound.tokens[0].indices(rows[name], draw).tolist() for draw in range(2)]
        assert batch.indices_BT[place].tolist() in known


def test_tokens_of_other_shapes_are_refused(car_config, tokens, tmp_path):
    import json
    import shutil

    from g3pt.shapes.datasets.tokenizer import CarDataset

    shutil.copytree(tokens.path, tmp_path / "t")
    index = json.loads((tmp_path / "t" / "index.json").read_text())
    (tmp_path / "t" / "index.json").write_text(json.dumps({**index, "shapes": "others"}))
    with pytest.raises(ValueError, match="not those of"):
        CarDataset(replace(car_config, tokens=(str(tmp_path / "t"),)))
