import json
import shutil
from dataclasses import replace

import pytest


@pytest.fixture(scope="module")
def build():
    from g3pt.preparation.build import build_shards

    return build_shards


def lines(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def stamps(path):
    return {file: file.stat().st_mtime_ns for file in path.rglob("*") if file.suffix != ".lock"}


def over(folder, config):
    from g3pt.preparation.sources import FolderSourceConfig

    return replace(config, source=FolderSourceConfig(path=str(folder)))


@pytest.fixture
def growing(mesh_folder, folder_config, tmp_path):
    """A folder of two meshes without a manifest, and the config of its shards."""
    folder = tmp_path / "growing"
    folder.mkdir()
    for name in ("cube", "pole"):
        shutil.copy(mesh_folder / f"{name}.glb", folder)
    return folder, over(folder, folder_config)


# --- what is prepared and what is refused --------------------------------------------------


def test_bad_meshes_are_listed_with_their_reason_and_the_rest_is_prepared(
    folder_shards, mesh_folder
):
    assert [shape["id"] for shape in folder_shards.shapes] == ["cube", "pole", "slab"]
    broken, sheet = lines(folder_shards.path / "quarantine.jsonl")
    assert (broken["id"], broken["stage"]) == ("broken", "read")
    assert broken["path"] == str(mesh_folder / "broken.glb")
    assert broken["code"] and broken["message"]
    assert (sheet["id"], sheet["stage"], sheet["code"]) == ("sheet", "label", "no_interior")


def test_shards_hold_the_ids_in_order_refused_ones_included(folder_shards):
    ids = [
        [row["id"] for row in lines(folder_shards.path / f"shard-0000{number}.jsonl")]
        for number in range(3)
    ]
    assert ids == [["broken", "cube"], ["pole", "sheet"], ["slab"]]


def test_times_tell_the_seconds_of_every_stage(folder_shards):
    times = json.loads((folder_shards.path / "times" / "00000.json").read_text())
    assert set(times) == {"broken", "cube"}
    assert {"read", "solid", "sample", "label", "quality", "render"} <= set(times["cube"])


def test_a_source_of_bad_meshes_only_is_an_error(build, folder_config, tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "one.glb").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"all 1 objects were refused; first: .*one\.glb"):
        build(over(tmp_path / "bad", folder_config), tmp_path / "out")


def test_the_hash_of_an_id_decides_where_no_manifest_does(build, growing, tmp_path):
    from g3pt.shapes.shape_set import Selection
    from g3pt.shapes.shards import ShardSet

    build(growing[1], tmp_path / "out", val_share=1.0)
    assert len(ShardSet(tmp_path / "out", Selection(split="val"))) == 2


# --- doing it again ------------------------------------------------------------------------


def test_a_finished_set_is_left_alone_and_says_so(build, folder_config, copied):
    before = stamps(copied)
    report = build(folder_config, copied, on_progress=pytest.fail)
    assert (report.skipped, report.prepared, report.refused) == (5, 3, 2)
    assert report.complete and report.shards == 3 and report.worker_seconds == 0
    assert stamps(copied) == before


def test_files_that_are_added_become_shards_of_their_own(
    build, growing, mesh_folder, tmp_path, deliverables
):
    from g3pt.shapes.shards import ShardSet

    folder, config = growing
    out = tmp_path / "out"
    build(config, out)
    before = deliverables(out)
    for name in ("also.glb", "slab.glb"):
        shutil.copy(mesh_folder / "slab.glb", folder / name)
    states = []
    report = build(config, out, on_progress=states.append)
    assert [(state.done, state.total) for state in states] == [(2, 4), (3, 4), (4, 4)]
    assert (report.skipped, report.prepared, report.shards) == (2, 4, 2)
    after = deliverables(out)
    unchanged = before.keys() - {"index.json"}
    assert {name: after[name] for name in unchanged} == {name: before[name] for name in unchanged}
    ids = [shape["id"] for shape in ShardSet(out).shapes]
    assert ids == ["cube.glb", "pole.glb", "also.glb", "slab.glb"]


def without_colors(file):
    """As the file was written before sources said how their colours are meant."""
    text = json.loads(file.read_text())
    del text["config"]["source"]["gltf_colors"]
    file.write_text(json.dumps(text))


def test_a_set_goes_on_with_colours_read_as_it_was_begun(build, growing, mesh_folder, tmp_path):
    from g3pt.preparation.sources import stored_source
    from g3pt.shapes.shards import ShardSet

    folder, config = growing
    out = tmp_path / "out"
    assert config.source.gltf_colors == "linear"
    display = replace(config, source=replace(config.source, gltf_colors="srgb"))
    build(display, out)
    without_colors(out / "config.json")
    without_colors(out / "index.json")
    assert stored_source(ShardSet(out)).gltf_colors == "srgb"
    shutil.copy(mesh_folder / "slab.glb", folder / "added.glb")
    with pytest.raises(ValueError, match=r"read as srgb, not linear.*--gltf-colors srgb"):
        build(config, out)
    report = build(display, out)
    assert (report.skipped, report.prepared) == (2, 3)
    colors = [ShardSet(out)[row].colors for row in range(3)]
    # The bytes of the linear light that (200, 40, 40) is written as.
    assert all(each is not None and (each == (147, 5, 5)).all() for each in colors)


def test_a_file_of_another_size_is_counted_and_not_done_again(
    build, growing, mesh_folder, tmp_path, deliverables
):
    folder, config = growing
    build(config, tmp_path / "out")
    before = deliverables(tmp_path / "out")
    with (folder / "cube.glb").open("ab") as file:
        file.write(b"more")
    assert build(config, tmp_path / "out").changed == 1
    assert deliverables(tmp_path / "out") == before


class StoppedError(Exception):
    pass


def stop_after(count):
    def on_progress(state):
        if state.done == count:
            raise StoppedError

    return on_progress


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_stopped_run_is_incomplete_and_goes_on_to_the_same_bytes(
    build, folder_config, folder_shards, tmp_path, deliverables, count
):
    from g3pt.shapes.shards import ShardSet

    out = tmp_path / "boxes"
    with pytest.raises(StoppedError):
        build(folder_config, out, on_progress=stop_after(count))
    with pytest.raises(FileNotFoundError, match="a stopped run is there: start it again"):
        ShardSet(out)
    states = []
    report = build(folder_config, out, on_progress=states.append)
    assert report.skipped == count
    assert [state.done for state in states] == (list(range(count, 6)) if count < 5 else [])
    assert deliverables(out) == deliverables(folder_shards.path)
    assert not [file for file in (out / "work").iterdir() if file.suffix != ".lock"]


def test_a_planned_file_that_disappears_is_refused_as_missing(build, growing, tmp_path):
    folder, config = growing
    out = tmp_path / "out"
    with pytest.raises(StoppedError):
        build(config, out, on_progress=stop_after(1))
    (folder / "pole.glb").unlink()
    states = []
    report = build(config, out, on_progress=states.append)
    assert (report.prepared, report.refused, report.complete) == (1, 1, True)
    assert [(state.done, state.refused) for state in states] == [(1, 0), (2, 1)]
    (row,) = lines(out / "quarantine.jsonl")
    assert (row["id"], row["stage"], row["code"]) == ("pole.glb", "list", "missing")


# --- the same bytes, whoever does the work -------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_child_processes_give_the_bytes_of_this_one(
    build, folder_config, folder_shards, tmp_path, deliverables, workers
):
    from g3pt.work.engines import ProcessEngine

    build(folder_config, tmp_path / "boxes", engine=ProcessEngine(workers))
    assert deliverables(tmp_path / "boxes") == deliverables(folder_shards.path)


def test_results_may_come_in_any_order(build, folder_config, folder_shards, tmp_path, deliverables):
    from g3pt.work.engines import Engine, InlineEngine

    class Backwards(Engine):
        def run(self, tasks):
            return InlineEngine().run(reversed(list(tasks)))

    build(folder_config, tmp_path / "boxes", engine=Backwards())
    assert deliverables(tmp_path / "boxes") == deliverables(folder_shards.path)


def test_the_order_of_the_source_does_not_matter(
    build, folder_config, folder_shards, tmp_path, deliverables, monkeypatch
):
    from g3pt.preparation import build as module

    listed = module.list_shapes
    monkeypatch.setattr(module, "list_shapes", lambda source: listed(source)[::-1])
    build(folder_config, tmp_path / "boxes")
    assert deliverables(tmp_path / "boxes") == deliverables(folder_shards.path)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_parts_together_give_the_bytes_of_one_run(
    build, folder_config, folder_shards, tmp_path, deliverables, order
):
    from g3pt.shapes.shards import is_complete

    out = tmp_path / "boxes"
    first = build(folder_config, out, part=(order[0], 2))
    assert not first.complete and not is_complete(out)
    assert build(folder_config, out, part=(order[1], 2)).complete
    assert deliverables(out) == deliverables(folder_shards.path)


# --- whose folder it is --------------------------------------------------------------------


def test_a_second_run_on_the_same_part_is_refused(build, folder_config, tmp_path):
    def start_another(state):
        with pytest.raises(ValueError, match=r"another run is working on it \(part-0-of-2\)"):
            build(folder_config, tmp_path / "boxes", part=(0, 2))
        raise StoppedError

    with pytest.raises(StoppedError):
        build(folder_config, tmp_path / "boxes", part=(0, 2), on_progress=start_another)
    build(folder_config, tmp_path / "boxes", part=(0, 2))


@pytest.mark.parametrize("part", [(0, 1), (1, 3)])
def test_parts_of_another_count_do_not_work_side_by_side(build, folder_config, tmp_path, part):
    def start_another(state):
        with pytest.raises(ValueError, match=r"another run is working on it \(part-0-of-2\)"):
            build(folder_config, tmp_path / "boxes", part=part)
        raise StoppedError

    with pytest.raises(StoppedError):
        build(folder_config, tmp_path / "boxes", part=(0, 2), on_progress=start_another)
    build(folder_config, tmp_path / "boxes", part=part)


@pytest.mark.parametrize("name", ["prepare", "views", "samples_per_shard", "val_share"])
def test_a_set_of_another_config_is_not_mixed_with_this_one(build, folder_config, copied, name):
    from g3pt.shapes.stored import PrepareConfig, ViewsConfig

    changes = {
        "prepare": {"prepare": PrepareConfig()},
        "views": {"views": ViewsConfig()},
        "samples_per_shard": {"samples_per_shard": 7},
        "val_share": {},
    }
    config = replace(folder_config, **changes[name])
    with pytest.raises(ValueError, match="validation share" if not changes[name] else name):
        build(config, copied, val_share=0.5 if name == "val_share" else 0.0)


def test_a_folder_of_something_else_is_refused(build, folder_config, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match=r"new or empty folder, it holds thesis\.tex"):
        build(folder_config, tmp_path)


def test_a_run_killed_while_it_made_the_folder_can_start_again(build, growing, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / ".config.json.4711.tmp").write_text('{"config": {')
    assert build(growing[1], out).prepared == 2


@pytest.mark.parametrize("part", [(2, 2), (-1, 2), (0, 0)])
def test_parts_that_do_not_exist_are_refused(build, folder_config, tmp_path, part):
    with pytest.raises(ValueError, match="part i/n needs"):
        build(folder_config, tmp_path / "out", part=part)


def test_a_kept_result_that_was_damaged_does_not_become_a_shard(build, growing, tmp_path):
    config = growing[1]
    out = tmp_path / "out"
    with pytest.raises(StoppedError):
        build(config, out, on_progress=stop_after(1))
    (sample,) = (out / "work" / "00000").glob("*.sample")
    data = bytearray(sample.read_bytes())
    data[600] ^= 1
    sample.write_bytes(data)
    with pytest.raises(OSError, match=r"the sample of cube\.glb has been damaged"):
        build(config, out)
