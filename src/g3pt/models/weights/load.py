"""Save models to a weights folder and load them from one (`folder.py`)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from g3pt.files import MAX_CONFIG_BYTES, read_json, whole_folder
from g3pt.hashes import tensors_sha256
from g3pt.models.car import Car
from g3pt.models.devices import resolve_device
from g3pt.models.rivals.flow import Flow
from g3pt.models.rivals.regressor import Regressor
from g3pt.models.tokenizer import Tokenizer
from g3pt.models.tokenizers import build_tokenizer
from g3pt.models.weights.adapter import adapted_config, apply_adapter
from g3pt.models.weights.building import building
from g3pt.models.weights.compact import compact, expand
from g3pt.models.weights.config import RegressorWeightsConfig, WeightsConfig
from g3pt.models.weights.folder import (
    ConfigT,
    fill_all,
    read_config,
    read_tensors,
    stored_tensors,
    write_beside,
    write_config,
    write_tensors,
)
from g3pt.models.weights.places import (
    ATTRIBUTION_FILE,
    CARD_FILE,
    CONFIG_FILE,
    EVALUATION_FILE,
    LICENCE_FILE,
    MODEL_FILE,
    WeightsError,
    find_weights,
)
from g3pt.models.weights.precision import DtypeName, cast_weights, resolve_dtype

DEFAULT_WEIGHTS = "g3pt-small"


@dataclass(frozen=True, eq=False)
class LoadedRegressor:
    """A regressor on a device, in evaluation mode."""

    config: RegressorWeightsConfig
    regressor: Regressor


@dataclass(frozen=True, eq=False)
class LoadedWeights:
    """Models on a device, in evaluation mode, and their origin."""

    config: WeightsConfig
    tokenizer: Tokenizer
    car: Car | None
    fingerprint: str
    """SHA-256 of the tokenizer's tensors as stored; equal fingerprints mean equal tokens."""
    flow: Flow | None = None
    folder: Path | None = None
    """The weights folder."""
    rounded: bool = False
    """Whether the generator was cast to a number format that is coarser than the stored one."""

    @property
    def name(self) -> str:
        """Name in the config."""
        return self.config.name

    @property
    def sha256(self) -> str:
        """SHA-256 of `model.safetensors`."""
        return self.config.sha256

    @property
    def device(self) -> torch.device:
        """Device of the models."""
        return next(self.tokenizer.parameters()).device


def save_weights(
    folder: str | Path,
    tokenizer: Tokenizer,
    car: Car | None = None,
    *,
    flow: Flow | None = None,
    config: WeightsConfig,
    card: str | Path | None = None,
    evaluation: str | Path | None = None,
    attribution: str | Path | None = None,
    licence: str | Path | None = None,
) -> WeightsConfig:
    """Write a weights folder; the config is written last, so that an incomplete one does not load.

    Args:
        folder: created if it does not exist; files in it are replaced.
        tokenizer: stage 1.
        car: stage 2, if there is one.
        flow: the diffusion rival, if there is one.
        config: name, storage format and settings; its model configs and checksum are replaced by
            those of the models given.
        card: model card, as a file to copy (Path) or as text (str).
        evaluation: evaluation JSON, given as the card is.
        attribution: whose work the weights were trained on, given as the card is.
        licence: text of the licence, given as the card is.

    Returns:
        The config as written.

    Raises:
        WeightsError: if a weight is not finite in the storage format.
    """
    tensors = stored_tensors("tokenizer", tokenizer, config.storage)
    if car is not None:
        tensors |= stored_tensors("car", car, config.storage)
    if flow is not None:
        tensors |= stored_tensors("flow", flow, config.storage)
    folder = Path(folder)
    written = replace(
        config,
        tokenizer=tokenizer.config,
        car=None if car is None else car.config,
        flow=None if flow is None else flow.config,
    )
    stored = compact(tensors, config.compact)
    return _write(folder, stored, written, _beside(card, evaluation, attribution, licence))


def save_regressor_weights(
    folder: str | Path,
    regressor: Regressor,
    *,
    config: RegressorWeightsConfig,
    card: str | Path | None = None,
    evaluation: str | Path | None = None,
    attribution: str | Path | None = None,
    licence: str | Path | None = None,
) -> RegressorWeightsConfig:
    """Write the folder of a regressor; arguments as in `save_weights`.

    Raises:
        WeightsError: if a weight is not finite in the storage format.
    """
    folder = Path(folder)
    stored = stored_tensors("regressor", regressor, config.storage)
    written = replace(config, regressor=regressor.config)
    return _write(folder, stored, written, _beside(card, evaluation, attribution, licence))


def _write(
    folder: Path,
    tensors: dict[str, Tensor],
    config: ConfigT,
    beside: Mapping[str, str | Path | None],
) -> ConfigT:
    """Write all files of a weights folder, and return the config with the checksum."""
    with whole_folder(folder, parents=True) as place:
        sha256 = write_tensors(place, tensors)
        write_beside(place, beside)
        return write_config(place, replace(config, sha256=sha256))


def _beside(
    card: str | Path | None,
    evaluation: str | Path | None,
    attribution: str | Path | None,
    licence: str | Path | None,
) -> dict[str, str | Path | None]:
    return {
        CARD_FILE: card,
        EVALUATION_FILE: evaluation,
        ATTRIBUTION_FILE: attribution,
        LICENCE_FILE: licence,
    }


def load_weights(
    weights: str | Path = DEFAULT_WEIGHTS,
    device: str | torch.device = "auto",
    *,
    dtype: DtypeName | torch.dtype = "float32",
    adapter: str | Path | None = None,
) -> LoadedWeights:
    """Load a weights folder, or bundled weights by name.

    Args:
        weights: a folder that `save_weights` wrote, a name such as `g3pt-small`, or
            `hub:OWNER/NAME[@REVISION]` on the Hugging Face hub.
        device: `auto`, `cpu`, `cuda`, `mps` or a torch device.
        dtype: number format of the generator, see `resolve_dtype`; the tokenizer's is float32.
        adapter: folder of an adapter for these weights (`g3pt finetune`); its changes are put into
            the generator.

    Raises:
        FileNotFoundError: if there is neither such a folder nor such a name.
        WeightsError: if the folder is not a weights folder, or its contents do not fit together.
        ValueError: if this machine has no such device, or the number format is not supported.
    """
    target = resolve_device(device)
    number_format = resolve_dtype(dtype, target)
    folder = find_weights(weights)
    config = read_config(folder, WeightsConfig)
    tensors = read_tensors(folder / MODEL_FILE, config.sha256)
    with building(tensors, folder):
        tokenizer = build_tokenizer(config.tokenizer)
        car = None if config.car is None else Car(config.car)
        flow = None if config.flow is None else Flow(config.flow)
    parts = {"tokenizer": tokenizer, "car": car, "flow": flow}
    present = {name: part for name, part in parts.items() if part is not None}
    try:
        expanded = expand(tensors)
    except ValueError as error:
        raise WeightsError(f"{folder / MODEL_FILE}: {error}") from None
    fill_all(present, expanded, folder)
    if adapter is not None:
        if car is None:
            raise WeightsError(f"{adapter}: adapts a generator, and {config.name} holds none")
        car = apply_adapter(car, adapter, name=config.name, sha256=config.sha256)
        config = adapted_config(config, car, adapter)
    if car is not None:
        cast_weights(car, number_format)
    of_tokenizer = {name: each for name, each in tensors.items() if name.startswith("tokenizer.")}
    return LoadedWeights(
        config=config,
        tokenizer=tokenizer.to(target),
        car=None if car is None else car.to(target),
        flow=None if flow is None else flow.to(target),
        fingerprint=tensors_sha256(of_tokenizer),
        folder=folder,
        rounded=number_format != torch.float32,
    )


def load_regressor_weights(
    weights: str | Path, device: str | torch.device = "auto"
) -> LoadedRegressor:
    """Load the folder of a regressor; arguments and errors as in `load_weights`."""
    target = resolve_device(device)
    folder = find_weights(weights)
    config = read_config(folder, RegressorWeightsConfig)
    tensors = read_tensors(folder / MODEL_FILE, config.sha256)
    with building(tensors, folder):
        regressor = Regressor(config.regressor)
    fill_all({"regressor": regressor}, tensors, folder)
    return LoadedRegressor(config, regressor.to(target))


def holds_regressor(weights: str | Path) -> bool:
    """Whether a weights folder is that of a regressor.

    Raises:
        FileNotFoundError, WeightsError: if there is no weights folder.
    """
    path = find_weights(weights) / CONFIG_FILE
    data = read_json(path, WeightsError, most=MAX_CONFIG_BYTES)
    return isinstance(data, dict) and data.get("kind") == "g3pt-regressor"
