"""Weights folders: `model.safetensors`, `config.json`, and beside them a card and its numbers.

Nothing is ever unpickled. The config is read strictly, the tensors are checked against the
SHA-256 in it, and names and shapes must be exactly those of the model that the config describes.
"""

import hashlib
import json
import shutil
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Literal, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from g3pt.config import load_json, save_json
from g3pt.models.car import Car, CarConfig
from g3pt.models.compact import compact, expand
from g3pt.models.contract import Tokenizer
from g3pt.models.guidance import GuidanceSchedule, guidance_per_scale
from g3pt.models.precision import DtypeName, cast_weights, resolve_dtype
from g3pt.models.rivals.flow import Flow, FlowConfig
from g3pt.models.rivals.regressor import Regressor, RegressorConfig
from g3pt.models.tokenizers import TokenizerConfig, build_tokenizer

DEFAULT_WEIGHTS = "g3pt-small"
MODEL_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
CARD_FILE = "README.md"
EVALUATION_FILE = "evaluation.json"
HUB_PREFIX = "hub:"

StorageType = Literal["float32", "float16", "bfloat16"]
ConfigT = TypeVar("ConfigT")


class WeightsError(ValueError):
    """A weights folder that is incomplete, damaged, or of another model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingDefaults:
    """How tokens are sampled when nobody says otherwise; chosen with the weights."""

    guidance: float = 2.0
    """Classifier-free guidance at the finest scale; 1 is none."""

    guidance_schedule: GuidanceSchedule = "ramp"
    """How it reaches the other scales."""

    guidance_by_scale: tuple[float, ...] = ()
    """Guidance of every scale, coarsest first, in place of the two; empty leaves it to them."""

    temperature: float = 1.0
    top_k: int = 0
    """Entries kept per token; 0 keeps all."""

    top_p: float = 0.95
    """Probability mass kept per token; 1 keeps all."""

    num_scales: int = 0
    """Scales that are sampled; 0 is all."""

    def guidance_of(self, num_scales: int) -> tuple[float, ...]:
        """Guidance of each scale, coarsest first.

        Raises:
            ValueError: if `guidance_by_scale` names another number of scales.
        """
        if not self.guidance_by_scale:
            return guidance_per_scale(self.guidance, num_scales, self.guidance_schedule)
        if len(self.guidance_by_scale) != num_scales:
            raise ValueError(
                f"sampling.guidance_by_scale needs {num_scales} numbers, one a scale, got "
                f"{len(self.guidance_by_scale)}"
            )
        return self.guidance_by_scale


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightsConfig:
    """What `config.json` of a weights folder says."""

    kind: Literal["g3pt-weights"] = "g3pt-weights"
    version: Literal[1] = 1

    name: str
    """Under which the weights are known, e.g. `g3pt-tiny`."""

    storage: StorageType = "float16"
    """Number format of the file, whatever the models are used in."""

    compact: tuple[str, ...] = ()
    """Beginnings of tensor names, such as `car.`, whose matrices are stored as 8-bit rows."""

    sha256: str = ""
    """Of `model.safetensors`."""

    tokenizer: TokenizerConfig
    car: CarConfig | None = None
    """None: no generator; a tokenizer alone is enough to reconstruct."""

    flow: FlowConfig | None = None
    """The diffusion rival in place of `car`, on a tokenizer with continuous latents."""

    num_points: int = 8192
    """Surface points with normals that the tokenizer was trained to read."""

    classes: tuple[str, ...] = ()
    """Names of the class labels, in the order of their numbers."""

    sampling: SamplingDefaults = field(default_factory=SamplingDefaults)


@dataclass(frozen=True, kw_only=True, slots=True)
class RegressorWeightsConfig:
    """What `config.json` of a regressor says, which needs no tokenizer."""

    kind: Literal["g3pt-regressor"] = "g3pt-regressor"
    version: Literal[1] = 1
    name: str
    storage: StorageType = "float16"
    sha256: str = ""
    """Of `model.safetensors`."""
    regressor: RegressorConfig
    classes: tuple[str, ...] = ()
    """Names of the class labels, in the order of their numbers."""


@dataclass(frozen=True, eq=False)
class LoadedRegressor:
    """A regressor on a device, in evaluation mode."""

    config: RegressorWeightsConfig
    regressor: Regressor


@dataclass(frozen=True, eq=False)
class LoadedWeights:
    """Models on a device, in evaluation mode, and where they came from."""

    config: WeightsConfig
    tokenizer: Tokenizer
    car: Car | None
    fingerprint: str
    """SHA-256 over the tokenizer's tensors as stored: equal means equal tokens."""
    flow: Flow | None = None

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
        """Where the models are."""
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
) -> WeightsConfig:
    """Write a weights folder; the config comes last, so that half a folder does not load.

    Args:
        folder: made when it is not there; files in it are replaced.
        tokenizer: stage 1.
        car: stage 2, if there is one.
        flow: the diffusion rival, if there is one.
        config: name, storage format and settings; its model configs and checksum are replaced by
            those of the models given.
        card: model card, as a file to copy (Path) or as text (str).
        evaluation: evaluation JSON, likewise.

    Returns:
        The config as written.

    Raises:
        WeightsError: if a weight is not finite in the storage format.
    """
    tensors = _stored("tokenizer", tokenizer, config.storage)
    if car is not None:
        tensors |= _stored("car", car, config.storage)
    if flow is not None:
        tensors |= _stored("flow", flow, config.storage)
    folder = Path(folder)
    sha256 = _write_tensors(folder, compact(tensors, config.compact))
    _write_beside(folder, card, evaluation)
    written = replace(
        config,
        sha256=sha256,
        tokenizer=tokenizer.config,
        car=None if car is None else car.config,
        flow=None if flow is None else flow.config,
    )
    save_json(folder / CONFIG_FILE, written)
    return written


def save_regressor_weights(
    folder: str | Path,
    regressor: Regressor,
    *,
    config: RegressorWeightsConfig,
    card: str | Path | None = None,
    evaluation: str | Path | None = None,
) -> RegressorWeightsConfig:
    """Write the folder of a regressor; arguments as in `save_weights`.

    Raises:
        WeightsError: if a weight is not finite in the storage format.
    """
    folder = Path(folder)
    sha256 = _write_tensors(folder, _stored("regressor", regressor, config.storage))
    _write_beside(folder, card, evaluation)
    written = replace(config, sha256=sha256, regressor=regressor.config)
    save_json(folder / CONFIG_FILE, written)
    return written


def _write_tensors(folder: Path, tensors: dict[str, Tensor]) -> str:
    """Replace the model file; its checksum. The config goes first, so that no two mix."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{MODEL_FILE}.partial"
    try:
        save_file(tensors, temporary)
        temporary.chmod(0o644)  # safetensors makes files private
        (folder / CONFIG_FILE).unlink(missing_ok=True)
        temporary.replace(folder / MODEL_FILE)
    finally:
        temporary.unlink(missing_ok=True)
    return _sha256(folder / MODEL_FILE)


def _write_beside(folder: Path, card: str | Path | None, evaluation: str | Path | None) -> None:
    for name, content in ((CARD_FILE, card), (EVALUATION_FILE, evaluation)):
        if isinstance(content, Path):
            shutil.copyfile(content, folder / name)
        elif content is not None:
            (folder / name).write_text(content, encoding="utf-8")


def load_weights(
    weights: str | Path = DEFAULT_WEIGHTS,
    device: str | torch.device = "auto",
    *,
    dtype: DtypeName | torch.dtype = "float32",
) -> LoadedWeights:
    """Load a weights folder, or bundled weights by name.

    Args:
        weights: a folder that `save_weights` wrote, a name such as `g3pt-tiny`, or
            `hub:OWNER/NAME[@REVISION]` on the Hugging Face hub.
        device: `auto`, `cpu`, `cuda`, `mps` or a torch device.
        dtype: number format of the generator, see `resolve_dtype`; the tokenizer's is float32.

    Raises:
        FileNotFoundError: if there is neither such a folder nor such a name.
        WeightsError: if the folder is not a weights folder, or its contents do not fit together.
        ValueError: if this machine has no such device, or the number format is another.
    """
    target = resolve_device(device)
    number_format = resolve_dtype(dtype, target)
    folder = find_weights(weights)
    config = _read_config(folder, WeightsConfig)
    tensors = _read_tensors(folder / MODEL_FILE, config.sha256)
    # Building a model draws initial values; the caller's random state is not ours to move.
    with torch.random.fork_rng(devices=[]):
        tokenizer = build_tokenizer(config.tokenizer)
        car = None if config.car is None else Car(config.car)
        flow = None if config.flow is None else Flow(config.flow)
    parts = {"tokenizer": tokenizer, "car": car, "flow": flow}
    present = {name: part for name, part in parts.items() if part is not None}
    _fill_all(present, expand(tensors), folder)
    if car is not None:
        cast_weights(car, number_format)
    return LoadedWeights(
        config=config,
        tokenizer=tokenizer.to(target),
        car=None if car is None else car.to(target),
        flow=None if flow is None else flow.to(target),
        fingerprint=_fingerprint(tensors),
    )


def load_regressor_weights(
    weights: str | Path, device: str | torch.device = "auto"
) -> LoadedRegressor:
    """Load the folder of a regressor; arguments and errors as in `load_weights`."""
    target = resolve_device(device)
    folder = find_weights(weights)
    config = _read_config(folder, RegressorWeightsConfig)
    tensors = _read_tensors(folder / MODEL_FILE, config.sha256)
    with torch.random.fork_rng(devices=[]):
        regressor = Regressor(config.regressor)
    _fill_all({"regressor": regressor}, tensors, folder)
    return LoadedRegressor(config, regressor.to(target))


def holds_regressor(weights: str | Path) -> bool:
    """Whether a weights folder is that of a regressor.

    Raises:
        FileNotFoundError, WeightsError: if there is no weights folder.
    """
    path = find_weights(weights) / CONFIG_FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise WeightsError(f"{path}: cannot be read as the config of a weights folder") from None
    return isinstance(data, dict) and data.get("kind") == "g3pt-regressor"


def bundled_weights() -> tuple[str, ...]:
    """Names of the weights that this installation brings along."""
    root = _bundled_root()
    if not root.is_dir():
        return ()
    return tuple(sorted(path.parent.name for path in root.glob(f"*/{CONFIG_FILE}")))


def find_weights(weights: str | Path) -> Path:
    """The folder of a path, a bundled name, or `hub:OWNER/NAME[@REVISION]`.

    Only the last form may reach the network, and only for what is not in the local cache.

    Raises:
        FileNotFoundError: if there is none of them.
        WeightsError: if the path is a file, or the hub does not give the weights.
    """
    if isinstance(weights, str) and weights.startswith(HUB_PREFIX):
        return _from_hub(weights)
    path = Path(weights)
    if path.is_dir():
        return path
    if isinstance(weights, str) and weights in bundled_weights():
        return _bundled_root() / weights
    if path.is_file():
        raise WeightsError(
            f"{path}: is a file; weights are a folder with {CONFIG_FILE} and {MODEL_FILE}"
        )
    known = ", ".join(bundled_weights()) or "none in this installation"
    raise FileNotFoundError(
        f"{weights}: there is no such weights folder, nor bundled weights of that name "
        f"(bundled: {known}; from the Hugging Face hub: {HUB_PREFIX}OWNER/NAME)"
    )


def resolve_device(device: str | torch.device) -> torch.device:
    """`auto` is CUDA, else MPS, else the CPU; anything else must exist.

    Raises:
        ValueError: if this machine has no such device.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if device == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError:
        raise ValueError(f"device {device!r}: expected auto, cpu, cuda or mps") from None
    if (resolved.type == "cuda" and not cuda) or (resolved.type == "mps" and not mps):
        raise ValueError(f"device {device!r}: this machine has none that torch can use")
    return resolved


def _from_hub(weights: str) -> Path:
    from huggingface_hub import snapshot_download

    name, _, revision = weights.removeprefix(HUB_PREFIX).partition("@")
    wanted = [MODEL_FILE, CONFIG_FILE, CARD_FILE, EVALUATION_FILE]
    try:
        folder = snapshot_download(name, revision=revision or None, allow_patterns=wanted)
    except Exception as error:  # many kinds: no network, no such repository, no such revision
        reason = " ".join(str(error).split())
        raise WeightsError(f"{weights}: the hub does not give these weights ({reason})") from error
    return Path(folder)


def _bundled_root() -> Path:
    return Path(str(files("g3pt"))) / "weights"


def _stored(prefix: str, module: nn.Module, storage: StorageType) -> dict[str, Tensor]:
    dtype: torch.dtype = getattr(torch, storage)
    stored: dict[str, Tensor] = {}
    for name, tensor in module.state_dict().items():
        value = tensor.detach().cpu()
        if value.is_floating_point():
            value = value.to(dtype)
            if not bool(value.isfinite().all()):
                raise WeightsError(f"{prefix}.{name}: not finite when stored as {storage}")
        stored[f"{prefix}.{name}"] = value.contiguous().clone()
    return stored


def _read_config(folder: Path, kind: type[ConfigT]) -> ConfigT:
    missing = [name for name in (CONFIG_FILE, MODEL_FILE) if not (folder / name).is_file()]
    if missing:
        raise WeightsError(
            f"{folder}: is not a weights folder, it has no {' and no '.join(missing)}"
        )
    try:
        return load_json(folder / CONFIG_FILE, kind)
    except UnicodeDecodeError:
        raise WeightsError(f"{folder / CONFIG_FILE}: is not text") from None


def _read_tensors(path: Path, sha256: str) -> dict[str, Tensor]:
    if _sha256(path) != sha256:
        raise WeightsError(
            f"{path}: is damaged or of other weights, its SHA-256 is not the one in {CONFIG_FILE}; "
            "copy or download the folder again"
        )
    try:
        return load_file(path)
    except SafetensorError as error:
        raise WeightsError(f"{path}: is not a safetensors file ({error})") from None


def _fill_all(parts: dict[str, nn.Module], tensors: dict[str, Tensor], folder: Path) -> None:
    for name, part in parts.items():
        _fill(part, name, tensors, folder)
    if any(name.split(".")[0] not in parts for name in tensors):
        raise WeightsError(f"{folder / MODEL_FILE}: holds tensors that the config does not name")


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
        if tensor.shape != wanted[name].shape:
            raise WeightsError(
                f"{folder / MODEL_FILE}: {prefix}.{name} has shape {tuple(tensor.shape)}, "
                f"{CONFIG_FILE} asks for {tuple(wanted[name].shape)}"
            )
    module.load_state_dict(given)
    module.eval().requires_grad_(False)


def _fingerprint(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        if name.startswith("tokenizer."):
            tensor = tensors[name]
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
