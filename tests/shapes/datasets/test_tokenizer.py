import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from boxes import HALF_EXTENTS, in_box

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
    )


@pytest.fixture
def dataset(config):
    from g3pt.shapes.datasets.tokenizer import TokenizerDataset

    return TokenizerDataset(config)


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
    from g3pt.shapes.datasets.tokenizer import TokenizerDataset

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
    from g3pt.shapes.datasets.tokenizer import TokenizerDataset

    alone = dataset.batch(3)
    halves = [TokenizerDataset(config, rank=rank, world_size=2).batch(3) for rank in range(2)]
    assert halves[0].ids + halves[1].ids == alone.ids
    assert torch.equal(torch.cat([half.queries_BQ3 for half in halves]), alone.queries_BQ3)


@pytest.mark.parametrize("symmetry", ["mirror", "upright", "all"])
def test_a_symmetry_turns_points_normals_and_queries_alike(config, symmetry):
    from g3pt.shapes.datasets.tokenizer import TokenizerDataset

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
    from g3pt.shapes.datasets.tokenizer import TokenizerDataset

    with pytest.raises(ValueError, match=r"near_sigmas .* are stored"):
        TokenizerDataset(replace(config, near_sigmas=(0.3,)))
    with pytest.raises(ValueError, match="num_points is 300, only 256"):
        TokenizerDataset(replace(config, num_points=300))


def test_a_missing_folder_is_named(config):
    from g3pt.shapes.datasets.tokenizer import TokenizerDataset

    with pytest.raises(FileNotFoundError, match="nowhere"):
        TokenizerDataset(replace(config, shards=("nowhere",)))


def test_only_the_selected_shapes_are_drawn(config):
    from g3pt.shapes.datasets.tokenizer import TokenizerDataset
    from g3pt.shapes.shape_set import Selection

    selection = Selection(split="train", licences=("MIT-0",))
    dataset = TokenizerDataset(replace(config, selection=selection))
    assert dataset.num_shapes == 1 and set(dataset.batch(0).ids) == {"slab"}


# --- workers, resuming, mixing -------------------------------------------------------------


class Steps(Dataset):
    """Batches as a loader of PyTorch asks for them."""

    def __init__(self, dataset, first=0):
        self.dataset, self.first = dataset, first

    def __len__(self):
        return 6 - self.first

    def __getitem__(self, step):
        return self.dataset.batch(self.first + step)


def same(batch, other):
    return (
        batch.ids == other.ids
        and torch.equal(batch.points_BN3, other.points_BN3)
        and torch.equal(batch.normals_BN3, other.normals_BN3)
        and torch.equal(batch.queries_BQ3, other.queries_BQ3)
        and torch.equal(batch.occupancy_BQ, other.occupancy_BQ)
    )


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_the_number_of_loader_workers_changes_nothing(dataset, num_workers):
    loader = DataLoader(Steps(dataset), batch_size=None, num_workers=num_workers)
    batches = list(loader)
    assert len(batches) == 6
    assert all(same(batch, dataset.batch(step)) for step, batch in enumerate(batches))


def test_a_run_resumed_in_the_middle_of_an_epoch_sees_what_it_would_have_seen(mixture):
    from g3pt.shapes.datasets.tokenizer import TokenizerDataset

    # 3 and 4 shapes, batches of 6: step 4 begins inside an epoch of both.
    whole = [TokenizerDataset(mixture).batch(step) for step in range(6)]
    resumed = DataLoader(Steps(TokenizerDataset(mixture), first=4), batch_size=None)
    assert all(same(batch, other) for batch, other in zip(resumed, whole[4:], strict=True))


def test_a_pickled_dataset_gives_the_same_batches(dataset):
    copy = pickle.loads(pickle.dumps(dataset))
    assert same(copy.batch(5), dataset.batch(5))


@pytest.fixture(scope="module")
def procedural_shards(small_prepare, small_views, tmp_path_factory):
    from g3pt.preparation.build import ShardsConfig, build_shards
    from g3pt.preparation.sources import ProceduralSourceConfig

    source = ProceduralSourceConfig(num=4, first_seed=30)
    out = tmp_path_factory.mktemp("procedural") / "shapes"
    build_shards(ShardsConfig(source=source, prepare=small_prepare, views=small_views), out)
    return out


@pytest.fixture
def mixture(config, procedural_shards):
    """One draw of four from the boxes, the others procedural."""
    return replace(config, shards=(*config.shards, str(procedural_shards)), weights=(0.25, 0.75))


def test_sources_are_mixed_by_weight(mixture):
    from g3pt.shapes.datasets.tokenizer import TokenizerDataset

    dataset = TokenizerDataset(replace(mixture, num_points=4))
    assert dataset.num_shapes == 7
    ids = [name for step in range(40) for name in dataset.batch(step).ids]
    procedural = [name for name in ids if name.startswith("procedural-")]
    # 240 draws: a standard deviation of 0.028.
    assert len(procedural) / len(ids) == pytest.approx(0.75, abs=0.1)
    assert len(set(procedural)) == 4 and len(set(ids)) == 7


def test_each_epoch_of_a_source_shows_every_shape_once(mixture):
    from g3pt.shapes.datasets.tokenizer import TokenizerDataset

    dataset = TokenizerDataset(replace(mixture, num_points=4))
    ids = [name for step in range(12) for name in dataset.batch(step).ids]
    procedural = [name for name in ids if name.startswith("procedural-")]
    assert len(procedural) >= 12
    epochs = [procedural[first : first + 4] for first in (0, 4, 8)]
    assert all(sorted(epoch) == sorted(epochs[0]) for epoch in epochs)
    assert len({*epochs[0]}) == 4


# --- damage --------------------------------------------------------------------------------


def test_a_damaged_sample_stops_training_unless_the_budget_allows_it(config, tmp_path):
    import shutil

    from g3pt.shapes.datasets.tokenizer import TokenizerDataset
    from g3pt.shapes.shards import DamagedSampleError

    shutil.copytree(config.shards[0], tmp_path / "boxes")
    file = tmp_path / "boxes" / "shard-00001.tar"
    data = bytearray(file.read_bytes())
    data[2000] ^= 1
    file.write_bytes(data)
    damaged = replace(config, shards=(str(tmp_path / "boxes"),))
    with pytest.raises(DamagedSampleError, match="pole"):
        TokenizerDataset(damaged).batch(0)
    patient = TokenizerDataset(replace(damaged, max_damaged=1))
    batch = patient.batch(0)
    assert set(batch.ids) == {"cube", "slab"} and list(patient.parts[0].damaged) == ["pole"]
    for row, name in enumerate(batch.ids):
        truth = in_box(name, batch.queries_BQ3[row].numpy())
        assert np.array_equal(batch.occupancy_BQ[row].numpy() == 1.0, truth)


@pytest.mark.parametrize("resident", [False, True])
def test_two_draws_of_a_shape_have_no_point_in_common(config, resident):
    from g3pt.shapes.datasets.resident import ResidentTokenizerDataset
    from g3pt.shapes.datasets.tokenizer import TokenizerDataset

    if resident:
        held = replace(config, resident_points=256)
        dataset = ResidentTokenizerDataset(held, torch.device("cpu"), twice=True)
    else:
        dataset = TokenizerDataset(config, twice=True)
    batch = dataset.batch(0)
    assert batch.again_points_BN3.shape == batch.points_BN3.shape
    assert batch.first(2).to("cpu").again_normals_BN3.shape == (2, 64, 3)
    for row, name in enumerate(batch.ids):
        points, normals = batch.again_points_BN3[row], batch.again_normals_BN3[row]
        assert in_box(name, (points - 0.001 * normals).numpy()).all()
        assert torch.cdist(points, batch.points_BN3[row]).min() > 0


def test_two_draws_need_twice_as_many_stored_points(config):
    from g3pt.shapes.datasets.tokenizer import TokenizerDataset

    stored = TokenizerDataset(config).parts[0].prepare.num_points
    with pytest.raises(ValueError, match=f"num_points in two draws is {stored + 2}, only {stored}"):
        TokenizerDataset(replace(config, num_points=stored // 2 + 1), twice=True)
