"""What a door is: a kind of files that g3pt reads, hostile examples of it, and its own errors."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

Must = Literal["open", "refuse", "either"]
"""What has to become of an input: `either` is both right, as long as it is one of the two."""


@dataclass(frozen=True, slots=True)
class Hostile:
    """An input that was written for a trial."""

    path: Path
    """The file or folder to be read; it lies in the folder of the trial."""
    what: str
    """What was done to it, in words."""
    must: Must = "either"


class Door(ABC):
    """A kind of files that g3pt reads."""

    name: ClassVar[str]
    promise: ClassVar[str]
    """What g3pt promises of files of this kind, in one sentence."""
    errors: ClassVar[tuple[type[Exception], ...]]
    """The errors that may refuse a file. Their subclasses may not: `UnicodeDecodeError` is a
    `ValueError` too, and names no file."""

    def missing(self) -> str:
        """The extra of g3pt that has to be installed for it; empty if it can be entered."""
        return ""

    @abstractmethod
    def write(self, folder: Path, rng: np.random.Generator) -> Hostile:
        """Write an input; the same generator gives the same bytes.

        Args:
            folder: an empty folder, for this trial alone.
            rng: chooses everything.
        """

    @abstractmethod
    def enter(self, path: Path) -> None:
        """Read the input and use it as g3pt does.

        Raises:
            Exception: one of `errors`, if the input is refused.
            AssertionError: if what was read is wrong.
        """
