"""A host that is lost costs the steps since the last checkpoint, and changes nothing."""

import os
import shutil
import subprocess
import sys
from itertools import pairwise

import hosts
import pytest
import worker

from g3pt.training.tracking import read_metrics

pytestmark = [pytest.mark.distributed, pytest.mark.slow]


def run(scenario, folder, *before):
    """Run a program of `hosts.py`; return what the launchers said, by host."""
    process = subprocess.run(
        [*before, sys.executable, hosts.__file__, scenario, folder],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return {name: (folder / f"{name}.log").read_text() for name in ("one", "two")}


def assert_undisturbed(folder):
    """Losses are those of one process that nobody disturbed."""
    worker.toy_run(folder / "whole", 1)
    for kind, name in (("train", "loss"), ("evaluation", "error")):
        whole, lost = (
            [(line["step"], line[name]) for line in read_metrics(file) if line["kind"] == kind]
            for file in (folder / "whole" / "metrics.jsonl", folder / "run" / "metrics.jsonl")
        )
        assert [step for step, _ in lost] == [step for step, _ in whole]
        assert [loss for _, loss in lost] == pytest.approx([loss for _, loss in whole], abs=1e-6)


def without_namespaces():
    """Why no hosts can be made here; empty if they can."""
    if missing := [name for name in ("ip", "unshare", "mount") if shutil.which(name) is None]:
        return f"{', '.join(missing)} is not installed"
    tried = subprocess.run(
        [*hosts.UNSHARE, "sh", "-c", "mount -t tmpfs none /run && ip netns add one"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"no right to make network namespaces: {tried.stderr}" if tried.returncode else ""


def test_two_hosts_notice_a_cut_cable_and_go_on_when_the_second_is_back(tmp_path):
    if reason := without_namespaces():
        pytest.skip(reason)
    said = run("cut", tmp_path, *hosts.UNSHARE)
    assert " on two): no sign of life for 8 s. Rank 0 leaves" in said["one"]
    assert "store of the process group gave no answer for 8 s. Rank 1 leaves" in said["two"]
    assert_undisturbed(tmp_path)


def test_one_host_goes_on_alone_and_the_other_joins_again(tmp_path):
    run("elastic", tmp_path)
    sizes = (tmp_path / "steps.txt").read_text().split()
    changes = [sizes[0], *(b for a, b in pairwise(sizes) if a != b)]
    assert changes == ["2", "1", "2"]
    assert_undisturbed(tmp_path)
