"""Stage 2 as a task: which conditions are left, which scales are trained, what is measured."""

import logging
import math
from dataclasses import replace

import pytest
import smoke
import torch


@pytest.fixture
def make(trained):
    from g3pt.training.start import complete, open_task

    def make(*, curriculum=None, **loss):
        run = smoke.car_run(trained)
        if curriculum is not None:
            loss["curriculum"] = replace(run.loss.curriculum, progressive_share=curriculum)
        run = replace(run, loss=replace(run.loss, **loss))
        return open_task(*complete(run))

    return make


@pytest.fixture
def part():
    from g3pt.training.task import Part

    return Part


def drops(task, num=500):
    from g3pt.training.task import step_generator

    drawn = [
        task._objective.conditions.draw_drops(step_generator(0, step, "conditions"), 4)
        for step in range(num)
    ]
    return {kind: torch.cat([draw[kind] for draw in drawn]) for kind in drawn[0]}


def test_parts_end_to_end_are_the_whole_batch(make, part):
    task = make(spelled_share=0.0)
    whole = task.batch(2, part())
    halves = [task.batch(2, part(index, 2)) for index in range(2)]
    assert whole.ids == halves[0].ids + halves[1].ids
    for slot in ("image", "text"):
        drops = torch.cat([half.condition.dropped(slot) for half in halves])
        assert torch.equal(drops, whole.condition.dropped(slot))
    flips = torch.cat([half.flip_probability_B for half in halves])
    assert torch.equal(flips, whole.flip_probability_B)


def test_conditions_are_dropped_in_the_asked_shares(make):
    task = make(dropout=0.1, single_share=0.8, image_preference=0.7)
    found = drops(task)
    image, text = ~found["image"], ~found["text"]

    def share(mask):
        return float(mask.float().mean())

    # 500 batches of four: four standard deviations are below 0.045 for samples, 0.09 for batches.
    assert share(~image & ~text) == pytest.approx(0.1, abs=0.045)
    assert share(image & text) == pytest.approx(0.9 * 0.2, abs=0.09)
    assert share(image & ~text) == pytest.approx(0.9 * 0.8 * 0.7, abs=0.09)


def test_a_batch_keeps_one_kind_or_all(make):
    task = make(dropout=0.3, single_share=0.5, image_preference=0.5)
    for step in range(40):
        found = drops(task, num=step + 1)
        image, text = (~found[kind][-4:] for kind in ("image", "text"))
        kept = {(bool(i), bool(t)) for i, t in zip(image, text, strict=True)} - {(False, False)}
        assert len(kept) <= 1


def test_what_a_shape_does_not_have_is_dropped(make, part):
    from g3pt.training.conditioning import mark_missing

    batch = make()._datasets[part()].batch(0)
    none = torch.zeros(4, dtype=torch.bool)
    batch = replace(
        batch,
        has_image_B=torch.tensor([True, False, True, True]),
        captions=("a mug", "a mug", "", "a mug"),
    )
    dropped = mark_missing({"image": none, "text": none}, batch)
    assert dropped["image"].tolist() == [False, True, False, False]
    assert dropped["text"].tolist() == [False, False, True, False]


def test_progressive_training_starts_with_the_coarse_scales(make, part):
    task = make(curriculum=0.5, flip_share=0.0)
    batch = task.batch(0, part())
    early = task.loss(batch, step=0, progress=0.0)
    late = task.loss(batch, step=0, progress=0.6)
    assert sorted(early.metrics) == ["ce/0", "ce/1"]
    assert sorted(late.metrics) == ["ce/0", "ce/1", "ce/2"]
    assert (early.over, late.over) == ("scales 1-2 of 3", "all 3 scales")
    # Coarse scales do not see finer ones: their losses are the same, to rounding.
    for name in early.metrics:
        torch.testing.assert_close(early.metrics[name], late.metrics[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("weighting", ["tokens", "scales"])
def test_the_loss_is_the_asked_mean_over_scales(make, part, weighting):
    task = make(weighting=weighting, flip_share=0.0)
    output = task.loss(task.batch(0, part()), step=0, progress=0.9)
    lengths = task.module.config.scale_lengths
    weights = lengths if weighting == "tokens" else (1, 1, 1)
    expected = sum(w * output.metrics[f"ce/{s}"].detach() for s, w in enumerate(weights)) / sum(
        weights
    )
    torch.testing.assert_close(output.loss.detach(), expected)


def test_scales_may_be_weighted_one_by_one(make, part):
    task = make(scale_weights=(4.0, 2.0, 1.0), flip_share=0.0)
    output = task.loss(task.batch(0, part()), step=0, progress=0.9)
    losses = [output.metrics[f"ce/{scale}"].detach() for scale in range(3)]
    expected = (4 * losses[0] + 2 * losses[1] + losses[2]) / 7
    torch.testing.assert_close(output.loss.detach(), expected)
    with pytest.raises(ValueError, match="scale_weights needs 3 numbers, one a scale, got 2"):
        make(scale_weights=(1.0, 2.0))
    with pytest.raises(ValueError, match="scale_weights must be positive"):
        make(scale_weights=(1.0, 2.0, 0.0))


def test_flips_change_inputs_and_are_repeatable(make, part):
    task, again, clean = make(flip_share=1.0), make(flip_share=1.0), make(flip_share=0.0)
    losses = [
        float(t.loss(t.batch(0, part()), step=0, progress=0.9).loss.detach())
        for t in (task, again, clean)
    ]
    assert losses[0] == losses[1] != losses[2]


def test_the_tokenizer_stays_frozen(make, part):
    task = make()
    task.loss(task.batch(0, part()), step=0, progress=0.9).loss.backward()
    assert all(p.grad is None and not p.requires_grad for p in task.tokenizer.parameters())
    assert not any(name.startswith("tokenizer") for name, _ in task.module.named_parameters())


def test_evaluation_gives_nats_and_bits_for_every_way_of_asking(make):
    task = make()
    metrics = task.evaluate(0, 1.0)
    num_tokens = task.module.config.num_tokens
    for mode in ("all", "image", "text", "none"):
        bits = metrics[f"ce/{mode}"] * num_tokens / math.log(2)
        assert metrics[f"bits_per_shape/{mode}"] == pytest.approx(bits)
    lengths = task.module.config.scale_lengths
    mean = sum(n * metrics[f"ce/{s}"] for s, n in enumerate(lengths)) / num_tokens
    assert mean == pytest.approx(metrics["ce/all"], rel=1e-5)
    assert task.evaluate(0, 1.0) == metrics


def test_tokens_of_another_layout_are_refused_and_of_other_weights_warned_about(make, caplog):
    from g3pt.training.kinds.car import _check_fit

    task = make()
    dataset = task._held_out.dataset
    with torch.no_grad():
        next(task.tokenizer.parameters()).add_(1.0)
    with caplog.at_level(logging.WARNING):
        _check_fit(dataset, task.module, task.tokenizer)
    assert "tokenize again" in caplog.text
    dataset.identity = replace(dataset.identity, num_bits=9)
    with pytest.raises(ValueError, match="scale lengths and bits differ"):
        _check_fit(dataset, task.module, task.tokenizer)
