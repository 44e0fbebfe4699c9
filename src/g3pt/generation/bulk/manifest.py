"""Manifests: which pictures and sentences shapes are to be made of.

A manifest is a folder of pictures, or a table (.csv, .jsonl, .parquet) with a column `id`, one of
`image` and `text` or both, and perhaps `seed`. Paths in a table start from its own folder.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from g3pt.arguments import MAX_SEED
from g3pt.hashes import text_key
from g3pt.work.tables import Row, read_rows

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")
"""Suffixes, in lower case, of the files that are taken from a folder."""

MISSING = -1
"""Size of a picture that does not exist."""


@dataclass(frozen=True, slots=True)
class BulkRow:
    """One shape to make."""

    id: str
    image: str = ""
    """The picture as the manifest names it; empty if there is none."""
    text: str = ""
    seed: int | None = None
    """The seed that the manifest gives."""
    location: str = ""
    """Path of the picture."""

    def seed_of(self, seed: int) -> int:
        """The seed of this row in a run with `seed`.

        It follows from the id alone, so neither order nor other rows change it, and different rows
        of one run do not share their random numbers.
        """
        return text_key(f"bulk {seed} {self.id}") % 2**32 if self.seed is None else self.seed


def read_manifest(source: Path) -> list[BulkRow]:
    """The rows of a manifest, sorted by id.

    Raises:
        FileNotFoundError: if there is no such table or folder.
        ValueError: if a column is missing, a value cannot be used, an id occurs twice, or there are
            no rows; the message names the line.
        ImportError: if a Parquet table is given and pyarrow is not installed.
    """
    if source.is_dir():
        rows = _of_folder(source)
        wanted = f"pictures ({', '.join(PICTURE_SUFFIXES)})"
    else:
        rows = _of_table(source)
        wanted = "rows"
    if not rows:
        raise ValueError(f"{source}: expected {wanted}, there are none")
    return sorted(rows, key=lambda row: row.id)


def _of_folder(folder: Path) -> list[BulkRow]:
    """A row for each picture; its id is its path without the suffix, unless two share that."""
    paths = [
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()
    ]
    stems = Counter(path.with_suffix("").as_posix() for path in paths)
    rows: list[BulkRow] = []
    for path in paths:
        stem = path.with_suffix("").as_posix()
        name = stem if stems[stem] == 1 else path.as_posix()
        rows.append(BulkRow(name, path.as_posix(), location=os.path.abspath(folder / path)))
    return rows


def _of_table(table: Path) -> list[BulkRow]:
    rows: list[BulkRow] = []
    places: dict[str, str] = {}
    for where, values in read_rows(table):
        row = _row(values, where, table.parent)
        if row.id in places:
            raise ValueError(
                f"{where}: the id {row.id!r} was given in {places[row.id]} already; ids name "
                "results, so each may occur once"
            )
        places[row.id] = where
        rows.append(row)
    return rows


def _row(values: Row, where: str, folder: Path) -> BulkRow:
    if "id" not in values or not ("image" in values or "text" in values):
        there = ", ".join(str(name) for name in values if name is not None) or "none"
        raise ValueError(
            f"{where}: expected the column `id` and one of `image` and `text` or both, there are "
            f"the columns {there}"
        )
    name, image, text = (_text(values.get(column)) for column in ("id", "image", "text"))
    if not name:
        raise ValueError(f"{where}: expected an id, it is empty")
    for column, cell in (("id", name), ("image", image), ("text", text)):
        if not _is_text(cell):
            raise ValueError(f"{where}: {column}: {cell[:80]!r} has characters that no text has")
    location = os.path.abspath(folder / image) if image else ""
    return BulkRow(name, image, text, _seed(values.get("seed"), where), location)


def _is_text(cell: str) -> bool:
    """Whether a cell has neither zero bytes nor halves of characters (lone surrogates)."""
    return "\0" not in cell and not any("\ud800" <= each <= "\udfff" for each in cell)


def _text(value: object) -> str:
    return "" if value is None else str(value).strip()


def _seed(value: object, where: str) -> int | None:
    text = _text(value)
    if not text:
        return None
    if not text.isdecimal() or len(text) > len(str(MAX_SEED)) or int(text) > MAX_SEED:
        raise ValueError(
            f"{where}: seed must be a whole number in 0..{MAX_SEED}, got {text[:40]!r}"
        )
    return int(text)


def sizes_of(rows: Sequence[BulkRow]) -> dict[str, int]:
    """Id -> bytes of the picture; 0 without one, `MISSING` if there is no such file."""
    return {row.id: _size(row) for row in rows}


def _size(row: BulkRow) -> int:
    if not row.image:
        return 0
    try:
        return os.stat(row.location).st_size
    except OSError:
        return MISSING


def manifest_sha256(rows: Sequence[BulkRow]) -> str:
    """Hash of what rows ask for; neither the order of a table nor its place matters."""
    digest = hashlib.sha256()
    for line in _lines(rows):
        digest.update(line)
    return digest.hexdigest()


def _lines(rows: Sequence[BulkRow]) -> Iterator[bytes]:
    for row in rows:
        yield json.dumps([row.id, row.image, row.text, row.seed]).encode() + b"\n"
