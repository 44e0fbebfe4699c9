"""A generator on a stream: it trains, is watched, goes on where it stopped, and keeps its best."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from g3pt.config import load_json
from g3pt.recipes.stream import small_smoke
from g3pt.training import fitting
from g3pt.training.checkpoint import load_newest_checkpoint
from g3pt.training.kinds.stream import StreamRun, WatchConfig
from g3pt.training.loop import BEST_FOLDER
from g3pt.training.next_scale import NextScale
from g3pt.training.start import complete, open_task, start
from g3pt.training.task import Part
from g3pt.training.trained import load_car


@pytest.fixture(scope="module")
def run(tiny_weights: Path, unseen_yardstick: Path) -> StreamRun:
    """The smoke recipe on an untrained tokenizer, with the words that a start would collect.

    They come from many shapes, so they are collected once for all tests, and from fewer.
    """
    smoke = small_smoke()
    model = replace(smoke.model, bitwise_scales=1)
    watch = WatchConfig(yardsticks=(str(unseen_yardstick),), num_objects=2, consensus=2)
    train = replace(smoke.train, eval_every=2, keep_best="iou/new", keep_checkpoints=3)
    wanted = replace(
        smoke,
        tokenizer=str(tiny_weights),
        model=model,
        loss=replace(smoke.loss, scale_weights=(), soft_targets=smoke.loss.soft_targets[:3]),
        watch=watch,
        train=train,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "NUM_CAPTIONED", 512)
        completed, _ = complete(wanted)
    return completed


@pytest.fixture(scope="module")
def trained(run: StreamRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "stream"
    start(run, folder)
    return folder


def test_training_is_watched_by_every_kind_of_answer(trained: Path):
    best = load_newest_checkpoint(trained / BEST_FOLDER)
    assert best is not None
    found = best.state["metrics"]
    answers = ("tokens", "sample", "consensus_of_2", "guess")
    assert {f"iou/unseen/{name}" for name in answers} <= set(found)
    best_answer = max(found[f"iou/unseen/{name}"] for name in answers[1:])
    assert found["iou/new"] == pytest.approx(best_answer)


def test_the_best_averaged_weights_are_what_a_run_gives(trained: Path):
    best = load_newest_checkpoint(trained / BEST_FOLDER)
    car = load_car(trained)
    assert best is not None
    for name, tensor in car.state_dict().items():
        if name in best.tensors["model"]:
            assert torch.equal(tensor, best.tensors["model"][name])


def test_the_written_config_reads_back(trained: Path, run: StreamRun):
    read = load_json(trained / "config.json", StreamRun)
    assert read.data == run.data
    assert read.model.guess == run.model.guess


def test_a_run_that_was_cut_off_ends_with_the_same_weights(
    run: StreamRun, trained: Path, tmp_path: Path
):
    folder = tmp_path / "stream"
    shutil.copytree(trained, folder)
    shutil.rmtree(folder / "checkpoints" / "step-4")
    assert start(run, folder, resume=True).step == 4
    whole = load_newest_checkpoint(trained / "checkpoints")
    again = load_newest_checkpoint(folder / "checkpoints")
    assert whole is not None
    assert again is not None
    for name, tensor in whole.tensors["model"].items():
        assert torch.equal(tensor, again.tensors["model"][name])


def test_the_first_guess_learns_and_the_frozen_stage_does_not(run: StreamRun):
    completed, tokenizer = complete(run)
    task = open_task(completed, tokenizer)
    task.loss(task.batch(0, Part()), step=0, progress=0.5).loss.backward()
    guess = task.module.guess
    assert guess is not None
    assert guess.to_signs.weight.grad is not None
    assert all(p.grad is None for p in task.tokenizer.parameters())


def test_a_number_that_evaluations_do_not_give_cannot_choose(run: StreamRun, tmp_path: Path):
    train = replace(run.train, keep_best="iou/nothing")
    with pytest.raises(ValueError, match=r"keep_best is 'iou/nothing'"):
        start(replace(run, train=train), tmp_path / "stream")


def test_soft_targets_change_what_is_learnt_and_certain_bits_do_not(run: StreamRun):
    completed, tokenizer = complete(run)
    soft = replace(completed.loss, soft_targets=(0.2,) * completed.model.num_scales)
    task = open_task(replace(completed, loss=soft), tokenizer)
    task.module.eval()
    step = task.batch(0, Part())
    assert step.margins_BTK is not None
    hard = task.loss(replace(step, margins_BTK=None), step=0, progress=0.5).metrics
    found = task.loss(step, step=0, progress=0.5).metrics
    certain = torch.full_like(step.margins_BTK, 255)
    same = task.loss(replace(step, margins_BTK=certain), step=0, progress=0.5).metrics
    for scale in range(completed.model.num_scales):
        assert not torch.isclose(found[f"ce/{scale}"], hard[f"ce/{scale}"], rtol=1e-6)
        torch.testing.assert_close(same[f"ce/{scale}"], hard[f"ce/{scale}"])


def test_soft_targets_need_margins_a_temperature_a_scale_and_true_tokens(run: StreamRun):
    completed, tokenizer = complete(run)
    num_scales = completed.model.num_scales
    soft = replace(completed.loss, soft_targets=(0.2,) * num_scales)
    hard = replace(completed, loss=replace(completed.loss, soft_targets=()))
    task = open_task(hard, tokenizer)
    batch = task._datasets[Part()].batch(0)
    objective = NextScale(task.module, tokenizer, soft)
    with pytest.raises(ValueError, match="margins of the tokens, which these data do not hold"):
        objective.draw(batch, 0, Part(), completed.data.batch_size)
    assert objective.synthetic_loss(2).isfinite()
    with pytest.raises(ValueError, match=r"soft_targets needs \d numbers, one a scale, got 1"):
        NextScale(task.module, tokenizer, replace(soft, soft_targets=(0.2,)))
    with pytest.raises(ValueError, match="must be positive"):
        replace(soft, soft_targets=(0.2, 0.0))
    with pytest.raises(ValueError, match="exclude each other"):
        replace(soft, flip_share=0.5)
