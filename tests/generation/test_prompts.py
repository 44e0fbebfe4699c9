"""Prompts of every kind: what the model reads of them, and what is refused."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from conditions import KINDS
from g3pt.generation.pictures import cut_out
from g3pt.generation.pipeline import G3PT
from g3pt.generation.prompts import PromptError, draw_points, read_prompts
from g3pt.models.car import Car
from g3pt.models.conditioning import PointsConditionConfig
from g3pt.models.weights.load import load_weights


@pytest.fixture(scope="module")
def pipeline(tiny_weights):
    """A model of pictures, up to three of a shape, of texts and of points."""
    weights = load_weights(tiny_weights, "cpu")
    image, text = weights.car.config.conditions
    conditions = (replace(image, max_views=3), text, PointsConditionConfig(width=32, num_points=40))
    torch.manual_seed(0)
    car = Car(replace(weights.car.config, conditions=conditions)).eval().requires_grad_(False)
    return G3PT(replace(weights, car=car))


def draw_picture(seed):
    rng = np.random.default_rng(seed)
    picture = np.zeros((40, 40, 4), np.uint8)
    picture[8:32, 8:32] = rng.integers(0, 255, (24, 24, 4))
    picture[8:32, 8:32, 3] = 255
    return picture


def draw_cloud(seed=0, num=100):
    points = np.random.default_rng(seed).standard_normal((num, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return np.concatenate([points * 0.9, points], axis=1)


def test_a_list_in_the_place_of_a_picture_is_views_of_one_shape(pipeline):
    first, second = draw_picture(0), draw_picture(1)
    apart = pipeline.read_prompts(image=[first, second])
    joined = pipeline.read_prompts(image=[[first, second]])
    assert len(apart) == 2 and len(joined) == 1
    assert apart.condition.pictures_BSS4.shape == (2, 32, 32, 4)
    assert torch.equal(apart.condition.pictures_BSS4, joined.condition.pictures_BSS4[0])
    assert len(joined.pictures) == 1


def busy_picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8)


def draw_mask(left, right):
    mask = np.zeros((40, 40), np.uint8)
    mask[10:30, left:right] = 255
    return mask


def test_masks_say_where_each_picture_and_each_view_shows_its_object(pipeline):
    views, masks = [busy_picture(0), busy_picture(1)], [draw_mask(4, 14), draw_mask(20, 38)]
    apart = pipeline.read_prompts(image=views, mask=masks)
    joined = pipeline.read_prompts(image=[views], mask=[masks])
    assert [cutout.box for cutout in apart.cutouts] == [(4, 10, 14, 30), (20, 10, 38, 30)]
    assert [cutout.method for cutout in joined.cutouts] == ["mask"]
    assert torch.equal(apart.condition.pictures_BSS4, joined.condition.pictures_BSS4[0])


def test_masks_must_be_as_many_as_pictures(pipeline):
    with pytest.raises(PromptError, match="mask: got 2 masks for 1 pictures"):
        pipeline.read_prompts(image=busy_picture(0), mask=[draw_mask(4, 14), draw_mask(4, 14)])
    with pytest.raises(PromptError, match="mask: got 1 masks for 2 pictures"):
        pipeline.read_prompts(image=[[busy_picture(0), busy_picture(1)]], mask=draw_mask(4, 14))
    with pytest.raises(PromptError, match="tell where a picture shows its object: give one"):
        pipeline.read_prompts(text="a mug", whole_picture=True)


def test_what_is_doubtful_about_a_picture_is_logged_once(pipeline, caplog):
    small = np.full((100, 100, 3), 255, np.uint8)
    small[40:60, 40:60] = (200, 30, 30)
    with caplog.at_level(logging.WARNING):
        pipeline.read_prompts(image=small)
    assert [one.getMessage() for one in caplog.records] == [
        "picture: very small: 20 pixels along its longer side"
    ]
    cut = cut_out(small)
    with caplog.at_level(logging.WARNING):
        pipeline.read_prompts(image=cut)
    assert len(caplog.records) == 1


def test_a_picture_that_was_cut_out_before_needs_no_mask(pipeline):
    cut = cut_out(busy_picture(0), mask=draw_mask(4, 14))
    assert pipeline.read_prompts(image=[cut, cut]).cutouts == (cut.cutout, cut.cutout)
    with pytest.raises(ValueError, match="its object was found before"):
        pipeline.read_prompts(image=cut, mask=draw_mask(4, 14))


def test_results_carry_how_the_object_of_their_picture_was_found(pipeline):
    result = pipeline.generate(
        image=[busy_picture(0), busy_picture(1)], whole_picture=True, num=2, resolution=16
    )
    assert [cutout.method for cutout in result.cutouts] == ["whole", "whole"]
    assert [shape.cutout for shape in result.shapes] == [result.cutouts[k] for k in (0, 0, 1, 1)]
    assert pipeline.generate(text="a mug", resolution=16).shapes[0].cutout is None


def test_shapes_may_have_different_numbers_of_views(pipeline):
    pictures = [draw_picture(seed) for seed in range(3)]
    prompts = pipeline.read_prompts(image=[pictures[:2], pictures[2]])
    assert prompts.condition.pictures_BSS4.shape == (2, 2, 32, 32, 4)
    assert prompts.condition.num_views_B.tolist() == [2, 1]
    encoded = pipeline.car.encode_condition(prompts.condition)
    alone = pipeline.car.encode_condition(pipeline.read_prompts(image=pictures[2]).condition)
    # float32 products of batches of different size
    assert torch.allclose(encoded.vector_BD[1], alone.vector_BD[0], atol=1e-5)


def test_views_points_and_texts_make_shapes_together(pipeline):
    result = pipeline.generate(
        image=[[draw_picture(0), draw_picture(1)]],
        text="a red mug",
        points=draw_cloud(),
        resolution=16,
    )
    assert len(result.shapes) == 1


def test_points_change_the_shape_and_their_order_does_not(pipeline):
    def tokens(cloud):
        return pipeline.generate(points=cloud, resolution=16).shapes[0].tokens.indices

    cloud = draw_cloud(num=40)
    given = pipeline.read_prompts(points=[cloud, cloud[::-1], draw_cloud(1)]).condition
    latents = given.point_latents_BLC
    # float32 sums in another order
    assert torch.allclose(latents[0], latents[1], atol=1e-5)
    assert not torch.allclose(latents[0], latents[2], atol=1e-3)
    assert torch.equal(tokens(cloud), tokens(cloud.copy()))


def test_a_cloud_beyond_the_cube_is_placed_by_its_own_box(caplog):
    cloud = draw_cloud()
    far = np.concatenate([cloud[:, :3] * 100 + 50, cloud[:, 3:]], axis=1)
    with caplog.at_level(logging.WARNING):
        points, _ = draw_points(far, 100)
    assert "placed by its own bounding box" in caplog.text
    assert float((points.amax(0) - points.amin(0)).max()) == pytest.approx(1.9, rel=1e-5)
    caplog.clear()
    inside, _ = draw_points(cloud, 100)
    assert caplog.text == ""
    assert torch.equal(
        inside.sort(dim=0).values, torch.from_numpy(cloud[:, :3]).float().sort(dim=0).values
    )


def test_missing_normals_are_made_and_told(caplog):
    with caplog.at_level(logging.WARNING):
        points, normals = draw_points(draw_cloud(num=500)[:, :3], 64)
    assert "has no normals" in caplog.text
    cosines = (points * normals).sum(dim=-1) / points.norm(dim=-1)
    assert float(cosines.min()) > 0.8


def test_weights_without_points_refuse_them(tiny_weights):
    with pytest.raises(PromptError, match="these weights take no points; they know: image, text"):
        G3PT(load_weights(tiny_weights, "cpu")).read_prompts(points=draw_cloud())


def test_more_views_than_were_trained_are_refused(pipeline, tiny_weights):
    pictures = [draw_picture(seed) for seed in range(4)]
    with pytest.raises(PromptError, match=r"4 views of a shape: .* at most 3"):
        pipeline.read_prompts(image=[pictures])
    with pytest.raises(PromptError, match=r"2 views of a shape: .* at most 1"):
        G3PT(load_weights(tiny_weights, "cpu")).read_prompts(image=[pictures[:2]])


def test_different_numbers_of_prompts_are_refused(pipeline):
    pictures = [draw_picture(seed) for seed in range(3)]
    with pytest.raises(PromptError, match="3 pictures and 1 point clouds: give as many point"):
        pipeline.read_prompts(image=pictures, points=draw_cloud())


@pytest.mark.parametrize("prompts", [{"image": []}, {"points": []}, {"text": []}, {"image": [[]]}])
def test_empty_lists_are_refused(pipeline, prompts):
    with pytest.raises(PromptError, match="empty list of prompts"):
        pipeline.read_prompts(**prompts)


def test_every_kind_that_reads_pictures_or_sentences_has_prompts(frozen_sources, tiny_weights):
    config = load_weights(tiny_weights, "cpu").car.config
    for slot, prompt in (("image", {"image": draw_picture(0)}), ("text", {"text": "a red chair"})):
        kinds = [kind for kind, condition in KINDS.items() if condition.slot == slot]
        assert kinds
        for kind in kinds:
            condition = frozen_sources.get(kind, KINDS[kind])
            car = Car(replace(config, conditions=(condition,))).eval()
            encoded = car.encode_condition(read_prompts(car, **prompt).condition)
            assert encoded.tokens_BID.shape[1] > 1, kind
