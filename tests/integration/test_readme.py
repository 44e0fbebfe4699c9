"""The commands and the Python of the README run as they stand there."""

import os
import re
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INSTALLS = ("pip", "make", "git", "cd")


def fenced_blocks(language: str) -> list[str]:
    text = (ROOT / "README.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    lines = "\n".join(fenced_blocks("bash")).replace("\\\n", " ").splitlines()
    return [line for line in lines if line and line.split()[0] not in INSTALLS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder that sees the examples; later commands find what earlier ones wrote."""
    from g3pt.models.weights.folder import bundled_weights

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
    assert len(commands()) >= 4
    for command in commands():
        done = run(shlex.split(command), folder)
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


def test_python_of_the_readme_runs(folder: Path) -> None:
    blocks = fenced_blocks("python")
    assert blocks
    for block in blocks:
        done = run([sys.executable, "-c", block], folder)
        assert done.returncode == 0, done.stderr[-2000:]
