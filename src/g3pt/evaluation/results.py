"""Results on disk: each object is written when it is finished; a rerun continues from there.

config.json       what is evaluated and how; a rerun must agree with it
objects.csv       the rows of every finished object
tokens.json       the tokens behind them, where there are any, by slot
arrays/SLOT.npz   sketches of the object, where whole sets are compared
evaluation.json   the report
report.md         the same as a table
"""

import csv
import io
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from g3pt.files import read_json, staying, write_whole

logger = logging.getLogger(__name__)

Row = dict[str, Any]
"""One line of the table; values are text, numbers, truth values or None."""

TEXT_COLUMNS = frozenset(
    {"id", "family", "method", "prompt", "reference", "predicted_family", "true_family", "problem"}
    | {"selected_by"}
)
"""Columns that stay text when read back, whatever they look like."""


@dataclass(frozen=True, eq=False)
class Measured:
    """What evaluating one object gave."""

    slot: int
    rows: tuple[Row, ...]
    tokens: tuple[int, ...] = ()
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)


def refused(object_id: str, slot: int, error: Exception) -> Measured:
    """An object without a usable truth: no numbers, but the reason."""
    return Measured(slot, ({"id": object_id, "problem": str(error)},))


@dataclass(eq=False)
class Results:
    """Finished objects, in memory and, when a folder is given, on disk."""

    folder: Path | None = None
    measured: list[Measured] = field(default_factory=list)
    code: tuple[str, ...] = ()
    """Versions of the code that worked on them."""

    @classmethod
    def open(cls, folder: Path | None, config: dict[str, Any], code: str = "") -> "Results":
        """Start, or continue from what an earlier run with the same config left.

        Args:
            folder: where the files go; None keeps everything in memory.
            config: JSON values that say what is evaluated and how.
            code: version of the program. Rows of another one are kept, with a warning.

        Raises:
            ValueError: if the folder holds results of something else.
        """
        if folder is None:
            return cls(code=(code,))
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "config.json"
        wanted = json.loads(json.dumps(config))
        before: tuple[str, ...] = ()
        if file.is_file():
            existing = read_json(file)
            before = tuple(existing.pop("code"))
            if existing != wanted:
                differs = [key for key in wanted if existing.get(key) != wanted[key]]
                raise ValueError(
                    f"{folder}: holds another evaluation (it differs in {', '.join(differs)}); "
                    "name another folder, or remove this one"
                )
        results = cls(folder, _read(folder), tuple(dict.fromkeys((*before, code))))
        if results.measured and code not in before:
            logger.warning("%s: some rows come from other code (%s)", folder, ", ".join(before))
        text = json.dumps({**wanted, "code": results.code}, indent=2) + "\n"
        write_whole(file, text)
        return results

    @property
    def finished(self) -> set[int]:
        """Slots of the objects that are done."""
        return {entry.slot for entry in self.measured}

    @property
    def rows(self) -> list[Row]:
        """All rows in the order of the objects."""
        return [row for entry in sorted(self.measured, key=_slot) for row in entry.rows]

    @property
    def tokens(self) -> np.ndarray | None:
        """Tokens (objects, T) in the order of the objects, None if there are none."""
        found = [entry.tokens for entry in sorted(self.measured, key=_slot) if entry.tokens]
        return np.array(found, dtype=np.int64) if found else None

    @property
    def arrays(self) -> list[Mapping[str, np.ndarray]]:
        """Arrays of the objects that have some, in the order of the objects."""
        return [entry.arrays for entry in sorted(self.measured, key=_slot) if entry.arrays]

    def add(self, measured: Measured) -> None:
        """Keep a finished object.

        Raises:
            RuntimeError: if someone has removed the folder.
        """
        self.measured.append(measured)
        if self.folder is not None:
            with staying(self.folder):
                self._write(self.folder, measured)

    def _write(self, folder: Path, measured: Measured) -> None:
        # Tokens and arrays first: a row that is there has them.
        if measured.arrays:
            buffer, named = io.BytesIO(), cast(dict[str, Any], measured.arrays)
            np.savez(buffer, **named)
            (folder / "arrays").mkdir(exist_ok=True)
            write_whole(folder / "arrays" / f"{measured.slot}.npz", buffer.getvalue())
        if measured.tokens:
            ordered = sorted(self.measured, key=_slot)
            kept = {str(entry.slot): entry.tokens for entry in ordered if entry.tokens}
            write_whole(folder / "tokens.json", json.dumps(kept))
        rows = [
            {"slot": entry.slot, **row}
            for entry in sorted(self.measured, key=_slot)
            for row in entry.rows
        ]
        write_whole(folder / "objects.csv", to_csv(rows))

    def finish(self, report: dict[str, Any], table: str) -> None:
        """Write the report into the folder of the rows.

        Raises:
            RuntimeError: if someone has removed the folder.
        """
        if self.folder is None:
            return
        text = json.dumps(report, indent=2, allow_nan=False) + "\n"
        with staying(self.folder):
            write_whole(self.folder / "evaluation.json", text)
            write_whole(self.folder / "report.md", table)


def read_rows(folder: Path) -> list[Row]:
    """The rows of a folder of results, in the order of the objects."""
    return [row for entry in sorted(_read(folder), key=_slot) for row in entry.rows]


def _slot(entry: Measured) -> int:
    return entry.slot


def _read(folder: Path) -> list[Measured]:
    file = folder / "objects.csv"
    if not file.is_file():
        return []
    token_file = folder / "tokens.json"
    tokens = read_json(token_file) if token_file.is_file() else {}
    by_slot: dict[int, list[Row]] = {}
    for row in from_csv(file.read_text(encoding="utf-8")):
        by_slot.setdefault(int(row.pop("slot")), []).append(row)
    return [
        Measured(
            slot,
            tuple(rows),
            tuple(tokens.get(str(slot), ())),
            _read_arrays(folder / "arrays" / f"{slot}.npz"),
        )
        for slot, rows in by_slot.items()
    ]


def _read_arrays(file: Path) -> dict[str, np.ndarray]:
    if not file.is_file():
        return {}
    with np.load(file, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


# --- formats -------------------------------------------------------------------------------


def to_csv(rows: Sequence[Row]) -> str:
    """Rows as CSV with every column that occurs; None and missing values are empty."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def from_csv(text: str) -> list[Row]:
    """Rows that `to_csv` wrote; numbers come back exactly, empty values as None."""
    return [
        {name: _value(name, value) for name, value in row.items()}
        for row in csv.DictReader(io.StringIO(text))
    ]


def _value(name: str, text: str) -> Any:
    if name in TEXT_COLUMNS:
        return text or None
    if text in ("", "True", "False"):
        return {"": None, "True": True, "False": False}[text]
    try:
        return int(text)
    except ValueError:
        return float(text)
