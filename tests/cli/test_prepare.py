import json
import os
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from cli.test_speech import PLY
from progress import num_done

SMALL = ("--views", "1", "--view-size", "32", "--points", "64", "--queries", "480")
COARSE = (*SMALL, "--solid-resolution", "32")


@pytest.fixture
def boxes(tmp_path):
    """Three boxes and a file that is no mesh."""
    from g3pt.geometry.mesh import TriangleMesh, write_mesh

    folder = tmp_path / "boxes"
    folder.mkdir()
    for name, height in (("red_box", 1.0), ("tall box", 3.0), ("flat-box", 0.3)):
        corners = [(x, y * height, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]
        quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
        faces = [f for a, b, c, d in quads for f in ((a, b, c), (a, c, d))]
        write_mesh(folder / f"{name}.glb", TriangleMesh.from_arrays(corners, faces))
    (folder / "page.glb").write_text("<html>not found</html>")
    return folder


def test_a_folder_becomes_shards_with_a_report(g3pt, boxes, tmp_path):
    from g3pt.shapes.shards import ShardSet

    out = tmp_path / "out"
    code, stdout, stderr = g3pt("prepare", boxes, out, *COARSE, "--json")
    answer = json.loads(stdout)
    assert code == 0 and "objects 4/4, 1 refused" in stderr
    assert (answer["prepared"], answer["refused"], answer["skipped"]) == (3, 1, 0)
    assert answer["meshes_per_core_hour"] > 0 and answer["shards"] == 1
    assert answer["splits"] == {"train": 3}
    assert (out / "report.html").is_file() and (out / "report.json").is_file()
    shards = ShardSet(out)
    assert {caption for row in range(3) for caption in shards.captions(row)} == {
        "red box",
        "tall box",
        "flat box",
    }
    (refused,) = map(json.loads, (out / "quarantine.jsonl").read_text().splitlines())
    assert refused["path"].endswith("page.glb") and refused["code"] == "unreadable"


def test_a_second_run_does_no_work_and_says_so(g3pt, boxes, tmp_path):
    out = tmp_path / "out"
    code, _, stderr = g3pt("prepare", boxes, out, *COARSE)
    assert code == 0 and stderr.startswith(f"g3pt prepare: listing {boxes}")
    assert "objects 0/4" in stderr
    before = {path: path.stat().st_mtime_ns for path in out.glob("shard-*")}
    code, stdout, _ = g3pt("prepare", boxes, out, *COARSE)
    assert code == 0 and "nothing was left to do" in stdout
    assert "splits: 3 train; none is held out (--val-share 0.2" in stdout
    assert {path: path.stat().st_mtime_ns for path in out.glob("shard-*")} == before


def test_a_dry_run_writes_nothing_and_tells_the_cost(g3pt, boxes, tmp_path):
    out = tmp_path / "out"
    code, stdout, stderr = g3pt("prepare", boxes, out, *COARSE, "--dry-run", "--json")
    estimate = json.loads(stdout)
    assert code == 0 and estimate["num_objects"] == 4 and estimate["bytes"]["value"] > 0
    assert estimate["num_sampled"] == 1 and "objects to see what they cost 0/1" in stderr
    assert not out.exists()


def test_two_parts_make_one_set(g3pt, tmp_path):
    arguments = ("prepare", "procedural:4", tmp_path / "out", *SMALL, "--per-shard", "2", "--json")
    first = json.loads(g3pt(*arguments, "--shard", "0/2")[1])
    assert not first["complete"] and first["prepared"] == 2
    second = json.loads(g3pt(*arguments, "--shard", "1/2")[1])
    assert second["complete"] and second["prepared"] == 4


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (("--shard", "2/2"), "--shard takes I/N"),
        (("--column", "path"), "--column takes NAME=COLUMN"),
        (("--include", "*.glb"), "choose within a folder"),
        (("--queries", "8"), "--queries must be at least 48"),
        (("--memory", "0.1"), "at least 512 MiB"),
        (("--workers", "0"), "workers must be at least 1"),
        (("--address", "auto"), "give --engine ray as well"),
    ],
)
def test_wrong_arguments_are_named(g3pt, tmp_path, changes, sentence):
    table = tmp_path / "table.csv"
    table.write_text("path\nbox.glb\n")
    code, stdout, stderr = g3pt("prepare", table, tmp_path / "out", *changes)
    assert code == 2 and not stdout
    assert sentence in stderr and not (tmp_path / "out").exists()


def test_a_source_of_no_known_kind_is_named(g3pt, tmp_path):
    code, _, stderr = g3pt("prepare", tmp_path / "nowhere", tmp_path / "out")
    assert code == 2 and "nowhere" in stderr
    assert g3pt("prepare", "procedural:many", tmp_path / "out")[0] == 2


def test_shards_become_packed_tokens(g3pt, tmp_path):
    from g3pt.shapes.cache.tokens import TokenCache

    assert g3pt("prepare", "procedural:3", tmp_path / "out", *SMALL)[0] == 0
    arguments = ("--resamplings", "2", "--num-points", "32", "-o", tmp_path / "tokens", "--json")
    code, stdout, _ = g3pt("tokenize", "--shards", tmp_path / "out", *arguments)
    (entry,) = json.loads(stdout)["outputs"]
    assert code == 0 and entry["shapes"] == 3
    cache = TokenCache(tmp_path / "tokens")
    assert cache.tokens.shape[:2] == (3, 2)
    first = np.stack([cache.indices(row, 0) for row in range(3)])
    assert entry["usage"] * 2**cache.identity.num_bits == len(np.unique(first))
    code, _, stderr = g3pt("tokenize", "a.glb", "--shards", tmp_path / "out")
    assert code == 2 and "not both" in stderr


def test_a_folder_becomes_a_stock_in_one_file(g3pt, boxes, tmp_path):
    from g3pt.shapes.mesh_stock import MeshStock

    out = tmp_path / "new" / "boxes.safetensors"
    code, stdout, stderr = g3pt("prepare", boxes, out, "--stock", "--json")
    answer = json.loads(stdout)
    assert code == 0 and "meshes 4/4, 1 refused" in stderr
    assert (answer["meshes"], answer["faces"], answer["flagged"]) == (3, 36, 0)
    assert sum(answer["refused"].values()) == 1 and answer["bytes"] == out.stat().st_size
    stock = MeshStock.read(out)
    captions = {caption for row in stock.objects for caption in row["captions"]}
    assert captions == {"red box", "tall box", "flat box"}


@pytest.mark.parametrize("stock", [True, False])
def test_meshes_that_lack_a_texture_are_counted_in_one_line(tmp_path, stock):
    (tmp_path / "plain").mkdir()
    for name in ("a", "b"):
        (tmp_path / "plain" / f"{name}.ply").write_text(PLY.format("wood.png"))
    out = tmp_path / ("all.safetensors" if stock else "out")
    flags = ("--stock",) if stock else COARSE
    command = [sys.executable, "-m", "g3pt.cli.main", "prepare", tmp_path / "plain", out, *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "texture" not in done.stderr  # of the children neither
    stdout = done.stdout
    (line,) = [line for line in stdout.splitlines() if "wood.png" in line]
    assert line.startswith("2 ") and line.endswith(
        "first: a.ply: texture 'wood.png' is missing; read without"
    )
    if not stock:
        for row in map(json.loads, (out / "shard-00000.jsonl").read_text().splitlines()):
            assert row["notes"] == ["texture 'wood.png' is missing; read without"]


def test_a_stock_keeps_the_colours_as_they_are_meant(g3pt, tmp_path):
    from g3pt.geometry.mesh import write_mesh
    from g3pt.procedural import make_shape
    from g3pt.shapes.mesh_stock import MeshStock

    (tmp_path / "red").mkdir()
    mesh = make_shape(0, "mug").mesh(24)
    write_mesh(tmp_path / "red" / "mug.glb", replace(mesh, colors=np.full_like(mesh.colors, 128)))
    expected = {"linear": 128, "srgb": 55}  # linear light of 128 is .2159, of bytes 55
    for meaning, value in expected.items():
        out = tmp_path / f"{meaning}.safetensors"
        arguments = ("prepare", tmp_path / "red", out, "--stock", "--gltf-colors", meaning)
        assert g3pt(*arguments)[0] == 0
        assert (MeshStock.read(out).surface(0).colors_F33 == value).all()


def test_a_stock_is_one_file_of_meshes(g3pt, boxes, tmp_path):
    code, _, stderr = g3pt("prepare", boxes, tmp_path / "folder", "--stock")
    assert code == 2 and ".safetensors" in stderr
    code, _, stderr = g3pt("prepare", "procedural:4", tmp_path / "a.safetensors", "--stock")
    assert code == 2 and "mesh files" in stderr


def test_who_is_asked_to_stop_leaves_with_the_code_for_another_start(g3pt, tmp_path):
    arguments = ["prepare", "procedural:12", str(tmp_path / "out"), *COARSE]
    with subprocess.Popen(
        [sys.executable, "-m", "g3pt.cli.main", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while num_done(tmp_path / "out") < 2:
            assert process.poll() is None
            time.sleep(0.005)
        process.terminate()
        _, said = process.communicate(timeout=120)
    assert process.returncode == 75, said
    assert "stopped by SIGTERM: the same command goes on from here" in said
    code, stdout, _ = g3pt(*arguments, "--json")
    answer = json.loads(stdout)
    assert (code, answer["prepared"]) == (0, 12) and 2 <= answer["skipped"] < 12
