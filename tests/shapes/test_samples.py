"""The layout of shards, read with nothing but `tarfile`, NumPy and Pillow."""

import hashlib
import io
import json
import tarfile
from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest
from PIL import Image

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
    from g3pt.shapes.samples import pack_sample

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
    from g3pt.shapes.samples import pack_sample

    sample = pack_sample(replace(record, colors=None), [])
    names = [name for name, _, _ in sample.members]
    assert names == ["json", "points.npy", "normals.npy", "volume.npy", "near.npy"]


def test_a_key_is_a_plain_file_name_whatever_the_id():
    from g3pt.shapes.samples import sample_key

    names = ["../../etc/passwd", "a b.glb", "ü" * 300, "", "a.b", "a/b"]
    keys = [sample_key(name) for name in names]
    assert len(set(keys)) == len(names)
    assert all(key.isalnum() and len(key) == 20 for key in keys)


@pytest.mark.parametrize("dtype", [np.int16, np.int8, np.uint8])
def test_an_array_is_read_where_it_lies(dtype):
    from g3pt.shapes.samples import read_array

    array = np.arange(24).reshape(8, 3).astype(dtype)
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=(1, 0))
    read = read_array(memoryview(buffer.getvalue()))
    assert np.array_equal(read, array) and read.dtype == dtype
    assert not read.flags.owndata and not read.flags.writeable


def test_other_bytes_than_an_array_are_refused():
    from g3pt.shapes.samples import read_array

    with pytest.raises(ValueError):
        read_array(memoryview(b"these bytes are no array of any kind"))
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asfortranarray(np.zeros((4, 3))), version=(1, 0))
    with pytest.raises(ValueError, match="row by row"):
        read_array(memoryview(buffer.getvalue()))
