import json
import pickle

import numpy as np
import pytest

ARRAYS = ("points", "normals", "volume", "volume_inside", "near", "near_inside")


def test_bad_meshes_are_listed_with_their_reason_and_the_rest_is_prepared(folder_cache):
    assert [shape["id"] for shape in folder_cache.shapes] == ["cube", "slab", "pole"]
    lines = (folder_cache.path / "quarantine.jsonl").read_text().splitlines()
    refused = {row["id"]: row["reason"] for row in map(json.loads, lines)}
    assert set(refused) == {"broken", "sheet"}
    assert "broken.glb" in refused["broken"] and "no interior" in refused["sheet"]


def test_rows_skip_the_slots_of_refused_shapes(folder_cache):
    assert folder_cache.slots.tolist() == [0, 1, 3]
    assert folder_cache.num_slots == 5


def test_labels_of_a_cached_box_are_those_of_the_box(folder_cache):
    from g3pt.data.prepare import positions

    slot = folder_cache.slots[0]
    queries = positions(np.concatenate([folder_cache.volume[slot], folder_cache.near[slot]]))
    packed = np.concatenate([folder_cache.volume_inside[slot], folder_cache.near_inside[slot]])
    inside = np.unpackbits(packed, bitorder="little").astype(bool)
    truth = (np.abs(queries) < 0.95).all(axis=1)
    assert np.array_equal(inside, truth)


def test_a_finished_cache_is_left_alone(folder_cache, folder_source, small_prepare):
    from g3pt.data.cache import build_cache

    before = (folder_cache.path / "index.json").stat().st_mtime_ns
    report = build_cache(folder_source, small_prepare, folder_cache.path)
    assert (report.prepared, report.refused) == (3, 2)
    assert (folder_cache.path / "index.json").stat().st_mtime_ns == before


def test_a_cache_of_another_config_is_not_overwritten(folder_cache, folder_source):
    from g3pt.data.cache import build_cache
    from g3pt.data.prepare import PrepareConfig

    with pytest.raises(ValueError, match="another config"):
        build_cache(folder_source, PrepareConfig(), folder_cache.path)


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr("g3pt.data.cache.PART_SIZE", 2)


def contents(path):
    files = sorted(file for file in path.iterdir() if file.is_file())
    return {file.name: file.read_bytes() for file in files}


def test_a_stopped_build_is_invisible_and_goes_on_to_the_same_bytes(
    folder_cache, folder_source, small_prepare, tmp_path, small_parts
):
    from g3pt.data.cache import ShapeCache, build_cache

    handled = []

    def stop_after_first_part(done, total):
        handled.append((done, total))
        if len(handled) == 1:
            raise KeyboardInterrupt

    out = tmp_path / "boxes"
    with pytest.raises(KeyboardInterrupt):
        build_cache(folder_source, small_prepare, out, on_progress=stop_after_first_part)
    assert not out.exists()
    with pytest.raises(FileNotFoundError, match="stopped build"):
        ShapeCache(out)
    build_cache(folder_source, small_prepare, out, on_progress=stop_after_first_part)
    assert handled == [(2, 5), (4, 5), (5, 5)]
    assert contents(out) == contents(folder_cache.path)


def test_two_workers_give_the_bytes_of_one(folder_cache, folder_source, small_prepare, tmp_path):
    from g3pt.data.cache import build_cache

    build_cache(folder_source, small_prepare, tmp_path / "boxes", workers=2)
    assert contents(tmp_path / "boxes") == contents(folder_cache.path)


def test_arrays_are_read_only_and_survive_pickling(folder_cache):
    copy = pickle.loads(pickle.dumps(folder_cache))
    for name in ARRAYS:
        array = getattr(copy, name)
        assert isinstance(array.base, np.memmap) and not array.flags.writeable
        assert np.array_equal(array, getattr(folder_cache, name))
    assert len(pickle.dumps(folder_cache)) < 1000


def test_drawn_surface_points_are_distinct_rows_of_the_shape(folder_cache):
    points, normals = folder_cache.draw_surface(1, 100, np.random.default_rng(0))
    stored = np.concatenate([folder_cache.points[1], folder_cache.normals[1]], axis=1)
    drawn = np.concatenate([points, normals], axis=1)
    assert {*map(tuple, drawn.tolist())} <= {*map(tuple, stored.tolist())}
    assert len(np.unique(drawn, axis=0)) == 100


def test_a_source_of_bad_meshes_only_is_an_error(mesh_folder, small_prepare, tmp_path):
    from g3pt.data.cache import build_cache
    from g3pt.data.sources import FolderSourceConfig

    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "one.glb").write_bytes(b"nothing")
    source = FolderSourceConfig(path=str(tmp_path / "bad"))
    with pytest.raises(ValueError, match="all 1 shapes were refused"):
        build_cache(source, small_prepare, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_unknown_format_version_is_refused(folder_cache, tmp_path):
    from g3pt.data.cache import ShapeCache

    index = json.loads((folder_cache.path / "index.json").read_text())
    (tmp_path / "index.json").write_text(json.dumps({**index, "format_version": 99}))
    with pytest.raises(ValueError, match="format version 99"):
        ShapeCache(tmp_path)
