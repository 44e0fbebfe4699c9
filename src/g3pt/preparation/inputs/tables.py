"""The metadata of a mesh in a row of a manifest."""

import os
import posixpath
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from g3pt.files import parse_json
from g3pt.work.tables import Row

_KEPT = ("attribution", "source", "watertight", "n_components", "n_faces")


@dataclass(frozen=True)
class Columns:
    """Names of the columns."""

    path: str = "path"
    id: str = "id"
    caption: str = "caption"
    category: str = "category"
    split: str = "split"
    licence: str = "licence"


@dataclass(frozen=True)
class Described:
    """Metadata of a mesh from a row; only the path is required."""

    where: str
    """File and line of the row, for errors."""
    path: str
    """Path as written in the row."""
    id: str
    captions: tuple[str, ...]
    category: str
    split: str
    licence: str
    sha256: str
    details: dict[str, Any]


def described(row: Row, columns: Columns, where: str) -> Described:
    """Parse one row.

    Raises:
        ValueError: if it has no path.
    """
    path = str(row.get(columns.path) or "")
    if not path:
        known = ", ".join(map(str, row)) or "none"
        raise ValueError(
            f"{where}: expected an object with a `{columns.path}`, there are the columns {known}"
        )
    captions = captions_from(row.get(columns.caption)) or captions_from(row.get("captions"))
    return Described(
        where=where,
        path=path,
        id=str(row.get(columns.id) or posixpath.splitext(posixpath.normpath(path))[0]),
        captions=captions,
        category=str(row.get(columns.category) or row.get("family") or ""),
        split=str(row.get(columns.split) or ""),
        licence=str(row.get(columns.licence) or row.get("license") or "unknown"),
        sha256=str(row.get("sha256") or ""),
        details={key: row[key] for key in _KEPT if row.get(key) not in (None, "")},
    )


def captions_from(value: object) -> tuple[str, ...]:
    """Captions from a string, a list, or a string that is a JSON list."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = parse_json(value.encode(), "a caption")
        except ValueError:
            return (value,)
    if isinstance(value, str):
        return (value.strip(),) if value.strip() else ()
    if isinstance(value, Iterable):
        texts = (str(item).strip() for item in cast("Iterable[object]", value))
        return tuple(text for text in texts if text)
    return ()


def words_of(stem: str) -> str:
    """A caption from a file name: `oak_table-02` gives `oak table`."""
    words = [word for word in stem.replace("_", " ").replace("-", " ").split() if word.isalpha()]
    return " ".join(words).lower() or stem


def path_inside(root: Path, path: str, where: str) -> Path:
    """Join a row's path to the folder that it must stay inside.

    Raises:
        ValueError: if it leads out of the folder, or no file can have that name.
    """
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        raise ValueError(f"{where}: path {path[:80]!a} has half of a character") from None
    joined = Path(os.path.normpath(root / path))
    if "\0" in path or not joined.is_relative_to(os.path.normpath(root)):
        raise ValueError(f"{where}: path {path[:80]!r} leads out of {root}")
    return joined
