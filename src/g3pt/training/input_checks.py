"""Check of a run's inputs before any work: what exists, what will be made, what is left out.

A training may first prepare data for minutes or hours. A wrong name that is found only then costs
all that time. So every path and name of a run is checked here, and nothing is made.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from g3pt.models.weights.places import CONFIG_FILE, HUB_PREFIX, MODEL_FILE, find_weights
from g3pt.shapes.packs import index_rows, is_pack
from g3pt.shapes.shape_set import Selection, SelectionError, licences_note, selected
from g3pt.shapes.shards import is_complete
from g3pt.training.checkpoint import list_checkpoints


class InputChecks:
    """Checks paths and names one after another, and collects what it finds."""

    def __init__(self, promised: Collection[str]) -> None:
        self._promised = {Path(path) for path in promised}
        self._missing: list[str] = []
        self._wrong: list[str] = []
        self.left_out: list[str] = []
        self.made: list[str] = []

    def raise_problems(self, name: str) -> None:
        """Raise one error that lists all problems that were found, if there are any."""
        problems = self._missing + self._wrong
        if not problems:
            return
        kind = FileNotFoundError if self._missing else ValueError
        raise kind(f"{name} cannot start:\n  " + "\n  ".join(problems))

    def wrong(self, message: str) -> None:
        """Note a value that cannot be used."""
        self._wrong.append(message)

    def promised(self, path: str) -> bool:
        """Whether a path will exist when training begins."""
        return Path(path) in self._promised

    def require(self, field: str, there: bool, message: str) -> None:
        """Note something as missing unless it is there."""
        if not there:
            self._missing.append(f"{field}: {message}")

    def attempt(self, field: str, look: Callable[[], Any]) -> bool:
        """Call `look` and note the error that it raises; return whether it succeeded."""
        try:
            look()
        except FileNotFoundError as error:
            self._missing.append(f"{field}: {error}")
            return False
        except ValueError as error:
            self._wrong.append(f"{field}: {error}")
            return False
        return True

    def weights(self, field: str, source: str) -> None:
        """Check a run folder, a weights folder, a bundled name, or weights on the hub."""
        if not source or self.promised(source) or source.startswith(HUB_PREFIX):
            return
        checkpoints = Path(source) / "checkpoints"
        if checkpoints.is_dir():
            self.require(
                field,
                bool(list_checkpoints(checkpoints)),
                f"the run in {source} has written no checkpoint yet",
            )
        elif self.attempt(field, lambda: find_weights(source)):
            folder = find_weights(source)
            self.require(
                field,
                all((folder / name).is_file() for name in (CONFIG_FILE, MODEL_FILE)),
                f"expected a run folder with checkpoints, or {CONFIG_FILE} and {MODEL_FILE} of "
                f"weights, in {source}",
            )

    def folders(self, field: str, paths: Collection[str]) -> None:
        """Check the cache folders of a data config."""
        for path in paths:
            self.require(field, Path(path).is_dir(), f"there is no folder {path}")

    def shards(self, field: str, paths: Collection[str]) -> None:
        """Check prepared sets that the user named."""
        for path in paths:
            self.require(
                field, is_prepared(path), f"expected a pack or a complete set of shapes at {path}"
            )

    def selection(
        self,
        field: str,
        path: str,
        selection: Selection,
        rows: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        """Check that something is left of a set of shapes, and note what is left out of it.

        Args:
            field: config that has the selection.
            path: the set; nothing is noted if there is none.
            selection: what is read of it.
            rows: its index rows, if it is not prepared yet.
        """
        if rows is None:
            if not is_prepared(path):
                return
            rows = index_rows(path)
        name = f"{field}.selection"
        try:
            selected(path, rows, selection)
        except SelectionError as error:
            self.wrong(
                f'{error}; choose others with --{name}.split NAME ("" takes all) or '
                f"--{name}.licences NAME ... (no name takes all)"
            )
            return
        if note := licences_note(path, rows, selection):
            self.left_out.append(f"{note} (--{name}.licences NAME ... says which are taken)")

    def lacks(self, look: Callable[[], Any]) -> bool:
        """Whether what is looked for is not there; nothing is noted, whatever else is wrong."""
        try:
            look()
        except FileNotFoundError:
            return True
        except ValueError:
            return False
        return False


def is_prepared(path: str) -> bool:
    """Whether a complete set of shapes lies at a path, as shards or as a pack."""
    return is_complete(Path(path)) or is_pack(Path(path))
