"""A checkpoint is whole or not there, and a damaged one is passed over."""

import hashlib
import json
import logging
import threading
from pathlib import Path

import pytest
import torch


@pytest.fixture
def checkpoints():
    from g3pt.training import checkpoint

    return checkpoint


def make(checkpoints, step):
    tensors = {"model": {"w": torch.full((3, 2), float(step))}, "ema": {"w": torch.zeros(3, 2)}}
    return checkpoints.Checkpoint(step=step, tensors=tensors, state={"loop": {"step": step}})


def save(checkpoints, folder, *steps, keep=9):
    for step in steps:
        checkpoints.save_checkpoint(folder, make(checkpoints, step), keep=keep)


def test_what_was_saved_comes_back_bit_for_bit(checkpoints, tmp_path):
    values = torch.randn(5, generator=torch.Generator().manual_seed(0))
    saved = checkpoints.Checkpoint(
        step=3, tensors={"model": {"a.b": values}}, state={"x": 0.1 + 0.2}
    )
    checkpoints.save_checkpoint(tmp_path, saved, keep=1)
    loaded = checkpoints.load_newest_checkpoint(tmp_path)
    assert torch.equal(loaded.tensors["model"]["a.b"], values)
    assert loaded.state == {"step": 3, "x": 0.1 + 0.2}


def test_a_group_that_is_not_there_is_named_by_its_file(checkpoints, tmp_path):
    save(checkpoints, tmp_path, 7)
    loaded = checkpoints.load_checkpoint(tmp_path, 7)
    assert torch.equal(loaded.group("ema")["w"], torch.zeros(3, 2))
    with pytest.raises(checkpoints.CheckpointError, match=r"step-7/optimizer\.safetensors: is not"):
        loaded.group("optimizer")


def test_the_folder_has_the_promised_files(checkpoints, tmp_path):
    save(checkpoints, tmp_path, 7)
    names = {path.name for path in (tmp_path / "step-7").iterdir()}
    assert names == {"model.safetensors", "ema.safetensors", "state.json", "manifest.json"}
    manifest = json.loads((tmp_path / "step-7" / "manifest.json").read_text())
    assert set(manifest["files"]) == names - {"manifest.json"}


def test_only_the_last_ones_are_kept(checkpoints, tmp_path):
    save(checkpoints, tmp_path, 10, 20, 100, 30, keep=2)
    assert checkpoints.list_checkpoints(tmp_path) == [100, 30]


def test_a_checkpoint_of_the_same_step_is_replaced(checkpoints, tmp_path):
    save(checkpoints, tmp_path, 5)
    other = checkpoints.Checkpoint(step=5, tensors={}, state={"second": True})
    checkpoints.save_checkpoint(tmp_path, other, keep=2)
    assert checkpoints.load_newest_checkpoint(tmp_path).state["second"]
    assert [path.name for path in tmp_path.iterdir()] == ["step-5"]


@pytest.mark.parametrize("moment", range(6))
def test_a_crash_at_any_moment_leaves_the_old_checkpoint_and_no_half_one(
    checkpoints, tmp_path, monkeypatch, moment
):
    save(checkpoints, tmp_path, 1)
    calls = iter(range(100))

    def interrupt(real):
        def wrapped(*arguments, **named):
            if next(calls) == moment:
                raise KeyboardInterrupt
            return real(*arguments, **named)

        return wrapped

    for name in ("write_tensors_whole", "write_whole"):
        monkeypatch.setattr(checkpoints, name, interrupt(getattr(checkpoints, name)))
    monkeypatch.setattr(Path, "rename", interrupt(Path.rename))
    monkeypatch.setattr(checkpoints, "_flush", interrupt(checkpoints._flush))
    with pytest.raises(KeyboardInterrupt):
        save(checkpoints, tmp_path, 2, keep=1)
    monkeypatch.undo()
    newest = checkpoints.load_newest_checkpoint(tmp_path)
    assert newest.step in (1, 2) and float(newest.tensors["model"]["w"][0, 0]) == newest.step
    save(checkpoints, tmp_path, 3, keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-3"]


def test_what_is_written_in_the_background_is_what_it_was_when_it_was_asked_for(
    checkpoints, tmp_path, monkeypatch
):
    going_on, begun = threading.Event(), threading.Event()
    real = checkpoints.write_tensors_whole

    def slow(*arguments):
        begun.set()
        assert going_on.wait(60)
        real(*arguments)

    monkeypatch.setattr(checkpoints, "write_tensors_whole", slow)
    writer, weights = checkpoints.CheckpointWriter(), torch.ones(3)
    copies = checkpoints.host_copies({"w": weights}, keep=True)
    saved = checkpoints.Checkpoint(step=1, tensors={"model": copies}, state={})
    writer.save(tmp_path, saved, keep=1)
    assert begun.wait(60)
    weights.fill_(2)  # training goes on
    assert checkpoints.list_checkpoints(tmp_path) == []
    going_on.set()
    writer.close()
    assert checkpoints.load_newest_checkpoint(tmp_path).tensors["model"]["w"].tolist() == [1, 1, 1]


def test_a_checkpoint_that_cannot_be_written_is_an_error_at_the_next_one(checkpoints, tmp_path):
    (tmp_path / "file").touch()
    writer = checkpoints.CheckpointWriter()
    writer.save(tmp_path / "file", make(checkpoints, 1), keep=1)
    with pytest.raises(OSError, match="file"):
        writer.save(tmp_path, make(checkpoints, 2), keep=1)
    writer.close()


def test_processes_that_write_nothing_copy_nothing(checkpoints):
    assert checkpoints.host_copies({"w": torch.ones(3)}, keep=False) == {}


def cut(path):
    path.write_bytes(path.read_bytes()[:-4])


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", [cut, flip, Path.unlink])
@pytest.mark.parametrize("name", ["model.safetensors", "state.json"])
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(
    checkpoints, tmp_path, caplog, damage, name
):
    save(checkpoints, tmp_path, 1, 2)
    damage(tmp_path / "step-2" / name)
    with caplog.at_level(logging.WARNING):
        assert checkpoints.load_newest_checkpoint(tmp_path).step == 1
    assert "step-2" in caplog.text and "falling back" in caplog.text


def edit_manifest(folder, change):
    """Change the manifest's table of files."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest["files"])
    path.write_text(json.dumps(manifest))


def store(folder, name, content):
    """Write a file of a checkpoint, and its true size and checksum into the manifest."""
    (folder / name).write_bytes(content)
    entry = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    edit_manifest(folder, lambda files: files.update({name: entry}))


def unlisted(folder):
    (folder / "more.safetensors").write_bytes((folder / "ema.safetensors").read_bytes())


def without_state(folder):
    (folder / "state.json").unlink()
    edit_manifest(folder, lambda files: files.pop("state.json"))


def folder_in_place_of_a_file(folder):
    file = folder / "ema.safetensors"
    file.unlink()
    file.mkdir()
    edit_manifest(folder, lambda files: files[file.name].update(bytes=file.stat().st_size))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda at: (at / "manifest.json").write_text("[]"), "manifest.json: does not list"),
        (lambda at: (at / "manifest.json").write_text('{"files": []}'), "does not list"),
        (unlisted, "manifest.json: does not list the files that are there"),
        (without_state, "manifest.json: does not list the files that are there"),
        (
            lambda at: edit_manifest(at, lambda files: files.update({"ema.safetensors": "?"})),
            "files.ema.safetensors: expected bytes and sha256",
        ),
        (
            lambda at: edit_manifest(at, lambda files: files["ema.safetensors"].pop("sha256")),
            "files.ema.safetensors: expected bytes and sha256",
        ),
        (
            lambda at: edit_manifest(at, lambda files: files["ema.safetensors"].update(bytes=1)),
            "ema.safetensors: does not match its checksum",
        ),
        (folder_in_place_of_a_file, "ema.safetensors: does not match its checksum"),
        (lambda at: store(at, "ema.safetensors", b"nothing"), "step-1: damaged checkpoint"),
        (lambda at: store(at, "state.json", b"[]"), "state.json: is not the state of step 1"),
        (lambda at: store(at, "state.json", b'{"step": 2}'), "is not the state of step 1"),
    ],
)
def test_a_checkpoint_that_contradicts_itself_is_refused_by_file(
    checkpoints, tmp_path, damage, words
):
    save(checkpoints, tmp_path, 1)
    damage(tmp_path / "step-1")
    with pytest.raises(checkpoints.CheckpointError) as caught:
        checkpoints.load_checkpoint(tmp_path, 1)
    assert words in str(caught.value)


def test_nothing_sound_is_an_error_and_nothing_at_all_is_none(checkpoints, tmp_path):
    assert checkpoints.load_newest_checkpoint(tmp_path / "new") is None
    save(checkpoints, tmp_path, 1)
    (tmp_path / "step-1" / "manifest.json").write_text("{")
    with pytest.raises(checkpoints.CheckpointError, match="none of the 1 checkpoints is sound"):
        checkpoints.load_newest_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bias": None}, "m.safetensors: is of another model: lacks tensor bias"),
        ({"more": torch.ones(2)}, "m.safetensors: is of another model: holds the unknown tensor m"),
        ({"weight": torch.zeros(1, 2)}, r"m.safetensors: .*weight has shape \(1, 2\), expected"),
        (
            {"bias": torch.zeros(3, dtype=torch.int64)},
            "bias holds numbers of torch.int64, expected",
        ),
        ({"bias": torch.tensor([0, float("nan"), 0])}, "bias holds numbers that are not finite"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused_by_file_and_tensor(checkpoints, changes, words):
    module = torch.nn.Linear(2, 3)
    before = {name: each.clone() for name, each in checkpoints.module_tensors(module).items()}
    given = {name: each + 1 for name, each in before.items()} | changes
    given = {name: each for name, each in given.items() if each is not None}
    with pytest.raises(checkpoints.CheckpointError, match=words):
        checkpoints.load_module_tensors(module, given, "m.safetensors")
    after = checkpoints.module_tensors(module)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_tied_parameters_are_saved_once(checkpoints):
    module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    module[1].weight = module[0].weight
    assert sorted(checkpoints.module_tensors(module)) == ["0.bias", "0.weight", "1.bias"]
