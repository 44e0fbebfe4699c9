from dataclasses import fields
from itertools import islice

import numpy as np
import pytest

from g3pt.procedural.primitives import ShapeArrays
from g3pt.stream.chunks import ChunkConfig, iterate_chunks, make_chunk

CONFIG = ChunkConfig(num_grammar=1, num_families=2)


def same(one, other):
    names = [field.name for field in fields(ShapeArrays)]
    pairs = zip(one.shapes, other.shapes, strict=True)
    return one.captions == other.captions and all(
        a.id == b.id
        and a.extents == b.extents
        and all(np.array_equal(getattr(a.arrays, f), getattr(b.arrays, f)) for f in names)
        for a, b in pairs
    )


def test_a_chunk_follows_from_its_number_alone():
    assert same(make_chunk(CONFIG, 3), make_chunk(CONFIG, 3))
    assert not same(make_chunk(CONFIG, 3), make_chunk(CONFIG, 4))


def test_shapes_of_the_grammar_come_first_and_have_no_captions():
    chunk = make_chunk(CONFIG, 0)
    assert chunk.captions[0] == ""
    assert all(chunk.captions[1:])


def test_a_chunk_takes_the_assemblies_that_its_config_names():
    for assembly in ("assembly", "cut-assembly"):
        chunk = make_chunk(ChunkConfig(num_grammar=2, num_families=1, assembly=assembly), 1)
        assert [shape.family == assembly for shape in chunk.shapes] == [True, True, False]


def test_processes_give_the_same_chunks_in_the_same_order():
    own = list(islice(iterate_chunks(CONFIG, first=1, stride=2), 3))
    theirs = list(islice(iterate_chunks(CONFIG, first=1, stride=2, workers=1), 3))
    assert all(same(*pair) for pair in zip(own, theirs, strict=True))
    assert same(own[1], make_chunk(CONFIG, 3))


def test_a_chunk_of_nothing_is_refused():
    with pytest.raises(ValueError, match="not both 0"):
        ChunkConfig(num_grammar=0, num_families=0)
