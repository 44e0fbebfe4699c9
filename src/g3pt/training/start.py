"""From a run to a training: prepare what is missing, build the task, begin."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar, assert_never

import torch
from torch import nn

from g3pt.config import ConfigError, save_json, to_json
from g3pt.models.alternatives.kl import KlTokenizer, require_gaussian
from g3pt.models.car import Car
from g3pt.models.devices import resolve_device
from g3pt.models.rivals.flow import Flow
from g3pt.models.rivals.regressor import Regressor
from g3pt.models.tokenizer import DiscreteTokenizer, Tokenizer, require_tokens
from g3pt.models.tokenizers import build_tokenizer
from g3pt.shapes.datasets.rivals import FlowDataConfig, FlowDataset
from g3pt.shapes.datasets.tokenizer import CarDataConfig
from g3pt.shapes.packs import open_shapes
from g3pt.shapes.shards import ShardSet
from g3pt.training.car_task import CarTask, CarValidationConfig
from g3pt.training.checkpoint import fingerprint
from g3pt.training.environment import describe_environment
from g3pt.training.features import ensure_features
from g3pt.training.flow_task import FlowTask, FlowValidationConfig
from g3pt.training.ingredients import (
    PreparedShapes,
    ensure_latents,
    ensure_shapes,
    ensure_tokens,
    fit_conditions,
    fit_to_tokenizer,
    shard_captions,
    stream_captions,
)
from g3pt.training.inventory import take_stock
from g3pt.training.loop import TrainResult, train
from g3pt.training.regressor_task import RegressorTask
from g3pt.training.runs import CONFIG_FILE, CarRun, FlowRun, RegressorRun, Run, TokenizerRun
from g3pt.training.stream_run import StreamRun
from g3pt.training.stream_task import StreamTask
from g3pt.training.tokenizer_task import TokenizerTask
from g3pt.training.trained import load_car, load_flow, load_regressor, load_tokenizer

LOGGER = logging.getLogger(__name__)

ShardsUserT = TypeVar("ShardsUserT", CarDataConfig, CarValidationConfig)
LatentsUserT = TypeVar("LatentsUserT", FlowDataConfig, FlowValidationConfig)
ModuleT = TypeVar("ModuleT", bound=nn.Module)

RunTask = TokenizerTask | CarTask | StreamTask | FlowTask | RegressorTask


def start(run: Run, folder: Path, *, resume: bool = False, workers: int = 1) -> TrainResult:
    """Look at every path and name, prepare what is missing, write the resolved config, and train.

    Args:
        run: what to train.
        folder: the run folder; made when it is not there.
        resume: go on from its newest checkpoint, or begin if there is none.
        workers: processes that prepare shapes.

    Raises:
        FileExistsError: if there is a run in `folder` and `resume` is False.
        FileNotFoundError, ValueError: before anything is made, if a path or name is wrong.
    """
    folder = Path(folder)
    if not resume:
        require_unused(folder)
    resolve_device(run.train.device)  # before anything is made for it
    run, tokenizer = complete(run, workers=workers)
    folder.mkdir(parents=True, exist_ok=True)
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


def require_unused(folder: Path) -> None:
    """See that a new run can begin in a folder.

    Raises:
        FileExistsError: if there is a run in it.
    """
    if (folder / CONFIG_FILE).exists():
        raise FileExistsError(f"{folder} holds a run already: pass --resume, or another --run")


def complete(run: Run, *, workers: int = 1) -> tuple[Run, Tokenizer | None]:
    """Prepare the data that `run` names, and fill in what only the data can tell.

    What is optional and not there is left out and logged.

    Returns:
        The run as it will be trained and the frozen tokenizer, of what builds on one.

    Raises:
        FileNotFoundError, ValueError: before anything is made, if a path or name is wrong.
    """
    stock = take_stock(run)
    for line in stock.left_out:
        LOGGER.warning("%s", line)
    run = stock.run
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
            model = fit_to_tokenizer(run.model, tokenizer, shard_captions(data.shards))
            return replace(run, model=model, data=data, validation=validation), tokenizer
        case StreamRun():
            tokenizer = require_tokens(load_tokenizer(run.tokenizer), run.tokenizer)
            captions = stream_captions(run.data)
            model = fit_to_tokenizer(
                run.model, tokenizer, captions, num_scales=run.num_scales or None
            )
            return replace(run, model=model), tokenizer
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
                    run.model.conditions, shard_captions(data.shards), points_width=tokenizer.dim
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
                run.model.conditions,
                shard_captions(data.shards),
                points_width=run.model.decoder.dim,
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
    device = resolve_device(run.train.device)
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
    latents = ensure_latents(
        opened,
        tokenizer,
        fingerprint(tokenizer),
        run.latents,
        device=resolve_device(run.train.device),
    )
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
        case StreamRun():
            assert isinstance(tokenizer, DiscreteTokenizer), "stage 2 needs a tokenizer"
            module = _seeded(lambda: Car(run.model), run.train.seed)
            if run.initial:
                afresh = "guess." if run.trained == "guess" else ""
                _start_from(module, load_car(run.initial), run.initial, afresh=afresh)
            return StreamTask(
                module,
                tokenizer,
                run.data,
                run.loss,
                run.watch,
                seed=run.train.seed,
                only_guess=run.trained == "guess",
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


def _start_from(module: nn.Module, trained: nn.Module, origin: str, *, afresh: str = "") -> None:
    """Copy the weights of a trained model of the same sizes.

    Args:
        module: what is filled.
        trained: what it is filled from.
        origin: of that, for messages.
        afresh: beginning of the names of tensors that stay as they are.

    Raises:
        ConfigError: if the sizes differ.
    """
    ours, theirs = module.state_dict(), dict(trained.state_dict())
    if afresh:
        theirs = {name: value for name, value in theirs.items() if not name.startswith(afresh)}
        theirs |= {name: value for name, value in ours.items() if name.startswith(afresh)}
    for name in sorted(ours.keys() | theirs.keys()):
        expected = tuple(ours[name].shape) if name in ours else "nothing"
        found = tuple(theirs[name].shape) if name in theirs else "nothing"
        if expected != found:
            raise ConfigError(
                f"initial: {origin} has {found} as {name} where this run's model has {expected}: "
                "give the run the same model config"
            )
    module.load_state_dict(theirs)
