from dataclasses import replace

import numpy as np
import pytest
import torch

BATCH_SIZE = 6


@pytest.fixture
def config(folder_cache):
    from g3pt.data.dataset import TokenizerDataConfig

    return TokenizerDataConfig(
        caches=(str(folder_cache.path),),
        batch_size=BATCH_SIZE,
        num_points=64,
        num_volume_queries=40,
        num_near_queries=20,
    )


@pytest.fixture
def dataset(config):
    from g3pt.data.dataset import TokenizerDataset

    return TokenizerDataset(config)


HALF_EXTENTS = {"cube": (0.95, 0.95, 0.95), "slab": (0.95, 0.2375, 0.475)}
HALF_EXTENTS["pole"] = (0.95 / 6, 0.95, 0.95 / 6)


def in_box(name, points):
    return (np.abs(points) < np.array(HALF_EXTENTS[name])).all(axis=-1)


def test_batch_has_the_sizes_of_the_config(dataset):
    batch = dataset.batch(0)
    assert batch.points_BN3.shape == batch.normals_BN3.shape == (BATCH_SIZE, 64, 3)
    assert batch.queries_BQ3.shape == (BATCH_SIZE, 60, 3)
    assert batch.near_BQ.sum(dim=1).tolist() == [20] * BATCH_SIZE


def test_labels_belong_to_their_queries(dataset):
    for step in range(3):
        batch = dataset.batch(step)
        for row, name in enumerate(batch.ids):
            truth = in_box(name, batch.queries_BQ3[row].numpy())
            assert np.array_equal(batch.occupancy_BQ[row].numpy() == 1.0, truth)


def test_points_lie_on_the_box_and_normals_leave_it(dataset):
    batch = dataset.batch(0)
    for row, name in enumerate(batch.ids):
        points, normals = batch.points_BN3[row].numpy(), batch.normals_BN3[row].numpy()
        assert not in_box(name, points + 0.001 * normals).any()
        assert in_box(name, points - 0.001 * normals).all()


def test_near_queries_are_nearer_than_volume_queries(dataset):
    batch = dataset.batch(0)
    row = batch.ids.index("cube")
    depth = np.abs(np.abs(batch.queries_BQ3[row].numpy()).max(axis=-1) - 0.95)
    near = batch.near_BQ[row].numpy()
    assert depth[near].max() < 0.25 and depth[near].mean() < 0.5 * depth[~near].mean()


def test_a_batch_is_a_function_of_the_step_alone(config, dataset):
    from g3pt.data.dataset import TokenizerDataset

    late = dataset.batch(7)
    again = TokenizerDataset(config).batch(7)
    assert torch.equal(late.queries_BQ3, again.queries_BQ3)
    assert torch.equal(late.points_BN3, again.points_BN3) and late.ids == again.ids


def test_the_same_shape_comes_with_other_points_the_next_time(dataset):
    first, second = dataset.batch(0), dataset.batch(1)
    assert first.ids[0] in second.ids
    place = second.ids.index(first.ids[0])
    assert not torch.equal(first.points_BN3[0], second.points_BN3[place])


def test_two_processes_split_the_batch_of_one(config, dataset):
    from g3pt.data.dataset import TokenizerDataset

    alone = dataset.batch(3)
    halves = [TokenizerDataset(config, rank=rank, world_size=2).batch(3) for rank in range(2)]
    assert halves[0].ids + halves[1].ids == alone.ids
    assert torch.equal(torch.cat([half.queries_BQ3 for half in halves]), alone.queries_BQ3)


@pytest.mark.parametrize("symmetry", ["mirror", "upright", "all"])
def test_a_symmetry_turns_points_normals_and_queries_alike(config, symmetry):
    from g3pt.data.dataset import TokenizerDataset

    turned = TokenizerDataset(replace(config, symmetry=symmetry)).batch(0)
    for row, name in enumerate(turned.ids):
        points, normals = turned.points_BN3[row].numpy(), turned.normals_BN3[row].numpy()
        extents = np.abs(points).max(axis=0)
        assert np.allclose(np.sort(extents), np.sort(HALF_EXTENTS[name]), atol=0.06)
        if symmetry != "all" and name == "pole":
            assert extents.argmax() == 1
        inside = (np.abs(turned.queries_BQ3[row].numpy()) < extents).all(axis=-1)
        assert (inside == (turned.occupancy_BQ[row].numpy() == 1)).mean() > 0.9
        on_face = np.abs(normals).argmax(axis=1)
        depth = np.take_along_axis(extents - np.abs(points), on_face[:, None], 1)
        assert np.abs(depth).max() < 1e-3


def test_asking_for_what_is_not_stored_is_refused(config):
    from g3pt.data.dataset import TokenizerDataset

    with pytest.raises(ValueError, match=r"near_sigmas .* are stored"):
        TokenizerDataset(replace(config, near_sigmas=(0.3,)))
    with pytest.raises(ValueError, match="num_points is 300, only 256"):
        TokenizerDataset(replace(config, num_points=300))


def test_a_missing_cache_is_named(config):
    from g3pt.data.dataset import TokenizerDataset

    with pytest.raises(FileNotFoundError, match="nowhere"):
        TokenizerDataset(replace(config, caches=("nowhere",)))
