"""Disks that are full, read-only or gone: the error names the file, and nothing is half-written."""

import fcntl
import os
from pathlib import Path

import pytest

POINTS = {
    "generate-before": ("generate", 0, "mug.glb"),
    "generate-within": ("generate", 60, "mug.glb"),
    "texture": ("textured", 4, "mug"),
    "mesh-of-a-texture": ("textured", 60, "mug.obj"),
    "tokens": ("tokenize", 0, "cube.g3t"),
    "picture": ("render", 0, "cube.png"),
    "weights": ("export", 8, "model.safetensors"),
    "cache": ("cache", 4, "tokens.partial"),
    "plan": ("many", 4, "many/plan"),
    "sample": ("many", 24, ".sample"),
    "variation": ("vary", 60, "cube.glb"),
    "mixture": ("mix", 0, "cube.glb"),
    "completion": ("complete", 60, "cube.glb"),
    "gallery": ("gallery", 4, "figure5-smoke.png"),
    "comparison": ("compare", 20, "compared/a/objects.csv"),
    "examples": ("finetune", 64, "recordings/meshes/part-00000"),
    "row": ("reproduce", 300, "seed0/checkpoints"),
    "trial": ("torture", 0, "kept/tokens-0"),
    "checkpoint": ("train", 120, "step-0"),
    "later-checkpoint": ("train", 900, "step-2"),
}
"""Where a disk is full -> command, KiB that are free, and part of what the message names."""
GOES_ON = ("cache", "sample", "comparison", "later-checkpoint")
"""Points from which the same command is tried again when there is room."""
KEEPS = ("cache", "compare", "finetune", "many", "reproduce", "train")
"""Commands that keep what they had done."""


@pytest.mark.parametrize("point", POINTS)
def test_a_full_disk_is_named_and_gets_nothing_half_written(machine, command, tmp_path, point):
    name, free, named = POINTS[point]
    with machine.disk(tmp_path / "disk", f"size={max(free, 4)}k") as disk:
        if free == 0:
            machine.ask(run=["sh", "-c", f"head -c 4096 /dev/zero > {disk}/other"])
        ended = machine.g3pt(*command(name, disk))
        assert (ended.code, ended.out) == (1, "")
        assert "No space left on device" in ended.last and str(disk) in ended.last
        assert named in ended.last
        left = [file for file in machine.ask(list=str(disk)) if file != "other"]
        assert not [file for file in left if ".tmp" in file]
        if name not in KEEPS:
            assert left == []
        if point not in GOES_ON:
            return
        assert not machine.ask(run=["mount", "-o", "remount,size=16m", str(disk)])
        again = machine.g3pt(*command(name, disk, *(["--resume"] if name == "train" else [])))
        assert again.code == 0, again.err


def test_a_limit_on_the_size_of_files_is_named(machine, command, tmp_path):
    ended = machine.g3pt(*command("generate", tmp_path), limits={"FSIZE": 10_000})
    assert (ended.code, ended.last) == (1, f"g3pt: writing: {tmp_path}/mug.glb: File too large")
    assert list(tmp_path.iterdir()) == []


def test_limits_of_the_user_are_kept_by_processes_that_have_limits(machine, command, tmp_path):
    ended = machine.g3pt(*command("torture", tmp_path), limits={"FSIZE": 100_000})
    assert ended.code == 0, ended.err
    assert (tmp_path / "kept" / "tokens-0" / "shape.g3t").is_file()


BEFORE_THE_WORK = (
    *("generate", "render", "export", "stock", "cache", "many", "vary", "mix", "complete"),
    *("compare", "finetune", "gallery", "reproduce", "torture"),
)
"""Commands that know before the work that they cannot write."""


@pytest.mark.parametrize("name", BEFORE_THE_WORK)
def test_a_read_only_disk_is_wrong_input_told_before_the_work(machine, command, tmp_path, name):
    with machine.disk(tmp_path / "disk", "ro") as disk:
        ended = machine.g3pt(*command(name, disk))
    assert (ended.code, ended.out) == (2, "")
    assert ended.last.startswith(f"g3pt: {disk}") and "Read-only file system" in ended.last
    assert "meshes 1/1" not in ended.err


@pytest.mark.parametrize(
    ("name", "output"), [("tokenize", "cube.g3t"), ("vary", "cube.glb"), ("complete", "cube.glb")]
)
def test_an_output_that_is_a_pipe_is_not_replaced(machine, command, tmp_path, name, output):
    pipe = tmp_path / output
    os.mkfifo(pipe)
    ended = machine.g3pt(*command(name, tmp_path))
    assert ended.code == 1 and ended.last.endswith(
        f"{output}: Is no plain file, and is not replaced"
    )
    assert pipe.is_fifo()


@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("export", "weights"),
        ("compare", "compared"),
        ("finetune", "mine"),
        ("gallery", "results"),
    ],
)
def test_a_pipe_where_a_folder_is_needed_is_told_before_the_work(
    machine, command, tmp_path, name, output
):
    os.mkfifo(tmp_path / output)
    ended = machine.g3pt(*command(name, tmp_path))
    assert ended.code == 2 and ended.err.count("\n") == 1
    assert ended.last.endswith(f"{output}: is a file, a folder is needed")


@pytest.mark.parametrize(
    "name", ("prepare", "evaluate", "compare", "finetune", "reproduce", "train")
)
def test_a_folder_that_is_removed_during_the_work_is_failed_work(machine, command, tmp_path, name):
    # At the moment of the first large file of a result.
    gone = (
        "import shutil, g3pt.files as files\n"
        "real = files._check_replaceable\n"
        "def check(path):\n"
        "    if path.suffix in ('.sample', '.npz', '.safetensors'):\n"
        f"        shutil.rmtree({str(tmp_path)!r})\n"
        "    real(path)\n"
        "files._check_replaceable = check"
    )
    ended = machine.g3pt(*command(name, tmp_path), first=gone)
    assert ended.code == 1 and ended.last.endswith(": has been removed during the work")
    assert str(tmp_path) in ended.last and not tmp_path.exists()


def test_a_folder_that_is_gone_before_the_work_is_told(machine, command, tmp_path):
    away = f"import os; os.mkdir({str(tmp_path / 'a')!r}); os.chdir({str(tmp_path / 'a')!r}); "
    away += f"os.rmdir({str(tmp_path / 'a')!r})"
    ended = machine.g3pt(*command("tokenize", Path()), first=away)
    assert (ended.code, ended.last.partition(": ")[2][:9]) == (1, "tokenizin")
    assert ended.last.endswith("cube.g3t: No such file or directory")


# --- temporary files -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ("read-only", "spaces ünd 🎉", "missing", "x" * 120))
def test_any_folder_for_temporary_files_does(machine, command, tmp_path, name):
    place = tmp_path / name
    if name != "missing":
        place.mkdir()
    if name == "read-only":
        place.chmod(0o555)
    ended = machine.g3pt(*command("stock", tmp_path), env={"TMPDIR": str(place)})
    assert ended.code == 0, ended.err
    assert not place.exists() or list(place.iterdir()) == []


def test_no_room_for_temporary_files_is_not_the_fault_of_a_row(machine, command, tmp_path):
    with machine.disk(tmp_path / "temporary", "size=12k") as temporary:
        ended = machine.g3pt(*command("many", tmp_path), env={"TMPDIR": str(temporary)})
    assert ended.code == 1
    assert "g3pt: no room for temporary files: " in ended.last and str(temporary) in ended.last
    again = machine.g3pt(*command("many", tmp_path))
    assert again.code == 0 and "2 of 2 rows made, 0 failed" in again.out


# --- two commands, one folder ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("cache", "tokens.partial"),
        ("train", "run"),
        ("finetune", "mine.work"),
        ("reproduce", "runs/smoke/cvq-7-6bit-seed0"),
        ("evaluate", "scores"),
        ("compare", "compared/a"),
    ],
)
def test_a_folder_that_another_process_works_on_is_refused(machine, command, tmp_path, name, place):
    folder = tmp_path / place
    folder.mkdir(parents=True)
    held = os.open(folder, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    ended = machine.g3pt(*command(name, tmp_path))
    os.close(held)
    assert ended.code == 2 and f"{folder}: another process is working on it" in ended.last
    assert [file for file in folder.iterdir() if file.name != "recipe.json"] == []


def test_a_cache_that_another_process_has_finished_is_taken(tmp_path, folder_shards):
    """Two builds at once: the second enters when the first has left."""
    from g3pt.shapes.cache import arrays

    array = arrays.StoredArray(name="a", dtype=arrays.np.uint8)
    out, wanted = tmp_path / "cache", {"format_version": 1, "shapes": "x"}
    steps = []

    def build(compute):
        return arrays.fill_arrays(
            out, wanted, (array,), (2,), compute, what="numbers", batch_size=2
        )

    real = arrays.alone_in

    def late(folder):
        arrays.alone_in = real
        build(lambda places: {"a": places})
        steps.append(out.is_dir())
        folder.mkdir()
        return real(folder)

    try:
        arrays.alone_in = late
        build(lambda places: pytest.fail("computed twice"))
    finally:
        arrays.alone_in = real
    assert steps == [True] and sorted(path.name for path in tmp_path.iterdir()) == ["cache"]
