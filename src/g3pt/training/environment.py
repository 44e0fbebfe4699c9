"""What a training ran on: versions, machine and commit."""

import os
import platform
from importlib import metadata
from typing import Any

import torch

from g3pt.versions import code_version


def describe_environment() -> dict[str, Any]:
    """Versions, machine and commit, as stored with every checkpoint."""
    packages = ("g3pt", "torch", "numpy", "safetensors")
    return {
        "versions": {name: metadata.version(name) for name in packages},
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "commit": code_version(),
    }
