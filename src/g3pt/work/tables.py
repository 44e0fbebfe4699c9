"""Rows of tables: CSV, JSON lines and Parquet."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from g3pt.files import check_plain

Row = Mapping[str, Any]

MAX_TABLE_BYTES = 4 * 2**30
"""Largest table that is read: a hundred million short rows."""


def read_rows(table: Path) -> Iterator[tuple[str, Row]]:
    """Rows of a CSV, JSON lines or Parquet file, each with its place for error messages.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read; the message names the line if possible.
    """
    if not table.is_file():
        raise FileNotFoundError(f"{table}: no such table")
    check_plain(table, MAX_TABLE_BYTES, ValueError)
    match table.suffix.lower():
        case ".csv":
            yield from _csv_rows(table)
        case ".jsonl":
            with table.open(encoding="utf-8-sig") as file:
                yield from json_rows(file, str(table))
        case ".parquet":
            yield from _parquet_rows(table)
        case suffix:
            raise ValueError(f"{table}: expected a .csv, .jsonl or .parquet table, got {suffix}")


def json_rows(lines: Iterable[str], origin: str) -> Iterator[tuple[str, Row]]:
    """Rows of JSON lines.

    Raises:
        ValueError: if a line is not a JSON object; the message names it.
    """
    try:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            where = f"{origin}:{number}"
            try:
                row: object = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{where}: not JSON: {str(error)[:80]}") from None
            if not isinstance(row, dict):
                raise ValueError(f"{where}: expected an object, got {type(row).__name__}")
            yield where, cast("Row", row)
    except UnicodeDecodeError as error:
        raise ValueError(f"{origin}: not UTF-8 text: {error}") from None


def _csv_rows(table: Path) -> Iterator[tuple[str, Row]]:
    with table.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        try:
            for row in reader:
                yield f"{table}:{reader.line_num}", row
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{table}:{reader.line_num}: not readable CSV: {error}") from None


def _parquet_rows(table: Path) -> Iterator[tuple[str, Row]]:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise ImportError(f"{table}: Parquet needs pyarrow: pip install g3pt[data]") from None
    try:
        number = 0
        with parquet.ParquetFile(table) as file:
            for batch in file.iter_batches(batch_size=4096):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{table}: row {number}", row
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        # the last two: text that is no UTF-8, and times that Python has no date for
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise ValueError(f"{table}: not readable Parquet: {reason}") from None
