"""Stage 1 as a task: what is drawn, what is minimised, what is measured."""

from dataclasses import replace

import pytest
import smoke
import torch


@pytest.fixture
def make(trained):
    from g3pt.training.start import complete, open_task

    def make(**loss):
        run = smoke.tokenizer_run(trained)
        run = replace(run, loss=replace(run.loss, **loss))
        return open_task(*complete(run))

    return make


@pytest.fixture
def part():
    from g3pt.training.task import Part

    return Part


def gradient(task):
    return torch.cat(
        [p.grad.flatten() for p in task.module.parameters() if p.grad is not None]
    ).clone()


def test_parts_end_to_end_are_the_whole_batch(make, part):
    task = make()
    whole = task.batch(3, part())
    halves = [task.batch(3, part(index, 2)) for index in range(2)]
    assert whole.batch.ids == halves[0].batch.ids + halves[1].batch.ids
    for name in ("points_BN3", "queries_BQ3", "occupancy_BQ"):
        joined = torch.cat([getattr(half.batch, name) for half in halves])
        assert torch.equal(joined, getattr(whole.batch, name))
    assert torch.equal(torch.cat([half.keep_B for half in halves]), whole.keep_B)


def test_a_batch_depends_on_its_step_alone(make, part):
    first, second = make(), make()
    second.batch(0, part())
    a, b, other = first.batch(5, part()), second.batch(5, part()), first.batch(6, part())
    assert torch.equal(a.batch.points_BN3, b.batch.points_BN3)
    assert not torch.equal(a.batch.points_BN3, other.batch.points_BN3)


def test_accumulated_gradients_are_those_of_the_whole_batch(make, part):
    # The latent loss divides by a variance over the batch: it alone depends on the slicing.
    task = make(latent_weight=0.0, prefix_weight=0.0)
    task.module.eval()
    task.loss(task.batch(0, part()), step=0, progress=0.9).loss.backward()
    whole = gradient(task)
    task.module.zero_grad()
    for index in range(2):
        batch = task.batch(0, part(index, 2))
        (task.loss(batch, step=0, progress=0.9).loss / 2).backward()
    # Sums in another order, in float32.
    torch.testing.assert_close(gradient(task), whole, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_scale_dropout_cuts_its_share_of_samples(make, part, share):
    task = make(scale_dropout=share)
    batch = task.batch(0, part()).batch
    keeps = torch.cat([task._with_choices(batch, step, part()).keep_B for step in range(250)])
    num_scales = task.module.config.cqt.num_scales
    assert set(keeps[keeps < num_scales].tolist()) <= set(range(1, num_scales))
    # 1000 draws: four standard deviations of the rarest case are below 0.06.
    assert float((keeps < num_scales).float().mean()) == pytest.approx(share, abs=0.06)


def test_warm_up_passes_values_and_then_signs(make, part):
    task = make(warmup_share=0.25, scale_dropout=0.0, prefix_weight=0.0)
    task.module.eval()
    batch = task.batch(0, part())
    outputs = [task.loss(batch, step=0, progress=progress) for progress in (0.0, 0.2, 0.3, 0.9)]
    losses = [float(output.loss.detach()) for output in outputs]
    assert losses[0] == losses[1] != losses[2] == losses[3]
    assert [outputs[0].over, outputs[2].over] == ["all 3 scales, not yet quantised", "all 3 scales"]


@pytest.mark.parametrize("name", ["commitment_weight", "entropy_weight", "prefix_weight"])
def test_each_optional_term_adds_its_share(make, part, name):
    values = []
    for weight in (0.0, 1.0, 2.0):
        task = make(**{"prefix_weight": 0.0, name: weight})
        task.module.eval()
        batch = task.batch(0, part())
        values.append(float(task.loss(batch, step=0, progress=0.9).loss.detach()))
    assert values[1] != values[0]
    # Equal seeds build equal models, so the three losses lie on a line.
    assert values[2] - values[1] == pytest.approx(values[1] - values[0], rel=1e-3, abs=1e-5)


def test_the_slot_mean_moves_in_training_only(make, part):
    task = make()
    mean = task.module.cqt.mean_LC
    task.module.eval()
    task.loss(task.batch(0, part()), step=0, progress=0.5)
    assert not mean.any()
    task.module.train()
    task.loss(task.batch(0, part()), step=0, progress=0.5)
    assert mean.any()


def test_evaluation_reports_every_scale(make):
    task = make()
    metrics = task.evaluate(0, 0.9)
    for name in ("iou", "residual", "usage", "perplexity", "bit_entropy"):
        values = [metrics[f"{name}/{scale}"] for scale in range(3)]
        assert all(value >= 0 for value in values)
    assert metrics["iou"] == metrics["iou/2"]
    assert metrics["perplexity/0"] >= 1
    assert 0 <= metrics["near_accuracy"] <= 1
    assert task.evaluate(0, 0.9) == metrics


def test_sick_scales_are_named(caplog):
    from g3pt.training.validation import warn_of_dying_scales

    metrics = {"bit_entropy/0": 0.9, "bit_entropy/1": 0.1, "residual/0": 0.5, "residual/1": 0.6}
    found = warn_of_dying_scales(metrics, 2)
    assert ["bits die" in found[0], "residual grows" in found[1]] == [True, True]
    assert all(message in caplog.text for message in found)
    healthy = {"bit_entropy/0": 0.9, "bit_entropy/1": 0.9, "residual/0": 0.5, "residual/1": 0.4}
    assert warn_of_dying_scales(healthy, 2) == []


def test_four_shapes_can_be_learnt(make, part):
    from g3pt.training.optim import AdamWConfig, Optimizer

    task = make(scale_dropout=0.0, prefix_weight=0.0, warmup_share=0.0)
    optimizer = Optimizer(task.module, AdamWConfig())
    batch = task.batch(0, part())
    history = []
    for step in range(150):
        output = task.loss(batch, step=step, progress=0.5)
        output.loss.backward()
        optimizer.step(3e-3)
        optimizer.zero_grad()
        history.append(float(output.metrics["occupancy"].detach()))
    assert history[-1] < 0.5 * history[0]


def test_consistency_pulls_the_bits_of_two_draws_together(make, part):
    task = make(consistency_weight=1.0, consistency_margin=0.5)
    step = task.batch(0, part())
    optimizer = torch.optim.Adam(task.module.encoder.parameters(), lr=1e-3)
    found = []
    for _ in range(6):
        latents = task.module.encode(step.batch.points_BN3, step.batch.normals_BN3)
        loss = task._inconsistency(step.batch, task.module.quantize(latents))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    assert found[-1] < 0.9 * found[0]


def test_a_step_with_consistency_has_the_loss_of_one_without_and_its_own(make, part):
    plain, task = make(consistency_weight=0.0), make(consistency_weight=0.5)
    plain.module.eval()
    task.module.eval()
    step = task.batch(0, part())
    with_it, without = (each.loss(step, step=0, progress=0.9) for each in (task, plain))
    own = with_it.metrics["inconsistency"]
    torch.testing.assert_close(with_it.loss, without.loss + 0.5 * own)
    assert "inconsistency" not in without.metrics
    assert plain.batch(0, part()).batch.again_points_BN3 is None
    assert task.synthetic_loss(2).isfinite()


def test_consistency_is_refused_where_it_means_nothing(make):
    from g3pt.models.alternatives.kl import KlConfig
    from g3pt.models.tokenizers import build_tokenizer
    from g3pt.training.kinds.tokenizer import TokenizerLossConfig, TokenizerTask

    task = make()
    loss = TokenizerLossConfig(consistency_weight=1.0)
    with pytest.raises(ValueError, match="consistency_weight: its latents are continuous"):
        TokenizerTask(build_tokenizer(KlConfig()), task._data, loss, task._validation)
    with pytest.raises(ValueError, match="must not be negative"):
        TokenizerLossConfig(consistency_margin=-0.1)
