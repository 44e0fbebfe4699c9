"""`g3pt train` from a clean folder: what is missing is made, trained first, or named at once."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from g3pt.cli import train
from g3pt.recipes import RECIPES, recipe, runs_before
from g3pt.training.config import TrainConfig
from g3pt.training.start import take_stock
from g3pt.training.trained import share_trained

CLEAN = [name for name in RECIPES if not name.startswith(("car-paper", "guess-small"))]
"""Recipes that a folder without data, runs and network is enough for. `car-paper*` look for the
extra `hub`, `guess-small` for recordings."""


@pytest.fixture(autouse=True)
def _clean_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def dry(capsys, *arguments):
    assert train.main([*arguments, "--dry-run", "--json"]) == 0
    captured = capsys.readouterr()
    assert list(Path().iterdir()) == []
    return json.loads(captured.out), captured.err


@pytest.mark.parametrize("name", CLEAN)
def test_a_recipe_can_start_in_a_clean_folder(name, monkeypatch):
    from g3pt.cli.train import _make_plan, _parser

    options = _parser().parse_args(["--dry-run"])
    plan = _make_plan(recipe(name), Path("runs") / name, options)
    assert (
        take_stock(plan.run, promised=[*map(str, (*plan.before, *plan.yardsticks))]).left_out == ()
    )
    for line in plan.left_out:
        assert "there are no meshes at meshes" in line or "cache/" in line


def test_a_dry_run_says_what_is_trained_first_made_and_left_out(capsys):
    answer, said = dry(capsys, "car-tiny")
    assert answer["before"] == ["runs/tokenizer-tiny-procedural", "runs/tokenizer-tiny"]
    assert answer["made"][0] == "cache/procedural-train: prepared from 16384 procedural shapes"
    assert answer["left_out"] == [
        "cache/meshes: there are no meshes at meshes; training goes without them"
    ]
    parts = {one["what"]: one for one in answer["minutes_of"]}
    assert list(parts) == [
        "cache/procedural-train",
        "cache/procedural-val",
        "runs/tokenizer-tiny-procedural",
        "runs/tokenizer-tiny",
        "car-tiny",
    ]
    assert parts["car-tiny"]["steps"] == 20_000
    assert answer["minutes"] == pytest.approx(sum(one["minutes"] for one in parts.values()))
    for words in (*answer["left_out"], "runs/tokenizer-tiny: is trained first, by tokenizer-tiny"):
        assert words in said


def test_a_dry_run_tells_minutes_and_where_they_come_from(capsys):
    changes = ["--train.steps", "50", "--shapes.0.source.num", "16"]
    assert train.main(["tokenizer-tiny-smoke", *changes, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "time on this machine: about " in said and "without evaluations and checkpoints" in said
    assert re.search(r"  cache/smoke-train: .* to prepare, \d+ shapes at once, timed on 8", said)
    assert re.search(r"  tokenizer-tiny-smoke: .* for 50 steps, [\d.e-]+ s each, timed here", said)


def test_yardsticks_of_families_are_made_and_those_of_meshes_left_out(capsys):
    answer, _ = dry(capsys, "car-stream-small")
    files = [f"cache/yardsticks/{name}.safetensors" for name in ("known", "unseen")]
    assert answer["made"] == files
    assert [line.partition(":")[0] for line in answer["left_out"]] == [
        "cache/meshes-train.safetensors",
        "cache/yardsticks/real.safetensors",
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tokenizer-tiny", "--initial", "runs/mine"], "initial: runs/mine: there is no such"),
        (["car-tiny", "--data.weights", "1"], "data.weights: expected one for each of 2 sets"),
        (
            ["tokenizer-tiny", "--data.shards", "there"],
            "data.shards: expected a pack or a",
        ),
        (["guess-small"], "there is no recording in cache/guess/grammar"),
    ],
)
@pytest.mark.parametrize("flags", [[], ["--dry-run"]])
def test_what_is_wrong_is_said_before_anything_is_made(capsys, arguments, words, flags):
    assert train.main([*arguments, *flags]) == 2
    captured = capsys.readouterr()
    assert words in captured.err and captured.out == ""
    assert list(Path().iterdir()) == []


def test_what_a_run_builds_on_is_trained_first_and_once(capsys):
    assert train.main(["car-tiny-smoke", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["finished"]
    first = Path("runs/tokenizer-tiny-smoke")
    assert share_trained(first) == 1.0
    assert runs_before(recipe("car-tiny-smoke"), resume=True) == {}
    # Stopped half way it is taken as it is, and finished where everything is resumed.
    config = json.loads((first / "config.json").read_text())
    config["train"]["steps"] = 24
    (first / "config.json").write_text(json.dumps(config))
    assert runs_before(recipe("car-tiny-smoke")) == {}
    ((folder, run),) = runs_before(recipe("car-tiny-smoke"), resume=True).items()
    assert (folder, run.train.steps) == (first, 24)


def test_a_used_folder_is_refused_before_anything_is_trained(capsys):
    Path("runs/car-tiny-smoke").mkdir(parents=True)
    Path("runs/car-tiny-smoke/config.json").write_text("{}")
    assert train.main(["car-tiny-smoke"]) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert not Path("runs/tokenizer-tiny-smoke").exists()


def test_the_share_of_a_run_follows_whichever_of_steps_and_clock_is_further_on():
    assert TrainConfig(steps=10).share_of(5, 1000.0) == 0.5
    assert TrainConfig(steps=0, minutes=2.0).share_of(5, 90.0) == 0.75
    assert TrainConfig(steps=10, minutes=2.0).share_of(9, 90.0) == 0.9


def test_something_is_said_at_once_and_then_of_the_shapes_that_are_made():
    """Within two seconds of the start on a quiet machine: before anything heavy is imported."""
    command = [sys.executable, "-X", "importtime", "-m", "g3pt.cli.main", "train"]
    command += ["tokenizer-tiny-smoke", "--train.steps", "1", "--workers", "1"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stderr.splitlines()
    (first,) = (place for place, line in enumerate(lines) if line == "g3pt train: loading")
    heavy = [place for place, line in enumerate(lines) if line.endswith((" torch", " numpy"))]
    assert heavy and first < min(heavy)
    said = [line for line in lines if not line.startswith("import time:")]
    assert any("cache/smoke-train: shapes 0 of 8" in line for line in said)
    assert any("cache/smoke-train: shapes 8 of 8" in line for line in said)
