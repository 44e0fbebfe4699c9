import json
import os
import signal
import threading
from pathlib import Path

import pytest

from g3pt.training.signals import stop_at_once

FAST = ("--resolution", 16)


@pytest.fixture
def table(tmp_path: Path, picture: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text("id,image,text\nmug,mug.png,\nsaid,,a table\ngone,nowhere.png,\n")
    return path


@pytest.mark.slow
def test_a_manifest_gives_a_folder_and_again_nothing_to_do(g3pt, table, tmp_path) -> None:
    out = tmp_path / "out"
    code, stdout, stderr = g3pt("generate", "--manifest", table, out, *FAST)
    assert code == 0, stderr
    assert f"{out}: 2 of 3 rows made, 1 failed, 1 shards" in stdout
    assert "failed: 1 missing; first: gone: nowhere.png: no such picture" in stdout
    assert f"1 of 3 rows name a picture that does not exist: {tmp_path / 'nowhere.png'}" in stderr
    assert "rows 3/3, 1 failed, " in stderr and ("a minute" in stderr or "a second" in stderr)
    code, stdout, _ = g3pt("generate", f"--manifest={table}", out, "--json", *FAST)
    again = json.loads(stdout)
    assert code == 0
    assert (again["made"], again["failed"], again["skipped"]) == (2, 1, 3)
    assert again["failures"] == {"missing": 1} and again["complete"] is True
    assert g3pt("generate", "--manifest", table, out, "--resolution", 17)[0] == 2


def test_who_is_asked_to_stop_leaves_with_the_code_for_another_start(g3pt, table, tmp_path) -> None:
    out = tmp_path / "out"
    rows = "".join(f"{legs},a table with {legs} legs\n" for legs in range(10, 22))
    table.write_text(f"id,text\n{rows}")
    over = threading.Event()

    def stop() -> None:
        while not out.exists() and not over.wait(0.001):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop)
    with stop_at_once():  # should the command not listen
        thread.start()
        try:
            code, _, stderr = g3pt("generate", "--manifest", table, out, *FAST)
        finally:
            over.set()
            thread.join()
    assert code == 75, stderr
    assert "stopped with 0 of 12 rows in complete shards: the same command goes on" in stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--image", "a.png"), "--image does not go with --manifest: the manifest names"),
        (("--text=a mug",), "--text does not go with --manifest"),
        (("--every_scale",), "--every-scale does not go with --manifest: give --tokens"),
        (("--lod-faces", 100), "--lod-faces does not go with --manifest"),
        (("-o", "x"), "-o does not go with --manifest: name the folder without a flag"),
        (("--workers", 0), "--workers must be at least 1, got 0"),
        (("--engine", "ray", "--workers", 2), "--engine ray takes those of the cluster"),
        (("--address", "auto"), "give --engine ray as well"),
        (("--timeout", 0), "--timeout must be above 0"),
        (("--best-of", 2, "--consensus", 2), "give one of the two"),
        (("--format", "stl", "--color", "picture"), "--color picture: .stl holds no colours"),
        (("--format", "ply", "--texture", 512), "texture"),
        (("--format", "obj", "--texture", 512), "write .glb for textures"),
        (("--scales", 9), "scales must lie in 1..3"),
    ],
)
def test_flags_that_do_not_fit_exit_2_with_one_sentence(
    g3pt, table, tmp_path, arguments: tuple, sentence: str
) -> None:
    out = tmp_path / "out"
    code, stdout, stderr = g3pt("generate", "--manifest", table, out, *arguments)
    assert (code, stdout) == (2, "")
    assert sentence in stderr
    assert not out.exists()


def test_wrong_columns_and_missing_tables_exit_2(g3pt, table, tmp_path) -> None:
    code, _, stderr = g3pt("generate", "--manifest", tmp_path / "none.csv", tmp_path / "out")
    assert code == 2 and "none.csv: no such table" in stderr
    table.write_text("name,picture\na,b\n")
    code, _, stderr = g3pt("generate", "--manifest", table, tmp_path / "out")
    assert code == 2 and "there are the columns name, picture" in stderr
    table.write_text("id,image\na,b.png\n")
    code, _, stderr = g3pt("generate", "--manifest", table, tmp_path / "out")
    assert code == 2 and "none of 1 pictures exists" in stderr


def test_a_file_is_no_folder_of_results(g3pt, table, tmp_path) -> None:
    code, _, stderr = g3pt("generate", "--manifest", table, tmp_path / "out.glb")
    assert code == 2 and "expected a folder" in stderr
