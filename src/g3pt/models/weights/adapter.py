"""Adapter folders: what a finetuning changed of some weights, in a few megabytes.

    adapter.json            the weights that it belongs to, by checksum, and how it was made
    adapter.safetensors     low-rank changes, and embeddings of new words
    words.txt               the new words, one a line, if there are any
    README.md ...           card and credits

An adapter is put into the weights when they are loaded (`load_weights(..., adapter=FOLDER)`), so
that generation costs what it did.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from g3pt.config import load_json, save_json
from g3pt.files import write_tensors_whole, write_whole
from g3pt.hashes import file_sha256
from g3pt.models.adapters import adapt, adapter_tensors, load_adapter_tensors, merge
from g3pt.models.car import Car
from g3pt.models.conditioning.growing import EMBEDDING, with_words
from g3pt.models.sampling import Sampling
from g3pt.models.weights.config import WeightsConfig
from g3pt.models.weights.folder import read_tensors, read_words, require_numbers
from g3pt.models.weights.places import ADAPTER_FILE, WeightsError, check_adapter

TENSORS_FILE = "adapter.safetensors"
WORDS_FILE = "words.txt"


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterConfig:
    """The contents of `adapter.json`."""

    kind: Literal["g3pt-adapter"] = "g3pt-adapter"
    version: Literal[1] = 1
    name: str
    """Name of the adapted weights."""
    base: str
    """Name of the weights that were adapted."""
    base_sha256: str
    """SHA-256 of their `model.safetensors`."""
    rank: int
    scale: float
    """Factor of the low-rank changes."""
    num_words: int = 0
    """New words."""
    words_sha256: str = ""
    sha256: str = ""
    """SHA-256 of `adapter.safetensors`."""
    sampling: Sampling | None = None
    """Sampling settings, if they are not those of the weights."""

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"adapter.rank must be at least 1, got {self.rank}")


def save_adapter(
    folder: str | Path, car: Car, config: AdapterConfig, words: tuple[str, ...] = ()
) -> AdapterConfig:
    """Write the adapter of an adapted generator, as float16; the config is written last.

    Args:
        folder: made if it does not exist.
        car: the generator, adapted by `adapt_car` and not merged.
        config: of which base, with which rank; checksums are filled in.
        words: the new words.

    Returns:
        The config as written.

    Raises:
        WeightsError: if a number does not fit float16.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ADAPTER_FILE).unlink(missing_ok=True)
    stored = {
        name: tensor.cpu().half().contiguous() for name, tensor in adapter_tensors(car).items()
    }
    for name, tensor in stored.items():
        if not bool(tensor.isfinite().all()):
            raise WeightsError(f"{name}: not finite when stored as float16")
    write_tensors_whole(folder / TENSORS_FILE, stored)
    if words:
        write_whole(folder / WORDS_FILE, "".join(f"{word}\n" for word in words))
    else:
        (folder / WORDS_FILE).unlink(missing_ok=True)
    written = replace(
        config,
        num_words=len(words),
        words_sha256=file_sha256(folder / WORDS_FILE) if words else "",
        sha256=file_sha256(folder / TENSORS_FILE),
    )
    save_json(folder / ADAPTER_FILE, written)
    return written


def adapt_car(car: Car, config: AdapterConfig, words: tuple[str, ...]) -> Car:
    """A generator with new words and untrained adapters; it answers as `car` does."""
    grown = with_words(car, words)
    new = len(grown.state_dict()[f"{EMBEDDING}.weight"]) if words else 0
    old = len(car.state_dict()[f"{EMBEDDING}.weight"]) if words else 0
    adapt(grown, rank=config.rank, scale=config.scale, new_rows={EMBEDDING: new - old})
    return grown


def read_adapter(folder: str | Path) -> tuple[AdapterConfig, tuple[str, ...]]:
    """Read the config and the new words of an adapter folder.

    Raises:
        FileNotFoundError: if there is no such folder.
        WeightsError, ConfigError: if it holds no adapter, or a damaged one.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such adapter folder; `g3pt finetune` writes one")
    check_adapter(folder)
    config = load_json(folder / ADAPTER_FILE, AdapterConfig)
    if not config.num_words:
        return config, ()
    words = read_words(folder / WORDS_FILE, config.words_sha256, ADAPTER_FILE)
    if len(words) != config.num_words:
        raise WeightsError(
            f"{folder / WORDS_FILE}: has {len(words)} words, {ADAPTER_FILE} says {config.num_words}"
        )
    return config, words


def apply_adapter(car: Car, folder: str | Path, *, name: str, sha256: str) -> Car:
    """The generator with the changes of an adapter in its weights.

    Args:
        car: the generator of the weights.
        folder: the adapter.
        name: name of the weights, for messages.
        sha256: checksum of the weights.

    Raises:
        FileNotFoundError: if there is no such folder.
        WeightsError: if it belongs to other weights, or is damaged.
    """
    config, words = read_adapter(folder)
    if config.base_sha256 != sha256:
        raise WeightsError(
            f"{folder}: adapts {config.base} with SHA-256 {config.base_sha256[:12]}..., and "
            f"{name} is {sha256[:12]}...: give the weights that it was made from with --weights"
        )
    file = Path(folder) / TENSORS_FILE
    tensors = read_tensors(file, config.sha256)
    for each, tensor in tensors.items():
        require_numbers(f"{file}: {each}", tensor, torch.float32)
    try:
        changed = adapt_car(car, config, words)
    except ValueError as error:
        raise WeightsError(f"{Path(folder) / WORDS_FILE}: {error}") from None
    try:
        load_adapter_tensors(changed, {each: tensor.float() for each, tensor in tensors.items()})
    except ValueError as error:
        raise WeightsError(f"{folder}: {error}") from None
    merge(changed)
    return changed.eval().requires_grad_(False)


def adapted_config(config: WeightsConfig, car: Car, folder: str | Path) -> WeightsConfig:
    """The config of weights with an adapter in them: its name, checksum, sampling and words."""
    own, _ = read_adapter(folder)
    return replace(
        config,
        name=own.name,
        sha256=own.sha256,
        car=car.config,
        sampling=own.sampling or config.sampling,
    )


@torch.no_grad()
def merged_copy(car: Car, trained: Car) -> Car:
    """A plain generator with the weights of an adapted one, which is left as it is.

    Args:
        car: a generator of the same config, whose weights are replaced.
        trained: the adapted one.
    """
    tensors = {
        name.replace(".parametrizations.weight.original", ".weight"): tensor
        for name, tensor in trained.state_dict().items()
        if ".parametrizations.weight.0." not in name
    }
    modules = dict(trained.named_modules())
    for name in tensors:
        layer, _, last = name.rpartition(".")
        if last == "weight" and layer in modules:
            weight = modules[layer].weight
            assert isinstance(weight, Tensor)
            tensors[name] = weight
    car.load_state_dict(tensors)
    return car.eval().requires_grad_(False)
