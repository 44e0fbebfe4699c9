"""What a generator is told in a step: own dropout of each condition, points, cached features."""

from dataclasses import replace

import pytest
import smoke
import torch

from conditions import KINDS
from g3pt.models.conditioning import (
    DinoConditionConfig,
    PointsConditionConfig,
    PretrainedImageConditionConfig,
)
from g3pt.training.conditioning import ConditionDrawer, ConditionLossConfig
from g3pt.training.task import Part, step_generator

ALL = (KINDS["image"], KINDS["text"], KINDS["points"], KINDS["class"])
TOGETHER = ConditionLossConfig(dropout=0.0, single_share=0.0)

PRETRAINED = PretrainedImageConditionConfig(depth=1, width=16, num_heads=2)


def drops(loss, conditions=ALL, num=400):
    drawer = ConditionDrawer(conditions, loss, seed=0)
    drawn = [drawer.draw_drops(step_generator(0, step, "conditions"), 4) for step in range(num)]
    return {slot: torch.cat([draw[slot] for draw in drawn]).float() for slot in drawn[0]}


@pytest.mark.parametrize("slot", ["image", "text", "points", "class"])
def test_each_condition_has_a_dropout_of_its_own(slot):
    found = drops(replace(TOGETHER, **{f"{slot}_dropout": 0.3}))
    for other, dropped in found.items():
        # 1600 draws: four standard deviations are below 0.05
        assert dropped.mean().item() == pytest.approx(0.3 if other == slot else 0.0, abs=0.05)


def test_conditions_are_dropped_independently_and_together():
    loss = replace(TOGETHER, dropout=0.1, image_dropout=0.2, text_dropout=0.2)
    found = drops(loss)
    kept = 0.9 * 0.8
    assert (1 - found["image"]).mean().item() == pytest.approx(kept, abs=0.05)
    both = ((1 - found["image"]) * (1 - found["text"])).mean().item()
    assert both == pytest.approx(0.9 * 0.8 * 0.8, abs=0.05)
    assert found["class"].mean().item() == pytest.approx(0.1, abs=0.05)
    assert (found["class"] <= found["image"]).all()


def test_own_dropout_leaves_all_other_draws_alone():
    def rest(loss):
        rng = step_generator(0, 3, "conditions")
        drawn = ConditionDrawer(ALL, loss, seed=0).draw_drops(rng, 8)
        return drawn["class"].tolist(), rng.random(5).tolist()

    plain = ConditionLossConfig(dropout=0.5)
    assert rest(plain) == rest(replace(plain, image_dropout=0.5, text_dropout=0.9))


def test_no_share_beyond_one():
    with pytest.raises(ValueError, match=r"loss\.points_dropout must be in \[0, 1\], got 2"):
        ConditionLossConfig(points_dropout=2.0)


@pytest.fixture
def open_run(trained):
    from g3pt.training.start import complete, open_task

    def open_run(*conditions, loss=TOGETHER, **changes):
        run = smoke.car_run(trained)
        data = replace(run.data, **changes.pop("data", {}))
        loss = replace(run.loss, dropout=loss.dropout, single_share=loss.single_share)
        model = replace(run.model, conditions=conditions)
        run = replace(run, model=model, data=data, loss=loss, **changes)
        return open_task(*complete(run))

    return open_run


def test_visible_points_are_read_by_the_encoder_of_the_tokenizer(open_run):
    points = PointsConditionConfig(num_points=20)
    task = open_run(points, data={"num_visible_points": 20})
    assert task.module.config.conditions[0].width == task.tokenizer.dim
    batch = task.batch(0, Part())
    assert batch.condition.points_BN3.shape == (4, 20, 3)
    before = task.loss(batch, step=0, progress=0.9).loss
    points_BN3 = -batch.condition.points_BN3
    turned = replace(batch, condition=replace(batch.condition, points_BN3=points_BN3))
    assert before.item() != task.loss(turned, step=0, progress=0.9).loss.item()
    before.backward()
    assert task.module.conditioner.conditions["points"].to_tokens.weight.grad.any()
    assert all(p.grad is None for p in task.tokenizer.parameters())


def test_points_that_everybody_lost_are_not_read(open_run, monkeypatch):
    import g3pt.models.conditioning.points as points

    task = open_run(PointsConditionConfig(num_points=20), data={"num_visible_points": 20})
    batch = task.batch(0, Part())
    nobody = {"points": torch.ones(4, dtype=torch.bool)}
    lost = replace(batch, condition=batch.condition.drop(nobody))
    expected = task.loss(lost, step=0, progress=0.9).loss.item()
    points_BN3 = -lost.condition.points_BN3
    other = replace(lost, condition=replace(lost.condition, points_BN3=points_BN3))

    def refuse(*_):
        raise AssertionError("nobody reads these points")

    monkeypatch.setattr(points, "encode_points", refuse)
    assert task.loss(other, step=0, progress=0.9).loss.item() == expected


def test_a_batch_without_points_is_refused_by_a_model_that_reads_them(open_run):
    task = open_run(PointsConditionConfig(num_points=20))
    with pytest.raises(ValueError, match=r"set data\.num_visible_points"):
        task.loss(task.batch(0, Part()), step=0, progress=0.9)


def test_several_views_are_trained_with(open_run):
    image = replace(smoke_image(), max_views=3)
    task = open_run(image, data={"max_views": 3})
    batch = task.batch(0, Part())
    assert batch.condition.pictures_BSS4.ndim == 5
    task.loss(batch, step=0, progress=0.9).loss.backward()
    assert task.module.conditioner.conditions["image"].view_embedding.grad.any()


def test_an_encoder_beside_a_frozen_network_is_trained(open_run):
    image = replace(PRETRAINED, image_size=32)
    task = open_run(image, data={"image_size": 32})
    batch = task.batch(1, Part())
    online = task.loss(batch, step=1, progress=0.9).loss
    online.backward()
    encoder = task.module.conditioner.conditions["image"].encoder
    assert encoder.positions.grad.any()
    features = encoder.pretrained_features(batch.condition.pictures_BSS4)
    told = replace(batch.condition, picture_features_BGGP=features)
    kept = replace(batch, condition=told)
    assert task.loss(kept, step=1, progress=0.9).loss.item() == online.item()


def test_a_step_can_be_costed_without_the_frozen_network():
    batch = ConditionDrawer((PRETRAINED,), TOGETHER, seed=0).synthetic(3, "cpu")
    assert batch.pictures_BSS4.shape == (3, 224, 224, 4)
    assert batch.picture_features_BGGP.shape == (3, 14, 14, 432)
    own = replace(PRETRAINED, features="own")
    batch = ConditionDrawer((own,), TOGETHER, seed=0).synthetic(3, "cpu")
    assert batch.picture_features_BGGP is None


def smoke_image():
    from g3pt.recipes import recipe

    return recipe("car-tiny-smoke").model.conditions[0]


@pytest.mark.parametrize("views", [1, 2])
def test_a_step_from_cached_features_is_a_step_through_the_frozen_encoders(
    open_run, frozen_sources, views
):
    image = replace(frozen_sources["dinov2"], image_size=28, max_views=views)
    conditions = (image, frozen_sources["clip"])
    data = {"image_size": 28, "max_views": views}
    online = open_run(*conditions, data=data)
    cached = open_run(*conditions, data=data, cache_features=True)
    batches = [task.batch(1, Part()) for task in (online, cached)]
    assert batches[0].condition.pictures_BSS4 is not None
    assert batches[1].condition.pictures_BSS4 is None
    losses = [
        task.loss(batch, step=1, progress=0.9).loss.item()
        for task, batch in zip((online, cached), batches, strict=True)
    ]
    # features are kept in float16, eleven bits
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    measured = [task.evaluate(0, 1.0) for task in (online, cached)]
    assert set(measured[0]) == set(measured[1]) and "ce/image" in measured[0]
    for name, value in measured[0].items():
        assert value == pytest.approx(measured[1][name], rel=1e-3)


def test_a_step_can_be_costed_without_the_frozen_encoders():
    drawer = ConditionDrawer(
        (DinoConditionConfig(max_views=2), KINDS["clip"], KINDS["points"]), TOGETHER, seed=0
    )
    batch = drawer.synthetic(3, "cpu")
    assert batch.image_features_BIE.shape == (3, 2, 257, 1024)
    assert batch.text_features_BNE.shape == (3, 7, 16)
    assert batch.points_BN3.shape == (3, 2048, 3)
    assert all(batch.dropped(slot) is None for slot in ("image", "text", "points"))
