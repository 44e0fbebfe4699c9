"""What a kind of run must offer, so that starting, loading and costing know no kind by name."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from g3pt.config import ConfigError
from g3pt.models.tokenizer import Tokenizer
from g3pt.training.inventory import Looker
from g3pt.training.task import Task

RunT = TypeVar("RunT")
ModuleT = TypeVar("ModuleT", bound=nn.Module)


@runtime_checkable
class SyntheticTask(Task, Protocol):
    """A task that can also be asked what a step costs."""

    def synthetic_loss(self, batch_size: int, device: torch.device | str = "cpu") -> Tensor:
        """The loss of a step on made-up input of the right shapes."""
        ...


class RunKind(ABC, Generic[RunT]):
    """A kind of run."""

    config: type[RunT]
    """Its config, whose `kind` field names it."""

    @abstractmethod
    def look(self, run: RunT, looker: Looker) -> RunT:
        """Look at every path and name of a run; nothing is read whole, and nothing is made.

        Args:
            run: what is to be trained.
            looker: notes what is missing, wrong, left out, and made before the first step.

        Returns:
            The run without what is optional and not there.
        """

    @abstractmethod
    def complete(self, run: RunT, *, workers: int = 1) -> tuple[RunT, Tokenizer | None]:
        """Prepare the data that `run` names, and fill in what only the data can tell.

        Args:
            run: as the recipe has it.
            workers: processes that prepare shapes.

        Returns:
            The run as it will be trained and the frozen tokenizer, of what builds on one.
        """

    @abstractmethod
    def open(self, run: RunT, tokenizer: Tokenizer | None) -> SyntheticTask:
        """Build the model, seeded by `train.seed`, and the task around it.

        Args:
            run: a completed run.
            tokenizer: what `complete` gave.
        """

    @abstractmethod
    def open_without_data(self, run: RunT) -> SyntheticTask:
        """The task for steps on synthetic input, its weights untrained."""

    def operations(self, run: RunT) -> float:
        """Operations of a training step on one shape, by `models.flops`.

        What gradient checkpointing computes twice counts once.

        Raises:
            ValueError: if a part of the run has no formula.
        """
        raise ValueError(f"there is no formula for a {type(run).__name__}")


def seeded(build: Callable[[], ModuleT], seed: int) -> ModuleT:
    """Build a model with initial weights of a seed; the caller's random state stays."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def start_from(module: nn.Module, trained: nn.Module, origin: str, *, afresh: str = "") -> None:
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
