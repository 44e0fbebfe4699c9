"""A run that is killed with SIGKILL and resumed equals one that never stopped, bit for bit."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

KINDS = ("model", "ema", "optimizer")
KNOWN = "tokenizer-tiny-smoke"


def command(recipe, folder, *extra):
    flags = ["--run", folder, "--workers", "1", "--train.checkpoint-every", "3", *extra]
    return [sys.executable, "-m", "g3pt.cli.train", recipe, *map(str, flags)]


def finish(cwd, recipe, folder, *extra):
    subprocess.run(
        command(recipe, folder, *extra), cwd=cwd, check=True, capture_output=True, timeout=300
    )


def start_and_kill(cwd, recipe, folder, after_steps, number=signal.SIGKILL):
    """Send the run a signal at whatever it is doing just after it has logged some steps."""
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
    process.send_signal(number)
    return process.wait()


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
    assert start_and_kill(cwd, recipe, f"{whole}-killed", kill_after) == -signal.SIGKILL
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


def test_a_run_that_is_asked_to_stop_has_a_code_of_its_own(cwd):
    folder = "runs/stopped"
    assert start_and_kill(cwd, KNOWN, folder, 2, signal.SIGUSR1) == 75
    steps = [line["step"] for line in records(cwd / folder / "metrics.jsonl")]
    assert (cwd / folder / "checkpoints" / f"step-{max(steps)}" / "manifest.json").is_file()
    assert max(steps) < 12


@pytest.mark.distributed
def test_a_launcher_starts_one_training_on_two_processes(cwd):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        subprocess.Popen(
            command(KNOWN, "runs/two", "--json", "--train.engine", "ddp"),
            cwd=cwd,
            env={
                **os.environ,
                "WORLD_SIZE": "2",
                "RANK": str(rank),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert json.loads(outputs[0][0])["steps"] == 12
    assert outputs[1][0] == ""
    one, two = (records(cwd / "runs" / name / "metrics.jsonl") for name in (KNOWN, "two"))
    assert [line["step"] for line in one] == [line["step"] for line in two]
