"""Examples that are recorded, gone on with, selected and drawn as batches."""

import io
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from g3pt.procedural import TRAIN_FAMILIES, make_shape
from g3pt.shapes.queries import POSITION_STEPS
from g3pt.stream.fields import QueryCounts
from g3pt.stream.maker import MakerConfig
from g3pt.stream.recorded import RecordedConfig, RecordedDataset
from g3pt.stream.recording import (
    UNWARPED,
    Recording,
    RecordingConfig,
    Selection,
    record,
)
from stocks import stock

MAKER = MakerConfig(
    num_points=128,
    image_size=32,
    num_views=1,
    canonical_size=8,
    queries=QueryCounts(num_volume=16, num_near=12),
)
FAMILIES = RecordingConfig(
    source="families", families=TRAIN_FAMILIES[:3], part=4, features=True, maker=MAKER
)
MARKED = replace(FAMILIES, margins=True)
CPU = torch.device("cpu")


def tokenize(points, normals):
    """Three numbers that follow from the points."""
    return (points[:, :3, 0] * 1000).round().long()


def see(pictures):
    return pictures.float().mean(dim=(1, 2))[:, None, None].expand(-1, 2, 2, -1)


def npy(array):
    content = io.BytesIO()
    np.save(content, array, allow_pickle=True)
    return content.getvalue()


def make(folder, config=FAMILIES, num=8):
    return record(config, folder, num, tokenize, see)


@pytest.fixture(scope="module")
def families(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("recordings") / "families"
    assert make(folder) == 8
    return folder


def column(folder, name):
    recording = Recording(Selection(folder=str(folder)))
    return np.stack([recording.column(name, place) for place in range(len(recording))])


def test_a_recording_that_was_stopped_goes_on_as_if_it_had_not_been(families, tmp_path):
    folder = tmp_path / "stopped"
    make(folder, num=4)
    (folder / ".part-00001").mkdir()  # what a kill leaves behind
    (folder / ".part-00001" / "indices_BT.npy").write_bytes(b"half of it")
    make(folder)
    assert not list(folder.glob(".*"))
    for name in ("indices_BT", "pictures_BVSS4", "features_BVGGP", "queries_BQ3"):
        assert np.array_equal(column(folder, name), column(families, name))


def test_parts_that_are_there_are_left_alone(families, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(families, folder)
    file = folder / "part-00000" / "indices_BT.npy"
    before = file.stat().st_mtime_ns
    assert make(folder, num=9) == 12
    assert file.stat().st_mtime_ns == before
    assert len(Recording(Selection(folder=str(folder)))) == 12


def test_another_recording_in_the_folder_is_refused(families):
    with pytest.raises(ValueError, match="holds another recording"):
        make(families, replace(FAMILIES, first_seed=7))


def test_labels_and_origins_are_those_of_the_shapes(families):
    recording = Recording(Selection(folder=str(families)))
    for place in (0, 5):
        family, seed = recording.origins[place].removeprefix("procedural-").rsplit("-", 1)
        assert family == TRAIN_FAMILIES[place % 3]
        shape = make_shape(int(seed), family)
        queries = recording.column("queries_BQ3", place) / POSITION_STEPS
        sure = np.abs(shape.field(queries)) > 1e-3  # queries are stored in steps
        inside = recording.column("inside_BQ", place)
        assert np.array_equal(inside[sure], shape.contains(queries)[sure])


def test_a_selection_takes_families_and_numbers(families):
    chosen = Recording(Selection(folder=str(families), families=TRAIN_FAMILIES[1:2], num=2))
    assert [int(row) for row in chosen.rows] == [1, 4]
    with pytest.raises(ValueError, match="9 examples are wanted and 8 are there"):
        Recording(Selection(folder=str(families), num=9))


def test_meshes_are_recorded_once_as_they_are_or_ever_anew(tmp_path):
    stock(tmp_path)
    path = str(tmp_path / "meshes.safetensors")
    meshes = RecordingConfig(source="meshes", stock=path, part=8, maker=MAKER)
    plain = replace(meshes, maker=replace(MAKER, warps=UNWARPED))
    num = make(tmp_path / "plain", plain, num=100)
    names = Recording(Selection(folder=str(tmp_path / "plain"))).origins.tolist()
    assert len(names) == num == len(set(names))
    assert make(tmp_path / "warped", meshes, num=16) == 16
    again = Recording(Selection(folder=str(tmp_path / "warped")))
    assert set(again.origins) == set(names)
    places = np.flatnonzero(again.origins == names[0])[:2].tolist()
    first, second = (again.column("queries_BQ3", place) for place in places)
    assert not np.array_equal(first, second)


def test_every_selected_example_is_seen_once_before_any_is_seen_again(families, tmp_path):
    grammar = tmp_path / "grammar"
    make(grammar, replace(FAMILIES, source="grammar", assembly="cut-assembly"), num=4)
    config = RecordedConfig(
        selections=(
            Selection(folder=str(families), num=5),
            Selection(folder=str(grammar), num=3),
        ),
        batch_size=4,
        num_points=128,
        image_size=32,
        num_queries=8,
    )
    dataset = RecordedDataset(config, CPU, with_features=True)
    assert len(dataset) == 8
    first = dataset.batch(0).ids + dataset.batch(1).ids
    assert len(set(first)) == 8
    assert set(dataset.batch(2).ids + dataset.batch(3).ids) == set(first)
    batch, again = dataset.batch(3), RecordedDataset(config, CPU, with_features=True).batch(3)
    assert batch.ids == again.ids
    assert batch.queries_BQ3 is not None
    assert again.queries_BQ3 is not None
    assert torch.equal(batch.queries_BQ3, again.queries_BQ3)
    assert batch.near_BQ is not None
    assert batch.near_BQ[0].tolist() == [False] * 4 + [True] * 4
    halves = [
        RecordedDataset(config, CPU, with_features=True, rank=rank, world_size=2).batch(3)
        for rank in range(2)
    ]
    assert halves[0].ids + halves[1].ids == batch.ids


def test_what_was_not_recorded_is_refused(families, tmp_path):
    blind = tmp_path / "blind"
    make(blind, replace(FAMILIES, features=False), num=4)
    config = RecordedConfig(
        selections=(Selection(folder=str(blind)),), num_points=128, image_size=32
    )
    with pytest.raises(ValueError, match="without the features"):
        RecordedDataset(config, CPU, with_features=True)
    with pytest.raises(ValueError, match="data wants"):
        RecordedDataset(replace(config, image_size=64), CPU, with_features=False)
    with pytest.raises(ValueError, match="recorded with 3 tokens a shape, the model learns 5"):
        RecordedDataset(config, CPU, with_features=False, num_tokens=5)


def test_the_first_tokens_are_taken_where_fewer_are_learnt(families):
    config = RecordedConfig(
        selections=(Selection(folder=str(families)),), num_points=128, image_size=32
    )
    whole, first = (
        RecordedDataset(config, CPU, with_features=True, num_tokens=num).batch(0) for num in (0, 2)
    )
    assert torch.equal(first.indices_BT, whole.indices_BT[:, :2])


def test_a_share_of_the_steps_reads_captions_in_place_of_pictures(families):
    config = RecordedConfig(
        selections=(Selection(folder=str(families)),),
        batch_size=4,
        num_points=128,
        image_size=32,
        text_share=0.5,
    )
    dataset = RecordedDataset(config, CPU, with_features=True)
    batches = [dataset.batch(step) for step in range(12)]
    reads = [batch for batch in batches if batch.pictures_BSS4 is None]
    assert 0 < len(reads) < 12
    told_of = column_captions(families)
    captions = dict(zip(Recording(config.selections[0]).origins, told_of, strict=True))
    for batch in batches:
        told = [captions[one] if batch.pictures_BSS4 is None else "" for one in batch.ids]
        assert list(batch.captions) == told
        assert bool(batch.has_image_B.any()) == (batch.pictures_BSS4 is not None)
    with pytest.raises(ValueError, match=r"data\.text_share must lie in 0\.\.1, got 2"):
        replace(config, text_share=2)


def column_captions(folder):
    return list(Recording(Selection(folder=str(folder))).captions)


def tokenize_with_margins(points, normals):
    return tokenize(points, normals), (normals[:, :3].abs() * 100).byte().repeat(1, 1, 5)


def test_margins_are_recorded_and_drawn_with_their_tokens(tmp_path):
    record(MARKED, tmp_path, 4, tokenize_with_margins, see)
    config = RecordedConfig(
        selections=(Selection(folder=str(tmp_path)),), batch_size=4, num_points=128, image_size=32
    )
    plain, marked = (
        RecordedDataset(config, CPU, with_features=True, with_margins=wanted, num_tokens=2).batch(0)
        for wanted in (False, True)
    )
    assert plain.margins_BTK is None
    order = [list(Recording(config.selections[0]).origins).index(each) for each in marked.ids]
    assert marked.margins_BTK.dtype == torch.uint8
    assert np.array_equal(marked.margins_BTK, column(tmp_path, "margins_BTK")[order, :2])


@pytest.mark.parametrize("source", ["families", "meshes"])
def test_a_recording_that_gains_margins_later_is_one_that_had_them(source, tmp_path):
    stock(tmp_path)
    config = replace(MARKED, source=source, stock=str(tmp_path / "meshes.safetensors"))
    whole, later = tmp_path / "whole", tmp_path / "later"
    record(config, whole, 8, tokenize_with_margins, see)
    make(later, replace(config, margins=False), num=4)
    (later / "part-00000" / ".margins_BTK.npy.1-1.tmp").write_bytes(b"half of it")
    record(config, later, 8, tokenize_with_margins, see)
    for name in ("indices_BT", "margins_BTK"):
        assert np.array_equal(column(later, name), column(whole, name))
    assert not list(later.rglob("*.tmp"))
    assert Recording(Selection(folder=str(later))).config.margins


def test_bits_that_rounding_flips_have_no_margin(tmp_path):
    make(tmp_path, replace(MARKED, margins=False), num=4)
    before = column(tmp_path, "indices_BT")

    def otherwise(points, normals):
        indices, margins = tokenize_with_margins(points, normals)
        indices[1, 2] ^= 0b10
        return indices, margins + 1

    record(MARKED, tmp_path, 4, otherwise, see)
    assert np.array_equal(column(tmp_path, "indices_BT"), before)
    zero = np.argwhere(column(tmp_path, "margins_BTK") == 0)
    assert zero.tolist() == [[1, 2, 1]]


def test_margins_of_another_tokenizer_are_refused(tmp_path):
    make(tmp_path, replace(MARKED, margins=False), num=4)
    with pytest.raises(ValueError, match="another tokenizer made them; record it anew"):
        record(
            MARKED,
            tmp_path,
            4,
            lambda points, normals: (tokenize(points, normals) ^ 0b111, normals[:, :3].byte()),
            see,
        )


def test_a_recording_without_margins_cannot_give_them(families):
    config = RecordedConfig(
        selections=(Selection(folder=str(families)),), num_points=128, image_size=32
    )
    with pytest.raises(ValueError, match="without the margins of its tokens"):
        RecordedDataset(config, CPU, with_features=True, with_margins=True)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("told.json", b"[1]", "expected an object, got list"),
        ("told.json", b'{"origins": ["a"]}', "captions: expected a list of texts"),
        ("told.json", b'{"origins": [1], "captions": [""]}', "origins: expected a list of texts"),
        ("told.json", b'{"origins": ["a"], "captions": []}', "1 origins and 0 captions"),
        ("told.json", b"\xff", "is not text in UTF-8"),
        ("indices_BT.npy", b"PK\x03\x04junk", "is damaged"),
        ("indices_BT.npy", npy(np.array([{}] * 4)), "is damaged"),
        ("indices_BT.npy", npy(np.zeros((4, 3), np.float32)), "holds float32 of shape (4, 3)"),
        ("indices_BT.npy", npy(np.zeros(4, np.int16)), "holds int16 of shape (4,)"),
        ("indices_BT.npy", npy(np.zeros((3, 3), np.int16)), "holds 3 examples, told.json 4"),
        ("features_BVGGP.npy", npy(np.full((4, 1, 2, 2, 4), np.nan, np.float16)), "not finite"),
    ],
)
def test_damaged_parts_are_refused_by_file(families, tmp_path, name, content, reason):
    folder = tmp_path / "damaged"
    shutil.copytree(families, folder)
    (folder / "part-00000" / name).write_bytes(content)
    with pytest.raises(ValueError) as refused:
        recording = Recording(Selection(folder=str(folder)))
        recording.column(name.removesuffix(".npy"), 0)
    said = str(refused.value)
    assert said.startswith(f"{folder / 'part-00000' / name}: ") and reason in said
