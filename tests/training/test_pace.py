"""How long a run will take: measured on this machine, and near what it then takes."""

from dataclasses import replace

import pytest
import torch


@pytest.fixture
def pace():
    from g3pt.training import pace

    return pace


@pytest.fixture(scope="module")
def costs():
    """What a step of a recipe costs, counted once."""
    from functools import cache

    from g3pt.recipes import recipe
    from g3pt.training.cost import estimate_cost

    return cache(lambda name: estimate_cost(recipe(name)))


@pytest.fixture
def timed(pace, costs):
    """The expected duration of a recipe, with changes of its `train`."""
    from g3pt.recipes import recipe

    def find(name, **train):
        run = recipe(name)
        return pace.run_time(replace(run, train=replace(run.train, **train)), costs(name))

    return find


def test_the_time_of_a_run_is_near_what_it_then_takes(pace, trained, tmp_path):
    from g3pt.training.cost import estimate_cost
    from g3pt.training.loop import train
    from g3pt.training.runs import load_run
    from g3pt.training.start import open_task
    from g3pt.training.tracking import read_metrics
    from g3pt.training.trained import load_tokenizer

    run = load_run(trained / "car")
    run = replace(run, train=replace(run.train, steps=40, log_every=20, eval_every=0))
    expected = pace.run_time(run, estimate_cost(run))
    task = open_task(run, load_tokenizer(run.tokenizer))
    train(task, optim=run.optim, config=run.train, run_dir=tmp_path)
    taken = read_metrics(tmp_path / "metrics.jsonl")[-1]["seconds"]
    # On a quiet machine the ratio is between .5 and 2; other work may stop for a while.
    assert taken / 8 < expected.seconds < taken * 8
    assert expected.is_timed


def test_a_run_with_a_time_limit_takes_it_unless_its_steps_end_first(timed):
    limited = timed("tokenizer-tiny-smoke", steps=0, minutes=2.0)
    assert limited.by_clock and limited.seconds == 120
    assert limited.steps == round(120 / limited.seconds_per_step)
    both = timed("tokenizer-tiny-smoke", steps=3, minutes=1000.0)
    assert (both.steps, both.by_clock) == (3, False)
    assert both.seconds == pytest.approx(3 * both.seconds_per_step)


def test_long_steps_are_not_run_to_find_out(costs, monkeypatch, pace):
    from g3pt.recipes import recipe

    def refuse(run):
        raise AssertionError("a step was timed")

    monkeypatch.setattr(pace, "open_without_data", refuse)
    monkeypatch.setattr(pace, "gemm_rate", lambda *_: 1e11)
    cost = replace(costs("tokenizer-tiny-smoke"), flops_per_step=10**14)
    found = pace.run_time(recipe("tokenizer-tiny-smoke"), cost)
    assert not found.is_timed
    assert found.seconds_per_step == pytest.approx(1e14 / (pace.REACHED_SHARE["cpu"] * 1e11))


def test_threads_and_random_state_are_put_back(timed):
    timed("tokenizer-tiny-smoke")  # counting its cost is not part of it
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    threads = torch.get_num_threads()
    timed("tokenizer-tiny-smoke", threads=threads + 1)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.rand(3), expected)


def test_early_steps_on_fewer_scales_count_less(pace):
    from g3pt.recipes import recipe

    run = recipe("car-first")
    assert run.loss.curriculum.progressive_share == 0.5
    # 5 and 21 tokens for a quarter of the run each, 85 for the rest
    assert pace._mean_share(run) == pytest.approx((5 / 4 + 21 / 4 + 85 / 2) / 85)
    assert pace._mean_share(recipe("tokenizer-first")) == 1.0


def test_the_preparation_of_procedural_shapes_is_estimated(pace):
    from g3pt.recipes import tokenizer

    shapes = tokenizer.smoke_shapes()
    few, many = (
        pace.preparation_seconds(
            replace(shapes, source=replace(shapes.source, num=num)), workers=workers
        )
        for num, workers in ((8, 1), (8000, 2))
    )
    assert 0 < few < 60
    assert many > 20 * few
    assert pace.preparation_seconds(tokenizer.mesh_shapes(), workers=1) is None
