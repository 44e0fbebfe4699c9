import gzip
import hashlib
import importlib.util
import io
import json
import logging
import lzma
import os
import pickle
import socket
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from g3pt.geometry.mesh import MeshError, is_closed
from g3pt.preparation.inputs import (
    ArchiveSourceConfig,
    FolderSourceConfig,
    ManifestSourceConfig,
    MeshRef,
    MeshSourceConfig,
    ObjaverseSourceConfig,
    TrellisSourceConfig,
    archives,
    as_once_meant,
    list_meshes,
    source_from_text,
)
from g3pt.torture.mesh_files import embedded_gltf_of, glb_of, gltf_of, obj_of, pack_glb, ply_of

POINTS = np.array([(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)], float)
GLB = glb_of(POINTS)


def write(path, content=GLB):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def ids(config):
    return [ref.id for ref in list_meshes(config)]


def refused(ref):
    with pytest.raises(MeshError) as caught:
        ref.read()
    return caught.value.code


def test_listing_does_not_load_torch():
    code = "import sys, g3pt.preparation.inputs; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_configs_survive_json():
    from g3pt.config import from_json, to_json

    for config in (
        FolderSourceConfig(path="a", include=("*.glb",)),
        ManifestSourceConfig(path="a.csv", licences=("MIT",)),
        ArchiveSourceConfig(path="a.zip"),
        TrellisSourceConfig(path="a", min_aesthetic_score=5.5),
        ObjaverseSourceConfig(uids=("a", "b")),
    ):
        assert from_json(type(config), to_json(config)) == config
    assert FolderSourceConfig in MeshSourceConfig.__args__


# References


def test_a_reference_reads_its_file_and_survives_pickling(tmp_path):
    ref = MeshRef(id="a", location=str(write(tmp_path / "a.glb")), details={"source": "x"})
    assert is_closed(ref.read()) and pickle.loads(pickle.dumps(ref)) == ref
    assert refused(MeshRef(id="b", location=str(tmp_path / "b.glb"))) == "missing"
    assert refused(MeshRef(id="b", location=str(tmp_path / "b.xyz"))) == "unknown_format"


def test_a_file_with_another_hash_is_refused(tmp_path):
    path = str(write(tmp_path / "a.glb"))
    right = hashlib.sha256(GLB).hexdigest()
    assert is_closed(MeshRef(id="a", location=path, sha256=right.upper()).read())
    assert refused(MeshRef(id="a", location=path, sha256="0" * 64)) == "checksum"


def test_every_source_says_how_its_colours_are_meant(tmp_path):
    rgba = np.array([(55, 128, 250, 255)] * 4, np.uint8)
    document, binary = gltf_of(POINTS)
    document["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"] = 2
    document["bufferViews"].append({"buffer": 0, "byteOffset": len(binary), "byteLength": 16})
    document["accessors"].append(
        {"bufferView": 2, "componentType": 5121, "normalized": True, "count": 4, "type": "VEC4"}
    )
    content = pack_glb(document, binary + rgba.tobytes())
    path = write(tmp_path / "a.glb", content)
    (tmp_path / "t.csv").write_text("path\na.glb\n")
    archive = pack(tmp_path / "a.zip", {"a.glb": content})
    folder = FolderSourceConfig(path=str(tmp_path), include=(path.name,))
    for source in (folder, ManifestSourceConfig(path=str(tmp_path / "t.csv")), archive):
        (linear,) = list_meshes(source)
        assert np.array_equal(linear.read().colors, [(128, 188, 253, 255)] * 4)
        (display,) = list_meshes(replace(source, gltf_colors="srgb"))
        assert np.array_equal(display.read().colors, rgba)
        assert pickle.loads(pickle.dumps(display)).gltf_colors == "srgb"
    config = source_from_text(str(tmp_path), gltf_colors="srgb")
    assert isinstance(config, FolderSourceConfig) and config.gltf_colors == "srgb"


def test_configs_written_before_colours_had_a_choice_keep_their_meaning():
    """They were made by a reader that took the bytes of COLOR_0 for display values."""
    from g3pt.config import to_json

    source = FolderSourceConfig(path="a", limit=3)
    now = {"shapes": [{"source": to_json(source)}], "other": {"kind": "folder"}}
    before = {"shapes": [{"source": dict(now["shapes"][0]["source"])}], "other": now["other"]}
    del before["shapes"][0]["source"]["gltf_colors"]
    then = as_once_meant(before)
    assert then["shapes"][0]["source"] == {**now["shapes"][0]["source"], "gltf_colors": "srgb"}
    assert then["other"] == now["other"]
    assert as_once_meant(now) == now
    by_hand = {"kind": "folder", "path": "a"}
    assert as_once_meant(by_hand) == by_hand


# Folders


def test_a_folder_lists_every_mesh_below_it_in_order(tmp_path):
    for name in ("b/oak_table-02.glb", "a.ply", "B.OBJ", "b/deep down/çup.3mf", "notes.txt"):
        write(tmp_path / name)
    refs = list_meshes(FolderSourceConfig(path=str(tmp_path)))
    assert [ref.id for ref in refs] == [
        "B.OBJ",
        "a.ply",
        "b/deep down/çup.3mf",
        "b/oak_table-02.glb",
    ]
    assert refs[3].captions == ("oak table",) and refs[3].size == len(GLB)
    assert refs[3].licence == "unknown"


def test_a_folder_is_narrowed_by_patterns(tmp_path):
    for name in ("chairs/a.glb", "chairs/old/b.glb", "lamps/c.glb"):
        write(tmp_path / name)
    config = FolderSourceConfig(path=str(tmp_path), include=("chairs/*",), exclude=("*/old/*",))
    assert ids(config) == ["chairs/a.glb"]


def test_links_are_followed_only_to_files_inside(tmp_path):
    outside = write(tmp_path / "outside" / "secret.glb")
    tree = tmp_path / "tree"
    write(tree / "real" / "a.glb")
    (tree / "inside.glb").symlink_to("real/a.glb")
    (tree / "outside.glb").symlink_to(outside)
    (tree / "again").symlink_to(tree)
    (tree / "folder.glb").symlink_to("real")
    (tree / "loop.glb").symlink_to("loop.glb")
    os.mkfifo(tree / "pipe.glb")
    refs = {ref.id: ref for ref in list_meshes(FolderSourceConfig(path=str(tree)))}
    assert sorted(refs) == ["inside.glb", "loop.glb", "pipe.glb", "real/a.glb"]
    assert is_closed(refs["inside.glb"].read())
    assert refused(refs["loop.glb"]) == refused(refs["pipe.glb"]) == "not_a_file"


def test_names_that_are_no_text_are_listed(tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff.glb"
    with open(path, "wb") as file:
        file.write(GLB)
    (ref,) = list_meshes(FolderSourceConfig(path=str(tmp_path)))
    assert ref.id.encode("utf-8") and is_closed(ref.read())


def manifest(folder, *rows):
    text = "".join(json.dumps(row) + "\n\n" for row in rows)
    write(folder / "manifest.jsonl", text.encode())
    return FolderSourceConfig(path=str(folder))


def test_a_folder_is_described_by_its_manifest(tmp_path):
    write(tmp_path / "x" / "a.glb")
    config = manifest(
        tmp_path,
        {
            "path": "x/a.glb",
            "family": "box",
            "caption": "a box",
            "attribution": "Ann",
            "n_faces": 4,
        },
        {
            "path": "gone.glb",
            "id": "b",
            "captions": ["one", "two"],
            "licence": "MIT",
            "split": "val",
        },
    )
    first, second = list_meshes(config)
    assert (first.id, first.category, first.captions) == ("x/a", "box", ("a box",))
    assert first.details == {"attribution": "Ann", "n_faces": 4} and is_closed(first.read())
    assert (second.id, second.captions, second.licence) == ("b", ("one", "two"), "MIT")
    assert refused(second) == "missing"


def test_filters_are_common_to_all_sources(tmp_path):
    rows = [
        {
            "path": f"{i}.glb",
            "split": ("train", "val")[i % 2],
            "licence": ("MIT", "CC0-1.0")[i // 2 % 2],
        }
        for i in range(8)
    ]
    config = manifest(tmp_path, *rows)
    for base in (config, ManifestSourceConfig(path=str(tmp_path / "manifest.jsonl"))):
        make = type(base)
        assert ids(make(path=base.path, split="val")) == ["1", "3", "5", "7"]
        assert ids(make(path=base.path, split="val", licences=("MIT",))) == ["1", "5"]
        assert ids(make(path=base.path, licences=("MIT",), limit=3)) == ["0", "1", "4"]
        with pytest.raises(
            ValueError,
            match=r"none of its 8 shapes is of split test; there are train \(4\), val \(4\)",
        ):
            list_meshes(make(path=base.path, split="test"))


@pytest.mark.parametrize("path", ["../a.glb", "/etc/a.glb", "x/../../a.glb", ".."])
def test_manifest_paths_stay_inside(tmp_path, path):
    with pytest.raises(ValueError, match=r"manifest.jsonl:1: path .* leads out of"):
        list_meshes(manifest(tmp_path, {"path": path}))


def test_a_path_with_half_of_a_character_is_refused_by_line(tmp_path):
    with pytest.raises(ValueError, match=r"jsonl:1: path 'a\\ud800\.glb' has half of a") as refused:
        list_meshes(manifest(tmp_path, {"path": "a\ud800.glb"}))
    assert type(refused.value) is ValueError


def test_broken_manifests_name_the_line(tmp_path):
    write(tmp_path / "manifest.jsonl", b'{"path": "a.glb"}\n{oops\n')
    with pytest.raises(ValueError, match=r"manifest.jsonl:2: not JSON"):
        list_meshes(FolderSourceConfig(path=str(tmp_path)))
    with pytest.raises(ValueError, match=r"manifest.jsonl:1: expected an object, got list"):
        list_meshes(FolderSourceConfig(path=str(write(tmp_path / "manifest.jsonl", b"[1]").parent)))


def test_a_caption_of_many_brackets_is_a_caption(tmp_path):
    write(tmp_path / "a.glb")
    row = {"path": "a.glb", "caption": "[" * 100_000}
    (ref,) = list_meshes(manifest(tmp_path, row))
    assert ref.captions == (row["caption"],)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="folder of meshes"):
        list_meshes(FolderSourceConfig(path=str(tmp_path / "gone")))


# Tables


def test_a_csv_table_may_name_its_columns(tmp_path):
    write(tmp_path / "meshes" / "a.glb")
    table = write(
        tmp_path / "t.csv",
        '\ufefffile,uid,words,kind\na.glb,one,"[""a, b"", ""c""]",cup\n'.encode(),
    )
    config = ManifestSourceConfig(
        path=str(table), root=str(tmp_path / "meshes"), path_column="file", id_column="uid",
        caption_column="words", category_column="kind",
    )  # fmt: skip
    (ref,) = list_meshes(config)
    assert (ref.id, ref.captions, ref.category) == ("one", ("a, b", "c"), "cup")
    assert is_closed(ref.read())


def test_a_missing_path_column_is_named_with_those_there_are(tmp_path):
    table = write(tmp_path / "t.csv", b"file,uid\na.glb,one\n")
    with pytest.raises(ValueError, match=r"t.csv:2: .*`path`.* columns file, uid"):
        list_meshes(ManifestSourceConfig(path=str(table)))


def test_two_rows_with_one_id_are_both_named(tmp_path):
    table = write(tmp_path / "t.csv", b"path,id\na.glb,one\nb.glb,two\nc.glb,one\n")
    with pytest.raises(ValueError, match=r"t.csv:2 and .*t.csv:4 both have the id 'one'"):
        list_meshes(ManifestSourceConfig(path=str(table)))


@pytest.mark.skipif(not importlib.util.find_spec("pyarrow"), reason="pyarrow is not installed")
def test_a_parquet_table_is_read(tmp_path):
    import pyarrow
    import pyarrow.parquet as parquet

    write(tmp_path / "a.glb")
    rows = [{"path": "a.glb", "captions": ["x", "y"], "sha256": hashlib.sha256(GLB).hexdigest()}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "t.parquet")
    (ref,) = list_meshes(ManifestSourceConfig(path=str(tmp_path / "t.parquet")))
    assert ref.captions == ("x", "y") and is_closed(ref.read())
    with pytest.raises(ValueError, match="not readable Parquet"):
        list_meshes(ManifestSourceConfig(path=str(write(tmp_path / "b.parquet"))))


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install g3pt\[data\]"):
        list_meshes(ManifestSourceConfig(path=str(write(tmp_path / "t.parquet"))))


# Archives


def pack(path, members):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
    else:
        with tarfile.open(path, "w:gz" if path.suffix != ".tar" else "w") as archive:
            for name, content in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return ArchiveSourceConfig(path=str(path))


ARCHIVES = ["a.zip", "a.tar", "a.tar.gz", "a.tgz"]


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives_are_read_without_unpacking(tmp_path, name):
    document, binary = gltf_of(POINTS)
    document["buffers"][0]["uri"] = "parts/a.bin"
    members = {
        "sub/b.ply": ply_of(POINTS),
        "readme.txt": b"",
        "sub/a.gltf": json.dumps(document).encode(),
        "sub/parts/a.bin": binary,
    }
    refs = list_meshes(pack(tmp_path / name, members))
    assert [ref.id for ref in refs] == ["sub/b.ply", "sub/a.gltf"]
    assert refs[0].captions == ("b",) and refs[0].size == len(members["sub/b.ply"])
    for ref in reversed(refs):
        assert is_closed(pickle.loads(pickle.dumps(ref)).read())
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("name", ARCHIVES)
def test_members_cannot_leave_their_archive_or_folder(tmp_path, name):
    outside = embedded_gltf_of(POINTS, buffers=[{"byteLength": 72, "uri": "../a.bin"}])
    gone = embedded_gltf_of(POINTS, buffers=[{"byteLength": 72, "uri": "gone.bin"}])
    members = {"../up.glb": GLB, "/root.glb": GLB, "in/out.gltf": outside, "in/gone.gltf": gone}
    refs = list_meshes(pack(tmp_path / name, {**members, "a.bin": bytes(72)}))
    codes = [refused(ref) for ref in refs]
    assert codes == ["external_reference"] * 3 + ["missing"]


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_manifest_describes_an_archive(tmp_path, name):
    row = {"path": "x/a.glb", "id": "one", "caption": "a thing", "licence": "MIT"}
    members = {"manifest.jsonl": json.dumps(row).encode(), "x/a.glb": GLB, "x/b.glb": GLB}
    (ref,) = list_meshes(pack(tmp_path / name, members))
    assert (ref.id, ref.captions, ref.licence) == ("one", ("a thing",), "MIT")
    assert is_closed(ref.read())


def test_encrypted_members_are_refused(tmp_path):
    config = pack(tmp_path / "a.zip", {"a.glb": GLB})
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    (ref,) = list_meshes(config)
    with pytest.raises(MeshError, match=r"a\.zip:a\.glb: encrypted, expected a plain member"):
        ref.read()


def test_links_in_a_tar_are_refused(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        info = tarfile.TarInfo("link.glb")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(info)
    (ref,) = list_meshes(ArchiveSourceConfig(path=str(tmp_path / "a.tar")))
    assert refused(ref) == "not_a_file"


def test_sparse_members_of_a_tar_are_refused(tmp_path):
    info = tarfile.TarInfo("a.obj")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 512
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[386:410] = b"00000000000\0" + b"00000001000\0"  # the first piece: place and bytes
    header[483:495] = b"77777777777\0"  # bytes in all
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    write(tmp_path / "a.tar", bytes(header) + bytes(512) + bytes(10240))
    (ref,) = list_meshes(ArchiveSourceConfig(path=str(tmp_path / "a.tar")))
    assert refused(ref) == "not_a_file"


def test_a_member_of_a_tar_has_the_largest_size_of_meshes(tmp_path):
    info = tarfile.TarInfo("a.obj")
    info.size = 2**30 + 1
    with (tmp_path / "a.tar").open("wb") as file:
        file.write(info.tobuf())
        file.truncate(2**30 + 11264)
    (ref,) = list_meshes(ArchiveSourceConfig(path=str(tmp_path / "a.tar")))
    assert refused(ref) == "too_large"


def test_a_tar_that_is_cut_within_a_member_is_named(tmp_path):
    config = pack(tmp_path / "a.tar", {"a.obj": obj_of(POINTS)})
    refs = list_meshes(config)
    os.truncate(tmp_path / "a.tar", 600)
    assert [refused(ref) for ref in refs] == ["cut_off"]


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_that_went_or_was_damaged_since_it_was_listed_is_named(tmp_path, name):
    (ref,) = list_meshes(pack(tmp_path / name, {"a.obj": obj_of(POINTS)}))
    assert refused(replace(ref, member="a\0.obj")) == "external_reference"
    write(tmp_path / name, b"not an archive")
    with pytest.raises(MeshError, match=f"{name}: not a readable archive"):
        ref.read()
    (tmp_path / name).unlink()
    assert refused(ref) == "missing"


def test_a_compressed_tar_that_grows_too_much_is_refused(tmp_path):
    config = pack(tmp_path / "a.tgz", {f"{i}.stl": bytes(9_000_000) for i in range(3)})
    with pytest.raises(ValueError, match="times as many"):
        list_meshes(config)


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
@pytest.mark.parametrize("first", [True, False])
def test_a_name_in_a_tar_that_is_longer_than_names_are_is_not_unpacked(kind, first, tmp_path):
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as archive:
        if not first:
            archive.addfile(tarfile.TarInfo("a.obj"))
        header = tarfile.TarInfo("././@LongLink")
        header.type, header.size = kind, 2**21
        archive.fileobj.write(header.tobuf(tarfile.USTAR_FORMAT) + bytes(2**21))
    with pytest.raises(ValueError, match=r"a\.tgz: a name or description in it has 2097152 bytes"):
        list_meshes(ArchiveSourceConfig(path=str(tmp_path / "a.tgz")))


def test_long_names_in_a_tar_are_read(tmp_path):
    name = "folder/" * 50 + "a.obj"
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with tarfile.open(tmp_path / "a.tgz", "w:gz", format=form) as archive:
            info = tarfile.TarInfo(name)
            info.size = len(obj_of(POINTS))
            archive.addfile(info, io.BytesIO(obj_of(POINTS)))
        (ref,) = list_meshes(ArchiveSourceConfig(path=str(tmp_path / "a.tgz")))
        assert ref.member == name and is_closed(ref.read())


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tgz"])
def test_damaged_archives_are_named(tmp_path, name):
    write(tmp_path / name, b"not an archive")
    with pytest.raises(ValueError, match="not a readable archive"):
        list_meshes(ArchiveSourceConfig(path=str(tmp_path / name)))
    with pytest.raises(FileNotFoundError, match="no archive"):
        list_meshes(ArchiveSourceConfig(path=str(tmp_path / f"gone-{name}")))


def test_a_compressed_tar_that_is_cut_is_named(tmp_path):
    config = pack(tmp_path / "a.tgz", {f"{i}.obj": os.urandom(4000) for i in range(3)})
    data = (tmp_path / "a.tgz").read_bytes()
    write(tmp_path / "a.tgz", data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"a\.tgz: a damaged archive \(.*ended before"):
        list_meshes(config)


@pytest.mark.parametrize("name", [False, True])
def test_the_padding_and_names_of_gzip_have_a_largest_size(tmp_path, monkeypatch, name):
    packed = gzip.compress(tarfile.TarInfo("a.obj").tobuf())  # without the end of an archive
    if name:
        flagged = packed[:3] + bytes([packed[3] | 8]) + packed[4:10]
        packed = flagged + b"n" * 5000 + b"\0" + packed[10:]
    write(tmp_path / "a.tgz", packed if name else packed + bytes(2**18))
    config = ArchiveSourceConfig(path=str(tmp_path / "a.tgz"))
    assert [ref.id for ref in list_meshes(config)] == ["a.obj"]
    monkeypatch.setattr(archives, "MAX_NAME_BYTES", 4000)
    with pytest.raises(
        ValueError, match=r"a\.tgz: .*more than 4000 bytes of padding, or of a name"
    ):
        list_meshes(config)


def test_a_tar_is_plain_or_gzip_whatever_its_ending_says(tmp_path):
    pack(tmp_path / "a.tgz", {"a.obj": obj_of(POINTS)})
    (tmp_path / "a.tgz").rename(tmp_path / "b.tar")
    (ref,) = list_meshes(ArchiveSourceConfig(path=str(tmp_path / "b.tar")))
    assert is_closed(ref.read())
    write(tmp_path / "c.tar", lzma.compress((tmp_path / "b.tar").read_bytes()) + bytes(2**16))
    with pytest.raises(ValueError, match="not a readable archive"):
        list_meshes(ArchiveSourceConfig(path=str(tmp_path / "c.tar")))


def test_the_list_of_members_of_a_zip_has_a_largest_size(tmp_path, monkeypatch):
    member = os.urandom(5000) + obj_of(POINTS)
    config = pack(tmp_path / "a.zip", {"a.obj": member, "b.obj": member})
    monkeypatch.setattr(archives, "MAX_LIST_BYTES", 102)
    refs = list_meshes(config)
    assert archives.open_archive(config.path).read(refs[1].member) == member  # longer than a list
    monkeypatch.setattr(archives, "MAX_LIST_BYTES", 101)
    with pytest.raises(ValueError, match=r"a\.zip: .* list of members has 102 bytes, expected at"):
        list_meshes(config)


@pytest.mark.parametrize("name", ARCHIVES)
def test_the_manifest_of_an_archive_is_text_in_utf_8(tmp_path, name):
    config = pack(tmp_path / name, {"manifest.jsonl": b"\xff\n", "a.glb": GLB})
    with pytest.raises(ValueError, match=rf"{name}:manifest\.jsonl: not UTF-8"):
        list_meshes(config)


def test_a_member_whose_bytes_were_changed_is_refused(tmp_path):
    config = pack(tmp_path / "a.zip", {"a.obj": obj_of(POINTS)})
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[60] ^= 0xFF
    (tmp_path / "a.zip").write_bytes(data)
    assert refused(list_meshes(config)[0]) == "cut_off"


# TRELLIS


def trellis(folder, rows):
    head = "sha256,file_identifier,aesthetic_score,captions,local_path\n"
    write(folder / "metadata.csv", (head + "\n".join(rows) + "\n").encode())
    return str(folder)


def test_trellis_sets_are_listed_by_hash_and_checked(tmp_path, caplog):
    right, wrong = hashlib.sha256(GLB).hexdigest(), "ab" * 32
    for name in ("a", "b", "c"):
        write(tmp_path / "raw" / f"{name}.glb")
    path = trellis(
        tmp_path,
        [
            f'{right},https://a,6.5,"[""a cup"", ""a red cup""]",raw/a.glb',
            f"{wrong},https://b,7.0,,raw/b.glb",
            f"{'cd' * 32},https://c,2.0,,raw/c.glb",
            f"{'ef' * 32},https://d,7.0,,",
        ],
    )
    with caplog.at_level(logging.WARNING):
        first, second = list_meshes(TrellisSourceConfig(path=path, min_aesthetic_score=5))
    assert first.id == right and first.captions == ("a cup", "a red cup")
    assert first.details == {"source": "https://a", "aesthetic_score": 6.5}
    assert is_closed(first.read()) and refused(second) == "checksum"
    assert "1 rows without a downloaded file" in caplog.text
    assert len(list_meshes(TrellisSourceConfig(path=path))) == 3


@pytest.mark.parametrize("table", [b"sha256,\xff\n", b"x" * 200_000, bytes(5_000_000)])
def test_a_folder_is_recognised_by_the_first_line_of_its_table(tmp_path, table):
    write(tmp_path / "metadata.csv", table)
    kind = TrellisSourceConfig if table.startswith(b"sha256") else FolderSourceConfig
    assert source_from_text(str(tmp_path)) == kind(path=str(tmp_path))


# Objaverse


@pytest.fixture
def objaverse(tmp_path, monkeypatch):
    """A stand-in for the download folder; the network is out of reach."""
    package = pytest.importorskip("objaverse")
    root = tmp_path / "hf-objaverse-v1"
    monkeypatch.setattr(package, "BASE_PATH", str(tmp_path))
    monkeypatch.setattr(package, "_VERSIONED_PATH", str(root))

    def refuse(*_):
        raise OSError("no network in tests")

    monkeypatch.setattr(socket, "socket", refuse)
    uids = {"aaa": "by", "bbb": "cc0", "ccc": "by-nc"}
    for uid in ("aaa", "bbb"):
        write(root / "glbs" / "000-001" / f"{uid}.glb")
    paths = {uid: f"glbs/000-001/{uid}.glb" for uid in uids}
    notes = {
        uid: {
            "name": f"Thing {uid}",
            "license": licence,
            "categories": [{"name": "cars"}],
            "user": {"displayName": "Ann"},
            "viewerUrl": f"https://example.org/{uid}",
        }
        for uid, licence in uids.items()
    }
    write(root / "object-paths.json.gz", gzip.compress(json.dumps(paths).encode()))
    write(root / "metadata" / "000-001.json.gz", gzip.compress(json.dumps(notes).encode()))
    return tmp_path


def test_objaverse_objects_that_are_there_need_no_network(objaverse):
    first, second = list_meshes(ObjaverseSourceConfig(uids=("bbb", "aaa")))
    assert (first.id, first.licence, first.category) == ("bbb", "CC0-1.0", "cars")
    assert second.licence == "CC-BY-4.0" and second.captions == ("Thing aaa",)
    assert second.details == {"attribution": "Ann", "source": "https://example.org/aaa"}
    assert is_closed(first.read())


def test_objaverse_downloads_only_what_is_kept(objaverse):
    everything = ("aaa", "bbb", "ccc")  # ccc is not there
    free = ObjaverseSourceConfig(uids=everything, licences=("CC-BY-4.0", "CC0-1.0"))
    assert ids(free) == ["aaa", "bbb"]
    assert ids(ObjaverseSourceConfig(uids=everything, limit=1)) == ["aaa"]
    with pytest.raises(ConnectionError, match="could not be downloaded"):
        list_meshes(ObjaverseSourceConfig(uids=everything))


def test_objaverse_names_come_from_files_and_are_checked(objaverse):
    for content in (b"aaa\nbbb.glb\n", b'["aaa", "bbb"]', b'{"aaa": 1, "bbb": 2}'):
        path = write(objaverse / "names.txt", content)
        assert ids(ObjaverseSourceConfig(path=str(path))) == ["aaa", "bbb"]
    with pytest.raises(ValueError, match="no object called zzz"):
        list_meshes(ObjaverseSourceConfig(uids=("zzz",)))
    with pytest.raises(ValueError, match="expected names"):
        list_meshes(ObjaverseSourceConfig())


def test_without_the_objaverse_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "objaverse", None)
    with pytest.raises(ImportError, match=r"pip install g3pt\[data\]"):
        list_meshes(ObjaverseSourceConfig(uids=("aaa",)))


# One word


def test_the_kind_of_source_is_told_from_one_word(tmp_path):
    (tmp_path / "plain").mkdir()
    trellis(tmp_path / "set", [])
    write(tmp_path / "other" / "metadata.csv", b"name,size\n")
    for name in ("t.csv", "t.JSONL", "t.parquet", *ARCHIVES):
        write(tmp_path / name)
    kinds = {
        "plain": "folder", "other": "folder", "set": "trellis", "t.csv": "manifest",
        "t.JSONL": "manifest", "t.parquet": "manifest", **dict.fromkeys(ARCHIVES, "archive"),
    }  # fmt: skip
    for name, kind in kinds.items():
        config = source_from_text(str(tmp_path / name), split="val", licences=("MIT",), limit=2)
        assert (config.kind, config.path) == (kind, str(tmp_path / name))
        assert (config.split, config.licences, config.limit) == ("val", ("MIT",), 2)


def test_objaverse_is_told_by_its_prefix(tmp_path):
    names = write(tmp_path / "names.txt", b"aaa")
    assert source_from_text("objaverse:aaa,bbb") == ObjaverseSourceConfig(uids=("aaa", "bbb"))
    assert source_from_text(f"objaverse:{names}") == ObjaverseSourceConfig(path=str(names))


@pytest.mark.parametrize("text", ["gone", "a.rar", "objaverse:", "objaverse:gone.txt", "a.glb"])
def test_anything_else_is_told_what_is_accepted(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.glb")
    with pytest.raises(ValueError, match=r"expected a folder of meshes|there is no file"):
        source_from_text(text)
