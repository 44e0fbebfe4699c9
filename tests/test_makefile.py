"""What `make` is going to do, as `make --dry-run` prints it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
INDEX = "https://download.pytorch.org/whl/cpu"

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


def make(*arguments: str, path: str = "") -> "subprocess.CompletedProcess[str]":
    folders = [path, os.environ.get("PATH", "")] if path else [os.environ.get("PATH", "")]
    # Whatever a make around the tests was told is not for this one.
    around = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))
    }
    return subprocess.run(
        ["make", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        env=around | {"PATH": os.pathsep.join(folders)},
    )


@pytest.fixture
def gpu(tmp_path):
    """A folder with an `nvidia-smi` that finds a GPU."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    return str(tmp_path)


def test_torch_without_cuda_is_installed_before_the_package(tmp_path):
    done = make("--dry-run", "install", f"VENV={tmp_path}/env", "TORCH=cpu")
    assert done.returncode == 0, done.stderr
    assert INDEX in done.stdout
    assert done.stdout.index(INDEX) < done.stdout.index("--editable .")
    assert "--constraint constraints.txt" in done.stdout


def test_a_machine_with_a_gpu_takes_the_usual_torch(gpu):
    assert make("--eval", "torch: ; @echo $(TORCH)", "torch", path=gpu).stdout == "default\n"


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="elsewhere no wheel has CUDA")
def test_a_machine_without_one_takes_torch_without_cuda(tmp_path):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nexit 9\n")
    program.chmod(0o755)
    done = make("--eval", "torch: ; @echo $(TORCH)", "torch", path=str(tmp_path))
    assert done.stdout == "cpu\n"


def pip(tmp_path, says):
    """An environment whose interpreter writes its arguments down, and fails as told."""
    folder = tmp_path / "env" / "bin"
    folder.mkdir(parents=True)
    program = folder / "python"
    log = tmp_path / "log"
    program.write_text(f'#!/bin/sh\necho "$*" >> {log}\ncase "$*" in {says}) exit 1;; esac\n')
    program.chmod(0o755)
    return log


@pytest.mark.parametrize("says", ["nothing", "*whl/cpu*"])
def test_the_package_is_installed_whether_or_not_such_a_torch_is_offered(tmp_path, says):
    log = pip(tmp_path, says)
    done = make("install", f"VENV={tmp_path}/env", "TORCH=cpu")
    assert done.returncode == 0, done.stderr
    first, last = log.read_text().splitlines()
    assert INDEX in first and last.endswith("--editable .")
    assert ("taking the usual one" in done.stdout) == (says != "nothing")


def test_another_torch_is_refused_by_name(tmp_path):
    pip(tmp_path, "nothing")
    done = make("install", f"VENV={tmp_path}/env", "TORCH=gpu")
    assert done.returncode != 0 and "TORCH is cpu or default, got gpu" in done.stderr


def test_the_tests_begin_with_torture_on_seeds_of_the_commit(tmp_path):
    done = make("--dry-run", "test", f"VENV={tmp_path}/env", "WORKERS=3")
    assert done.returncode == 0, done.stderr
    assert "g3pt torture --workers 3" in done.stdout
    assert "--seed $(( $(git rev-list --count HEAD 2>/dev/null || echo 0) * 1000 ))" in done.stdout
    assert done.stdout.index("ruff check") < done.stdout.index("g3pt torture")
    assert done.stdout.index("g3pt torture") < done.stdout.index("-m pytest")
