import json
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


# --- packs that were made wrong ------------------------------------------------------------


@pytest.fixture(scope="module")
def torture():
    from g3pt.torture import packs

    return packs


@pytest.fixture
def opened(tmp_path):
    """Opens a pack of the given files."""
    from g3pt.shapes.packs import PackedShapes

    def write(files):
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
        return PackedShapes(tmp_path)

    return write


def changed(files, where, value):
    """The files of a pack with another value in its index."""
    index = json.loads(files["pack.json"])
    *way, last = where
    holder = index
    for key in way:
        holder = holder[key]
    holder[last] = value
    return files | {"pack.json": json.dumps(index).encode()}


@pytest.mark.parametrize(
    ("where", "value", "reason"),
    [
        (["shapes"], {}, "shapes: "),
        (["shapes", 1], 3, r"shapes\.1: "),
        (["shapes", 1, "id"], "shape 0 é", "id: 'shape 0 é' is there 2 times"),
        (["shapes", 1, "query_key"], 2**64, r"shapes\.1\.query_key: "),
        (["shapes", 2, "quality", "a"], float("nan"), r"shapes\.2\.quality\.a: "),
        (["shapes", 2, "views", 0], 0, r"shapes\.2\.views\.0: "),
        (["shapes", 2, "views", 0], 2**40, r"shapes\.2\.views\.0: "),
        (["shapes", 2, "views"], [1] * 4, r"shapes\.2\.views: has 4 pictures, expected at most 3"),
        (["config"], [], "config: "),
        (["config", "num_points"], 64, r"config\.num_points: is 64, only 32 were prepared"),
        (["config", "num_volume_queries"], 128, r"num_volume_queries: is 128, only 64 were"),
        (["config", "num_points"], True, "config: num_points: "),
        (["prepare", "num_near_queries"], 3 * 2**40, r"prepare\.num_near_queries must lie in"),
        (["prepare", "near_sigmas"], [0.1, 0.2, 2.0], r"near_sigmas must be positive and at most"),
        (["data_sha256"], "0", "data_sha256: "),
    ],
)
def test_an_index_that_does_not_fit_is_refused_by_field(torture, opened, where, value, reason):
    with pytest.raises(ValueError, match=rf"pack\.json: .*{reason}"):
        opened(changed(torture.sound_pack(), where, value))


def test_a_folder_without_an_index_is_no_pack(tmp_path):
    from g3pt.shapes.packs import PackedShapes

    (tmp_path / "pack.json").mkdir()
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(FileNotFoundError, match="expected a pack or a complete set of shards"):
            PackedShapes(folder)


def test_rows_of_a_pack_are_checked_without_its_data(torture, tmp_path):
    from g3pt.shapes.packs import index_rows

    (tmp_path / "pack.json").write_bytes(torture.sound_pack()["pack.json"])
    assert [row["id"] for row in index_rows(tmp_path)] == [f"shape {n} é" for n in range(3)]
    files = changed(torture.sound_pack(), ["shapes", 0, "split"], None)
    (tmp_path / "pack.json").write_bytes(files["pack.json"])
    with pytest.raises(ValueError, match=r"pack\.json: shapes\.0\.split: "):
        index_rows(tmp_path)


def test_data_of_another_pack_are_refused_by_their_hash(torture, opened):
    files = torture.sound_pack()
    swapped = bytearray(files["pack.safetensors"])
    swapped[-40] ^= 1  # in the last picture
    with pytest.raises(ValueError, match=r"pack\.safetensors: is damaged, .* data_sha256"):
        opened(files | {"pack.safetensors": bytes(swapped)})


def test_a_pack_without_a_hash_is_read(torture, opened):
    index = json.loads(torture.sound_pack()["pack.json"])
    del index["data_sha256"]
    assert len(opened(torture.sound_pack() | {"pack.json": json.dumps(index).encode()})) == 3


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("near", lambda old: None, "holds .'normals', 'pictures', 'points', 'volume'., expected"),
        ("near", lambda old: old[None], r"near: holds U8 of \[1, \d+\], expected bytes"),
        ("near", lambda old: old.astype(np.int16), r"near: holds I16 of"),
        ("near", lambda old: np.repeat(old, 20), r"near: has \d+ bytes, pack\.json leaves it 70"),
        ("pictures", lambda old: old[:-1].copy(), r"pictures: has \d+ bytes, pack\.json leaves"),
        ("points", lambda old: old[:-9].copy(), "points: does not unpack to the 144 bytes"),
        ("points", lambda old: np.append(old, old[:1]), "points: does not unpack to the 144 bytes"),
        ("points", lambda old: old[::-1].copy(), "points: cannot be unpacked"),
    ],
)
def test_an_array_that_does_not_fit_is_refused_by_name(torture, opened, name, change, reason):
    with pytest.raises(ValueError, match=rf"pack\.safetensors: .*{reason}"):
        opened(torture.with_array(name, change))


@pytest.mark.parametrize(("name", "dtype"), [("points", np.int16), ("normals", np.int8)])
def test_integers_that_stand_for_no_place_are_refused(torture, opened, name, dtype):
    from g3pt.shapes.stored import compress_planes

    least = np.iinfo(dtype).min
    worst = compress_planes(np.full((3, 8, 3), least, dtype))
    with pytest.raises(ValueError, match=rf"pack\.safetensors: {name}: holds {least}, expected"):
        opened(torture.with_array(name, lambda _: worst))


def test_a_picture_that_is_none_is_refused_when_it_is_read(torture, opened):
    pack = opened(torture.with_array("pictures", np.zeros_like))
    with pytest.raises(ValueError, match=r"pictures: shape 1 é, number 0: is no square picture"):
        pack.picture(1, 0)


def test_what_is_no_file_of_arrays_is_refused_unread(torture, opened, tmp_path):
    import os

    files = torture.sound_pack()
    with pytest.raises(ValueError, match=r"pack\.safetensors: is not a safetensors file"):
        opened(files | {"pack.safetensors": b"x" * 100})
    os.truncate(tmp_path / "pack.safetensors", 6 * 2**30)  # a hole
    with pytest.raises(ValueError, match=r"pack\.safetensors: has 6442450944 bytes, expected at"):
        opened({})


def test_an_index_that_could_not_be_read_again_is_not_written(folder_shards, tmp_path, monkeypatch):
    from g3pt.shapes import packs

    monkeypatch.setattr(packs, "MAX_JSON_BYTES", 500)
    config = packs.PackConfig(num_points=96, num_volume_queries=256, num_views=1)
    with pytest.raises(ValueError, match=r"index of 3 shapes has \d+ bytes, a pack may have 500"):
        packs.write_pack(folder_shards, tmp_path / "pack", config)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"num_views": -1}, "num_views >= 0 and picture_size >= 0, got -1 and 0"),
        ({"picture_size": -1}, "got 3 and -1"),
        ({"num_points": 0}, "num_points >= 1 and num_volume_queries in multiples of 8, got 0"),
        ({"num_volume_queries": 0}, "got 2048 and 0"),
        ({"num_volume_queries": 12}, "got 2048 and 12"),
    ],
)
def test_a_pack_of_impossible_counts_is_refused(changes, reason):
    from g3pt.shapes.packs import PackConfig

    with pytest.raises(ValueError, match=reason):
        PackConfig(**changes)
