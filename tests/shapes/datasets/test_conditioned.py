"""Views, visible points and cached features of batches; what else they hold: test_tokens_cache."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from boxes import in_box


def encode(given):
    """Features that are easy to recompute: the mean colour, the length of a caption."""
    if isinstance(given, list):
        means = torch.tensor([[float(len(text))] * 3 for text in given])
    else:
        means = given[..., :3].float().mean(dim=(1, 2)) / 255
    tokens = means[:, None] * torch.tensor([1.0, 2.0])[:, None]
    return tokens, means


def identity_of(slot, **changes):
    from g3pt.shapes.cache.features import FeatureIdentity

    size = 40 if slot == "image" else 0
    fields = {"slot": slot, "fingerprint": "abc", "num_tokens": 2, "width": 3, "image_size": size}
    return FeatureIdentity(**(fields | changes))


@pytest.fixture(scope="module")
def caches(folder_shards, tmp_path_factory):
    from g3pt.shapes.cache.features import build_feature_cache

    folder = tmp_path_factory.mktemp("features")
    return {
        slot: build_feature_cache(encode, identity_of(slot), folder_shards, folder / slot)
        for slot in ("image", "text")
    }


@pytest.fixture
def config(folder_shards):
    from g3pt.shapes.datasets.conditioned import ConditionedDataConfig

    return ConditionedDataConfig(
        shards=(str(folder_shards.path),), batch_size=6, image_size=40, canonical_share=0.0
    )


def draw(config, step=0):
    from g3pt.shapes.datasets.conditioned import ConditionedShapes

    shapes = ConditionedShapes(config)
    return shapes.conditions(shapes.draw(step))


def test_several_views_of_a_shape_are_different_ones(config):
    batch = draw(replace(config, max_views=3, batch_size=12))
    assert batch.pictures_BSS4.shape == (12, 3, 40, 40, 4)
    assert set(batch.num_views_B.tolist()) == {1, 2, 3}
    for pictures, num in zip(batch.pictures_BSS4, batch.num_views_B, strict=True):
        for first in range(int(num)):
            assert not (pictures[first] == 0).all()
            for second in range(first):
                assert not torch.equal(pictures[first], pictures[second])
        assert not pictures[int(num) :].any()


def test_pictures_kept_in_memory_are_those_that_are_read(config, monkeypatch):
    import g3pt.shapes.datasets.conditioned as conditioned

    expected = draw(config)
    shapes = conditioned.ConditionedShapes(replace(config, in_memory=True))
    monkeypatch.delattr(conditioned, "framed_view")  # all are read by now
    kept = shapes.conditions(shapes.draw(0))
    assert torch.equal(kept.pictures_BSS4, expected.pictures_BSS4) and kept.ids == expected.ids


def test_more_views_do_not_change_the_first_nor_the_words(config):
    one, several = draw(config), draw(replace(config, max_views=3))
    assert torch.equal(one.pictures_BSS4, several.pictures_BSS4[:, 0])
    assert torch.equal(one.view_B, several.view_B)
    assert one.captions == several.captions and one.num_views_B is None


def test_no_more_views_are_given_than_there_are(config):
    batch = draw(replace(config, max_views=9, batch_size=12))
    assert batch.pictures_BSS4.shape[1] == 3 and batch.num_views_B.max() == 3


def test_shapes_without_anything_to_see_have_one_empty_view(config, monkeypatch):
    from g3pt.shapes.shards import ShardSet

    monkeypatch.setattr(ShardSet, "picture", lambda *_: np.zeros((48, 48, 4), np.uint8))
    batch = draw(replace(config, max_views=3))
    assert batch.num_views_B.tolist() == [1] * 6
    assert not batch.has_image_B.any() and not batch.pictures_BSS4.any()


def test_visible_points_lie_on_the_shape_and_normals_leave_it(config):
    batch = draw(replace(config, num_visible_points=40))
    assert batch.points_BN3.shape == batch.normals_BN3.shape == (6, 40, 3)
    for row, name in enumerate(batch.ids):
        points, normals = batch.points_BN3[row].numpy(), batch.normals_BN3[row].numpy()
        assert not in_box(name, points + 0.001 * normals).any()
        assert in_box(name, points - 0.001 * normals).all()
    assert torch.equal(batch.points_BN3, draw(replace(config, num_visible_points=40)).points_BN3)
    assert draw(config).points_BN3 is None


def test_cached_features_are_those_of_the_pictures(config, caches):
    cached = replace(config, image_features=(str(caches["image"].path),))
    for views in (1, 3):
        online, batch = (draw(replace(one, max_views=views)) for one in (config, cached))
        assert batch.pictures_BSS4 is None and torch.equal(online.view_B, batch.view_B)
        assert torch.equal(online.has_image_B, batch.has_image_B)
        pictures = online.pictures_BSS4 if views > 1 else online.pictures_BSS4[:, None]
        tokens, summary = encode(pictures.flatten(0, 1))
        tokens, summary = tokens.unflatten(0, (6, -1)), summary.unflatten(0, (6, -1))
        found = batch.image_features_BIE, batch.image_summary_BE
        if views == 1:
            found = found[0][:, None], found[1][:, None]
        else:
            assert torch.equal(online.num_views_B, batch.num_views_B)
        counts = torch.ones(6) if views == 1 else batch.num_views_B
        for row, num in enumerate(counts.int().tolist()):
            # float16 keeps eleven bits
            assert torch.allclose(found[0][row, :num].float(), tokens[row, :num], rtol=1e-3)
            assert torch.allclose(found[1][row, :num].float(), summary[row, :num], rtol=1e-3)


def test_cached_features_are_those_of_the_captions(config, caches):
    batch = draw(replace(config, text_features=(str(caches["text"].path),)))
    tokens, summary = encode(list(batch.captions))
    assert torch.equal(batch.text_features_BNE.float(), tokens)
    assert torch.equal(batch.text_summary_BE.float(), summary)


def test_pictures_without_anything_to_see_are_known_to_the_cache(
    config, folder_shards, tmp_path, monkeypatch
):
    from g3pt.shapes.cache.features import build_feature_cache
    from g3pt.shapes.shards import ShardSet

    monkeypatch.setattr(ShardSet, "picture", lambda *_: np.zeros((48, 48, 4), np.uint8))
    cache = build_feature_cache(encode, identity_of("image"), folder_shards, tmp_path / "f")
    batch = draw(replace(config, image_features=(str(cache.path),)))
    assert not batch.has_image_B.any() and (batch.view_B == -1).all()
    assert not batch.image_features_BIE.any()


def test_a_stopped_build_goes_on_without_repeating(folder_shards, caches, tmp_path):
    from g3pt.shapes.cache.features import build_feature_cache

    calls = []

    def stop_after_two(given):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(len(given))
        return encode(given)

    identity, out = identity_of("image"), tmp_path / "f"
    with pytest.raises(KeyboardInterrupt):
        build_feature_cache(stop_after_two, identity, folder_shards, out, batch_size=2)
    calls.clear()
    seen = []

    def count(given):
        seen.append(len(given))
        return encode(given)

    again = build_feature_cache(count, identity, folder_shards, out, batch_size=2)
    assert sum(seen) == 9 - 4
    for row in range(3):
        for view in range(3):
            ours, expected = again.features(row, view), caches["image"].features(row, view)
            assert np.array_equal(ours[0], expected[0]) and np.array_equal(ours[1], expected[1])


def test_a_finished_cache_is_not_built_again_and_not_for_another_encoder(folder_shards, caches):
    from g3pt.shapes.cache.features import build_feature_cache

    def refuse(given):
        raise AssertionError("nothing is left to encode")

    path = caches["image"].path
    assert len(build_feature_cache(refuse, identity_of("image"), folder_shards, path)) == 3
    with pytest.raises(ValueError, match="of another model"):
        other = identity_of("image", fingerprint="xyz")
        build_feature_cache(refuse, other, folder_shards, path)


def test_features_of_other_sizes_are_refused(folder_shards, tmp_path):
    from g3pt.shapes.cache.features import build_feature_cache

    wide = identity_of("image", width=4)
    with pytest.raises(ValueError, match=r"expected features of sizes \(\(2, 4\), \(4,\)\)"):
        build_feature_cache(encode, wide, folder_shards, tmp_path / "f")


def test_features_beyond_float16_are_refused(folder_shards, tmp_path):
    from g3pt.shapes.cache.features import build_feature_cache

    def huge(given):
        return tuple(part * 1e6 for part in encode(given))

    with pytest.raises(ValueError, match="do not fit float16"):
        build_feature_cache(huge, identity_of("image"), folder_shards, tmp_path / "f")


def test_features_that_do_not_belong_to_the_data_are_refused(config, caches, tmp_path):
    import json
    import shutil

    image, text = (str(caches[slot].path) for slot in ("image", "text"))
    with pytest.raises(ValueError, match="for another condition"):
        draw(replace(config, image_features=(text,)))
    with pytest.raises(ValueError, match=r"side 40, data\.image_size is 64"):
        draw(replace(config, image_size=64, image_features=(image,)))
    with pytest.raises(ValueError, match="one feature cache a folder of shards, got 2 for 1"):
        replace(config, image_features=(image, image))
    shutil.copytree(image, tmp_path / "f")
    index = json.loads((tmp_path / "f" / "index.json").read_text())
    (tmp_path / "f" / "index.json").write_text(json.dumps({**index, "shapes": "others"}))
    with pytest.raises(ValueError, match="not those of"):
        draw(replace(config, image_features=(str(tmp_path / "f"),)))
    with pytest.raises(FileNotFoundError, match="complete feature cache"):
        draw(replace(config, image_features=(str(tmp_path / "none"),)))


def test_fewer_views_than_one_are_refused(config):
    with pytest.raises(ValueError, match=r"data\.max_views must lie in 1\.\.1024, got 0"):
        replace(config, max_views=0)


@pytest.mark.parametrize("name", ["CarDataConfig", "FlowDataConfig", "RegressorDataConfig"])
def test_every_training_with_conditions_checks_them(name):
    from g3pt.shapes.datasets import rivals as rival_datasets
    from g3pt.shapes.datasets import tokenizer as dataset

    kind = getattr(dataset if name == "CarDataConfig" else rival_datasets, name)
    with pytest.raises(ValueError, match=r"data\.max_views must lie in 1\.\.1024, got 0"):
        kind(max_views=0)


@pytest.fixture
def choose():
    from g3pt.shapes.datasets.conditioned import choose_visible

    return choose_visible


def sphere(num=2000):
    points = np.random.default_rng(0).standard_normal((num, 3)).astype(np.float32)
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def test_points_are_seen_from_one_side(choose):
    shape = sphere()
    for seed in range(20):
        chosen = choose(shape, shape, 200, np.random.default_rng(seed))
        seen = shape[chosen]
        assert len(set(chosen.tolist())) == 200
        # Of a sphere every visible part is a cap, whose mean is its axis.
        axis = seen.mean(axis=0) / np.linalg.norm(seen.mean(axis=0))
        missing = np.setdiff1d(np.arange(len(shape)), chosen)
        assert (seen @ axis).mean() > (shape[missing] @ axis).mean()


def test_parts_are_as_large_as_cuts_and_facing_sides_are(choose):
    shape = sphere()
    shares = []
    for seed in range(60):
        drawn = choose(shape, shape, 20_000, np.random.default_rng(seed))
        shares.append(len(set(drawn.tolist())) / len(shape))
    facing = [share for share in shares if abs(share - 0.5) < 0.03]
    assert min(shares) > 0.24 and max(shares) > 0.9
    # half of all draws face the viewer, and some cuts are as large; four standard deviations
    assert 0.25 < len(facing) / len(shares) < 0.8


def test_the_same_generator_gives_the_same_points(choose):
    shape = sphere()
    first, second = (choose(shape, shape, 50, np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, choose(shape, shape, 50, np.random.default_rng(8)))


def test_a_sheet_is_seen_from_either_side(choose):
    points = np.random.default_rng(0).random((100, 3)).astype(np.float32)
    normals = np.tile(np.array([0, 1, 0], np.float32), (100, 1))
    for seed in range(10):
        assert len(choose(points, normals, 30, np.random.default_rng(seed))) == 30


def test_few_visible_points_are_drawn_twice(choose):
    shape = sphere(30)
    assert len(choose(shape, shape, 100, np.random.default_rng(0))) == 100
