"""The flow as a task: paths of a step, statistics of the latents, what is measured."""

import shutil
from dataclasses import replace

import pytest
import smoke
import torch


@pytest.fixture
def make(trained_rivals):
    from g3pt.training.start import complete, open_task

    def make(**loss):
        run = smoke.flow_run(trained_rivals)
        run = replace(run, loss=replace(run.loss, **loss))
        return open_task(*complete(run))

    return make


@pytest.fixture
def part():
    from g3pt.training.task import Part

    return Part


def test_parts_end_to_end_are_the_whole_batch(make, part):
    task = make(spelled_share=0.0)
    whole = task.batch(2, part())
    halves = [task.batch(2, part(index, 2)) for index in range(2)]
    assert whole.ids == halves[0].ids + halves[1].ids
    for name in ("noise_BLE", "posterior_BLE", "time_B"):
        joined = torch.cat([getattr(half, name) for half in halves])
        assert torch.equal(joined, getattr(whole, name))
    for slot in ("image", "text"):
        drops = torch.cat([half.condition.dropped(slot) for half in halves])
        assert torch.equal(drops, whole.condition.dropped(slot))
    assert not torch.equal(whole.noise_BLE, whole.posterior_BLE)
    assert not torch.equal(task.batch(3, part()).noise_BLE, whole.noise_BLE)


def test_a_rival_sees_the_shapes_and_conditions_that_car_sees(make, part, trained_rivals):
    from g3pt.training.start import complete, open_task

    car = open_task(*complete(smoke.car_run(trained_rivals)))
    flow, regressor = make(), open_task(*complete(smoke.regressor_run(trained_rivals)))
    for step in range(3):
        ours, theirs, third = (task.batch(step, part()) for task in (car, flow, regressor))
        assert ours.ids == theirs.ids == third.ids
        for slot in ("image", "text"):
            assert torch.equal(theirs.condition.dropped(slot), ours.condition.dropped(slot))
    vocabularies = [task.module.config.conditions[1].vocabulary for task in (car, flow, regressor)]
    assert vocabularies[0] == vocabularies[1] == vocabularies[2] != ()


def test_latents_of_a_batch_are_normalised(make, part):
    from g3pt.models.rivals.flow import gaussian_sample

    task = make()
    values = []
    for step in range(16):
        batch = task.batch(step, part())
        drawn = gaussian_sample(batch.mean_BLE, batch.log_variance_BLE, batch.posterior_BLE)
        values.append(task.module.normalize(drawn))
    values_E = torch.cat(values).flatten(0, 1)
    # 1024 numbers a channel, some shapes more often than others.
    torch.testing.assert_close(values_E.mean(dim=0), torch.zeros(4), atol=0.25, rtol=0)
    torch.testing.assert_close(values_E.std(dim=0), torch.ones(4), atol=0.25, rtol=0)


@pytest.mark.parametrize(("kind", "spread"), [("uniform", 1 / 12), ("logit_normal", 0.0434)])
def test_times_are_drawn_as_asked(make, kind, spread):
    from g3pt.training.task import step_generator

    time_B = make(time=kind)._draw_times(step_generator(0, 0, "paths"), 20_000)
    assert time_B.dtype == torch.float32
    # Variance of the uniform, and of sigmoid(z) by numerical integration; error of 20,000 draws.
    assert float(time_B.var()) == pytest.approx(spread, rel=0.05)
    assert float(time_B.mean()) == pytest.approx(0.5, abs=0.01)


def test_an_untrained_flow_errs_by_the_length_of_the_paths(make, part):
    from g3pt.models.rivals.flow import gaussian_sample

    task = make()
    batch = task.batch(0, part())
    data = task.module.normalize(
        gaussian_sample(batch.mean_BLE, batch.log_variance_BLE, batch.posterior_BLE)
    )
    loss = task.loss(batch, step=0, progress=0.0).loss.detach()
    torch.testing.assert_close(loss, (data - batch.noise_BLE).square().mean())


def test_evaluation_is_repeatable_and_names_every_way_of_asking(make):
    task = make()
    metrics = task.evaluate(0, 1.0)
    assert list(metrics) == [f"velocity/{mode}" for mode in ("all", "image", "text", "none")]
    assert task.evaluate(7, 0.2) == metrics


def test_latents_of_another_layout_are_refused(make, part):
    from g3pt.training.kinds.flow import _check_fit

    task = make()
    dataset = task._held_out.dataset
    dataset.identity = replace(dataset.identity, latent_dim=3)
    with pytest.raises(ValueError, match="latents and their channels differ"):
        _check_fit(dataset, task.module)


def test_a_resumed_run_is_as_one_that_never_stopped(trained_rivals, tmp_path):
    from g3pt.training.checkpoint import load_checkpoint
    from g3pt.training.start import start

    folder = tmp_path / "stopped"
    run = smoke.flow_run(trained_rivals)
    start(run, folder)
    shutil.rmtree(folder / "checkpoints" / "step-4")
    start(run, folder, resume=True)
    ends = [load_checkpoint(f / "checkpoints", 4) for f in (trained_rivals / "flow", folder)]
    for name, tensor in ends[0].tensors["model"].items():
        assert torch.equal(ends[1].tensors["model"][name], tensor), name


def test_a_tokenizer_without_gaussians_is_refused(trained_rivals):
    from g3pt.training.start import complete

    run = replace(smoke.flow_run(trained_rivals), tokenizer=str(trained_rivals / "tokenizer"))
    with pytest.raises(ValueError, match="of kind 'kl', this one is of kind 'cvq'"):
        complete(run)


def test_four_shapes_can_be_learnt(make, part):
    from g3pt.training.optim import AdamWConfig, Optimizer

    task = make(dropout=0.0)
    optimizer = Optimizer(task.module, AdamWConfig())
    batch = task.batch(0, part())
    history = []
    for step in range(80):
        output = task.loss(batch, step=step, progress=0.5)
        output.loss.backward()
        optimizer.step(1e-2)
        optimizer.zero_grad()
        history.append(float(output.loss.detach()))
    assert history[-1] < 0.3 * history[0]
