"""Hostile adapter folders, beside weights that are sound."""

import tempfile
from functools import lru_cache
from pathlib import Path

import torch

from g3pt.config import ConfigError
from g3pt.models.car import Car
from g3pt.models.weights.adapter import (
    TENSORS_FILE,
    WORDS_FILE,
    AdapterConfig,
    adapt_car,
    apply_adapter,
    save_adapter,
)
from g3pt.models.weights.load import load_weights
from g3pt.models.weights.places import ADAPTER_FILE, WeightsError
from g3pt.torture.signed_folders import SignedFolders
from g3pt.torture.weights_folders import sound_folder

NEW_WORDS = ("gizmo", "blue")


class Adapters(SignedFolders):
    """Adapters of a finetuning."""

    name = "adapters"
    promise = (
        "an adapter is put whole and finite into the weights that it was made from, or refused"
    )
    errors = (WeightsError, ConfigError, FileNotFoundError)
    config_file, tensors_file, words_file = ADAPTER_FILE, TENSORS_FILE, WORDS_FILE
    words_field = "words_sha256"

    def sound(self) -> dict[str, bytes]:
        """An adapter with random numbers."""
        return sound_adapter()

    def enter(self, path: Path) -> None:
        """Put it into the weights; look at every number."""
        car, sha256 = _base()
        changed = apply_adapter(car, path, name="untrained", sha256=sha256)
        for name, tensor in changed.state_dict().items():
            assert bool(torch.isfinite(tensor).all()), f"{name} is not finite"


@lru_cache(maxsize=1)
def _base() -> tuple[Car, str]:
    """The generator that is adapted, and the checksum of its weights."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in sound_folder().items():
            (Path(folder) / name).write_bytes(content)
        loaded = load_weights(folder, "cpu")
    assert loaded.car is not None
    return loaded.car, loaded.sha256


@lru_cache(maxsize=1)
def sound_adapter() -> dict[str, bytes]:
    """The files of an adapter, some ten kilobytes."""
    base, sha256 = _base()
    config = AdapterConfig(name="mine", base="untrained", base_sha256=sha256, rank=2, scale=1.0)
    with torch.random.fork_rng(devices=[]), tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        car = adapt_car(base, config, NEW_WORDS)
        with torch.no_grad():
            for each in car.parameters():
                if each.requires_grad:
                    each.normal_(std=0.1)
        save_adapter(folder, car, config, NEW_WORDS)
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}
