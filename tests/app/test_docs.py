"""The examples of docs/app.md run as they stand, against a server with untrained weights."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from served import Running, running, tiny_settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "app.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture(scope="module")
def four(tiny_weights: Path, tmp_path_factory) -> Iterator[Running]:
    """A server with the usual limits, and a helper that is awake."""
    settings = tiny_settings(tiny_weights, tmp_path_factory.mktemp("docs"), max_per_client=4)
    with running(settings) as found:
        yield found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    return tmp_path


def test_the_examples_run_in_their_order(four: Running, folder: Path) -> None:
    if shutil.which("curl") is None or shutil.which("bash") is None:
        pytest.skip("there is no curl, or no bash")
    script = "set -eu\n" + "".join(f"{block}\necho\n" for block in blocks("bash"))
    script = script.replace("127.0.0.1:8000", f"127.0.0.1:{four.port}")
    script = script.replace("=64", "=16").replace('": 64', '": 16').replace('\\": 64', '\\": 16')
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, capture_output=True, text=True, timeout=120
    )

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert '"there is no such field"' in done.stdout.replace("'", '"')
    for name in ("chair.glb", "chair.3mf", "chair.stl", "chair.png", "chair-1.glb", "cutout.png"):
        assert (folder / name).stat().st_size > 0
    for job in four.jobs.store.listed():
        state = four.wait(job.id)
        assert state["status"] == "done", state


def test_the_example_in_python_runs(four: Running, folder: Path) -> None:
    (block,) = blocks("python")
    block = block.replace("127.0.0.1:8000", f"127.0.0.1:{four.port}").replace("=64", "=16")
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", block],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    assert "done" in done.stdout and (folder / "chair.3mf").is_file()


def test_every_address_has_an_example() -> None:
    from g3pt.app.requests import PLURALS

    examples = "\n".join(blocks("bash"))
    for plural in PLURALS.values():
        assert f"/v1/3d/{plural}" in examples
    for form in ("glb", "obj", "stl", "ply", "3mf", "g3t", "png"):
        assert f"/result.{form}" in examples
