"""What a number says of the code that made it."""

import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import g3pt.versions

GIT = shutil.which("git")


def ask(folder: Path) -> str:
    """What a copy of the module in `folder` says."""
    code = "import runpy; print(runpy.run_path('versions.py')['code_version']())"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    return found.stdout.strip()


@pytest.mark.skipif(GIT is None, reason="needs git")
def test_a_commit_is_named_and_changes_are_not_hidden(tmp_path: Path):
    shutil.copy(Path(g3pt.versions.__file__), tmp_path / "versions.py")
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    commit = head.stdout.strip()
    assert ask(tmp_path) == commit
    with (tmp_path / "versions.py").open("a") as file:
        file.write("# changed\n")
    assert ask(tmp_path) == f"{commit}+changes"


def test_a_copy_that_no_commit_holds_gives_the_version(tmp_path: Path):
    shutil.copy(Path(g3pt.versions.__file__), tmp_path / "versions.py")
    assert ask(tmp_path) == metadata.version("g3pt")
