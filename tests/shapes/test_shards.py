"""Shards by their own reader, and their layout by nothing but `tarfile`, NumPy and Pillow."""

import hashlib
import io
import json
import logging
import pickle
import tarfile
from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest
from PIL import Image

from boxes import in_box


@pytest.fixture
def open_set():
    from g3pt.shapes.shards import ShardSet

    return ShardSet


def flip_a_byte(folder, shard, place):
    file = folder / f"shard-0000{shard}.tar"
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)


def sign(folder):
    """Renew the fingerprint of a set whose lines were changed."""
    lines = [file.read_bytes() for file in sorted(folder.glob("shard-*.jsonl"))]
    index = json.loads((folder / "index.json").read_text())
    index["fingerprint"] = hashlib.sha256(b"".join(lines)).hexdigest()
    (folder / "index.json").write_text(json.dumps(index))


# --- what a set gives ----------------------------------------------------------------------


def test_a_row_gives_the_arrays_of_its_shape(folder_shards, small_prepare):
    for row, name in enumerate(("cube", "pole", "slab")):
        stored = folder_shards[row]
        assert folder_shards.shapes[row]["id"] == name
        assert stored.points.shape == stored.normals.shape == stored.colors.shape == (256, 3)
        assert stored.volume_inside.shape == (512 // 8,)
        assert stored.near_inside.shape == (384 // 8,)
    assert len(folder_shards) == 3 and folder_shards.prepare == small_prepare


def test_labels_are_those_of_the_box_at_every_query(folder_shards, small_prepare):
    from g3pt.shapes.stored import positions

    for row, name in enumerate(("cube", "pole", "slab")):
        stored = folder_shards[row]
        queries, inside = stored.volume(np.arange(512))
        assert np.array_equal(inside, in_box(name, positions(queries)))
        for group, sigma in enumerate(small_prepare.near_sigmas):
            numbers = np.arange(128) + 128 * group
            queries, inside = stored.near(numbers, sigma)
            assert np.array_equal(inside, in_box(name, positions(queries)))


def test_some_queries_are_the_same_as_among_all(folder_shards):
    stored, chosen = folder_shards[1], np.array([500, 3, 77])
    queries, inside = stored.volume(np.arange(512))
    some, some_inside = stored.volume(chosen)
    assert np.array_equal(some, queries[chosen])
    assert np.array_equal(some_inside, inside[chosen])


def test_arrays_lie_in_the_file_and_cannot_be_written(folder_shards):
    stored = folder_shards[0]
    for name in ("points", "normals", "colors", "volume_inside", "near_inside"):
        array = getattr(stored, name)
        assert not array.flags.owndata
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_a_description_tells_frame_quality_and_cameras(folder_shards):
    description = folder_shards.description(2)
    assert description["id"] == "slab" and description["licence"] == "MIT-0"
    assert description["frame"]["scale"] == pytest.approx(1.9 / 4)
    assert description["frame"]["offset"] == pytest.approx([5, 0, 0])
    assert description["extents"] == pytest.approx([4, 1, 2])
    assert len(description["cameras"]) == folder_shards.num_views(2) == 3
    assert description["quality"]["label_error"] == 0
    assert folder_shards.captions(2) == ("a slab",)


def test_a_picture_is_what_was_drawn(folder_shards, folder_source, small_views):
    from g3pt.preparation.prepare import draw_views
    from g3pt.preparation.sources import list_shapes, load_shape
    from g3pt.shapes.stored import read_picture

    (ref,) = (ref for ref in list_shapes(folder_source) if ref.id == "slab")
    files, _ = draw_views(load_shape(ref), small_views)
    for view in range(3):
        assert np.array_equal(folder_shards.picture(2, view), read_picture(files[view]))


def test_drawn_surface_points_are_distinct_rows_of_the_shape(folder_shards):
    points, normals = folder_shards.draw_surface(1, 100, np.random.default_rng(0))
    stored = np.concatenate([folder_shards[1].points, folder_shards[1].normals], axis=1)
    drawn = np.concatenate([points, normals], axis=1)
    assert {*map(tuple, drawn.tolist())} <= {*map(tuple, stored.tolist())}
    assert len(np.unique(drawn, axis=0)) == 100


def test_a_pickled_set_is_small_and_opens_again(folder_shards):
    data = pickle.dumps(folder_shards)
    copy = pickle.loads(data)
    assert len(data) < 1000
    assert copy.fingerprint == folder_shards.fingerprint
    assert np.array_equal(copy[2].points, folder_shards[2].points)


# --- selections ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed(mesh_folder, folder_config, tmp_path_factory):
    """The whole folder: every split and licence."""
    from g3pt.preparation.build import build_shards
    from g3pt.preparation.sources import FolderSourceConfig

    out = tmp_path_factory.mktemp("mixed") / "all"
    build_shards(replace(folder_config, source=FolderSourceConfig(path=str(mesh_folder))), out)
    return out


def ids(shards):
    return [shape["id"] for shape in shards.shapes]


def test_a_selection_keeps_a_split_or_licences(mixed, open_set):
    from g3pt.shapes.shape_set import TRAINING, VALIDATION, Selection

    assert ids(open_set(mixed)) == ["cube", "kept-for-validation", "named-author", "pole", "slab"]
    assert ids(open_set(mixed, TRAINING)) == ["cube", "named-author", "pole", "slab"]
    assert ids(open_set(mixed, VALIDATION)) == ["kept-for-validation"]
    free = Selection(split="train", licences=("CC0-1.0", "MIT-0"))
    assert ids(open_set(mixed, free)) == ["cube", "pole", "slab"]


def test_flagged_shapes_can_be_left_out(copied, open_set):
    from g3pt.shapes.shape_set import QualityLimits, Selection

    file = copied / "shard-00001.jsonl"
    pole, sheet = file.read_text().splitlines()
    doubtful = json.loads(pole)
    doubtful["quality"]["label_error"] = 0.2
    file.write_text(json.dumps(doubtful) + "\n" + sheet + "\n")
    sign(copied)
    assert ids(open_set(copied)) == ["cube", "pole", "slab"]
    assert ids(open_set(copied, Selection(flagged=False))) == ["cube", "slab"]
    patient = Selection(flagged=False, limits=QualityLimits(label_error=0.3))
    assert ids(open_set(copied, patient)) == ["cube", "pole", "slab"]


def test_limits_name_the_numbers_that_are_beyond_them():
    from g3pt.shapes.shape_set import QualityLimits

    measured = {"label_error": 0.2, "disagreement": 0.1, "solid_to_source": 0.16, "chamfer": 9.0}
    assert QualityLimits().flags({"quality": measured}) == ["label_error", "solid_to_source"]
    assert QualityLimits().flags({"quality": {}}) == []


def test_a_selection_that_leaves_nothing_is_refused(folder_shards, open_set):
    from g3pt.shapes.shape_set import Selection

    with pytest.raises(
        ValueError, match=r"none of its 3 shapes is of split val; there are train \(3\)"
    ):
        open_set(folder_shards.path, Selection(split="val"))


def test_another_selection_has_another_fingerprint(mixed, open_set):
    from g3pt.shapes.shape_set import TRAINING, VALIDATION

    prints = {open_set(mixed, each).fingerprint for each in (None, TRAINING, VALIDATION)}
    assert len(prints) == 3


# --- damage --------------------------------------------------------------------------------


def test_a_flipped_byte_is_found_and_its_shape_and_file_are_named(copied, open_set):
    from g3pt.shapes.shards import DamagedSampleError

    flip_a_byte(copied, 1, 700)
    shards = open_set(copied)
    with pytest.raises(DamagedSampleError, match=r"pole: damaged in .*shard-00001\.tar, bytes 0"):
        shards[1]
    assert len(shards[0].points) == len(shards[2].points) == 256


def test_every_byte_of_a_sample_is_watched(copied, open_set):
    from g3pt.shapes.shards import DamagedSampleError

    size = open_set(copied).shapes[1]["size"]
    for place in (0, 511, size // 2, size - 1):
        flip_a_byte(copied, 1, place)
        with pytest.raises(DamagedSampleError):
            open_set(copied)[1]
        flip_a_byte(copied, 1, place)
    assert len(open_set(copied)[1].points) == 256


def test_without_a_budget_the_first_damaged_sample_ends_the_reading(copied, open_set):
    from g3pt.shapes.shards import DamagedSampleError

    flip_a_byte(copied, 1, 700)
    with pytest.raises(DamagedSampleError):
        open_set(copied).readable(1)


def test_a_budget_of_one_passes_over_one_sample_and_tells(copied, open_set, caplog):
    from g3pt.shapes.shards import DamagedSampleError

    flip_a_byte(copied, 1, 700)
    shards = open_set(copied, max_damaged=1)
    with caplog.at_level(logging.WARNING):
        assert [shards.readable(row) for row in (0, 1, 2, 1)] == [0, 2, 2, 2]
    assert list(shards.damaged) == ["pole"]
    assert "pole: damaged in" in caplog.text and "passed over" in caplog.text
    flip_a_byte(copied, 2, 700)
    with pytest.raises(DamagedSampleError, match="slab"):
        open_set(copied, max_damaged=1).readable(1)


def test_no_budget_lets_a_set_pass_without_a_sound_sample(copied, open_set):
    from g3pt.shapes.shards import DamagedSampleError

    for number in range(3):
        (copied / f"shard-0000{number}.tar").unlink()
    with pytest.raises(DamagedSampleError):
        open_set(copied, max_damaged=100).readable(0)


def test_a_missing_file_is_named(copied, open_set):
    from g3pt.shapes.shards import DamagedSampleError

    (copied / "shard-00001.tar").unlink()
    shards = open_set(copied, max_damaged=1)
    with pytest.raises(DamagedSampleError, match=r"pole: .*shard-00001\.tar cannot be read"):
        shards[1]
    assert shards.readable(1) == 2


@pytest.mark.parametrize("size", [0, 100, 6000])
def test_a_file_that_was_cut_off_is_damaged(copied, open_set, size):
    from g3pt.shapes.shards import DamagedSampleError

    with (copied / "shard-00001.tar").open("r+b") as file:
        file.truncate(size)
    with pytest.raises(DamagedSampleError, match="pole"):
        open_set(copied)[1]


# --- folders that are not complete sets ----------------------------------------------------


def test_an_unknown_format_version_is_refused(copied, open_set):
    index = json.loads((copied / "index.json").read_text())
    (copied / "index.json").write_text(json.dumps({**index, "format_version": 99}))
    with pytest.raises(ValueError, match="format version 99, this program reads 2"):
        open_set(copied)


def test_a_folder_without_an_index_is_no_set(tmp_path, open_set):
    with pytest.raises(FileNotFoundError, match="expected a complete set of prepared shapes"):
        open_set(tmp_path)


EXTENSIONS = ["json", "points.npy", "normals.npy", "colors.npy", "volume.npy", "near.npy"]
EXTENSIONS += [f"view-0{view}.png" for view in range(3)]


def tars(shards):
    return sorted(shards.path.glob("shard-*.tar"))


def web_dataset(files):
    """What a WebDataset reader does: neighbours with one key are one sample."""
    for file in files:
        with tarfile.open(file) as archive:
            parts = [(*member.name.split(".", 1), member) for member in archive]
            for key, members in groupby(parts, key=lambda part: part[0]):
                yield key, {ending: archive.extractfile(m).read() for _, ending, m in members}


@pytest.fixture
def record(folder_source, small_prepare):
    from g3pt.preparation.prepare import prepare_shape
    from g3pt.preparation.sources import list_shapes, load_shape

    (ref,) = (ref for ref in list_shapes(folder_source) if ref.id == "slab")
    return prepare_shape(load_shape(ref, solid_resolution=48), small_prepare)


def test_any_webdataset_reader_finds_the_samples(folder_shards):
    samples = list(web_dataset(tars(folder_shards)))
    assert [json.loads(parts["json"])["id"] for _, parts in samples] == ["cube", "pole", "slab"]
    assert len({key for key, _ in samples}) == 3
    for key, parts in samples:
        assert list(parts) == EXTENSIONS
        assert key == hashlib.sha256(json.loads(parts["json"])["id"].encode()).hexdigest()[:20]


def test_numpy_and_pillow_read_the_members(folder_shards):
    samples = list(web_dataset(tars(folder_shards)))
    assert len(samples) == len(folder_shards)
    for row, (_, parts) in enumerate(samples):
        arrays = {
            name: np.load(io.BytesIO(parts[f"{name}.npy"]), allow_pickle=False)
            for name in ("points", "normals", "colors", "volume", "near")
        }
        stored = folder_shards[row]
        assert np.array_equal(arrays["points"], stored.points)
        assert np.array_equal(arrays["normals"], stored.normals)
        assert np.array_equal(arrays["colors"], stored.colors)
        assert np.array_equal(arrays["volume"], stored.volume_inside)
        assert np.array_equal(arrays["near"], stored.near_inside)
        assert [a.dtype for a in arrays.values()] == ["<i2", "i1", "u1", "u1", "u1"]
        picture = Image.open(io.BytesIO(parts["view-02.png"]))
        assert (picture.mode, picture.size) == ("RGBA", (48, 48))
        assert np.array_equal(np.asarray(picture), folder_shards.picture(row, 2))


def test_the_index_says_where_every_member_lies(folder_shards):
    for shape in folder_shards.shapes:
        with tarfile.open(folder_shards.path / shape["shard"]) as archive:
            members = {member.name: member for member in archive}
            for name, start, size in shape["members"]:
                member = members[f"{shape['key']}.{name}"]
                assert (member.offset_data, member.size) == (shape["offset"] + start, size)
                assert member.offset_data % 512 == 0


def test_members_tell_nothing_of_who_made_them_when(folder_shards):
    with tarfile.open(tars(folder_shards)[0]) as archive:
        members = archive.getmembers()
        assert members
        for member in members:
            assert (member.mtime, member.uid, member.gid) == (0, 0, 0)
            assert (member.uname, member.gname, member.mode) == ("", "", 0o644)
            assert member.isreg() and not member.pax_headers


def test_the_bytes_depend_on_the_content_alone(record):
    from g3pt.shapes.shards import pack_sample

    first = pack_sample(record, [b"picture"])
    # The same values in another layout of memory, the same description in another order.
    other = replace(
        record,
        points=np.asfortranarray(record.points),
        description=dict(reversed(record.description.items())),
    )
    again = pack_sample(other, [b"picture"])
    assert again == first and again.sha256 == hashlib.sha256(first.data).hexdigest()
    assert pack_sample(record, [b"another"]).sha256 != first.sha256


def test_shapes_without_colours_have_no_member_for_them(record):
    from g3pt.shapes.shards import pack_sample

    sample = pack_sample(replace(record, colors=None), [])
    names = [name for name, _, _ in sample.members]
    assert names == ["json", "points.npy", "normals.npy", "volume.npy", "near.npy"]


def test_a_key_is_a_plain_file_name_whatever_the_id():
    from g3pt.shapes.shards import sample_key

    names = ["../../etc/passwd", "a b.glb", "ü" * 300, "", "a.b", "a/b"]
    keys = [sample_key(name) for name in names]
    assert len(set(keys)) == len(names)
    assert all(key.isalnum() and len(key) == 20 for key in keys)


@pytest.mark.parametrize("dtype", [np.int16, np.int8, np.uint8])
def test_an_array_is_read_where_it_lies(dtype):
    from g3pt.shapes.npy import read_array

    array = np.arange(24).reshape(8, 3).astype(dtype)
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=(1, 0))
    read = read_array(memoryview(buffer.getvalue()), dtype, (8, 3))
    assert np.array_equal(read, array) and read.dtype == dtype
    assert not read.flags.owndata and not read.flags.writeable


def npy(array, version=(1, 0)):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=version)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"these bytes are no array of any kind", r"is no \.npy file"),
        (npy(np.zeros((4, 3), np.int8))[:60], r"is no \.npy file"),
        (npy(np.zeros((4, 3), np.int8), (2, 0)), r"version 1\.0"),
        (npy(np.asfortranarray(np.zeros((4, 3), np.int8))), "row by row"),
        (npy(np.zeros((4, 3), np.int16)), r"holds int16 of shape \(4, 3\), expected int8"),
        (npy(np.zeros((3, 4), np.int8)), r"of shape \(3, 4\), expected int8 of \(4, 3\)"),
        (npy(np.zeros((4, 3), np.int8))[:-1], "has 139 bytes, expected 140"),
        (npy(np.zeros((4, 3), np.int8)) + b"x", "has 141 bytes, expected 140"),
    ],
)
def test_other_bytes_than_the_array_are_refused(data, reason):
    from g3pt.shapes.npy import read_array

    with pytest.raises(ValueError, match=reason):
        read_array(memoryview(data), np.int8, (4, 3))


# --- sets that were made wrong -------------------------------------------------------------


@pytest.fixture(scope="module")
def torture():
    from g3pt.torture import shards

    return shards


@pytest.fixture
def written(tmp_path):
    """A folder of the given files."""

    def write(files):
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"fingerprint": 3}, "fingerprint: "),
        ({"num_shards": "2"}, "num_shards: "),
        ({"num_shards": 10**9}, "num_shards: "),
        ({"num_shapes": 2}, "num_shapes: is 2, the shards list 3"),
        ({"num_refused": 0}, "num_refused: is 0, the shards list 1"),
        ({"fingerprint": "0" * 64}, "fingerprint: the lines of the shards have been changed"),
        ({"config": {}}, r"config\.source: "),
        ({"config": {"source": {}, "prepare": [], "views": {}}}, r"config\.prepare: "),
        (
            {"config": {"source": {}, "prepare": {"num_points": 0}, "views": {}}},
            r"prepare\.num_points must lie in 1\.\.",
        ),
    ],
)
def test_an_index_that_does_not_fit_is_refused_by_field(torture, written, change, reason):
    from g3pt.shapes.shards import ShardSet

    folder = written(torture.sound_shards())
    index = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps(index | change))
    with pytest.raises(ValueError, match=rf"index\.json: .*{reason}"):
        ShardSet(folder)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"id": None}, "id: "),
        ({"id": "shape 1 é"}, "id: 'shape 1 é' is there 2 times"),
        ({"sha256": "x"}, "sha256: "),
        ({"captions": "a mug"}, "captions: "),
        ({"quality": {"label_error": float("nan")}}, r"quality\.label_error: .*finite"),
        ({"quality": {"label_error": "none"}}, r"quality\.label_error: .*number"),
        ({"query_key": -1}, "query_key: "),
        ({"query_key": 2**64}, "query_key: "),
        ({"volume_share": 1.5}, "volume_share: "),
        ({"extents": [1.0, float("inf"), 1.0]}, r"extents\.1: "),
        ({"shard": "../shard-00000.tar"}, r"shard: is '\.\./shard-00000\.tar', expected 'shard-"),
        ({"offset": 512}, "offset: is 512, expected 0"),
        ({"offset": -1}, "offset: "),
        ({"size": 512}, "size: is 512, its members take"),
        ({"members": [["json", 512, 10]]}, r"members: are \['json'\], expected"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_by_line_and_field(torture, written, change, reason):
    from g3pt.shapes.shards import ShardSet

    folder = written(torture.sound_shards())
    file = folder / "shard-00000.jsonl"
    gone, first, second = file.read_text().splitlines()
    file.write_text(f"{gone}\n{json.dumps(json.loads(first) | change)}\n{second}\n")
    sign(folder)
    place = "" if "2 times" in reason else r"shard-00000\.jsonl:2: "
    with pytest.raises(ValueError, match=place + reason):
        ShardSet(folder)


@pytest.mark.parametrize("change", [-512, 512, 1])
def test_members_that_overlap_or_leave_gaps_are_refused(torture, written, change):
    from g3pt.shapes.shards import ShardSet

    folder = written(torture.sound_shards())
    file = folder / "shard-00001.jsonl"
    row = json.loads(file.read_text())
    row["members"][2][1] += change
    file.write_text(json.dumps(row) + "\n")
    with pytest.raises(ValueError, match=r"shard-00001\.jsonl:1: members: normals\.npy begins at"):
        ShardSet(folder)


def test_a_refused_row_without_its_reason_is_refused(torture, written):
    from g3pt.shapes.shards import ShardSet

    folder = written(torture.sound_shards())
    file = folder / "shard-00000.jsonl"
    file.write_text(file.read_text().replace('"message": "no such file"', '"message": 3', 1))
    with pytest.raises(ValueError, match=r"shard-00000\.jsonl:1: message: "):
        ShardSet(folder)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"[1]\n", "expected an object, got list"), (b"{}{}\n", "not JSON"), (b"\xff\n", "UTF-8")],
)
def test_lines_that_are_no_objects_are_refused_by_line(tmp_path, content, reason):
    from g3pt.shapes.shards import read_lines

    (tmp_path / "a.jsonl").write_bytes(b"{}\n" + content)
    with pytest.raises(ValueError, match=rf"a\.jsonl:2: .*{reason}"):
        read_lines(tmp_path / "a.jsonl")


def test_lines_are_not_read_beyond_their_limits(tmp_path, monkeypatch):
    from g3pt.shapes import shards

    (tmp_path / "a.jsonl").write_bytes(b'{"a": 1}\n' + b'{"a": "' + b"x" * 100 + b'"}\n')
    monkeypatch.setattr(shards, "MAX_JSON_BYTES", 50)
    with pytest.raises(ValueError, match=r"a\.jsonl:2: has more than 50 bytes"):
        shards.read_lines(tmp_path / "a.jsonl")
    monkeypatch.setattr(shards, "MAX_LINES_BYTES", 100)
    with pytest.raises(ValueError, match=r"a\.jsonl: has 119 bytes, expected at most 100"):
        shards.read_lines(tmp_path / "a.jsonl")


@pytest.mark.parametrize(
    ("name", "array", "reason"),
    [
        ("points.npy", np.zeros((31, 3), np.int16), r"shape \(31, 3\)"),
        ("normals.npy", np.full((32, 3), np.nan, np.float32), "float32"),
        ("volume.npy", np.zeros(9, np.uint8), r"shape \(9,\)"),
        ("points.npy", np.full((32, 3), -32768, np.int16), "points: holds -32768"),
        ("normals.npy", np.full((32, 3), -128, np.int8), "normals: holds -128"),
    ],
)
def test_arrays_that_were_stored_wrong_are_refused_whatever_their_hash(
    torture, written, name, array, reason
):
    from g3pt.shapes.shards import ShardSet

    shards = ShardSet(written(torture.with_member(name, torture.npy(array))))
    assert shards.readable(0) == 0
    for read in (shards.readable, shards.__getitem__):
        with pytest.raises(ValueError, match=rf"shard-00000\.tar: shape 1 é: .*{reason}"):
            read(1)


def test_descriptions_and_pictures_of_another_kind_are_refused(torture, written):
    from g3pt.shapes.shards import ShardSet

    other = torture.picture_file(np.zeros((17, 17, 4), np.uint8))
    for name, content, reason in [
        ("json", b'{"id": "another"}', "json: id: is not that of the shape"),
        ("json", b"[]", "json: id: is not that of the shape"),
        ("json", b"{", "json: not JSON"),
        ("view-01.png", b"noise", r"view-01\.png: is no square picture"),
        ("view-01.png", other, r"view-01\.png: has 17 pixels a side, expected 16"),
    ]:
        shards = ShardSet(written(torture.with_member(name, content)))
        with pytest.raises(ValueError, match=rf"shard-00000\.tar: shape 1 é: {reason}"):
            shards.description(1) if name == "json" else shards.picture(1, 1)


def test_a_tar_that_is_none_is_damaged_and_not_waited_for(torture, written):
    import os

    from g3pt.shapes.shards import DamagedSampleError, ShardSet

    folder = written(torture.sound_shards())
    os.truncate(folder / "shard-00001.tar", 6 * 2**30)  # a hole, far more than its rows say
    with pytest.raises(DamagedSampleError, match=r"shard-00001\.tar: has 6442450944 bytes"):
        ShardSet(folder)[2]
    (folder / "shard-00001.tar").unlink()
    os.mkfifo(folder / "shard-00001.tar")
    with pytest.raises(DamagedSampleError, match=r"shard-00001\.tar: is no plain file"):
        ShardSet(folder)[2]
