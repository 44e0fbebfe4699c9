"""What a training ran on: versions, machine and commit."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch


def describe_environment() -> dict[str, Any]:
    """Versions, machine and commit, as kept beside every checkpoint."""
    packages = ("g3pt", "torch", "numpy", "safetensors")
    return {
        "versions": {name: metadata.version(name) for name in packages},
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "commit": _commit(),
    }


def _commit() -> str:
    """The commit of this source tree; `unknown` for an installed package."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return found.stdout.strip()
