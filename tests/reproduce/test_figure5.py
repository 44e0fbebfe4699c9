"""The gallery of Figure 5."""

from dataclasses import replace
from typing import get_args

import pytest

from g3pt.generation.pipeline import G3PT
from g3pt.generation.preview import TILE
from g3pt.models.weights.places import bundled_weights
from g3pt.procedural import HELD_OUT_FAMILIES
from g3pt.reproduce.experiments import Scale
from g3pt.reproduce.figure5 import GalleryPrompt, draw_gallery, figure5, gallery_picture, markdown


@pytest.fixture(scope="module")
def drawn(tiny_weights):
    """Two sentences and two seeds, from untrained weights."""
    return draw_gallery(G3PT.from_pretrained(tiny_weights, "cpu"), figure5("smoke"))


def test_every_sentence_is_drawn_with_every_seed(drawn):
    texts = [prompt.text for prompt in drawn.gallery.prompts]
    assert [(row.prompt, row.seed) for row in drawn.rows] == [
        (text, seed) for text in texts for seed in (0, 1)
    ]
    for row, shape in zip(drawn.rows, drawn.shapes, strict=True):
        assert (row.vertices, row.nll) == (len(shape.mesh.vertices), shape.nll)


def test_the_picture_holds_both_seeds_of_each_sentence_side_by_side(drawn):
    picture = gallery_picture(drawn)
    assert picture.shape[1] > 2 * 2 * TILE > picture.shape[0]
    starts = [12 + cell * (2 * TILE + 12) + seed * TILE for cell in (0, 1) for seed in (0, 1)]
    for left in starts:  # something is drawn in every tile
        assert (picture[12 : 12 + TILE, left : left + TILE] < 200).any()


def test_right_ones_are_counted_and_wrong_ones_stand_out(drawn):
    rows = tuple(
        replace(row, found=found)
        for row, found in zip(drawn.rows, ("chair", "mug", None, "table"), strict=True)
    )
    known = replace(drawn, rows=rows)
    assert known.num_right == 2
    assert known.to_json()["right"] == 2
    text = markdown(known, "figure5-smoke.png")
    assert "2 of 4 meshes" in text and "](figure5-smoke.png)" in text
    assert [line.split("|")[-2].strip() for line in text.splitlines()[-4:]] == [
        "chair",
        "*mug*",
        "*empty*",
        "table",
    ]


def test_sentences_fit_the_line_below_their_pictures():
    lengths = [len(prompt.text) for prompt in figure5("toy").prompts]
    assert len(lengths) == 12
    assert max(lengths) <= 40


def test_families_nobody_trained_on_and_scattered_seeds_are_refused():
    gallery = figure5("toy")
    with pytest.raises(ValueError, match="no training families: axe"):
        replace(gallery, prompts=(GalleryPrompt(text="an axe", family=HELD_OUT_FAMILIES[0]),))
    with pytest.raises(ValueError, match="must follow each other"):
        replace(gallery, seeds=(0, 5))


def test_no_two_scales_draw_the_same_gallery():
    galleries = [figure5(scale) for scale in get_args(Scale)]
    assert len({(gallery.weights, gallery.resolution) for gallery in galleries}) == 4


@pytest.mark.parametrize("scale", ["smoke", "toy", "small"])
def test_galleries_below_the_size_of_the_paper_show_bundled_weights(scale):
    assert figure5(scale).weights in bundled_weights()
