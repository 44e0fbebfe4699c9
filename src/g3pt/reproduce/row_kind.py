"""What series and tables need to know about a kind of run: the contract."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from g3pt.evaluation.results import Row
from g3pt.reproduce.experiments import MeasuredSet, Variant

Report = dict[str, Any]
"""JSON values that an evaluation returns."""


@dataclass(frozen=True, kw_only=True)
class Facts(ABC):
    """What a row says of its model and its training beside scores."""

    tokens: int
    """What a shape consists of for the model: tokens or latents, those of all scales."""

    @abstractmethod
    def cells(self) -> dict[str, str]:
        """Header to text, for the table of facts."""

    @abstractmethod
    def columns(self) -> Row:
        """Columns of the CSV."""


class RowKind(ABC):
    """How the rows of one kind of run are prepared, kept, measured and described."""

    @abstractmethod
    def prepare(self, sets: Sequence[MeasuredSet], workers: int) -> None:
        """Make the data that runs and measurements share, before several start at once."""

    @abstractmethod
    def keep(self, variant: Variant, seed: int, run_folder: Path, weights: Path) -> None:
        """Write the weights of a finished training."""

    @abstractmethod
    def measure(
        self, variant: Variant, weights: Path, one: MeasuredSet, out: Path, device: str
    ) -> Report:
        """Measure trained weights on a set; rows of objects go to `out`."""

    @abstractmethod
    def metrics(self, one: MeasuredSet) -> tuple[str, ...]:
        """Columns of the objects' rows that a table shows, the first of them in its plot."""

    @abstractmethod
    def facts(self, summaries: Sequence[dict[str, Any]]) -> Facts:
        """Describe a row from the `row.json` of its seeds."""
