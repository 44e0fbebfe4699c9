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
import math
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from g3pt.files import read_json, read_plain, read_text, staying, write_whole
from g3pt.shapes.npy import read_any_array

logger = logging.getLogger(__name__)

Row = dict[str, Any]
"""One line of the table; values are text, numbers, truth values or None."""

TEXT_COLUMNS = frozenset(
    {"id", "family", "method", "prompt", "reference", "predicted_family", "true_family", "problem"}
    | {"selected_by"}
)
"""Columns that stay text when read back, whatever they look like."""

TABLE_FILE = "objects.csv"
ADVICE = "name another folder, or remove this one"
MAX_TABLE_BYTES = 2**27
"""Largest table of rows that is read: some hundred thousand objects."""
MAX_ARCHIVE_BYTES = 2**28
"""Largest file of arrays of one object that is read."""


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
            FileNotFoundError: if a part of what it held is missing.
            ValueError: if the folder holds results of something else, or damaged ones; the message
                names the file.
        """
        if folder is None:
            return cls(code=(code,))
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "config.json"
        wanted = json.loads(json.dumps(config))
        before: tuple[str, ...] = ()
        if os.path.lexists(file):
            existing, before = _read_config(file)
            if existing != wanted:
                differs = [key for key in wanted if existing.get(key) != wanted[key]]
                raise ValueError(
                    f"{folder}: holds another evaluation (it differs in {', '.join(differs)}); "
                    f"{ADVICE}"
                )
        elif os.path.lexists(folder / TABLE_FILE):
            raise ValueError(f"{folder}: holds rows and no config.json; {ADVICE}")
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
            by_rows = {name: np.asarray(one, order="C") for name, one in measured.arrays.items()}
            buffer, named = io.BytesIO(), cast(dict[str, Any], by_rows)
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
        write_whole(folder / TABLE_FILE, to_csv(rows))

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
    """The rows of a folder of results, in the order of the objects.

    Raises:
        ValueError: if they are damaged; the message names the file.
    """
    return [row for entry in sorted(_read(folder), key=_slot) for row in entry.rows]


def _slot(entry: Measured) -> int:
    return entry.slot


def _read_config(file: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What is evaluated and how, and the versions of the code."""
    values = read_json(file)
    if not isinstance(values, dict):
        raise ValueError(f"{file}: expected an object, got {type(values).__name__}; {ADVICE}")
    config = cast("dict[str, Any]", values)
    code: Any = config.pop("code", None)
    if not isinstance(code, list) or not all(isinstance(one, str) for one in cast(Any, code)):
        raise ValueError(
            f"{file}: code: expected a list of versions, got {str(code)[:40]!r}; {ADVICE}"
        )
    return config, tuple(cast("list[str]", code))


def _read(folder: Path) -> list[Measured]:
    file = folder / TABLE_FILE
    if not os.path.lexists(file):
        return []
    try:
        text = read_text(file, most=MAX_TABLE_BYTES)
    except ValueError as error:
        raise ValueError(f"{error}; {ADVICE}") from None
    if not text.startswith(("slot,", "slot\n")) and text != "\n":
        raise ValueError(f"{file}: is no table whose first column is slot; {ADVICE}")
    by_slot: dict[int, list[Row]] = {}
    for number, row in enumerate(from_csv(text, str(file)), start=1):
        slot = row.pop("slot", None)
        if type(slot) is not int or slot < 0:
            raise ValueError(
                f"{file}: row {number}: slot: expected the number of an object, got {slot!r}; "
                f"{ADVICE}"
            )
        by_slot.setdefault(slot, []).append(row)
    tokens = _read_tokens(folder / "tokens.json")
    return [
        Measured(
            slot,
            tuple(rows),
            tokens.get(str(slot), ()),
            _read_arrays(folder / "arrays" / f"{slot}.npz"),
        )
        for slot, rows in by_slot.items()
    ]


def _read_tokens(file: Path) -> dict[str, tuple[int, ...]]:
    """Tokens of objects by their slot, as many of each."""
    if not os.path.lexists(file):
        return {}
    values = read_json(file)
    if not isinstance(values, dict):
        raise ValueError(f"{file}: expected an object, got {type(values).__name__}; {ADVICE}")
    lengths: set[int] = set()
    for slot, tokens in cast("dict[str, Any]", values).items():
        if not isinstance(tokens, list) or not all(
            type(one) is int and 0 <= one < 2**63 for one in cast("list[Any]", tokens)
        ):
            raise ValueError(
                f"{file}: {slot[:20]}: expected a list of tokens, got {str(tokens)[:40]!r}; "
                f"{ADVICE}"
            )
        lengths.add(len(cast("list[int]", tokens)))
    if len(lengths) > 1:
        raise ValueError(
            f"{file}: objects have {min(lengths)} to {max(lengths)} tokens, expected as many of "
            f"each; {ADVICE}"
        )
    return {slot: tuple(tokens) for slot, tokens in cast("dict[str, list[int]]", values).items()}


def _read_arrays(file: Path) -> dict[str, np.ndarray]:
    """Arrays of a file that `np.savez` wrote: numbers and texts, not compressed, by their names."""
    if not os.path.lexists(file):
        return {}
    data = read_plain(file, MAX_ARCHIVE_BYTES)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            plain = all(one.compress_type == zipfile.ZIP_STORED for one in members)
            names = {one.filename.removesuffix(".npy") for one in members}
            if not plain or len(names) < len(members):
                raise ValueError("is compressed, or has arrays twice")
            return {
                one.filename.removesuffix(".npy"): _parse_array(archive.read(one))
                for one in members
            }
    except Exception as error:  # the parsers of archives and headers have errors of many kinds
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise ValueError(f"{file}: is damaged ({reason}); {ADVICE}") from None


def _parse_array(data: bytes) -> np.ndarray:
    array = read_any_array(memoryview(data)).copy()
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError("an array has numbers that are not finite")
    return array


# --- formats -------------------------------------------------------------------------------


def to_csv(rows: Sequence[Row]) -> str:
    """Rows as CSV with every column that occurs; None and missing values are empty."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def from_csv(text: str, origin: str = "rows") -> list[Row]:
    """Rows that `to_csv` wrote; numbers come back exactly, empty values as None.

    Args:
        text: the table.
        origin: where it comes from, for messages.

    Raises:
        ValueError: if it is damaged; the message names the row and the column.
    """
    if not text.endswith("\n"):
        raise ValueError(f"{origin}: ends within a row; {ADVICE}")
    reader = csv.DictReader(io.StringIO(text), restkey="", strict=True)
    rows: list[Row] = []
    try:
        columns = list(reader.fieldnames or ())
        if "" in columns or len(set(columns)) < len(columns):
            raise ValueError(f"{origin}: has columns twice, or without a name; {ADVICE}")
        for number, row in enumerate(reader, start=1):
            if "" in row or None in row.values():
                raise ValueError(
                    f"{origin}: row {number}: expected {len(columns)} values; {ADVICE}"
                )
            where = f"{origin}: row {number}"
            rows.append({name: _value(name, value, where) for name, value in row.items()})
    except csv.Error as error:
        raise ValueError(f"{origin}: row {len(rows) + 1}: {error}; {ADVICE}") from None
    return rows


def _value(name: str, text: str, where: str) -> Any:
    if name in TEXT_COLUMNS:
        return text or None
    if text in ("", "True", "False"):
        return {"": None, "True": True, "False": False}[text]
    for number in (int, float):
        try:
            value = number(text)
        except ValueError:
            continue
        if abs(value) < 2**63 if isinstance(value, int) else math.isfinite(value):
            return value
        break
    raise ValueError(f"{where}: {name}: expected a number, got {text[:40]!r}; {ADVICE}")
