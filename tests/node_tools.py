"""Readers of glTF that are not ours, run in Node: `npm install --prefix tests/node` brings them."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "node"


def run_node(script: str, *arguments: object) -> list:
    """The JSON lines that a script of `tests/node` prints; skips where its package is missing."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node")
    folders = [str(FOLDER / "node_modules"), os.environ.get("NODE_PATH", "")]
    environment = {**os.environ, "NODE_PATH": os.pathsep.join(filter(None, folders))}
    done = subprocess.run(
        [node, str(FOLDER / script), *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    if "MODULE_NOT_FOUND" in done.stderr:
        pytest.skip("a package is missing: npm install --prefix tests/node")
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def assert_valid_gltf(*paths: Path) -> None:
    """Let the Khronos validator find no error and no warning in any of the files."""
    reports = run_node("validate.js", *paths)
    assert len(reports) == len(paths)
    for report in reports:
        issues = report["issues"]
        assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), report
