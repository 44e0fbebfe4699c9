"""What the sources of meshes are configured with, and how they are written on one line."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, assert_never, cast

from g3pt.geometry.triangles import GltfColors

ARCHIVE_ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz")
MANIFEST_ENDINGS = (".csv", ".jsonl", ".parquet")


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderSourceConfig:
    """A tree of mesh files, described by its `manifest.jsonl` where it has one."""

    kind: Literal["folder"] = "folder"
    path: str = ""
    """The folder. Linked folders are not entered; linked files count if they lie inside it."""
    split: str = ""
    """Keep only rows of this split (`train`, `val`); empty keeps all."""
    licences: tuple[str, ...] = ()
    """Keep only meshes under these licences; empty keeps all."""
    limit: int = 0
    """Keep at most this many meshes, in the order of the list; 0 keeps all."""
    gltf_colors: GltfColors = "linear"
    """What COLOR_0 of GLB and glTF files holds; `srgb` where their authors say so."""
    include: tuple[str, ...] = ()
    """Keep only paths that fit one of these patterns (`chairs/*.glb`; `*` also spans folders)."""
    exclude: tuple[str, ...] = ()
    """Leave out paths that fit one of these patterns."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestSourceConfig:
    """Mesh files listed in a table: CSV, JSON lines or Parquet."""

    kind: Literal["manifest"] = "manifest"
    path: str = ""
    """The table."""
    root: str = ""
    """The folder that paths are relative to and stay inside; empty means the table's own."""
    path_column: str = "path"
    """Column of the mesh file; the only one that must be there."""
    id_column: str = "id"
    """Column of the name; without it the path without suffix is the name."""
    caption_column: str = "caption"
    """Column of one caption or a JSON list of them; `captions` is looked at too."""
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
    """What COLOR_0 of GLB and glTF files holds; `srgb` where their authors say so."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveSourceConfig:
    """Meshes in a zip or tar archive, read without unpacking it.

    A `manifest.jsonl` at its root describes it. Members of a compressed tar can only be reached
    from its beginning: read them in order, or prefer zip.
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
    """What COLOR_0 of GLB and glTF files holds; `srgb` where their authors say so."""


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
    """What COLOR_0 of GLB and glTF files holds; `srgb` where their authors say so."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjaverseSourceConfig:
    """Objects of Objaverse 1.0, downloaded unless they are already there."""

    kind: Literal["objaverse"] = "objaverse"
    uids: tuple[str, ...] = ()
    """The objects' names."""
    path: str = ""
    """A file of more names: one a line, or a JSON list."""
    download_processes: int = 1
    """How many downloads run at once."""
    split: str = ""
    """Objaverse has no splits: anything but empty keeps nothing."""
    licences: tuple[str, ...] = ()
    """Keep only objects under these licences (`CC-BY-4.0`); only those are downloaded."""
    limit: int = 0
    """Keep at most this many, in the order given; 0 keeps all."""
    gltf_colors: GltfColors = "linear"
    """What COLOR_0 of GLB and glTF files holds; `srgb` where their authors say so."""


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

    Display values were taken from COLOR_0 then, whatever the specification says: what was made
    of such a source, and what is added to it, keeps that meaning.

    Args:
        data: JSON values, at any depth of which there may be whole sources as `to_json` gives
            them. Sources written by hand, with some fields only, are left alone.
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
    """Tell from one word what source is meant: a folder, a table, an archive, `objaverse:...`.

    Args:
        text: the word.
        split: keep only this one.
        licences: keep only these.
        limit: keep at most so many.
        gltf_colors: what COLOR_0 of GLB and glTF files holds.

    Raises:
        ValueError: if it is none of them, saying what is accepted.
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
    with table.open(encoding="utf-8-sig", newline="") as file:
        return "sha256" in next(csv.reader(file), [])
