"""The contract of a kind of run, so that other code needs no case distinction by kind."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from g3pt.config import ConfigError
from g3pt.models.sampling import Sampling
from g3pt.models.tokenizer import Tokenizer
from g3pt.training.input_checks import InputChecks
from g3pt.training.task import Task

RunT = TypeVar("RunT")
ModuleT = TypeVar("ModuleT", bound=nn.Module)


@runtime_checkable
class SyntheticTask(Task, Protocol):
    """A task that can also run a step on synthetic input, to measure its cost."""

    def synthetic_loss(self, batch_size: int, device: torch.device | str = "cpu") -> Tensor:
        """The loss of a step on placeholder input of the right shapes."""
        ...


@dataclass(frozen=True, kw_only=True)
class ExportedSettings:
    """Settings of exported weights that the config of a run holds."""

    num_points: int | None = None
    """Surface points that the tokenizer reads. For a generator, those its tokens were made from."""
    classes: tuple[str, ...] = ()
    sampling: Sampling | None = None


class RunKind(ABC, Generic[RunT]):
    """A kind of run."""

    config: type[RunT]
    """The config class of this kind, whose `kind` field names it."""
    trains_tokenizer: bool = False
    """Whether stage 1 is trained."""

    @abstractmethod
    def exported_settings(self, run: RunT) -> ExportedSettings:
        """What weights that are exported from a run take from its config."""

    @abstractmethod
    def check_inputs(self, run: RunT, checks: InputChecks) -> RunT:
        """Check every path and name of a run, without reading whole files or making anything.

        Args:
            run: the run to be trained.
            checks: collects what is missing, wrong, left out, or made before the first step.

        Returns:
            The run without optional inputs that do not exist.
        """

    @abstractmethod
    def complete(self, run: RunT, *, workers: int = 1) -> tuple[RunT, Tokenizer | None]:
        """Prepare the data that `run` names, and fill in the values that come from the data.

        Args:
            run: the run as the recipe gives it.
            workers: processes that prepare shapes.

        Returns:
            The run as it will be trained, and the frozen tokenizer if the model needs one.
        """

    @abstractmethod
    def open(self, run: RunT, tokenizer: Tokenizer | None) -> SyntheticTask:
        """Build the model, seeded by `train.seed`, and the task around it.

        Args:
            run: a completed run.
            tokenizer: the one that `complete` returned.
        """

    @abstractmethod
    def open_without_data(self, run: RunT) -> SyntheticTask:
        """Build the task with untrained weights, for steps on synthetic input."""

    def operations(self, run: RunT) -> float:
        """Operations of a training step on one shape, by `models.flops`.

        What gradient checkpointing computes twice counts once.

        Raises:
            ValueError: if a part of the run has no formula.
        """
        raise ValueError(f"there is no formula for a {type(run).__name__}")


def seeded(build: Callable[[], ModuleT], seed: int) -> ModuleT:
    """Build a model with initial weights of a seed; the caller's random state is unchanged."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def start_from(module: nn.Module, trained: nn.Module, origin: str, *, afresh: str = "") -> None:
    """Copy the weights of a trained model of the same sizes.

    Args:
        module: the model to fill.
        trained: the model to copy from.
        origin: where `trained` comes from, for messages.
        afresh: prefix of the names of tensors that are not copied.

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
