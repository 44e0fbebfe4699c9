"""Counting and trying the rows of a table without data."""

import pytest

from g3pt.reproduce.tables import table4
from g3pt.reproduce.trials import try_experiment
from g3pt.training.cost import estimate_cost


def test_rows_are_counted_as_the_cost_of_their_run():
    experiment = table4("smoke")
    for trial, variant in zip(try_experiment(experiment), experiment.variants, strict=True):
        cost = estimate_cost(variant.run)
        assert (trial.parameters, trial.flops_per_step) == (cost.parameters, cost.flops_per_step)
        assert trial.seconds_per_step is None


def test_steps_on_synthetic_input_are_taken_by_every_kind():
    trials = try_experiment(table4("smoke"), num_steps=3, batch_size=2, device="cpu")
    for trial in trials:
        assert trial.seconds_per_step is not None and trial.seconds_per_step > 0
        assert trial.loss is not None and 0 < trial.loss < 10
        assert trial.tried_batch_size == 2


@pytest.mark.gpu
def test_the_papers_sizes_take_a_step_on_a_gpu():
    for trial in try_experiment(table4("paper"), num_steps=2, device="cuda"):
        assert trial.peak_bytes is not None and trial.peak_bytes > 0
