"""Configs of mesh sources, and how they are recognised from one word of a command line."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, assert_never, cast

from g3pt.geometry.triangles import GltfColors
from g3pt.work.tables import MAX_LINE_CHARACTERS

ARCHIVE_ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz")
MANIFEST_ENDINGS = (".csv", ".jsonl", ".parquet")


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderSourceConfig:
    """A tree of mesh files, described by its `manifest.jsonl` where it has one."""

    kind: Literal["folder"] = "folder"
    path: str = ""
    """The folder. Symbolic links to folders are not followed; linked files are read if they lie
    inside."""
    split: str = ""
    """Keep only rows of this split (`train`, `val`); empty keeps all."""
    licences: tuple[str, ...] = ()
    """Keep only meshes under these licences; empty keeps all."""
    limit: int = 0
    """Keep at most this many meshes, in the order of the list; 0 keeps all."""
    gltf_colors: GltfColors = "linear"
    """Content of COLOR_0 in GLB and glTF files; `srgb` if their authors say so."""
    include: tuple[str, ...] = ()
    """Keep only paths that match one of these patterns (`chairs/*.glb`; `*` also matches `/`)."""
    exclude: tuple[str, ...] = ()
    """Leave out paths that match one of these patterns."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestSourceConfig:
    """Mesh files listed in a table: CSV, JSON lines or Parquet."""

    kind: Literal["manifest"] = "manifest"
    path: str = ""
    """The table."""
    root: str = ""
    """The folder that paths are relative to and must stay inside; empty means the table's
    folder."""
    path_column: str = "path"
    """Column of the mesh file; the only required one."""
    id_column: str = "id"
    """Column of the id; by default the path without suffix is the id."""
    caption_column: str = "caption"
    """Column of one caption or a JSON list of captions; a column `captions` is read too."""
    category_column: str = "category"
    """Column of the kind of object."""
    split_column: str = "split"
    """Column of the split."""
    licence_column: str = "licence"
    """Column of the licence."""
    split: str = ""
    """Keep only rows of this split; empty keeps all."""
    licences: tuple[str, ...] = ()
    """Keep only rows under these licences; empty keeps all."""
    limit: int = 0
    """Keep at most this many meshes, in the order of the table; 0 keeps all."""
    gltf_colors: GltfColors = "linear"
    """Content of COLOR_0 in GLB and glTF files; `srgb` if their authors say so."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveSourceConfig:
    """Meshes in a zip or tar archive, read without unpacking it.

    A `manifest.jsonl` at its root describes it. Members of a compressed tar can only be read
    sequentially: read them in order, or prefer zip.
    """

    kind: Literal["archive"] = "archive"
    path: str = ""
    """The archive: .zip, .tar, .tar.gz or .tgz."""
    split: str = ""
    """Keep only rows of this split; empty keeps all."""
    licences: tuple[str, ...] = ()
    """Keep only meshes under these licences; empty keeps all."""
    limit: int = 0
    """Keep at most this many meshes, in the order of the archive; 0 keeps all."""
    gltf_colors: GltfColors = "linear"
    """Content of COLOR_0 in GLB and glTF files; `srgb` if their authors say so."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrellisSourceConfig:
    """A folder in the layout of the TRELLIS data sets: `metadata.csv` and downloaded files."""

    kind: Literal["trellis"] = "trellis"
    path: str = ""
    """The folder that holds `metadata.csv`."""
    min_aesthetic_score: float = 0.0
    """Leave out objects scored below this, or not scored; 0 keeps all."""
    split: str = ""
    """Keep only rows of this split, where the table has one; empty keeps all."""
    licences: tuple[str, ...] = ()
    """Keep only rows under these licences, where the table has them; empty keeps all."""
    limit: int = 0
    """Keep at most this many meshes, in the order of the table; 0 keeps all."""
    gltf_colors: GltfColors = "linear"
    """Content of COLOR_0 in GLB and glTF files; `srgb` if their authors say so."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjaverseSourceConfig:
    """Objects of Objaverse 1.0, downloaded unless they are already there."""

    kind: Literal["objaverse"] = "objaverse"
    uids: tuple[str, ...] = ()
    """Ids of the objects."""
    path: str = ""
    """A file of further ids: one per line, or a JSON list."""
    download_processes: int = 1
    """Number of parallel downloads."""
    split: str = ""
    """Must be empty, since Objaverse has no splits: any other value keeps nothing."""
    licences: tuple[str, ...] = ()
    """Keep only objects under these licences (`CC-BY-4.0`); only those are downloaded."""
    limit: int = 0
    """Keep at most this many, in the order given; 0 keeps all."""
    gltf_colors: GltfColors = "linear"
    """Content of COLOR_0 in GLB and glTF files; `srgb` if their authors say so."""


MeshSourceConfig = (
    FolderSourceConfig
    | ManifestSourceConfig
    | ArchiveSourceConfig
    | TrellisSourceConfig
    | ObjaverseSourceConfig
)


_KINDS = ("folder", "manifest", "archive", "trellis", "objaverse")


def as_once_meant(data: Any) -> Any:
    """Complete stored configs that were written before `gltf_colors` existed.

    At that time COLOR_0 was read as display values, against the specification. Sets made from such
    sources, and objects added to them, keep that reading.

    Args:
        data: JSON values with whole sources, as `to_json` gives them, at any depth. Sources written
            by hand with only some fields are unchanged.
    """
    if isinstance(data, list):
        return [as_once_meant(value) for value in cast("list[Any]", data)]
    if not isinstance(data, Mapping):
        return data
    whole = {key: as_once_meant(value) for key, value in cast("Mapping[str, Any]", data).items()}
    if whole.get("kind") in _KINDS and {"path", "limit", "licences"} <= whole.keys():
        whole.setdefault("gltf_colors", "srgb")
    return whole


def source_from_text(
    text: str,
    *,
    split: str = "",
    licences: tuple[str, ...] = (),
    limit: int = 0,
    gltf_colors: GltfColors = "linear",
) -> MeshSourceConfig:
    """Recognise a source from one word: a folder, a table, an archive, or `objaverse:...`.

    Args:
        text: the word.
        split: keep only this split.
        licences: keep only these licences.
        limit: keep at most this many meshes; 0 keeps all.
        gltf_colors: content of COLOR_0 in GLB and glTF files.

    Raises:
        ValueError: if it is none of them; the message lists what is accepted.
    """
    config = _source_from_text(text)
    return replace(config, split=split, licences=licences, limit=limit, gltf_colors=gltf_colors)


def _source_from_text(text: str) -> MeshSourceConfig:
    match _kind_of(text):
        case "folder":
            return FolderSourceConfig(path=text)
        case "manifest":
            return ManifestSourceConfig(path=text)
        case "archive":
            return ArchiveSourceConfig(path=text)
        case "trellis":
            return TrellisSourceConfig(path=text)
        case "objaverse":
            rest = text.removeprefix("objaverse:")
            if Path(rest).is_file():
                return ObjaverseSourceConfig(path=rest)
            uids = tuple(uid.strip() for uid in rest.split(",") if uid.strip())
            return ObjaverseSourceConfig(uids=uids)
        case kind:
            assert_never(kind)


def _kind_of(text: str) -> Literal["folder", "manifest", "archive", "trellis", "objaverse"]:
    path = Path(text)
    if text.startswith("objaverse:"):
        rest = text.removeprefix("objaverse:")
        if rest and ("." in rest or "/" in rest) and not Path(rest).is_file():
            raise ValueError(f"{text}: there is no file {rest}")
        if rest.strip(", "):
            return "objaverse"
    elif path.is_dir():
        return "trellis" if _is_trellis(path) else "folder"
    elif path.is_file() and path.name.lower().endswith(MANIFEST_ENDINGS):
        return "manifest"
    elif path.is_file() and path.name.lower().endswith(ARCHIVE_ENDINGS):
        return "archive"
    there = "" if path.exists() or text.startswith("objaverse:") else " (nothing is there)"
    raise ValueError(
        f"{text}: expected a folder of meshes, a table ({', '.join(MANIFEST_ENDINGS)}), an archive "
        f"({', '.join(ARCHIVE_ENDINGS)}) or objaverse:FILE_OR_UID[,UID...]{there}"
    )


def _is_trellis(folder: Path) -> bool:
    table = folder / "metadata.csv"
    if not table.is_file():
        return False
    with table.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        names = file.readline(MAX_LINE_CHARACTERS)
    try:
        return "sha256" in next(csv.reader([names]), [])
    except csv.Error:
        return False
