"""Hostile sources of meshes: tables, archives and folders that `g3pt prepare` is pointed at."""

import io
import json
import os
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any

from g3pt.geometry.mesh import MeshError
from g3pt.preparation.inputs import list_meshes, source_from_text
from g3pt.shapes.shape_set import SelectionError
from g3pt.torture.damage import FOREIGN, Rng, damaged_bytes, pick, replace_by_special
from g3pt.torture.doors import Door, Hostile, Must
from g3pt.torture.manifests import NASTY_CELLS, table_of
from g3pt.torture.mesh_files import glb_of, obj_of, ply_of, stl_of, tetrahedron

KINDS = (
    "rows.csv",
    "rows.jsonl",
    "rows.parquet",
    "folder/manifest.jsonl",
    "trellis/metadata.csv",
    "meshes.zip",
    "meshes.tar",
    "meshes.tar.gz",
)
"""Files that describe or hold meshes; those in a folder make the folder the source."""
LONG_BYTES = 3 * 2**30
"""Size of files that are one endless line, or claim a list of members as long."""
_MESHES = {"0.glb": glb_of, "1.obj": obj_of, "2.ply": ply_of, "3.stl": stl_of}
_NAMES = ("../outside.glb", "/etc/hostname", "a\0b.glb", "x" * 300 + ".glb", "\ud800.glb", ".glb")


class Sources(Door):
    """Tables, archives and folders of meshes; meshes themselves have a door of their own."""

    name = "sources"
    promise = "every mesh of a source is listed with its metadata, or the source is refused"
    errors = (ValueError, MeshError, SelectionError, FileNotFoundError)

    def write(self, folder: Path, rng: Rng) -> Hostile:
        """A source."""
        kind = pick(KINDS, rng)
        path = folder / kind
        path.parent.mkdir(exist_ok=True)
        source = path.parent if path.parent != folder else path
        meshes = {name: write(tetrahedron(rng)) for name, write in _MESHES.items()}
        if not kind.startswith("meshes"):
            for name, content in meshes.items():
                (path.parent / name).write_bytes(content)
        rows = rows_of(kind)
        data = content_of(kind, rows, meshes)
        what, must = "sound", "open"
        match int(rng.integers(10)):
            case 0:
                pass
            case 1:
                what = pick(tuple(FOREIGN), rng)
                # a folder without its table is a folder of meshes
                data, must = FOREIGN[what], "either" if source != path else "refuse"
            case 2:
                what = replace_by_special(path, rng)
                return Hostile(source, what, "either" if source != path else "refuse")
            case 3:
                path.write_bytes(_endless(kind, rng))
                if kind == "meshes.zip":
                    return Hostile(source, _claim_long_list(path), "refuse")
                os.truncate(path, LONG_BYTES)
                return Hostile(source, "an endless line")
            case 4 | 5 if kind.startswith("meshes"):
                what, data, must = _with_nasty_member(kind, meshes, rng)
            case 4 | 5 if kind != "rows.parquet":  # whose columns have one type
                rows, what = _with_nasty_cell(rows, rng)
                data, must = content_of(kind, rows, meshes), "either"
            case 6:
                what, must = "a row twice", "refuse"
                data = content_of(kind, [*rows, rows[0]], meshes)
            case _:
                must = "either"
                what, data = damaged_bytes(data, rng)
        path.write_bytes(data)
        return Hostile(source, f"{kind}: {what}", must)

    def enter(self, path: Path) -> None:
        """List the meshes, and read those that can be read."""
        refs = list_meshes(source_from_text(str(path)))
        assert len({ref.id for ref in refs}) == len(refs) > 0
        root = path if path.is_dir() else path.parent
        for ref in refs:
            assert Path(os.path.normpath(ref.location)).is_relative_to(root), ref.location
            assert all(isinstance(one, str) for one in (ref.licence, ref.split, *ref.captions))
            json.dumps(dict(ref.details))
            try:
                ref.read(on_note=lambda note: None)
            except MeshError as error:
                assert str(root) in str(error), error


def rows_of(kind: str) -> list[dict[str, Any]]:
    """A row for each of four meshes."""
    if kind == "trellis/metadata.csv":
        return [
            {"sha256": f"{number:064x}", "local_path": name, "captions": '["a thing"]'}
            for number, name in enumerate(_MESHES)
        ]
    return [
        {"path": name, "id": name, "caption": "a thing", "split": "train", "licence": "CC0-1.0"}
        for name in _MESHES
    ]


def content_of(kind: str, rows: list[dict[str, Any]], meshes: dict[str, bytes]) -> bytes:
    """The table, or the archive of the meshes with their table."""
    if not kind.startswith("meshes"):
        return table_of(rows, Path(kind).suffix)
    return packed(kind, [*meshes.items(), ("manifest.jsonl", table_of(rows, ".jsonl"))])


def packed(kind: str, members: list[tuple[str, bytes]]) -> bytes:
    """An archive."""
    out = io.BytesIO()
    if kind == "meshes.zip":
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members:
                archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
        return out.getvalue()
    with tarfile.open(fileobj=out, mode="w:gz" if kind.endswith("gz") else "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def _endless(kind: str, rng: Rng) -> bytes:
    """The beginning of a file whose rest is zeros."""
    if kind == "trellis/metadata.csv":
        return b"sha256,local_path\n0,"
    return pick((b"", b"path,id\n", b'{"path": "0.glb"}\n', b'{"path": "'), rng)


def _claim_long_list(path: Path) -> str:
    """Write an archive whose last record claims that nearly all of it is the list of members."""
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 9, 9, LONG_BYTES, 0, 0)
    with path.open("wb") as file:
        file.seek(LONG_BYTES)
        file.write(end)
    return f"a list of members of {LONG_BYTES >> 30} GiB"


def _with_nasty_cell(rows: list[dict[str, Any]], rng: Rng) -> tuple[list[dict[str, Any]], str]:
    """Rows of which one has another value."""
    changed = [dict(row) for row in rows]
    row, column = pick(changed, rng), pick((*rows[0], "category", "aesthetic_score"), rng)
    row[column] = pick((*NASTY_CELLS, *_NAMES), rng)
    return changed, f"{column} = {repr(row[column])[:40]}"


def _with_nasty_member(kind: str, meshes: dict[str, bytes], rng: Rng) -> tuple[str, bytes, Must]:
    """An archive of which one member is not what it should be."""
    members = list(meshes.items())
    match int(rng.integers(4)):
        case 0:
            name = pick([one for one in _NAMES if one.isprintable()], rng)
            members.append((name, members[0][1]))
            return f"a member {name[:20]!r}", packed(kind, members), "either"
        case 1:
            members.append(members[0])
            return "a member twice", packed(kind, members), "refuse"
        case 2:
            members.append(("manifest.jsonl", pick(list(FOREIGN.values()), rng)))
            return "another manifest", packed(kind, members), "refuse"
        case _:
            members.append(("manifest.jsonl", b'{"path": "0.glb", "id": "' + b"x" * 2**27))
            return "a manifest of one endless line", packed(kind, members), "refuse"
