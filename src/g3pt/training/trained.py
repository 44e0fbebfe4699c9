"""Models of run folders and weights folders, read back."""

from pathlib import Path
from typing import TypeVar, assert_never

from torch import nn

from g3pt.config import ConfigError
from g3pt.models.car import Car
from g3pt.models.rivals.flow import Flow
from g3pt.models.rivals.regressor import Regressor
from g3pt.models.tokenizer import Tokenizer
from g3pt.models.tokenizers import build_tokenizer
from g3pt.models.weights.load import load_regressor_weights, load_weights
from g3pt.training.checkpoint import CheckpointError, load_module_tensors, load_newest_checkpoint
from g3pt.training.loop import BEST_FOLDER
from g3pt.training.runs import CarRun, FlowRun, RegressorRun, Run, TokenizerRun, load_run
from g3pt.training.stream_run import StreamRun

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def load_trained(folder: str | Path, *, average: bool = True) -> Tokenizer | Car | Flow | Regressor:
    """The model of a run folder as of its newest sound checkpoint, in evaluation mode.

    Args:
        folder: a run folder.
        average: take the running average of the weights instead of the last ones; the best one
            where the run kept that.

    Raises:
        CheckpointError: if there is no sound checkpoint.
    """
    run = load_run(folder)
    model = _build(run)
    best = load_newest_checkpoint(Path(folder) / BEST_FOLDER) if average else None
    if best is not None:
        load_module_tensors(model, best.tensors["model"])
        return model.eval().requires_grad_(False)
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
        case CarRun() | StreamRun():
            return Car(run.model)
        case FlowRun():
            return Flow(run.model)
        case RegressorRun():
            return Regressor(run.model)
        case _:
            assert_never(run)


def share_trained(folder: str | Path) -> float:
    """How much of a run its newest checkpoint has behind it, by steps or by the clock; 1 is all.

    Args:
        folder: a run folder.

    Raises:
        CheckpointError: if there is no sound checkpoint.
    """
    checkpoint = load_newest_checkpoint(Path(folder) / "checkpoints")
    if checkpoint is None:
        raise CheckpointError(f"{folder}: no checkpoint has been written yet")
    state = checkpoint.state["loop"]
    return load_run(folder).train.share_of(state["step"], state["elapsed"])


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
