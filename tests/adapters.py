"""An adapter with random numbers, for tests of what loads one."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from g3pt.models.car import Car
    from g3pt.models.weights.load import LoadedWeights


def write_adapter(
    weights: Path, folder: Path, words: tuple[str, ...] = ("gizmo", "blue")
) -> tuple["LoadedWeights", "Car"]:
    """Write an adapter called `mine`; returns the weights and the adapted generator."""
    from g3pt.models.weights.adapter import AdapterConfig, adapt_car, save_adapter
    from g3pt.models.weights.load import load_weights

    loaded = load_weights(weights, "cpu")
    assert loaded.car is not None
    config = AdapterConfig(
        name="mine", base=loaded.name, base_sha256=loaded.sha256, rank=2, scale=1.0
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        car = adapt_car(loaded.car, config, words)
        with torch.no_grad():
            for each in car.parameters():
                if each.requires_grad:
                    each.copy_((torch.randn_like(each) * 0.1).half())
    save_adapter(folder, car, config, words)
    return loaded, car
