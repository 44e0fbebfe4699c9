"""A run that is killed with SIGKILL and resumed equals one that never stopped, bit for bit."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

KINDS = ("model", "ema", "optimizer")


def command(recipe, folder, *extra):
    flags = ["--run", folder, "--workers", "1", "--train.checkpoint-every", "3", *extra]
    return [sys.executable, "-m", "g3pt.cli.train", recipe, *map(str, flags)]


def finish(cwd, recipe, folder, *extra):
    subprocess.run(
        command(recipe, folder, *extra), cwd=cwd, check=True, capture_output=True, timeout=300
    )


def start_and_kill(cwd, recipe, folder, after_steps):
    """Kill the run at whatever it is doing just after it has logged some steps."""
    process = subprocess.Popen(
        command(recipe, folder, "--resume"),
        cwd=cwd,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    metrics = cwd / folder / "metrics.jsonl"
    deadline = time.monotonic() + 300
    while sum('"train"' in line for line in lines(metrics)) < after_steps:
        assert process.poll() is None and time.monotonic() < deadline, "it ended by itself"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.is_file() else []


def records(path):
    clocks = ("seconds", "steps_per_second")
    return [
        {name: value for name, value in json.loads(line).items() if name not in clocks}
        for line in lines(path)
    ]


@pytest.fixture(scope="module")
def cwd(tmp_path_factory):
    """A folder with a finished tokenizer run, whose prepared shapes all tests share."""
    folder = tmp_path_factory.mktemp("killed")
    finish(folder, "tokenizer-tiny-smoke", "runs/tokenizer-tiny-smoke")
    return folder


@pytest.mark.parametrize(
    ("recipe", "kill_after"), [("tokenizer-tiny-smoke", 5), ("car-tiny-smoke", 7)]
)
def test_a_killed_run_resumes_bit_for_bit(cwd, recipe, kill_after):
    whole = f"runs/{recipe}"
    if not (cwd / whole).exists():
        finish(cwd, recipe, whole)
    start_and_kill(cwd, recipe, f"{whole}-killed", kill_after)
    finish(cwd, recipe, f"{whole}-killed", "--resume")
    expected = records(cwd / whole / "metrics.jsonl")
    assert len(expected) == 14
    assert records(cwd / f"{whole}-killed" / "metrics.jsonl") == expected
    for kind in KINDS:
        files = [
            (cwd / name / "checkpoints" / "step-12" / f"{kind}.safetensors").read_bytes()
            for name in (whole, f"{whole}-killed")
        ]
        assert files[0] == files[1], kind
