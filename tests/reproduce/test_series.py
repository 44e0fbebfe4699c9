"""Rows are trained once, resumed, shared between tables, and never mixed up."""

import json
import os
import shutil
import signal
from dataclasses import replace

import pytest

from g3pt.config import load_json
from g3pt.reproduce import rows, series
from g3pt.reproduce.catalogue import EXPERIMENTS, row_recipe
from g3pt.reproduce.choices import car_choices
from g3pt.reproduce.experiments import RUNS
from g3pt.reproduce.figure6 import figure6
from g3pt.reproduce.series import SeriesError, run_folder, run_series
from g3pt.reproduce.tables import table2, table3b, table4
from g3pt.training.checkpoint import list_checkpoints
from g3pt.training.kinds.car import CarRun
from g3pt.training.kinds.tokenizer import TokenizerTask
from g3pt.training.signals import Stopped
from g3pt.training.start import start
from whole_tables import check_whole_table


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A working folder that all tests of this file share, so that rows are trained once."""
    folder = tmp_path_factory.mktemp("series")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


def heard():
    calls: list[tuple[str, int, int]] = []
    return calls, lambda *call: calls.append(call)


# The first table is run in test_table1.py, where its rows are timed as well.
@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name != "table1"])
def test_every_table_runs_to_its_end_at_smoke_size(workplace, name):
    experiment = EXPERIMENTS[name]("smoke")
    check_whole_table(experiment, run_series(experiment, workplace / "runs"))


def test_finished_rows_are_taken_as_they_are(workplace):
    first = run_series(table3b("smoke"), workplace / "runs")
    calls, on_row = heard()
    again = run_series(table3b("smoke"), workplace / "runs", on_row=on_row)
    assert calls == [("finished before", 2, 2)]
    assert [row.summary for row in again] == [row.summary for row in first]


def test_a_row_without_its_evaluation_is_measured_but_not_trained_again(workplace, monkeypatch):
    experiment = table3b("smoke")
    run_series(experiment, workplace / "runs")
    variant = experiment.variants[0]
    folder = run_folder(workplace / "runs", experiment, variant, 0)
    before = json.loads((folder / "row.json").read_text())
    (folder / "row.json").unlink()
    shutil.rmtree(folder / "evaluation-procedural")

    def refuse(*_args, **_kwargs):
        raise AssertionError("trained again")

    monkeypatch.setattr(series, "start", refuse)
    run_series(experiment, workplace / "runs")
    after = json.loads((folder / "row.json").read_text())
    assert after["evaluation"] == before["evaluation"]


def test_a_stopped_training_goes_on(workplace):
    """Weights and the last checkpoint are gone: the row comes out the same."""
    experiment = table3b("smoke")
    run_series(experiment, workplace / "runs")
    folder = run_folder(workplace / "runs", experiment, experiment.variants[1], 0)
    before = json.loads((folder / "row.json").read_text())
    (folder / "row.json").unlink()
    shutil.rmtree(folder / "weights")
    shutil.rmtree(folder / "evaluation-procedural")
    shutil.rmtree(folder / "checkpoints" / "step-4")
    run_series(experiment, workplace / "runs")
    after = json.loads((folder / "row.json").read_text())
    assert (
        after["evaluation"]["procedural"]["summary"]
        == (before["evaluation"]["procedural"]["summary"])
    )


def test_a_run_that_was_trained_elsewhere_is_taken_up(workplace):
    """Trained by `g3pt train SCALE/ROW` in the row's folder, on several machines for instance."""
    experiment = table3b("smoke")
    variant = experiment.variants[0]
    folder = run_folder(workplace / "elsewhere", experiment, variant, 0)
    start(row_recipe(f"smoke/{variant.name}-seed0"), folder)
    calls, on_row = heard()
    rows = run_series(experiment, workplace / "elsewhere", on_row=on_row)
    assert [call[0] for call in calls] == [f"{v.name}-seed0" for v in experiment.variants]
    before = run_series(experiment, workplace / "runs")
    assert rows[0].objects == before[0].objects
    assert rows[0].summary["validation"] == before[0].summary["validation"]


def test_a_folder_of_another_recipe_is_refused(workplace):
    experiment = table3b("smoke")
    run_series(experiment, workplace / "runs")
    variant = experiment.variants[0]
    run = replace(variant.run, train=replace(variant.run.train, steps=5))
    changed = replace(experiment, variants=(replace(variant, run=run), *experiment.variants[1:]))
    with pytest.raises(ValueError, match="was trained by another recipe"):
        run_series(changed, workplace / "runs")


def test_a_row_that_borrows_weights_trains_none(workplace):
    experiment = car_choices("smoke")
    by_name = {variant.name: variant for variant in experiment.variants}
    control, borrower = by_name["car-1"], by_name["car-choice-falling"]
    experiment = replace(experiment, variants=(borrower, control), claims=())
    rows = {row.variant: row for row in run_series(experiment, workplace / "borrowed")}
    assert not (workplace / "borrowed/smoke/car-choice-falling-seed0/weights").exists()
    ours, theirs = (rows[name].objects["likelihood"] for name in (borrower.name, control.name))
    assert ours == theirs
    with pytest.raises(ValueError, match="trained_as must name a variant with the same run"):
        replace(experiment, variants=(borrower,))


def test_what_rows_start_from_is_trained_once_in_the_folder_of_the_runs(workplace):
    experiment = figure6("smoke")
    first, second = experiment.variants[:2]
    (stage1,) = experiment.before
    root = workplace / "apart"
    run_series(replace(experiment, variants=(first,), claims=()), root)
    weights = run_folder(root, experiment, stage1, 0) / "weights" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    assert not RUNS.exists(), "what the rows start from belongs below the folder of the runs, too"
    run_series(replace(experiment, variants=(second,), claims=()), root)
    assert weights.stat().st_mtime_ns == before
    # Rows are those of the recipe wherever they lie, and the folder of the runs can be moved.
    assert load_json(run_folder(root, experiment, second, 0) / "recipe.json", CarRun) == (
        second.seeded(0)
    )
    root.rename(workplace / "moved")
    calls, on_row = heard()
    both = replace(experiment, variants=(first, second), claims=())
    run_series(both, workplace / "moved", on_row=on_row)
    assert calls == [("finished before", 2, 2)]


def test_two_workers_give_the_rows_of_one(workplace):
    experiment = table4("smoke")
    experiment = replace(experiment, variants=experiment.variants[:2], claims=())
    alone = run_series(experiment, workplace / "runs")
    shared = run_series(experiment, workplace / "two", workers=2)
    for one, two in zip(alone, shared, strict=True):
        assert one.objects == two.objects


def test_a_failing_row_is_named_and_the_others_stay(workplace, monkeypatch):
    experiment = table2("smoke")
    bad = experiment.variants[1].name

    whole = rows.evaluate_reconstruction

    def fail(weights, *args, **kwargs):
        if bad in str(weights):
            raise RuntimeError("no room")
        return whole(weights, *args, **kwargs)

    monkeypatch.setattr(rows, "evaluate_reconstruction", fail)
    with pytest.raises(SeriesError, match=rf"{bad}-seed0: RuntimeError: no room"):
        run_series(experiment, workplace / "failing")
    first = run_folder(workplace / "failing", experiment, experiment.variants[0], 0)
    assert (first / "row.json").is_file()


def test_a_signal_ends_the_series_with_the_training_saved(workplace, monkeypatch):
    experiment = table4("smoke")
    experiment = replace(experiment, variants=experiment.variants[:1], claims=())
    whole = TokenizerTask.loss

    def stop(self, batch, *, step, progress):
        os.kill(os.getpid(), signal.SIGTERM)
        return whole(self, batch, step=step, progress=progress)

    monkeypatch.setattr(TokenizerTask, "loss", stop)
    with pytest.raises(Stopped, match="a rerun goes on there"):
        run_series(experiment, workplace / "stopped")
    folder = run_folder(workplace / "stopped", experiment, experiment.variants[0], 0)
    assert list_checkpoints(folder / "checkpoints")[0] == 1
    assert not (folder / "row.json").exists()
