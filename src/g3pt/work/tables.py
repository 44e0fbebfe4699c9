"""Rows of tables: CSV, JSON lines and Parquet."""

import csv
import json
from collections.abc import Iterator, Mapping
from importlib import import_module
from io import TextIOWrapper
from itertools import count
from pathlib import Path
from typing import Any, cast

from g3pt.files import check_plain

Row = Mapping[str, Any]

MAX_TABLE_BYTES = 4 * 2**30
"""Largest table that is read: a hundred million short rows."""

FREE_UNPACKED_BYTES = 2**26
"""Memory that the rows of any Parquet table may take."""

UNPACK_RATIO = 200
"""Beyond that, the largest accepted ratio of it to the size of the file."""

MAX_LINE_CHARACTERS = 2**22
"""Longest line that is read of CSV and JSON lines."""

_BATCH_ROWS, _BATCH_BYTES = 4096, 2**24
_VALUE_BYTES = 64
_TEXTS = ("string", "large_string", "binary", "large_binary")


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


def limited_lines(file: TextIOWrapper, origin: str) -> Iterator[str]:
    """Lines of a text, of which no more is read at once than a line may have.

    Raises:
        ValueError: if one is longer; the message names it.
    """
    for number in count(1):
        line = file.readline(MAX_LINE_CHARACTERS + 1)
        if len(line) > MAX_LINE_CHARACTERS:
            raise ValueError(
                f"{origin}:{number}: a line of more than {MAX_LINE_CHARACTERS} characters"
            )
        if not line:
            return
        yield line


def json_rows(file: TextIOWrapper, origin: str) -> Iterator[tuple[str, Row]]:
    """Rows of JSON lines.

    Raises:
        ValueError: if a line is not a JSON object; the message names it.
    """
    try:
        for number, line in enumerate(limited_lines(file, origin), start=1):
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
        reader = csv.DictReader(limited_lines(file, str(table)))
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
        total, most = 0, max(FREE_UNPACKED_BYTES, UNPACK_RATIO * table.stat().st_size)
        for batch in _parquet_batches(parquet, table):
            num_bytes = _python_bytes(batch)
            total += num_bytes
            if total > most:
                raise _TooLargeError(
                    f"its rows up to number {number + batch.num_rows} unpack to {total} bytes, "
                    f"expected at most {most} for a file of this size"
                )
            step = max(batch.num_rows * _BATCH_BYTES // max(num_bytes, 1), 1)
            for start in range(0, batch.num_rows, step):
                for row in batch.slice(start, step).to_pylist():
                    number += 1
                    yield f"{table}: row {number}", row
    except _TooLargeError as error:
        raise ValueError(f"{table}: {error}") from None
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        # the last two: text that is no UTF-8, and times that Python has no date for
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise ValueError(f"{table}: not readable Parquet: {reason}") from None


class _TooLargeError(Exception):
    """A table that unpacks to far more than it has."""


def _parquet_batches(parquet: Any, table: Path) -> Iterator[Any]:
    """Batches of some megabytes; texts that repeat stay in dictionaries, which hold each once."""
    size = table.stat().st_size
    with parquet.ParquetFile(table) as file:
        metadata = file.metadata
    columns = [metadata.schema.column(index) for index in range(metadata.num_columns)]
    texts = [  # not those in lists, which pyarrow cannot always join
        column.path
        for column in columns
        if column.physical_type == "BYTE_ARRAY" and "." not in column.path
    ]
    unpacked = sum(
        metadata.row_group(group).column(index).total_uncompressed_size
        for group in range(metadata.num_row_groups)
        for index in range(metadata.num_columns)
    )
    if unpacked > max(FREE_UNPACKED_BYTES, UNPACK_RATIO * size):
        raise _TooLargeError(
            f"unpacks {size} bytes to {unpacked}, more than {UNPACK_RATIO} times as many"
        )
    num = _BATCH_BYTES * metadata.num_rows // max(unpacked, 1)
    with parquet.ParquetFile(table, read_dictionary=texts) as file:
        yield from file.iter_batches(batch_size=min(max(num, 1), _BATCH_ROWS))


def _python_bytes(batch: Any) -> int:
    """About how much memory the values of a batch take once they are Python's."""
    return sum(_VALUE_BYTES * len(column) + _value_bytes(column) for column in batch.columns)


def _value_bytes(column: Any) -> int:
    from pyarrow import types

    compute: Any = import_module("pyarrow.compute")  # its functions are made when it is imported
    kind = column.type
    if types.is_dictionary(kind) and str(kind.value_type) in _TEXTS:
        lengths = compute.binary_length(column.dictionary).take(column.indices)
        return compute.sum(lengths).as_py() or 0
    if types.is_struct(kind):
        return sum(_value_bytes(field) for field in column.flatten())
    if types.is_map(kind):
        return _value_bytes(column.keys) + _value_bytes(column.items)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        values = column.flatten()
        return _VALUE_BYTES * len(values) + _value_bytes(values)
    return column.nbytes
