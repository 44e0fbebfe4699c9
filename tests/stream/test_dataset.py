import numpy as np
import pytest
import torch

from g3pt.stream.dataset import StreamConfig, StreamDataset
from g3pt.stream.fields import QueryCounts
from g3pt.stream.maker import exact_products

CONFIG = StreamConfig(
    batch_size=4,
    held=6,
    first=4,
    made_per_step=1,
    grammar=0,
    families=2,
    meshes=0,
    num_points=32,
    image_size=32,
    num_views=1,
    text_share=0.0,
    queries=QueryCounts(num_volume=16, num_near=12),
    workers=0,
)


def first_coordinates(points, normals):
    """Stands for a tokenizer: other numbers for other shapes."""
    del normals
    return (points[:, :5, 0] * 1000).long()


def open_stream(**changes):
    from dataclasses import replace

    return StreamDataset(replace(CONFIG, **changes), torch.device("cpu"), first_coordinates)


def test_a_step_sees_the_same_whether_or_not_the_run_was_cut_off_before():
    whole = open_stream()
    for step in range(5):
        expected = whole.batch(step)
    resumed = open_stream().batch(4)
    assert torch.equal(resumed.indices_BT, expected.indices_BT)
    assert torch.equal(resumed.pictures_BSS4, expected.pictures_BSS4)
    assert torch.equal(resumed.queries_BQ3, expected.queries_BQ3)
    assert resumed.ids == expected.ids


def test_examples_are_made_as_the_steps_go():
    stream = open_stream()
    stream.batch(0)
    assert stream.num_made == 4
    stream.batch(4)
    assert stream.num_made == 8


def test_a_step_that_is_told_sentences_sees_no_picture():
    batch = open_stream(text_share=1.0).batch(0)
    assert batch.pictures_BSS4 is None
    assert all(batch.captions)
    assert not batch.has_image_B.any()


def test_a_step_that_sees_pictures_is_told_nothing():
    batch = open_stream().batch(0)
    assert batch.captions == ("",) * 4
    assert batch.has_image_B.all()
    assert batch.pictures_BSS4.shape == (4, 32, 32, 4)
    assert (batch.pictures_BSS4[..., 3] > 0).flatten(1).any(dim=1).all()


def test_two_processes_share_a_batch_and_make_other_examples():
    from dataclasses import replace

    parts = [
        StreamDataset(
            replace(CONFIG), torch.device("cpu"), first_coordinates, rank=rank, world_size=2
        ).batch(0)
        for rank in range(2)
    ]
    assert all(len(part.ids) == 2 for part in parts)
    rows = [{tuple(row) for row in part.indices_BT.tolist()} for part in parts]
    assert not rows[0] & rows[1]


def test_queries_lie_in_the_cube_and_near_ones_come_last():
    batch = open_stream().batch(0)
    assert batch.queries_BQ3.abs().max() <= 1
    assert np.array_equal(batch.near_BQ[0].numpy(), np.arange(28) >= 16)


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match=r"data.stock must name a file"):
        StreamConfig(meshes=1)
    with pytest.raises(ValueError, match=r"data.stock must name a file"):
        StreamConfig(meshes=0, recombined=1)
    with pytest.raises(ValueError, match="at least a chunk of 64"):
        StreamConfig(meshes=0, grammar=64, families=0, held=8)
    with pytest.raises(ValueError, match="not be negative, nor all 0"):
        StreamConfig(grammar=0, families=0, meshes=0)
    with pytest.raises(ValueError, match="not be negative, nor all 0"):
        StreamConfig(recombined=-1, stock="meshes.safetensors")


def test_products_are_exact_while_examples_are_made_and_as_before_afterwards():
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        with exact_products():
            assert not torch.backends.cuda.matmul.allow_tf32
        assert torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def test_margins_that_the_tokenizer_gives_come_with_its_tokens():
    def with_margins(points, normals):
        indices = first_coordinates(points, normals)
        return indices, indices.abs().clamp(max=255).byte()[..., None].expand(-1, -1, 3)

    batch = StreamDataset(CONFIG, torch.device("cpu"), with_margins).batch(0)
    expected = batch.indices_BT.abs().clamp(max=255).byte()[..., None].expand(-1, -1, 3)
    assert torch.equal(batch.margins_BTK, expected)
    assert open_stream().batch(0).margins_BTK is None
