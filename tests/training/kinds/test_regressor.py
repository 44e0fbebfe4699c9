"""The regressor as a task: queries of a step, the loss, what is measured."""

import shutil
from dataclasses import replace

import pytest
import smoke
import torch


@pytest.fixture
def make(trained_rivals):
    from g3pt.training.start import complete, open_task

    def make(**loss):
        run = smoke.regressor_run(trained_rivals)
        run = replace(run, loss=replace(run.loss, **loss))
        return open_task(*complete(run))

    return make


@pytest.fixture
def part():
    from g3pt.training.task import Part

    return Part


def test_parts_end_to_end_are_the_whole_batch(make, part):
    task = make(spelled_share=0.0)
    whole = task.batch(3, part())
    halves = [task.batch(3, part(index, 2)) for index in range(2)]
    assert whole.ids == halves[0].ids + halves[1].ids
    for name in ("queries_BQ3", "inside_BQ", "near_BQ"):
        joined = torch.cat([getattr(half, name) for half in halves])
        assert torch.equal(joined, getattr(whole, name))
    pictures = torch.cat([half.condition.pictures_BSS4 for half in halves])
    assert torch.equal(pictures, whole.condition.pictures_BSS4)


def test_labels_are_those_of_the_shape_that_the_picture_shows(make, part, trained_rivals):
    from g3pt.preparation.sources import list_shapes, load_shape

    (shapes,) = smoke.regressor_run(trained_rivals).shapes
    refs = {ref.id: ref for ref in list_shapes(shapes.source)}
    batch = make().batch(0, part())
    for row, name in enumerate(batch.ids):
        points = batch.queries_BQ3[row].numpy().astype("float64")
        inside = torch.from_numpy(load_shape(refs[name]).contains(points))
        assert torch.equal(inside, batch.inside_BQ[row])
    assert batch.inside_BQ.any()


def test_volume_and_near_queries_count_apart(make, part):
    from torch.nn.functional import binary_cross_entropy_with_logits as bce

    task = make(near_weight=0.5)
    task.module.eval()
    batch = task.batch(0, part())
    loss = task.loss(batch, step=0, progress=0.0).loss
    logits, inside = task._logits(batch), batch.inside_BQ.float()
    parts = [bce(logits[mask], inside[mask]) for mask in (~batch.near_BQ, batch.near_BQ)]
    torch.testing.assert_close(loss, parts[0] + 0.5 * parts[1])


def test_evaluation_scores_every_way_of_asking(make):
    task = make()
    metrics = task.evaluate(0, 1.0)
    for mode in ("all", "image", "text", "none"):
        assert 0 <= metrics[f"iou/{mode}"] <= 1
        assert 0 <= metrics[f"near_accuracy/{mode}"] <= 1
    assert task.evaluate(3, 0.5) == metrics


def test_more_queries_than_are_stored_are_refused(make, part, trained_rivals):
    from g3pt.training.start import complete, open_task

    run = smoke.regressor_run(trained_rivals)
    run = replace(run, data=replace(run.data, num_volume_queries=10_000))
    with pytest.raises(ValueError, match="only 256 are stored"):
        open_task(*complete(run)).batch(0, part())


def test_a_resumed_run_is_as_one_that_never_stopped(trained_rivals, tmp_path):
    from g3pt.training.checkpoint import load_checkpoint
    from g3pt.training.start import start

    folder = tmp_path / "stopped"
    run = smoke.regressor_run(trained_rivals)
    start(run, folder)
    shutil.rmtree(folder / "checkpoints" / "step-4")
    start(run, folder, resume=True)
    ends = [load_checkpoint(f / "checkpoints", 4) for f in (trained_rivals / "regressor", folder)]
    for name, tensor in ends[0].tensors["model"].items():
        assert torch.equal(ends[1].tensors["model"][name], tensor), name


def test_four_shapes_can_be_learnt(make, part):
    from g3pt.training.optim import AdamWConfig, Optimizer

    task = make()
    optimizer = Optimizer(task.module, AdamWConfig())
    batch = task.batch(0, part())
    history = []
    for step in range(80):
        output = task.loss(batch, step=step, progress=0.5)
        output.loss.backward()
        optimizer.step(5e-3)
        optimizer.zero_grad()
        history.append(float(output.loss.detach()))
    assert history[-1] < 0.5 * history[0]
