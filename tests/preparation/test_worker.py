import json
import pickle
from itertools import pairwise

import pytest


@pytest.fixture(scope="module")
def prepared(folder_source, folder_config):
    """Results of the folder's objects, by id."""
    from g3pt.preparation.sources import list_shapes
    from g3pt.preparation.worker import ObjectTask

    results = {}
    for number, ref in enumerate(list_shapes(folder_source)):
        task = ObjectTask(number, ref, folder_config.prepare, folder_config.views)
        results[ref.id] = pickle.loads(pickle.dumps(task)).run()
    return results


def refs(num, split=""):
    from g3pt.preparation.inputs import MeshRef

    return [
        MeshRef(id=f"object {number}", location="somewhere", split=split) for number in range(num)
    ]


def test_a_sound_object_becomes_a_sample_and_a_line(prepared):
    result = prepared["cube"]
    assert not result.is_refused
    assert result.row["size"] == len(result.data)
    assert (result.row["family"], result.row["captions"]) == ("box", ["a cube"])
    assert json.loads(json.dumps(result.row)) == result.row
    assert set(result.seconds) == {"read", "solid", "sample", "label", "quality", "render", "pack"}


@pytest.mark.parametrize(("name", "stage"), [("broken", "read"), ("sheet", "label")])
def test_a_refusal_names_object_file_stage_and_reason(prepared, mesh_folder, name, stage):
    result = prepared[name]
    assert result.is_refused and not result.data
    row = result.row
    assert set(row) == {"id", "path", "stage", "code", "message"}
    assert (row["id"], row["path"]) == (name, str(mesh_folder / f"{name}.glb"))
    assert row["stage"] == stage and row["code"] and "\n" not in row["message"]


def test_the_reason_of_a_refusal_is_the_code_of_its_error(prepared):
    assert prepared["sheet"].row["code"] == "no_interior"
    assert "no interior" in prepared["sheet"].row["message"]


def test_an_error_without_a_code_or_words_is_named_by_its_kind(folder_config, monkeypatch):
    from g3pt.preparation import worker

    def fail(task, watch):
        raise ZeroDivisionError

    monkeypatch.setattr(worker, "_prepare", fail)
    task = worker.ObjectTask(0, refs(1)[0], folder_config.prepare, folder_config.views)
    row = task.run().row
    assert (row["code"], row["message"]) == ("error", "ZeroDivisionError")


def test_lack_of_memory_is_a_refusal_like_others(folder_config, monkeypatch):
    from g3pt.preparation import worker

    def fail(task, watch):
        raise MemoryError

    monkeypatch.setattr(worker, "_prepare", fail)
    task = worker.ObjectTask(0, refs(1)[0], folder_config.prepare, folder_config.views)
    assert task.run().row["code"] == "memory"


def test_the_place_of_an_archives_member_is_told():
    from g3pt.preparation.inputs import MeshRef
    from g3pt.preparation.worker import path_of

    assert path_of(MeshRef(id="x", location="all.zip", member="a/x.obj")) == "all.zip!a/x.obj"


# --- splits --------------------------------------------------------------------------------


def test_a_split_of_its_own_wins():
    from g3pt.preparation.worker import split_of

    assert {split_of(ref, 1.0) for ref in refs(20, split="train")} == {"train"}
    assert {split_of(ref, 0.0) for ref in refs(20, split="val")} == {"val"}


def test_without_one_about_the_asked_share_goes_to_validation():
    from g3pt.preparation.worker import split_of

    splits = [split_of(ref, 0.1) for ref in refs(4000)]
    # 400 expected, with a standard deviation of 19.
    assert 320 < splits.count("val") < 480
    assert set(splits) == {"train", "val"}


def test_a_larger_share_only_adds_to_validation():
    from g3pt.preparation.worker import split_of

    chosen = [
        {ref.id for ref in refs(500) if split_of(ref, share) == "val"}
        for share in (0.0, 0.05, 0.2, 0.7, 1.0)
    ]
    assert [len(each) for each in chosen[::4]] == [0, 500]
    assert all(less < more for less, more in pairwise(chosen))
