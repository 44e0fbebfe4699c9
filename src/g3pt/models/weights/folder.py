"""The files of a weights folder: how tensors are stored and read.

Nothing is ever unpickled. The config is read strictly, tensors and words are checked against the
SHA-256 in it, and names and shapes must be exactly those of the model that the config describes.
The words of a text condition are a file of their own, one per line.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from g3pt.config import load_json, save_json
from g3pt.files import (
    MAX_JSON_BYTES,
    check_plain,
    read_plain,
    read_text,
    write_tensors_whole,
    write_whole,
)
from g3pt.hashes import file_sha256
from g3pt.models.conditioning.text import TextConditionConfig
from g3pt.models.weights.config import (
    RETIRED,
    RegressorWeightsConfig,
    StorageType,
    WeightsConfig,
)
from g3pt.models.weights.places import (
    CONFIG_FILE,
    MODEL_FILE,
    VOCABULARY_FILE,
    WeightsError,
    pickle_advice,
)

MAX_VOCABULARY_BYTES = 64 * 2**20

ConfigT = TypeVar("ConfigT", WeightsConfig, RegressorWeightsConfig)


# --- files ------------------------------------------------------------------------------------


def write_tensors(folder: Path, tensors: dict[str, Tensor]) -> str:
    """Replace the model file of a folder and return its checksum.

    The config is removed first, so that an old config is never read with new tensors.
    """
    write_tensors_whole(
        folder / MODEL_FILE,
        tensors,
        before_replacing=lambda: (folder / CONFIG_FILE).unlink(missing_ok=True),
    )
    return file_sha256(folder / MODEL_FILE)


def write_beside(folder: Path, contents: Mapping[str, str | Path | None]) -> None:
    """Write card, evaluation and similar files next to the weights.

    Args:
        folder: the weights folder.
        contents: by file name: a file to copy (Path), text (str), or None to write nothing.
    """
    for name, content in contents.items():
        if isinstance(content, Path):
            write_whole(folder / name, read_plain(content, MAX_JSON_BYTES, WeightsError))
        elif content is not None:
            write_whole(folder / name, content)


def stored_tensors(prefix: str, module: nn.Module, storage: StorageType) -> dict[str, Tensor]:
    """The tensors of a module in their storage format, named `prefix.NAME`.

    Raises:
        WeightsError: if one is not finite in that format.
    """
    dtype: torch.dtype = getattr(torch, storage)
    tensors: dict[str, Tensor] = {}
    for name, tensor in module.state_dict().items():
        value = tensor.detach().cpu()
        if value.is_floating_point():
            value = value.to(dtype)
            if not bool(value.isfinite().all()):
                raise WeightsError(f"{prefix}.{name}: not finite when stored as {storage}")
        tensors[f"{prefix}.{name}"] = value.contiguous().clone()
    return tensors


def write_config(folder: Path, config: ConfigT) -> ConfigT:
    """Write the config and, if a text condition has a vocabulary, the file of its words.

    Returns:
        The config as `read_config` gives it.

    Raises:
        WeightsError: if a word does not fit into a line, or two models have different words.
    """
    file = folder / VOCABULARY_FILE
    vocabularies = {condition.vocabulary for condition in _text_conditions(config)}
    if len(vocabularies) > 1:
        raise WeightsError(f"{file}: holds one vocabulary, and these models have several")
    words = next(iter(vocabularies), ())
    for word in words:
        if not word or "\n" in word:
            raise WeightsError(f"{file}: holds a word a line, which {word!r} cannot be")
    if words:
        write_whole(file, "".join(f"{word}\n" for word in words))
    else:
        file.unlink(missing_ok=True)
    written = replace(config, vocabulary_sha256=file_sha256(file) if words else "")
    save_json(folder / CONFIG_FILE, _with_words(written, ()))
    return written


def read_config(folder: Path, kind: type[ConfigT]) -> ConfigT:
    """Read the config of a weights folder, including the words of its text condition.

    Raises:
        WeightsError, ConfigError: if there is none, or it is of another kind.
    """
    missing = [name for name in (CONFIG_FILE, MODEL_FILE) if not (folder / name).is_file()]
    if missing:
        raise WeightsError(
            f"{folder}: is not a weights folder, it has no {' and no '.join(missing)}"
            f"{pickle_advice(folder.iterdir())}"
        )
    config = load_json(folder / CONFIG_FILE, kind, retired=RETIRED)
    if not config.vocabulary_sha256:
        return config
    if [condition.vocabulary for condition in _text_conditions(config)] != [()]:
        raise WeightsError(
            f"{folder / CONFIG_FILE}: vocabulary_sha256 says that {VOCABULARY_FILE} holds the "
            "words of a text condition; expected one condition of kind text that lists none itself"
        )
    words = read_words(folder / VOCABULARY_FILE, config.vocabulary_sha256, CONFIG_FILE)
    try:
        return _with_words(config, words)
    except ValueError as error:
        raise WeightsError(f"{folder / VOCABULARY_FILE}: {error}") from None


def read_words(file: Path, sha256: str, config_file: str) -> tuple[str, ...]:
    """Read a file of words, one a line, and check its checksum.

    Args:
        file: the words.
        sha256: its checksum.
        config_file: name of the file beside it that has the checksum.

    Raises:
        WeightsError: if it is missing, damaged, too large, or no text.
    """
    if file.is_file():
        check_plain(file, MAX_VOCABULARY_BYTES, WeightsError)  # before all of it is hashed
    if not file.is_file() or file_sha256(file) != sha256:
        what = "is damaged or of other weights" if file.is_file() else "is missing"
        raise WeightsError(
            f"{file}: {what}; {config_file} has the SHA-256 of a file of words, one a line. Copy "
            "or download the folder again"
        )
    text = read_text(file, WeightsError, most=MAX_VOCABULARY_BYTES)
    return tuple(text.removesuffix("\n").split("\n"))


def _models(config: WeightsConfig | RegressorWeightsConfig) -> dict[str, Any]:
    """Configs of the models that have conditions, by their field."""
    models = {name: getattr(config, name, None) for name in ("car", "flow", "regressor")}
    return {name: model for name, model in models.items() if model is not None}


def _text_conditions(
    config: WeightsConfig | RegressorWeightsConfig,
) -> list[TextConditionConfig]:
    conditions = [each for model in _models(config).values() for each in model.conditions]
    return [each for each in conditions if isinstance(each, TextConditionConfig)]


def _with_words(config: ConfigT, words: tuple[str, ...]) -> ConfigT:
    """The config with these words in its text conditions."""

    def fill(condition: object) -> object:
        if isinstance(condition, TextConditionConfig):
            return replace(condition, vocabulary=words)
        return condition

    models = {
        name: replace(model, conditions=tuple(map(fill, model.conditions)))
        for name, model in _models(config).items()
    }
    return replace(config, **models)


def read_tensors(path: Path, sha256: str) -> dict[str, Tensor]:
    """Read all tensors of a model file and check its checksum.

    Raises:
        WeightsError: if the file is damaged or has another checksum.
    """
    if file_sha256(path) != sha256:
        raise WeightsError(
            f"{path}: is damaged or of other weights, its SHA-256 is not the one in {CONFIG_FILE}; "
            "copy or download the folder again"
        )
    try:
        return load_file(path)
    except SafetensorError as error:
        raise WeightsError(f"{path}: is not a safetensors file ({error})") from None


def fill_all(parts: dict[str, nn.Module], tensors: dict[str, Tensor], folder: Path) -> None:
    """Copy tensors into the modules whose names they begin with; freeze them, in evaluation mode.

    Raises:
        WeightsError: if names or shapes are not exactly those of the modules.
    """
    for name, part in parts.items():
        _fill(part, name, tensors, folder)
    if any(name.split(".")[0] not in parts for name in tensors):
        raise WeightsError(f"{folder / MODEL_FILE}: holds tensors that the config does not name")


def require_numbers(where: str, tensor: Tensor, wanted: torch.dtype) -> None:
    """Check that a tensor holds finite numbers that can be converted to a type without a loss.

    Raises:
        WeightsError: beginning with `where`, if it does not.
    """
    if tensor.is_floating_point() != wanted.is_floating_point or tensor.is_complex():
        raise WeightsError(f"{where} holds numbers of {tensor.dtype}, expected some of {wanted}")
    if not bool(tensor.isfinite().all()):
        raise WeightsError(
            f"{where} holds numbers that are not finite; copy or export the folder again"
        )


def _fill(module: nn.Module, prefix: str, tensors: dict[str, Tensor], folder: Path) -> None:
    """Copy tensors into a module, whose names and shapes they must match exactly."""
    given = {
        name.removeprefix(f"{prefix}."): tensor
        for name, tensor in tensors.items()
        if name.startswith(f"{prefix}.")
    }
    wanted = module.state_dict()
    if odd := sorted(set(wanted) ^ set(given)):
        what = "lacks" if odd[0] in wanted else "has the unknown"
        raise WeightsError(
            f"{folder / MODEL_FILE}: {what} tensor {prefix}.{odd[0]} "
            f"({len(odd)} differ from what {CONFIG_FILE} describes)"
        )
    for name, tensor in given.items():
        where = f"{folder / MODEL_FILE}: {prefix}.{name}"
        if tensor.shape != wanted[name].shape:
            raise WeightsError(
                f"{where} has shape {tuple(tensor.shape)}, "
                f"{CONFIG_FILE} asks for {tuple(wanted[name].shape)}"
            )
        require_numbers(where, tensor, wanted[name].dtype)
    module.load_state_dict(given)
    module.eval().requires_grad_(False)
