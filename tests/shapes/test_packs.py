from dataclasses import replace

import numpy as np
import pytest
import torch


@pytest.fixture
def pack(folder_shards, tmp_path):
    from g3pt.shapes.packs import PackConfig, PackedShapes, write_pack

    config = PackConfig(num_points=96, num_volume_queries=256, num_views=1)
    write_pack(folder_shards, tmp_path / "pack", config)
    return PackedShapes(tmp_path / "pack")


def test_a_pack_holds_what_was_stored(pack, folder_shards):
    assert len(pack) == len(folder_shards)
    assert pack.fingerprint == folder_shards.fingerprint
    for row in range(len(pack)):
        stored = folder_shards[row]
        assert np.array_equal(pack.thinned.points_SN3[row], stored.points[:96])
        assert np.array_equal(pack.thinned.normals_SN3[row], stored.normals[:96])
        assert np.array_equal(pack.thinned.volume_SV[row], stored.volume_inside[:32])
        assert pack.captions(row) == folder_shards.captions(row)
        for view in range(pack.num_views(row)):
            assert np.array_equal(pack.picture(row, view), folder_shards.picture(row, view))
    assert pack.num_views(0) == min(1, folder_shards.num_views(0))


def test_a_pack_gives_only_what_the_selection_takes(pack, folder_shards):
    from g3pt.shapes.packs import PackedShapes
    from g3pt.shapes.shape_set import QualityLimits, Selection
    from g3pt.shapes.shards import ShardSet

    # By licence, and by a distance to the source that not all boxes keep.
    distances = [shape["quality"]["solid_to_source"] for shape in folder_shards.shapes]
    strict = QualityLimits(label_error=1.0, solid_to_source=min(distances))
    for selection in (
        Selection(split="train", licences=("MIT-0",)),
        Selection(licences=("CC0-1.0",)),
        Selection(flagged=False, limits=strict),
    ):
        shards = ShardSet(folder_shards.path, selection)
        chosen = PackedShapes(pack.path, selection)
        ids = [shape["id"] for shape in chosen.shapes]
        assert ids == [shape["id"] for shape in shards.shapes]
        assert 0 < len(chosen) == len(ids) < len(pack)
        assert chosen.fingerprint == shards.fingerprint != pack.fingerprint
        for row in range(len(chosen)):
            stored = shards[row]
            assert np.array_equal(chosen.thinned.points_SN3[row], stored.points[:96])
            assert np.array_equal(chosen.thinned.normals_SN3[row], stored.normals[:96])
            assert np.array_equal(chosen.thinned.volume_SV[row], stored.volume_inside[:32])
            assert chosen.thinned.keys_S[row].view(np.uint64) == stored.query_key
            assert chosen.captions(row) == shards.captions(row)
            assert np.array_equal(chosen.picture(row, 0), shards.picture(row, 0))


def test_a_pack_without_what_is_selected_is_refused(pack):
    from g3pt.shapes.packs import PackedShapes
    from g3pt.shapes.shape_set import VALIDATION

    with pytest.raises(ValueError, match=r"none of its 3 shapes is of split val; there are train"):
        PackedShapes(pack.path, VALIDATION)


def test_a_pack_of_another_format_is_refused(pack):
    from g3pt.shapes.packs import PackedShapes

    file = pack.path / "pack.json"
    file.write_text(file.read_text().replace('"format_version": 2', '"format_version": 1'))
    with pytest.raises(ValueError, match="format version 1, this program reads 2; pack the shards"):
        PackedShapes(pack.path)


def test_training_batches_from_a_pack_are_those_from_its_shards(pack, folder_shards):
    from g3pt.shapes.datasets.resident import ResidentTokenizerDataset
    from g3pt.shapes.datasets.tokenizer import TokenizerDataConfig

    config = TokenizerDataConfig(
        batch_size=4,
        num_points=64,
        num_volume_queries=32,
        num_near_queries=16,
        resident_points=96,
    )
    # of the shards all volume queries are held, so only the near ones are drawn alike
    batches = [
        ResidentTokenizerDataset(replace(config, shards=(str(path),)), torch.device("cpu")).batch(1)
        for path in (pack.path, folder_shards.path)
    ]
    assert batches[0].ids == batches[1].ids
    assert torch.equal(batches[0].points_BN3, batches[1].points_BN3)


def test_a_pack_is_told_from_shards(pack, folder_shards):
    from g3pt.shapes.packs import PackedShapes, open_shapes
    from g3pt.shapes.shards import ShardSet

    assert isinstance(open_shapes(pack.path), PackedShapes)
    assert isinstance(open_shapes(folder_shards.path), ShardSet)
    with pytest.raises(FileNotFoundError, match="complete set"):
        open_shapes(pack.path.parent / "nothing")


def test_readers_of_all_queries_refuse_a_pack(pack, folder_shards):
    from g3pt.shapes.packs import require_shards

    assert require_shards(folder_shards) is folder_shards
    with pytest.raises(ValueError, match="is a pack"):
        require_shards(pack)


def test_nothing_is_overwritten_and_too_much_is_refused(pack, folder_shards, tmp_path):
    from g3pt.shapes.packs import PackConfig, write_pack

    with pytest.raises(FileExistsError, match="exists already"):
        write_pack(folder_shards, pack.path, PackConfig())
    with pytest.raises(ValueError, match="num_points is 2048, only 256 are stored"):
        write_pack(folder_shards, tmp_path / "other", PackConfig())
    assert not (tmp_path / "other").exists()


def test_pictures_can_be_made_smaller(folder_shards, tmp_path):
    from g3pt.geometry.cameras import OBJECT_FILL, silhouette_box
    from g3pt.shapes.packs import PackConfig, PackedShapes, write_pack

    config = PackConfig(num_points=96, num_volume_queries=256, num_views=1, picture_size=48)
    write_pack(folder_shards, tmp_path / "small", config)
    small = PackedShapes(tmp_path / "small")
    row = next(row for row in range(len(small)) if small.num_views(row))
    picture = small.picture(row, 0)
    left, top, right, bottom = silhouette_box(picture)
    assert picture.shape == (48, 48, 4)
    assert max(right - left, bottom - top) == pytest.approx(OBJECT_FILL * 48, abs=2)


def test_drawn_surfaces_are_stored_points(pack):
    points, normals = pack.draw_surface(0, 50, np.random.default_rng(0))
    assert points.shape == normals.shape == (50, 3)
    stored = {tuple(p) for p in pack.thinned.points_SN3[0].tolist()}
    assert {tuple(p) for p in points.tolist()} <= stored
