"""Waiting threads sleep in every process of ours, unless the user wants something else."""

import os
import re
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "g3pt"


def rounds_that_threads_spin(code: str, policy: str | None) -> int:
    """Run code that loads torch: how often its threads look again before they sleep.

    GNU OpenMP says it. The policy that it says is PASSIVE by default, where threads spin as well.
    """
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment["OMP_DISPLAY_ENV"] = "VERBOSE"
    if policy is not None:
        environment["OMP_WAIT_POLICY"] = policy
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = re.search(r"GOMP_SPINCOUNT\s*=\s*'(\d+)", done.stderr)
    if found is None:
        pytest.skip("torch is built with another OpenMP, which does not say how its threads wait")
    return int(found.group(1))


def test_threads_of_the_command_line_sleep_unless_told_otherwise() -> None:
    code = """
import sys
from g3pt.cli.main import main
assert main(["no-such-command"]) == 2
assert "torch" not in sys.modules
import torch
"""
    assert rounds_that_threads_spin("import torch", None) > 0
    assert rounds_that_threads_spin(code, None) == 0
    assert rounds_that_threads_spin(code, "ACTIVE") > 0


def test_threads_of_workers_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    from g3pt.processes import worker_context

    monkeypatch.delenv("OMP_WAIT_POLICY")
    with ProcessPoolExecutor(1, worker_context()) as pool:
        assert pool.submit(os.getenv, "OMP_WAIT_POLICY").result(timeout=60) == "PASSIVE"


@pytest.mark.parametrize("kind", [KeyboardInterrupt, GeneratorExit])
def test_workers_do_not_finish_what_nobody_waits_for(kind: type[BaseException]) -> None:
    from g3pt.processes import worker_pool

    with pytest.raises(kind), worker_pool(1) as pool:
        worker = pool.submit(os.getpid).result(timeout=60)
        task = pool.submit(time.sleep, 30)
        while not task.running():
            time.sleep(0.01)
        raise kind
    assert isinstance(task.exception(), BrokenProcessPool)
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


def test_workers_finish_what_they_are_at_when_something_else_fails() -> None:
    from g3pt.processes import worker_pool

    with pytest.raises(ValueError, match="elsewhere"), worker_pool(1) as pool:
        task = pool.submit(os.getpid)
        raise ValueError("elsewhere")
    assert task.result(timeout=0)


def test_workers_end_with_a_process_that_is_killed() -> None:
    code = """
import os, time
from g3pt.processes import worker_pool
with worker_pool(1) as pool:
    print(pool.submit(os.getpid).result(), flush=True)
    pool.submit(time.sleep, 1000)
    os.kill(os.getpid(), 9)
"""
    # The worker has the same stdout: its end is read only when both have ended.
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, timeout=300)
    assert done.returncode == -9 and int(done.stdout) > 0


def test_workers_are_started_in_one_way() -> None:
    others = [
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if path.name != "processes.py"
        and re.search(r"import multiprocessing|get_context", path.read_text())
    ]

    assert others == []
