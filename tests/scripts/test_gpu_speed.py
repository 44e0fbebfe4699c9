"""The job that measures speed on one GPU, rehearsed from its first line to its last at toy size."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "gpu_speed.py"


@pytest.mark.skipif(not SCRIPT.is_file(), reason="an installed package has no scripts")
def test_every_row_is_measured_and_written(tmp_path: Path):
    out = tmp_path / "out"
    command = [sys.executable, str(SCRIPT), "--out", str(out), "--device", "cpu"]
    command += ["--sizes", "toy", "--backend", "eager"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = {row["name"]: row for row in json.loads((out / "speed.json").read_text())["rows"]}
    changes = ("compile", "pieces", "querying", "late")
    steps = [f"step/toy/{name}" for name in ("before", "all", *changes)]
    kinds = [f"generation/toy/{name}" for name in ("none", "growing", "static", "graphs")]
    assert list(rows) == [
        *(*kinds, *steps[:2], "extraction/64/seconds", *steps[2:]),
        "step/toy/all, blocks computed again",
    ]
    table = (out / "speed.txt").read_text(encoding="utf-8")
    for name, row in rows.items():
        if row["ours"] is None:  # a machine without compiler says so
            assert "compiler" in row["note"] or "Python.h" in row["note"], row
        assert name in table
    assert all(rows[name]["details"]["same_tokens_as_single_kernels"] for name in kinds)
    assert rows["step/toy/before"]["details"]["changes"] == []
    assert set(rows["step/toy/all"]["details"]["changes"]) == set(changes)
    assert 0 < rows["extraction/64/seconds"]["details"]["seconds_in_field"]


@pytest.mark.skipif(not SCRIPT.is_file(), reason="an installed package has no scripts")
def test_without_time_nothing_is_begun_and_every_row_says_so(tmp_path: Path):
    command = [sys.executable, str(SCRIPT), "--out", str(tmp_path), "--device", "cpu"]
    command += ["--sizes", "toy", "--seconds", "0"]
    subprocess.run(command, capture_output=True, check=True, timeout=600)
    rows = json.loads((tmp_path / "speed.json").read_text())["rows"]
    assert len(rows) == 12
    assert {row["note"] for row in rows} == {"left out: no time"}
