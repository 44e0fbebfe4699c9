"""From a source's config to its `MeshRef`s, in a fixed order, with unique ids."""

import io
import logging
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any, assert_never

from g3pt.geometry.mesh import MESH_SUFFIXES
from g3pt.preparation.inputs.archives import Archive, open_archive
from g3pt.preparation.inputs.configs import (
    ArchiveSourceConfig,
    FolderSourceConfig,
    ManifestSourceConfig,
    MeshSourceConfig,
    ObjaverseSourceConfig,
    TrellisSourceConfig,
)
from g3pt.preparation.inputs.objaverse_source import objaverse_refs
from g3pt.preparation.inputs.refs import MeshRef
from g3pt.preparation.inputs.tables import (
    Columns,
    Described,
    captions_from,
    described,
    path_inside,
    words_of,
)
from g3pt.shapes.shape_set import Selection, SelectionError, nothing_fits
from g3pt.work.tables import json_rows, read_rows

logger = logging.getLogger(__name__)

MANIFEST = "manifest.jsonl"

Found = tuple[str, MeshRef]
"""Place where it was found, for error messages, and the reference."""


def list_meshes(config: MeshSourceConfig) -> list[MeshRef]:
    """List everything that a source holds and its filters keep, in the order of the source.

    Raises:
        FileNotFoundError: if the source is not there.
        ValueError: if no mesh passes the filters, a table is malformed, or two meshes have the same
            id.
    """
    match config:
        case FolderSourceConfig():
            found = _folder(config)
        case ManifestSourceConfig():
            found = _manifest(config)
        case ArchiveSourceConfig():
            found = _archive(config)
        case TrellisSourceConfig():
            found = _trellis(config)
        case ObjaverseSourceConfig():
            found = objaverse_refs(config)
        case _:
            assert_never(config)
    return _kept(found, config)


def _kept(found: Iterable[Found], config: MeshSourceConfig) -> list[MeshRef]:
    """Apply the options that all sources share, such as filters, and check that ids are unique.

    Raises:
        SelectionError: if nothing is left.
    """
    kept: dict[str, MeshRef] = {}
    places: dict[str, str] = {}
    seen: list[dict[str, str]] = []
    for where, ref in found:
        seen.append({"split": ref.split, "licence": ref.licence})
        if config.split and ref.split != config.split:
            continue
        if config.licences and ref.licence not in config.licences:
            continue
        if ref.id in kept:
            raise ValueError(f"{places[ref.id]} and {where} both have the id {ref.id!r}")
        kept[ref.id] = replace(ref, gltf_colors=config.gltf_colors)
        places[ref.id] = where
        if config.limit and len(kept) == config.limit:
            break
    if not kept:
        asked = Selection(split=config.split, licences=config.licences)
        raise SelectionError(nothing_fits(config.path or config.kind, seen, asked))
    return list(kept.values())


# --- folders -------------------------------------------------------------------------------


def _folder(config: FolderSourceConfig) -> Iterator[Found]:
    root = Path(config.path)
    if not config.path or not root.is_dir():
        raise FileNotFoundError(f"source.path: expected a folder of meshes at {root}")
    manifest = root / MANIFEST
    if manifest.is_file():
        rows = (described(row, Columns(), where) for where, row in read_rows(manifest))
        return (
            (row.where, _file_ref(row, root))
            for row in rows
            if _fits(PurePosixPath(row.path).as_posix(), config)
        )
    return (
        (str(path), _loose_ref(path, root))
        for path in _walk(root)
        if _fits(path.relative_to(root).as_posix(), config)
    )


def _fits(path: str, config: FolderSourceConfig) -> bool:
    if config.include and not any(fnmatchcase(path, pattern) for pattern in config.include):
        return False
    return not any(fnmatchcase(path, pattern) for pattern in config.exclude)


def _walk(root: Path) -> list[Path]:
    """All paths with the suffix of a mesh, sorted; links are followed only to files."""
    inside = root.resolve()
    found: list[Path] = []
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError as error:
            logger.warning("%s: left out, %s", folder, error.strerror)
            continue
        for entry in entries:
            path = Path(entry.path)
            if entry.is_dir(follow_symlinks=False):
                waiting.append(path)
            elif path.suffix.lower() in MESH_SUFFIXES and _belongs(entry, inside):
                found.append(path)
    return sorted(found)


def _belongs(entry: "os.DirEntry[str]", inside: Path) -> bool:
    """Whether a path lies in the tree; a link must be broken or lead to a file in the tree."""
    if not entry.is_symlink():
        return True
    try:
        target = Path(entry.path).resolve(strict=True)
    except (OSError, RuntimeError):
        return True  # a broken link or a loop: refused by name when it is read
    return target.is_relative_to(inside) and not target.is_dir()


def _loose_ref(path: Path, root: Path) -> MeshRef:
    return MeshRef(
        id=_printable(path.relative_to(root).as_posix()),
        location=str(path),
        captions=(words_of(_printable(path.stem)),),
        size=_size(path),
    )


def _printable(name: str) -> str:
    """A file name as printable text: bytes that are not UTF-8 become question marks."""
    return os.fsencode(name).decode("utf-8", "replace")


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return -1


def _file_ref(row: Described, root: Path) -> MeshRef:
    path = path_inside(root, row.path, row.where)
    return MeshRef(
        id=row.id,
        location=str(path),
        captions=row.captions,
        category=row.category,
        split=row.split,
        licence=row.licence,
        sha256=row.sha256,
        size=_size(path),
        details=row.details,
    )


# --- tables --------------------------------------------------------------------------------


def _manifest(config: ManifestSourceConfig) -> Iterator[Found]:
    table = Path(config.path)
    root = Path(config.root) if config.root else table.parent
    columns = Columns(
        path=config.path_column,
        id=config.id_column,
        caption=config.caption_column,
        category=config.category_column,
        split=config.split_column,
        licence=config.licence_column,
    )
    for where, values in read_rows(table):
        row = described(values, columns, where)
        yield where, _file_ref(row, root)


def _trellis(config: TrellisSourceConfig) -> Iterator[Found]:
    root = Path(config.path)
    table = root / "metadata.csv"
    num_absent = 0
    for where, row in read_rows(table):
        if "sha256" not in row:
            raise ValueError(f"{where}: expected a column sha256, there are {', '.join(row)}")
        score = _score(row.get("aesthetic_score"))
        if config.min_aesthetic_score > 0 and not score >= config.min_aesthetic_score:
            continue
        local, sha256 = row.get("local_path") or "", row["sha256"] or ""
        if not local or not sha256:
            num_absent += 1
            continue
        path = path_inside(root, local, where)
        details: dict[str, Any] = {"source": row.get("file_identifier") or ""}
        if not math.isnan(score):
            details["aesthetic_score"] = score
        yield (
            where,
            MeshRef(
                id=sha256,
                location=str(path),
                captions=captions_from(row.get("captions")),
                category=row.get("category") or "",
                split=row.get("split") or "",
                licence=row.get("licence") or row.get("license") or "unknown",
                sha256=sha256,
                size=_size(path),
                details=details,
            ),
        )
    if num_absent:
        logger.warning("%s: %d rows without a downloaded file left out", table, num_absent)


def _score(text: object) -> float:
    """An aesthetic score; NaN where there is none."""
    try:
        return float(str(text))
    except ValueError:
        return float("nan")


# --- archives ------------------------------------------------------------------------------


def _archive(config: ArchiveSourceConfig) -> Iterator[Found]:
    archive = open_archive(config.path)
    sizes: dict[str, int] = {}
    doubles: set[str] = set()
    for member in archive.members():
        if member.name in sizes:
            doubles.add(member.name)
        sizes[member.name] = member.size
    manifest = next((name for name in (MANIFEST, f"./{MANIFEST}") if name in sizes), "")
    if manifest:
        yield from _described_members(archive, manifest, sizes)
        return
    for name, size in sizes.items():
        if PurePosixPath(name).suffix.lower() not in MESH_SUFFIXES:
            continue
        if name in doubles:
            raise ValueError(f"{config.path}: two members are called {name!r}")
        ref = MeshRef(
            id=_printable(name.removeprefix("./")),
            location=config.path,
            member=name,
            captions=(words_of(_printable(PurePosixPath(name).stem)),),
            size=size,
        )
        yield f"{config.path}:{name}", ref


def _described_members(archive: Archive, manifest: str, sizes: dict[str, int]) -> Iterator[Found]:
    text = io.TextIOWrapper(io.BytesIO(archive.read(manifest)), encoding="utf-8-sig")
    prefix = manifest.removesuffix(MANIFEST)
    for where, values in json_rows(text, f"{archive.path}:{manifest}"):
        row = described(values, Columns(), where)
        member = prefix + row.path
        yield (
            where,
            MeshRef(
                id=row.id,
                location=archive.path,
                member=member,
                captions=row.captions,
                category=row.category,
                split=row.split,
                licence=row.licence,
                sha256=row.sha256,
                size=sizes.get(member, -1),
                details=row.details,
            ),
        )
