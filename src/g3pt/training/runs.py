"""A run: everything that a training of one stage is made from, and how to read one back."""

import json
import logging
import os
import platform
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, TypeVar, assert_never

import torch
from torch import nn

from g3pt.config import ConfigError, from_json, save_json, to_json
from g3pt.data.dataset import CarDataConfig, TokenizerDataConfig
from g3pt.data.draws_cache import DrawsConfig
from g3pt.data.packs import open_shapes
from g3pt.data.rival_datasets import FlowDataConfig, FlowDataset, RegressorDataConfig
from g3pt.data.shards import ShardSet
from g3pt.data.tokens_cache import TokenCacheConfig
from g3pt.models.alternatives.kl import KlTokenizer, require_gaussian
from g3pt.models.car import Car, CarConfig
from g3pt.models.contract import DiscreteTokenizer, Tokenizer, require_tokens
from g3pt.models.rivals.flow import Flow, FlowConfig
from g3pt.models.rivals.regressor import Regressor, RegressorConfig
from g3pt.models.tokenizer import CvqConfig
from g3pt.models.tokenizers import TokenizerConfig, build_tokenizer
from g3pt.models.weights import load_regressor_weights, load_weights, resolve_device
from g3pt.training.car_task import CarLossConfig, CarTask, CarValidationConfig
from g3pt.training.checkpoint import (
    CheckpointError,
    fingerprint,
    load_module_tensors,
    load_newest_checkpoint,
)
from g3pt.training.features import ensure_features
from g3pt.training.flow_task import FlowLossConfig, FlowTask, FlowValidationConfig
from g3pt.training.ingredients import (
    PreparedShapes,
    ensure_latents,
    ensure_shapes,
    ensure_tokens,
    fit_conditions,
    fit_to_tokenizer,
)
from g3pt.training.loop import TrainConfig, TrainResult, train
from g3pt.training.optim import AdamWConfig, OptimConfig
from g3pt.training.regressor_task import (
    RegressorLossConfig,
    RegressorTask,
    RegressorValidationConfig,
)
from g3pt.training.tokenizer_task import TokenizerLossConfig, TokenizerTask
from g3pt.training.validation import ValidationConfig

LOGGER = logging.getLogger(__name__)
CONFIG_FILE = "config.json"

ShardsUserT = TypeVar("ShardsUserT", CarDataConfig, CarValidationConfig)
LatentsUserT = TypeVar("LatentsUserT", FlowDataConfig, FlowValidationConfig)
ModuleT = TypeVar("ModuleT", bound=nn.Module)


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerRun:
    """A training of stage 1."""

    kind: Literal["tokenizer"] = "tokenizer"
    name: str = "tokenizer"
    initial: str = ""
    """Run folder, weights folder or bundled name whose weights training starts from; empty
    starts afresh."""
    model: TokenizerConfig = field(default_factory=CvqConfig)
    trained: Literal["all", "decoder"] = "all"
    """What is trained. With `decoder` tokens stay what they are, so a generator stays usable."""
    shapes: tuple[PreparedShapes, ...] = ()
    """Prepared when missing and read where `data.shards` names nothing else."""
    held_out: tuple[PreparedShapes, ...] = ()
    """Likewise, for `validation.shards`; one at most is looked at."""
    data: TokenizerDataConfig = field(default_factory=TokenizerDataConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    loss: TokenizerLossConfig = field(default_factory=TokenizerLossConfig)
    optim: OptimConfig = field(default_factory=AdamWConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


@dataclass(frozen=True, kw_only=True, slots=True)
class CarRun:
    """A training of stage 2."""

    kind: Literal["car"] = "car"
    name: str = "car"
    initial: str = ""
    """Run folder, weights folder or bundled name whose weights training starts from; empty
    starts afresh."""
    tokenizer: str = "g3pt-tiny"
    """Run folder of a tokenizer, weights folder, or name of bundled weights."""
    model: CarConfig = field(default_factory=CarConfig)
    """Its scale lengths, bits and input width are taken from the tokenizer, the words of its
    text condition from the captions if it names none."""
    shapes: tuple[PreparedShapes, ...] = ()
    held_out: tuple[PreparedShapes, ...] = ()
    tokens: TokenCacheConfig = field(default_factory=TokenCacheConfig)
    """How the shapes are tokenized when `data.tokens` names none."""
    cache_features: bool = False
    """Whether frozen encoders see every picture and caption once, before training, and their
    features are read from disk; otherwise they run in every step."""
    data: CarDataConfig = field(default_factory=CarDataConfig)
    validation: CarValidationConfig = field(default_factory=CarValidationConfig)
    loss: CarLossConfig = field(default_factory=CarLossConfig)
    optim: OptimConfig = field(default_factory=AdamWConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowRun:
    """A training of the diffusion rival (Table 1)."""

    kind: Literal["flow"] = "flow"
    name: str = "flow"
    initial: str = ""
    """Run folder or weights folder whose weights training starts from; empty starts afresh."""
    tokenizer: str = "runs/tokenizer-kl-tiny"
    """Run folder or weights folder of a KL tokenizer."""
    model: FlowConfig = field(default_factory=FlowConfig)
    """Its latents are taken from the tokenizer, the words of its text condition from the
    captions if it names none."""
    shapes: tuple[PreparedShapes, ...] = ()
    held_out: tuple[PreparedShapes, ...] = ()
    latents: DrawsConfig = field(default_factory=DrawsConfig)
    """How the shapes are encoded when `data.latents` names none."""
    data: FlowDataConfig = field(default_factory=FlowDataConfig)
    validation: FlowValidationConfig = field(default_factory=FlowValidationConfig)
    loss: FlowLossConfig = field(default_factory=FlowLossConfig)
    optim: OptimConfig = field(default_factory=AdamWConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


@dataclass(frozen=True, kw_only=True, slots=True)
class RegressorRun:
    """A training of the regression rival (Table 1)."""

    kind: Literal["regressor"] = "regressor"
    name: str = "regressor"
    initial: str = ""
    """Run folder or weights folder whose weights training starts from; empty starts afresh."""
    model: RegressorConfig = field(default_factory=RegressorConfig)
    """The words of its text condition are taken from the captions if it names none."""
    shapes: tuple[PreparedShapes, ...] = ()
    held_out: tuple[PreparedShapes, ...] = ()
    data: RegressorDataConfig = field(default_factory=RegressorDataConfig)
    validation: RegressorValidationConfig = field(default_factory=RegressorValidationConfig)
    loss: RegressorLossConfig = field(default_factory=RegressorLossConfig)
    optim: OptimConfig = field(default_factory=AdamWConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


Run = TokenizerRun | CarRun | FlowRun | RegressorRun

RunTask = TokenizerTask | CarTask | FlowTask | RegressorTask


def start(run: Run, folder: Path, *, resume: bool = False, workers: int = 1) -> TrainResult:
    """Prepare what is missing, write the resolved config, and train.

    Args:
        run: what to train.
        folder: the run folder; made when it is not there.
        resume: go on from its newest checkpoint, or begin if there is none.
        workers: processes that prepare shapes.

    Raises:
        FileExistsError: if there is a run in `folder` and `resume` is False.
    """
    folder = Path(folder)
    if (folder / CONFIG_FILE).exists() and not resume:
        raise FileExistsError(f"{folder} holds a run already: pass --resume, or another --run")
    folder.mkdir(parents=True, exist_ok=True)
    run, tokenizer = complete(run, workers=workers)
    save_json(folder / CONFIG_FILE, run)
    task = open_task(run, tokenizer)
    description = {"run": to_json(run), "environment": describe_environment()}
    return train(
        task,
        optim=run.optim,
        config=run.train,
        run_dir=folder,
        resume=resume,
        description=description,
    )


def complete(run: Run, *, workers: int = 1) -> tuple[Run, Tokenizer | None]:
    """Prepare the data that `run` names, and fill in what only the data can tell.

    Returns:
        The run as it will be trained and the frozen tokenizer, of what builds on one.
    """
    match run:
        case TokenizerRun():
            data, validation = run.data, run.validation
            if not data.shards:
                data = replace(data, shards=ensure_shapes(run.shapes, workers=workers))
            if not validation.shards and run.held_out:
                (shards, *_) = ensure_shapes(run.held_out[:1], workers=workers)
                validation = replace(validation, shards=shards)
            return replace(run, data=data, validation=validation), None
        case CarRun():
            tokenizer = require_tokens(load_tokenizer(run.tokenizer), run.tokenizer)
            data, validation = run.data, run.validation
            if not data.shards:
                data = _with_tokens(run, data, run.shapes, tokenizer, workers)
            if not validation.shards and run.held_out:
                validation = _with_tokens(run, validation, run.held_out, tokenizer, workers)
            if run.cache_features:
                data = _with_features(run, data)
                validation = _with_features(run, validation)
            model = fit_to_tokenizer(run.model, tokenizer, data.shards)
            return replace(run, model=model, data=data, validation=validation), tokenizer
        case FlowRun():
            tokenizer = require_gaussian(load_tokenizer(run.tokenizer), run.tokenizer)
            data, validation = run.data, run.validation
            if not data.shards:
                data = _with_latents(run, data, run.shapes, tokenizer, workers)
            if not validation.shards and run.held_out:
                validation = _with_latents(run, validation, run.held_out, tokenizer, workers)
            model = replace(
                run.model,
                num_latents=tokenizer.config.num_latents,
                latent_dim=tokenizer.config.latent_dim,
                conditions=fit_conditions(
                    run.model.conditions, data.shards, points_width=tokenizer.dim
                ),
            )
            return replace(run, model=model, data=data, validation=validation), tokenizer
        case RegressorRun():
            data, validation = run.data, run.validation
            if not data.shards:
                data = replace(data, shards=ensure_shapes(run.shapes, workers=workers))
            if not validation.shards and run.held_out:
                held_out = ensure_shapes(run.held_out, workers=workers)
                validation = replace(validation, shards=held_out)
            conditions = fit_conditions(
                run.model.conditions, data.shards, points_width=run.model.decoder.dim
            )
            model = replace(run.model, conditions=conditions)
            return replace(run, model=model, data=data, validation=validation), None
        case _:
            assert_never(run)


def _with_tokens(
    run: CarRun,
    config: ShardsUserT,
    shapes: tuple[PreparedShapes, ...],
    tokenizer: DiscreteTokenizer,
    workers: int,
) -> ShardsUserT:
    shards = ensure_shapes(shapes, workers=workers)
    opened = [open_shapes(path, config.selection) for path in shards]
    tokens = ensure_tokens(
        opened,
        tokenizer,
        fingerprint(tokenizer),
        run.tokens,
        device=resolve_device(run.train.device),
    )
    return replace(config, shards=shards, tokens=tokens)


def _with_features(run: CarRun, config: ShardsUserT) -> ShardsUserT:
    opened = [open_shapes(path, config.selection) for path in config.shards]
    device = resolve_device("auto")
    return replace(config, **ensure_features(opened, run.model.conditions, device=device))


def _with_latents(
    run: FlowRun,
    config: LatentsUserT,
    shapes: tuple[PreparedShapes, ...],
    tokenizer: KlTokenizer,
    workers: int,
) -> LatentsUserT:
    shards = ensure_shapes(shapes, workers=workers)
    opened = [ShardSet(path, config.selection) for path in shards]
    latents = ensure_latents(opened, tokenizer, fingerprint(tokenizer), run.latents)
    return replace(config, shards=shards, latents=latents)


def open_task(run: Run, tokenizer: Tokenizer | None = None) -> RunTask:
    """Build the model, seeded by `train.seed`, and the task around it.

    Args:
        run: a completed run.
        tokenizer: the frozen stage 1; needed for a `CarRun`.
    """
    match run:
        case TokenizerRun():
            module = _seeded(lambda: build_tokenizer(run.model), run.train.seed)
            if run.initial:
                _start_from(module, load_tokenizer(run.initial), run.initial)
            if run.trained == "decoder":
                for part in (module.encoder, *module.bottleneck()):
                    part.requires_grad_(False)
            return TokenizerTask(
                module,
                run.data,
                run.loss,
                run.validation,
                seed=run.train.seed,
            )
        case CarRun():
            assert isinstance(tokenizer, DiscreteTokenizer), "stage 2 needs a tokenizer"
            module = _seeded(lambda: Car(run.model), run.train.seed)
            if run.initial:
                _start_from(module, load_car(run.initial), run.initial)
            return CarTask(
                module,
                tokenizer,
                run.data,
                run.loss,
                run.validation,
                seed=run.train.seed,
            )
        case FlowRun():
            module = _seeded(lambda: Flow(run.model), run.train.seed)
            statistics = FlowDataset(run.data).statistics()
            module.set_statistics(
                torch.from_numpy(statistics.mean_E).float(),
                torch.from_numpy(statistics.deviation_E).float(),
            )
            if run.initial:
                _start_from(module, load_flow(run.initial), run.initial)
            return FlowTask(module, run.data, run.loss, run.validation, seed=run.train.seed)
        case RegressorRun():
            module = _seeded(lambda: Regressor(run.model), run.train.seed)
            if run.initial:
                _start_from(module, load_regressor(run.initial), run.initial)
            return RegressorTask(module, run.data, run.loss, run.validation, seed=run.train.seed)
        case _:
            assert_never(run)


def _seeded(build: Callable[[], ModuleT], seed: int) -> ModuleT:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def _start_from(module: nn.Module, trained: nn.Module, origin: str) -> None:
    """Copy the weights of a trained model of the same sizes.

    Raises:
        ConfigError: if the sizes differ.
    """
    ours, theirs = module.state_dict(), trained.state_dict()
    for name in sorted(ours.keys() | theirs.keys()):
        expected = tuple(ours[name].shape) if name in ours else "nothing"
        found = tuple(theirs[name].shape) if name in theirs else "nothing"
        if expected != found:
            raise ConfigError(
                f"initial: {origin} has {found} as {name} where this run's model has {expected}: "
                "give the run the same model config"
            )
    module.load_state_dict(theirs)


# --- reading back ----------------------------------------------------------------------------


def load_run(folder: str | Path) -> Run:
    """Read the config of a run folder.

    Raises:
        FileNotFoundError: if there is none.
        ConfigError: if it is not one.
    """
    path = Path(folder) / CONFIG_FILE
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}: not JSON: {error}") from None
    kinds = {
        "tokenizer": TokenizerRun,
        "car": CarRun,
        "flow": FlowRun,
        "regressor": RegressorRun,
    }
    kind = data.get("kind") if isinstance(data, dict) else None
    if kind not in kinds:
        raise ConfigError(f"{path}: kind: expected one of {', '.join(kinds)}, got {kind!r}")
    return from_json(kinds[kind], data, origin=str(path))


def load_trained(folder: str | Path, *, average: bool = True) -> Tokenizer | Car | Flow | Regressor:
    """The model of a run folder as of its newest sound checkpoint, in evaluation mode.

    Args:
        folder: a run folder.
        average: take the running average of the weights instead of the last ones.

    Raises:
        CheckpointError: if there is no sound checkpoint.
    """
    run = load_run(folder)
    model = _build(run)
    checkpoint = load_newest_checkpoint(Path(folder) / "checkpoints")
    if checkpoint is None:
        raise CheckpointError(f"{folder}: no checkpoint has been written yet")
    tensors = dict(checkpoint.tensors["model"])
    if average:
        tensors |= checkpoint.tensors["ema"]
    load_module_tensors(model, tensors)
    return model.eval().requires_grad_(False)


def _build(run: Run) -> Tokenizer | Car | Flow | Regressor:
    match run:
        case TokenizerRun():
            return build_tokenizer(run.model)
        case CarRun():
            return Car(run.model)
        case FlowRun():
            return Flow(run.model)
        case RegressorRun():
            return Regressor(run.model)
        case _:
            assert_never(run)


def load_tokenizer(source: str | Path) -> Tokenizer:
    """The tokenizer of a run folder, a weights folder, or bundled weights by name.

    Raises:
        FileNotFoundError: if there is nothing of that name.
        ValueError: if it is something else.
    """
    return _load_stage(source, Tokenizer)


def load_car(source: str | Path) -> Car:
    """The generator of a run folder, a weights folder, or bundled weights by name.

    Raises:
        FileNotFoundError: if there is nothing of that name.
        ValueError: if it is something else.
    """
    return _load_stage(source, Car)


def load_flow(source: str | Path) -> Flow:
    """The flow of a run folder or a weights folder.

    Raises:
        FileNotFoundError: if there is nothing of that name.
        ValueError: if it is something else.
    """
    return _load_stage(source, Flow)


def load_regressor(source: str | Path) -> Regressor:
    """The regressor of a run folder or a weights folder.

    Raises:
        FileNotFoundError: if there is nothing of that name.
        ValueError: if it is something else.
    """
    return _load_stage(source, Regressor)


def _load_stage(source: str | Path, kind: type[ModuleT]) -> ModuleT:
    name = kind.__name__.lower()
    if (Path(source) / "checkpoints").is_dir():
        model = load_trained(source)
        if not isinstance(model, kind):
            found = type(model).__name__.lower()
            raise ConfigError(f"{source}: expected the run of a {name}, this one is of a {found}")
        return model
    parts: list[nn.Module | None]
    if kind is Regressor:
        parts = [load_regressor_weights(source, device="cpu").regressor]
    else:
        weights = load_weights(source, device="cpu")
        parts = [weights.tokenizer, weights.car, weights.flow]
    for part in parts:
        if isinstance(part, kind):
            return part
    raise ConfigError(f"{source}: these weights hold no {name}")


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
