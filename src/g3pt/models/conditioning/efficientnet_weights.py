"""The bundled weights of EfficientNet-Lite0, made by `efficientnet_conversion.py`."""

from functools import lru_cache
from pathlib import Path

import torch
from safetensors import safe_open

from g3pt.models.conditioning.efficientnet import EfficientNetLite0
from g3pt.models.weights.bundled import check_file, package_file
from g3pt.models.weights.compact import expand

BUNDLED_SHA256 = "7c359268f59f87993cc3f57b7f0897d4032e5ba7c4040ca75f731a79521ed478"
"""SHA-256 of the bundled file. Configs hold it, so that equal configs mean equal features."""


def bundled_file() -> Path:
    """Path of the bundled weights."""
    return package_file("efficientnet-lite0", "model.safetensors")


def check_bundled(sha256: str) -> None:
    """Check that the bundled network has this checksum.

    Raises:
        FileNotFoundError, ValueError: as `check_file`.
    """
    check_file(bundled_file(), sha256, field="efficientnet.sha256", what="picture network")


@lru_cache(maxsize=4)
def load_efficientnet(
    sha256: str, device: torch.device, dtype: torch.dtype = torch.float32
) -> EfficientNetLite0:
    """The frozen network with this checksum; the same object for the same arguments.

    Raises:
        FileNotFoundError, ValueError: as `check_bundled`.
    """
    check_bundled(sha256)
    with safe_open(bundled_file(), framework="pt") as file:
        stored = {name: file.get_tensor(name) for name in file.keys()}
    # Building a model draws initial values, which must not advance the caller's random state.
    with torch.random.fork_rng(devices=[]):
        network = EfficientNetLite0()
    network.load_state_dict({name: tensor.float() for name, tensor in expand(stored).items()})
    network.eval().requires_grad_(False)
    return network.to(device, dtype)
