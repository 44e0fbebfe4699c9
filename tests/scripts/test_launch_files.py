"""The launch files of clusters, run as they are; `srun`, `scontrol` and `ssh` stay here."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from g3pt.training.tracking import read_metrics

SCRIPTS = Path(__file__).parents[2] / "scripts"
STEPS = 24
TRAINING = (
    "tokenizer-tiny-smoke", "--workers", "1", "--train.steps", str(STEPS), "--train.slices", "2",
    "--train.checkpoint-every", "3", "--train.device", "cpu",
)  # fmt: skip
STAND_INS = {
    "srun": """while [[ $1 == --* ]]; do shift; done
code=0 tasks=()
for ((rank = 0; rank < SLURM_NTASKS; rank++)); do
  SLURM_PROCID=$rank SLURM_LOCALID=$rank "$@" & tasks+=($!)
done
echo "${tasks[@]}" > tasks
for task in "${tasks[@]}"; do
  this=0; wait "$task" || this=$?; ((this > code)) && code=$this
done
exit "$code"
""",
    "scontrol": """case $1 in
  show) echo 127.0.0.1; echo 127.0.0.1 ;;
  requeue) echo "$2" > requeued ;;
esac
""",
    "ssh": """while [[ $1 == -* ]]; do shift 2; done
echo "$1" >> reached
exec bash -c "$2"
""",
}
"""What the launch files call, for one machine."""

pytestmark = [
    pytest.mark.distributed,
    pytest.mark.skipif(not SCRIPTS.is_dir(), reason="an installed package has no scripts"),
    pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed"),
]


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Starts a launch file in a folder in which both find the same prepared shapes."""
    folder = tmp_path_factory.mktemp("launched")
    for name, text in STAND_INS.items():
        program = folder / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/usr/bin/env bash\n{text}")
        program.chmod(0o755)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = {
        **os.environ,
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
        "G3PT_PYTHON": sys.executable,
        **{"MASTER_PORT": port, "SLURM_NTASKS": "2", "SLURM_JOB_NODELIST": "here"},
        **{"G3PT_PORT": port, "G3PT_PROCESSES": "1", "G3PT_PAUSE": "0"},
    }

    def start(script, *arguments, **more):
        with (folder / f"{script}.log").open("a") as log:
            return folder, subprocess.Popen(
                [SCRIPTS / script, *arguments],
                cwd=folder,
                env=environment | more,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    return start


def steps_of(run):
    """Steps whose loss is written down."""
    lines = read_metrics(run / "metrics.jsonl")
    return [line["step"] for line in lines if line["kind"] == "train"]


def until_step(run, step, process):
    """Wait until a run has come so far."""
    deadline = time.monotonic() + 300
    while max(steps_of(run), default=0) < step:
        assert process.poll() is None and time.monotonic() < deadline, "it did not come so far"
        time.sleep(0.02)


def assert_whole(run):
    steps = steps_of(run)
    assert steps[-1] == STEPS and steps == sorted(set(steps))


@pytest.mark.slow
def test_a_slurm_job_goes_back_into_the_queue_and_starts_again_what_dies(start):
    arguments = ("train_slurm.sh", *TRAINING, "--run", "runs/slurm")
    folder, job = start(*arguments, SLURM_JOB_ID="7")
    until_step(folder / "runs" / "slurm", 2, job)
    tasks = [int(number) for number in (folder / "tasks").read_text().split()]
    os.kill(tasks[1], signal.SIGUSR1)
    assert job.wait(300) == 75, (folder / "train_slurm.sh.log").read_text()
    assert (folder / "requeued").read_text() == "7\n"
    reached = max(steps_of(folder / "runs" / "slurm"))
    assert reached < STEPS

    _, job = start(*arguments, SLURM_JOB_ID="7")
    until_step(folder / "runs" / "slurm", reached + 2, job)
    tasks = [int(number) for number in (folder / "tasks").read_text().split()]
    os.kill(tasks[0], signal.SIGKILL)
    log = folder / "train_slurm.sh.log"
    assert job.wait(300) == 0, log.read_text()
    assert "start 1 ended with code 137" in log.read_text()
    assert_whole(folder / "runs" / "slurm")


@pytest.mark.slow
def test_machines_behind_ssh_save_when_asked_and_go_on(start):
    arguments = ("train_ssh.sh", "hosts", *TRAINING, "--run", "runs/ssh")
    folder, process = start(*arguments)
    assert process.wait(60) == 2  # there is no such file
    (folder / "hosts").write_text("127.0.0.1  # the first\n\n127.0.0.2\n")
    _, process = start(*arguments)
    until_step(folder / "runs" / "ssh", 2, process)
    process.terminate()
    log = folder / "train_ssh.sh.log"
    assert process.wait(300) == 75, log.read_text()
    reached = max(steps_of(folder / "runs" / "ssh"))
    assert (folder / "runs/ssh/checkpoints" / f"step-{reached}" / "manifest.json").is_file()
    assert 2 <= reached < STEPS
    assert set((folder / "reached").read_text().split()) == {"127.0.0.1", "127.0.0.2"}

    _, process = start(*arguments)
    assert process.wait(300) == 0, log.read_text()
    assert not list(folder.glob(".g3pt-*.pid"))
    assert_whole(folder / "runs" / "ssh")


def test_the_launch_files_say_how_they_are_used_and_are_clean(start):
    for script in ("train_slurm.sh", "train_ssh.sh"):
        folder, process = start(script)
        assert process.wait(60) == 2
        assert "usage: " in (folder / f"{script}.log").read_text()
        assert os.access(SCRIPTS / script, os.X_OK)
    shellcheck = shutil.which("shellcheck")
    if shellcheck is not None:
        subprocess.run([shellcheck, *SCRIPTS.glob("*.sh")], check=True)
