from dataclasses import replace

import numpy as np
import pytest
import torch

from boxes import in_box

BATCH_SIZE = 6


@pytest.fixture
def config(folder_shards):
    from g3pt.shapes.datasets.tokenizer import TokenizerDataConfig

    return TokenizerDataConfig(
        shards=(str(folder_shards.path),),
        batch_size=BATCH_SIZE,
        num_points=64,
        num_volume_queries=40,
        num_near_queries=20,
        resident_points=128,
    )


@pytest.fixture
def open_dataset():
    from g3pt.shapes.datasets.resident import ResidentTokenizerDataset

    return lambda config, **how: ResidentTokenizerDataset(config, torch.device("cpu"), **how)


def test_queries_are_those_worked_out_by_numpy():
    from g3pt.shapes.datasets.resident import near_positions, volume_positions
    from g3pt.shapes.queries import near_queries, volume_queries

    rng = np.random.default_rng(0)
    keys = rng.integers(0, 2**64, 5, np.uint64)
    points = rng.integers(-32767, 32768, (5, 32, 3)).astype(np.int16)
    numbers = np.array([0, 1, 31, 32, 77_777])
    signed = torch.from_numpy(keys.view(np.int64))
    asked = torch.from_numpy(numbers)
    volume = volume_positions(signed, asked)
    near = near_positions(signed, asked, torch.from_numpy(points)[:, asked % 32], 0.05)
    for row, key in enumerate(keys.tolist()):
        assert np.array_equal(volume[row].numpy(), volume_queries(key, numbers))
        assert np.array_equal(near[row].numpy(), near_queries(key, numbers, points[row], 0.05))


@pytest.mark.parametrize("symmetry", ["none", "mirror", "upright", "all"])
def test_labels_belong_to_their_queries(config, open_dataset, symmetry):
    batch = open_dataset(replace(config, symmetry=symmetry)).batch(3)
    for row, name in enumerate(batch.ids):
        queries = batch.queries_BQ3[row].numpy()
        if symmetry in ("none", "mirror"):  # a box is its own mirror image
            truth = in_box(name, queries)
            assert np.array_equal(batch.occupancy_BQ[row].numpy() == 1.0, truth)
        points, normals = batch.points_BN3[row].numpy(), batch.normals_BN3[row].numpy()
        outwards = (points * normals).sum(axis=1)
        assert (outwards > 0).all()


def test_a_batch_has_the_sizes_and_the_shapes_of_its_twin(config, open_dataset):
    from g3pt.shapes.datasets.tokenizer import TokenizerDataset

    resident = open_dataset(config).batch(2)
    stored = TokenizerDataset(config).batch(2)
    assert sorted(resident.ids) == sorted(stored.ids)
    for name in ("points_BN3", "normals_BN3", "queries_BQ3", "occupancy_BQ", "near_BQ"):
        ours, theirs = getattr(resident, name), getattr(stored, name)
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)


def test_points_drawn_are_points_stored(config, open_dataset, folder_shards):
    batch = open_dataset(config).batch(0)
    rows = {row["id"]: place for place, row in enumerate(folder_shards.shapes)}
    for row, name in enumerate(batch.ids):
        stored = {tuple(p) for p in folder_shards[rows[name]].points[:128].tolist()}
        drawn = {tuple(p) for p in np.rint(batch.points_BN3[row].numpy() * 32767).astype(int)}
        assert len(drawn) == 64 and drawn <= stored


def test_near_queries_of_each_sigma_lie_at_kept_points(config, open_dataset):
    batch = open_dataset(replace(config, num_points=128)).batch(0)  # all that are kept
    near = batch.queries_BQ3[:, 40:]
    for row in range(BATCH_SIZE):
        nearest = torch.cdist(near[row], batch.points_BN3[row]).min(dim=1).values
        assert nearest[:10].max() < 5 * 0.005 * 3**0.5
        assert nearest[10:].max() > 5 * 0.005 * 3**0.5  # of sigma .05


def test_a_batch_depends_on_its_step_alone(config, open_dataset):
    first, again = open_dataset(config), open_dataset(config)
    first.batch(0)
    assert torch.equal(first.batch(5).queries_BQ3, again.batch(5).queries_BQ3)
    assert not torch.equal(first.batch(5).queries_BQ3, first.batch(6).queries_BQ3)


def test_processes_share_the_global_batch(config, open_dataset):
    whole = open_dataset(config).batch(1).ids
    halves = [open_dataset(config, rank=rank, world_size=2).batch(1).ids for rank in range(2)]
    assert sorted(halves[0] + halves[1]) == sorted(whole)


@pytest.mark.parametrize("kind", ["none", "mirror", "upright", "all"])
def test_symmetries_are_those_of_the_twin(kind):
    from g3pt.shapes.datasets.resident import random_symmetries
    from g3pt.shapes.datasets.tokenizer import _random_symmetry

    turns = random_symmetries(kind, 400, torch.Generator().manual_seed(0))
    rng = np.random.default_rng(0)
    ours = {tuple(turn.flatten().tolist()) for turn in turns}
    theirs = {tuple(_random_symmetry(kind, rng).flatten().tolist()) for _ in range(2000)}
    assert ours == theirs


def test_more_queries_than_are_kept_are_refused(config, open_dataset):
    with pytest.raises(ValueError, match="keep more"):
        open_dataset(replace(config, num_near_queries=384)).batch(0)


def test_fewer_resident_points_than_drawn_are_refused(config):
    with pytest.raises(ValueError, match="resident_points"):
        replace(config, resident_points=32)
