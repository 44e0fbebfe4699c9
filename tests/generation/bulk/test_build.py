"""The same bytes however rows are made, and what becomes of rows that cannot be made."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from g3pt.generation.bulk.build import generate_many
from g3pt.generation.bulk.manifest import read_manifest
from g3pt.work.engines import Engine, Limits, ProcessEngine
from g3pt.work.tasks import TaskResult, WorkerError
from progress import num_done

NUM_KILLS = 3


@pytest.fixture(scope="module")
def made(table, settings, models, tmp_path_factory):
    """The results of the table, made in this process, and the report; not to be changed."""
    out = tmp_path_factory.mktemp("made")
    return out, generate_many(read_manifest(table), out, settings, models)


def rows_of(out: Path) -> dict[str, dict]:
    lines = (out / "index.jsonl").read_text().splitlines()
    return {row["id"]: row for row in map(json.loads, lines)}


def test_a_failed_row_is_named_and_costs_itself(made, table):
    out, report = made
    assert (report.made, report.failed, report.total, report.shards) == (3, 3, 6, 2)
    assert report.complete
    assert report.failures == {"missing": 1, "picture": 1, "no_prompt": 1}
    rows = rows_of(out)
    assert list(rows) == ["blue", "broken", "empty", "gone", "red/mug", "said"]
    assert rows["gone"]["message"] == "nowhere.png: no such picture"
    assert rows["empty"]["code"] == "no_prompt"
    assert rows["broken"]["stage"] == "read"
    assert str(table.parent) not in (out / "index.jsonl").read_text()


def test_the_index_leads_to_files_that_are_what_it_says(made, tmp_path):
    from g3pt.geometry.mesh import read_mesh

    out = tmp_path / "copy"
    shutil.copytree(made[0], out)
    rows = rows_of(out)
    mug, said = rows["red/mug"], rows["said"]
    assert mug["cutout"]["box"] == [16, 20, 48, 60]
    assert len(mug["key"]) == 20 and said["key"] == "said"
    assert {name.removeprefix(f"{mug['key']}.") for name in mug["files"]} == {
        "json",
        "glb",
        "g3t",
        "cutout.png",
    }
    with tarfile.open(out / said["shard"]) as archive:
        archive.extractall(out / "unpacked", filter="data")
    (entry,) = said["outputs"]
    mesh = read_mesh(out / "unpacked" / entry["path"])
    assert (len(mesh.vertices), len(mesh.faces)) == (entry["vertices"], entry["faces"])
    assert (entry["seed"], entry["color"]["words"]) == (said["seed"], "red")
    whole = (out / said["shard"]).read_bytes()
    for name, start, size in said["members"]:
        at = said["offset"] + start
        assert whole[at : at + size] == (out / "unpacked" / f"said.{name}").read_bytes()


def test_workers_and_order_change_no_byte(made, table, settings, models, tmp_path, results_of):
    out, _ = made
    turned = tmp_path / "pictures" / "turned.csv"
    shutil.copytree(table.parent, turned.parent)
    lines = table.read_text().splitlines()
    turned.write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n")

    class Backwards(Engine):
        def run(self, tasks):
            return (task.run() for task in reversed(list(tasks)))

    rows = read_manifest(turned)
    generate_many(rows, tmp_path / "back", settings, models, engine=Backwards())
    engine = ProcessEngine(2, Limits(memory_bytes=None, written_bytes=2**30))
    generate_many(rows, tmp_path / "two", settings, models, engine=engine)
    assert results_of(tmp_path / "back") == results_of(tmp_path / "two") == results_of(out)


def test_a_row_is_what_the_pipeline_makes_of_it_alone(made, table, tiny_weights, tmp_path):
    from g3pt.generation.pipeline import G3PT
    from g3pt.geometry.mesh import write_mesh

    out, _ = made
    pipeline = G3PT.from_pretrained(tiny_weights, "cpu")
    result = pipeline(image=table.parent / "blue.png", text="a mug", seed=5, resolution=16)
    write_mesh(tmp_path / "blue.glb", result.meshes[0])
    row = rows_of(out)["blue"]
    with tarfile.open(out / row["shard"]) as archive:
        member = archive.extractfile("blue.glb")
        assert member is not None
        assert member.read() == (tmp_path / "blue.glb").read_bytes()


def test_files_are_those_of_the_shards(made, table, settings, models, tmp_path):
    out, _ = made
    files = tmp_path / "files"
    generate_many(read_manifest(table), files, replace(settings, layout="files"), models)
    for shard in ("shard-00000", "shard-00001"):
        with tarfile.open(out / f"{shard}.tar") as archive:
            inside = {m.name: archive.extractfile(m).read() for m in archive.getmembers()}
        assert {path.name: path.read_bytes() for path in (files / shard).iterdir()} == inside
    row = rows_of(files)["said"]
    assert all((files / row["shard"] / name).is_file() for name in row["files"])


def test_several_samples_have_names_of_their_own(table, settings, models, tmp_path):
    out = tmp_path / "out"
    rows = [row for row in read_manifest(table) if row.id == "blue"]
    generate_many(rows, out, replace(settings, num=2, tokens=False, cutouts=False), models)
    row = rows_of(out)["blue"]
    assert row["files"] == ["blue.json", "blue.0.glb", "blue.1.glb"]
    assert [entry["seed"] for entry in row["outputs"]] == [5, 6]


def test_a_second_run_does_nothing_and_counts_changed_pictures(
    made, table, settings, models, tmp_path, results_of
):
    out, pictures = tmp_path / "copy", tmp_path / "pictures"
    shutil.copytree(made[0], out)
    shutil.copytree(table.parent, pictures)
    before = results_of(out)
    with (pictures / "red.png").open("ab") as file:
        file.write(b"more")

    class Idle(Engine):
        def run(self, tasks):
            assert not list(tasks)
            return iter(())

    rows = read_manifest(pictures / table.name)
    report = generate_many(rows, out, settings, models, engine=Idle())
    assert (report.skipped, report.made, report.changed) == (6, 3, 1)
    assert results_of(out) == before


def test_another_manifest_or_other_settings_are_refused_with_what_differs(
    made, table, settings, models
):
    out, _ = made
    rows = read_manifest(table)
    with pytest.raises(ValueError, match=r"settings\.resolution = 16, not 32; give the same"):
        generate_many(rows, out, replace(settings, resolution=32), models)
    with pytest.raises(ValueError, match=r"weights\.sha256 = .*, not other"):
        generate_many(rows, out, settings, replace(models, sha256="other"))
    with pytest.raises(ValueError, match=r"another manifest \(6 rows from 'blue' to 'said', this"):
        generate_many(rows[1:], out, settings, models)
    other = [replace(row, seed=1) for row in rows]
    with pytest.raises(ValueError, match="but other ids, pictures, texts or seeds"):
        generate_many(other, out, settings, models)


def test_a_folder_of_something_else_is_left_alone(table, settings, models, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(ValueError, match=r"expected a new or empty folder, it holds letter\.txt"):
        generate_many(read_manifest(table), tmp_path / "mine", settings, models)
    with pytest.raises(ValueError, match="it is a file"):
        generate_many(read_manifest(table), table, settings, models)


def test_pictures_that_are_all_missing_end_the_run_before_it_begins(
    table, settings, models, tmp_path
):
    rows = [row for row in read_manifest(table) if row.id == "gone"]
    with pytest.raises(ValueError, match=r"none of 1 pictures exists; the first: .*nowhere\.png"):
        generate_many(rows, tmp_path / "out", settings, models)
    assert not (tmp_path / "out").exists()


def test_rows_that_all_fail_are_an_error(table, settings, models, tmp_path):
    rows = [row for row in read_manifest(table) if row.id in ("broken", "empty")]
    with pytest.raises(ValueError, match="all 2 rows failed; first: broken: "):
        generate_many(rows, tmp_path / "out", settings, models)


def test_weights_that_are_not_those_of_the_run_blame_no_row(table, settings, models, tmp_path):
    out, wrong = tmp_path / "out", replace(models, sha256="0" * 64)
    with pytest.raises(WorkerError, match="expected the weights 000000000000 of this run"):
        generate_many(read_manifest(table), out, settings, wrong)
    assert not list(out.glob("work/*/*.json"))


def test_who_is_asked_to_stop_finishes_what_is_in_work(
    made, table, settings, models, tmp_path, results_of
):
    out, rows, asked = tmp_path / "stopped", read_manifest(table), []

    class Broken(Engine):
        """Two rows are in work; the workers of one are stopped as well."""

        def run(self, tasks):
            first, second = next(tasks), next(tasks)
            asked.append(True)
            assert next(tasks, None) is None
            yield first.run()
            yield TaskResult(second.number, second.refusal("worker", "crash", "of SIGTERM"))

    report = generate_many(
        rows, out, settings, models, engine=Broken(), stopped=lambda: bool(asked)
    )
    assert not report.complete and not (out / "index.jsonl").exists()
    assert generate_many(rows, out, settings, models).skipped == 1
    assert results_of(out) == results_of(made[0])


SCRIPT = """
import sys
from pathlib import Path
from g3pt.cli.main import main
if __name__ == "__main__":
    weights, table, out = sys.argv[1:]
    flags = ["--resolution", "16", "--tokens", "--cutouts", "--per-shard", "4", "--device", "cpu"]
    command = ["generate", "--manifest", table, out, "--weights", weights]
    sys.exit(main([*command, *flags]))
"""


@pytest.fixture
def start(table, tiny_weights, tmp_path):
    """Starts the command as the leader of a group of processes."""

    script = tmp_path / "many.py"
    script.write_text(SCRIPT)

    def start(out: Path) -> subprocess.Popen:
        command = [sys.executable, str(script), str(tiny_weights), str(table), str(out)]
        return subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)

    return start


@pytest.mark.slow
def test_kills_at_any_moment_change_no_byte(start, made, tmp_path, results_of):
    out, rng = tmp_path / "killed", np.random.default_rng(3)
    for number in range(NUM_KILLS):
        process = start(out)
        enough = min(num_done(out) + number % 2, 6)
        while num_done(out) < enough and process.poll() is None:
            time.sleep(0.005)
        time.sleep(rng.uniform(0.0, 0.3))
        process.kill()
        process.wait()
    assert start(out).wait(timeout=120) == 0
    assert len(results_of(out)) == 6
    assert results_of(out) == results_of(made[0])


@pytest.mark.slow
def test_sigterm_to_all_processes_ends_the_run_and_blames_no_row(start, tmp_path, made):
    out = tmp_path / "stopped"
    process = start(out)
    while not num_done(out) and process.poll() is None:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(timeout=120) in (0, 75)  # 0 if it was about to be done
    assert start(out).wait(timeout=120) == 0
    assert rows_of(out) == rows_of(made[0])
