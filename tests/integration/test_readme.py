"""The commands and the Python of the README run as they stand there."""

import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from pages import ROOT, commands, fenced_blocks

INSTALLS = ("pip", "make", "git", "cd")


def own_commands() -> list[str]:
    return [line for line in commands("README.md") if line.split()[0] not in INSTALLS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder that sees the examples; later commands find what earlier ones wrote."""
    from g3pt.models.weights.places import bundled_weights

    if not bundled_weights():
        pytest.skip("this checkout has no bundled weights")
    empty = tmp_path_factory.mktemp("readme")
    (empty / "examples").symlink_to(ROOT / "examples")
    return empty


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    return subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PATH": path, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_commands_of_the_readme_run_in_their_order(folder: Path) -> None:
    assert len(own_commands()) >= 4
    for command in own_commands():
        done = run(shlex.split(command), folder)
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


def test_python_of_the_readme_runs(folder: Path) -> None:
    blocks = fenced_blocks("README.md", "python")
    assert blocks
    for block in blocks:
        done = run([sys.executable, "-c", block], folder)
        assert done.returncode == 0, done.stderr[-2000:]
