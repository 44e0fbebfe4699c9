"""What is slow to make and only read is made once for all processes of a test run."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder `name`, filled by the first process of pytest-xdist that asks for it.

    Args:
        factory: of the process.
        name: of the folder, the same in all processes; nothing else may have it.
        make: fills the folder, which is there and empty.

    Returns:
        The folder, which belongs to all processes: tests only read it.
    """
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # a process has a folder of its own below that of the run
    folder = root / "shared" / name
    folder.parent.mkdir(exist_ok=True)
    finished = folder.with_name(f"{name}.finished")
    with FileLock(folder.with_name(f"{name}.lock")):
        if not finished.exists():
            folder.mkdir()
            make(folder)
            finished.touch()
    return folder
