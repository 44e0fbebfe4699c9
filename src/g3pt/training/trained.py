"""Load models from run folders and weights folders."""

from pathlib import Path
from typing import TypeVar

from torch import nn

from g3pt.config import ConfigError
from g3pt.models.car import Car, CarConfig
from g3pt.models.rivals.flow import Flow, FlowConfig
from g3pt.models.rivals.regressor import Regressor, RegressorConfig
from g3pt.models.tokenizer import Tokenizer
from g3pt.models.tokenizers import TokenizerConfig, build_tokenizer
from g3pt.models.weights.load import load_regressor_weights, load_weights
from g3pt.training.checkpoint import (
    CheckpointError,
    is_run_folder,
    load_module_tensors,
    load_newest_checkpoint,
)
from g3pt.training.loop import BEST_FOLDER
from g3pt.training.loop_state import loop_state

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def load_trained(folder: str | Path, *, average: bool = True) -> Tokenizer | Car | Flow | Regressor:
    """Load the model of a run folder from its newest sound checkpoint, in evaluation mode.

    Args:
        folder: a run folder.
        average: take the running average of the weights instead of the last ones; if the run kept
            the best average, take that.

    Raises:
        CheckpointError: if there is no sound checkpoint.
    """
    from g3pt.training.runs import load_run  # whose kinds load what they start from

    model = _build(load_run(folder).model)
    best = load_newest_checkpoint(Path(folder) / BEST_FOLDER) if average else None
    if best is not None:
        load_module_tensors(model, best.group("model"), best.file("model"))
        return model.eval().requires_grad_(False)
    checkpoint = load_newest_checkpoint(Path(folder) / "checkpoints")
    if checkpoint is None:
        raise CheckpointError(f"{folder}: no checkpoint has been written yet")
    load_module_tensors(model, checkpoint.group("model"), checkpoint.file("model"))
    if average:
        load_module_tensors(model, checkpoint.group("ema"), checkpoint.file("ema"), partly=True)
    return model.eval().requires_grad_(False)


def _build(
    config: TokenizerConfig | CarConfig | FlowConfig | RegressorConfig,
) -> Tokenizer | Car | Flow | Regressor:
    match config:
        case CarConfig():
            return Car(config)
        case FlowConfig():
            return Flow(config)
        case RegressorConfig():
            return Regressor(config)
        case _:
            return build_tokenizer(config)


def share_trained(folder: str | Path) -> float:
    """Share of a run that was over at its newest checkpoint, by steps or by the clock; 1 is all.

    Args:
        folder: a run folder.

    Raises:
        CheckpointError: if there is no sound checkpoint.
    """
    checkpoint = load_newest_checkpoint(Path(folder) / "checkpoints")
    if checkpoint is None:
        raise CheckpointError(f"{folder}: no checkpoint has been written yet")
    from g3pt.training.runs import load_run  # whose kinds load what they start from

    state = loop_state(checkpoint)
    return load_run(folder).train.share_of(state.step, state.elapsed)


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
    if is_run_folder(source):
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
